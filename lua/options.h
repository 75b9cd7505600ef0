/* Options: what a configuration gives a script under `with:`, checked against the schema the script
 * declares. See options.c. */
#ifndef LUA_OPTIONS_H
#define LUA_OPTIONS_H

#include "lua/vm.h"

/* Under a protected call. The module table is on top of the stack; pushes the table of options that
 * its `new` gets. False: pushes nothing; messages. Raises a Lua error if the schema itself is
 * wrong. */
bool options_push(lua_State *lua, const struct script *script, const struct script_use *use,
                  struct messages *messages);

#endif
