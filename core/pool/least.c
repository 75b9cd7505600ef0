/* Least: see least.h. The load of a backend is what it would carry with the new session, for its
 * weight: (active + 1) / weight. An idle one has none, whatever its weight: else a light backend of
 * a pool with little to do would never get a session. Equal loads take turns, by weight.
 *
 * `active` is written by all workers, for every session, and tells nobody. So this worker keeps a
 * heap ordered by the loads as it last saw them. Before each answer it looks again at some backends
 * in turn, and at the one on top, until the one on top really has the load the heap believes. So:
 *
 * - The answer's load is exact at that moment.
 * - A backend that became fuller is never answered for what it had before.
 * - A backend that became emptier is noticed at once in a pool of at most LOOKS, else after one
 *   pick for every LOOKS backends, and at most LAG picks of this worker. Until then the answer may
 *   be one that is fuller than it, but never one fuller than it was believed to be.
 *
 * So a pick costs the same in every pool, but for the heap's depth. What the error comes to is
 * measured by least_errs_little in tests/unit/test_least.c.
 *
 * Those a retry must not get are taken out of the heap for that pick. When backends may be at
 * their cap and some are, all are looked at. */
#include "pool/least.h"

#include <stdlib.h>

#define LOOKS 16u /* backends looked at again for each pick, at least ... */
#define LAG 512u  /* ... and so many that after this many picks each has been */

/* A load as a number: load / weight with 40 binary digits. Exact as an order: loads are below 2^24
 * and weights at most 10^6, so that two different ones differ by more than 2^-40. */
#define KEY_DIGITS 40
#define KEY_LOAD_MAX ((1u << 24) - 1)
#define KEY_LAST UINT64_MAX /* of who has no weight */

/* A turn lasts this long for weight 1, and shorter for more; 2^40 of them fit in 64 bits. */
#define TURN (1u << 24)

struct node {
    uint64_t key;
    uint64_t turn;  /* until when it had its turns; of equal keys the least is next */
    uint32_t place; /* in view->eligible */
};

struct least {
    uint64_t listings; /* of the view, when built */
    uint64_t clock;    /* when the last turn began */
    uint32_t count, capacity, cursor;
    struct node *heap; /* the parent of heap[i] is heap[(i - 1) / 2] */
    uint32_t *seen;    /* by place: sessions, as last seen */
    uint32_t *at;      /* by place: where in the heap */
};

static struct pool_view *view_of(const struct alacrity_pool *pool) {
    return (struct pool_view *)(uintptr_t)pool; /* the view begins with it */
}

static uint32_t active_of(const struct alacrity_backend *backend) {
    return atomic_load_explicit(&backend->active, memory_order_relaxed);
}

static uint64_t key_of(uint32_t active, uint32_t weight) {
    uint64_t load = active < KEY_LOAD_MAX ? active + 1 : KEY_LOAD_MAX;
    return weight == 0 ? KEY_LAST : active == 0 ? 0 : (load << KEY_DIGITS) / weight;
}

static uint32_t turn_of(uint32_t weight) {
    return weight > 0 ? TURN / weight : TURN;
}

/* ---- looking at all ---- */

static int32_t scan(struct pool_view *view) {
    const struct view_list *offered = view->offered;
    /* Equals take turns: each call starts to look one further. */
    uint32_t place = view->rotation++ % offered->count;
    int32_t best = -1;
    uint64_t best_key = KEY_LAST;
    for (uint32_t left = offered->count; left > 0; left--) {
        uint32_t weight = view->weights[view_position_at(view, place)];
        uint64_t key = key_of(active_of(offered->backends[place]), weight);
        if (key < best_key) {
            best = (int32_t)place;
            best_key = key;
        }
        place = place + 1 < offered->count ? place + 1 : 0;
    }
    return best;
}

/* ---- the heap ---- */

static bool is_before(const struct node *a, const struct node *b) {
    return a->key != b->key ? a->key < b->key : a->turn < b->turn;
}

static void put(struct least *least, uint32_t at, const struct node *node) {
    least->heap[at] = *node;
    least->at[node->place] = at;
}

/* The node at `at` may have become greater. */
static void sink(struct least *least, uint32_t at) {
    const struct node moving = least->heap[at];
    for (uint32_t child; (child = 2 * at + 1) < least->count; at = child) {
        if (child + 1 < least->count && is_before(&least->heap[child + 1], &least->heap[child])) {
            child++;
        }
        if (!is_before(&least->heap[child], &moving)) {
            break;
        }
        put(least, at, &least->heap[child]);
    }
    put(least, at, &moving);
}

/* The node at `at` may have become less. */
static void rise(struct least *least, uint32_t at) {
    const struct node moving = least->heap[at];
    while (at > 0 && is_before(&moving, &least->heap[(at - 1) / 2])) {
        put(least, at, &least->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(least, at, &moving);
}

static uint32_t weight_at(const struct pool_view *view, uint32_t place) {
    return view->weights[view->eligible.positions[place]];
}

/* The backend at the place has another number of sessions than believed. */
static void correct(const struct pool_view *view, struct least *least, uint32_t place,
                    uint32_t active) {
    uint32_t at = least->at[place], believed = least->seen[place];
    least->seen[place] = active;
    least->heap[at].key = key_of(active, weight_at(view, place));
    if (active < believed) {
        rise(least, at);
    } else {
        sink(least, at);
    }
}

/* Looks at some again, in turn. */
static void look(const struct pool_view *view, struct least *least) {
    const struct alacrity_backend *const *backends = view->eligible.backends;
    uint32_t looks = least->count / LAG + 1 > LOOKS ? least->count / LAG + 1 : LOOKS;
    uint32_t place = least->cursor;
    for (looks = looks < least->count ? looks : least->count; looks > 0; looks--) {
        uint32_t active = active_of(backends[place]);
        if (active != least->seen[place]) {
            correct(view, least, place, active);
        }
        place = place + 1 < least->count ? place + 1 : 0;
    }
    least->cursor = place;
}

static bool reserve(struct least *least, uint32_t count) {
    if (count <= least->capacity) {
        return true;
    }
    free(least->heap);
    free(least->seen);
    free(least->at);
    least->heap = calloc(count, sizeof(*least->heap));
    least->seen = calloc(count, sizeof(*least->seen));
    least->at = calloc(count, sizeof(*least->at));
    bool ok = least->heap != NULL && least->seen != NULL && least->at != NULL;
    least->capacity = ok ? count : 0;
    return ok;
}

static bool build(const struct pool_view *view, struct least *least) {
    uint32_t count = view->eligible.count;
    least->count = 0;
    if (!reserve(least, count)) {
        return false;
    }
    for (uint32_t place = 0; place < count; place++) {
        uint32_t active = active_of(view->eligible.backends[place]);
        uint32_t weight = weight_at(view, place);
        least->seen[place] = active;
        put(least, place,
            &(struct node){.key = key_of(active, weight), .turn = turn_of(weight), .place = place});
    }
    least->count = count;
    least->cursor = 0;
    least->clock = 0;
    for (uint32_t at = count / 2; at > 0; at--) {
        sink(least, at - 1);
    }
    least->listings = view->listings;
    return true;
}

/* The heap for what is listed now; NULL: no memory. */
static struct least *ready(struct pool_view *view) {
    if (view->least == NULL) {
        view->least = calloc(1, sizeof(*view->least));
        if (view->least == NULL) {
            return NULL;
        }
    }
    bool fresh = view->least->count > 0 && view->least->listings == view->listings;
    return fresh || build(view, view->least) ? view->least : NULL;
}

/* The tried ones go to the bottom of the heap, and come back after the answer. */
static void hide(const struct pool_view *view, struct least *least, struct node *kept) {
    for (uint32_t i = 0; i < view->hole_count; i++) {
        struct node *node = &least->heap[least->at[view->holes[i]]];
        kept[i] = *node;
        node->key = KEY_LAST;
        node->turn = UINT64_MAX;
        sink(least, least->at[view->holes[i]]);
    }
}

static void show(const struct pool_view *view, struct least *least, const struct node *kept) {
    for (uint32_t i = 0; i < view->hole_count; i++) {
        uint32_t at = least->at[view->holes[i]];
        least->heap[at] = kept[i];
        rise(least, at);
    }
}

static uint32_t top(const struct pool_view *view, struct least *least) {
    /* Other workers may fill the one on top while we look, but not for ever. */
    for (uint32_t tries = 0; tries < least->count; tries++) {
        uint32_t place = least->heap[0].place, active = active_of(view->eligible.backends[place]);
        if (active <= least->seen[place]) {
            break; /* less is the better */
        }
        correct(view, least, place, active);
    }
    struct node *node = &least->heap[0];
    uint32_t place = node->place;
    /* Whoever was too full to take turns does not make up for them. */
    least->clock = node->turn > least->clock ? node->turn : least->clock;
    node->turn = least->clock + turn_of(weight_at(view, place));
    sink(least, 0);
    return place;
}

static int32_t pick(const struct pool_view *view, struct least *least) {
    struct node kept[VIEW_TRIED_MAX];
    bool retry = view->offered != &view->eligible;
    look(view, least);
    if (retry) {
        hide(view, least, kept);
    }
    uint32_t place = top(view, least);
    if (retry) {
        show(view, least, kept);
    }
    return (int32_t)view_offered_place(view, place);
}

int32_t least_pick(const struct alacrity_pool *pool) {
    struct pool_view *view = view_of(pool);
    if (pool->count == 0) {
        return -1;
    }
    bool most = view->offered == &view->eligible || view->punched;
    struct least *least = most ? ready(view) : NULL;
    return least != NULL ? pick(view, least) : scan(view);
}

void least_free(struct pool_view *view) {
    if (view->least != NULL) {
        free(view->least->heap);
        free(view->least->seen);
        free(view->least->at);
        free(view->least);
    }
    view->least = NULL;
}
