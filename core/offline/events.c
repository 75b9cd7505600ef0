/* What is to happen in a simulation. See events.h. The heap has four children a node: fewer cache
 * lines than with two, for the same number of comparisons. */
#include "offline/events.h"

#include <stdlib.h>

#define CHILDREN 4

bool endings_add(struct endings *endings, struct ending ending) {
    if (endings->count == endings->capacity) {
        size_t capacity = endings->capacity == 0 ? 1024 : endings->capacity * 2;
        struct ending *grown = realloc(endings->heap, capacity * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        endings->heap = grown;
        endings->capacity = capacity;
    }
    struct ending *heap = endings->heap;
    size_t hole = endings->count++;
    while (hole > 0) {
        size_t parent = (hole - 1) / CHILDREN;
        if (heap[parent].at <= ending.at) {
            break;
        }
        heap[hole] = heap[parent];
        hole = parent;
    }
    heap[hole] = ending;
    return true;
}

const struct ending *endings_first(const struct endings *endings) {
    return endings->count > 0 ? endings->heap : NULL;
}

void endings_drop(struct endings *endings) {
    struct ending *heap = endings->heap;
    size_t count = --endings->count, hole = 0;
    struct ending last = heap[count];
    for (;;) {
        size_t child = hole * CHILDREN + 1, end = child + CHILDREN;
        if (child >= count) {
            break;
        }
        end = end < count ? end : count;
        for (size_t other = child + 1; other < end; other++) {
            child = heap[other].at < heap[child].at ? other : child;
        }
        if (heap[child].at >= last.at) {
            break;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = last;
}

void endings_free(struct endings *endings) {
    for (size_t i = 0; i < endings->count; i++) {
        values_free(&endings->heap[i].values);
    }
    free(endings->heap);
}

static int by_time(const void *a, const void *b) {
    const struct change *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : (int)x->kind - (int)y->kind;
}

bool changes_make(struct changes *changes, const struct scenario *scenario) {
    changes->items = calloc(scenario->outage_count * (size_t)4 + 1, sizeof(*changes->items));
    if (changes->items == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < scenario->outage_count; i++) {
        const struct scenario_outage *outage = &scenario->outages[i];
        struct change *items = changes->items;
        uint32_t backend = outage->backend;
        if (outage->drained) {
            items[changes->count++] = (struct change){outage->from, CHANGE_DRAINED, backend};
            items[changes->count++] = (struct change){outage->to, CHANGE_READY, backend};
            continue;
        }
        double notice = scenario->notice;
        items[changes->count++] = (struct change){outage->from, CHANGE_FAILS, backend};
        items[changes->count++] = (struct change){outage->from + notice, CHANGE_CHECKED, backend};
        items[changes->count++] = (struct change){outage->to, CHANGE_RECOVERS, backend};
        items[changes->count++] = (struct change){outage->to + notice, CHANGE_CHECKED, backend};
    }
    qsort(changes->items, changes->count, sizeof(*changes->items), by_time);
    return true;
}

const struct change *changes_first(const struct changes *changes) {
    return changes->next < changes->count ? &changes->items[changes->next] : NULL;
}

void changes_drop(struct changes *changes) {
    changes->next++;
}

void changes_free(struct changes *changes) {
    free(changes->items);
}
