/* Facts: one pass over everything worth knowing (listeners, pools, backends, workers, scripts),
 * from which status, stats and lists are rendered.
 *
 * Control thread. Counters are summed over the rows of all workers without stopping them: a sum is
 * exact when traffic rests, and off by what happens meanwhile when it does not. What is copied by
 * pointer (names, configuration, reasons) belongs to the current plan and its slots, so the facts
 * must be used and freed before control returns to its loop. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/tcp_options.h"
#include "control/control.h"
#include "control/scripts.h"
#include "worker.h"

/* calloc may answer NULL to a request for nothing; an empty list is no failure. */
static void *array_new(uint32_t count, size_t object_bytes) {
    return calloc(count > 0 ? count : 1, object_bytes);
}

static uint32_t count_backends(const struct control_plan *plan) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        count += plan->pools[i].config->backend_count;
    }
    return count;
}

static uint32_t count_scripts(const struct control_plan *plan) {
    uint32_t count = 0;
    struct script_info ignored;
    while (scripting != NULL && plan->host != NULL &&
           scripting->host_script(plan->host, count, &ignored)) {
        count++;
    }
    return count;
}

static void collect_backend(struct control *control, const struct control_pool *pool,
                            uint32_t index, struct facts_backend *out) {
    const struct slot *slot = pool->slots[index];
    const struct alacrity_backend *view = &slot->script.view;
    out->config = &pool->config->backends[index];
    out->slot = slot;
    out->sum = arena_slot_sum(control->arena, slot);
    out->state = slot_state(slot);
    out->admin = (enum backend_admin)atomic_load_explicit(&slot->admin, memory_order_relaxed);
    out->weight = atomic_load_explicit(&view->weight, memory_order_relaxed);
    out->active = atomic_load_explicit(&view->active, memory_order_relaxed);
    out->connect_ewma_ms = atomic_load_explicit(&view->connect_ewma_ms, memory_order_relaxed);
    out->changed_wall_ms = atomic_load_explicit(&slot->changed_wall_ms, memory_order_relaxed);
    out->reason = slot->reason;
}

uint32_t facts_backends(struct control *control, const char *pool, uint32_t first, uint32_t count,
                        struct facts_backend *out, uint64_t *configuration) {
    const struct control_plan *plan = control->plan;
    uint32_t at = 0, told = 0;
    *configuration = plan != NULL ? plan->snapshot->number : 0;
    while (plan != NULL && at < plan->pool_count &&
           strcmp(plan->pools[at].config->name, pool) != 0) {
        at++;
    }
    if (plan != NULL && at < plan->pool_count) {
        uint32_t all = plan->pools[at].config->backend_count;
        for (; told < count && first < all; first++) {
            collect_backend(control, &plan->pools[at], first, &out[told++]);
        }
    }
    return told;
}

/* Pools share one array of backends, pools[0].backends; each points at its part of it. */
static bool collect_pools(struct control *control, struct facts *facts) {
    const struct control_plan *plan = control->plan;
    struct facts_backend *backends = array_new(count_backends(plan), sizeof(*backends));
    facts->pools = array_new(plan->pool_count, sizeof(*facts->pools));
    if (facts->pools == NULL || backends == NULL) {
        free(backends);
        return false;
    }
    facts->pools[0].backends = backends; /* array_new makes room for one: facts_free finds it */
    facts->pool_count = plan->pool_count;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        const struct control_pool *pool = &plan->pools[i];
        struct facts_pool *out = &facts->pools[i];
        out->pool = pool;
        out->scripts = scripts_of(control->scripts, pool->config->name);
        out->sum = arena_pool_sum(control->arena, pool->facts);
        out->backends = backends;
        out->backend_count = pool->config->backend_count;
        for (uint32_t b = 0; b < out->backend_count; b++) {
            collect_backend(control, pool, b, &backends[b]);
            out->eligible_count += slot_is_eligible(pool->slots[b]);
        }
        backends += out->backend_count;
    }
    return true;
}

static bool collect_listeners(struct control *control, struct facts *facts) {
    const struct control_plan *plan = control->plan;
    facts->listeners = array_new(plan->listener_count, sizeof(*facts->listeners));
    if (facts->listeners == NULL) {
        return false;
    }
    facts->listener_count = plan->listener_count;
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        struct facts_listener *out = &facts->listeners[i];
        out->listener = &plan->listeners[i];
        out->sum = arena_listener_sum(control->arena, out->listener->facts);
        /* A session may be accepted and closed between the two sums: less than none is none. */
        uint64_t total = counter_get(&out->sum.sessions_total);
        uint64_t closed = counter_get(&out->sum.sessions_closed);
        out->active = total > closed ? total - closed : 0;
    }
    return true;
}

static void tell_route(const struct control_plan *plan, const struct facts_listener *listener,
                       struct script_info *out) {
    const struct listener_config *config = listener->listener->config;
    out->kind = "route";
    out->name = config->route.name;
    out->path = config->route.path;
    out->listener = config->name;
    out->version = plan->snapshot->number;
    out->calls = counter_get(&listener->sum.routes);
    out->errors = counter_get(&listener->sum.route_errors);
    out->overruns = counter_get(&listener->sum.route_overruns);
    out->memory_bytes = counter_get(&listener->sum.route_memory_bytes);
    out->state = counter_get(&listener->sum.route_out_now) > 0 ? "out" : "running";
}

static bool collect_scripts(struct control *control, struct facts *facts) {
    const struct control_plan *plan = control->plan;
    uint32_t own = count_scripts(plan);
    facts->scripts =
        array_new(plan->pool_count + plan->listener_count + own, sizeof(*facts->scripts));
    if (facts->scripts == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        const struct pool_scripts *scripts = facts->pools[i].scripts;
        const struct script_use *use =
            scripts != NULL ? &scripts->current->use : &plan->pools[i].config->policy;
        struct script_info *out = &facts->scripts[i];
        out->kind = "policy";
        out->name = use->name;
        out->path = use->path;
        out->version = scripts != NULL ? scripts->current->number : plan->snapshot->number;
        out->calls = counter_get(&facts->pools[i].sum.picks);
        out->errors = counter_get(&facts->pools[i].sum.policy_errors);
        out->overruns = counter_get(&facts->pools[i].sum.policy_overruns);
        out->memory_bytes = counter_get(&facts->pools[i].sum.memory_bytes);
        out->state = counter_get(&facts->pools[i].sum.out_now) > 0 ? "out" : "running";
    }
    facts->script_count = plan->pool_count;
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        if (plan->listeners[i].config->route.name != NULL) {
            tell_route(plan, &facts->listeners[i], &facts->scripts[facts->script_count++]);
        }
    }
    for (uint32_t i = 0; i < own; i++) {
        if (!scripting->host_script(plan->host, i, &facts->scripts[facts->script_count])) {
            break;
        }
        facts->script_count++;
    }
    return true;
}

static bool collect_workers(const struct control *control, struct facts *facts) {
    facts->workers = array_new(control->worker_count, sizeof(*facts->workers));
    if (facts->workers == NULL) {
        return false;
    }
    facts->worker_count = control->worker_count;
    for (uint32_t i = 0; i < control->worker_count; i++) {
        worker_tell(control->workers[i], &facts->workers[i]);
    }
    return true;
}

static bool collect_shared(const struct control *control, struct facts *facts) {
    struct shared *shared = arena_shared(control->arena);
    uint32_t count = shared_dictionary_count(shared);
    shared_usage(shared, &facts->shared);
    facts->dictionaries = array_new(count, sizeof(*facts->dictionaries));
    if (facts->dictionaries == NULL) {
        return false;
    }
    facts->dictionary_count = count;
    for (uint32_t i = 0; i < count; i++) {
        facts->dictionaries[i].name = shared_dictionary_name(shared, i);
        facts->dictionaries[i].entries = shared_count(shared, i);
    }
    return true;
}

static bool collect_metrics(const struct control *control, struct facts *facts) {
    struct metric_sum sum;
    uint32_t count = metrics_count(control->arena);
    facts->metrics = array_new(count, sizeof(*facts->metrics));
    if (facts->metrics == NULL) {
        return false;
    }
    /* The builder may have made more meanwhile: they are shown the next time. */
    for (uint32_t i = 0; i < METRICS && facts->metric_count < count; i++) {
        if (metrics_sum(control->arena, i, &sum)) {
            facts->metrics[facts->metric_count++] = sum;
        }
    }
    return true;
}

struct facts *facts_collect(struct control *control) {
    struct facts *facts = calloc(1, sizeof(*facts));
    if (facts == NULL) {
        return NULL;
    }
    facts->now_wall_ms = clock_wall_ms();
    if (facts->now_wall_ms > control->started_wall_ms) { /* the wall clock may have been set back */
        facts->uptime_ms = facts->now_wall_ms - control->started_wall_ms;
    }
    facts->reloads_total = control->reloads_total;
    facts->reloads_failed = control->reloads_failed;
    facts->log_dropped = log_dropped();
    facts->log_suppressed = log_suppressed();
    facts->options_refused = tcp_options_refused_total();
    facts->draining = control->draining;
    arena_usage(control->arena, &facts->arena_slots, &facts->arena_pools, &facts->arena_listeners);
    bool complete = collect_workers(control, facts) && collect_shared(control, facts) &&
                    collect_metrics(control, facts);
    if (complete && control->plan != NULL) {
        facts->configuration = control->plan->snapshot->number;
        complete = collect_pools(control, facts) && collect_listeners(control, facts) &&
                   collect_scripts(control, facts);
    }
    if (!complete) {
        facts_free(facts);
        return NULL;
    }
    return facts;
}

void facts_free(struct facts *facts) {
    if (facts == NULL) {
        return;
    }
    if (facts->pools != NULL) {
        free(facts->pools[0].backends);
    }
    free(facts->pools);
    free(facts->listeners);
    free(facts->workers);
    free(facts->scripts);
    free(facts->dictionaries);
    free(facts->metrics);
    free(facts);
}
