/* Relay: moves bytes between the two sides of a session, written once and called for each
 * direction. Runs on the session's worker.
 *
 * Small traffic goes through the plane's scratch buffer and is written at once, so an idle session
 * owns no buffer; a side that fills the scratch buffer is spliced from (bulk.c). What the receiver
 * cannot take now is kept as its `pending` bytes (at most one scratch buffer a direction) and the
 * sender is not read until they are out: backpressure.
 *
 * Ends are carried across: an end of stream becomes a shutdown of the other side's sending half, a
 * reset becomes a reset. When writing to a side fails ("broken"), what it sent before is still
 * delivered, and what its peer goes on sending is thrown away: a server may answer and close while
 * the client is still uploading, and unread bytes would turn our close into a reset that takes the
 * answer with it. For the same reason the reset waits until the peer has the whole answer.
 *
 * A side whose stream ended is not watched (it would be readable for ever), so nothing tells when
 * it is reset later: relay_look asks, about every second, while there is such a side.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "session/bulk.h"

#define READS_PER_TURN 4 /* of one direction before other sessions get their turn */

/* Is this the side the client is on? */
static bool is_client(const struct side *side) {
    return side == &side->session->client;
}

static enum session_reason reset_reason(const struct side *side) {
    return is_client(side) ? REASON_CLIENT_RESET : REASON_BACKEND_RESET;
}

/* Watches for what the side can do now: read while its peer takes bytes, write while it has some.
 */
static void watch(struct side *side) {
    int events = 0;
    if (!side->read_closed && !side_has_pending(side->peer)) {
        events |= EV_READ;
    }
    if (side_has_pending(side)) {
        events |= EV_WRITE;
    }
    struct ev_loop *loop = side->session->plane->loop;
    if ((ev_is_active(&side->io) ? side->io.events & (EV_READ | EV_WRITE) : 0) == events) {
        return;
    }
    ev_io_stop(loop, &side->io);
    if (events != 0) {
        ev_io_modify(&side->io, events);
        ev_io_start(loop, &side->io);
    }
}

static void count_bytes(struct side *from, size_t bytes) {
    struct session *session = from->session;
    from->received_bytes += bytes;
    if (is_client(from)) {
        counter_add(&session->listener_row->bytes_in, bytes);
        counter_add(&session->pool_row->bytes_in, bytes);
        counter_add(&session->slot_row->bytes_in, bytes);
    } else {
        counter_add(&session->listener_row->bytes_out, bytes);
        counter_add(&session->pool_row->bytes_out, bytes);
        counter_add(&session->slot_row->bytes_out, bytes);
    }
}

/* Is something on its way to the side that it has not acknowledged? */
static bool is_on_its_way(const struct side *to) {
    int bytes = 0;
    return ioctl(to->io.fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

static void set_broken(struct side *side) {
    side->broken = true;
    free(side->pending);
    side->pending = NULL;
    bulk_drop(side);
}

/* Nothing comes from the side any more, and nothing reaches it. Its peer is reset as soon as it has
 * all that the side sent; until then relay_look comes back here. False: session closed. */
static bool side_died(struct side *dead) {
    if (!dead->peer->broken && is_on_its_way(dead->peer)) {
        session_arm_timer(dead->session);
        return true;
    }
    session_close(dead->session, reset_reason(dead));
    return false;
}

/* Everything read from `from` has been written: closes what can be closed. False: session closed.
 */
static bool pass_end_on(struct side *from) {
    struct side *to = from->peer;
    struct session *session = from->session;
    if (to->broken) {
        return true; /* it ends when what it sent is delivered */
    }
    if (to->read_closed && !from->broken) {
        session_close(session, REASON_DONE);
        return false;
    }
    if (!from->cut) {
        /* Fails only when the peer is gone already; its reading end reports that. */
        (void)shutdown(to->io.fd, SHUT_WR);
    }
    if (from->broken) {
        return side_died(from);
    }
    session_arm_timer(session); /* for relay_look */
    return true;
}

/* Writing to `to` failed: no more can reach it, but what it sent may still reach its peer.
 * tcp(7): EPIPE is a reset after its orderly end, everything else an abort. False: session closed.
 */
static bool side_broke(struct side *to, int error) {
    set_broken(to);
    if (to->read_closed) {
        return side_died(to);
    }
    to->cut = error != EPIPE;
    return true;
}

/* What to do when send() said no. False: session closed. */
static bool sending_failed(struct side *to, int error) {
    switch (error) {
    case EAGAIN:
    case EINTR:
        return true;
    case ENOBUFS: /* the socket stays writable all the while: waiting for that would spin */
    case ENOMEM:
        session_close(to->session, REASON_OUT_OF_MEMORY);
        return false;
    default:
        return side_broke(to, error);
    }
}

/* Sends as much as the receiver takes; the rest becomes its pending bytes. False: session closed.
 */
static bool deliver(struct side *to, const char *bytes, size_t length) {
    ssize_t sent = send(to->io.fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0) {
        if (!sending_failed(to, errno)) {
            return false;
        }
        if (to->broken) {
            return true;
        }
        sent = 0;
    }
    size_t left = length - (size_t)sent;
    if (left == 0) {
        return true;
    }
    to->pending = malloc(left);
    if (to->pending == NULL) {
        session_close(to->session, REASON_OUT_OF_MEMORY);
        return false;
    }
    memcpy(to->pending, bytes + sent, left);
    to->pending_start = 0;
    to->pending_end = (uint32_t)left;
    return true;
}

/* The kernel does not splice to `to`: what is in its pipe is copied. False: session closed. */
static bool unload(struct side *to) {
    if (!bulk_unload(to)) {
        session_close(to->session, REASON_OUT_OF_MEMORY);
        return false;
    }
    return true;
}

/* Writes from the side's pipe. False: session closed. */
static bool flush_pipe(struct side *to) {
    ssize_t sent = bulk_write(to);
    if (sent < 0) {
        return bulk_is_refused(to->session, errno) ? unload(to) : sending_failed(to, errno);
    }
    to->session->last_activity = to->session->plane->now;
    return true;
}

/* False: session closed. */
static bool flush(struct side *to) {
    if (to->pipe != NULL) {
        return flush_pipe(to);
    }
    size_t left = to->pending_end - to->pending_start;
    ssize_t sent = send(to->io.fd, to->pending + to->pending_start, left, MSG_NOSIGNAL);
    if (sent < 0) {
        return sending_failed(to, errno);
    }
    to->session->last_activity = to->session->plane->now;
    to->pending_start += (uint32_t)sent;
    if (to->pending_start == to->pending_end) {
        free(to->pending);
        to->pending = NULL;
    }
    return true;
}

/* The side reset the connection. An answer is still delivered; an upload cut in the middle is of no
 * use to the backend, which should stop working on it now. False: session closed. */
static bool reading_failed(struct side *from) {
    if (is_client(from)) {
        session_close(from->session, REASON_CLIENT_RESET);
        return false;
    }
    from->read_closed = from->cut = true;
    set_broken(from);
    return side_died(from);
}

/* The end of the stream was read. False: session closed. */
static bool ended(struct side *from) {
    from->session->last_activity = from->session->plane->now;
    from->read_closed = true;
    return pass_end_on(from);
}

/* Moves what `from` has to its peer by splice, once: it may be much. `*copy`: it has to be copied
 * instead. False: session closed. */
static bool pump_bulk(struct side *from, bool *copy) {
    struct session *session = from->session;
    ssize_t moved = bulk_read(from);
    if (moved < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return true;
        }
        *copy = bulk_is_refused(session, errno) || errno == EMFILE || errno == ENOMEM;
        return *copy || reading_failed(from);
    }
    if (moved == 0) {
        return ended(from);
    }
    from->streams = (size_t)moved >= session->plane->bulk_least_bytes;
    count_bytes(from, (size_t)moved);
    return flush_pipe(from->peer);
}

/* Moves what `from` has to its peer. False: session closed. */
static bool relay_pump(struct side *from) {
    struct session *session = from->session;
    struct side *to = from->peer;
    char *scratch = session->plane->scratch;
    if (from->streams && !session->copies && !to->broken) {
        bool copy = false;
        if (!pump_bulk(from, &copy)) {
            return false;
        }
        if (!copy) {
            return true;
        }
    }
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t received = recv(from->io.fd, scratch, RELAY_SCRATCH_BYTES, 0);
        if (received < 0) {
            return errno == EAGAIN || errno == EINTR ? true : reading_failed(from);
        }
        if (received == 0) {
            return ended(from);
        }
        count_bytes(from, (size_t)received);
        if (to->broken) {
            continue; /* not activity: nobody gets it */
        }
        session->last_activity = session->plane->now;
        if (!deliver(to, scratch, (size_t)received)) {
            return false;
        }
        bool full = received == (ssize_t)RELAY_SCRATCH_BYTES;
        from->streams = full || (i > 0 && from->streams);
        if (to->pending != NULL || !full) {
            return true; /* the receiver is full, or the sender probably empty */
        }
    }
    return true;
}

static void relay_on_ready(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    struct side *side = container_of(io, struct side, io);
    if ((events & EV_ERROR) != 0) { /* the kernel would not watch it: no memory, or too many */
        session_close(side->session, REASON_OUT_OF_MEMORY);
        return;
    }
    if ((events & EV_WRITE) != 0 && side_has_pending(side) && !flush(side)) {
        return;
    }
    if ((events & EV_READ) != 0 && !side->read_closed && !side_has_pending(side->peer) &&
        !relay_pump(side)) {
        return;
    }
    watch(side);
    watch(side->peer);
}

/* Was it reset? Only poll tells without taking soft errors (an ICMP "unreachable" on the way) for
 * the end, as SO_ERROR would. POLLHUP does not count: a unix socket has it as soon as the other end
 * closed in order, and then it is as with TCP, where closing looks like a mere end of stream. */
static bool was_reset(const struct side *side) {
    struct pollfd look = {.fd = side->io.fd};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLERR) != 0;
}

bool relay_look(struct session *session) {
    struct side *sides[] = {&session->client, &session->backend};
    for (int i = 0; i < 2; i++) {
        struct side *side = sides[i];
        if (!side->read_closed || (!side->broken && !was_reset(side))) {
            continue;
        }
        set_broken(side);
        if (!side_died(side)) {
            return false;
        }
        watch(side);
        watch(side->peer);
    }
    return true;
}

bool relay_has_ended_side(const struct session *session) {
    return session->client.read_closed || session->backend.read_closed;
}

void relay_start(struct session *session) {
    struct worker_plan *plan = session->plan;
    struct data_plane *plane = session->plane;
    counter_add(&session->pool_row->sessions_total, 1);
    counter_add(&session->slot_row->sessions_total, 1);
    session_move(session, SESSION_RELAYING);
    slab_give(&plane->dial_slab, session->dial);
    session->dial = NULL;
    session->plan = NULL;
    plane_release_plan(plane, plan);
    session->last_activity = plane->now;

    ev_set_cb(&session->backend.io, relay_on_ready);
    ev_io_init(&session->client.io, relay_on_ready, session->client.io.fd, EV_READ);
    if (session->backend.pending != NULL) { /* a route looked at them */
        count_bytes(&session->client, session->backend.pending_end);
        if (!flush(&session->backend)) {
            return;
        }
    }
    /* The client's first bytes are usually here already. */
    if (session->backend.pending == NULL && !relay_pump(&session->client)) {
        return;
    }
    watch(&session->client);
    watch(&session->backend);
    session_arm_timer(session);
}
