/* Scenario: what `alacrity simulate` plays, read from its command line. Belongs to one thread; does
 * not change once it was read. */
#ifndef OFFLINE_SCENARIO_H
#define OFFLINE_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

#include "config/region.h"
#include "config/snapshot.h"

#define SCENARIO_BACKENDS 1000u
#define SCENARIO_POLICIES 16u
#define SCENARIO_CLIENTS 1000000u

/* How long sessions last. All in seconds. */
struct distribution {
    enum { DISTRIBUTION_CONST, DISTRIBUTION_EXP, DISTRIBUTION_PARETO } kind;
    double mean;
    double shape; /* of Pareto, above 1: the smaller, the heavier the tail */
};

struct scenario_backend {
    const char *name;
    uint32_t weight, max_sessions, zone_code, tag_bits;
    double resets;     /* this share of its sessions it accepts and then resets, 0 to 1 */
    double slow;       /* sessions and connects take that many times as long */
    uint32_t capacity; /* sessions served at once, the others wait in its queue; 0 = any number */
};

/* A time in which a backend takes no sessions. */
struct scenario_outage {
    uint32_t backend;
    bool drained;    /* by an administrator; else it fails: connects are refused, sessions cut */
    double from, to; /* seconds; `to` may be past the end */
};

struct scenario {
    uint32_t backend_count, policy_count, outage_count;
    struct scenario_backend *backends;
    struct script_use policies[SCENARIO_POLICIES];
    char *labels[SCENARIO_POLICIES]; /* what people shall call them */
    struct scenario_outage *outages;
    double rate;     /* sessions a second */
    double duration; /* seconds; with a trace, its length */
    struct distribution session;
    double connect_ms; /* to an idle backend that is not slow */
    double notice;     /* seconds until the check of a backend sees that it failed or is back */
    uint32_t clients, workers;
    uint64_t seed;
    const char *trace, *chart; /* files; NULL = none */
    bool json;
    /* From --pool, else defaults. */
    struct snapshot *snapshot;
    const char *pool_name; /* "app" without --pool */
    uint32_t zone_code;    /* where the balancer stands */
    bool pool_given;
    struct region memory; /* of all of the above */
};

/* Returns OFFLINE_OK, or the exit code after it printed what is wrong; OFFLINE_DONE after --help.
 */
int scenario_read(struct scenario *scenario, int argc, char **argv);
void scenario_free(struct scenario *scenario);

#endif
