/* Testing: `alacrity test`. Finds the files, has lua/ run them one after the other and tells what
 * came of it. */
#ifndef OFFLINE_TESTING_H
#define OFFLINE_TESTING_H

#include <stdbool.h>
#include <stdint.h>

/* What became of one case of a file, or of the file itself. */
struct test_outcome {
    const char *name;
    bool passed;
    const char *message; /* lines; "" when it passed */
};

/* One file of tests, for scripting.test_file. */
struct test_settings {
    const char *path;    /* as people shall read it */
    const char *only;    /* run only the cases whose names contain it; NULL = all */
    uint32_t timeout_ms; /* of one case, in real time */
    double seed;         /* of math.random; not 0 */
    void *argument;      /* of both: */
    void (*tell)(void *argument, const struct test_outcome *outcome);
    void (*comment)(void *argument, const char *line); /* what the test printed */
};

/* The verb. On a thread where scripts may run. argv[0] is the verb; the exit code: 0 all passed,
 * 1 not all, 2 the command line is wrong. */
int test_main(int argc, char **argv);

#endif
