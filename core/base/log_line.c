/* Writes one log line as text or JSON. Runs on the thread that logs. */
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

#define ENDING_BYTES 32u /* kept for a closing quote, the mark of a shortened line, and the end */

const char *log_level_word(enum log_level level) {
    static const char *const words[] = {"debug", "info", "warning", "error"};
    return (unsigned)level < sizeof(words) / sizeof(words[0]) ? words[level] : "unknown";
}

/* All of it or nothing, and nothing any more once something was left out. */
static bool put(struct log_line *line, const char *bytes, size_t length) {
    /* A closing quote may already stand in the endings' room: no subtraction here. */
    if (line->shortened || line->length + length > sizeof(line->bytes) - ENDING_BYTES) {
        line->shortened = true;
        return false;
    }
    memcpy(line->bytes + line->length, bytes, length);
    line->length += length;
    return true;
}

static bool put_string(struct log_line *line, const char *string) {
    return put(line, string, strlen(string));
}

/* Into the room kept for endings. */
static void put_ending(struct log_line *line, const char *string) {
    size_t length = strlen(string);
    memcpy(line->bytes + line->length, string, length);
    line->length += length;
}

/* Characters of a value: escaped as in a JSON string. `quoted`: a quote and a backslash, too. */
static void put_characters(struct log_line *line, const char *value, bool quoted) {
    size_t left = strlen(value);
    while (left > 0 && !line->shortened) {
        size_t sequence = utf8_sequence(value, left);
        unsigned char byte = (unsigned char)*value;
        if (sequence == 0) {
            put(line, "\xEF\xBF\xBD", 3); /* U+FFFD */
            sequence = 1;
        } else if (quoted && (byte == '"' || byte == '\\')) {
            put(line, (char[]){'\\', (char)byte}, 2);
        } else if (byte == '\n') {
            put(line, "\\n", 2);
        } else if (byte < 0x20 || byte == 0x7F) {
            char escape[8];
            snprintf(escape, sizeof(escape), "\\u%04x", byte);
            put(line, escape, 6);
        } else {
            put(line, value, sequence);
        }
        value += sequence;
        left -= sequence;
    }
}

/* Once the opening quote stands the closing one is sure to follow. False: not even that fitted. */
static bool put_quoted(struct log_line *line, const char *value) {
    if (!put(line, "\"", 1)) {
        return false;
    }
    put_characters(line, value, true);
    put_ending(line, "\"");
    return true;
}

/* "2026-01-02T03:04:05.678Z"; the part up to the seconds is kept, as it rarely changes. */
static void put_time(struct log_line *line) {
    static _Thread_local time_t kept_second = -1;
    static _Thread_local char kept[64];
    uint64_t now_ms = clock_wall_ms();
    time_t second = (time_t)(now_ms / 1000);
    if (second != kept_second) {
        struct tm parts;
        if (gmtime_r(&second, &parts) == NULL ||
            strftime(kept, sizeof(kept), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
            strcpy(kept, "1970-01-01T00:00:00");
        }
        kept_second = second;
    }
    char fraction[16];
    snprintf(fraction, sizeof(fraction), ".%03uZ", (unsigned)(now_ms % 1000));
    put_string(line, kept);
    put_string(line, fraction);
}

static bool put_number(struct log_line *line, int64_t number) {
    char digits[24];
    snprintf(digits, sizeof(digits), "%lld", (long long)number);
    return put_string(line, digits);
}

static bool needs_quotes(const char *value) {
    if (*value == '\0') {
        return true;
    }
    for (; *value != '\0'; value++) {
        unsigned char byte = (unsigned char)*value;
        if (byte <= ' ' || byte >= 0x7F || byte == '"' || byte == '=' || byte == '\\') {
            return true;
        }
    }
    return false;
}

static void format_text(struct log_line *line, enum log_level level, const char *event,
                        const struct log_field *fields, uint32_t field_count, const char *message) {
    put_time(line);
    put(line, " ", 1);
    put_string(line, log_level_word(level));
    put(line, " ", 1);
    put_characters(line, event, false);
    if (*message != '\0') {
        put(line, " ", 1);
        put_characters(line, message, false);
    }
    for (uint32_t i = 0; i < field_count; i++) {
        char name[80];
        int length = snprintf(name, sizeof(name), " %s=", fields[i].name);
        if (length < 0 || (size_t)length >= sizeof(name)) {
            line->shortened = true;
        }
        put_string(line, name);
        if (fields[i].text == NULL) {
            put_number(line, fields[i].integer);
        } else if (needs_quotes(fields[i].text)) {
            put_quoted(line, fields[i].text);
        } else {
            put_string(line, fields[i].text);
        }
    }
    put_ending(line, line->shortened ? " [shortened]\n" : "\n");
}

static void put_member(struct log_line *line, const char *name, const struct log_field *value) {
    size_t before = line->length;
    bool named = put(line, ",", 1) && put_quoted(line, name) && put(line, ":", 1);
    bool valued = named && (value->text == NULL ? put_number(line, value->integer)
                            : value->bare       ? put_string(line, value->text)
                                                : put_quoted(line, value->text));
    if (!valued) {
        line->length = before; /* a name without a value would not be JSON */
    }
}

static void format_json(struct log_line *line, enum log_level level, const char *event,
                        const char *thread, const struct log_field *fields, uint32_t field_count,
                        const char *message) {
    put_string(line, "{\"time\":\"");
    put_time(line);
    put(line, "\"", 1);
    put_member(line, "level", &LOG_STRING(NULL, log_level_word(level)));
    put_member(line, "event", &LOG_STRING(NULL, event));
    put_member(line, "thread", &LOG_STRING(NULL, thread));
    put_member(line, "message", &LOG_STRING(NULL, message));
    for (uint32_t i = 0; i < field_count; i++) {
        put_member(line, fields[i].name, &fields[i]);
    }
    put_ending(line, line->shortened ? ",\"shortened\":true}\n" : "}\n");
}

void log_line_format(struct log_line *line, enum log_format format, enum log_level level,
                     const char *event, const char *thread, const struct log_field *fields,
                     uint32_t field_count, const char *message_format, va_list arguments) {
    /* Room for a long message that leaves no room for the fields: those then are left out. */
    char message[LOG_LINE_BYTES];
    int length = vsnprintf(message, sizeof(message), message_format, arguments);
    if (length < 0) {
        message[0] = '\0';
    }
    line->length = 0;
    line->shortened = false;
    if (format == LOG_JSON) {
        format_json(line, level, event, thread, fields, field_count, message);
    } else {
        format_text(line, level, event, fields, field_count, message);
    }
}
