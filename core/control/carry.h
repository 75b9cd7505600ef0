/* Carry: what the policies in use leave for the ones that will replace them. Before something new
 * is built, every worker is asked by mail, at a loop boundary, for what its policies' snapshot()
 * say. Control. */
#ifndef CONTROL_CARRY_H
#define CONTROL_CARRY_H

#include "control/control.h"

/* By worker: the list of what its policies left. */
struct carry_set {
    struct carry *of_worker[ARENA_WORKERS];
};

/* The set is the receiver's: carry_set_free. Called also when the balancer is stopping. */
typedef void carry_done(void *argument, struct carry_set *set);

/* `done` may be called before this returns (no worker runs, or memory is out: an empty set). */
void carry_gather(struct control *control, carry_done *done, void *argument);
void carry_set_free(struct carry_set *set);
/* NULL: that pool's policy left nothing there. */
const struct carry *carry_find(const struct carry_set *set, uint32_t worker, const char *pool);

#endif
