/* The dense set of backends a pick chooses from. Runs on the worker that owns the view, and before
 * the hand-over on the builder. */
#include "pool/view.h"

#include <stdlib.h>
#include <string.h>

/* ---- positions: slot id to place among the members ---- */

static void positions_add(struct pool_view *view, uint32_t id, uint32_t position) {
    /* Ids of a pool are mostly consecutive: they spread without being mixed. */
    uint32_t at = id & view->positions_mask;
    while (view->positions[at] != 0) {
        at = (at + 1) & view->positions_mask;
    }
    view->positions[at] = position + 1;
}

int32_t view_position(const struct pool_view *view, const struct slot *slot) {
    /* At most half full, so there is always an empty place to stop at. */
    for (uint32_t at = slot->script.view.id & view->positions_mask; view->positions[at] != 0;
         at = (at + 1) & view->positions_mask) {
        uint32_t position = view->positions[at] - 1;
        if (view->members[position] == slot) {
            return (int32_t)position;
        }
    }
    return -1;
}

/* ---- life ---- */

bool view_init(struct pool_view *view, const struct pool_facts *facts, const char *name,
               struct slot *const *members, uint32_t count) {
    *view = (struct pool_view){.facts = facts};
    size_t room = count > 0 ? count : 1;
    size_t places = 2;
    while (places < 2 * (size_t)count) {
        places *= 2;
    }
    view->members = calloc(room, sizeof(*view->members));
    view->all = calloc(room, sizeof(*view->all));
    view->eligible = calloc(room, sizeof(*view->eligible));
    view->untried = calloc(room, sizeof(*view->untried));
    view->eligible_at = calloc(room, sizeof(*view->eligible_at));
    view->untried_at = calloc(room, sizeof(*view->untried_at));
    view->positions = calloc(places, sizeof(*view->positions));
    view->script.name = strdup(name); /* own copy: the view may outlive what it was made from */
    if (view->members == NULL || view->all == NULL || view->eligible == NULL ||
        view->untried == NULL || view->eligible_at == NULL || view->untried_at == NULL ||
        view->positions == NULL || view->script.name == NULL) {
        view_free(view);
        return false;
    }
    view->positions_mask = (uint32_t)places - 1;
    for (uint32_t i = 0; i < count; i++) {
        view->members[i] = members[i];
        view->all[i] = &members[i]->script.view;
        positions_add(view, members[i]->script.view.id, i);
    }
    view->script.all = view->all;
    view->script.all_count = count;
    view->script.eligible = view->eligible;
    return true;
}

void view_free(struct pool_view *view) {
    selectors_free(view);
    free(view->members);
    free(view->all);
    free(view->eligible);
    free(view->untried);
    free(view->eligible_at);
    free(view->untried_at);
    free(view->positions);
    free((char *)(uintptr_t)view->script.name);
    *view = (struct pool_view){0};
}

/* ---- what is offered ---- */

static uint32_t weight_of(const struct alacrity_backend *backend) {
    return atomic_load_explicit(&backend->weight, memory_order_relaxed);
}

static uint32_t cap_of(const struct alacrity_backend *backend) {
    return atomic_load_explicit(&backend->max_sessions, memory_order_relaxed);
}

static void offer(struct pool_view *view, const struct alacrity_backend **set, uint32_t count) {
    view->script.eligible = set;
    view->script.view.count = count;
}

static void rebuild(struct pool_view *view, bool everyone) {
    uint32_t count = 0;
    uint64_t signature = 14695981039346656037u; /* FNV-1a over words: collisions do not happen */
    view->has_caps = false;
    for (uint32_t i = 0; i < view->script.all_count; i++) {
        const struct slot *slot = view->members[i];
        if (!everyone && !slot_is_listed(slot)) {
            continue;
        }
        view->has_caps = view->has_caps || cap_of(view->all[i]) > 0;
        signature = (signature ^ ((uint64_t)i << 32 | weight_of(view->all[i]))) * 1099511628211u;
        view->eligible_at[i] = count;
        view->eligible[count++] = view->all[i];
    }
    view->signature = signature;
    view->eligible_count = count;
}

static bool is_tried(const struct alacrity_backend *backend, const uint32_t *tried,
                     uint32_t tried_count) {
    for (uint32_t i = 0; i < tried_count; i++) {
        if (tried[i] == backend->id) {
            return true;
        }
    }
    return false;
}

static bool is_full(const struct alacrity_backend *backend) {
    uint32_t cap = cap_of(backend);
    return cap > 0 && atomic_load_explicit(&backend->active, memory_order_relaxed) >= cap;
}

static void narrow(struct pool_view *view, const uint32_t *tried, uint32_t tried_count) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->eligible_count; i++) {
        const struct alacrity_backend *backend = view->eligible[i];
        if (is_full(backend) || is_tried(backend, tried, tried_count)) {
            continue;
        }
        /* A slot begins with what scripts see of it. */
        int32_t position = view_position(view, (const struct slot *)(const void *)backend);
        view->untried_at[position] = count;
        view->untried[count++] = backend;
    }
    offer(view, view->untried, count);
}

void view_prepare(struct pool_view *view, const uint32_t *tried, uint32_t tried_count) {
    /* Acquire pairs with slot_changed's release: we see at least the states behind this number. It
     * is read before them, so that a change while we rebuild makes us rebuild once more. */
    uint32_t generation = atomic_load_explicit(&view->facts->generation, memory_order_acquire);
    if (!view->built || view->script.view.generation != generation) {
        view->script.view.generation = generation;
        view->built = true;
        rebuild(view, false);
    }
    if (tried_count > 0 || view->has_caps) {
        narrow(view, tried, tried_count);
    } else {
        offer(view, view->eligible, view->eligible_count);
    }
}

void view_prepare_trial(struct pool_view *view) {
    rebuild(view, true);
    view->built = false;
    offer(view, view->eligible, view->eligible_count);
}

int32_t view_offered_at(const struct pool_view *view, uint32_t position) {
    const uint32_t *places =
        view->script.eligible == view->untried ? view->untried_at : view->eligible_at;
    uint32_t place = places[position];
    if (place < view->script.view.count && view->script.eligible[place] == view->all[position]) {
        return (int32_t)place;
    }
    return -1;
}

struct slot *view_offers(const struct pool_view *view, const struct arena *arena,
                         const void *candidate) {
    struct slot *slot = arena_slot_at(arena, candidate);
    if (slot == NULL) {
        return NULL;
    }
    int32_t position = view_position(view, slot);
    return position >= 0 && view_offered_at(view, (uint32_t)position) >= 0 ? slot : NULL;
}

int32_t view_pick_round_robin(struct pool_view *view) {
    uint32_t count = view->script.view.count;
    if (count == 0) {
        return -1;
    }
    return (int32_t)(view->rotation++ % count);
}
