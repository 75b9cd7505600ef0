/* Library: what the scripts' library (lua/alacrity/inner/) has of C behind it. See library.c. */
#ifndef LUA_LIBRARY_H
#define LUA_LIBRARY_H

#include "lua/vm.h"

/* Builder: a new vm's, once. */
void library_init(struct vm *vm);
/* Builder, while a state is made, in a protected call: sets fields of the table on top of the
 * stack, which prelude.lua gets as its argument. */
void library_push(struct vm *vm, lua_State *lua);

/* logging.c, (level, value) -> nothing: writes a line, if there have not been too many. The value
 * is a table of fields, or anything else as the message. Upvalue 1 is the vm. */
int library_log(lua_State *lua);

/* As scripting.host_start, host_stop and host_retire. */
void library_host_start(struct script_host *host, struct ev_loop *loop);
void library_host_stop(struct script_host *host);
void library_host_retire(struct script_host *host);
/* Builder: gives up what the host's scripts hold of the arena. */
void library_host_free(struct script_host *host);

/* route.c: the methods of ctx that only routes have. Upvalue 1 is the vm. They raise. */
int route_peek(lua_State *lua);   /* (ctx, bytes, seconds) -> bytes, or fewer and why */
int route_use(lua_State *lua);    /* (ctx, name of a pool) */
int route_reject(lua_State *lua); /* (ctx, why) */

/* shared.c: the functions behind alacrity.shared. */
extern const struct alacrity_shared_natives shared_natives;
/* metrics.c: the same for alacrity.counter, gauge and histogram, and what makes one:
 * (kind, name, help, labels, buckets) -> id, or nil and what is wrong. Upvalue 1 is the vm. */
extern const struct alacrity_metric_natives metric_natives;
int library_open_metric(lua_State *lua);

#endif
