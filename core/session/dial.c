/* Dial: asks the policy, connects to its answer, and asks again when that fails before any byte was
 * sent. Runs on the session's worker. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/bulk.h"

/* Is the shadow's turn to be asked as well? */
static bool shadow_is_due(struct worker_pool *pool, const struct dial *dial) {
    return pool->shadow.policy != NULL && dial->attempts == 0 &&
           pool->shadow_turn++ % pool->shadow_sample == 0;
}

static void count_failed_shadow(struct pool_row *row, enum pick_answer answer) {
    counter_add(&row->shadow_failed, 1);
    if (answer == PICK_NIL) {
        counter_add(&row->shadow_nil, 1);
    } else if (answer != PICK_ERROR && answer != PICK_BAD) {
        counter_add(&row->shadow_stopped, 1);
    }
    if (answer == PICK_OUT) {
        counter_set(&row->shadow_out_now, 1);
    }
}

/* Asks the current policy and the shadow, which has a view of its own; only the current one's
 * answer is used, both are timed. */
static enum pick_answer ask_both(struct session *session, const struct alacrity_ctx_private *ctx,
                                 struct slot **slot) {
    struct dial *dial = session->dial;
    struct worker_pool *pool = dial->pool;
    struct pool_row *row = pool->row;
    struct slot *other = NULL;
    view_prepare(pool->shadow.view, dial->tried, dial->attempts);
    uint64_t began = clock_monotonic_ns();
    enum pick_answer answer = scripting->policy_pick(pool->current.policy, ctx, slot);
    uint64_t between = clock_monotonic_ns();
    enum pick_answer shadow = scripting->policy_pick(pool->shadow.policy, ctx, &other);
    uint64_t ended = clock_monotonic_ns();
    counter_add(&row->current_ns, between - began);
    counter_add(&row->shadow_ns, ended - between);
    counter_add(&row->shadow_asked, 1);
    if (shadow != PICK_BACKEND) {
        count_failed_shadow(row, shadow);
        return answer;
    }
    counter_add(
        &arena_slot_row(session->plane->arena, other, session->plane->worker)->shadow_picked, 1);
    if (answer == PICK_BACKEND && other == *slot) {
        counter_add(&row->shadow_agreed, 1);
    }
    return answer;
}

/* Asks the pool's policy; anything but an eligible backend goes to the fallback. NULL: nobody. */
static struct slot *pick(struct session *session) {
    struct dial *dial = session->dial;
    struct worker_pool *pool = dial->pool;
    struct pool_row *row = pool->row;
    struct pool_view *view = pool->current.view;
    view_prepare(view, dial->tried, dial->attempts);
    if (view->script.view.count == 0) {
        return NULL;
    }
    char client[ALACRITY_ADDRESS_BYTES];
    struct alacrity_ctx_private ctx = session_ctx(session, client);
    ctx.view.attempt = dial->attempts + 1;
    struct slot *slot = NULL;
    enum pick_answer answer = shadow_is_due(pool, dial)
                                  ? ask_both(session, &ctx, &slot)
                                  : scripting->policy_pick(pool->current.policy, &ctx, &slot);
    if (answer != PICK_RESTING && answer != PICK_OUT) {
        session->asked = true;
        counter_add(&row->picks, 1);
    }
    /* A session that waits since before a reload asks the policy of then. What that one does is not
     * held against the one in use. */
    bool in_use = session->plan == session->plane->plan;
    if (in_use && (answer == PICK_ERROR || answer == PICK_BAD || answer == PICK_STOPPED)) {
        counter_add(&row->troubles, 1);
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
        if (in_use) {
            counter_set(&row->out_now, 1);
        }
        break;
    }
    counter_add(&row->fallbacks, 1);
    if (strcmp(pool->config->fallback, "reject") == 0) {
        return NULL;
    }
    int32_t position = view_pick_round_robin(view);
    if (position < 0) {
        return NULL;
    }
    /* A slot begins with what scripts see of it. */
    return (struct slot *)(uintptr_t)view->script.eligible[position];
}

static int new_socket(int family) {
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Starts to connect to the slot. 0: under way. Else errno. */
static int start_connect(struct session *session, const struct address *address) {
    int descriptor = new_socket(address->any.sa_family);
    if (descriptor < 0 && (errno == EMFILE || errno == ENFILE) && bulk_close(session->plane)) {
        descriptor = new_socket(address->any.sa_family);
    }
    if (descriptor < 0) {
        return errno;
    }
    int error = dial_prepare(session, descriptor, address);
    if (error == 0 && connect(descriptor, &address->any, address->length) != 0 &&
        errno != EINPROGRESS) {
        error = errno;
    }
    if (error != 0) {
        close(descriptor);
        return error;
    }
    struct side *side = &session->backend;
    side->descriptor = descriptor;
    side->held_back = address->any.sa_family != AF_UNIX;
    ready_reset(side, address->any.sa_family);
    return ready_watch(side) ? 0 : ENOMEM; /* or too many are watched */
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

/* Our own shortage is not counted against the backend: it shows in the log and in how the session
 * ends. */
static void count_failure(struct session *session, int error) {
    struct slot *slot = session->slot;
    struct data_plane *plane = session->plane;
    switch (error) {
    case EMFILE:
    case ENFILE:
        log_limited(LOG_ERROR, "dial", "out of descriptors, none is left to dial with");
        return;
    case ENOBUFS:
    case ENOMEM:
        log_limited(LOG_ERROR, "dial", "out of memory, no connection can be opened");
        return;
    case EADDRNOTAVAIL:
        log_limited(LOG_ERROR, "dial", "no local port (or address) is left to reach %s",
                    slot->script.name);
        return;
    case ETIMEDOUT:
        counter_add(&session->slot_row->connect_timeouts, 1);
        break;
    default:
        break;
    }
    counter_add(&session->slot_row->connect_failures, 1);
    uint32_t limit = session->dial->pool->config->suspect_after;
    if (limit > 0 && slot_connect_failed(slot, session->pool, limit)) {
        plane->on_suspect(plane, slot);
    }
}

/* May another backend be asked after this many attempts? */
static bool may_retry(const struct session *session) {
    const struct dial *dial = session->dial;
    return dial->attempts <= dial->pool->config->retries && dial->attempts < VIEW_TRIED_MAX;
}

/* Gives the slot up. True: the next backend may be tried. False: session closed. */
static bool attempt_failed(struct session *session, int error) {
    struct slot *slot = session->slot;
    session->dial->last_error = error;
    count_failure(session, error);
    session->slot = NULL;
    session->slot_row = NULL;
    atomic_fetch_sub_explicit(&slot->script.view.active, 1, memory_order_release);
    if (session->backend.descriptor >= 0) {
        close(session->backend.descriptor);
        session->backend.descriptor = -1;
    }
    switch (error) {
    case EMFILE:
    case ENFILE:
        session_close(session, REASON_OUT_OF_DESCRIPTORS);
        return false;
    case ENOBUFS:
    case ENOMEM:
        session_close(session, REASON_OUT_OF_MEMORY);
        return false;
    default: /* also EADDRNOTAVAIL: local ports are counted for each destination */
        break;
    }
    if (may_retry(session)) {
        return true;
    }
    session_close(session, REASON_CONNECT_FAILED);
    return false;
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
        if (!attempt_failed(session, error)) {
            return;
        }
    }
}

void dial_timed_out(struct session *session) {
    if (attempt_failed(session, ETIMEDOUT)) {
        dial_next(session);
    }
}

void dial_on_ready(struct session *session) {
    const struct side *backend = &session->backend;
    int error = 0;
    socklen_t length = sizeof(error);
    if (backend->ready.failed &&
        getsockopt(backend->descriptor, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
    }
    if (error != 0) {
        if (attempt_failed(session, error)) {
            dial_next(session);
        }
        return;
    }
    if (!backend->ready.writable) {
        return;
    }
    ev_tstamp took = session->plane->now - session->dial->started;
    slot_connected(session->slot, (float)(took * 1000), clock_monotonic_ms());
    relay_start(session);
}
