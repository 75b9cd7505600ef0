/* Words: reading what stands on the command line of `alacrity simulate`, and saying what is wrong
 * with it. One thread. */
#ifndef OFFLINE_WORDS_H
#define OFFLINE_WORDS_H

#include "offline/scenario.h"

/* Print what is wrong; the exit code. */
int words_mistake(const char *format, ...) __attribute__((format(printf, 1, 2)));
int words_no_memory(void);

bool words_seconds(const char *text, double *out); /* such as 250ms */
bool words_count(const char *text, uint64_t least, uint64_t most, uint32_t *out);
/* Everything before the first of `separators`, copied; `*rest` is what stands behind it, or NULL.
 * NULL: no memory. */
char *words_split(struct scenario *scenario, const char *text, const char *separators,
                  const char **rest);

/* An option of one backend that can only be understood once the backends are known: those may be
 * given behind it. */
struct later {
    int option; /* BACKEND_... */
    const char *text;
};
enum { BACKEND_SLOW = 1000, BACKEND_CAPACITY, BACKEND_FAIL, BACKEND_REMOVE, BACKEND_RESET };

/* backends.c: the scenario's backends, from a list or number (NULL = 10) or, if `pool` is given,
 * from a configuration; then what concerns single ones. An exit code. */
int backends_make(struct scenario *scenario, const char *list, const char *pool);
int backends_understand(struct scenario *scenario, const struct later *later, uint32_t count);

#endif
