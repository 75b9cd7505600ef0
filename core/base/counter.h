/* Single-writer counters: a row of words belongs to one thread, which alone writes them; any thread
 * reads. A relaxed load and store compile to plain moves, without a lock prefix. */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t counter;

static inline void counter_add(counter *c, uint64_t n) {
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* For a row's gauges: what is so now. */
static inline void counter_set(counter *c, uint64_t n) {
    atomic_store_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t counter_get(const counter *c) {
    return atomic_load_explicit((counter *)c, memory_order_relaxed);
}

#endif
