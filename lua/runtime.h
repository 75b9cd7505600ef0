/* Runtime: the coroutine scheduler of a thread and what runs in it: checks and services on control,
 * routes on workers.
 * Same contracts as the members of struct scripting with the same name (core/scripting.h). */
#ifndef LUA_RUNTIME_H
#define LUA_RUNTIME_H

#include "core/scripting.h"
#include "lua/vm.h"

/* Builder. Called when a state of a host that has runs is made, inside a protected call (so it may
 * raise): registers the libraries for them in it, with vm_push_module and vm_set_module.
 * The first call of a host makes host->runtime. False: out of memory. */
bool runtime_open(struct vm *vm);

/* Builder. First of all in host_free: ends what still runs, closes what it opened. Also called for
 * hosts that never ran anything, and for those without runs (host->runtime is NULL then). */
void runtime_free(struct script_host *host);

/* Builder. The instances of a state that was made anew. False: messages. */
bool runtime_rebuild(struct vm *vm, struct messages *messages) __attribute__((warn_unused_result));
/* Owner. A state was stopped: every run in it ends as failed. */
void runtime_state_lost(struct vm *vm);

struct check *runtime_check_new(struct script_host *host, const struct pool_config *pool,
                                struct messages *messages);
struct check_run *runtime_check_start(struct check *check, const struct slot *slot,
                                      const struct address *address, uint32_t timeout_ms,
                                      check_done *done, void *argument);
void runtime_check_cancel(struct check_run *run);
bool runtime_check_is_out(const struct check *check);

struct service *runtime_service_new(struct script_host *host,
                                    const struct listener_config *listener,
                                    struct messages *messages);
struct service_run *runtime_service_start(struct service *service,
                                          const struct service_request *request,
                                          uint32_t timeout_ms, service_done *done, void *argument);
void runtime_service_cancel(struct service_run *run);

struct route *runtime_route_new(struct script_host *host, const struct listener_config *listener,
                                struct messages *messages);
struct route_run *runtime_route_start(struct route *route, const struct route_order *order);
void runtime_route_ready(struct route_run *run);
void runtime_route_cancel(struct route_run *run);
uint64_t runtime_route_memory_bytes(const struct route *route);

#endif
