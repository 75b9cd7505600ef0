/* Reading session logs. See trace.h. Lines of other events are passed over; a line that cannot be
 * understood ends the reading, since what comes of half a log misleads. */
#include "offline/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/text.h"
#include "config/scalar.h"
#include "offline/offline.h"

#define LINE_BYTES ((size_t)1 << 20) /* no line is as long */

/* ---- one line of flat JSON ---- */

/* What is wanted of a line. The texts are reused for the next. */
struct line {
    struct text event, time, client, pool, duration_ms;
    struct text key, value; /* of the member that is read */
    const char *at;         /* where reading stands */
    const char *wrong;      /* NULL = nothing yet */
};

static void skip_spaces(struct line *line) {
    line->at += strspn(line->at, " \t\r\n");
}

static bool fail(struct line *line, const char *wrong) {
    line->wrong = line->wrong != NULL ? line->wrong : wrong;
    return false;
}

static bool expect(struct line *line, char byte) {
    skip_spaces(line);
    if (*line->at != byte) {
        return fail(line, byte == ':'   ? "a ':' is missing"
                          : byte == '{' ? "it is no JSON object"
                                        : "a '\"' is missing");
    }
    line->at++;
    return true;
}

/* What stands behind a backslash. We compare and parse ASCII only: others become '?'. */
static bool read_escape(struct line *line, struct text *out) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *letter = *line->at != '\0' ? strchr(letters, *line->at) : NULL;
    if (letter != NULL) {
        text_append(out, &meant[letter - letters], 1);
        line->at++;
        return true;
    }
    if (*line->at == 'u' && strspn(line->at + 1, "0123456789abcdefABCDEF") >= 4) {
        char digits[5] = {line->at[1], line->at[2], line->at[3], line->at[4], '\0'};
        unsigned long code = strtoul(digits, NULL, 16);
        char byte = code > 0 && code < 0x80 ? (char)code : '?';
        text_append(out, &byte, 1);
        line->at += 5;
        return true;
    }
    return fail(line, "a string has a bad escape");
}

static bool read_string(struct line *line, struct text *out) {
    text_clear(out);
    if (!expect(line, '"')) {
        return false;
    }
    while (*line->at != '"') {
        size_t plain = strcspn(line->at, "\"\\");
        text_append(out, line->at, plain);
        line->at += plain;
        if (*line->at == '\0') {
            return fail(line, "a string does not end");
        }
        if (*line->at == '\\') {
            line->at++;
            if (!read_escape(line, out)) {
                return false;
            }
        }
    }
    line->at++;
    return true;
}

static bool read_value(struct line *line, struct text *out) {
    skip_spaces(line);
    if (*line->at == '"') {
        return read_string(line, out);
    }
    size_t length = strspn(line->at, "+-.0123456789aeflnrstuE"); /* numbers, true, false, null */
    text_clear(out);
    text_append(out, line->at, length);
    line->at += length;
    return length > 0 || fail(line, "a member has no plain value");
}

static void keep(struct line *line) {
    struct {
        const char *key;
        struct text *out;
    } wanted[] = {{"event", &line->event},
                  {"time", &line->time},
                  {"client", &line->client},
                  {"pool", &line->pool},
                  {"duration_ms", &line->duration_ms}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (line->key.length > 0 && strcmp(line->key.bytes, wanted[i].key) == 0) {
            text_clear(wanted[i].out);
            text_append(wanted[i].out, line->value.bytes != NULL ? line->value.bytes : "",
                        line->value.length);
        }
    }
}

static bool parse_line(struct line *line, const char *text) {
    text_clear(&line->event);
    text_clear(&line->time);
    text_clear(&line->client);
    text_clear(&line->pool);
    text_clear(&line->duration_ms);
    line->at = text;
    line->wrong = NULL;
    if (!expect(line, '{')) {
        return false;
    }
    skip_spaces(line);
    while (*line->at != '}') {
        if (!read_string(line, &line->key) || !expect(line, ':') ||
            !read_value(line, &line->value)) {
            return false;
        }
        keep(line);
        skip_spaces(line);
        if (*line->at == ',') {
            line->at++;
            skip_spaces(line);
        } else if (*line->at != '}') {
            return fail(line, "a ',' or '}' is missing");
        }
    }
    line->at++;
    skip_spaces(line);
    return *line->at == '\0' || fail(line, "something stands behind the object");
}

/* ---- what it says ---- */

/* 2026-01-02T03:04:05.678Z, in seconds. */
static bool parse_time(const char *text, double *out) {
    struct tm parts = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    char *end = NULL;
    double fraction = 0;
    if (rest != NULL && *rest == '.') {
        fraction = strtod(rest, &end);
        rest = end;
    }
    if (rest == NULL || strcmp(rest, "Z") != 0) {
        return false;
    }
    *out = (double)timegm(&parts) + fraction;
    return true;
}

static bool grow_clients(struct trace *trace) {
    if (trace->client_count < trace->client_capacity) {
        return true;
    }
    uint32_t capacity = trace->client_capacity == 0 ? 1024 : trace->client_capacity * 2;
    struct client *clients = realloc(trace->clients, capacity * sizeof(*clients));
    uint32_t *places = calloc((size_t)capacity * 2, sizeof(*places));
    trace->clients = clients != NULL ? clients : trace->clients;
    if (clients == NULL || places == NULL) {
        free(places);
        return false;
    }
    free(trace->places);
    trace->places = places;
    trace->client_capacity = capacity;
    for (uint32_t i = 0; i < trace->client_count; i++) {
        uint32_t at = clients[i].hash & (capacity * 2 - 1);
        while (places[at] != 0) {
            at = (at + 1) & (capacity * 2 - 1);
        }
        places[at] = i + 1;
    }
    return true;
}

/* The number of the client, a new one if need be. False: no memory. */
static bool intern(struct trace *trace, const struct client *client, uint32_t *number) {
    if (!grow_clients(trace)) {
        return false;
    }
    uint32_t mask = trace->client_capacity * 2 - 1, at = client->hash & mask;
    for (; trace->places[at] != 0; at = (at + 1) & mask) {
        *number = trace->places[at] - 1;
        if (strcmp(trace->clients[*number].text, client->text) == 0) {
            return true;
        }
    }
    *number = trace->client_count++;
    trace->clients[*number] = *client;
    trace->places[at] = *number + 1;
    return true;
}

static bool add_session(struct trace *trace, const struct trace_session *session) {
    if (trace->count == trace->capacity) {
        uint64_t capacity = trace->capacity == 0 ? 4096 : trace->capacity * 2;
        struct trace_session *grown = realloc(trace->sessions, capacity * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        trace->sessions = grown;
        trace->capacity = capacity;
    }
    trace->sessions[trace->count++] = *session;
    return true;
}

/* The line is a session's. NULL, or what is wrong with it. */
static const char *take_session(struct trace *trace, const struct line *line) {
    struct trace_session session;
    struct address address;
    struct client client;
    char error[160];
    double ended, lasted_ms;
    if (line->time.length == 0 || !parse_time(line->time.bytes, &ended)) {
        return "this session has no \"time\" such as 2026-01-02T03:04:05.678Z";
    }
    if (line->duration_ms.length == 0 ||
        scalar_number(line->duration_ms.bytes, &lasted_ms) != SCALAR_OK || lasted_ms < 0) {
        return "this session has no \"duration_ms\" of 0 or more";
    }
    if (line->client.length == 0) {
        return "this session has no \"client\"";
    }
    if (strncmp(line->client.bytes, "unix:", 5) == 0) { /* an unnamed peer, as most are */
        address = (struct address){.length = sizeof(address.local.sun_family),
                                   .local.sun_family = AF_UNIX};
    } else if (address_parse(line->client.bytes, &address, error, sizeof(error)) !=
               ADDRESS_NUMERIC) {
        return "the \"client\" of this session is no address with a port";
    }
    address_format_host(&address, client.text, sizeof(client.text));
    client.hash = address_hash_host(&address);
    session.port = address_port(&address);
    session.duration = lasted_ms / 1000;
    session.at = ended - session.duration;
    if (!intern(trace, &client, &session.client) || !add_session(trace, &session)) {
        return "out of memory";
    }
    return NULL;
}

static int by_beginning(const void *a, const void *b) {
    double x = ((const struct trace_session *)a)->at, y = ((const struct trace_session *)b)->at;
    return x < y ? -1 : x > y;
}

static bool is_text(const struct text *text, const char *wanted) {
    return text->length > 0 && strcmp(text->bytes, wanted) == 0;
}

/* Reads a line, its end left out, but no more than LINE_BYTES of it: a file may be anything, and
 * have none. False: there is none any more. */
static bool read_line(FILE *in, char bytes[LINE_BYTES + 1], size_t *length) {
    int byte = getc_unlocked(in);
    bool any = byte != EOF;
    *length = 0;
    while (byte != EOF && byte != '\n' && *length < LINE_BYTES) {
        bytes[(*length)++] = (char)byte;
        byte = *length < LINE_BYTES ? getc_unlocked(in) : EOF;
    }
    bytes[*length] = '\0';
    return any;
}

static int read_lines(struct trace *trace, FILE *in, const char *file, const char *pool,
                      struct line *line) {
    char *bytes = malloc(LINE_BYTES + 1);
    size_t length;
    uint64_t number = 0;
    const char *wrong = bytes != NULL ? NULL : "out of memory";
    while (wrong == NULL && read_line(in, bytes, &length)) {
        number++;
        if (strspn(bytes, " \t\r\n") == length && length < LINE_BYTES) {
            continue;
        }
        if (length == LINE_BYTES) {
            wrong = "this line is longer than 1 MiB";
        } else if (memchr(bytes, '\0', length) != NULL) {
            wrong = "it has a NUL byte";
        } else if (!parse_line(line, bytes)) {
            wrong = line->wrong;
        } else if (is_text(&line->event, "session") &&
                   (pool == NULL || is_text(&line->pool, pool))) {
            wrong = take_session(trace, line);
        }
    }
    bool failed = ferror(in) != 0;
    free(bytes);
    if (failed) {
        fprintf(stderr, "%s: cannot read: %s\n", file, strerror(errno));
        return OFFLINE_FAILED;
    }
    if (wrong != NULL) {
        fprintf(stderr, "%s:%llu: %s; write the log with log: {format: json, sessions: true}\n",
                file, (unsigned long long)number, wrong);
        return OFFLINE_FAILED;
    }
    if (trace->count == 0) {
        fprintf(stderr, "%s: there is no session%s%s in it\n", file,
                pool != NULL ? " of pool " : "", pool != NULL ? pool : "");
        return OFFLINE_FAILED;
    }
    return OFFLINE_OK;
}

int trace_read(struct trace *trace, const char *file, const char *pool) {
    struct line line = {0};
    *trace = (struct trace){0};
    FILE *in = fopen(file, "re");
    if (in == NULL) {
        fprintf(stderr, "alacrity simulate: cannot read the trace %s: %s\n", file, strerror(errno));
        return OFFLINE_USAGE;
    }
    int code = read_lines(trace, in, file, pool, &line);
    fclose(in);
    text_free(&line.event);
    text_free(&line.time);
    text_free(&line.client);
    text_free(&line.pool);
    text_free(&line.duration_ms);
    text_free(&line.key);
    text_free(&line.value);
    if (code == OFFLINE_OK) {
        qsort(trace->sessions, trace->count, sizeof(*trace->sessions), by_beginning);
        double first = trace->sessions[0].at;
        for (uint64_t i = 0; i < trace->count; i++) {
            trace->sessions[i].at -= first;
        }
    }
    return code;
}

void trace_free(struct trace *trace) {
    free(trace->sessions);
    free(trace->clients);
    free(trace->places);
}
