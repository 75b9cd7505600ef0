/* The entry from main.c to control. */
#ifndef CONTROL_RUN_H
#define CONTROL_RUN_H

#include "control/build.h"

/* Runs the balancer on the calling thread until it is told to stop; returns the exit code (0
 * stopped, 1 could not start). `bind` is called once control exists, before anything runs. */
int control_run(const struct build_source *source, void (*bind)(struct control *control));

#endif
