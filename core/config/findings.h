/* Findings: the mistakes found in one configuration, collected in any order and reported in the
 * order of the file. Builder thread and command line tools. */
#ifndef CONFIG_FINDINGS_H
#define CONFIG_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/messages.h"
#include "config/region.h"

struct findings {
    const char *file;
    struct region *memory; /* of the texts; the document's */
    struct finding *items;
    uint32_t count;  /* all that were found */
    uint32_t stored; /* those with a text; beyond a bound they are only counted */
};

/* `what is wrong; what to write`, without the position. Line and column 0 = the file as such.
 * Control characters are replaced. */
void findings_add(struct findings *findings, uint32_t line, uint32_t column, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
/* Enough have been found that a further one will not be read: no need to search a suggestion. */
bool findings_are_many(const struct findings *findings);
/* Adds them all to `out`, first line first. */
void findings_report(struct findings *findings, struct messages *out);

/* The text as it may stand in a message: at most 40 bytes of it. */
const char *findings_excerpt(const struct findings *findings, const char *text);

#endif
