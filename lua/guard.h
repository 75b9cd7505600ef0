/* Guard: the one entry through which C calls into a script. Each call binds the state, sets its
 * budget, calls protected under the watchdog, and clears.
 *
 * GUARD_STOPPED means that the script used up its budget, its stack or its memory: the state is
 * lost (vm->lost), vm->stop says why, and nothing of it may be touched until it is rebuilt. What to
 * do then is rebuild.h's. Calling into a lost state is a mistake of ours, not a script's. */
#ifndef LUA_GUARD_H
#define LUA_GUARD_H

#include <lua.h>

#include "lua/vm.h"

#define GUARD_STOPPED (-1)

/* Pushes the message handler: for a thread that calls often, and keeps it at a place of its own. */
void guard_push_handler(const struct vm *vm, lua_State *lua);

/* As lua_pcall, with the budget of a pick, and the handler at the place `handler`: function and
 * `arguments` on the stack are replaced by `results` values, or by one error value: a string
 * `script:line: message`; vm->traceback says how it came there. Returns 0, the lua_pcall status or
 * GUARD_STOPPED. Never raises. */
int guard_call(struct vm *vm, lua_State *lua, int handler, int arguments, int results)
    __attribute__((warn_unused_result));

/* The same with the budget of everything else. */
int guard_callback(struct vm *vm, lua_State *lua, int handler, int arguments, int results)
    __attribute__((warn_unused_result));

/* As lua_resume, for coroutines of the control thread. Returns LUA_YIELD, 0 or an error status with
 * the error value (any Lua value) on the coroutine's stack and vm->traceback filled; or
 * GUARD_STOPPED. */
int guard_resume(struct vm *vm, lua_State *coroutine, int arguments)
    __attribute__((warn_unused_result));

/* Runs a C function protected (for bindings that must not raise through C frames that own things).
 * It gets `argument` as light userdata at index 1, and its results are dropped. On an error, the
 * error value is left on vm->lua. May be GUARD_STOPPED. */
int guard_cfunction(struct vm *vm, lua_CFunction function, void *argument)
    __attribute__((warn_unused_result));

/* For scripting.c: has watchdog.c find out where a script is when it is stopped (vm->near). */
void guard_watch(void);

/* For vm.c, while it makes a state, inside a protected call: makes vm->handler_ref. */
void guard_open(struct vm *vm, lua_State *lua);

/* The text of an error value, never NULL: itself when it is a string, else what it is instead. */
const char *guard_error_text(lua_State *lua, int index);

#endif
