/* TCP options: see tcp_options.h. Builder and workers. */
#include "base/tcp_options.h"

#include <errno.h>
#include <linux/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* Writers: whoever was refused something. While all goes well nobody writes it. */
static _Atomic uint64_t refused;

uint64_t tcp_options_refused_total(void) {
    return atomic_load_explicit(&refused, memory_order_relaxed);
}

static void note_refused(const char *name, const char *why) {
    atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
    log_limited(LOG_WARNING, "socket", "the kernel refuses %s: %s; served without", name, why);
}

void tcp_option_refused(const char *name) {
    note_refused(name, strerror(errno));
}

static void set_number(int descriptor, int level, int option, const char *name, uint64_t number) {
    int value = (int)number;
    if (setsockopt(descriptor, level, option, &value, sizeof(value)) != 0) {
        tcp_option_refused(name);
    }
}

/* The kernel counts in seconds here. */
static uint32_t seconds(uint32_t ms) {
    return (ms + 999) / 1000;
}

/* What a new socket of the same kind has: for going back to it. False: errno. */
static bool ask_new(int descriptor, int level, int option, void *value, socklen_t length) {
    int family;
    socklen_t family_length = sizeof(family);
    if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &family_length) != 0) {
        return false;
    }
    int other = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (other < 0) {
        return false;
    }
    bool ok = getsockopt(other, level, option, value, &length) == 0;
    close(other);
    return ok;
}

static void set_keepalive(int descriptor, const struct keepalive *keepalive) {
    set_number(descriptor, SOL_SOCKET, SO_KEEPALIVE, "keepalive", keepalive->on);
    if (keepalive->on) {
        set_number(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, "keepalive: idle",
                   seconds(keepalive->idle_ms));
        set_number(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, "keepalive: interval",
                   seconds(keepalive->interval_ms));
        set_number(descriptor, IPPROTO_TCP, TCP_KEEPCNT, "keepalive: probes", keepalive->probes);
    }
}

static void set_congestion(int descriptor, const char *congestion) {
    char name[CONGESTION_BYTES] = {0};
    if (congestion[0] != '\0') {
        memcpy(name, congestion, sizeof(name));
    } else if (!ask_new(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name))) {
        tcp_option_refused("congestion");
        return;
    }
    if (setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name,
                   (socklen_t)strnlen(name, sizeof(name))) != 0) {
        tcp_option_refused("congestion");
    }
}

/* The kernel takes a size for its own bookkeeping too, and so doubles it; one beyond
 * net.core.rmem_max (or wmem_max) it silently makes smaller. */
static void set_buffer(int descriptor, int option, const char *name, uint64_t bytes) {
    int got = 0;
    socklen_t length = sizeof(got);
    set_number(descriptor, SOL_SOCKET, option, name, bytes);
    if (getsockopt(descriptor, SOL_SOCKET, option, &got, &length) == 0 && (uint64_t)got < bytes) {
        note_refused(name, "it is more than net.core.rmem_max or wmem_max allows");
    }
}

/* Back to what the kernel grows as it sees fit. */
static void free_buffers(int descriptor, const struct tcp_options *wanted) {
    const struct {
        int option;
        const char *name;
        uint64_t bytes;
    } buffers[] = {
        {SO_RCVBUF, "receive_buffer", wanted->receive_buffer},
        {SO_SNDBUF, "send_buffer", wanted->send_buffer},
    };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        int initial;
        if (buffers[i].bytes != 0) {
            set_buffer(descriptor, buffers[i].option, buffers[i].name, buffers[i].bytes);
        } else if (ask_new(descriptor, SOL_SOCKET, buffers[i].option, &initial, sizeof(initial))) {
            set_number(descriptor, SOL_SOCKET, buffers[i].option, buffers[i].name,
                       (uint64_t)initial / 2);
        } else {
            tcp_option_refused(buffers[i].name);
        }
    }
    /* Setting a size has locked it. */
    set_number(descriptor, SOL_SOCKET, SO_BUF_LOCK, "a buffer of the kernel's size",
               (wanted->receive_buffer != 0 ? SOCK_RCVBUF_LOCK : 0) |
                   (wanted->send_buffer != 0 ? SOCK_SNDBUF_LOCK : 0));
}

static void set_buffers(int descriptor, const struct tcp_options *before,
                        const struct tcp_options *wanted) {
    if ((wanted->receive_buffer == 0 && before->receive_buffer != 0) ||
        (wanted->send_buffer == 0 && before->send_buffer != 0)) {
        free_buffers(descriptor, wanted);
        return;
    }
    if (wanted->receive_buffer != before->receive_buffer) {
        set_buffer(descriptor, SO_RCVBUF, "receive_buffer", wanted->receive_buffer);
    }
    if (wanted->send_buffer != before->send_buffer) {
        set_buffer(descriptor, SO_SNDBUF, "send_buffer", wanted->send_buffer);
    }
}

static bool keepalive_differs(const struct keepalive *a, const struct keepalive *b) {
    return a->on != b->on ||
           (a->on && (a->idle_ms != b->idle_ms || a->interval_ms != b->interval_ms ||
                      a->probes != b->probes));
}

void tcp_options_set(int descriptor, const struct tcp_options *before,
                     const struct tcp_options *wanted) {
    if (wanted->defer_accept_ms != before->defer_accept_ms) {
        set_number(descriptor, IPPROTO_TCP, TCP_DEFER_ACCEPT, "defer_accept",
                   seconds(wanted->defer_accept_ms));
    }
    if (wanted->fast_open_queue != before->fast_open_queue) {
        set_number(descriptor, IPPROTO_TCP, TCP_FASTOPEN, "fast_open", wanted->fast_open_queue);
    }
    if (wanted->fast_open != before->fast_open) {
        set_number(descriptor, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, "fast_open", wanted->fast_open);
    }
    if (wanted->user_timeout_ms != before->user_timeout_ms) {
        set_number(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, "user_timeout",
                   wanted->user_timeout_ms);
    }
    if (keepalive_differs(&wanted->keepalive, &before->keepalive)) {
        set_keepalive(descriptor, &wanted->keepalive);
    }
    if (strcmp(wanted->congestion, before->congestion) != 0) {
        set_congestion(descriptor, wanted->congestion);
    }
    set_buffers(descriptor, before, wanted);
}
