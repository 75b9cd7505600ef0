/* Plans: what control and every worker run a configuration by: the slots and facts of all it names,
 * and its scripts, constructed and proved. Builder thread. */
#ifndef CONTROL_PLANS_H
#define CONTROL_PLANS_H

#include "control/carry.h"
#include "control/control.h"
#include "pool/tags.h"
#include "session/plan.h"

/* What all plans are made of. The builder's, for good. */
struct plan_maker {
    struct arena *arena;
    struct tags tags; /* every plan holds those it speaks of */
    struct ev_loop *control_loop;
    const struct script_post *script_post; /* NULL: nobody reads the mail (build_check) */
};

/* NULL: messages, and nothing is left of it. A plan holds the snapshot. */
struct control_plan *control_plan_make(struct plan_maker *maker, struct snapshot *snapshot,
                                       struct messages *messages)
    __attribute__((warn_unused_result));
/* The same for one worker. One that is not wanted any more gets no listeners, but policies, which
 * are told how its sessions end. What it shares with control's plan it holds: it may outlive that.
 */
struct worker_plan *worker_plan_make(struct plan_maker *maker,
                                     const struct control_plan *control_plan, uint32_t worker,
                                     const struct carry_set *carries, struct messages *messages)
    __attribute__((warn_unused_result));
/* Nobody uses the plan any more. NULL is fine. */
void control_plan_free(struct plan_maker *maker, struct control_plan *plan);
void worker_plan_free(struct plan_maker *maker, struct worker_plan *plan);

#endif
