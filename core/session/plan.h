/* Plan: everything one worker needs to serve one configuration: snapshot, listening sockets, pools
 * with their eligible views and policy instances. Built complete on the builder thread, handed to
 * the worker, replaced whole, and sent back to be freed. */
#ifndef SESSION_PLAN_H
#define SESSION_PLAN_H

#include <stdint.h>

#include "base/mailbox.h"
#include "config/script_version.h"
#include "config/snapshot.h"
#include "pool/arena.h"
#include "pool/view.h"
#include "scripting.h"

/* A policy in use, and what must live as long as it. */
struct policy_place {
    struct policy *policy;
    struct pool_view *view;         /* what it is asked over: the pool's, or its own */
    struct script_host *host;       /* its own; NULL: the plan's */
    struct script_version *version; /* a reference, when the host is its own; else NULL */
    bool hears; /* it is to be told of sessions' ends; written before the place is handed over */
};

struct worker_pool {
    const struct pool_config *config;
    struct pool_facts *facts;
    struct pool_row *row; /* this worker's */
    struct pool_view view;
    /* The worker's, once it has the plan: they may be replaced while the plan stays. */
    struct policy_place current;
    struct policy_place shadow; /* asked beside it, its answers only counted; policy NULL: none */
    uint32_t shadow_sample;     /* it is asked for one session of so many */
    uint32_t shadow_turn;
};

struct worker_listener {
    const struct listener_config *config;
    struct listener_facts *facts;
    struct listener_row *row; /* this worker's */
    struct worker_pool *pool; /* NULL: only its route chooses */
    struct route *route;      /* NULL: none, `pool` for everybody */
    uint32_t socket_count;
    int *sockets; /* this worker's share; owned by control/listening.c, not by the plan */
};

struct worker_plan {
    struct mail mail;          /* carries it to the worker, and back: posting cannot fail */
    struct snapshot *snapshot; /* one reference */
    uint32_t tags;             /* bits of the tags it speaks of; the builder's */
    struct script_host *host;
    bool serves;         /* false: the worker is not wanted any more; its sessions go on */
    uint32_t references; /* sessions routed or dialling, +1 while current; the worker's own */
    uint32_t pool_count, listener_count;
    struct worker_pool *pools;
    /* Those whose current policy hears, by address of their facts; room for all. The worker's. */
    struct worker_pool **hearing;
    uint32_t hearing_count;
    struct worker_listener *listeners; /* only those that relay to a pool */
};

#endif
