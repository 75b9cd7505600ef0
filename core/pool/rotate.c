/* Rotate: see rotate.h. Everyone on offer is owed its weight more; the one that is owed most (of
 * equals, the first) has its turn, and pays the weights of all.
 *
 * Done as it is said, that is a walk over all for every turn. But those of one weight are all owed
 * the same more each time, so that the order among them only changes for the one that pays. So each
 * weight has a heap, with the one that is owed most on top, and one number for what all of them
 * earned since it was built; a turn looks at the tops alone. The turns are the very same.
 *
 * Those a retry must not get earn nothing, and are at the bottom meanwhile. Where a pool has more
 * than WEIGHTS different weights, or many are at their cap, it is done as it is said. */
#include "pool/rotate.h"

#include <string.h>

#define WEIGHTS 64u
#define EARNED_MAX (INT64_MAX / 4) /* then what is owed is settled, which keeps it small */
#define HIDDEN INT64_MIN

/* The members of one weight: a heap in heap[begin], heap[begin + 1] ... of the rotation. */
struct group {
    int64_t weight, earned;
    uint32_t begin, count;
};

struct rotation {
    uint64_t listing; /* of the view, for which the heaps were built; 0 = there are none */
    int64_t total;    /* the weights of all listed */
    uint64_t group_count;
    struct group groups[WEIGHTS];
    struct member {
        int64_t owed;  /* with heaps: without what its group earned */
        uint32_t heap; /* at each place of the heaps, one after the other: a position */
        uint32_t at;   /* where the member at this position stands there */
    } members[];
};

uint32_t rotate_words(uint32_t members) {
    return (uint32_t)((sizeof(struct rotation) + members * sizeof(struct member)) /
                      sizeof(int64_t));
}

/* ---- as it is said ---- */

static void settle(struct rotation *rotation) {
    for (uint32_t i = 0; rotation->listing != 0 && i < rotation->group_count; i++) {
        const struct group *group = &rotation->groups[i];
        for (uint32_t at = group->begin; at < group->begin + group->count; at++) {
            rotation->members[rotation->members[at].heap].owed += group->earned;
        }
    }
    rotation->listing = 0;
}

static int32_t walk(const struct pool_view *view, struct rotation *rotation) {
    int64_t most = INT64_MIN, total = 0;
    int32_t turn = -1;
    for (uint32_t i = 0; i < view->script.view.count; i++) {
        uint32_t position = view_position_at(view, i);
        int64_t weight = view->weights[position];
        int64_t owed = rotation->members[position].owed += weight;
        total += weight;
        if (owed > most) {
            most = owed;
            turn = (int32_t)i;
        }
    }
    if (turn >= 0) {
        rotation->members[view_position_at(view, (uint32_t)turn)].owed -= total;
    }
    return turn;
}

/* ---- heaps ---- */

static bool is_before(const struct rotation *rotation, uint32_t a, uint32_t b) {
    int64_t owed_a = rotation->members[a].owed, owed_b = rotation->members[b].owed;
    return owed_a != owed_b ? owed_a > owed_b : a < b;
}

static void put(struct rotation *rotation, uint32_t at, uint32_t position) {
    rotation->members[at].heap = position;
    rotation->members[position].at = at;
}

/* The one at `at` may be owed less than before. */
static void sink(struct rotation *rotation, const struct group *group, uint32_t at) {
    const struct member *members = rotation->members;
    uint32_t moving = members[at].heap, end = group->begin + group->count;
    for (uint32_t child; (child = group->begin + 2 * (at - group->begin) + 1) < end; at = child) {
        if (child + 1 < end && is_before(rotation, members[child + 1].heap, members[child].heap)) {
            child++;
        }
        if (!is_before(rotation, members[child].heap, moving)) {
            break;
        }
        put(rotation, at, members[child].heap);
    }
    put(rotation, at, moving);
}

/* ... or more. */
static void rise(struct rotation *rotation, const struct group *group, uint32_t at) {
    const struct member *members = rotation->members;
    uint32_t moving = members[at].heap;
    while (at > group->begin) {
        uint32_t parent = group->begin + (at - group->begin - 1) / 2;
        if (!is_before(rotation, moving, members[parent].heap)) {
            break;
        }
        put(rotation, at, members[parent].heap);
        at = parent;
    }
    put(rotation, at, moving);
}

/* The group of that weight, perhaps a new one. NULL: there are too many. */
static struct group *group_of(struct rotation *rotation, int64_t weight) {
    for (uint32_t i = 0; i < rotation->group_count; i++) {
        if (rotation->groups[i].weight == weight) {
            return &rotation->groups[i];
        }
    }
    if (rotation->group_count == WEIGHTS) {
        return NULL;
    }
    struct group *group = &rotation->groups[rotation->group_count++];
    *group = (struct group){.weight = weight};
    return group;
}

/* Heaps of all that are listed. False: too many weights. */
static bool build(const struct pool_view *view, struct rotation *rotation) {
    const struct view_list *eligible = &view->eligible;
    uint32_t begin = 0;
    settle(rotation);
    rotation->group_count = 0;
    rotation->total = 0;
    for (uint32_t i = 0; i < eligible->count; i++) {
        int64_t weight = view->weights[eligible->positions[i]];
        struct group *group = group_of(rotation, weight);
        if (group == NULL) {
            return false;
        }
        group->count++;
        rotation->total += weight;
    }
    for (uint32_t i = 0; i < rotation->group_count; i++) {
        rotation->groups[i].begin = begin;
        begin += rotation->groups[i].count;
        rotation->groups[i].count = 0;
    }
    for (uint32_t i = 0; i < eligible->count; i++) {
        struct group *group = group_of(rotation, view->weights[eligible->positions[i]]);
        put(rotation, group->begin + group->count++, eligible->positions[i]);
    }
    for (uint32_t i = 0; i < rotation->group_count; i++) {
        const struct group *group = &rotation->groups[i];
        for (uint32_t at = group->count / 2; at > 0; at--) {
            sink(rotation, group, group->begin + at - 1);
        }
    }
    rotation->listing = view->listing;
    return true;
}

static bool ready(const struct pool_view *view, struct rotation *rotation) {
    bool fresh = rotation->listing == view->listing;
    for (uint32_t i = 0; fresh && i < rotation->group_count; i++) {
        fresh = rotation->groups[i].earned < EARNED_MAX;
    }
    return fresh || build(view, rotation);
}

/* ---- a turn ---- */

/* The tried ones, and what they are owed. */
struct hidden {
    uint32_t position;
    int64_t owed;
};

static uint32_t hide(const struct pool_view *view, struct rotation *rotation,
                     struct hidden *hidden) {
    uint32_t count = view->offered == &view->eligible ? 0 : view->hole_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = view->eligible.positions[view->holes[i]];
        struct member *member = &rotation->members[position];
        hidden[i] = (struct hidden){position, member->owed};
        member->owed = HIDDEN;
        sink(rotation, group_of(rotation, view->weights[position]), member->at);
    }
    return count;
}

/* Their group has earned its weight meanwhile, but not they. */
static void show(const struct pool_view *view, struct rotation *rotation,
                 const struct hidden *hidden, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        int64_t weight = view->weights[hidden[i].position];
        struct member *member = &rotation->members[hidden[i].position];
        member->owed = hidden[i].owed - weight;
        rise(rotation, group_of(rotation, weight), member->at);
    }
}

static uint32_t turn(struct rotation *rotation, int64_t total) {
    struct group *whose = NULL;
    int64_t most = INT64_MIN;
    uint32_t next = 0;
    for (uint32_t i = 0; i < rotation->group_count; i++) {
        struct group *group = &rotation->groups[i];
        uint32_t top = rotation->members[group->begin].heap;
        group->earned += group->weight;
        if (rotation->members[top].owed != HIDDEN) { /* else all of them are */
            int64_t owed = rotation->members[top].owed + group->earned;
            if (whose == NULL || owed > most || (owed == most && top < next)) {
                whose = group;
                most = owed;
                next = top;
            }
        }
    }
    if (whose != NULL) { /* somebody is on offer */
        rotation->members[next].owed -= total;
        sink(rotation, whose, whose->begin);
    }
    return next;
}

int32_t rotate_pick(const struct alacrity_pool *pool, int64_t *words) {
    const struct pool_view *view = (const struct pool_view *)(const void *)pool; /* it begins so */
    struct rotation *rotation = (struct rotation *)(void *)words;
    if (pool->count == 0) {
        return -1;
    }
    bool most = view->offered == &view->eligible || view->punched;
    if (!most || !ready(view, rotation)) {
        settle(rotation);
        return walk(view, rotation);
    }
    struct hidden hidden[VIEW_TRIED_MAX];
    uint32_t count = hide(view, rotation, hidden);
    int64_t total = rotation->total;
    for (uint32_t i = 0; i < count; i++) {
        total -= view->weights[hidden[i].position];
    }
    uint32_t next = turn(rotation, total);
    show(view, rotation, hidden, count);
    return (int32_t)view_offered_place(view, view->eligible.places[next]);
}
