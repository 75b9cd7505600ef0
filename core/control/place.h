/* Place: a policy made by itself, with a host and a view of its own, while the rest of a worker's
 * plan is made elsewhere or stays. Builder thread. */
#ifndef CONTROL_PLACE_H
#define CONTROL_PLACE_H

#include "control/carry.h"
#include "control/control.h"
#include "control/versions.h"
#include "session/plan.h"

struct place_order {
    const struct script_post *script_post;
    struct arena *arena;
    struct snapshot *snapshot; /* whose limits hold; lives as long as the place */
    const struct control_pool *pool;
    uint32_t worker;
    bool shadow;
    struct script_version *version; /* its source was read */
    const struct carry *carry;      /* NULL: there is none */
};

/* False: messages, and nothing is left of it. */
bool place_build(struct policy_place *place, const struct place_order *order,
                 struct messages *messages) __attribute__((warn_unused_result));
/* Frees what stands in a place and is used no more. An empty one is fine. */
void place_free(struct policy_place *place);

#endif
