/* Guard: the one entry through which C calls into a script. Binds the state, sets its budget, calls
 * protected, clears. (The watchdog that enforces the budget hooks in here.) */
#ifndef LUA_GUARD_H
#define LUA_GUARD_H

#include <lua.h>

#include "lua/vm.h"

/* As lua_pcall: function and `arguments` on the stack are replaced by `results` values, or by one
 * error value: a string `script:line: message`; vm->traceback says how it came there. Returns 0 or
 * the lua_pcall status. Never raises. */
int guard_call(struct vm *vm, lua_State *lua, int arguments, int results);

/* As lua_resume, for coroutines of the control thread. Returns LUA_YIELD, 0 or an error status with
 * the error value (any Lua value) on the coroutine's stack and vm->traceback filled. */
int guard_resume(struct vm *vm, lua_State *coroutine, int arguments);

/* Runs a C function protected (for bindings that must not raise through C frames that own things).
 * It gets `argument` as light userdata at index 1, and its results are dropped. On an error, the
 * error value is left on vm->lua. */
int guard_cfunction(struct vm *vm, lua_CFunction function, void *argument);

/* For vm.c, while it makes a state, inside a protected call: makes vm->handler_ref. */
void guard_open(struct vm *vm, lua_State *lua);

/* The text of an error value, never NULL: itself when it is a string, else what it is instead. */
const char *guard_error_text(lua_State *lua, int index);

#endif
