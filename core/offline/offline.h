/* Offline: what the verbs share that run scripts without a balancer. */
#ifndef OFFLINE_OFFLINE_H
#define OFFLINE_OFFLINE_H

#include "config/snapshot.h"

enum {
    OFFLINE_OK = 0,
    OFFLINE_FAILED = 1,
    OFFLINE_USAGE = 2,
    OFFLINE_DONE = 3 /* never an exit code: all that was asked for is done */
};

/* A configuration with the defaults of everything, and one pool. NULL: the reason was printed. */
struct snapshot *offline_snapshot(void) __attribute__((warn_unused_result));

#endif
