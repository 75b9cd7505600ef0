/* Making and freeing plans; see plans.h. */
#include "control/plans.h"

#include <stdlib.h>

#include "control/place.h"

/* ---- freeing ---- */

void worker_plan_free(struct plan_maker *maker, struct worker_plan *plan) {
    if (plan == NULL) {
        return;
    }
    if (plan->host != NULL) {
        scripting->host_free(plan->host);
    }
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        struct worker_pool *pool = &plan->pools[i];
        place_free(&pool->current);
        place_free(&pool->shadow);
        for (uint32_t k = 0; k < pool->view.script.all_count; k++) {
            arena_give_slot(maker->arena, pool->view.members[k]);
        }
        view_free(&pool->view);
        arena_give_pool(maker->arena, pool->facts);
    }
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        arena_give_listener(maker->arena, plan->listeners[i].facts);
        free(plan->listeners[i].sockets);
    }
    tags_give(&maker->tags, plan->tags);
    free(plan->pools);
    free(plan->hearing);
    free(plan->listeners);
    snapshot_release(plan->snapshot);
    free(plan);
}

void control_plan_free(struct plan_maker *maker, struct control_plan *plan) {
    if (plan == NULL) {
        return;
    }
    if (plan->host != NULL) {
        scripting->host_free(plan->host);
    }
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        struct control_pool *pool = &plan->pools[i];
        for (uint32_t k = 0; pool->slots != NULL && k < pool->config->backend_count; k++) {
            if (pool->slots[k] != NULL) {
                arena_give_slot(maker->arena, pool->slots[k]);
            }
        }
        free(pool->slots);
        version_release(pool->failed);
        version_release(pool->stays);
        if (pool->facts != NULL) {
            arena_give_pool(maker->arena, pool->facts);
        }
    }
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        free(plan->listeners[i].sockets);
        if (plan->listeners[i].facts != NULL) {
            arena_give_listener(maker->arena, plan->listeners[i].facts);
        }
    }
    tags_give(&maker->tags, plan->tags);
    free(plan->pools);
    free(plan->listeners);
    snapshot_release(plan->snapshot);
    free(plan);
}

/* ---- control's ---- */

static bool out_of_memory(const struct snapshot *snapshot, struct messages *messages) {
    messages_add(messages, (struct position){.file = snapshot->file}, "out of memory");
    return false;
}

/* Gives every tag its bit, and every backend those of its tags. */
static bool take_tags(struct plan_maker *maker, struct control_plan *plan,
                      struct messages *messages) {
    struct snapshot *snapshot = plan->snapshot;
    for (uint32_t i = 0; i < snapshot->tag_count; i++) {
        int bit = tags_take(&maker->tags, snapshot->tags[i].name);
        if (bit < 0) {
            messages_add(messages, (struct position){.file = snapshot->file},
                         "the tag '%s' is one too many beside those still in use: at most %u "
                         "different ones; take the old ones out first",
                         snapshot->tags[i].name, TAG_BITS);
            return false;
        }
        snapshot->tags[i].bit = (uint32_t)bit;
        plan->tags |= 1u << bit;
    }
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        for (uint32_t k = 0; k < snapshot->pools[i].backend_count; k++) {
            struct backend_config *backend = &snapshot->pools[i].backends[k];
            for (uint32_t tag = 0; tag < backend->tag_count; tag++) {
                backend->tag_bits |= snapshot_tag_bits(snapshot, backend->tags[tag]);
            }
        }
    }
    return true;
}

/* Finds or makes the slots and facts of everything the snapshot names. */
static bool take_facts(struct plan_maker *maker, struct control_plan *plan,
                       struct messages *messages) {
    const struct snapshot *snapshot = plan->snapshot;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        const struct pool_config *config = &snapshot->pools[i];
        struct control_pool *pool = &plan->pools[i];
        pool->config = config;
        pool->facts = arena_take_pool(maker->arena, config->name);
        pool->slots = calloc(config->backend_count, sizeof(*pool->slots));
        if (pool->facts == NULL || pool->slots == NULL) {
            messages_add(messages, config->at, "too many pools: at most %u are kept", ARENA_POOLS);
            return false;
        }
        for (uint32_t k = 0; k < config->backend_count; k++) {
            const struct backend_config *backend = &config->backends[k];
            bool address_changed;
            struct slot *slot = arena_take_slot(maker->arena, pool->facts, backend->name,
                                                backend->address_text, &address_changed);
            if (slot == NULL) {
                messages_add(messages, backend->at, "too many backends: at most %u are kept",
                             ARENA_SLOTS);
                return false;
            }
            pool->slots[k] = slot;
        }
    }
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        plan->listeners[i].config = &snapshot->listeners[i];
        plan->listeners[i].facts = arena_take_listener(maker->arena, snapshot->listeners[i].name);
        if (plan->listeners[i].facts == NULL) {
            messages_add(messages, snapshot->listeners[i].at,
                         "too many listeners: at most %u are kept", ARENA_LISTENERS);
            return false;
        }
    }
    return true;
}

/* The checks and services control runs. All are tried, so that every mistake is told. */
static bool make_control_scripts(struct plan_maker *maker, struct control_plan *plan,
                                 struct messages *messages) {
    plan->host = scripting->host_new(plan->snapshot, maker->arena, maker->control_loop,
                                     maker->script_post, ARENA_CONTROL_ROW, messages);
    if (plan->host == NULL) {
        return false;
    }
    bool ok = true;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        struct control_pool *pool = &plan->pools[i];
        if (pool->config->check.enabled) {
            pool->check = scripting->check_new(plan->host, pool->config, messages);
            ok = ok && pool->check != NULL;
        }
    }
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        struct control_listener *listener = &plan->listeners[i];
        if (!listener_relays(listener->config)) {
            listener->service = scripting->service_new(plan->host, listener->config, messages);
            ok = ok && listener->service != NULL;
        }
    }
    return ok;
}

struct control_plan *control_plan_make(struct plan_maker *maker, struct snapshot *snapshot,
                                       struct messages *messages) {
    struct control_plan *plan = calloc(1, sizeof(*plan));
    if (plan == NULL) {
        out_of_memory(snapshot, messages);
        return NULL;
    }
    plan->snapshot = snapshot_hold(snapshot);
    plan->pools = calloc(snapshot->pool_count + 1, sizeof(*plan->pools));
    plan->listeners = calloc(snapshot->listener_count + 1, sizeof(*plan->listeners));
    if (plan->pools == NULL || plan->listeners == NULL) {
        out_of_memory(snapshot, messages);
        control_plan_free(maker, plan);
        return NULL;
    }
    plan->pool_count = snapshot->pool_count;
    plan->listener_count = snapshot->listener_count;
    if (!take_tags(maker, plan, messages) || !take_facts(maker, plan, messages) ||
        !make_control_scripts(maker, plan, messages)) {
        control_plan_free(maker, plan);
        return NULL;
    }
    return plan;
}

/* ---- a worker's ---- */

static bool add_pool(struct plan_maker *maker, struct worker_plan *plan, uint32_t worker,
                     const struct control_pool *source, const struct carry_set *carries,
                     struct messages *messages) {
    struct worker_pool *pool = &plan->pools[plan->pool_count];
    uint32_t count = source->config->backend_count;
    if (!view_init(&pool->view, source->facts, source->config->name, source->slots, count)) {
        return out_of_memory(plan->snapshot, messages);
    }
    pool->view.script.view.zone_code = zone_code(source->config->zone);
    pool->config = source->config;
    pool->facts = source->facts;
    pool->row = arena_pool_row(maker->arena, source->facts, worker);
    /* References of our own: this plan may outlive control's. */
    atomic_fetch_add_explicit(&source->facts->references, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        atomic_fetch_add_explicit(&source->slots[i]->references, 1, memory_order_relaxed);
    }
    plan->pool_count++;
    const struct carry *carry = carry_find(carries, worker, source->config->name);
    if (source->stays != NULL) {
        const struct place_order place = {.script_post = maker->script_post,
                                          .arena = maker->arena,
                                          .snapshot = plan->snapshot,
                                          .pool = source,
                                          .worker = worker,
                                          .version = source->stays,
                                          .carry = carry};
        return place_build(&pool->current, &place, messages);
    }
    const struct policy_order order = {
        .use = &source->config->policy, .view = &pool->view, .carry = carry};
    pool->current.view = &pool->view;
    pool->current.policy = scripting->policy_new(plan->host, &order, messages);
    pool->current.hears =
        pool->current.policy != NULL && scripting->policy_hears(pool->current.policy);
    return pool->current.policy != NULL;
}

static bool add_listener(struct plan_maker *maker, struct worker_plan *plan, uint32_t worker,
                         const struct control_listener *source, struct messages *messages) {
    struct worker_listener *listener = &plan->listeners[plan->listener_count];
    listener->config = source->config;
    listener->facts = source->facts;
    listener->row = arena_listener_row(maker->arena, source->facts, worker);
    listener->pool = source->config->pool >= 0 ? &plan->pools[source->config->pool] : NULL;
    atomic_fetch_add_explicit(&source->facts->references, 1, memory_order_relaxed);
    plan->listener_count++;
    if (source->config->route.name == NULL) {
        return true;
    }
    listener->route = scripting->route_new(plan->host, source->config, messages);
    return listener->route != NULL;
}

struct worker_plan *worker_plan_make(struct plan_maker *maker,
                                     const struct control_plan *control_plan, uint32_t worker,
                                     const struct carry_set *carries, struct messages *messages) {
    struct snapshot *snapshot = control_plan->snapshot;
    struct worker_plan *plan = calloc(1, sizeof(*plan));
    if (plan == NULL) {
        out_of_memory(snapshot, messages);
        return NULL;
    }
    plan->snapshot = snapshot_hold(snapshot);
    plan->tags = control_plan->tags;
    tags_hold(&maker->tags, plan->tags);
    plan->serves = worker < snapshot->workers;
    plan->pools = calloc(snapshot->pool_count + 1, sizeof(*plan->pools));
    plan->hearing = calloc(snapshot->pool_count + 1, sizeof(struct worker_pool *));
    plan->listeners = calloc(snapshot->listener_count + 1, sizeof(*plan->listeners));
    bool ok = (plan->pools != NULL && plan->hearing != NULL && plan->listeners != NULL) ||
              out_of_memory(snapshot, messages);
    if (ok) {
        plan->host =
            scripting->host_new(snapshot, maker->arena, NULL, maker->script_post, worker, messages);
        ok = plan->host != NULL;
    }
    for (uint32_t i = 0; ok && i < control_plan->pool_count; i++) {
        ok = add_pool(maker, plan, worker, &control_plan->pools[i], carries, messages);
        /* One worker's messages are everybody's: tell of all its pools, then stop. */
        for (uint32_t k = i + 1; !ok && k < control_plan->pool_count; k++) {
            (void)add_pool(maker, plan, worker, &control_plan->pools[k], carries, messages);
        }
    }
    bool pools_ok = ok;
    for (uint32_t i = 0; pools_ok && plan->serves && i < control_plan->listener_count; i++) {
        if (listener_relays(control_plan->listeners[i].config)) {
            ok = add_listener(maker, plan, worker, &control_plan->listeners[i], messages) && ok;
        }
    }
    if (!ok) {
        worker_plan_free(maker, plan);
        return NULL;
    }
    return plan;
}
