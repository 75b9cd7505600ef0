/* Simulate: `alacrity simulate`. */
#ifndef OFFLINE_SIMULATE_H
#define OFFLINE_SIMULATE_H

/* The verb. On a thread where scripts may run. argv[0] is the verb; the exit code: 0 done, 1 a
 * policy or trace cannot be used, 2 the command line is wrong. */
int simulate_main(int argc, char **argv);

#endif
