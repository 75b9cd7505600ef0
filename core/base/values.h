/* Values: what scripts keep with a session (ctx:set), under names of their own. They belong to the
 * session, not to a script, so they outlive the script's version; they reach the session's later
 * picks, on_close and its log line. Bounded, and no memory at all while there are none.
 *
 * Belongs to the thread that owns the session. */
#ifndef BASE_VALUES_H
#define BASE_VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "alacrity/script.h"

#define VALUES_COUNT_MAX 16
#define VALUES_KEY_MAX 32
#define VALUES_STRING_MAX 256

/* All zero is empty. */
struct values {
    char *bytes; /* entries one after the other; NULL = none */
    uint16_t used, room;
    uint8_t count;
};

enum values_fault {
    VALUES_DONE,
    VALUES_BAD_KEY, /* not a name of 1 to 32 letters, digits and _ that begins with a letter */
    VALUES_TOO_LONG,
    VALUES_TOO_MANY,
    VALUES_OUT_OF_MEMORY,
    VALUES_GONE, /* `values` is NULL */
};

/* ALACRITY_SHARED_NOTHING removes it. A string is copied. */
enum values_fault values_set(struct values *values, const char *key, uint32_t key_length,
                             const struct alacrity_value *value);
/* Type ALACRITY_SHARED_NOTHING: there is none. Bytes live until the next set. */
void values_get(const struct values *values, const char *key, uint32_t key_length,
                struct alacrity_value *out);
/* The index-th: false past the last. The key is terminated by NUL, and so are a string's bytes. */
bool values_each(const struct values *values, uint32_t index, const char **key,
                 struct alacrity_value *out);
void values_free(struct values *values);

#endif
