/* Listening: the listening sockets of all configurations. Belongs to the builder thread; workers
 * and control only accept on the descriptors they are given.
 *
 * A socket outlives configurations: it is closed only when a published configuration no longer
 * names its address, after every worker has let go of it. One SO_REUSEPORT socket per worker; when
 * workers become fewer their sockets are spread over the rest, because closing one would drop the
 * handshakes that wait in its queue. For the same reason an address whose wildcard takes its place
 * (127.0.0.1:80 becomes *:80) keeps its sockets: the kernel prefers the exact address, so clients
 * would go on to wait there until the very moment it is closed. */
#ifndef CONTROL_LISTENING_H
#define CONTROL_LISTENING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "config/snapshot.h"
#include "pool/arena.h"

/* The sockets of one address. */
struct bound {
    struct list node;
    struct address address;
    uint32_t count, published_count; /* sockets now / before the build under way */
    uint32_t backlog;                /* of the build under way */
    struct tcp_options tcp;          /* likewise */
    struct tcp_options published;    /* what the sockets published have */
    dev_t device;                    /* of the socket file we made; inode 0 = none */
    ino_t inode;
    bool wanted; /* named by the build under way */
    int sockets[ARENA_WORKERS];
};

struct listening {
    struct list bounds;
    const struct owner *owner; /* of the sockets, and their files, that the build under way makes */
};

void listening_init(struct listening *listening);
/* A build begins: nothing is wanted yet. */
void listening_begin(struct listening *listening);
/* The sockets of one of that listener's addresses, opened as far as they are missing. NULL:
 * messages. */
struct bound *listening_want(struct listening *listening, const struct listener_config *listener,
                             const struct bind_config *bind, uint32_t workers,
                             struct messages *messages);
/* When all that the build names was wanted: the next address that this wildcard covers and the
 * published configuration has, now wanted as a part of the wildcard. NULL: no more. */
struct bound *listening_keep_covered(struct listening *listening,
                                     const struct listener_config *listener,
                                     const struct address *address, uint32_t workers);
/* The build is about to be published: makes its sockets listen. Not before, because a listening
 * SO_REUSEPORT socket gets its share of the clients at once, and closing it would drop them. Those
 * that listen already get what has changed of their options.
 * False: errno. */
bool listening_listen(struct listening *listening);
/* The build was published and everybody uses it: closes what it does not want. */
void listening_commit(struct listening *listening);
/* The build came to nothing: closes what it opened. */
void listening_abort(struct listening *listening);
void listening_close_all(struct listening *listening);

#endif
