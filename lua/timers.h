/* Timers: what scripts do later, alacrity.every, after and spawn. See timers.c. */
#ifndef LUA_TIMERS_H
#define LUA_TIMERS_H

#include "lua/vm.h"

#define TIMERS_MAX 64 /* of one instance */

/* (seconds, function, repeats) -> id, or nil and what is wrong; and (id) -> nothing, ends it. For
 * inner/timers.lua; upvalue 1 is the vm. */
int timers_open(lua_State *lua);
int timers_cancel(lua_State *lua);

/* Owner: those made so far begin. The state is in use and does not rest. */
void timers_start(struct vm *vm);
/* Owner, of a virtual host without a loop: as scripting.host_due and host_turn. */
double timers_due(const struct script_host *host);
enum policy_told timers_turn(struct script_host *host);
/* Owner: all end, also what they do right now; not those of a state that rests, which never begin.
 */
void timers_stop(struct vm *vm);
/* Owner: those of one instance end. */
void timers_stop_of(struct vm *vm, const void *owner);
/* Owner: the state was stopped; what its timers did has ended. */
void timers_state_lost(struct vm *vm);
/* Builder, from vm_free: those that never began. */
void timers_free(struct vm *vm);

#endif
