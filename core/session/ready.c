/* Readiness: knows of every socket of a session whether it can be read and written, and gives
 * sessions that can go on their turn. Runs on the worker.
 *
 * libev watches level-triggered, one descriptor for one purpose at a time: a session would cost
 * five calls of epoll_ctl. So the sockets of sessions are in an epoll set of the worker's own,
 * edge-triggered, each registered once for everything, and libev watches that set as one
 * descriptor. An edge is told once: what it told stays in the side (`readable`, `writable`) until a
 * system call says no. A session that could go on, but had its share of this turn, waits in
 * `plane->runnable`, or, as its share is large, in `plane->streaming` if it sends a lot.
 *
 * A turn ends when it has lasted RUN_UNTIL_NS, whoever still waits: others may want a newcomer
 * taken, a timer, a mail. Who streams comes after all others, but at least one does in each turn.
 *
 * When a socket is closed it leaves the set by itself, but not while a forked child still holds
 * it: then what is told of it may reach whoever has its memory by now. So a hint is only a hint:
 * reading and writing find out for themselves, and a reset of an ended side is looked at again. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/session.h"

#define EVENTS_AT_ONCE 64
#define RUN_UNTIL_NS 500000u

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
    if (list_is_empty(&session->ready_node)) { /* else it waits, and keeps its place */
        bool streams = session->client.streams || session->backend.streams;
        list_append(streams ? &session->plane->streaming : &session->plane->runnable,
                    &session->ready_node);
    }
}

/* Those of a list, at least one, as far as the time goes. Those that ask for another turn meanwhile
 * get it next time, after those that did not come to theirs. */
static void run_some(struct data_plane *plane, struct list *waiting) {
    struct list now;
    list_init(&now);
    list_move_all(waiting, &now);
    while (!list_is_empty(&now)) {
        struct session *session = container_of(now.next, struct session, ready_node);
        list_remove(&session->ready_node);
        give_turn(session);
        if (turn_age_ns(&plane->turns) >= RUN_UNTIL_NS) {
            break;
        }
    }
    list_move_all(waiting, &now);
    list_move_all(&now, waiting);
}

static void run_sessions(struct data_plane *plane) {
    run_some(plane, &plane->runnable);
    run_some(plane, &plane->streaming);
}

bool ready_has_more(const struct data_plane *plane) {
    return !list_is_empty(&plane->runnable) || !list_is_empty(&plane->streaming);
}

/* Takes down what is told of a socket. With urgent data or an error, a read may stop short of what
 * there is. */
static void note(struct readiness *ready, uint32_t told) {
    bool hung_up = (told & (EPOLLERR | EPOLLHUP)) != 0;
    ready->readable = ready->readable || hung_up || (told & (EPOLLIN | EPOLLRDHUP)) != 0;
    ready->writable = ready->writable || hung_up || (told & EPOLLOUT) != 0;
    ready->end_arrived = ready->end_arrived || (told & EPOLLRDHUP) != 0;
    ready->failed = ready->failed || (told & EPOLLERR) != 0;
    ready->urgent = ready->urgent || (told & EPOLLPRI) != 0;
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

/* Linux says EAGAIN, too, where a read begins at urgent data and a signal (a tick of the watchdog)
 * is due; no edge tells then of the bytes behind. */
bool ready_is_empty(struct side *side) {
    struct pollfd look = {.fd = side->descriptor, .events = POLLIN};
    side->ready.readable =
        side->ready.urgent && poll(&look, 1, 0) == 1 && (look.revents & POLLIN) != 0;
    return !side->ready.readable;
}

bool ready_open(struct data_plane *plane) {
    list_init(&plane->runnable);
    list_init(&plane->streaming);
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
