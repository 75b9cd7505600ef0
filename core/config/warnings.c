/* Warnings: what is allowed in a configuration, but hardly meant. Command line tools. */
#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include "config/snapshot.h"

static bool is_wildcard(const struct address *address) {
    return (address->any.sa_family == AF_INET && address->v4.sin_addr.s_addr == INADDR_ANY) ||
           (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr));
}

static bool is_loopback(const struct address *address) {
    return (address->any.sa_family == AF_INET &&
            ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) ||
           (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr));
}

/* Does who connects there arrive at that listener? Names are not looked up. */
static bool arrives(const struct address *address, const struct listener_config *listener) {
    for (uint32_t i = 0; i < listener->bind_count; i++) {
        const struct address *bind = &listener->binds[i].address;
        if (address_equal(address, bind) || (is_wildcard(bind) && is_loopback(address) &&
                                             address_port(bind) == address_port(address))) {
            return true;
        }
    }
    return false;
}

static void warn_of_backend(const struct snapshot *snapshot, const struct backend_config *backend,
                            struct messages *warnings) {
    for (uint32_t i = 0; backend->address.length > 0 && i < snapshot->listener_count; i++) {
        const struct listener_config *listener = &snapshot->listeners[i];
        if (listener_relays(listener) && arrives(&backend->address, listener)) {
            messages_add(warnings, backend->at,
                         "warning: backend '%s' is listener '%s' of this very file: its sessions "
                         "come back here; write another address",
                         backend->name, listener->name);
        }
    }
}

/* A route may choose any pool. */
static bool is_used(const struct snapshot *snapshot, uint32_t pool) {
    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        if (snapshot->listeners[i].pool == (int32_t)pool) {
            return true;
        }
    }
    return snapshot_has_routes(snapshot);
}

/* It may get the address later, as the spare of a pair does. */
static void warn_of_source(const struct pool_config *pool, struct messages *warnings) {
    const struct address *address = &pool->source.address;
    if (pool->source.kind != SOURCE_ADDRESS) {
        return;
    }
    int probe = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return;
    }
    if (bind(probe, &address->any, address->length) != 0 && errno == EADDRNOTAVAIL) {
        messages_add(warnings, pool->source.at,
                     "warning: this machine has not got the address that pool '%s' has as "
                     "'source': no backend can be reached while that is so",
                     pool->name);
    }
    close(probe);
}

void snapshot_warn(const struct snapshot *snapshot, struct messages *warnings) {
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        const struct pool_config *pool = &snapshot->pools[i];
        if (!is_used(snapshot, i)) {
            messages_add(warnings, pool->at,
                         "warning: pool '%s' is used by no listener; name it in one, or leave it "
                         "out",
                         pool->name);
        }
        if (pool->check.enabled && pool->check.timeout_ms > pool->check.interval_ms) {
            messages_add(warnings, pool->check.script.at,
                         "warning: the check of pool '%s' may take %u ms, but is due every %u ms: "
                         "it will be late; write a timeout of at most the interval",
                         pool->name, pool->check.timeout_ms, pool->check.interval_ms);
        }
        warn_of_source(pool, warnings);
        for (uint32_t k = 0; k < pool->backend_count; k++) {
            warn_of_backend(snapshot, &pool->backends[k], warnings);
        }
    }
}
