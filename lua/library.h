/* Library: what the scripts' library (lua/alacrity/inner/) has of C behind it. See library.c. */
#ifndef LUA_LIBRARY_H
#define LUA_LIBRARY_H

#include "lua/vm.h"

/* Builder, while a state is made, in a protected call: sets fields of the table on top of the
 * stack, which prelude.lua gets as its argument. */
void library_push(struct vm *vm, lua_State *lua);

/* As scripting.host_start. */
void library_host_start(struct script_host *host);

/* shared.c: the functions behind alacrity.shared. */
extern const struct alacrity_shared_natives shared_natives;

#endif
