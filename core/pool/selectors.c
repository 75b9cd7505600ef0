/* Native selectors: what a script asks when its own loop over the backends would be too slow, or a
 * table must be kept. They answer a position in what the view offers. Run on the thread that owns
 * the view.
 *
 * Maglev and ring are tables over the eligible set, built at the first use after the set or a
 * weight changed, at most 65537 entries of 2 bytes and about 33000 of 8. Building takes up to some
 * milliseconds for 1000 backends. Members are ordered and hashed by name, so that nodes whose
 * configurations list them differently agree. Tried and full backends stay in the tables and are
 * walked past: a retry moves nobody else. Without memory for a table, hash modulo count answers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/values.h"
#include "pool/least.h"
#include "pool/rotate.h"

static struct pool_view *view_of(const struct alacrity_pool *pool) {
    return (struct pool_view *)(uintptr_t)pool; /* the view begins with it */
}

static int32_t modulo(const struct pool_view *view, uint32_t hash) {
    return (int32_t)(hash % view->script.view.count); /* count > 0 */
}

static uint32_t weight_of(const struct alacrity_backend *backend) {
    return atomic_load_explicit(&backend->weight, memory_order_relaxed);
}

/* A bijection that spreads every bit (the finalizer of MurmurHash3). */
static uint32_t mix(uint32_t word) {
    word = (word ^ word >> 16) * 0x85EBCA6Bu;
    word = (word ^ word >> 13) * 0xC2B2AE35u;
    return word ^ word >> 16;
}

/* ---- the eligible set in the order of names ---- */

struct candidate {
    const char *name;
    uint32_t hash; /* of the name */
    uint32_t position, weight;
    uint32_t probe, skip; /* maglev: next place of its permutation, and the step */
    uint32_t turns;       /* maglev: taken so far */
    uint32_t next;        /* maglev: the one after it in its round, + 1 */
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct candidate *)a)->name, ((const struct candidate *)b)->name);
}

/* NULL: no memory, or nobody with a weight. */
static struct candidate *candidates_new(const struct pool_view *view, uint32_t *count) {
    struct candidate *candidates =
        calloc(view->eligible.count + (size_t)1, sizeof(*candidates)); /* never of 0 bytes */
    *count = 0;
    if (candidates == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < view->eligible.count; i++) {
        uint32_t position = view->eligible.positions[i];
        if (view->weights[position] > 0) {
            const char *name = view->members[position]->script.name;
            candidates[(*count)++] = (struct candidate){
                .name = name,
                .hash = hash_bytes(name, strlen(name)),
                .position = position,
                .weight = view->weights[position],
            };
        }
    }
    if (*count == 0) {
        free(candidates);
        return NULL;
    }
    qsort(candidates, *count, sizeof(*candidates), by_name);
    return candidates;
}

/* ---- maglev (Eisenbud et al., "Maglev", NSDI 2016, section 3.4) ---- */

#define MAGLEV_EMPTY UINT16_MAX

struct maglev {
    uint64_t signature; /* of the set it was built for */
    uint32_t size;
    uint16_t entries[]; /* position among the members */
};

/* A prime of at least 100 entries a backend while that fits in 65537: the error of a share is about
 * 1 %. It depends on all members, not on the eligible ones: another size would move everybody. */
static uint32_t maglev_size(uint32_t members) {
    return members <= 40 ? 4099 : members <= 160 ? 16411 : 65537;
}

/* In which round the k-th turn (from 0) falls: the heaviest has a turn each round, the others as
 * often as their weight says, in the middle of their share. */
static uint64_t round_of(uint32_t turn, uint32_t weight, uint32_t heaviest) {
    return (2 * (uint64_t)turn + 1) * heaviest / (2 * (uint64_t)weight);
}

/* Rounds are lists, so that a light backend costs nothing in the rounds it sits out. */
static void schedule(struct candidate *candidate, uint32_t number, uint32_t heaviest,
                     uint32_t *rounds, uint32_t size) {
    uint64_t round = round_of(candidate->turns++, candidate->weight, heaviest);
    if (round < size) { /* the table is full before */
        candidate->next = rounds[round];
        rounds[round] = number + 1;
    }
}

static void maglev_fill(struct maglev *maglev, struct candidate *candidates, uint32_t count,
                        uint32_t *rounds) {
    uint32_t size = maglev->size, heaviest = 0, filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        heaviest = candidates[i].weight > heaviest ? candidates[i].weight : heaviest;
        candidates[i].probe = candidates[i].hash % size;
        candidates[i].skip = mix(candidates[i].hash + 1) % (size - 1) + 1;
    }
    for (uint32_t i = count; i > 0; i--) {
        schedule(&candidates[i - 1], i - 1, heaviest, rounds, size);
    }
    for (uint32_t round = 0; round < size; round++) {
        for (uint32_t number = rounds[round]; number != 0;) {
            struct candidate *candidate = &candidates[number - 1];
            uint32_t next = candidate->next;
            while (maglev->entries[candidate->probe] != MAGLEV_EMPTY) {
                uint32_t probe = candidate->probe + candidate->skip;
                candidate->probe = probe < size ? probe : probe - size;
            }
            maglev->entries[candidate->probe] = (uint16_t)candidate->position;
            if (++filled == size) {
                return;
            }
            schedule(candidate, number - 1, heaviest, rounds, size);
            number = next;
        }
    }
}

/* The table for the view's set; NULL: it could not be made. */
static const struct maglev *maglev_ready(struct pool_view *view) {
    uint32_t size = maglev_size(view->script.all_count), count;
    if (view->maglev != NULL && view->maglev->signature == view->signature) {
        return view->maglev;
    }
    if (view->script.all_count >= MAGLEV_EMPTY) {
        return NULL; /* positions would not fit */
    }
    if (view->maglev == NULL) {
        view->maglev = malloc(sizeof(struct maglev) + size * sizeof(uint16_t));
        if (view->maglev == NULL) {
            return NULL;
        }
        view->maglev->size = size;
        view->maglev->signature = ~view->signature;
    }
    struct candidate *candidates = candidates_new(view, &count);
    uint32_t *rounds = calloc(size, sizeof(*rounds));
    if (candidates != NULL && rounds != NULL) {
        memset(view->maglev->entries, 0xFF, size * sizeof(uint16_t));
        maglev_fill(view->maglev, candidates, count, rounds);
        view->maglev->signature = view->signature;
    }
    bool made = candidates != NULL && rounds != NULL;
    free(candidates);
    free(rounds);
    return made ? view->maglev : NULL;
}

static int32_t select_maglev(const struct alacrity_pool *pool, uint32_t hash) {
    struct pool_view *view = view_of(pool);
    if (pool->count == 0) {
        return -1;
    }
    const struct maglev *maglev = maglev_ready(view);
    if (maglev == NULL) {
        return modulo(view, hash);
    }
    uint32_t at = hash % maglev->size;
    for (uint32_t left = maglev->size; left > 0; left--) {
        int32_t place = view_offered_at(view, maglev->entries[at]);
        if (place >= 0) {
            return place;
        }
        at = at + 1 < maglev->size ? at + 1 : 0;
    }
    return modulo(view, hash); /* those offered are too light to have an entry */
}

/* ---- ring (consistent hashing as in ketama) ---- */

#define RING_POINTS_PER_WEIGHT 160u
#define RING_POINTS                                                                                \
    32768u /* most points, when weights or members are many; each has at least one */

struct ring {
    uint64_t signature;
    uint32_t count, capacity;
    uint64_t *points; /* hash << 32 | position, ascending */
};

/* Points of a weight. Scaled by the weights of all members, not of the eligible ones, so that one
 * that goes leaves the points of the others where they are. */
static uint32_t points_of(uint32_t weight, uint64_t weights_of_all) {
    uint64_t points = (uint64_t)weight * RING_POINTS_PER_WEIGHT;
    if (weights_of_all * RING_POINTS_PER_WEIGHT > RING_POINTS) {
        points = (uint64_t)weight * RING_POINTS / weights_of_all;
    }
    return points > 0 ? (uint32_t)points : 1;
}

/* By the upper half, a byte a pass, stable: equal points stay in the order of names. */
static void sort_points(uint64_t *points, uint64_t *scratch, uint32_t count) {
    for (unsigned shift = 32; shift < 64; shift += 8) {
        uint32_t starts[256] = {0}, sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            starts[points[i] >> shift & 0xFF]++;
        }
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t members = starts[byte];
            starts[byte] = sum;
            sum += members;
        }
        for (uint32_t i = 0; i < count; i++) {
            scratch[starts[points[i] >> shift & 0xFF]++] = points[i];
        }
        uint64_t *sorted = scratch;
        scratch = points;
        points = sorted;
    }
    /* An even number of passes: the result stands where the input stood. */
}

static bool ring_reserve(struct ring *ring, uint32_t count) {
    if (count <= ring->capacity) {
        return true;
    }
    uint64_t *points = realloc(ring->points, count * sizeof(*points));
    if (points == NULL) {
        return false;
    }
    ring->points = points;
    ring->capacity = count;
    return true;
}

static void ring_fill(struct ring *ring, const struct candidate *candidates, uint32_t count,
                      uint64_t weights_of_all) {
    ring->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t points = points_of(candidates[i].weight, weights_of_all);
        for (uint32_t k = 0; k < points && ring->count < ring->capacity; k++) {
            uint64_t hash = mix(candidates[i].hash ^ mix(k + 1));
            ring->points[ring->count++] = hash << 32 | candidates[i].position;
        }
    }
}

static const struct ring *ring_ready(struct pool_view *view) {
    if (view->ring != NULL && view->ring->signature == view->signature) {
        return view->ring;
    }
    if (view->ring == NULL) {
        view->ring = calloc(1, sizeof(*view->ring));
        if (view->ring == NULL) {
            return NULL;
        }
        view->ring->signature = ~view->signature;
    }
    uint64_t weights_of_all = 0;
    uint32_t count, total = 0;
    for (uint32_t i = 0; i < view->script.all_count; i++) {
        weights_of_all += weight_of(view->all[i]);
    }
    struct candidate *candidates = candidates_new(view, &count);
    if (candidates == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        total += points_of(candidates[i].weight, weights_of_all);
    }
    uint64_t *scratch = calloc(total, sizeof(*scratch));
    bool made = scratch != NULL && ring_reserve(view->ring, total);
    if (made) {
        ring_fill(view->ring, candidates, count, weights_of_all);
        sort_points(view->ring->points, scratch, view->ring->count);
        view->ring->signature = view->signature;
    }
    free(scratch);
    free(candidates);
    return made ? view->ring : NULL;
}

/* How many sessions a backend of weight 1 may have, with bounded loads (Mirrokni et al., 2017): the
 * fair share of all sessions, the new one among them, times the factor. */
static double bound_of(const struct alacrity_pool *pool, double factor) {
    const struct pool_view *view = view_of(pool);
    uint64_t sessions = 1, weights = 0;
    for (uint32_t i = 0; i < pool->count; i++) {
        const struct alacrity_backend *backend = view->script.eligible[i];
        sessions += atomic_load_explicit(&backend->active, memory_order_relaxed);
        weights += weight_of(backend);
    }
    return weights > 0 ? factor * (double)sessions / (double)weights : 0;
}

/* Rounded up: at least one backend is always below, unless other workers are quicker. */
static bool is_below(const struct alacrity_backend *backend, double bound) {
    return atomic_load_explicit(&backend->active, memory_order_relaxed) <
           ceil(bound * weight_of(backend));
}

static int32_t select_ring(const struct alacrity_pool *pool, uint32_t hash, double factor) {
    struct pool_view *view = view_of(pool);
    if (pool->count == 0) {
        return -1;
    }
    const struct ring *ring = ring_ready(view);
    if (ring == NULL) {
        return modulo(view, hash);
    }
    const double bound = factor > 0 ? bound_of(pool, factor) : HUGE_VAL;
    int32_t owner = -1; /* whose it would be without a bound */
    /* The first point at or after the hash; past the last one, the first. */
    uint32_t low = 0, high = ring->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ring->points[middle] >> 32 < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (uint32_t left = ring->count; left > 0; left--) {
        low = low < ring->count ? low : 0;
        int32_t place = view_offered_at(view, (uint32_t)ring->points[low]);
        if (place >= 0 && is_below(view->script.eligible[place], bound)) {
            return place;
        }
        owner = owner < 0 ? place : owner;
        low++;
    }
    return owner >= 0 ? owner : modulo(view, hash);
}

/* ---- find: by its id ---- */

static int32_t find(const struct alacrity_pool *pool, uint32_t id) {
    const struct pool_view *view = view_of(pool);
    int32_t position = view_position_of_id(view, id);
    return position >= 0 ? view_offered_at(view, (uint32_t)position) : -1;
}

void selectors_free(struct pool_view *view) {
    least_free(view);
    free(view->maglev);
    if (view->ring != NULL) {
        free(view->ring->points);
        free(view->ring);
    }
    view->maglev = NULL;
    view->ring = NULL;
}

static const struct alacrity_pool *subset(const struct alacrity_pool *pool, uint32_t kind,
                                          uint32_t tag_bits) {
    return view_subset(view_of(pool), (enum subset_kind)kind, tag_bits);
}

static uint32_t hash(const char *bytes, uint32_t length) {
    return hash_bytes(bytes, length);
}

static void value_get(const void *values, const char *key, uint32_t length,
                      struct alacrity_value *out) {
    values_get(values, key, length, out);
}

static uint32_t value_set(void *values, const char *key, uint32_t length, uint32_t type,
                          double number, const char *bytes, uint32_t value_length) {
    const struct alacrity_value value = {
        .type = type, .length = value_length, .number = number, .bytes = bytes};
    return values_set(values, key, length, &value);
}

const struct alacrity_natives view_natives = {
    .least = least_pick,
    .rotate = rotate_pick,
    .rotate_words = rotate_words,
    .maglev = select_maglev,
    .ring = select_ring,
    .find = find,
    .subset = subset,
    .hash = hash,
    .value_get = value_get,
    .value_set = value_set,
};
