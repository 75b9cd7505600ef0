/* HTTP/1.1 request parser: reads the head of one request, byte by byte and in order, and refuses
 * what RFC 9112 forbids or two readers could understand differently. Any thread; no state.
 *
 * Each step answers MORE when the bytes end inside it, DONE when it is complete, or the status to
 * refuse with. Every step looks at bytes in order and never past what it needs, so the verdict on a
 * request is the same whether it arrives at once or a byte at a time (fuzz_http.c checks that).
 * What needs the whole head (Host, lengths) is judged at its end, at judge_head. */
#include "transport/http.h"

#include <string.h>

enum { MORE = 0, DONE = 1 };

/* Longer than any method there is; bounds what a peer without a single space can make us read. */
#define METHOD_BYTES 32u

struct cursor {
    const char *bytes;
    uint32_t at, end;
};

/* What the headers said, kept until the head is complete. */
struct head {
    uint32_t hosts, lengths, encodings;
    struct http_span host, length, encoding; /* the last of each */
    bool says_close, says_keep_alive;
};

/* ---- bytes ---- */

/* RFC 9110 tchar: what methods and header names are made of. */
static bool is_token(unsigned char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
        return true;
    }
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

/* Visible ASCII without what no client sends unescaped: a fragment, quotes, a backslash that some
 * readers take for a slash. Wider than RFC 3986, because browsers leave [ ] { } | ^ in queries. */
static bool is_target(unsigned char c) {
    return c > ' ' && c < 0x7f && strchr("\"#<>\\", c) == NULL;
}

static bool is_value(unsigned char c) {
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static bool is_blank(unsigned char c) {
    return c == ' ' || c == '\t';
}

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* `word` is in lower case. */
static bool equals_any_case(const char *bytes, struct http_span span, const char *word) {
    if (strlen(word) != span.length) {
        return false;
    }
    for (uint32_t i = 0; i < span.length; i++) {
        if (lower(bytes[span.start + i]) != word[i]) {
            return false;
        }
    }
    return true;
}

static bool starts_any_case(const char *bytes, struct http_span span, const char *word) {
    uint32_t length = (uint32_t)strlen(word);
    return span.length >= length &&
           equals_any_case(bytes, (struct http_span){span.start, length}, word);
}

/* ---- steps ---- */

static unsigned char peek(const struct cursor *c) {
    return (unsigned char)c->bytes[c->at];
}

/* Takes exactly this text. */
static int take(struct cursor *c, const char *text) {
    for (; *text != '\0'; text++) {
        if (c->at == c->end) {
            return MORE;
        }
        if (c->bytes[c->at] != *text) {
            return 400;
        }
        c->at++;
    }
    return DONE;
}

/* Takes a run of such bytes: at least one, at most `most` (more: `status`). */
static int take_run(struct cursor *c, bool (*is)(unsigned char), uint32_t most, int status,
                    struct http_span *run) {
    run->start = c->at;
    while (c->at < c->end && is(peek(c))) {
        if (c->at - run->start == most) {
            return status;
        }
        c->at++;
    }
    run->length = c->at - run->start;
    if (c->at == c->end) {
        return MORE;
    }
    return run->length > 0 ? DONE : 400;
}

static int take_version(struct cursor *c, struct http_request *request) {
    int step = take(c, "HTTP/");
    if (step != DONE) {
        return step;
    }
    uint32_t start = c->at;
    for (uint32_t i = 0; i < 3; i++) {
        if (c->at == c->end) {
            return MORE;
        }
        if (i == 1 ? peek(c) != '.' : !is_digit(peek(c))) {
            return 400;
        }
        c->at++;
    }
    step = take(c, "\r\n");
    if (step != DONE) {
        return step;
    }
    if (c->bytes[start] != '1') {
        return 505;
    }
    request->minor_version = c->bytes[start + 2] == '0' ? 0 : 1; /* a later 1.x is spoken as 1.1 */
    return DONE;
}

/* A name or address with an optional port, no user: of an absolute target, CONNECT or Host. */
static bool is_authority(const char *bytes, struct http_span span) {
    for (uint32_t i = 0; i < span.length; i++) {
        unsigned char c = (unsigned char)bytes[span.start + i];
        if (!is_target(c) || strchr("/?@,", c) != NULL) {
            return false;
        }
    }
    return true;
}

/* Splits the target into path and query. False: not a form this method may use. */
static bool split_target(const char *bytes, struct http_request *request,
                         struct http_span *authority) {
    struct http_span target = request->target;
    if (http_span_is(bytes, request->method, "CONNECT")) {
        request->path = *authority = target;
        return memchr(bytes + target.start, ':', target.length) != NULL &&
               is_authority(bytes, target);
    }
    if (http_span_is(bytes, target, "*")) {
        request->path = target;
        return http_span_is(bytes, request->method, "OPTIONS");
    }
    uint32_t at = target.start, end = target.start + target.length;
    if (bytes[at] != '/') {
        if (starts_any_case(bytes, target, "http://")) {
            at += 7;
        } else if (starts_any_case(bytes, target, "https://")) {
            at += 8;
        } else {
            return false;
        }
        authority->start = at;
        while (at < end && bytes[at] != '/' && bytes[at] != '?') {
            at++;
        }
        authority->length = at - authority->start;
        if (authority->length == 0 || !is_authority(bytes, *authority)) {
            return false;
        }
    }
    uint32_t path = at;
    while (at < end && bytes[at] != '?') {
        at++;
    }
    request->path = (struct http_span){path, at - path};
    if (at == path) {
        /* `http://host?query`: the path is "/", and the slash before the host lends its byte. */
        request->path = (struct http_span){authority->start - 1, 1};
    }
    if (at < end) {
        request->query = (struct http_span){at + 1, end - at - 1};
    }
    return true;
}

static int take_request_line(struct cursor *c, struct http_request *request,
                             struct http_span *authority) {
    int step = take_run(c, is_token, METHOD_BYTES, 501, &request->method);
    if (step == DONE) {
        step = take(c, " ");
    }
    if (step == DONE) {
        step = take_run(c, is_target, HTTP_TARGET_BYTES, 414, &request->target);
    }
    if (step == DONE) {
        step = take(c, " ");
    }
    if (step == DONE) {
        step = take_version(c, request);
    }
    if (step == DONE && !split_target(c->bytes, request, authority)) {
        step = 400;
    }
    return step;
}

/* Connection: a list of words; the ones we know are remembered, close wins. */
static void read_connection(const char *bytes, struct http_span value, struct head *head) {
    uint32_t at = value.start, end = value.start + value.length;
    while (at < end) {
        while (at < end && (is_blank((unsigned char)bytes[at]) || bytes[at] == ',')) {
            at++;
        }
        struct http_span word = {at, 0};
        while (at < end && !is_blank((unsigned char)bytes[at]) && bytes[at] != ',') {
            at++;
        }
        word.length = at - word.start;
        head->says_close |= equals_any_case(bytes, word, "close");
        head->says_keep_alive |= equals_any_case(bytes, word, "keep-alive");
    }
}

static void note_header(const char *bytes, struct http_span name, struct http_span value,
                        struct head *head) {
    if (equals_any_case(bytes, name, "host")) {
        head->hosts++;
        head->host = value;
    } else if (equals_any_case(bytes, name, "content-length")) {
        head->lengths++;
        head->length = value;
    } else if (equals_any_case(bytes, name, "transfer-encoding")) {
        head->encodings++;
        head->encoding = value;
    } else if (equals_any_case(bytes, name, "connection")) {
        read_connection(bytes, value, head);
    }
}

/* One header with its line end. A folded line begins with a blank, which no name has: 400. */
static int take_header(struct cursor *c, struct http_request *request, struct head *head) {
    struct http_span name, value;
    int step = take_run(c, is_token, HTTP_HEAD_BYTES, 431, &name);
    if (step == DONE) {
        step = take(c, ":"); /* white space before the colon: 400 */
    }
    if (step != DONE) {
        return step;
    }
    value.start = c->at;
    while (c->at < c->end && is_value(peek(c))) {
        c->at++;
    }
    uint32_t end = c->at;
    step = take(c, "\r\n");
    if (step != DONE) {
        return step;
    }
    while (value.start < end && is_blank((unsigned char)c->bytes[value.start])) {
        value.start++;
    }
    while (end > value.start && is_blank((unsigned char)c->bytes[end - 1])) {
        end--;
    }
    value.length = end - value.start;
    if (request->header_count == HTTP_HEADERS) {
        return 431;
    }
    request->headers[request->header_count].name = name;
    request->headers[request->header_count].value = value;
    request->header_count++;
    note_header(c->bytes, name, value, head);
    return DONE;
}

/* Digits only: no sign, no list, nothing that does not fit. */
static int read_length(const char *bytes, struct http_span value, uint32_t *length) {
    uint64_t sum = 0;
    if (value.length == 0) {
        return 400;
    }
    for (uint32_t i = 0; i < value.length; i++) {
        unsigned char c = (unsigned char)bytes[value.start + i];
        if (!is_digit(c) || sum > (UINT64_MAX - (c - '0')) / 10) {
            return 400;
        }
        sum = sum * 10 + (uint64_t)(c - '0');
    }
    if (sum > HTTP_BODY_BYTES) {
        return 413;
    }
    *length = (uint32_t)sum;
    return DONE;
}

/* An absolute target names the host a second time: it must be the same. */
static bool same_authority(const char *bytes, struct http_span a, struct http_span b) {
    if (a.length != b.length) {
        return false;
    }
    for (uint32_t i = 0; i < a.length; i++) {
        if (lower(bytes[a.start + i]) != lower(bytes[b.start + i])) {
            return false;
        }
    }
    return true;
}

static int judge_head(const char *bytes, struct http_request *request, const struct head *head,
                      struct http_span authority) {
    if (head->hosts > 1 || head->lengths > 1 || (head->hosts == 0 && request->minor_version > 0)) {
        return 400;
    }
    if (head->hosts == 1 &&
        (!is_authority(bytes, head->host) ||
         (authority.length > 0 && !same_authority(bytes, authority, head->host)))) {
        return 400;
    }
    request->keep_alive =
        !head->says_close && (request->minor_version > 0 || head->says_keep_alive);
    if (head->encodings > 0) {
        if (head->lengths > 0 || request->minor_version == 0) {
            return 400; /* the two ways to smuggle a second request */
        }
        request->chunked =
            head->encodings == 1 && equals_any_case(bytes, head->encoding, "chunked");
        return request->chunked ? 411 : 501;
    }
    if (head->lengths == 1) {
        return read_length(bytes, head->length, &request->content_length);
    }
    return DONE;
}

int http_parse(const char *bytes, size_t length, struct http_request *request) {
    struct head head = {0};
    struct http_span authority = {0};
    struct cursor c = {bytes, 0, (uint32_t)(length < HTTP_HEAD_BYTES ? length : HTTP_HEAD_BYTES)};
    /* Not the header table: only its first header_count entries mean something. */
    request->method = request->target = request->path = request->query = (struct http_span){0};
    request->header_count = request->minor_version = 0;
    request->head_bytes = request->content_length = 0;
    request->keep_alive = request->chunked = false;

    int step = take_request_line(&c, request, &authority);
    while (step == DONE) {
        if (c.at < c.end && peek(&c) == '\r') {
            step = take(&c, "\r\n");
            if (step == DONE) {
                request->head_bytes = c.at;
                return judge_head(bytes, request, &head, authority);
            }
        } else if (c.at == c.end) {
            step = MORE;
        } else {
            step = take_header(&c, request, &head);
        }
    }
    /* Method and target have bounds of their own, so only headers can get this far. */
    return step == MORE && length >= HTTP_HEAD_BYTES ? 431 : step;
}

/* ---- words ---- */

const char *http_status_word(uint32_t status) {
    static const struct {
        uint32_t status;
        const char *word;
    } words[] = {
        {100, "Continue"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].status == status) {
            return words[i].word;
        }
    }
    return "Status";
}

bool http_span_is(const char *bytes, struct http_span span, const char *word) {
    return strlen(word) == span.length && memcmp(bytes + span.start, word, span.length) == 0;
}

bool http_find(const char *bytes, const struct http_request *request, const char *name,
               struct http_span *value) {
    for (uint32_t i = 0; i < request->header_count; i++) {
        if (equals_any_case(bytes, request->headers[i].name, name)) {
            *value = request->headers[i].value;
            return true;
        }
    }
    return false;
}
