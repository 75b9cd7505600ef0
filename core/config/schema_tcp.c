/* The part of the schema that says what TCP sockets are set to; see schema.h. Constant data; any
 * thread. */
#include "base/tcp_options.h"
#include "config/schema.h"

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))
#define KEYS(array) .keys = (array), .key_count = COUNT(array)
#define SECOND 1000u
#define HOUR (3600u * SECOND)
#define MIB (1u << 20)

_Static_assert(offsetof(struct keepalive, on) == 0, "may_be_off");

static const struct key keepalive_keys[] = {
    {.name = "idle",
     .type = KEY_DURATION,
     .offset = offsetof(struct keepalive, idle_ms),
     .initial = "1m",
     .minimum = SECOND,
     .maximum = 9u * HOUR,
     .example = "1m",
     .summary = "How long a connection may be silent before it is probed. Whole seconds."},
    {.name = "interval",
     .type = KEY_DURATION,
     .offset = offsetof(struct keepalive, interval_ms),
     .initial = "10s",
     .minimum = SECOND,
     .maximum = 9u * HOUR,
     .example = "10s",
     .summary = "From one probe to the next. Whole seconds."},
    {.name = "count",
     .type = KEY_INTEGER,
     .offset = offsetof(struct keepalive, probes),
     .initial = "6",
     .minimum = 1,
     .maximum = 127,
     .example = "6",
     .summary = "Probes without an answer after which it is given up."},
};
static const struct shape keepalive_shape = {
    .what = "'keepalive'", KEYS(keepalive_keys), .may_be_off = true, .may_be_on = true};

/* Of listeners as of pools. */
#define COMMON_KEYS                                                                                \
    {.name = "user_timeout",                                                                       \
     .type = KEY_DURATION,                                                                         \
     .offset = offsetof(struct tcp_options, user_timeout_ms),                                      \
     .initial = "0",                                                                               \
     .maximum = 24u * HOUR,                                                                        \
     .example = "30s",                                                                             \
     .summary = "How long bytes sent may stay unacknowledged before the connection is given up "   \
                "(TCP_USER_TIMEOUT). 0: as long as the kernel tries."},                            \
        {.name = "keepalive",                                                                      \
         .type = KEY_MAP,                                                                          \
         .offset = offsetof(struct tcp_options, keepalive),                                        \
         .shape = &keepalive_shape,                                                                \
         .otherwise = "false",                                                                     \
         .example = "{idle: 1m, interval: 10s, count: 6}",                                         \
         .summary = "Has the kernel probe silent connections, so that one whose other end is "     \
                    "gone is found (SO_KEEPALIVE)."},                                              \
        {.name = "congestion",                                                                     \
         .type = KEY_CONGESTION,                                                                   \
         .offset = offsetof(struct tcp_options, congestion),                                       \
         .otherwise = "the kernel's",                                                              \
         .example = "bbr",                                                                         \
         .summary = "The congestion control (TCP_CONGESTION), one of those in "                    \
                    "`/proc/sys/net/ipv4/tcp_available_congestion_control`."},                     \
        {.name = "receive_buffer",                                                                 \
         .type = KEY_SIZE,                                                                         \
         .offset = offsetof(struct tcp_options, receive_buffer),                                   \
         .initial = "0",                                                                           \
         .maximum = 1024u * MIB,                                                                   \
         .example = "256KiB",                                                                      \
         .summary = "What the kernel may buffer of what arrives (SO_RCVBUF); "                     \
                    "`net.core.rmem_max` bounds it. 0: the kernel's own, which grows by need."},   \
    {                                                                                              \
        .name = "send_buffer", .type = KEY_SIZE,                                                   \
        .offset = offsetof(struct tcp_options, send_buffer), .initial = "0",                       \
        .maximum = 1024u * MIB, .example = "256KiB",                                               \
        .summary = "What the kernel may buffer of what is sent (SO_SNDBUF); `net.core.wmem_max` "  \
                   "bounds it. 0: the kernel's own, which grows by need."                          \
    }

static const struct key listening_keys[] = {
    {.name = "defer_accept",
     .type = KEY_DURATION,
     .offset = offsetof(struct tcp_options, defer_accept_ms),
     .initial = "0",
     .maximum = HOUR,
     .example = "5s",
     .summary = "A connection becomes a session only when its first bytes have come, or after "
                "about this long (TCP_DEFER_ACCEPT). Only where clients speak first. Whole "
                "seconds; 0: at once."},
    {.name = "fast_open",
     .type = KEY_INTEGER,
     .offset = offsetof(struct tcp_options, fast_open_queue),
     .initial = "0",
     .maximum = 65535,
     .example = "256",
     .summary = "Clients that were here before may send their first bytes with their SYN: so many "
                "at a time (TCP_FASTOPEN). The kernel's `net.ipv4.tcp_fastopen` must have 2 in it, "
                "as 3 has. 0: none."},
    COMMON_KEYS,
};
const struct shape schema_tcp_listening = {.what = "a listener's 'tcp'", KEYS(listening_keys)};

static const struct key connecting_keys[] = {
    {.name = "fast_open",
     .type = KEY_BOOLEAN,
     .offset = offsetof(struct tcp_options, fast_open),
     .initial = "false",
     .example = "on",
     .summary = "Sends a client's first bytes with the SYN to a backend that allowed it before "
                "(TCP_FASTOPEN_CONNECT). Only where clients speak first, and repeating what they "
                "say does no harm: such a connection counts as made before the backend answered, "
                "so that one that fails is not replaced by another."},
    COMMON_KEYS,
};
const struct shape schema_tcp_connecting = {.what = "a pool's 'tcp'", KEYS(connecting_keys)};
