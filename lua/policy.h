/* Policies: one instance per pool and worker, asked for every new session. See policy.c. */
#ifndef LUA_POLICY_H
#define LUA_POLICY_H

#include "core/scripting.h"
#include "lua/vm.h"

/* As the members of struct scripting with the same name. */
bool policy_name(struct script_host *host, const struct script_use *use, char *out, size_t bytes,
                 struct messages *messages);
struct policy *policy_new(struct script_host *host, const struct policy_order *order,
                          struct messages *messages);
struct carry *policy_snapshot(struct policy *policy);
enum pick_answer policy_pick(struct policy *policy, const struct alacrity_ctx_private *ctx,
                             struct slot **slot);
bool policy_hears(const struct policy *policy);
enum policy_told policy_closed(struct policy *policy, const struct alacrity_closed_private *closed);

/* Worker. What the policy said when it last answered nil, or what its last bad answer was; "" =
 * nothing. */
const char *policy_reason(const struct policy *policy);

uint64_t policy_memory_bytes(const struct policy *policy);

/* Owner. It is asked no more, though its host goes on. */
void policy_stop(struct policy *policy);
/* Owner. A state was made anew, and in it such as had been stopped. */
void policy_stop_again(struct vm *vm);

/* Worker. What it does later (timers.c) failed, or had to be stopped: its pool counts that as it
 * counts what goes wrong in a pick. */
void policy_count_trouble(const struct policy *policy, bool stopped);

/* Builder. The policies of a state that was made anew. False: messages. */
bool policy_rebuild(struct vm *vm, struct messages *messages) __attribute__((warn_unused_result));

/* Builder. All policies of the host; its states still stand. */
void policy_free_all(struct script_host *host);

#endif
