/* Report: fields and tables, written once and rendered either as aligned text for people or as one
 * JSON document for programs. The one who writes it does not ask which. Belongs to one thread.
 *
 *     report_open(&report, json);
 *     report_fields(&report, columns, 2);          two cells follow: "title  value" lines
 *     report_table(&report, "pools", columns, 3);  cells follow row by row, three each
 *     text = report_close(&report);                report.text.failed: out of memory
 *
 * JSON: {"key": value, ..., "pools": [{"key": value, ...}, ...]}. Keys are never renamed. */
#ifndef CONTROL_REPORT_H
#define CONTROL_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* How a number is shown to people; in JSON it is always the plain number. */
enum report_unit { REPORT_PLAIN, REPORT_BYTES, REPORT_MILLISECONDS };

struct report_column {
    const char *key;   /* in JSON */
    const char *title; /* for people; NULL: only in JSON */
    enum report_unit unit;
};

struct report {
    struct text text; /* the result so far */
    bool json;
    /* The block (fields or table) being written. */
    const struct report_column *columns; /* NULL: none */
    uint32_t column_count;
    uint64_t cell_count;
    bool is_table;
    bool any;            /* JSON: something stands before, a comma is due */
    struct text cells;   /* text: the cells, each ended by a NUL; only those that are shown */
    struct text numeric; /* text: one character a cell of `cells`: is it aligned right? */
};

#define REPORT_COLUMNS(columns) (columns), (uint32_t)(sizeof(columns) / sizeof((columns)[0]))

void report_open(struct report *report, bool json);
/* `columns` must live until the next block begins or the report is closed. */
void report_fields(struct report *report, const struct report_column *columns, uint32_t count);
void report_table(struct report *report, const char *key, const struct report_column *columns,
                  uint32_t count);
/* The next cell. NULL is null in JSON and "-" for people, as is an empty text. */
void report_string(struct report *report, const char *value);
void report_number(struct report *report, uint64_t value);
void report_real(struct report *report, double value);
void report_boolean(struct report *report, bool value);
/* The text is the report's. */
struct text *report_close(struct report *report);
void report_free(struct report *report);

/* Appends one line for people, with control characters made visible as '?'. */
void report_line(struct text *out, const char *line);
/* Closes it, appends it to `out` and frees it; out->failed: out of memory. */
void report_take(struct report *report, struct text *out);

#endif
