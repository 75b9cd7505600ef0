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
/* What shall become of one pool's policy on one worker. */
enum install_action {
    INSTALL_CURRENT, /* `place` is asked from now on */
    INSTALL_SHADOW,  /* `place` is asked beside the current one; policy NULL: no shadow any more */
    INSTALL_PROMOTE, /* the shadow is asked from now on */
};
struct policy_install {
    struct mail mail;
    enum install_action action;
    uint32_t pool;             /* its index in the current plan */
    uint32_t sample;           /* INSTALL_SHADOW */
    struct policy_place place; /* in: the new one; out: what it replaced, to be freed */
    void *argument;            /* the asker's */
    void (*done)(struct policy_install *install); /* called on the worker: posts it back */
};
/* Control. The worker has a plan with that pool. Cannot fail. */
void worker_install(struct worker *worker, struct policy_install *install);

/* Worker, for mail: what the policies' snapshot() leave. */
struct carry *worker_take_snapshots(struct worker *worker);

/* Control. Ends the thread and all its sessions, and frees the worker. Its plan comes back through
 * plan_unused. */
void worker_stop(struct worker *worker);

#endif
