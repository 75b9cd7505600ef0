/* Readiness: knows of every socket of a session whether it can be read and written, and gives
 * sessions that can go on their turn. Runs on the worker.
 *
 * libev watches level-triggered, one descriptor for one purpose at a time: a session would cost
 * five calls of epoll_ctl. So the sockets of sessions are in an epoll set of the worker's own,
 * edge-triggered, each registered once for everything, and libev watches that set as one
 * descriptor. An edge is told once: what it told stays in the side (`readable`, `writable`) until a
 * system call says no. A session that could go on, but had its share of this turn, waits in
 * `plane->runnable`.
 *
 * When a socket is closed it leaves the set by itself, but not while a forked child still holds
 * it: then what is told of it may reach whoever has its memory by now. So a hint is only a hint:
 * reading and writing find out for themselves, and a reset of an ended side is looked at again. */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/session.h"

#define EVENTS_AT_ONCE 64
#define BATCHES_PER_TURN 1

static void give_turn(struct session *session) {
    switch (session->state) {
    case SESSION_ROUTING:
        route_on_ready(session);
        break;
    case SESSION_DIALLING:
        dial_on_ready(session);
        break;
    case SESSION_RELAYING:
        relay_on_ready(session);
        break;
    default: /* closed, in this very turn; or routed: the relay will see */
        break;
    }
}

void ready_later(struct session *session) {
    list_remove(&session->ready_node);
    list_append(&session->plane->runnable, &session->ready_node);
}

/* Those that ask for another turn meanwhile get it next time. */
static void run_sessions(struct data_plane *plane) {
    struct list now;
    list_init(&now);
    list_move_all(&plane->runnable, &now);
    while (!list_is_empty(&now)) {
        struct session *session = container_of(now.next, struct session, ready_node);
        list_remove(&session->ready_node);
        give_turn(session);
    }
}

/* Takes down what is told of a socket. With urgent data or an error, a read may stop short of what
 * there is. */
static void note(struct readiness *ready, uint32_t told) {
    bool hung_up = (told & (EPOLLERR | EPOLLHUP)) != 0;
    ready->readable = ready->readable || hung_up || (told & (EPOLLIN | EPOLLRDHUP)) != 0;
    ready->writable = ready->writable || hung_up || (told & EPOLLOUT) != 0;
    ready->end_arrived = ready->end_arrived || (told & EPOLLRDHUP) != 0;
    ready->failed = ready->failed || (told & EPOLLERR) != 0;
    ready->short_is_empty = ready->short_is_empty && (told & (EPOLLPRI | EPOLLERR)) == 0;
}

static void on_ready(struct ev_loop *loop, struct ev_io *io, int flags) {
    (void)loop;
    (void)flags;
    struct data_plane *plane = container_of(io, struct data_plane, ready_io);
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(io->fd, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < count; i++) { /* -1: interrupted, and libev calls again */
        struct side *side = events[i].data.ptr;
        note(&side->ready, events[i].events);
        if ((events[i].events & EPOLLPRI) != 0) {
            side->session->copies = true; /* splice does not go past urgent data (RFC 6093) */
        }
        if (side->session->state != SESSION_CLOSED) {
            ready_later(side->session);
        }
    }
    run_sessions(plane);
}

void ready_begin_turn(struct data_plane *plane) {
    if (!ev_is_pending(&plane->ready_io)) { /* else on_ready is about to be called */
        run_sessions(plane);
    }
}

void ready_reset(struct side *side, int family) {
    /* On a unix socket a read also stops where descriptors were passed along. */
    side->ready = (struct readiness){.short_is_empty = family != AF_UNIX};
}

bool ready_watch(struct side *side) {
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
        .data.ptr = side,
    };
    int set = side->session->plane->ready_io.fd;
    side->ready.watched = epoll_ctl(set, EPOLL_CTL_ADD, side->descriptor, &event) == 0;
    return side->ready.watched;
}

void ready_forget(struct side *side) {
    if (side->ready.watched) {
        (void)epoll_ctl(side->session->plane->ready_io.fd, EPOLL_CTL_DEL, side->descriptor, NULL);
        side->ready.watched = false;
    }
}

bool ready_open(struct data_plane *plane) {
    list_init(&plane->runnable);
    int set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0) {
        return false;
    }
    ev_io_init(&plane->ready_io, on_ready, set, EV_READ);
    ev_io_start(plane->loop, &plane->ready_io);
    return true;
}

void ready_close(struct data_plane *plane) {
    ev_io_stop(plane->loop, &plane->ready_io);
    close(plane->ready_io.fd);
}
