/* Options of a script that were given as words, KEY=VALUE, and not in a configuration. */
#ifndef CONFIG_GIVEN_H
#define CONFIG_GIVEN_H

#include <stdbool.h>

#include "config/region.h"
#include "config/value.h"

/* Is the text KEY=VALUE, with a key? */
bool given_is_option(const char *text);
/* The options of `with` (NULL: none) and one more, in the region's memory; the text has to be one.
 * A value means what it would mean in a configuration: a word, or [a, b], a list of words. NULL:
 * out of memory. */
struct value *given_add(struct region *memory, const struct value *with, struct position at,
                        const char *text) __attribute__((warn_unused_result));

#endif
