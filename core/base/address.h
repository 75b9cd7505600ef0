/* Socket addresses: parse, resolve, format, hash. Any thread; address_resolve blocks on DNS and is
 * for the builder thread (and command line tools) only. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
    socklen_t length; /* 0 = not set */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    };
};

enum address_kind {
    ADDRESS_BAD,     /* `error` says what is wrong and what to write */
    ADDRESS_NUMERIC, /* `out` is filled: IPv4:port, [IPv6]:port or unix:/path */
    ADDRESS_HOST,    /* HOST:PORT that needs address_resolve() */
};

/* Reads "127.0.0.1:80", "[::1]:80", "*:80" (all IPv4), "unix:/path", "unix:@abstract" or
 * "host:80". Port 1..65535. */
enum address_kind address_parse(const char *text, struct address *out, char *error,
                                size_t error_bytes) __attribute__((warn_unused_result));

/* Looks HOST:PORT up with getaddrinfo and takes the first address. Blocks. False: see `error`. */
bool address_resolve(const char *text, struct address *out, char *error, size_t error_bytes)
    __attribute__((warn_unused_result));

/* "127.0.0.1:80", "[::1]:80", "unix:/path"; an unnamed unix peer is "unix:". Never truncates when
 * bytes >= ALACRITY_ADDRESS_BYTES. */
void address_format(const struct address *address, char *out, size_t bytes);

/* Only the host part: "127.0.0.1", "::1", "unix". An IPv4-mapped IPv6 address prints as IPv4. */
void address_format_host(const struct address *address, char *out, size_t bytes);

/* Port in host order; 0 for unix sockets. */
uint16_t address_port(const struct address *address);

/* Hash of the host part only (without the port), the same on every node and start. */
uint32_t address_hash_host(const struct address *address);

bool address_equal(const struct address *a, const struct address *b);

/* 32-bit hash of bytes, well mixed, the same on every node and start (xxHash32, seed 0). */
uint32_t hash_bytes(const void *bytes, size_t length);

#endif
