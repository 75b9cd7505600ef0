/* Farewell: the orderly end of a connection whose client may still be sending. Closing at once
 * would turn into a reset as soon as unread bytes are there or arrive, and a reset can overtake
 * what we said. So: tell that no more comes, throw away what the client still sends, close at its
 * end of stream or after a moment. Runs on the worker; few at a time, the rest is closed at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/session.h"

#define FAREWELL_SECONDS 1.0
#define FAREWELLS_AT_ONCE 256u

struct farewell {
    struct ev_io io;
    struct ev_timer limit;
    struct list node;
    struct data_plane *plane;
};

static void end(struct farewell *farewell) {
    struct data_plane *plane = farewell->plane;
    ev_io_stop(plane->loop, &farewell->io);
    ev_timer_stop(plane->loop, &farewell->limit);
    close(farewell->io.fd);
    list_remove(&farewell->node);
    plane->farewell_count--;
    free(farewell);
}

static void on_limit(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    end(container_of(timer, struct farewell, limit));
}

/* True: the client has said its last. */
static bool discard(struct data_plane *plane, int descriptor) {
    ssize_t received = recv(descriptor, plane->scratch, RELAY_SCRATCH_BYTES, 0);
    return received == 0 || (received < 0 && errno != EAGAIN && errno != EINTR);
}

static void on_readable(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    struct farewell *farewell = container_of(io, struct farewell, io);
    if ((events & EV_ERROR) != 0 || discard(farewell->plane, io->fd)) {
        end(farewell);
    }
}

void farewell_begin(struct data_plane *plane, int descriptor) {
    if (plane->farewell_count >= FAREWELLS_AT_ONCE || discard(plane, descriptor) ||
        shutdown(descriptor, SHUT_WR) != 0) {
        close(descriptor);
        return;
    }
    struct farewell *farewell = calloc(1, sizeof(*farewell));
    if (farewell == NULL) {
        close(descriptor);
        return;
    }
    farewell->plane = plane;
    ev_io_init(&farewell->io, on_readable, descriptor, EV_READ);
    ev_io_start(plane->loop, &farewell->io);
    ev_timer_init(&farewell->limit, on_limit, FAREWELL_SECONDS, 0);
    ev_timer_start(plane->loop, &farewell->limit);
    list_append(&plane->farewells, &farewell->node);
    plane->farewell_count++;
}

void farewell_end_all(struct data_plane *plane) {
    list_each(node, &plane->farewells) {
        end(container_of(node, struct farewell, node));
    }
}
