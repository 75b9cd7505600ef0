/* Turn: how long the turns of a worker's loop take. See turn.c. */
#ifndef SESSION_TURN_H
#define SESSION_TURN_H

#include <stdint.h>

#include "base/counter.h"

#define TURN_LONG_NS 1000000u /* from here on it is counted: it held up everybody else */

/* What others may read. Writer: the worker. */
struct turn_counters {
    counter long_turns; /* that took TURN_LONG_NS or more of CPU time */
    counter longest_ns; /* gauge: of the last half to whole minute, by the clock on the wall ... */
    counter longest_cpu_ns; /* ... and of CPU time */
};

/* The worker's own. Zeroed is ready. */
struct turns {
    struct turn_counters counters;
    uint64_t began_ns;                   /* of this turn; 0: none has begun */
    uint64_t cpu_ns;                     /* the thread's CPU time when it was last asked for */
    uint64_t since_ns;                   /* what the turns since then took by the wall */
    uint32_t since;                      /* so many */
    uint64_t longest_ns, longest_cpu_ns; /* since the last turn_forget ... */
    uint64_t before_ns, before_cpu_ns;   /* ... and between that and the one before */
};

void turn_begin(struct turns *turns, uint64_t now_ns);
void turn_end(struct turns *turns);
/* How long this turn has lasted. */
uint64_t turn_age_ns(const struct turns *turns);
/* About twice a minute: the longest turn from before the last call is history. */
void turn_forget(struct turns *turns);

#endif
