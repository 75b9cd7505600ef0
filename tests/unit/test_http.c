/* The HTTP request parser: a list of requests that trip parsers, each with the one right verdict,
 * and the same verdict when the bytes come one by one. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "transport/http.h"

#define HOST "Host: a\r\n"
#define END "\r\n"

struct story {
    const char *name, *bytes;
    size_t length; /* 0 = strlen */
    int verdict;
};
#define TEXT(name, verdict, bytes)                                                                 \
    { name, bytes, sizeof(bytes) - 1, verdict }

static const struct story torture[] = {
    /* well-formed */
    TEXT("plain", 1, "GET / HTTP/1.1\r\n" HOST END),
    TEXT("1.0 needs no host", 1, "GET / HTTP/1.0\r\n" END),
    TEXT("a later 1.x", 1, "GET / HTTP/1.7\r\n" HOST END),
    TEXT("empty host", 1, "GET / HTTP/1.1\r\nHost:\r\n" END),
    TEXT("absolute", 1, "GET http://a/x?y HTTP/1.1\r\n" HOST END),
    TEXT("absolute, any case", 1, "GET HTTPS://A:8/x HTTP/1.1\r\nHost: a:8\r\n" END),
    TEXT("OPTIONS *", 1, "OPTIONS * HTTP/1.1\r\n" HOST END),
    TEXT("CONNECT a:1", 1, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n" END),
    TEXT("unknown method", 1, "BREW /pot HTTP/1.1\r\n" HOST END),
    TEXT("percent kept", 1, "GET /%2e%2E/%00%zz HTTP/1.1\r\n" HOST END),
    TEXT("obs-text in a value", 1, "GET / HTTP/1.1\r\n" HOST "X: \xc3\xa9\r\n" END),
    TEXT("tabs around a value", 1, "GET / HTTP/1.1\r\nHost:\ta \t\r\n" END),
    TEXT("empty header value", 1, "GET / HTTP/1.1\r\n" HOST "X:\r\n" END),
    TEXT("length 0", 1, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n" END),
    TEXT("largest body", 1, "POST / HTTP/1.1\r\n" HOST "Content-Length: 65536\r\n" END),
    TEXT("brackets in a query", 1, "GET /q?match[]={a}|b HTTP/1.1\r\n" HOST END),

    /* not finished */
    TEXT("nothing", 0, ""),
    TEXT("half a word", 0, "GE"),
    TEXT("no empty line", 0, "GET / HTTP/1.1\r\n" HOST),
    TEXT("half an empty line", 0, "GET / HTTP/1.1\r\n" HOST "\r"),

    /* request line */
    TEXT("empty request line", 400, "\r\nGET / HTTP/1.1\r\n" HOST END),
    TEXT("only an empty line", 400, "\r\n"),
    TEXT("one word", 400, "GET\r\n" END),
    TEXT("two words (0.9)", 400, "GET /\r\n"),
    TEXT("four words", 400, "GET / x HTTP/1.1\r\n" HOST END),
    TEXT("two spaces", 400, "GET  / HTTP/1.1\r\n" HOST END),
    TEXT("tab for a space", 400, "GET\t/ HTTP/1.1\r\n" HOST END),
    TEXT("leading space", 400, " GET / HTTP/1.1\r\n" HOST END),
    TEXT("trailing space", 400, "GET / HTTP/1.1 \r\n" HOST END),
    TEXT("bare LF after the request line", 400, "GET / HTTP/1.1\n" HOST END),
    TEXT("CR without LF", 400, "GET / HTTP/1.1\rHost: a\r\n" END),
    TEXT("method not a token", 400, "G(T / HTTP/1.1\r\n" HOST END),
    TEXT("no slash in front", 400, "GET x HTTP/1.1\r\n" HOST END),
    TEXT("authority without CONNECT", 400, "GET a:1 HTTP/1.1\r\n" HOST END),
    TEXT("CONNECT with a path", 400, "CONNECT /x HTTP/1.1\r\n" HOST END),
    TEXT("GET *", 400, "GET * HTTP/1.1\r\n" HOST END),
    TEXT("other scheme", 400, "GET ftp://a/ HTTP/1.1\r\n" HOST END),
    TEXT("absolute without host", 400, "GET http:///x HTTP/1.1\r\n" HOST END),
    TEXT("absolute with user", 400, "GET http://u@a/ HTTP/1.1\r\n" HOST END),
    TEXT("absolute with another host", 400, "GET http://b/ HTTP/1.1\r\n" HOST END),
    TEXT("fragment", 400, "GET /#x HTTP/1.1\r\n" HOST END),
    TEXT("backslash", 400, "GET /..\\x HTTP/1.1\r\n" HOST END),
    TEXT("NUL in the target", 400, "GET /\0x HTTP/1.1\r\n" HOST END),
    TEXT("UTF-8 in the target", 400, "GET /\xc3\xa9 HTTP/1.1\r\n" HOST END),
    TEXT("DEL in the target", 400, "GET /\x7f HTTP/1.1\r\n" HOST END),
    TEXT("binary", 400, "\x80\x2e\x01\x00\x02\xff\xfe"),
    TEXT("NUL first", 400, "\0GET / HTTP/1.1\r\n" HOST END),
    TEXT("TLS hello", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    TEXT("method without end", 501, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),

    /* version */
    TEXT("HTTP/9.9", 505, "GET / HTTP/9.9\r\n" HOST END),
    TEXT("HTTP/0.9", 505, "GET / HTTP/0.9\r\n" END),
    TEXT("HTTP/2 preface", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    TEXT("lower case http", 400, "GET / http/1.1\r\n" HOST END),
    TEXT("not HTTP", 400, "GET / ICY/1.1\r\n" HOST END),
    TEXT("HTTP/1", 400, "GET / HTTP/1\r\n" HOST END),
    TEXT("HTTP/1.10", 400, "GET / HTTP/1.10\r\n" HOST END),
    TEXT("HTTP/+1.1", 400, "GET / HTTP/+1.1\r\n" HOST END),

    /* headers */
    TEXT("no host", 400, "GET / HTTP/1.1\r\n" END),
    TEXT("two hosts", 400, "GET / HTTP/1.1\r\n" HOST HOST END),
    TEXT("two hosts in 1.0", 400, "GET / HTTP/1.0\r\n" HOST HOST END),
    TEXT("host with a path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n" END),
    TEXT("host with a user", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n" END),
    TEXT("host with a space", 400, "GET / HTTP/1.1\r\nHost: a b\r\n" END),
    TEXT("list of hosts", 400, "GET / HTTP/1.1\r\nHost: a,b\r\n" END),
    TEXT("space before the colon", 400, "GET / HTTP/1.1\r\nHost : a\r\n" END),
    TEXT("no colon", 400, "GET / HTTP/1.1\r\n" HOST "X\r\n" END),
    TEXT("empty name", 400, "GET / HTTP/1.1\r\n" HOST ": x\r\n" END),
    TEXT("name not a token", 400, "GET / HTTP/1.1\r\n" HOST "X{}: x\r\n" END),
    TEXT("folded", 400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n" END),
    TEXT("folded first line", 400, "GET / HTTP/1.1\r\n Host: a\r\n" END),
    TEXT("bare LF in headers", 400, "GET / HTTP/1.1\r\n" HOST "X: a\nY: b\r\n" END),
    TEXT("bare CR in a value", 400, "GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n" END),
    TEXT("bare LF at the end", 400, "GET / HTTP/1.1\r\n" HOST "\n"),
    TEXT("NUL in a value", 400, "GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n" END),
    TEXT("control byte in a value", 400, "GET / HTTP/1.1\r\n" HOST "X: \x01\r\n" END),

    /* bodies */
    TEXT("two lengths", 400,
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n" END),
    TEXT("two equal lengths", 400,
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\ncontent-length: 1\r\n" END),
    TEXT("list of lengths", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n" END),
    TEXT("negative length", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n" END),
    TEXT("signed length", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n" END),
    TEXT("hexadecimal length", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n" END),
    TEXT("empty length", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n" END),
    TEXT("length overflows", 400,
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551617\r\n" END),
    TEXT("largest number", 413,
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551615\r\n" END),
    TEXT("one byte too many", 413, "POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n" END),
    TEXT("chunked", 411, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n" END),
    TEXT("Chunked", 411, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n" END),
    TEXT("gzip, chunked", 501,
         "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n" END),
    TEXT("unknown coding", 501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n" END),
    TEXT("two codings", 501,
         "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n" END),
    TEXT("chunked and length", 400,
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" END),
    TEXT("chunked in 1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END),
};

static int parse(const char *bytes, size_t length, struct http_request *request) {
    /* A copy of exact size, so that AddressSanitizer sees a read past the end. */
    char *copy = malloc(length > 0 ? length : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, length);
    int verdict = http_parse(copy, length, request);
    free(copy);
    return verdict;
}

START_TEST(test_torture) {
    const struct story *story = &torture[_i];
    struct http_request request;
    int verdict = parse(story->bytes, story->length, &request);
    ck_assert_msg(verdict == story->verdict, "%s: %d, not %d", story->name, verdict,
                  story->verdict);

    int grown = 0;
    for (size_t length = 0; length <= story->length && grown == 0; length++) {
        grown = parse(story->bytes, length, &request);
    }
    ck_assert_msg(grown == story->verdict, "%s, byte by byte: %d", story->name, grown);
}
END_TEST

static void append(char *buffer, const char *text) {
    strcat(buffer, text);
}

static void append_run(char *buffer, char c, size_t count) {
    size_t length = strlen(buffer);
    memset(buffer + length, c, count);
    buffer[length + count] = '\0';
}

START_TEST(test_limits) {
    static char buffer[4 * HTTP_HEAD_BYTES];
    struct http_request request;

    buffer[0] = '\0';
    append(buffer, "GET /");
    append_run(buffer, 'a', HTTP_TARGET_BYTES - 1);
    ck_assert_int_eq(parse(buffer, strlen(buffer), &request), 0);
    append(buffer, " HTTP/1.1\r\n" HOST END);
    ck_assert_int_eq(parse(buffer, strlen(buffer), &request), 1);
    ck_assert_uint_eq(request.path.length, HTTP_TARGET_BYTES);

    strcpy(buffer, "GET /");
    append_run(buffer, 'a', HTTP_TARGET_BYTES);
    ck_assert_int_eq(parse(buffer, strlen(buffer), &request), 414);

    /* The largest head there may be, and one byte more. */
    for (size_t extra = 0; extra < 2; extra++) {
        strcpy(buffer, "GET / HTTP/1.1\r\n" HOST "X: ");
        append_run(buffer, 'x', HTTP_HEAD_BYTES - strlen(buffer) - 4 + extra);
        append(buffer, "\r\n\r\n");
        ck_assert_uint_eq(strlen(buffer), HTTP_HEAD_BYTES + extra);
        ck_assert_int_eq(parse(buffer, HTTP_HEAD_BYTES - 1, &request), 0);
        ck_assert_int_eq(parse(buffer, strlen(buffer), &request), extra == 0 ? 1 : 431);
    }

    strcpy(buffer, "GET / HTTP/1.1\r\n" HOST);
    append_run(buffer, 'n', HTTP_HEAD_BYTES);
    ck_assert_int_eq(parse(buffer, strlen(buffer), &request), 431);

    for (uint32_t more = 0; more < 2; more++) {
        strcpy(buffer, "GET / HTTP/1.1\r\n" HOST);
        for (uint32_t i = 1; i < HTTP_HEADERS + more; i++) {
            append(buffer, "A: b\r\n");
        }
        append(buffer, END);
        ck_assert_int_eq(parse(buffer, strlen(buffer), &request), more == 0 ? 1 : 431);
        ck_assert_uint_eq(request.header_count, HTTP_HEADERS);
    }
}
END_TEST

static bool is(const char *bytes, struct http_span span, const char *word) {
    return http_span_is(bytes, span, word);
}

START_TEST(test_fields) {
    const char bytes[] = "POST /a%20b;x/?q=1?2 HTTP/1.1\r\nHOST: h:80\r\nX-Two:  two words \t\r\n"
                         "Content-Length: 005\r\n\r\nhelloGET /next";
    struct http_request r;
    ck_assert_int_eq(http_parse(bytes, sizeof(bytes) - 1, &r), 1);
    ck_assert(is(bytes, r.method, "POST"));
    ck_assert(is(bytes, r.target, "/a%20b;x/?q=1?2"));
    ck_assert(is(bytes, r.path, "/a%20b;x/"));
    ck_assert(is(bytes, r.query, "q=1?2"));
    ck_assert_uint_eq(r.minor_version, 1);
    ck_assert_uint_eq(r.header_count, 3);
    ck_assert(is(bytes, r.headers[1].name, "X-Two"));
    ck_assert(is(bytes, r.headers[1].value, "two words"));
    ck_assert_uint_eq(r.content_length, 5);
    ck_assert_str_eq(bytes + r.head_bytes, "helloGET /next");
    ck_assert(r.keep_alive);

    struct http_span value;
    ck_assert(http_find(bytes, &r, "x-two", &value));
    ck_assert(is(bytes, value, "two words"));
    ck_assert(!http_find(bytes, &r, "x-tw", &value));
}
END_TEST

START_TEST(test_absolute_path) {
    static const struct {
        const char *target, *path, *query;
    } stories[] = {
        {"http://a", "/", ""},  {"http://a?x", "/", "x"},
        {"http://a/", "/", ""}, {"https://a/b/c?d", "/b/c", "d"},
        {"/?", "/", ""},
    };
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        char bytes[128];
        struct http_request r;
        int length =
            snprintf(bytes, sizeof(bytes), "GET %s HTTP/1.1\r\n" HOST END, stories[i].target);
        ck_assert_int_eq(http_parse(bytes, (size_t)length, &r), 1);
        ck_assert_msg(is(bytes, r.path, stories[i].path), "%s", stories[i].target);
        ck_assert_msg(is(bytes, r.query, stories[i].query), "%s", stories[i].target);
    }
}
END_TEST

START_TEST(test_keep_alive) {
    static const struct {
        const char *head;
        bool keep_alive;
    } stories[] = {
        {"GET / HTTP/1.1\r\n" HOST END, true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: Close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: foo , close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: foo\r\nConnection:close,x\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive, close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: closed, x-close\r\n" END, true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: ,, ,\r\n" END, true},
        {"GET / HTTP/1.0\r\n" END, false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n" END, true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n" END, false},
    };
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        struct http_request r;
        ck_assert_int_eq(http_parse(stories[i].head, strlen(stories[i].head), &r), 1);
        ck_assert_msg(r.keep_alive == stories[i].keep_alive, "%s", stories[i].head);
    }
}
END_TEST

START_TEST(test_words) {
    ck_assert_str_eq(http_status_word(200), "OK");
    ck_assert_str_eq(http_status_word(431), "Request Header Fields Too Large");
    ck_assert_ptr_nonnull(http_status_word(299));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("http");
    TCase *tests = tcase_create("parser");
    tcase_add_loop_test(tests, test_torture, 0, sizeof(torture) / sizeof(torture[0]));
    tcase_add_test(tests, test_limits);
    tcase_add_test(tests, test_fields);
    tcase_add_test(tests, test_absolute_path);
    tcase_add_test(tests, test_keep_alive);
    tcase_add_test(tests, test_words);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
