/* What vm.c (states) and script.c (scripts in them) share. Nobody else includes this. */
#ifndef LUA_STATE_H
#define LUA_STATE_H

#include <stddef.h>

#include "lua/vm.h"

/* Builder. A new state of the host, with the prelude run; path and name NULL: for stock scripts. */
struct vm *state_new(struct script_host *host, const char *path, const char *name,
                     struct script_source *source, char *error, size_t error_bytes);
/* scripting.self_test: makes a state and compares the layouts it sees with ours. */
bool state_self_test(char *error, size_t error_bytes);
/* Pushes a field of what prelude.lua returned. */
void state_push_prelude(const struct vm *vm, lua_State *lua, const char *field);

/* For prelude.lua's require; upvalue 1 is the vm. (name, environment) -> chunk; they raise. */
int state_load_builtin(lua_State *lua); /* name without "alacrity." */
int state_load_file(lua_State *lua);    /* name.of.module, looked for in lua.path */

/* As errors of the script name it: the path as configured, or scripts/KIND/NAME.lua. */
const char *script_chunk_name(const struct script *script, char *buffer, size_t bytes);
void script_free(struct script *script);

#endif
