/* Clocks. Monotonic for durations and deadlines, wall for what people read. Any thread. On a libev
 * thread prefer ev_now(loop), which costs nothing. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <math.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_monotonic_us(void) {
    return clock_monotonic_ns() / 1000u;
}

static inline uint64_t clock_monotonic_ms(void) {
    return clock_monotonic_us() / 1000u;
}

/* The same clock as of the last tick of the kernel, some ms ago; a fraction of the price. */
static inline uint64_t clock_coarse_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static inline uint64_t clock_wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* Of times that are made up, in seconds: to the nearest nanosecond, so that ten times 0.1 and 1 are
 * the same moment. */
static inline double clock_round(double seconds) {
    return floor(seconds * 1e9 + 0.5) / 1e9;
}

#endif
