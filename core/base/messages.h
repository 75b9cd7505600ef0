/* Messages: everything found wrong with one input, each as
 * `file:line:column: what is wrong; what to write`. Collected, never stopped at the first.
 * Belongs to one thread at a time (travels with a build). */
#ifndef BASE_MESSAGES_H
#define BASE_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* Where something stands in an input. line and column count from 1; 0 = not known (not printed). */
struct position {
    const char *file; /* not owned; must outlive its user */
    uint32_t line, column;
};

struct messages {
    struct text text; /* one message a line */
    uint32_t count;   /* beyond 100 they are counted, and the last line says how many more */
};

void messages_free(struct messages *messages);
void messages_add(struct messages *messages, struct position at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The closest of `candidates` to `word` if near enough to be a typo (edit distance), else NULL. */
const char *nearest_word(const char *word, const char *const *candidates, uint32_t count);

#endif
