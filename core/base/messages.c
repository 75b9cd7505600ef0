/* Collects what is wrong with an input, and guesses what a mistyped word should have been. Runs on
 * the thread that owns the messages (builder, command line). */
#include "base/messages.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_SHOWN 100u
#define WORD_LENGTH                                                                                \
    48u /* longer words get no suggestion: nobody mistypes one of ours like that                   \
         */

void messages_free(struct messages *messages) {
    text_free(&messages->text);
    messages->count = 0;
}

/* The last line is "and N more" once there are too many; it is rewritten as N grows. */
static void count_unshown(struct messages *messages) {
    struct text *text = &messages->text;
    uint32_t unshown = messages->count - MESSAGES_SHOWN;
    if (unshown > 1 && text->bytes != NULL && !text->failed) {
        size_t cut = text->length - 1; /* at the final newline */
        while (cut > 0 && text->bytes[cut - 1] != '\n') {
            cut--;
        }
        text->length = cut;
        text->bytes[cut] = '\0';
    }
    text_format(text, "and %u more\n", unshown);
}

void messages_add(struct messages *messages, struct position at, const char *format, ...) {
    struct text *text = &messages->text;
    messages->count++;
    if (messages->count > MESSAGES_SHOWN) {
        count_unshown(messages);
        return;
    }
    size_t start;
    if (at.file != NULL) {
        text_string(text, at.file);
        if (at.line > 0) {
            text_format(text, ":%u", at.line);
            if (at.column > 0) {
                text_format(text, ":%u", at.column);
            }
        }
        text_append(text, ": ", 2);
    }
    start = text->length;
    va_list arguments;
    va_start(arguments, format);
    text_vformat(text, format, arguments);
    va_end(arguments);
    /* One message is one line that does nothing to a terminal, whatever a script or a file name put
     * into it. */
    for (size_t i = start; i < text->length; i++) {
        if (iscntrl((unsigned char)text->bytes[i])) {
            text->bytes[i] = ' ';
        }
    }
    text_append(text, "\n", 1);
}

static char folded(char c) {
    if (c == '_') {
        return '-';
    }
    return (char)tolower((unsigned char)c);
}

/* Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`; case, and `-` against
 * `_`, do not count. */
static uint32_t distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    uint32_t rows[3][WORD_LENGTH + 1];
    uint32_t *before = rows[0], *previous = rows[1], *current = rows[2];
    for (size_t j = 0; j <= b_length; j++) {
        before[j] = 0;
        previous[j] = (uint32_t)j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        current[0] = (uint32_t)i;
        for (size_t j = 1; j <= b_length; j++) {
            bool same = folded(a[i - 1]) == folded(b[j - 1]);
            uint32_t best = previous[j - 1] + (same ? 0 : 1);
            best = previous[j] + 1 < best ? previous[j] + 1 : best;
            best = current[j - 1] + 1 < best ? current[j - 1] + 1 : best;
            if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                folded(a[i - 2]) == folded(b[j - 1]) && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            current[j] = best;
        }
        uint32_t *oldest = before;
        before = previous;
        previous = current;
        current = oldest;
    }
    return previous[b_length];
}

const char *nearest_word(const char *word, const char *const *candidates, uint32_t count) {
    size_t length = strlen(word);
    const char *nearest = NULL;
    uint32_t nearest_distance = UINT32_MAX;
    if (length > WORD_LENGTH) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t candidate_length = strlen(candidates[i]);
        if (candidate_length > WORD_LENGTH) {
            continue;
        }
        uint32_t edits = distance(word, length, candidates[i], candidate_length);
        if (edits < nearest_distance) {
            nearest_distance = edits;
            nearest = candidates[i];
        }
    }
    /* A third of the word may be wrong: 1 edit up to 5 letters, 2 up to 8, 3 beyond. */
    uint32_t allowed = length <= 2 ? 0 : length <= 5 ? 1 : length <= 8 ? 2 : 3;
    return nearest_distance <= allowed ? nearest : NULL;
}
