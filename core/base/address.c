/* Socket addresses as text and back, and the hash that all nodes share. Any thread, except
 * address_resolve, which blocks on DNS. */
#include "base/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HOST_BYTES 256 /* a DNS name has at most 253 letters */

__attribute__((format(printf, 3, 4))) static enum address_kind bad(char *error, size_t error_bytes,
                                                                   const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_bytes, format, arguments);
    va_end(arguments);
    return ADDRESS_BAD;
}

static enum address_kind parse_unix(const char *path, struct address *out, char *error,
                                    size_t error_bytes) {
    size_t length = strlen(path);
    bool abstract = path[0] == '@';
    if (length == 0 || (abstract && length == 1)) {
        return bad(error, error_bytes, "the path is missing; write unix:/path or unix:@name");
    }
    if (!abstract && path[0] != '/') {
        return bad(error, error_bytes, "'%s' is not an absolute path; write unix:/path", path);
    }
    /* A path needs its NUL, an abstract name (whose '@' becomes NUL) does not. */
    size_t most = sizeof out->local.sun_path - 1;
    if (length > most) {
        return bad(error, error_bytes,
                   "the path has %zu bytes; unix sockets allow at most %zu: write a shorter one",
                   length, most);
    }
    *out = (struct address){0};
    out->local.sun_family = AF_UNIX;
    memcpy(out->local.sun_path, path, length);
    size_t counted = abstract ? length : length + 1;
    if (abstract) {
        out->local.sun_path[0] = '\0';
    }
    out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + counted);
    return ADDRESS_NUMERIC;
}

/* Splits at the last colon and reads the port. False: `error` is set. */
static bool split(const char *text, char host[HOST_BYTES], uint16_t *port, char *error,
                  size_t error_bytes) {
    const char *colon = strrchr(text, ':');
    const char *start = text, *end = colon;
    if (text[0] == '[') {
        end = strchr(text, ']');
        if (end == NULL) {
            (void)bad(error, error_bytes, "'%s' has no closing ]; write [IPv6]:PORT", text);
            return false;
        }
        start = text + 1;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else if (colon != NULL && strchr(text, ':') != colon) {
        (void)bad(error, error_bytes,
                  "'%s' has several colons; write an IPv6 address in brackets: [IPv6]:PORT", text);
        return false;
    }
    if (colon == NULL) {
        (void)bad(error, error_bytes, "'%s' has no port; write HOST:PORT", text);
        return false;
    }
    uint32_t value = 0;
    const char *digit = colon + 1;
    for (; isdigit((unsigned char)*digit) && value <= 65535; digit++) {
        value = value * 10 + (uint32_t)(*digit - '0');
    }
    if (digit == colon + 1 || *digit != '\0' || value < 1 || value > 65535) {
        (void)bad(error, error_bytes, "port '%s' is not a port; write a number from 1 to 65535",
                  colon + 1);
        return false;
    }
    size_t length = (size_t)(end - start);
    if (length == 0 || length >= HOST_BYTES) {
        (void)bad(error, error_bytes,
                  length == 0 ? "'%s' has no host; write HOST:PORT, or *:PORT"
                              : "the host of '%s' is too long; write HOST:PORT",
                  text);
        return false;
    }
    memcpy(host, start, length);
    host[length] = '\0';
    *port = (uint16_t)value;
    return true;
}

static void set_v4(struct address *out, struct in_addr host, uint16_t port) {
    *out = (struct address){.length = sizeof out->v4};
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    out->v4.sin_addr = host;
}

static void set_v6(struct address *out, struct in6_addr host, uint16_t port) {
    *out = (struct address){.length = sizeof out->v6};
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(port);
    out->v6.sin6_addr = host;
}

/* Letters, digits, '-', '_' and dots, as DNS names in use have them; not only digits and dots, for
 * that is an IPv4 address gone wrong. */
static bool is_host_name(const char *host) {
    bool letter = false;
    if (host[0] == '.' || host[0] == '-') {
        return false;
    }
    for (const char *c = host; *c != '\0'; c++) {
        if (isalpha((unsigned char)*c) || *c == '-' || *c == '_') {
            letter = true;
        } else if (!isdigit((unsigned char)*c) && !(*c == '.' && c[1] != '.')) {
            return false;
        }
    }
    return letter;
}

enum address_kind address_parse(const char *text, struct address *out, char *error,
                                size_t error_bytes) {
    char host[HOST_BYTES];
    uint16_t port;
    struct in_addr v4;
    struct in6_addr v6;
    *out = (struct address){0};
    if (strncmp(text, "unix:", 5) == 0) {
        return parse_unix(text + 5, out, error, error_bytes);
    }
    if (!split(text, host, &port, error, error_bytes)) {
        return ADDRESS_BAD;
    }
    if (text[0] == '[') {
        if (inet_pton(AF_INET6, host, &v6) != 1) {
            return bad(error, error_bytes, "'%s' is not an IPv6 address; write [IPv6]:PORT", host);
        }
        set_v6(out, v6, port);
        return ADDRESS_NUMERIC;
    }
    if (strcmp(host, "*") == 0) {
        set_v4(out, (struct in_addr){.s_addr = htonl(INADDR_ANY)}, port);
        return ADDRESS_NUMERIC;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        set_v4(out, v4, port);
        return ADDRESS_NUMERIC;
    }
    if (!is_host_name(host)) {
        return bad(error, error_bytes,
                   "'%s' is neither an address nor a host name; write 127.0.0.1:80, [::1]:80, "
                   "host:80 or unix:/path",
                   host);
    }
    return ADDRESS_HOST;
}

bool address_resolve(const char *text, struct address *out, char *error, size_t error_bytes) {
    enum address_kind kind = address_parse(text, out, error, error_bytes);
    if (kind != ADDRESS_HOST) {
        return kind == ADDRESS_NUMERIC;
    }
    char host[HOST_BYTES];
    uint16_t port;
    if (!split(text, host, &port, error, error_bytes)) {
        return false;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(host, NULL, &hints, &found);
    if (failure != 0) {
        snprintf(error, error_bytes, "host '%s' cannot be resolved (%s)", host,
                 failure == EAI_SYSTEM ? "system error" : gai_strerror(failure));
        return false;
    }
    bool usable = false;
    for (const struct addrinfo *a = found; a != NULL && !usable; a = a->ai_next) {
        usable = a->ai_addrlen <= sizeof out->v6 &&
                 (a->ai_family == AF_INET || a->ai_family == AF_INET6);
        if (usable) {
            out->length = a->ai_addrlen;
            memcpy(&out->any, a->ai_addr, a->ai_addrlen);
        }
    }
    freeaddrinfo(found);
    if (!usable) {
        snprintf(error, error_bytes, "host '%s' has no IPv4 or IPv6 address", host);
        return false;
    }
    if (out->any.sa_family == AF_INET) {
        out->v4.sin_port = htons(port);
    } else {
        out->v6.sin6_port = htons(port);
    }
    return true;
}

/* A link-local address means nothing without its interface, so the scope is printed (as a number).
 */
static void format_v6_host(const struct address *address, char *out, size_t bytes) {
    char host[INET6_ADDRSTRLEN];
    if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
        inet_ntop(AF_INET, &address->v6.sin6_addr.s6_addr[12], host, sizeof host);
    } else {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
    }
    if (address->v6.sin6_scope_id != 0) {
        snprintf(out, bytes, "%s%%%u", host, address->v6.sin6_scope_id);
    } else {
        snprintf(out, bytes, "%s", host);
    }
}

static void format_unix(const struct address *address, char *out, size_t bytes) {
    size_t offset = offsetof(struct sockaddr_un, sun_path);
    size_t length = address->length > offset ? address->length - offset : 0;
    const char *path = address->local.sun_path;
    bool abstract = length > 1 && path[0] == '\0';
    if (length > 0 && !abstract) {
        length = strnlen(path, length);
    }
    snprintf(out, bytes, "unix:%s%.*s", abstract ? "@" : "", (int)(abstract ? length - 1 : length),
             path + (abstract ? 1 : 0));
}

/* As inet_ntop(), which goes through sprintf: for each connection that is a third of all that is
 * done outside of the kernel. */
static size_t format_v4_host(const struct in_addr *host, char text[INET_ADDRSTRLEN]) {
    const uint8_t *parts = (const uint8_t *)&host->s_addr;
    char *out = text;
    for (int i = 0; i < 4; i++) {
        unsigned part = parts[i];
        if (part >= 100) {
            *out++ = (char)('0' + part / 100);
        }
        if (part >= 10) {
            *out++ = (char)('0' + part / 10 % 10);
        }
        *out++ = (char)('0' + part % 10);
        *out++ = i < 3 ? '.' : '\0';
    }
    return (size_t)(out - text) - 1;
}

void address_format_host(const struct address *address, char *out, size_t bytes) {
    if (address->length == 0) {
        snprintf(out, bytes, "%s", "");
    } else if (address->any.sa_family == AF_INET) {
        char host[INET_ADDRSTRLEN];
        size_t length = format_v4_host(&address->v4.sin_addr, host);
        length = length < bytes ? length : bytes - 1;
        memcpy(out, host, length);
        out[length] = '\0';
    } else if (address->any.sa_family == AF_INET6) {
        format_v6_host(address, out, bytes);
    } else {
        snprintf(out, bytes, "unix");
    }
}

void address_format(const struct address *address, char *out, size_t bytes) {
    char host[INET6_ADDRSTRLEN + 12]; /* with %scope */
    if (address->length == 0) {
        snprintf(out, bytes, "%s", "");
        return;
    }
    if (address->any.sa_family == AF_UNIX) {
        format_unix(address, out, bytes);
        return;
    }
    address_format_host(address, host, sizeof host);
    bool brackets = strchr(host, ':') != NULL; /* a mapped IPv4 address prints as IPv4 */
    snprintf(out, bytes, brackets ? "[%s]:%u" : "%s:%u", host, address_port(address));
}

uint16_t address_port(const struct address *address) {
    if (address->length > 0 && address->any.sa_family == AF_INET) {
        return ntohs(address->v4.sin_port);
    }
    if (address->length > 0 && address->any.sa_family == AF_INET6) {
        return ntohs(address->v6.sin6_port);
    }
    return 0;
}

/* An IPv4 client hashes alike whether it came in by an IPv4 or by a dual-stack socket. */
uint32_t address_hash_host(const struct address *address) {
    if (address->length == 0) {
        return hash_bytes(NULL, 0);
    }
    switch (address->any.sa_family) {
    case AF_INET:
        return hash_bytes(&address->v4.sin_addr, sizeof address->v4.sin_addr);
    case AF_INET6:
        if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
            return hash_bytes(&address->v6.sin6_addr.s6_addr[12], 4);
        }
        return hash_bytes(&address->v6.sin6_addr, sizeof address->v6.sin6_addr);
    default:
        return hash_bytes("unix", 4);
    }
}

bool address_equal(const struct address *a, const struct address *b) {
    if (a->length == 0 || b->length == 0) {
        return a->length == b->length;
    }
    if (a->any.sa_family != b->any.sa_family) {
        return false;
    }
    switch (a->any.sa_family) {
    case AF_INET:
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    case AF_INET6:
        return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
               memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    default:
        return a->length == b->length && memcmp(&a->local, &b->local, a->length) == 0;
    }
}

/* ---- xxHash32, from its published description (doc/xxhash_spec.md, steps 1 to 7) ---- */

#define PRIME_1 0x9E3779B1u
#define PRIME_2 0x85EBCA77u
#define PRIME_3 0xC2B2AE3Du
#define PRIME_4 0x27D4EB2Fu
#define PRIME_5 0x165667B1u

static uint32_t rotate_left(uint32_t word, unsigned bits) {
    return word << bits | word >> (32 - bits);
}

/* Little-endian whatever the machine, so that nodes of two kinds agree. */
static uint32_t read_word(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static uint32_t stripe_round(uint32_t lane, const unsigned char *bytes) {
    return rotate_left(lane + read_word(bytes) * PRIME_2, 13) * PRIME_1;
}

uint32_t hash_bytes(const void *bytes, size_t length) {
    const unsigned char *at = bytes;
    size_t left = length;
    uint32_t hash = PRIME_5;
    if (length >= 16) {
        uint32_t lanes[4] = {PRIME_1 + PRIME_2, PRIME_2, 0, 0u - PRIME_1};
        for (; left >= 16; at += 16, left -= 16) {
            for (int i = 0; i < 4; i++) {
                lanes[i] = stripe_round(lanes[i], at + 4 * i);
            }
        }
        hash = rotate_left(lanes[0], 1) + rotate_left(lanes[1], 7) + rotate_left(lanes[2], 12) +
               rotate_left(lanes[3], 18);
    }
    hash += (uint32_t)length;
    for (; left >= 4; at += 4, left -= 4) {
        hash = rotate_left(hash + read_word(at) * PRIME_3, 17) * PRIME_4;
    }
    for (; left > 0; at++, left--) {
        hash = rotate_left(hash + *at * PRIME_5, 11) * PRIME_1;
    }
    hash = (hash ^ hash >> 15) * PRIME_2;
    hash = (hash ^ hash >> 13) * PRIME_3;
    return hash ^ hash >> 16;
}
