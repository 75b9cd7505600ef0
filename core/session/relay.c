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
 * Which socket can do something is known from edges (ready.c): a turn goes on until the kernel says
 * no, somebody else must go first, or the session had its share. */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
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

/* Is there something to read from the side that its peer takes? */
static bool can_read(const struct side *side) {
    return side->ready.readable && !side->read_closed && !side_has_pending(side->peer);
}

/* Does the side take what is pending for it? */
static bool can_write(const struct side *side) {
    return side->ready.writable && side_has_pending(side);
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
    return ioctl(to->descriptor, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

static void set_broken(struct side *side) {
    side->broken = true;
    free(side->pending);
    side->pending = NULL;
    bulk_drop(side);
}

/* Nothing comes from the side any more, and nothing reaches it. Its peer is reset as soon as it has
 * all that the side sent; until then relay_try_to_end comes back here. False: session closed. */
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
        (void)shutdown(to->descriptor, SHUT_WR);
    }
    return !from->broken || side_died(from);
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
        to->ready.writable = false;
        return true;
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

/* Linux holds a small segment back while an earlier small one is not acknowledged (Minshall's
 * variant of Nagle's algorithm), so never the first: a side that is sent to once is spared the
 * call. */
static void send_at_once(struct side *to) {
    if (to->held_back && to->sent) {
        int one = 1;
        /* Without it the relay is slower, not wrong. */
        (void)setsockopt(to->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        to->held_back = false;
    }
    to->sent = true;
}

static ssize_t send_to(struct side *to, const char *bytes, size_t length) {
    send_at_once(to);
    ssize_t sent = send(to->descriptor, bytes, length, MSG_NOSIGNAL);
    if (sent >= 0 && (size_t)sent < length) {
        to->ready.writable = false;
    }
    return sent;
}

/* Sends as much as the receiver takes; the rest becomes its pending bytes. False: session closed.
 */
static bool deliver(struct side *to, const char *bytes, size_t length) {
    ssize_t sent = send_to(to, bytes, length);
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
    send_at_once(to);
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
    ssize_t sent = send_to(to, to->pending + to->pending_start, left);
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
            from->ready.readable = errno == EINTR;
            return true;
        }
        *copy = bulk_is_refused(session, errno) || errno == EMFILE || errno == ENOMEM;
        return *copy || reading_failed(from);
    }
    if (moved == 0) { /* the end, or (RFC 6093) urgent data, which splice does not go past */
        *copy = true;
        return true;
    }
    from->streams = (size_t)moved >= session->plane->bulk_least_bytes;
    count_bytes(from, (size_t)moved);
    return flush_pipe(from->peer);
}

/* Moves what `from` has to its peer. False: session closed. */
static bool pump(struct side *from) {
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
    for (int i = 0; i < READS_PER_TURN && can_read(from); i++) {
        ssize_t received = recv(from->descriptor, scratch, RELAY_SCRATCH_BYTES, 0);
        if (received < 0 && errno == EAGAIN && ready_is_empty(from)) {
            return true;
        }
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (received < 0) {
            return reading_failed(from);
        }
        if (received == 0) {
            return ended(from);
        }
        count_bytes(from, (size_t)received);
        bool full = received == (ssize_t)RELAY_SCRATCH_BYTES;
        bool emptied = !full && from->ready.short_is_empty;
        from->ready.readable = !emptied || from->ready.end_arrived;
        if (to->broken) {
            continue; /* not activity: nobody gets it */
        }
        session->last_activity = session->plane->now;
        if (!deliver(to, scratch, (size_t)received)) {
            return false;
        }
        from->streams = full || (i > 0 && from->streams);
        if (emptied && from->ready.end_arrived && !side_has_pending(to)) {
            return ended(from);
        }
    }
    return true;
}

/* An end of stream says nothing of what happens later. Only poll tells without taking soft errors
 * (an ICMP "unreachable" on the way) for the end, as SO_ERROR would. POLLHUP does not count: a unix
 * socket has it as soon as the other end closed in order, and then it is as with TCP, where closing
 * looks like a mere end of stream. */
static bool was_reset(const struct side *side) {
    struct pollfd look = {.fd = side->descriptor};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLERR) != 0;
}

/* A side that failed after its end of stream: nothing is read from it that would tell. False:
 * session closed. */
static bool notice_reset(struct side *side) {
    if (!side->ready.failed || !side->read_closed || side->broken || !was_reset(side)) {
        return true;
    }
    set_broken(side);
    return side_died(side);
}

void relay_on_ready(struct session *session) {
    struct side *client = &session->client, *backend = &session->backend;
    if ((can_write(client) && !flush(client)) || (can_write(backend) && !flush(backend))) {
        return;
    }
    if ((can_read(client) && !pump(client)) || (can_read(backend) && !pump(backend))) {
        return;
    }
    /* Last, as it may have come together with the end that was read just now. */
    if (!notice_reset(client) || !notice_reset(backend)) {
        return;
    }
    if (can_write(client) || can_write(backend) || can_read(client) || can_read(backend)) {
        ready_later(session);
    }
}

static bool is_dead(const struct side *side) {
    return side->read_closed && side->broken;
}

bool relay_is_ending(const struct session *session) {
    return is_dead(&session->client) || is_dead(&session->backend);
}

bool relay_try_to_end(struct session *session) {
    return (!is_dead(&session->client) || side_died(&session->client)) &&
           (!is_dead(&session->backend) || side_died(&session->backend));
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

    struct side *client = &session->client;
    if (!client->ready.watched && !ready_watch(client)) { /* no memory, or too many are watched */
        session_close(session, REASON_OUT_OF_MEMORY);
        return;
    }
    /* The first bytes are usually here already. */
    client->ready.readable = client->ready.writable = true;
    if (session->backend.pending != NULL) { /* a route looked at them */
        count_bytes(client, session->backend.pending_end);
    }
    session_arm_timer(session);
    relay_on_ready(session);
}
