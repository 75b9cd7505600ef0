/* Growing text buffer, and JSON writing on top of it. Belongs to one thread.
 *
 * When memory is out the buffer turns `failed`, keeps what it has and ignores further writes; the
 * one who uses the text checks `failed` once at the end. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes; /* NUL-terminated once anything was written; NULL before */
    size_t length, capacity;
    bool failed;
};

void text_free(struct text *text); /* leaves an empty, usable text */
void text_clear(struct text *text);
void text_append(struct text *text, const char *bytes, size_t length);
void text_string(struct text *text, const char *string);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_vformat(struct text *text, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* A JSON string with quotes; control characters, quotes and invalid UTF-8 escaped (U+FFFD). */
void text_json_string(struct text *text, const char *string);
void text_json_bytes(struct text *text, const char *bytes, size_t length);
/* Length of the well-formed UTF-8 sequence that begins at `bytes`; 0 = there is none. left > 0. */
size_t utf8_sequence(const char *bytes, size_t left);

#endif
