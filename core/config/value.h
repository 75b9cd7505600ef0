/* A tree of plain values with positions: what stands under `with:` in a configuration, handed to a
 * script as its options. Immutable after parsing; owned by the snapshot. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/messages.h"

enum value_kind { VALUE_NULL, VALUE_BOOLEAN, VALUE_NUMBER, VALUE_STRING, VALUE_LIST, VALUE_MAP };

struct value {
    enum value_kind kind;
    struct position at;
    bool boolean;
    double number;
    char *string;        /* also set for numbers and booleans: the text as written */
    uint32_t count;      /* of a list or map */
    struct value *items; /* list elements or map values */
    char **keys;         /* map keys, document order */
    struct position *key_at;
};

/* The same content? Positions do not count. NULL equals only NULL. Any thread. */
bool value_equal(const struct value *a, const struct value *b);

#endif
