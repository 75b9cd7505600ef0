/* libFuzzer target for the HTTP request parser. Beyond "does not crash":
 * - a request that arrives a byte at a time gets the same verdict as one that arrives at once;
 * - every span lies inside the head, the head inside the input;
 * - what follows the head does not change what was read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transport/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int truth) {
    if (!truth) {
        abort();
    }
}

static void check_span(const struct http_request *request, struct http_span span) {
    demand(span.start <= request->head_bytes && span.length <= request->head_bytes - span.start);
}

static void check_request(const char *bytes, size_t size, const struct http_request *request) {
    demand(request->head_bytes <= size && request->head_bytes <= HTTP_HEAD_BYTES);
    demand(memcmp(bytes + request->head_bytes - 4, "\r\n\r\n", 4) == 0);
    demand(request->content_length <= HTTP_BODY_BYTES && request->minor_version <= 1);
    demand(request->header_count <= HTTP_HEADERS && !request->chunked);
    demand(request->target.length <= HTTP_TARGET_BYTES && request->path.length > 0);
    check_span(request, request->method);
    check_span(request, request->target);
    check_span(request, request->path);
    check_span(request, request->query);
    for (uint32_t i = 0; i < request->header_count; i++) {
        struct http_span value = request->headers[i].value;
        check_span(request, request->headers[i].name);
        check_span(request, value);
        for (uint32_t j = 0; j < value.length; j++) {
            unsigned char c = (unsigned char)bytes[value.start + j];
            demand((c >= ' ' && c != 0x7f) || c == '\t');
        }
    }
}

/* Exact-size copies let AddressSanitizer see a read past what has arrived. */
static int parse_copy(const uint8_t *data, size_t size, struct http_request *request) {
    char *copy = malloc(size > 0 ? size : 1);
    demand(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    int verdict = http_parse(copy, size, request);
    if (verdict == 1) {
        check_request(copy, size, request);
    }
    free(copy);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_request whole, grown;
    int verdict = parse_copy(data, size, &whole);
    demand(verdict == 0 || verdict == 1 || (verdict >= 400 && verdict <= 505));
    demand(verdict != 0 || size < HTTP_HEAD_BYTES);

    int first = 0;
    for (size_t length = 0; length <= size && first == 0; length++) {
        first = parse_copy(data, length, &grown);
    }
    demand(first == verdict);
    if (verdict == 1) {
        demand(grown.head_bytes == whole.head_bytes && grown.header_count == whole.header_count);
        demand(grown.content_length == whole.content_length);
        demand(grown.keep_alive == whole.keep_alive);
        demand(memcmp(&grown.path, &whole.path, sizeof(whole.path)) == 0);
        demand(memcmp(&grown.query, &whole.query, sizeof(whole.query)) == 0);
    }
    return 0;
}
