/* What a message or the reference says of a key's value. Constant data; any thread. */
#include <inttypes.h>

#include "base/text.h"
#include "config/scalar.h"
#include "config/schema.h"

static void describe_range(const struct key *key, struct text *out) {
    char minimum[SCALAR_FORMAT_BYTES], maximum[SCALAR_FORMAT_BYTES];

    if (key->type == KEY_DURATION) {
        scalar_format_duration(key->minimum, minimum);
        scalar_format_duration(key->maximum, maximum);
        text_format(out, "a duration from %s to %s, such as %s", minimum, maximum, key->example);
    } else if (key->type == KEY_SIZE) {
        scalar_format_size(key->minimum, minimum);
        scalar_format_size(key->maximum, maximum);
        text_format(out, "a size from %s to %s, such as %s", minimum, maximum, key->example);
    } else {
        text_format(out, "a whole number from %" PRIu64 " to %" PRIu64, key->minimum, key->maximum);
    }
}

static void describe_choices(const struct key *key, struct text *out) {
    for (uint32_t i = 0; key->choices[i] != NULL; i++) {
        const bool last = key->choices[i + 1] == NULL;

        text_format(out, "%s%s", i == 0 ? "" : last ? " or " : ", ", key->choices[i]);
    }
}

void schema_describe(const struct key *key, struct text *out) {
    static const char *const words[] = {
        [KEY_BOOLEAN] = "true or false",
        [KEY_TEXT] = "a text",
        [KEY_USER] = "the name of a user",
        [KEY_SOCKET] = "a path, or off",
        [KEY_DIRECTORIES] = "a directory or a list of them",
        [KEY_ADDRESS] = "an address",
        [KEY_BINDS] = "an address or a list of them",
        [KEY_POOL] = "the name of a pool",
        [KEY_SCRIPT] = "the name of a file",
        [KEY_OPTIONS] = "a map of options",
        [KEY_MAP] = "a map",
        [KEY_NAMED] = "a map of names",
        [KEY_WORD] = "a name",
        [KEY_CONGESTION] = "the name of a congestion control",
        [KEY_SOURCE] = "an IP address, or client",
    };

    switch (key->type) {
    case KEY_INTEGER:
    case KEY_DURATION:
    case KEY_SIZE:
        describe_range(key, out);
        break;
    case KEY_STOCK:
        text_format(out, "the name of one of the stock %s", key->folder);
        break;
    case KEY_WORDS:
        text_format(out, "a name or a list of at most %" PRIu64 " names", key->maximum);
        break;
    case KEY_MAP:
        if (key->shape->may_be_on) {
            text_format(out, "%s, or ", words[KEY_BOOLEAN]);
        }
        if (key->shape->shorthand != NULL) {
            text_string(out, key->shape->may_be_off ? "false, " : "");
            schema_describe(schema_find(key->shape, key->shape->shorthand), out);
            text_string(out, ", or ");
        }
        text_string(out, words[KEY_MAP]);
        break;
    default:
        if (key->choices != NULL) {
            describe_choices(key, out);
        } else {
            text_string(out, words[key->type]);
        }
        break;
    }
}
