/* Growing text buffer and JSON strings. Runs on whichever thread owns the text. */
#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(struct text *text) {
    free(text->bytes);
    *text = (struct text){0};
}

void text_clear(struct text *text) {
    text->length = 0;
    text->failed = false;
    if (text->bytes != NULL) {
        text->bytes[0] = '\0';
    }
}

/* Room for `more` bytes and the final NUL. */
static bool reserve(struct text *text, size_t more) {
    if (text->failed) {
        return false;
    }
    if (more < text->capacity - text->length) { /* 0 - 0 before the first write */
        return true;
    }
    if (more > SIZE_MAX / 4 - text->length) {
        text->failed = true;
        return false;
    }
    size_t needed = text->length + more + 1;
    size_t capacity = text->capacity < 128 ? 128 : text->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *bytes = realloc(text->bytes, capacity);
    if (bytes == NULL) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void text_append(struct text *text, const char *bytes, size_t length) {
    if (!reserve(text, length)) {
        return;
    }
    if (length > 0) {
        memcpy(text->bytes + text->length, bytes, length);
    }
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_string(struct text *text, const char *string) {
    text_append(text, string, strlen(string));
}

void text_vformat(struct text *text, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    size_t room = text->capacity - text->length;
    int written = text->failed ? -1
                               : vsnprintf(room > 0 ? text->bytes + text->length : NULL, room,
                                           format, arguments);
    if (written < 0) {
        text->failed = true;
    } else if ((size_t)written < room) {
        text->length += (size_t)written;
    } else if (reserve(text, (size_t)written)) {
        vsnprintf(text->bytes + text->length, (size_t)written + 1, format, again);
        text->length += (size_t)written;
    }
    if (text->bytes != NULL) {
        text->bytes[text->length] = '\0'; /* a failed write may have left a partial one behind */
    }
    va_end(again);
}

void text_format(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_vformat(text, format, arguments);
    va_end(arguments);
}

/* Unicode table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t utf8_sequence(const char *text, size_t left) {
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char first = bytes[0], low = 0x80, high = 0xBF;
    size_t length;
    if (first < 0x80) {
        return 1;
    } else if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        low = first == 0xE0 ? 0xA0 : low;
        high = first == 0xED ? 0x9F : high;
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        low = first == 0xF0 ? 0x90 : low;
        high = first == 0xF4 ? 0x8F : high;
    } else {
        return 0;
    }
    if (left < length || bytes[1] < low || bytes[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (bytes[i] < 0x80 || bytes[i] > 0xBF) {
            return 0;
        }
    }
    return length;
}

static void append_escaped(struct text *text, unsigned char byte) {
    switch (byte) {
    case '"':
        text_append(text, "\\\"", 2);
        break;
    case '\\':
        text_append(text, "\\\\", 2);
        break;
    case '\n':
        text_append(text, "\\n", 2);
        break;
    case '\r':
        text_append(text, "\\r", 2);
        break;
    case '\t':
        text_append(text, "\\t", 2);
        break;
    default:
        text_format(text, "\\u%04x", byte);
    }
}

void text_json_bytes(struct text *text, const char *bytes, size_t length) {
    const unsigned char *all = (const unsigned char *)bytes;
    size_t plain = 0; /* start of the run that can be copied as it is */
    text_append(text, "\"", 1);
    for (size_t i = 0; i < length;) {
        size_t sequence = utf8_sequence(bytes + i, length - i);
        bool escape =
            sequence == 1 && (all[i] < 0x20 || all[i] == 0x7F || all[i] == '"' || all[i] == '\\');
        if (sequence > 0 && !escape) {
            i += sequence;
            continue;
        }
        text_append(text, bytes + plain, i - plain);
        if (escape) {
            append_escaped(text, all[i]);
        } else {
            text_append(text, "\xEF\xBF\xBD", 3); /* U+FFFD for each byte that is no UTF-8 */
        }
        plain = ++i;
    }
    text_append(text, bytes + plain, length - plain);
    text_append(text, "\"", 1);
}

void text_json_string(struct text *text, const char *string) {
    text_json_bytes(text, string, strlen(string));
}
