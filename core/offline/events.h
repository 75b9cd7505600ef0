/* Events: what is to happen in a simulation. Endings of sessions are a heap; changes of backends
 * are known from the start and sorted. Both belong to one engine. */
#ifndef OFFLINE_EVENTS_H
#define OFFLINE_EVENTS_H

#include "base/values.h"
#include "offline/scenario.h"

struct ending {
    double at, began;
    uint32_t backend, epoch;
    uint32_t client;
    uint16_t port;
    uint8_t worker, attempts;
    bool reset;           /* by its backend */
    struct values values; /* what its policy keeps with the session */
};

/* The earliest first; equal ones in no order. */
struct endings {
    struct ending *heap;
    size_t count, capacity;
};

/* False: no memory. */
bool endings_add(struct endings *endings, struct ending ending) __attribute__((warn_unused_result));
/* NULL: there is none. */
const struct ending *endings_first(const struct endings *endings);
void endings_drop(struct endings *endings); /* the first; its values are the caller's */
void endings_free(struct endings *endings);

struct change {
    double at;
    enum {
        CHANGE_FAILS,
        CHANGE_RECOVERS,
        CHANGE_CHECKED, /* its health check sees how it is */
        CHANGE_DRAINED,
        CHANGE_READY
    } kind;
    uint32_t backend;
};

struct changes {
    struct change *items;
    uint32_t count, next;
};

/* From the outages. False: no memory. */
bool changes_make(struct changes *changes, const struct scenario *scenario)
    __attribute__((warn_unused_result));
const struct change *changes_first(const struct changes *changes); /* NULL: there is none */
void changes_drop(struct changes *changes);                        /* the first */
void changes_free(struct changes *changes);

#endif
