/* Rendering of fields and tables as text or JSON. Runs on the thread that owns the report. */
#include "control/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2u /* spaces between two columns */

void report_open(struct report *report, bool json) {
    *report = (struct report){.json = json};
    if (json) {
        text_string(&report->text, "{");
    }
}

void report_free(struct report *report) {
    text_free(&report->text);
    text_free(&report->cells);
    text_free(&report->numeric);
}

/* ---- text ---- */

/* Columns on a terminal: characters, not bytes (continuation bytes of UTF-8 do not count). */
static uint32_t width_of(const char *cell) {
    uint32_t width = 0;
    for (; *cell != '\0'; cell++) {
        width += ((unsigned char)*cell & 0xC0) != 0x80;
    }
    return width;
}

static void append_visible(struct text *out, const char *cell, size_t length) {
    size_t plain = 0;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)cell[i] < ' ' || cell[i] == 0x7F) {
            text_append(out, cell + plain, i - plain);
            text_append(out, "?", 1);
            plain = i + 1;
        }
    }
    text_append(out, cell + plain, length - plain);
}

void report_line(struct text *out, const char *line) {
    append_visible(out, line, strlen(line));
    text_append(out, "\n", 1);
}

static void append_spaces(struct text *out, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        text_append(out, " ", 1);
    }
}

static uint32_t shown_columns(const struct report *report) {
    uint32_t shown = 0;
    for (uint32_t i = 0; i < report->column_count; i++) {
        shown += report->columns[i].title != NULL;
    }
    return shown;
}

static const char *next_cell(const char *cell) {
    return cell + strlen(cell) + 1;
}

static void append_cell(struct text *out, const char *cell, uint32_t width, bool right, bool last) {
    uint32_t padding = width - width_of(cell);
    if (right) {
        append_spaces(out, padding);
    }
    text_string(out, cell);
    if (!last) {
        append_spaces(out, (right ? 0 : padding) + GAP);
    }
}

/* A column of numbers is aligned right, its title with it. */
static void render_table(struct report *report) {
    struct text *out = &report->text;
    uint32_t shown = shown_columns(report), column = 0;
    uint64_t rows = shown > 0 ? report->numeric.length / shown : 0;
    uint32_t *widths = calloc(shown + 1, sizeof(*widths));
    if (widths == NULL) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < report->column_count; i++) {
        if (report->columns[i].title != NULL) {
            widths[column++] = width_of(report->columns[i].title);
        }
    }
    const char *cell = report->cells.bytes;
    for (uint64_t i = 0; i < rows * shown; i++, cell = next_cell(cell)) {
        uint32_t width = width_of(cell);
        widths[i % shown] = width > widths[i % shown] ? width : widths[i % shown];
    }
    column = 0;
    for (uint32_t i = 0; i < report->column_count; i++) {
        if (report->columns[i].title != NULL) {
            bool right = rows > 0 && report->numeric.bytes[column] == 'n';
            append_cell(out, report->columns[i].title, widths[column], right, column + 1 == shown);
            column++;
        }
    }
    text_append(out, "\n", 1);
    cell = report->cells.bytes;
    for (uint64_t i = 0; i < rows * shown; i++, cell = next_cell(cell)) {
        bool last = i % shown + 1 == shown;
        append_cell(out, cell, widths[i % shown], report->numeric.bytes[i] == 'n', last);
        if (last) {
            text_append(out, "\n", 1);
        }
    }
    free(widths);
}

static void render_fields(struct report *report) {
    const char *cell = report->cells.bytes;
    uint32_t widest = 0;
    for (uint32_t i = 0; i < report->column_count; i++) {
        const char *title = report->columns[i].title;
        if (title != NULL && width_of(title) > widest) {
            widest = width_of(title);
        }
    }
    for (uint32_t i = 0; i < report->column_count && i < report->cell_count; i++) {
        const char *title = report->columns[i].title;
        if (title != NULL) {
            append_cell(&report->text, title, widest, false, false);
            text_string(&report->text, cell);
            text_append(&report->text, "\n", 1);
            cell = next_cell(cell);
        }
    }
}

/* ---- blocks ---- */

static void end_block(struct report *report) {
    if (report->columns == NULL) {
        return;
    }
    if (report->json) {
        if (report->is_table) {
            text_string(&report->text, "]");
        }
    } else if (report->cells.failed || report->numeric.failed) {
        report->text.failed = true;
    } else {
        if (report->text.length > 0) {
            text_append(&report->text, "\n", 1); /* an empty line between blocks */
        }
        if (report->is_table) {
            render_table(report);
        } else {
            render_fields(report);
        }
    }
    text_clear(&report->cells);
    text_clear(&report->numeric);
    report->columns = NULL;
}

static void begin_block(struct report *report, const struct report_column *columns, uint32_t count,
                        bool is_table) {
    end_block(report);
    report->columns = columns;
    report->column_count = count;
    report->cell_count = 0;
    report->is_table = is_table;
}

void report_fields(struct report *report, const struct report_column *columns, uint32_t count) {
    begin_block(report, columns, count, false);
}

void report_table(struct report *report, const char *key, const struct report_column *columns,
                  uint32_t count) {
    begin_block(report, columns, count, true);
    if (report->json) {
        text_string(&report->text, report->any ? ", " : "");
        text_json_string(&report->text, key);
        text_string(&report->text, ": [");
        report->any = true;
    }
}

struct text *report_close(struct report *report) {
    end_block(report);
    if (report->json) {
        text_string(&report->text, "}\n");
    }
    return &report->text;
}

/* ---- cells ---- */

/* One cell: as JSON, or as the text people see (then `right`: aligned right). */
static void add_json(struct report *report, const char *json) {
    struct text *out = &report->text;
    uint32_t column = (uint32_t)(report->cell_count % report->column_count);
    if (report->is_table) {
        if (column == 0) {
            text_string(out, report->cell_count > 0 ? ",\n{" : "\n{");
        } else {
            text_string(out, ", ");
        }
    } else {
        text_string(out, report->any ? ", " : "");
        report->any = true;
    }
    text_json_string(out, report->columns[column].key);
    text_string(out, ": ");
    text_string(out, json);
    if (report->is_table && column + 1 == report->column_count) {
        text_string(out, "}");
    }
    report->cell_count++;
}

static const struct report_column *column_of(const struct report *report) {
    return &report->columns[report->cell_count % report->column_count];
}

static void add_text(struct report *report, const char *cell, bool right) {
    if (column_of(report)->title != NULL) {
        append_visible(&report->cells, cell, strlen(cell));
        text_append(&report->cells, "", 1); /* its NUL */
        text_append(&report->numeric, right ? "n" : "t", 1);
    }
    report->cell_count++;
}

void report_string(struct report *report, const char *value) {
    if (report->json) {
        struct text json = {0};
        if (value == NULL) {
            text_string(&json, "null");
        } else {
            text_json_string(&json, value);
        }
        if (json.failed) {
            report->text.failed = true;
        } else {
            add_json(report, json.bytes);
        }
        text_free(&json);
    } else {
        add_text(report, value == NULL || value[0] == '\0' ? "-" : value, false);
    }
}

static void format_bytes(uint64_t value, char *out, size_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double scaled = (double)value;
    uint32_t unit = 0;
    while (scaled >= 1023.95) { /* what would be shown as 1024.0 */
        scaled /= 1024;
        unit++;
    }
    snprintf(out, bytes, unit == 0 ? "%.0f %s" : "%.1f %s", scaled, units[unit]);
}

/* Two units at most: "950ms", "12.3s", "4m05s", "3h20m", "12d4h". */
static void format_ms(uint64_t ms, char *out, size_t bytes) {
    unsigned long long s = ms / 1000;
    if (ms < 1000) {
        snprintf(out, bytes, "%ums", (unsigned)ms);
    } else if (s < 60) {
        snprintf(out, bytes, "%llu.%us", s, (unsigned)(ms % 1000 / 100));
    } else if (s < 3600) {
        snprintf(out, bytes, "%llum%02llus", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(out, bytes, "%lluh%02llum", s / 3600, s / 60 % 60);
    } else {
        snprintf(out, bytes, "%llud%lluh", s / 86400, s / 3600 % 24);
    }
}

void report_number(struct report *report, uint64_t value) {
    char cell[32];
    if (report->json || column_of(report)->unit == REPORT_PLAIN) {
        snprintf(cell, sizeof(cell), "%llu", (unsigned long long)value);
    } else if (column_of(report)->unit == REPORT_BYTES) {
        format_bytes(value, cell, sizeof(cell));
    } else {
        format_ms(value, cell, sizeof(cell));
    }
    if (report->json) {
        add_json(report, cell);
    } else {
        add_text(report, cell, true);
    }
}

void report_real(struct report *report, double value) {
    char cell[32];
    if (!isfinite(value) || fabs(value) > 1e15) { /* JSON has no word for it */
        if (report->json) {
            add_json(report, "null");
        } else {
            add_text(report, "-", true);
        }
        return;
    }
    snprintf(cell, sizeof(cell), "%.3f", value);
    if (report->json) {
        add_json(report, cell);
    } else {
        add_text(report, cell, true);
    }
}

void report_boolean(struct report *report, bool value) {
    if (report->json) {
        add_json(report, value ? "true" : "false");
    } else {
        add_text(report, value ? "yes" : "no", false);
    }
}

void report_take(struct report *report, struct text *out) {
    struct text *text = report_close(report);
    if (text->failed) {
        out->failed = true;
    } else {
        text_append(out, text->bytes, text->length);
    }
    report_free(report);
}
