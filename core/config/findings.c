/* Findings: see findings.h. Builder thread and command line tools. */
#include "config/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* messages prints 100; a few more are kept so that the 100 printed are the first of the file in
 * all but absurd cases. */
#define STORED_MAX 1000u
#define EXCERPT_BYTES 40u

struct finding {
    uint32_t line, column;
    uint32_t order; /* of discovery, to keep the sort stable */
    const char *text;
};

void findings_add(struct findings *findings, uint32_t line, uint32_t column, const char *format,
                  ...) {
    struct text text = {0};
    va_list arguments;

    findings->count++;
    if (findings->stored == STORED_MAX) {
        return;
    }
    if (findings->items == NULL) {
        findings->items = region_take_array(findings->memory, STORED_MAX, sizeof(struct finding));
        if (findings->items == NULL) {
            return;
        }
    }
    va_start(arguments, format);
    text_vformat(&text, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < text.length; i++) { /* the file's own bytes may be among them */
        if ((unsigned char)text.bytes[i] < 0x20 || text.bytes[i] == 0x7f) {
            text.bytes[i] = '?';
        }
    }
    const char *copy = text.failed ? NULL : region_copy(findings->memory, text.bytes, text.length);
    findings->items[findings->stored] =
        (struct finding){line, column, findings->stored,
                         copy != NULL ? copy : "a mistake; memory is out, free some"};
    findings->stored++;
    text_free(&text);
}

bool findings_are_many(const struct findings *findings) {
    return findings->count >= 100;
}

static int compare_findings(const void *a, const void *b) {
    const struct finding *x = a, *y = b;

    if (x->line != y->line) {
        return x->line < y->line ? -1 : 1;
    }
    if (x->column != y->column) {
        return x->column < y->column ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

void findings_report(struct findings *findings, struct messages *out) {
    if (findings->stored > 1) {
        qsort(findings->items, findings->stored, sizeof(struct finding), compare_findings);
    }
    for (uint32_t i = 0; i < findings->count; i++) {
        const bool stored = i < findings->stored;
        const struct position at = {findings->file, stored ? findings->items[i].line : 0,
                                    stored ? findings->items[i].column : 0};

        messages_add(out, at, "%s", stored ? findings->items[i].text : "a further mistake");
    }
}

const char *findings_excerpt(const struct findings *findings, const char *text) {
    size_t length = strnlen(text, EXCERPT_BYTES + 1);
    const bool cut = length > EXCERPT_BYTES;
    char *copy;

    if (cut) {
        length = EXCERPT_BYTES;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
            length--; /* never in the middle of a UTF-8 character */
        }
    }
    copy = region_take(findings->memory, length + sizeof("..."));
    if (copy == NULL) {
        return "...";
    }
    memcpy(copy, text, length);
    if (cut) {
        memcpy(copy + length, "...", sizeof("..."));
    }
    return copy;
}
