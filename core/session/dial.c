/* Dial: asks the policy, connects to its answer, and asks again when that fails before any byte was
 * sent. Runs on the session's worker. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "session/session.h"

/* Asks the pool's policy; anything but an eligible backend goes to the fallback. NULL: nobody. */
static struct slot *pick(struct session *session) {
    struct dial *dial = session->dial;
    struct worker_pool *pool = dial->pool;
    struct pool_row *row = pool->row;
    view_prepare(&pool->view, dial->tried, dial->attempts);
    if (pool->view.script.view.count == 0) {
        return NULL;
    }
    struct address client;
    char client_text[ALACRITY_ADDRESS_BYTES];
    session_client_address(session, &client);
    address_format_host(&client, client_text, sizeof(client_text));
    struct alacrity_ctx_private ctx = {
        .view = {.attempt = dial->attempts + 1,
                 .client_hash = address_hash_host(&client),
                 .client_port = session->client_port,
                 .last_failure_code = (uint32_t)dial->last_error},
        .client = client_text,
        .listener = session->listener->name,
    };
    struct slot *slot = NULL;
    enum pick_answer answer = scripting->policy_pick(pool->policy, &ctx, &slot);
    if (answer != PICK_RESTING && answer != PICK_OUT) {
        counter_add(&row->picks, 1);
    }
    switch (answer) {
    case PICK_BACKEND:
        return slot;
    case PICK_NIL:
        counter_add(&row->policy_nil, 1);
        break;
    case PICK_ERROR:
        counter_add(&row->policy_errors, 1);
        break;
    case PICK_BAD:
        counter_add(&row->policy_bad_answers, 1);
        break;
    case PICK_STOPPED:
        counter_add(&row->policy_overruns, 1);
        break;
    case PICK_RESTING:
        counter_add(&row->policy_resting, 1);
        break;
    case PICK_OUT:
        counter_add(&row->policy_out, 1);
        counter_set(&row->out_now, 1);
        break;
    }
    counter_add(&row->fallbacks, 1);
    if (strcmp(pool->config->fallback, "reject") == 0) {
        return NULL;
    }
    int32_t position = view_pick_round_robin(&pool->view);
    if (position < 0) {
        return NULL;
    }
    /* A slot begins with what scripts see of it. */
    return (struct slot *)(uintptr_t)pool->view.script.eligible[position];
}

static void on_writable(struct ev_loop *loop, struct ev_io *io, int events);

/* Starts to connect to the slot. 0: under way. Else errno. */
static int start_connect(struct session *session, const struct address *address) {
    int descriptor = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return errno;
    }
    if (address->any.sa_family != AF_UNIX) {
        int one = 1;
        /* Without it the relay is slower, not wrong. */
        (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (connect(descriptor, &address->any, address->length) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(descriptor);
        return error;
    }
    struct side *side = &session->backend;
    ev_io_init(&side->io, on_writable, descriptor, EV_WRITE);
    ev_io_start(session->plane->loop, &side->io);
    return 0;
}

/* Counts the session on the slot, unless that would break its exact cap against other workers. */
static bool reserve(struct slot *slot) {
    uint32_t cap = atomic_load_explicit(&slot->script.view.max_sessions, memory_order_relaxed);
    uint32_t before = atomic_fetch_add_explicit(&slot->script.view.active, 1, memory_order_relaxed);
    if (cap == 0 || before < cap) {
        return true;
    }
    atomic_fetch_sub_explicit(&slot->script.view.active, 1, memory_order_relaxed);
    return false;
}

/* Is this our own shortage, not the backend's fault? */
static bool is_local_shortage(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EADDRNOTAVAIL;
}

/* Gives the slot up after a failed attempt. */
static void attempt_failed(struct session *session, int error) {
    struct slot *slot = session->slot;
    struct data_plane *plane = session->plane;
    session->dial->last_error = error;
    counter_add(&session->slot_row->connect_failures, 1);
    if (error == ETIMEDOUT) {
        counter_add(&session->slot_row->connect_timeouts, 1);
    }
    uint32_t limit = session->dial->pool->config->suspect_after;
    if (limit > 0 && !is_local_shortage(error) && slot_connect_failed(slot, session->pool, limit)) {
        plane->on_suspect(plane, slot);
    }
    session->slot = NULL;
    session->slot_row = NULL;
    atomic_fetch_sub_explicit(&slot->script.view.active, 1, memory_order_release);
    if (session->backend.io.fd >= 0) {
        ev_io_stop(plane->loop, &session->backend.io);
        close(session->backend.io.fd);
        session->backend.io.fd = -1;
    }
}

/* May another backend be asked after this many attempts? */
static bool may_retry(const struct session *session) {
    const struct dial *dial = session->dial;
    return dial->attempts <= dial->pool->config->retries && dial->attempts < VIEW_TRIED_MAX;
}

void dial_next(struct session *session) {
    struct dial *dial = session->dial;
    struct worker_pool *pool = dial->pool;
    for (;;) {
        struct slot *slot = pick(session);
        if (slot == NULL) {
            session_close(session, dial->attempts == 0 ? REASON_NO_BACKEND : REASON_CONNECT_FAILED);
            return;
        }
        if (dial->attempts > 0) {
            counter_add(&pool->row->retries, 1);
        }
        dial->tried[dial->attempts++] = slot->script.view.id;
        if (!reserve(slot)) {
            if (may_retry(session)) {
                continue;
            }
            session_close(session, REASON_NO_BACKEND);
            return;
        }
        dial->started = session->plane->now;
        session->attempts = (uint8_t)dial->attempts;
        session->slot = slot;
        session->slot_row = arena_slot_row(session->plane->arena, slot, session->plane->worker);
        counter_add(&session->slot_row->picked, 1);

        int32_t position = view_position(&pool->view, slot);
        int error = start_connect(session, &pool->config->backends[position].address);
        if (error == 0) {
            session_arm_timer(session);
            return;
        }
        attempt_failed(session, error);
        if (error == EMFILE || error == ENFILE) {
            session_close(session, REASON_OUT_OF_DESCRIPTORS);
            return;
        }
        if (!may_retry(session)) {
            session_close(session, REASON_CONNECT_FAILED);
            return;
        }
    }
}

static void retry_or_close(struct session *session, int error) {
    attempt_failed(session, error);
    if (may_retry(session)) {
        dial_next(session);
    } else {
        session_close(session, REASON_CONNECT_FAILED);
    }
}

void dial_timed_out(struct session *session) {
    retry_or_close(session, ETIMEDOUT);
}

static void on_writable(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)events;
    struct session *session = container_of(io, struct side, io)->session;
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
    }
    if (error != 0) {
        retry_or_close(session, error);
        return;
    }
    (void)loop;
    ev_tstamp took = session->plane->now - session->dial->started;
    slot_connected(session->slot, (float)(took * 1000), clock_monotonic_ms());
    relay_start(session);
}
