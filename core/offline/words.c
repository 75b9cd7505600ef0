/* Words of the command line of `alacrity simulate`. See words.h. */
#include "offline/words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/scalar.h"
#include "offline/offline.h"

int words_mistake(const char *format, ...) {
    va_list arguments;
    fputs("alacrity simulate: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("; `alacrity simulate --help` tells more\n", stderr);
    return OFFLINE_USAGE;
}

int words_no_memory(void) {
    fputs("alacrity simulate: out of memory\n", stderr);
    return OFFLINE_FAILED;
}

/* ---- words ---- */

bool words_seconds(const char *text, double *out) {
    uint64_t milliseconds;
    if (scalar_duration(text, &milliseconds) != SCALAR_OK) {
        return false;
    }
    *out = (double)milliseconds / 1000;
    return true;
}

bool words_count(const char *text, uint64_t least, uint64_t most, uint32_t *out) {
    uint64_t number;
    if (scalar_integer(text, &number) != SCALAR_OK || number < least || number > most) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

/* Everything before the first of `separators`, copied; `*rest` is what stands behind it, or NULL.
 * NULL: no memory. */
char *words_split(struct scenario *scenario, const char *text, const char *separators,
                  const char **rest) {
    size_t length = strcspn(text, separators);
    *rest = text[length] != '\0' ? text + length + 1 : NULL;
    return region_copy(&scenario->memory, text, length);
}
