/* Load: the sessions of a scenario, one after the other, the same ones for every policy. Belongs to
 * one thread. */
#ifndef OFFLINE_LOAD_H
#define OFFLINE_LOAD_H

#include "offline/random.h"
#include "offline/scenario.h"
#include "offline/trace.h"

struct arrival {
    double at, duration; /* seconds since the beginning */
    uint32_t client;     /* in load.clients */
    uint32_t port, worker;
};

struct load {
    const struct scenario *scenario;
    struct trace trace;
    const struct client *clients; /* the trace's, or made up */
    struct client *made_up;
    uint32_t client_count;
    double duration; /* of the whole */
    struct random random;
    double at;
    uint64_t next;
};

/* Returns OFFLINE_OK, or the exit code after it printed what is wrong. */
int load_open(struct load *load, const struct scenario *scenario)
    __attribute__((warn_unused_result));
void load_free(struct load *load);

/* Begins from the start. */
void load_rewind(struct load *load);
/* False: there are no more. */
bool load_next(struct load *load, struct arrival *arrival);

#endif
