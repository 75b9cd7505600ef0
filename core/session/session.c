/* Session: opening, moving, timing and closing. Runs on the worker that owns the data plane.
 *
 *   session_open --refused--> (descriptor closed, counted)
 *        |  \ the listener has a route script
 *        |   ROUTING, ROUTED: no pool yet; rejected, or none chosen --+
 *        |  /                                                       |
 *        v            connect failed: dial_next again, at most `retries` times
 *   DIALLING ------------------------------------------------> session_close
 *        | dial_on_ready: connected                                 ^
 *        v                                                          |
 *   RELAYING ---- both ends finished, reset, timeout, drain, kill --+
 *
 * Invariants:
 *  1. A session is on exactly one list of its plane, that of its state.
 *  2. `slot` set <=> this session is counted once in slot->active.
 *  3. `plan` and `dial` are set only until it is connected, and hold one reference of the plan.
 *     `pool` is set from DIALLING on. While `dial->routing` has a run, the state is ROUTING; nobody
 *     frees the plan under it, as its answer is carried out later (ROUTED), outside of any script.
 *  4. A side is read from only while its peer has nothing pending; but a route's peek reads on
 *     until it has enough, and what it read is the backend's `pending` until connected.
 *  5. Only session_close closes descriptors and counts an end; it runs once.
 *  6. A stream that is cut ends in a reset on both sides, never in what looks like its end.
 */
#include "session/session.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "session/bulk.h"
#include "session/spread.h"

#define END_SECONDS 1.0 /* between two calls of relay_try_to_end */

uint32_t plane_session_count(uint32_t worker) {
    return spread_open(worker);
}

static void count_open(struct data_plane *plane, int32_t change) {
    uint32_t now = spread_count(plane->worker, change);
    if (now == 0 && change < 0 && plane->on_empty != NULL) {
        plane->on_empty(plane);
    }
}

/* Exact at rest; while N workers accept at the same moment the sum may overshoot by N - 1. */
static bool process_is_full(const struct data_plane *plane, const struct snapshot *snapshot) {
    if (snapshot->max_sessions == 0) {
        return false;
    }
    uint64_t open = 0;
    for (uint32_t i = 0; i < arena_workers(plane->arena); i++) {
        open += plane_session_count(i);
    }
    return open >= snapshot->max_sessions;
}

static void end_turn(struct ev_loop *loop, struct ev_prepare *watcher, int events) {
    (void)loop;
    (void)events;
    struct data_plane *plane = container_of(watcher, struct data_plane, end_of_turn);
    route_settle(plane);
    if (list_is_empty(&plane->sessions[SESSION_ROUTED]) && !ready_has_more(plane)) {
        ev_idle_stop(plane->loop, &plane->more_to_do);
    } else {
        ev_idle_start(plane->loop, &plane->more_to_do);
    }
    list_each(node, &plane->sessions[SESSION_CLOSED]) {
        list_remove(node);
        slab_give(&plane->session_slab, container_of(node, struct session, node));
    }
    turn_end(&plane->turns);
}

/* While this is watched for, the loop does not wait for anything else. */
static void keep_turning(struct ev_loop *loop, struct ev_idle *watcher, int events) {
    (void)loop;
    (void)watcher;
    (void)events;
}

void plane_note_time(struct data_plane *plane) {
    uint64_t now_ns = clock_monotonic_ns();
    plane->now = (double)now_ns / 1e9;
    turn_begin(&plane->turns, now_ns);
}

static void begin_turn(struct ev_loop *loop, struct ev_check *watcher, int events) {
    (void)loop;
    (void)events;
    struct data_plane *plane = container_of(watcher, struct data_plane, begin_turn);
    plane_note_time(plane);
    ready_begin_turn(plane);
}

bool plane_open(struct data_plane *plane, struct ev_loop *loop, struct arena *arena,
                uint32_t worker) {
    plane->loop = loop;
    plane->arena = arena;
    plane->worker = worker;
    plane->bulk_least_bytes = BULK_LEAST_BYTES;
    plane->scratch = malloc(RELAY_SCRATCH_BYTES);
    if (plane->scratch == NULL) {
        return false;
    }
    if (!ready_open(plane)) {
        free(plane->scratch);
        return false;
    }
    /* Without a reserve the worker still serves; it only cannot refuse politely when out of
     * descriptors. */
    plane->reserve_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    list_init(&plane->listeners);
    list_init(&plane->farewells);
    for (int i = 0; i < SESSION_STATE_COUNT; i++) {
        list_init(&plane->sessions[i]);
    }
    slab_init(&plane->session_slab, sizeof(struct session));
    slab_init(&plane->dial_slab, sizeof(struct dial));
    spread_init(plane);
    ev_idle_init(&plane->more_to_do, keep_turning);
    ev_prepare_init(&plane->end_of_turn, end_turn);
    ev_prepare_start(loop, &plane->end_of_turn);
    ev_check_init(&plane->begin_turn, begin_turn);
    ev_set_priority(&plane->begin_turn, EV_MAXPRI);
    ev_check_start(loop, &plane->begin_turn);
    plane_note_time(plane);
    plane->turns = (struct turns){0}; /* that was none */
    return true;
}

void plane_end_sessions(struct data_plane *plane, enum session_reason reason) {
    for (int state = 0; state < SESSION_CLOSED; state++) {
        list_each(node, &plane->sessions[state]) {
            session_close(container_of(node, struct session, node), reason);
        }
    }
}

void plane_close(struct data_plane *plane) {
    listener_close_all(plane);
    plane_end_sessions(plane, REASON_DRAIN);
    farewell_end_all(plane);
    end_turn(plane->loop, &plane->end_of_turn, 0);
    ev_prepare_stop(plane->loop, &plane->end_of_turn);
    ev_idle_stop(plane->loop, &plane->more_to_do);
    ev_check_stop(plane->loop, &plane->begin_turn);
    ready_close(plane);
    slab_destroy(&plane->session_slab);
    slab_destroy(&plane->dial_slab);
    (void)bulk_close(plane);
    free(plane->scratch);
    if (plane->reserve_descriptor >= 0) {
        close(plane->reserve_descriptor);
    }
}

/* Calls it with every host of the plan. */
static void each_host(const struct worker_plan *plan, void (*call)(struct script_host *host)) {
    call(plan->host);
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        const struct worker_pool *pool = &plan->pools[i];
        struct script_host *const hosts[] = {pool->current.host, pool->shadow.host};
        for (size_t k = 0; k < sizeof(hosts) / sizeof(hosts[0]); k++) {
            if (hosts[k] != NULL) {
                call(hosts[k]);
            }
        }
    }
}

void plane_stop_scripts(const struct worker_plan *plan) {
    each_host(plan, scripting->host_stop);
}

void plane_release_plan(struct data_plane *plane, struct worker_plan *plan) {
    plan->references--;
    if (plan->references == 0) {
        each_host(plan, scripting->host_retire); /* they are asked no more */
        plane->on_plan_unused(plane, plan);
    }
}

/* ---- opening ---- */

/* Says no with an orderly end of stream. */
static void refuse(struct data_plane *plane, struct worker_listener *listener, int descriptor,
                   enum session_reason reason) {
    counter_add(&listener->row->ended[reason], 1);
    farewell_begin(plane, descriptor);
    log_limited(LOG_WARNING, "refused", "listener %s refuses a connection: %s",
                listener->config->name, session_reason_word(reason));
}

static void keep_client_address(struct session *session, const struct address *peer) {
    session->client_family = (uint8_t)peer->any.sa_family;
    session->client_port = address_port(peer);
    if (peer->any.sa_family == AF_INET) {
        memcpy(session->client_ip, &peer->v4.sin_addr, 4);
    } else if (peer->any.sa_family == AF_INET6) {
        memcpy(session->client_ip, &peer->v6.sin6_addr, 16);
    }
}

void session_client_address(const struct session *session, struct address *out) {
    memset(out, 0, sizeof(*out));
    out->any.sa_family = session->client_family;
    out->length = sizeof(out->local.sun_family);
    if (session->client_family == AF_INET) {
        out->length = sizeof(out->v4);
        out->v4.sin_port = htons(session->client_port);
        memcpy(&out->v4.sin_addr, session->client_ip, 4);
    } else if (session->client_family == AF_INET6) {
        out->length = sizeof(out->v6);
        out->v6.sin6_port = htons(session->client_port);
        memcpy(&out->v6.sin6_addr, session->client_ip, 16);
    }
}

struct alacrity_ctx_private session_ctx(struct session *session, char *client) {
    struct address address;
    session_client_address(session, &address);
    address_format_host(&address, client, ALACRITY_ADDRESS_BYTES);
    return (struct alacrity_ctx_private){
        .view = {.client_hash = address_hash_host(&address),
                 .client_port = session->client_port,
                 .last_failure_code = (uint32_t)session->dial->last_error},
        .client = client,
        .listener = session->listener->name,
        .values = &session->values,
    };
}

/* True: the session is counted against the listener's exact cap, or there is none. */
static bool listener_has_room(struct worker_listener *listener) {
    uint32_t cap = listener->config->max_sessions;
    if (cap == 0) {
        return true;
    }
    if (atomic_fetch_add_explicit(&listener->facts->active, 1, memory_order_relaxed) < cap) {
        return true;
    }
    atomic_fetch_sub_explicit(&listener->facts->active, 1, memory_order_relaxed);
    return false;
}

static void session_on_timer(struct ev_loop *loop, struct ev_timer *timer, int events);

static void side_init(struct side *side, struct side *peer, struct session *session) {
    side->peer = peer;
    side->session = session;
    side->descriptor = -1;
}

struct session *session_new(struct data_plane *plane, struct worker_plan *plan) {
    struct session *session = slab_take(&plane->session_slab);
    if (session == NULL) {
        return NULL;
    }
    session->dial = slab_take(&plane->dial_slab);
    if (session->dial == NULL) {
        slab_give(&plane->session_slab, session);
        return NULL;
    }
    side_init(&session->client, &session->backend, session);
    side_init(&session->backend, &session->client, session);
    session->plane = plane;
    session->plan = plan;
    plan->references++;
    session->id = ((uint64_t)plane->worker << 48) | ++plane->next_session;
    session->opened = session->last_activity = plane->now;
    ev_init(&session->timer, session_on_timer);
    session->state = SESSION_DIALLING;
    list_append(&plane->sessions[SESSION_DIALLING], &session->node);
    list_init(&session->ready_node);
    count_open(plane, 1);
    return session;
}

void session_open(struct data_plane *plane, struct worker_listener *listener, int descriptor,
                  const struct address *peer) {
    struct worker_plan *plan = plane->plan;
    if (process_is_full(plane, plan->snapshot)) {
        refuse(plane, listener, descriptor, REASON_LIMIT);
        return;
    }
    if (!listener_has_room(listener)) {
        refuse(plane, listener, descriptor, REASON_LIMIT);
        return;
    }
    struct session *session = session_new(plane, plan);
    if (session == NULL) {
        if (listener->config->max_sessions != 0) {
            atomic_fetch_sub_explicit(&listener->facts->active, 1, memory_order_relaxed);
        }
        refuse(plane, listener, descriptor, REASON_OUT_OF_MEMORY);
        return;
    }
    session->client.descriptor = descriptor;
    ready_reset(&session->client, peer->any.sa_family);
    session->listener = listener->facts;
    session->listener_row = listener->row;
    session->idle_ms = listener->config->timeouts.idle_ms;
    session->session_ms = listener->config->timeouts.session_ms;
    session->capped = listener->config->max_sessions != 0;
    session->logged = plan->snapshot->log_sessions;
    session->copies = !plan->snapshot->splice;
    keep_client_address(session, peer);
    counter_add(&listener->row->sessions_total, 1);
    if (listener->route != NULL) {
        session_move(session, SESSION_ROUTING);
        route_begin(session, listener);
    } else {
        session_dial(session, listener->pool);
    }
}

void session_dial(struct session *session, struct worker_pool *pool) {
    session->dial->pool = pool;
    session->pool = pool->facts;
    session->pool_row = pool->row;
    if (session->state != SESSION_DIALLING) {
        session_move(session, SESSION_DIALLING);
    }
    dial_next(session);
}

void session_move(struct session *session, enum session_state state) {
    list_remove(&session->node);
    session->state = (uint8_t)state;
    list_append(&session->plane->sessions[state], &session->node);
}

/* ---- deadlines ---- */

/* The earliest of the deadlines that hold in the session's state, and what it means. */
static ev_tstamp earliest_deadline(const struct session *session, enum session_reason *reason) {
    ev_tstamp earliest = 0;
    if (session->state == SESSION_DIALLING) {
        uint32_t connect_ms = session->dial->pool->config->timeouts.connect_ms;
        if (connect_ms > 0) {
            earliest = session->dial->started + connect_ms / 1000.0;
            *reason = REASON_CONNECT_FAILED;
        }
    } else if (session->state == SESSION_RELAYING && session->idle_ms > 0) {
        earliest = session->last_activity + session->idle_ms / 1000.0;
        *reason = REASON_IDLE_TIMEOUT;
    }
    if (session->session_ms > 0) {
        ev_tstamp end = session->opened + session->session_ms / 1000.0;
        if (earliest == 0 || end < earliest) {
            earliest = end;
            *reason = REASON_SESSION_TIMEOUT;
        }
    }
    return earliest;
}

void session_arm_timer(struct session *session) {
    enum session_reason reason;
    ev_tstamp deadline = earliest_deadline(session, &reason);
    struct ev_loop *loop = session->plane->loop;
    if (relay_is_ending(session)) {
        ev_tstamp next = session->plane->now + END_SECONDS;
        deadline = deadline == 0 || next < deadline ? next : deadline;
    }
    if (deadline == 0) {
        ev_timer_stop(loop, &session->timer);
        return;
    }
    ev_tstamp left = deadline - session->plane->now;
    left = left > 0.001 ? left : 0.001;
    if (ev_is_active(&session->timer)) {
        if (ev_timer_remaining(loop, &session->timer) <= left) {
            return; /* fires earlier, and is armed again then */
        }
        ev_timer_stop(loop, &session->timer);
    }
    ev_timer_set(&session->timer, left, 0);
    ev_timer_start(loop, &session->timer);
}

/* Bytes only note the time (last_activity); the timer that fires too early is armed again here. */
static void session_on_timer(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct session *session = container_of(timer, struct session, timer);
    if (relay_is_ending(session) && !relay_try_to_end(session)) {
        return;
    }
    enum session_reason reason = REASON_IDLE_TIMEOUT;
    ev_tstamp deadline = earliest_deadline(session, &reason);
    if (deadline == 0 || deadline > session->plane->now) {
        session_arm_timer(session);
    } else if (reason == REASON_CONNECT_FAILED) {
        dial_timed_out(session);
    } else {
        session_close(session, reason);
    }
}

/* ---- closing ---- */

#define VALUE_NAME_BYTES (VALUES_KEY_MAX + 5)
#define NUMBER_BYTES 40

/* What a script keeps, for the log; a number is written into `digits`. */
static struct log_field value_field(const char *name, const struct alacrity_value *value,
                                    char *digits) {
    switch (value->type) {
    case ALACRITY_SHARED_STRING:
        return LOG_STRING(name, value->bytes);
    case ALACRITY_SHARED_BOOLEAN:
        return LOG_BARE(name, value->number != 0 ? "true" : "false");
    default:
        snprintf(digits, NUMBER_BYTES, "%.14g", value->number);
        return isfinite(value->number) ? LOG_BARE(name, digits) : LOG_STRING(name, digits);
    }
}

static void log_end(const struct session *session, enum session_reason reason) {
    char client[ALACRITY_ADDRESS_BYTES];
    struct address address;
    session_client_address(session, &address);
    address_format(&address, client, sizeof(client));
    ev_tstamp lasted = session->plane->now - session->opened;
    struct log_field fields[10 + VALUES_COUNT_MAX] = {
        LOG_STRING("listener", session->listener->name),
        LOG_STRING("client", client),
        LOG_STRING("pool", session->pool != NULL ? session->pool->name : "-"),
        LOG_STRING("backend", session->slot != NULL ? session->slot->script.name : "-"),
        LOG_NUMBER("duration_ms", lasted * 1000),
        LOG_NUMBER("bytes_in", session->client.received_bytes),
        LOG_NUMBER("bytes_out", session->backend.received_bytes),
        LOG_NUMBER("retries", session->attempts > 0 ? session->attempts - 1 : 0),
        LOG_STRING("reason", session_reason_word(reason)),
        LOG_STRING("why", route_why(session)),
    };
    char names[VALUES_COUNT_MAX][VALUE_NAME_BYTES], numbers[VALUES_COUNT_MAX][NUMBER_BYTES];
    uint32_t count = reason == REASON_REJECTED ? 10 : 9; /* with the last of them */
    const char *key;
    struct alacrity_value value;
    for (uint32_t i = 0; values_each(&session->values, i, &key, &value); i++) {
        snprintf(names[i], sizeof(names[i]), "ctx.%s", key);
        fields[count++] = value_field(names[i], &value, numbers[i]);
    }
    log_event(LOG_INFO, "session", fields, count, "session ended");
}

static void side_close(struct side *side, bool reset) {
    free(side->pending);
    side->pending = NULL;
    bulk_drop(side);
    if (side->descriptor < 0) {
        return;
    }
    if (reset) {
        /* Best effort: if it is refused, the peer sees an orderly end instead of a reset. So it
         * does on a unix socket, which knows a reset only as closing with unread bytes. */
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(side->descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    close(side->descriptor);
    side->descriptor = -1;
}

/* Does this end come in the middle of the streams? Then both sides are reset: an orderly end would
 * make a cut stream look whole, to who reads it and to who wrote it. An idle session is taken for
 * finished, unless bytes of it got no further than here. */
static bool cuts_streams(const struct session *session, enum session_reason reason) {
    switch (reason) {
    case REASON_SESSION_TIMEOUT:
    case REASON_OUT_OF_MEMORY:
    case REASON_DRAIN:
    case REASON_KILLED:
        return session->state == SESSION_RELAYING;
    default:
        if (session->state != SESSION_RELAYING) {
            return false; /* what a route peeked at may be pending */
        }
        return side_has_pending(&session->client) || session->client.broken ||
               side_has_pending(&session->backend) || session->backend.broken;
    }
}

void session_close(struct session *session, enum session_reason reason) {
    if (session->state == SESSION_CLOSED) {
        return;
    }
    struct data_plane *plane = session->plane;
    session_tell_policy(session, reason);
    if (session->logged) {
        log_end(session, reason);
    }
    values_free(&session->values);
    ev_timer_stop(plane->loop, &session->timer);
    list_remove(&session->ready_node);
    route_release(session);
    /* Never relayed, so nothing watches it yet, and the client was told nothing. When descriptors
     * or memory are short, this one's are given back at once instead. */
    if (session->state != SESSION_RELAYING && reason != REASON_OUT_OF_DESCRIPTORS &&
        reason != REASON_OUT_OF_MEMORY && reason != REASON_CLIENT_RESET) {
        ready_forget(&session->client);
        farewell_begin(plane, session->client.descriptor);
        session->client.descriptor = -1;
    }
    bool cut = cuts_streams(session, reason);
    side_close(&session->client, cut || reason == REASON_BACKEND_RESET);
    side_close(&session->backend, cut || reason == REASON_CLIENT_RESET);
    if (session->capped) {
        atomic_fetch_sub_explicit(&session->listener->active, 1, memory_order_relaxed);
    }
    if (reason == REASON_BACKEND_RESET && session->slot != NULL) {
        counter_add(&session->slot_row->resets, 1);
    }
    if (reason == REASON_NO_BACKEND) {
        counter_add(&session->pool_row->no_backend, 1);
    }
    counter_add(&session->listener_row->ended[reason], 1);
    /* The order in which entries of the arena are let go matters (pool/arena.h): after each of
     * these two the entry may be recycled. */
    counter_add(&session->listener_row->sessions_closed, 1);
    if (session->slot != NULL) {
        atomic_fetch_sub_explicit(&session->slot->script.view.active, 1, memory_order_release);
        session->slot = NULL;
    }
    if (session->dial != NULL) {
        slab_give(&plane->dial_slab, session->dial);
        session->dial = NULL;
    }
    struct worker_plan *plan = session->plan;
    session->plan = NULL;
    session_move(session, SESSION_CLOSED);
    if (plan != NULL) {
        plane_release_plan(plane, plan);
    }
    spread_note_end(plane, plane->now - session->opened);
    count_open(plane, -1);
}
