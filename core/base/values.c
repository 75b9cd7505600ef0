/* What scripts keep with a session: see values.h. An entry is its head, its key and, of a string,
 * the bytes, both with a final NUL. A session has few, so they are simply searched. */
#include "base/values.h"

#include <stdlib.h>
#include <string.h>

struct head {
    double number;
    uint16_t bytes; /* of the whole entry */
    uint16_t length;
    uint8_t type, key_length;
};

static uint32_t entry_bytes(uint32_t key_length, const struct alacrity_value *value) {
    uint32_t text = value->type == ALACRITY_SHARED_STRING ? value->length + 1 : 0;
    return (uint32_t)sizeof(struct head) + key_length + 1 + text;
}

static struct head head_at(const struct values *values, uint32_t at) {
    struct head head;
    memcpy(&head, values->bytes + at, sizeof(head));
    return head;
}

static const char *key_at(const struct values *values, uint32_t at) {
    return values->bytes + at + sizeof(struct head);
}

/* values->used: there is none. */
static uint32_t find(const struct values *values, const char *key, uint32_t key_length) {
    uint32_t at = 0;
    while (at < values->used) {
        struct head head = head_at(values, at);
        if (head.key_length == key_length && memcmp(key_at(values, at), key, key_length) == 0) {
            break;
        }
        at += head.bytes;
    }
    return at;
}

static void read_entry(const struct values *values, uint32_t at, struct alacrity_value *out) {
    struct head head = head_at(values, at);
    out->type = head.type;
    out->length = head.length;
    out->number = head.number;
    out->bytes = key_at(values, at) + head.key_length + 1;
}

static void remove_entry(struct values *values, uint32_t at) {
    if (at < values->used) {
        uint32_t next = at + head_at(values, at).bytes;
        memmove(values->bytes + at, values->bytes + next, values->used - next);
        values->used = (uint16_t)(values->used - (next - at));
        values->count--;
    }
}

static bool is_name(const char *key, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) {
        char c = key[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return length > 0 && length <= VALUES_KEY_MAX;
}

static bool make_room(struct values *values, uint32_t more) {
    uint32_t wanted = values->used + more, room = values->room == 0 ? 64 : values->room;
    while (room < wanted) {
        room *= 2; /* at most 16 * 317 bytes are used: it fits */
    }
    if (room > values->room) {
        char *grown = realloc(values->bytes, room);
        if (grown == NULL) {
            return false;
        }
        values->bytes = grown;
        values->room = (uint16_t)room;
    }
    return true;
}

enum values_fault values_set(struct values *values, const char *key, uint32_t key_length,
                             const struct alacrity_value *value) {
    if (!is_name(key, key_length)) {
        return VALUES_BAD_KEY;
    }
    bool text = value->type == ALACRITY_SHARED_STRING;
    if (text && value->length > VALUES_STRING_MAX) {
        return VALUES_TOO_LONG;
    }
    if (values == NULL) {
        return VALUES_GONE;
    }
    uint32_t at = find(values, key, key_length), bytes = entry_bytes(key_length, value);
    if (value->type == ALACRITY_SHARED_NOTHING) {
        remove_entry(values, at);
        return VALUES_DONE;
    }
    if (at == values->used && values->count == VALUES_COUNT_MAX) {
        return VALUES_TOO_MANY;
    }
    if (!make_room(values, bytes)) {
        return VALUES_OUT_OF_MEMORY;
    }
    remove_entry(values, at);
    struct head head = {.number = value->number,
                        .bytes = (uint16_t)bytes,
                        .length = (uint16_t)(text ? value->length : 0),
                        .type = (uint8_t)value->type,
                        .key_length = (uint8_t)key_length};
    char *entry = values->bytes + values->used;
    memcpy(entry, &head, sizeof(head));
    entry += sizeof(head);
    memcpy(entry, key, key_length);
    entry[key_length] = '\0';
    if (text) {
        entry += key_length + 1;
        memcpy(entry, value->bytes, value->length);
        entry[value->length] = '\0';
    }
    values->used = (uint16_t)(values->used + bytes);
    values->count++;
    return VALUES_DONE;
}

void values_get(const struct values *values, const char *key, uint32_t key_length,
                struct alacrity_value *out) {
    uint32_t at = values != NULL ? find(values, key, key_length) : 0;
    *out = (struct alacrity_value){.type = ALACRITY_SHARED_NOTHING};
    if (values != NULL && at < values->used) {
        read_entry(values, at, out);
    }
}

bool values_each(const struct values *values, uint32_t index, const char **key,
                 struct alacrity_value *out) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < index && at < values->used; i++) {
        at += head_at(values, at).bytes;
    }
    if (at >= values->used) {
        return false;
    }
    *key = key_at(values, at);
    read_entry(values, at, out);
    return true;
}

void values_free(struct values *values) {
    free(values->bytes);
    *values = (struct values){0};
}
