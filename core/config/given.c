/* Options given as words; see given.h. Runs on whichever thread reads them. */
#include "config/given.h"

#include <string.h>

#include "config/scalar.h"

/* False: no memory. */
static bool read_word(struct region *memory, const char *text, size_t length, struct value *out) {
    out->kind = VALUE_STRING;
    out->string = region_copy(memory, text, length);
    if (out->string == NULL) {
        return false;
    }
    if (scalar_number(out->string, &out->number) == SCALAR_OK) {
        out->kind = VALUE_NUMBER;
    } else if (scalar_boolean(out->string, &out->boolean) == SCALAR_OK) {
        out->kind = VALUE_BOOLEAN;
    }
    return true;
}

/* False: no memory. */
static bool read_value(struct region *memory, const char *text, struct value *out) {
    size_t length = strlen(text);
    if (length < 2 || text[0] != '[' || text[length - 1] != ']') {
        return read_word(memory, text, length, out);
    }
    uint32_t count = 1;
    for (const char *at = text; *at != '\0'; at++) {
        count += *at == ',';
    }
    out->kind = VALUE_LIST;
    out->items = region_take_array(memory, count, sizeof(*out->items));
    for (const char *at = text + 1; out->items != NULL && *at != '\0';) {
        at += strspn(at, " ");
        size_t word = strcspn(at, ",]"), trimmed = word;
        while (trimmed > 0 && at[trimmed - 1] == ' ') {
            trimmed--;
        }
        struct value *item = &out->items[out->count];
        *item = (struct value){.at = out->at};
        if (trimmed > 0 && !read_word(memory, at, trimmed, item)) {
            return false;
        }
        out->count += trimmed > 0;
        at += word + 1;
    }
    return out->items != NULL;
}

bool given_is_option(const char *text) {
    const char *equals = strchr(text, '=');
    return equals != NULL && equals != text;
}

struct value *given_add(struct region *memory, const struct value *with, struct position at,
                        const char *text) {
    uint32_t count = with != NULL ? with->count : 0;
    struct value *more = region_take(memory, sizeof(*more));
    struct value *items = region_take_array(memory, count + 1, sizeof(*items));
    char **keys = region_take_array(memory, count + 1, sizeof(*keys));
    struct position *places = region_take_array(memory, count + 1, sizeof(*places));
    if (more == NULL || items == NULL || keys == NULL || places == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        items[i] = with->items[i];
        keys[i] = with->keys[i];
        places[i] = with->key_at[i];
    }
    const char *written = strchr(text, '=') + 1;
    keys[count] = region_copy(memory, text, (size_t)(written - text) - 1);
    places[count] = at;
    items[count] = (struct value){.at = at};
    if (keys[count] == NULL || !read_value(memory, written, &items[count])) {
        return NULL;
    }
    *more = (struct value){.kind = VALUE_MAP,
                           .at = at,
                           .count = count + 1,
                           .items = items,
                           .keys = keys,
                           .key_at = places};
    return more;
}
