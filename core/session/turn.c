/* Turn: how long the turns of a worker's loop take, from waking up to waiting again. While one
 * lasts no other session of the worker moves, so the longest is what its tail latencies are made
 * of. Runs on the worker.
 *
 * The clock on the wall also runs while the machine runs something else; CPU time tells our share.
 * But asking for that is a system call. So it is asked for after a turn that was not short, and
 * once in a while; between two answers short turns count as what they took by the wall. The figure
 * is exact to some tenths of a millisecond. */
#include "session/turn.h"

#include "base/clock.h"

#define SHORT_NS (TURN_LONG_NS / 4)
#define ASK_EVERY 64u /* turns */

static uint64_t cpu_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static void show(struct turns *turns) {
    counter_set(&turns->counters.longest_ns, later(turns->longest_ns, turns->before_ns));
    counter_set(&turns->counters.longest_cpu_ns,
                later(turns->longest_cpu_ns, turns->before_cpu_ns));
}

void turn_begin(struct turns *turns, uint64_t now_ns) {
    turns->began_ns = now_ns;
}

uint64_t turn_age_ns(const struct turns *turns) {
    return clock_monotonic_ns() - turns->began_ns;
}

/* A turn that took this long by the wall: how much was CPU time? */
static uint64_t cpu_share(const struct turns *turns, uint64_t took_ns, uint64_t cpu_ns) {
    uint64_t used = cpu_ns - turns->cpu_ns;
    used = used > turns->since_ns ? used - turns->since_ns : 0;
    return used < took_ns ? used : took_ns;
}

void turn_end(struct turns *turns) {
    if (turns->began_ns == 0) {
        return;
    }
    uint64_t took_ns = turn_age_ns(turns);
    turns->began_ns = 0;
    if (took_ns < SHORT_NS && ++turns->since < ASK_EVERY) {
        turns->since_ns += took_ns;
        return;
    }
    uint64_t cpu_ns = cpu_now_ns();
    uint64_t share_ns = cpu_share(turns, took_ns, cpu_ns);
    turns->cpu_ns = cpu_ns;
    turns->since_ns = 0;
    turns->since = 0;
    if (share_ns >= TURN_LONG_NS) {
        counter_add(&turns->counters.long_turns, 1);
    }
    if (took_ns > turns->longest_ns || share_ns > turns->longest_cpu_ns) {
        turns->longest_ns = later(turns->longest_ns, took_ns);
        turns->longest_cpu_ns = later(turns->longest_cpu_ns, share_ns);
        show(turns);
    }
}

void turn_forget(struct turns *turns) {
    turns->before_ns = turns->longest_ns;
    turns->before_cpu_ns = turns->longest_cpu_ns;
    turns->longest_ns = turns->longest_cpu_ns = 0;
    show(turns);
}
