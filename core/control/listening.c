/* The listening sockets of all configurations; see listening.h. Runs on the builder thread. */
#include "control/listening.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void listening_init(struct listening *listening) {
    list_init(&listening->bounds);
}

static struct bound *bound_of(struct list *node) {
    return container_of(node, struct bound, node);
}

static void close_sockets(struct bound *bound, uint32_t keep) {
    while (bound->count > keep) {
        close(bound->sockets[--bound->count]);
    }
}

/* Is the file at that path the socket we made? It may have been replaced since. */
static bool is_our_file(const struct bound *bound) {
    struct stat status;
    return bound->inode != 0 && lstat(bound->address.local.sun_path, &status) == 0 &&
           status.st_dev == bound->device && status.st_ino == bound->inode;
}

static void drop(struct bound *bound) {
    if (bound->address.any.sa_family == AF_UNIX && is_our_file(bound)) {
        (void)unlink(bound->address.local.sun_path); /* gone already is fine */
    }
    close_sockets(bound, 0);
    list_remove(&bound->node);
    free(bound);
}

void listening_begin(struct listening *listening) {
    list_each(node, &listening->bounds) {
        struct bound *bound = bound_of(node);
        bound->wanted = false;
        bound->published_count = bound->count;
    }
}

void listening_commit(struct listening *listening) {
    list_each(node, &listening->bounds) {
        if (!bound_of(node)->wanted) {
            drop(bound_of(node));
        }
    }
}

void listening_abort(struct listening *listening) {
    list_each(node, &listening->bounds) {
        struct bound *bound = bound_of(node);
        if (bound->published_count == 0) {
            drop(bound);
        } else {
            close_sockets(bound, bound->published_count);
        }
    }
}

void listening_close_all(struct listening *listening) {
    list_each(node, &listening->bounds) {
        drop(bound_of(node));
    }
}

/* ---- opening ---- */

static void set_option(int descriptor, int level, int option) {
    int one = 1;
    /* Each of them is a refinement: what cannot be set shows in bind or in speed, not in silence.
     */
    (void)setsockopt(descriptor, level, option, &one, sizeof(one));
}

/* A bound socket, not listening yet; -1: errno. It is the owner's before it is bound: only sockets
 * of one user may share an address by SO_REUSEPORT, and later ones are made by that user. */
static int open_bound(const struct address *address, bool shared, const struct owner *owner) {
    int family = address->any.sa_family;
    int descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return -1;
    }
    if (family != AF_UNIX) {
        set_option(descriptor, SOL_SOCKET, SO_REUSEADDR);
        set_option(descriptor, IPPROTO_TCP, TCP_NODELAY); /* what it accepts inherits it */
        if (shared) {
            set_option(descriptor, SOL_SOCKET, SO_REUSEPORT);
        }
        if (family == AF_INET6) {
            set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY);
        }
    }
    if (!owner_give_file(owner, descriptor) ||
        bind(descriptor, &address->any, address->length) != 0) {
        int error = errno;
        close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
}

static struct bound *find(struct listening *listening, const struct address *address) {
    list_each(node, &listening->bounds) {
        if (address_equal(&bound_of(node)->address, address)) {
            return bound_of(node);
        }
    }
    return NULL;
}

/* ---- an address in use by others ---- */

static bool is_wildcard(const struct address *address) {
    switch (address->any.sa_family) {
    case AF_INET:
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    case AF_INET6:
        return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
    default:
        return false;
    }
}

/* Is the one the wildcard of the other's port? All our IPv6 sockets are IPV6_V6ONLY. */
static bool covers(const struct address *wildcard, const struct address *address) {
    return is_wildcard(wildcard) && !is_wildcard(address) &&
           wildcard->any.sa_family == address->any.sa_family &&
           address_port(wildcard) == address_port(address);
}

static bool overlaps_ours(struct listening *listening, const struct address *address) {
    list_each(node, &listening->bounds) {
        const struct address *ours = &bound_of(node)->address;
        if (covers(ours, address) || covers(address, ours)) {
            return true;
        }
    }
    return false;
}

/* 0, or why it cannot be bound. */
static int try_bind(const struct address *address, bool shared) {
    int probe = open_bound(address, shared, NULL);
    if (probe < 0) {
        return errno;
    }
    close(probe);
    return 0;
}

/* Has somebody else one of the machine's addresses at the wildcard's port? Those we listen on
 * already would only collide with ourselves. */
static bool is_taken_in_part(struct listening *listening, const struct address *wildcard) {
    struct ifaddrs *interfaces;
    if (getifaddrs(&interfaces) != 0) {
        return false;
    }
    bool taken = false;
    for (struct ifaddrs *at = interfaces; at != NULL && !taken; at = at->ifa_next) {
        if (at->ifa_addr == NULL || at->ifa_addr->sa_family != wildcard->any.sa_family) {
            continue;
        }
        struct address one = {.length = wildcard->length};
        memcpy(&one.any, at->ifa_addr, wildcard->length);
        if (one.any.sa_family == AF_INET) {
            one.v4.sin_port = wildcard->v4.sin_port;
        } else {
            one.v6.sin6_port = wildcard->v6.sin6_port;
        }
        taken = find(listening, &one) == NULL && try_bind(&one, false) == EADDRINUSE;
    }
    freeifaddrs(interfaces);
    return taken;
}

/* A SO_REUSEPORT socket can be bound beside that of another process of the same user, which would
 * then silently take part of the connections: so look with an ordinary one first. 0: nobody there.
 *
 * Where a wildcard and one of its addresses meet in our own sockets (127.0.0.1:80 becomes *:80 in a
 * reload, or the other way) an ordinary one would collide with ourselves. A SO_REUSEPORT one then
 * notices all but the SO_REUSEPORT sockets of the same user; those show on an address of the
 * machine that is not ours yet. What cannot be noticed is such a socket
 *  - on *:80, or on the address itself, when we come from *:80;
 *  - on *:80, when every address of the machine is ours already;
 *  - on an address that no interface has, such as 127.0.0.2. */
static int in_use(struct listening *listening, const struct address *address) {
    if (!overlaps_ours(listening, address)) {
        return try_bind(address, false);
    }
    int error = try_bind(address, true);
    if (error == 0 && is_wildcard(address) && is_taken_in_part(listening, address)) {
        error = EADDRINUSE;
    }
    return error;
}

/* ---- opening, continued ---- */

/* Removes a socket file that nobody answers any more. */
static void remove_stale(const struct address *address) {
    if (address->local.sun_path[0] == '\0') {
        return;
    }
    struct stat status;
    if (lstat(address->local.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return; /* connect refuses an ordinary file too: it is not ours to remove */
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return;
    }
    if (connect(probe, &address->any, address->length) != 0 && errno == ECONNREFUSED) {
        (void)unlink(address->local.sun_path);
    }
    close(probe);
}

static void explain(const struct bind_config *bind, int error, struct messages *messages) {
    switch (error) {
    case EADDRINUSE:
        messages_add(messages, bind->at,
                     "cannot listen on %s: the address is in use; stop what listens there or "
                     "write another one",
                     bind->text);
        break;
    case EACCES:
        messages_add(messages, bind->at,
                     "cannot listen on %s: permission denied; ports below 1024 need root or "
                     "CAP_NET_BIND_SERVICE",
                     bind->text);
        break;
    case EADDRNOTAVAIL:
        messages_add(messages, bind->at,
                     "cannot listen on %s: this machine has no such address; write one it has, or "
                     "0.0.0.0",
                     bind->text);
        break;
    default:
        messages_add(messages, bind->at, "cannot listen on %s: %s", bind->text, strerror(error));
    }
}

/* What it accepts inherits them. */
static void set_options(const struct bound *bound, uint32_t index,
                        const struct tcp_options *before) {
    if (bound->address.any.sa_family != AF_UNIX) {
        tcp_options_set(bound->sockets[index], before, &bound->tcp);
    }
}

/* False: errno. */
static bool open_missing(struct bound *bound, const struct listener_config *listener,
                         uint32_t count, const struct owner *owner) {
    bound->backlog = listener->backlog;
    bound->tcp = listener->tcp;
    while (bound->count < count) {
        int descriptor = open_bound(&bound->address, true, owner);
        if (descriptor < 0) {
            return false;
        }
        bound->sockets[bound->count++] = descriptor;
        set_options(bound, bound->count - 1, &(struct tcp_options){0});
        struct stat status;
        if (bound->address.any.sa_family == AF_UNIX && bound->address.local.sun_path[0] != '\0' &&
            lstat(bound->address.local.sun_path, &status) == 0) {
            bound->device = status.st_dev;
            bound->inode = status.st_ino;
            if (!owner_give_socket(owner, bound->address.local.sun_path, &status)) {
                return false;
            }
        }
    }
    return true;
}

bool listening_listen(struct listening *listening) {
    list_each(node, &listening->bounds) {
        struct bound *bound = bound_of(node);
        for (uint32_t i = 0; bound->wanted && i < bound->count; i++) {
            if (listen(bound->sockets[i], (int)bound->backlog) != 0) {
                return false;
            }
        }
    }
    list_each(node, &listening->bounds) {
        struct bound *bound = bound_of(node);
        for (uint32_t i = 0; bound->wanted && i < bound->published_count; i++) {
            set_options(bound, i, &bound->published);
        }
        bound->published = bound->tcp;
    }
    return true;
}

struct bound *listening_want(struct listening *listening, const struct listener_config *listener,
                             const struct bind_config *bind, uint32_t workers,
                             struct messages *messages) {
    bool local = bind->address.any.sa_family == AF_UNIX;
    struct bound *bound = find(listening, &bind->address);
    if (bound == NULL) {
        int error = local ? 0 : in_use(listening, &bind->address);
        if (error != 0) {
            explain(bind, error, messages);
            return NULL;
        }
        if (local) {
            remove_stale(&bind->address);
        }
        bound = calloc(1, sizeof(*bound));
        if (bound == NULL) {
            explain(bind, ENOMEM, messages);
            return NULL;
        }
        bound->address = bind->address;
        list_append(&listening->bounds, &bound->node);
    }
    bound->wanted = true;
    /* A unix socket has no SO_REUSEPORT: one is shared by all workers. */
    if (!open_missing(bound, listener, local ? 1 : workers, listening->owner)) {
        explain(bind, errno, messages);
        if (local && bound->published_count == 0 && bound->count == 0) {
            list_remove(&bound->node); /* the file is somebody else's: do not unlink it */
            free(bound);
        }
        return NULL;
    }
    return bound;
}

struct bound *listening_keep_covered(struct listening *listening,
                                     const struct listener_config *listener,
                                     const struct address *address, uint32_t workers) {
    list_each(node, &listening->bounds) {
        struct bound *bound = bound_of(node);
        if (!bound->wanted && bound->published_count > 0 && covers(address, &bound->address)) {
            bound->wanted = true;
            /* Without one for each worker, some workers get no clients of that address. */
            (void)open_missing(bound, listener, workers, listening->owner);
            return bound;
        }
    }
    return NULL;
}
