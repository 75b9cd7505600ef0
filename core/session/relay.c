/* Relay: moves bytes between the two sides of a session, written once and called for each
 * direction. Runs on the session's worker.
 *
 * Small traffic goes through the plane's scratch buffer and is written at once, so an idle session
 * owns no buffer. What the receiver cannot take now is kept as its `pending` bytes (at most one
 * scratch buffer a direction) and the sender is not read until they are out: backpressure.
 *
 * Ends are carried across: an end of stream becomes a shutdown of the other side's sending half, a
 * reset becomes a reset. When writing to a side fails ("broken"), what it sent before is still
 * delivered, and what its peer goes on sending is thrown away: a server may answer and close while
 * the client is still uploading, and unread bytes would turn our close into a reset that takes the
 * answer with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "session/session.h"

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
    if (!side->read_closed && side->peer->pending == NULL) {
        events |= EV_READ;
    }
    if (side->pending != NULL) {
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

/* Everything read from `from` has been written: closes what can be closed. False: session closed.
 */
static bool pass_end_on(struct side *from) {
    struct side *to = from->peer;
    struct session *session = from->session;
    if (from->broken) {
        session_close(session, reset_reason(from));
        return false;
    }
    if (to->broken) {
        return true; /* it ends when what it sent is delivered */
    }
    if (to->read_closed) {
        session_close(session, REASON_DONE);
        return false;
    }
    /* Fails only when the peer is gone already; its reading end reports that. */
    (void)shutdown(to->io.fd, SHUT_WR);
    return true;
}

/* Writing to `to` failed: no more can reach it, but what it sent may still reach its peer.
 * tcp(7): EPIPE is a reset after its orderly end, everything else an abort. False: session closed.
 */
static bool side_broke(struct side *to, int error) {
    struct session *session = to->session;
    if (error != EPIPE || to->read_closed) {
        session->carry_reset = true;
    }
    if (to->read_closed) {
        session_close(session, reset_reason(to));
        return false;
    }
    to->broken = true;
    free(to->pending);
    to->pending = NULL;
    return true;
}

/* Sends as much as the receiver takes; the rest becomes its pending bytes. False: session closed.
 */
static bool deliver(struct side *to, const char *bytes, size_t length) {
    ssize_t sent = send(to->io.fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
            return side_broke(to, errno);
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

/* False: session closed. */
static bool flush(struct side *to) {
    size_t left = to->pending_end - to->pending_start;
    ssize_t sent = send(to->io.fd, to->pending + to->pending_start, left, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) {
            return true;
        }
        return side_broke(to, errno);
    }
    to->session->last_activity = to->session->plane->now;
    to->pending_start += (uint32_t)sent;
    if (to->pending_start == to->pending_end) {
        free(to->pending);
        to->pending = NULL;
    }
    return true;
}

/* The side reset the connection; its peer has nothing pending, or the side would not be read.
 * Always false: session closed. */
static bool reading_failed(struct side *from) {
    from->session->carry_reset = true;
    session_close(from->session, reset_reason(from));
    return false;
}

/* Moves what `from` has to its peer. False: session closed. */
static bool relay_pump(struct side *from) {
    struct session *session = from->session;
    struct side *to = from->peer;
    char *scratch = session->plane->scratch;
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t received = recv(from->io.fd, scratch, RELAY_SCRATCH_BYTES, 0);
        if (received < 0) {
            return errno == EAGAIN || errno == EINTR ? true : reading_failed(from);
        }
        session->last_activity = session->plane->now;
        if (received == 0) {
            from->read_closed = true;
            return pass_end_on(from);
        }
        count_bytes(from, (size_t)received);
        if (to->broken) {
            continue;
        }
        if (!deliver(to, scratch, (size_t)received)) {
            return false;
        }
        if (to->pending != NULL || received < (ssize_t)RELAY_SCRATCH_BYTES) {
            return true; /* the receiver is full, or the sender probably empty */
        }
    }
    return true;
}

static void relay_on_ready(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    struct side *side = container_of(io, struct side, io);
    if ((events & EV_WRITE) != 0 && side->pending != NULL && !flush(side)) {
        return;
    }
    if ((events & EV_READ) != 0 && !side->read_closed && side->peer->pending == NULL &&
        !relay_pump(side)) {
        return;
    }
    watch(side);
    watch(side->peer);
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
    /* The client's first bytes are usually here already. */
    if (!relay_pump(&session->client)) {
        return;
    }
    watch(&session->client);
    watch(&session->backend);
    session_arm_timer(session);
}
