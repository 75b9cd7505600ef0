/* HTTP/1.1 request parser (RFC 9112), strict: what two parsers could read differently is refused.
 * Pure functions over a buffer: no I/O, no allocation, any thread. */
#ifndef TRANSPORT_HTTP_H
#define TRANSPORT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_BYTES 8192u   /* request line and headers; more: 414 or 431 */
#define HTTP_TARGET_BYTES 2048u /* more: 414 */
#define HTTP_BODY_BYTES 65536u  /* more: 413 */
#define HTTP_HEADERS 64u        /* more: 431 */

struct http_span {
    uint32_t start, length; /* in the buffer given to http_parse */
};

struct http_request {
    struct http_span method, target, path, query; /* query without '?' */
    uint32_t header_count;
    struct {
        struct http_span name, value; /* value without surrounding white space */
    } headers[HTTP_HEADERS];
    uint32_t minor_version; /* HTTP/1.0 or 1.1 */
    bool keep_alive;
    bool chunked;            /* Transfer-Encoding: chunked is refused with 411 by the parser */
    uint32_t head_bytes;     /* including the empty line */
    uint32_t content_length; /* 0 when there is no body */
};

/* 0: more bytes are needed. 1: the head is complete and `request` filled. >= 400: refuse with this
 * status and close. Called again with the whole buffer as it grows. */
int http_parse(const char *bytes, size_t length, struct http_request *request)
    __attribute__((warn_unused_result));
/* "OK", "Not Found", ... */
const char *http_status_word(uint32_t status);
bool http_span_is(const char *bytes, struct http_span span, const char *word); /* exact */
/* The value of the first header of that name (given in lower case); false: there is none. */
bool http_find(const char *bytes, const struct http_request *request, const char *name,
               struct http_span *value);

#endif
