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

int32_t view_position_of_id(const struct pool_view *view, uint32_t id) {
    /* At most half full, so there is always an empty place to stop at. */
    for (uint32_t at = id & view->positions_mask; view->positions[at] != 0;
         at = (at + 1) & view->positions_mask) {
        uint32_t position = view->positions[at] - 1;
        if (view->all[position]->id == id) {
            return (int32_t)position;
        }
    }
    return -1;
}

/* As below, but without a look at the backends it passes. */
int32_t view_position(const struct pool_view *view, const struct slot *slot) {
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

static bool list_init(struct view_list *list, size_t room) {
    list->backends = calloc(room, sizeof(*list->backends));
    list->positions = calloc(room, sizeof(*list->positions));
    list->places = calloc(room, sizeof(*list->places));
    return list->backends != NULL && list->positions != NULL && list->places != NULL;
}

static void list_free(struct view_list *list) {
    free(list->backends);
    free(list->positions);
    free(list->places);
}

bool view_init(struct pool_view *view, const struct pool_facts *facts, const char *name,
               struct slot *const *members, uint32_t count) {
    *view = (struct pool_view){.facts = facts};
    size_t room = count > 0 ? count : 1;
    size_t places = 2;
    while (places < 2 * (size_t)count) {
        places *= 2;
    }
    bool listed = list_init(&view->eligible, room) && list_init(&view->untried, room);
    view->members = calloc(room, sizeof(*view->members));
    view->all = calloc(room, sizeof(*view->all));
    view->weights = calloc(room, sizeof(*view->weights));
    view->positions = calloc(places, sizeof(*view->positions));
    view->script.name = strdup(name); /* own copy: the view may outlive what it was made from */
    if (!listed || view->members == NULL || view->all == NULL || view->weights == NULL ||
        view->positions == NULL || view->script.name == NULL) {
        view_free(view);
        return false;
    }
    view->positions_mask = (uint32_t)places - 1;
    for (uint32_t i = 0; i < count; i++) {
        view->members[i] = members[i];
        view->all[i] = &members[i]->script.view;
        /* A script may go over a part of the pool while that is made anew and shrinks: what stands
         * behind the last one is a backend, too, never NULL. */
        view->eligible.backends[i] = view->untried.backends[i] = view->all[i];
        positions_add(view, members[i]->script.view.id, i);
    }
    view->script.all = view->all;
    view->script.all_count = count;
    view->offered = &view->eligible;
    view->script.eligible = view->eligible.backends;
    return true;
}

static void subsets_free(struct pool_view *view);

void view_free(struct pool_view *view) {
    subsets_free(view);
    selectors_free(view);
    list_free(&view->eligible);
    list_free(&view->untried);
    free(view->members);
    free(view->all);
    free(view->weights);
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

static void offer(struct pool_view *view, const struct view_list *list) {
    view->offered = list;
    view->script.eligible = list->backends;
    view->script.view.count = list->count;
}

static void list_add(struct pool_view *view, struct view_list *list, uint32_t position) {
    list->places[position] = list->count;
    list->positions[list->count] = position;
    list->backends[list->count++] = view->all[position];
}

static bool list_has(const struct pool_view *view, const struct view_list *list,
                     uint32_t position) {
    uint32_t place = list->places[position];
    return place < list->count && list->backends[place] == view->all[position];
}

static void begin_listing(struct pool_view *view) {
    static _Atomic uint64_t listings; /* writers: whoever owns a view */
    view->listings++;
    view->listing = atomic_fetch_add_explicit(&listings, 1, memory_order_relaxed) + 1;
    view->eligible.count = 0;
    view->has_caps = false;
    view->signature = 14695981039346656037u; /* FNV-1a over words: collisions do not happen */
}

static void make_eligible(struct pool_view *view, uint32_t position) {
    uint32_t weight = weight_of(view->all[position]);
    view->has_caps = view->has_caps || cap_of(view->all[position]) > 0;
    view->signature = (view->signature ^ ((uint64_t)position << 32 | weight)) * 1099511628211u;
    view->weights[position] = weight;
    list_add(view, &view->eligible, position);
}

static void rebuild(struct pool_view *view, bool everyone) {
    begin_listing(view);
    for (uint32_t i = 0; i < view->script.all_count; i++) {
        if (everyone || slot_is_listed(view->members[i])) {
            make_eligible(view, i);
        }
    }
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

/* `untried` becomes `eligible` without those at the holes. */
static void punch(struct pool_view *view) {
    const struct view_list *eligible = &view->eligible;
    struct view_list *untried = &view->untried;
    uint32_t from = 0;
    untried->count = 0;
    for (uint32_t i = 0; i <= view->hole_count; i++) {
        uint32_t end = i < view->hole_count ? view->holes[i] : eligible->count;
        memcpy(untried->backends + untried->count, eligible->backends + from,
               (end - from) * sizeof(struct alacrity_backend *));
        untried->count += end - from;
        from = end + 1;
    }
    view->punched = true;
}

/* Keeps the holes sorted. */
static void add_hole(struct pool_view *view, uint32_t position) {
    uint32_t place = view->eligible.places[position], at = view->hole_count;
    if (!list_has(view, &view->eligible, position)) {
        return;
    }
    for (; at > 0 && view->holes[at - 1] >= place; at--) {
        if (view->holes[at - 1] == place) {
            return; /* tried twice */
        }
    }
    memmove(&view->holes[at + 1], &view->holes[at],
            (view->hole_count - at) * sizeof(view->holes[0]));
    view->holes[at] = place;
    view->hole_count++;
}

static void hide_tried(struct pool_view *view, const uint32_t *tried, uint32_t tried_count) {
    view->narrowings++;
    view->hole_count = 0;
    for (uint32_t i = 0; i < tried_count; i++) {
        int32_t position = view_position_of_id(view, tried[i]);
        if (position >= 0) {
            add_hole(view, (uint32_t)position);
        }
    }
    if (view->hole_count > 0) {
        punch(view);
    }
    offer(view, view->hole_count > 0 ? &view->untried : &view->eligible);
}

/* False: there are more than a few. */
static bool find_holes(struct pool_view *view, const uint32_t *tried, uint32_t tried_count) {
    view->hole_count = 0;
    for (uint32_t i = 0; i < view->eligible.count; i++) {
        const struct alacrity_backend *backend = view->eligible.backends[i];
        if (is_full(backend) || is_tried(backend, tried, tried_count)) {
            if (view->hole_count == VIEW_TRIED_MAX) {
                return false;
            }
            view->holes[view->hole_count++] = i;
        }
    }
    return true;
}

static void fill_untried(struct pool_view *view, const uint32_t *tried, uint32_t tried_count) {
    view->punched = false;
    view->untried.count = 0;
    for (uint32_t i = 0; i < view->eligible.count; i++) {
        const struct alacrity_backend *backend = view->eligible.backends[i];
        if (!is_full(backend) && !is_tried(backend, tried, tried_count)) {
            list_add(view, &view->untried, view->eligible.positions[i]);
        }
    }
}

static void narrow(struct pool_view *view, const uint32_t *tried, uint32_t tried_count) {
    view->narrowings++;
    if (!find_holes(view, tried, tried_count)) {
        fill_untried(view, tried, tried_count);
    } else if (view->hole_count > 0) {
        punch(view);
    } else { /* most often nobody is full: what is kept for the whole set then serves */
        offer(view, &view->eligible);
        return;
    }
    offer(view, &view->untried);
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
    if (tried_count > 0 && tried_count <= VIEW_TRIED_MAX && !view->has_caps) {
        hide_tried(view, tried, tried_count);
    } else if (tried_count > 0 || view->has_caps) {
        narrow(view, tried, tried_count);
    } else {
        offer(view, &view->eligible);
    }
}

void view_prepare_trial(struct pool_view *view) {
    rebuild(view, true);
    view->built = false;
    offer(view, &view->eligible);
}

static bool is_punched(const struct pool_view *view) {
    return view->offered == &view->untried && view->punched;
}

uint32_t view_position_at(const struct pool_view *view, uint32_t place) {
    if (!is_punched(view)) {
        return view->offered->positions[place];
    }
    for (uint32_t i = 0; i < view->hole_count && view->holes[i] <= place; i++) {
        place++;
    }
    return view->eligible.positions[place];
}

uint32_t view_offered_place(const struct pool_view *view, uint32_t place) {
    uint32_t before = 0;
    while (is_punched(view) && before < view->hole_count && view->holes[before] < place) {
        before++;
    }
    return place - before;
}

/* The same, if it is there. */
static int32_t punched_at(const struct pool_view *view, uint32_t position) {
    uint32_t place = view->eligible.places[position];
    for (uint32_t i = 0; i < view->hole_count; i++) {
        if (view->holes[i] == place) {
            return -1;
        }
    }
    return list_has(view, &view->eligible, position) ? (int32_t)view_offered_place(view, place)
                                                     : -1;
}

int32_t view_offered_at(const struct pool_view *view, uint32_t position) {
    if (is_punched(view)) {
        return punched_at(view, position);
    }
    return list_has(view, view->offered, position) ? (int32_t)view->offered->places[position] : -1;
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

/* ---- subsets ---- */

struct subset {
    struct pool_view view;
    struct subset *next;
    enum subset_kind kind;
    uint32_t tag_bits;
    uint64_t listings, narrowings; /* of the view it is a part of, when filled */
};

static void subsets_free(struct pool_view *view) {
    while (view->subsets != NULL) {
        struct subset *subset = view->subsets;
        view->subsets = subset->next;
        view_free(&subset->view);
        free(subset);
    }
}

static bool belongs(const struct subset *subset, const struct alacrity_backend *backend,
                    uint32_t zone_code) {
    bool tagged =
        (atomic_load_explicit(&backend->tag_bits, memory_order_relaxed) & subset->tag_bits) != 0;
    bool near = atomic_load_explicit(&backend->zone_code, memory_order_relaxed) == zone_code;
    switch (subset->kind) {
    case SUBSET_TAGGED:
        return tagged;
    case SUBSET_UNTAGGED:
        return !tagged;
    case SUBSET_NEAR:
        return near;
    default:
        return !near;
    }
}

static struct subset *find_subset(struct pool_view *view, enum subset_kind kind,
                                  uint32_t tag_bits) {
    struct subset *subset = view->subsets;
    while (subset != NULL && (subset->kind != kind || subset->tag_bits != tag_bits)) {
        subset = subset->next;
    }
    if (subset != NULL || (subset = calloc(1, sizeof(*subset))) == NULL) {
        return subset;
    }
    if (!view_init(&subset->view, view->facts, view->script.name, view->members,
                   view->script.all_count)) {
        free(subset);
        return NULL;
    }
    subset->view.is_part = true;
    subset->kind = kind;
    subset->tag_bits = tag_bits;
    subset->next = view->subsets;
    view->subsets = subset;
    return subset;
}

const struct alacrity_pool *view_subset(struct pool_view *view, enum subset_kind kind,
                                        uint32_t tag_bits) {
    struct subset *subset = view->is_part ? NULL : find_subset(view, kind, tag_bits);
    if (subset == NULL) {
        return NULL;
    }
    struct pool_view *part = &subset->view;
    part->script.view = view->script.view;
    if (subset->listings != view->listings) {
        subset->listings = view->listings;
        begin_listing(part);
        for (uint32_t i = 0; i < view->eligible.count; i++) {
            if (belongs(subset, view->eligible.backends[i], view->script.view.zone_code)) {
                make_eligible(part, view->eligible.positions[i]);
            }
        }
    }
    bool narrowed = view->offered == &view->untried;
    if (narrowed && subset->narrowings != view->narrowings) {
        subset->narrowings = view->narrowings;
        part->untried.count = part->hole_count = 0;
        part->punched = view->punched;
        for (uint32_t i = 0; view->punched && i < view->hole_count; i++) {
            add_hole(part, view->eligible.positions[view->holes[i]]);
        }
        if (view->punched) {
            punch(part);
        }
        for (uint32_t i = 0; !view->punched && i < view->untried.count; i++) {
            if (list_has(part, &part->eligible, view->untried.positions[i])) {
                list_add(part, &part->untried, view->untried.positions[i]);
            }
        }
    }
    offer(part, narrowed ? &part->untried : &part->eligible);
    return &part->script.view;
}
