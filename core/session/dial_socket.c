/* Dial, the socket: what is set on it before it connects, and the address it comes from. Runs on
 * the session's worker. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "session/session.h"

/* May the socket take an address that is not this machine's? */
static bool allow_any_address(int descriptor, int family) {
    int one = 1;
    return family == AF_INET
               ? setsockopt(descriptor, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one)) == 0
               : setsockopt(descriptor, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof(one)) == 0;
}

/* Without it the kernel takes a port at bind that nobody else can use meanwhile, for whatever
 * destination: about 28 000 of them. With it, connect takes one that is free for the destination.
 */
static void take_port_later(int descriptor) {
    int one = 1;
    if (setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) != 0) {
        tcp_option_refused("source: a port of connect's choice");
    }
}

/* To come from another address than the one asked for could be let in where it must not be, or kept
 * out where nobody looks: it fails instead, and not as the backend's fault. */
static int bind_source(const struct session *session, int descriptor, const struct source *source,
                       int family) {
    struct address from = source->address;
    if (source->kind == SOURCE_CLIENT) {
        session_client_address(session, &from);
        if (from.any.sa_family != family) {
            return 0; /* it has none that could be used */
        }
        if (family == AF_INET) {
            from.v4.sin_port = 0;
        } else {
            from.v6.sin6_port = 0;
        }
        if (!allow_any_address(descriptor, family)) {
            tcp_option_refused("source: client");
            return EADDRNOTAVAIL;
        }
    }
    take_port_later(descriptor);
    if (bind(descriptor, &from.any, from.length) != 0) {
        log_limited(LOG_ERROR, "dial", "cannot reach backends from the pool's source: %s",
                    strerror(errno));
        return EADDRNOTAVAIL;
    }
    return 0;
}

int dial_prepare(const struct session *session, int descriptor, const struct address *to) {
    static const struct tcp_options none;
    const struct pool_config *pool = session->dial->pool->config;
    if (to->any.sa_family == AF_UNIX) {
        return 0;
    }
    tcp_options_set(descriptor, &none, &pool->tcp);
    if (pool->source.kind != SOURCE_KERNEL) {
        return bind_source(session, descriptor, &pool->source, to->any.sa_family);
    }
    return 0;
}
