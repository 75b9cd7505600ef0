/* Engine: plays the load of a scenario through one policy, in virtual time, and counts what comes
 * of it. Discrete events; the policy is asked the way a worker asks it. On a thread where scripts
 * may run. */
#ifndef OFFLINE_ENGINE_H
#define OFFLINE_ENGINE_H

#include "offline/load.h"
#include "offline/scenario.h"

#define SERIES_POINTS 240

/* Counts of numbers up to 2^40, such as microseconds, each exact to 1/64 of itself. */
#define HISTOGRAM_PLACES (36u * 64u)
struct histogram {
    uint64_t counts[HISTOGRAM_PLACES], total;
};

struct backend_result {
    uint64_t sessions, connect_failures, cut;
    uint32_t peak;          /* most sessions open at once */
    double session_seconds; /* of open sessions, summed up */
};

struct result {
    const struct script_use *policy;
    uint64_t arrivals, sessions; /* begun, and brought to a backend */
    uint64_t picks, nil, errors, bad_answers, overruns, not_asked, fallbacks;
    char first_error[320];       /* of all that it failed; "" = none */
    uint64_t retries, lost, cut; /* lost: brought to none */
    uint64_t waited;             /* sessions that queued at their backend */
    double wait_seconds, wait_most;
    struct histogram waits;
    /* After a backend went: clients of the others that came again; those who then changed. */
    uint64_t stayed, moved;
    double cpu_seconds;        /* what all of it cost here */
    struct histogram picks_ns; /* what the policy took, of a sample */
    struct backend_result *backends;
    float *series; /* SERIES_POINTS times all backends: sessions open, on average of the interval */
    double interval; /* seconds */
};

/* Returns OFFLINE_OK, or the exit code after it printed what is wrong. */
int engine_run(const struct scenario *scenario, struct load *load, const struct script_use *policy,
               struct result *result) __attribute__((warn_unused_result));
/* Calls the policy failed: by an error, by nonsense, or because it had to be stopped. */
uint64_t result_failures(const struct result *result);
void result_free(struct result *result);

void histogram_add(struct histogram *histogram, uint64_t number);
/* The number that the given share of those counted does not exceed. */
double histogram_share(const struct histogram *histogram, double share);

#endif
