/* Listener: accepts on this worker's share of the listening sockets. Runs on the worker; the
 * sockets themselves are opened and closed by the builder (core/control/listening.c).
 *
 * Out of descriptors, accept would fail and the level-triggered loop spin: the reserve descriptor
 * is given up to take and close the newcomer, then accepting pauses for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/bulk.h"
#include "session/spread.h"

#define ACCEPTS_PER_TURN 64
#define ACCEPT_MOST_NS 250000u /* a turn: each may ask a policy, and the open ones wait */
#define PAUSE_SECONDS 0.1

struct listener {
    struct ev_io io;
    struct list node;
    struct data_plane *plane;
    struct worker_listener *config;
};

/* It may have been lost: between close and open another thread can take the number. */
static void take_reserve(struct data_plane *plane) {
    if (plane->reserve_descriptor < 0) {
        plane->reserve_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

static void resume_accepting(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)events;
    struct data_plane *plane = container_of(timer, struct data_plane, accept_pause);
    take_reserve(plane);
    list_each(node, &plane->listeners) {
        ev_io_start(loop, &container_of(node, struct listener, node)->io);
    }
}

static void pause_accepting(struct data_plane *plane) {
    list_each(node, &plane->listeners) {
        ev_io_stop(plane->loop, &container_of(node, struct listener, node)->io);
    }
    ev_timer_stop(plane->loop, &plane->accept_pause);
    ev_timer_init(&plane->accept_pause, resume_accepting, PAUSE_SECONDS, 0);
    ev_timer_start(plane->loop, &plane->accept_pause);
}

static void out_of_descriptors(struct data_plane *plane, struct worker_listener *listener,
                               int socket) {
    if (bulk_close(plane)) {
        return; /* some are left now, and the newcomer is still there */
    }
    log_limited(LOG_ERROR, "accept", "listener %s: out of descriptors, accepting pauses",
                listener->config->name);
    if (plane->reserve_descriptor >= 0) {
        close(plane->reserve_descriptor);
        int newcomer = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (newcomer >= 0) {
            close(newcomer);
            counter_add(&listener->row->ended[REASON_OUT_OF_DESCRIPTORS], 1);
        }
        plane->reserve_descriptor = -1;
        take_reserve(plane);
    }
    pause_accepting(plane);
}

/* Accepts up to `most` connections; fewer, but at least one, when that has taken `most_ns`. */
static void accept_batch(struct data_plane *plane, struct worker_listener *listener, int socket,
                         int most, uint64_t most_ns) {
    uint64_t began_ns = clock_monotonic_ns();
    for (int i = 0; i < most && (i == 0 || clock_monotonic_ns() - began_ns < most_ns); i++) {
        struct address peer;
        peer.length = sizeof(peer.local);
        peer.any.sa_family = AF_UNIX;
        int descriptor = accept4(socket, &peer.any, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            if (!spread_hand_over(plane, listener, descriptor, &peer)) {
                session_open(plane, listener, descriptor, &peer);
            }
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EMFILE:
        case ENFILE:
            out_of_descriptors(plane, listener, socket);
            return;
        case ENOBUFS:
        case ENOMEM:
            counter_add(&listener->row->ended[REASON_OUT_OF_MEMORY], 1);
            pause_accepting(plane);
            return;
        case ECONNABORTED:
        case EINTR:
        case EPROTO:
            break;   /* the newcomer is gone, the next may be fine */
        case EINVAL: /* taken out of listening by another worker (listener_stop_all) */
            return;
        default:
            /* Never seen; and if it lasts, do not spin. */
            log_limited(LOG_ERROR, "accept", "listener %s: %s", listener->config->name,
                        strerror(errno));
            pause_accepting(plane);
            return;
        }
    }
}

static void listener_on_accept(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    struct listener *listener = container_of(io, struct listener, io);
    if ((events & EV_ERROR) != 0) {
        /* The kernel would not watch it (no memory, or too many), and libev has stopped it. */
        log_limited(LOG_ERROR, "accept", "listener %s: cannot wait for connections, trying again",
                    listener->config->config->name);
        pause_accepting(listener->plane);
        return;
    }
    accept_batch(listener->plane, listener->config, io->fd, ACCEPTS_PER_TURN, ACCEPT_MOST_NS);
}

void listener_open_all(struct data_plane *plane) {
    struct worker_plan *plan = plane->plan;
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        struct worker_listener *config = &plan->listeners[i];
        for (uint32_t k = 0; k < config->socket_count; k++) {
            struct listener *listener = calloc(1, sizeof(*listener));
            if (listener == NULL) {
                log_message(LOG_ERROR, "accept", "out of memory: listener %s is not served here",
                            config->config->name);
                continue;
            }
            listener->plane = plane;
            listener->config = config;
            ev_io_init(&listener->io, listener_on_accept, config->sockets[k], EV_READ);
            ev_io_start(plane->loop, &listener->io);
            list_append(&plane->listeners, &listener->node);
        }
    }
    spread_start(plane);
}

void listener_close_all(struct data_plane *plane) {
    spread_stop(plane);
    ev_timer_stop(plane->loop, &plane->accept_pause);
    list_each(node, &plane->listeners) {
        struct listener *listener = container_of(node, struct listener, node);
        ev_io_stop(plane->loop, &listener->io);
        list_remove(node);
        free(listener);
    }
}

void listener_stop_all(struct data_plane *plane) {
    list_each(node, &plane->listeners) {
        /* Linux takes a listening socket out of listening then; it stays open until the end. A
         * second worker on the same unix socket finds it done. */
        (void)shutdown(container_of(node, struct listener, node)->io.fd, SHUT_RD);
    }
    listener_close_all(plane);
}

static bool plan_has_socket(const struct worker_plan *plan, int socket) {
    for (uint32_t i = 0; plan != NULL && i < plan->listener_count; i++) {
        for (uint32_t k = 0; k < plan->listeners[i].socket_count; k++) {
            if (plan->listeners[i].sockets[k] == socket) {
                return true;
            }
        }
    }
    return false;
}

void listener_accept_leftovers(struct data_plane *plane, const struct worker_plan *next) {
    list_each(node, &plane->listeners) {
        struct listener *listener = container_of(node, struct listener, node);
        if (!plan_has_socket(next, listener->io.fd)) {
            /* Linux lets one more wait than the backlog says. */
            accept_batch(plane, listener->config, listener->io.fd,
                         (int)listener->config->config->backlog + 1, UINT64_MAX);
        }
    }
}
