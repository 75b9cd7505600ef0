/* Facts for service scripts: `alacrity.facts()` gives one plain table of everything core/control/
 * facts.c collects. Its fields are described in lua/types/alacrity/facts.lua. */
#ifndef LUA_FACTS_H
#define LUA_FACTS_H

#include <lua.h>

struct control;

/* Once, by main, on the thread that runs control, before scripts may serve. NULL unbinds. */
void facts_bind(struct control *control);

/* Sets the fields `facts` and `backends` of the table on top of the stack (the library table) when
 * there is one there, and leaves the function `facts` on top in any case, so it also serves as a
 * luaopen function. Returns 1, the number of values left. */
int facts_open(lua_State *lua);

#endif
