/* What control does with workers: start, hand plans, drain, stop. (worker.h is what anybody may.)
 */
#ifndef WORKER_CONTROL_H
#define WORKER_CONTROL_H

#include "worker.h"

/* Called on the worker's thread; each only posts mail. */
struct worker_events {
    void *argument;
    void (*plan_unused)(void *argument, struct worker_plan *plan); /* nobody uses it: free it */
    void (*plan_taken)(void *argument, struct worker *worker);     /* answers worker_give_plan */
    void (*suspect)(void *argument, struct slot *slot);
    void (*drained)(void *argument, struct worker *worker); /* draining, and no session is left */
};

/* Control. NULL: errno. */
struct worker *worker_start(uint32_t index, struct arena *arena, const struct worker_events *events)
    __attribute__((warn_unused_result));
/* Control. Hands a plan over; answered by plan_taken. None of these can fail. */
void worker_give_plan(struct worker *worker, struct worker_plan *plan);
void worker_drain(struct worker *worker);
void worker_end_sessions(struct worker *worker);
/* Control. Ends the thread and all its sessions, and frees the worker. Its plan comes back through
 * plan_unused. */
void worker_stop(struct worker *worker);

#endif
