/* Guard: the one entry through which C calls into a script. Binds the state, sets its budget, calls
 * protected, clears. (The watchdog that enforces the budget hooks in here.) */
#ifndef LUA_GUARD_H
#define LUA_GUARD_H

#include <lua.h>

#include "lua/vm.h"

/* As lua_pcall: function and `arguments` on the stack are replaced by `results` values, or by one
 * error value (a string with traceback already shortened to script:line: message). Returns 0 or
 * the lua_pcall status. Never raises. */
int guard_call(struct vm *vm, lua_State *lua, int arguments, int results);

/* As lua_resume, for coroutines of the control thread. Returns LUA_YIELD, 0 or an error status with
 * the error value on the coroutine's stack. */
int guard_resume(struct vm *vm, lua_State *coroutine, int arguments);

/* Runs a C function protected (for bindings that must not raise through C frames that own things). */
int guard_cfunction(struct vm *vm, lua_CFunction function, void *argument);

#endif
