/* Route: has the listener's route script choose a pool before the first pick, and reads ahead for
 * it what the client sends. Runs on the session's worker.
 *
 * What was read waits as the backend's pending bytes, so it is the first that a backend gets, and a
 * connect that fails costs nothing of it. Reading goes no further than the script asked; an end of
 * stream is seen again by the relay, which reads it once more.
 *
 * The answer comes from the middle of a script's run: it is noted, and carried out at the end of
 * the loop turn. So nothing that follows from it (a dial, a close, the end of a plan and its Lua
 * states) happens while a script of that plan is still on the stack. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "session/session.h"

#define ROUTED_PER_TURN 64 /* when a state is lost, all that wait in it are answered at once */

struct routing {
    struct worker_listener *listener;
    struct route_run *run; /* NULL: not begun, or it has answered */
    uint32_t wanted;       /* bytes the script waits for, 0: none */
    bool ended;            /* the client's end of stream was read */
    bool deaf;             /* the kernel would not watch the client */
    enum route_answer answer;
    struct worker_pool *chosen; /* of ROUTE_POOL */
    char why[64];
};

static uint32_t peeked_bytes(const struct session *session) {
    return session->backend.pending != NULL ? session->backend.pending_end : 0;
}

static struct peeked look(void *argument) {
    const struct session *session = argument;
    uint32_t length = peeked_bytes(session);
    return (struct peeked){.bytes = length > 0 ? session->backend.pending : "",
                           .length = length,
                           .ended = session->dial->routing->ended};
}

static void want(void *argument, uint32_t bytes) {
    struct session *session = argument;
    struct side *client = &session->client;
    struct routing *routing = session->dial->routing;
    routing->wanted = bytes;
    if (bytes == 0) {
        return;
    }
    if (!client->ready.watched) {
        routing->deaf = !ready_watch(client);
    }
    if (routing->deaf || client->ready.readable) {
        ready_later(session);
    }
}

/* Keeps what was read for the backend. False: out of memory. */
static bool keep(struct side *backend, const char *bytes, uint32_t length) {
    uint32_t before = peeked_bytes(backend->session);
    char *all = realloc(backend->pending, before + length);
    if (all == NULL) {
        return false;
    }
    memcpy(all + before, bytes, length);
    backend->pending = all;
    backend->pending_start = 0;
    backend->pending_end = before + length;
    return true;
}

/* Reads what is there, up to what the script waits for. False: session closed. */
static bool read_ahead(struct session *session) {
    struct routing *routing = session->dial->routing;
    char *scratch = session->plane->scratch;
    while (!routing->ended && peeked_bytes(session) < routing->wanted) {
        ssize_t received =
            recv(session->client.descriptor, scratch, routing->wanted - peeked_bytes(session), 0);
        if (received < 0 && errno == EAGAIN) {
            session->client.ready.readable = false;
            return true;
        }
        if (received < 0 && errno != EINTR) {
            session_close(session, REASON_CLIENT_RESET);
            return false;
        }
        if (received > 0 && !keep(&session->backend, scratch, (uint32_t)received)) {
            session_close(session, REASON_OUT_OF_MEMORY);
            return false;
        }
        session->last_activity = session->plane->now;
        routing->ended = received == 0;
    }
    return true;
}

void route_on_ready(struct session *session) {
    struct routing *routing = session->dial->routing;
    if (routing->wanted == 0) {
        return;
    }
    if (routing->deaf) { /* no memory, or too many are watched */
        session_close(session, REASON_OUT_OF_MEMORY);
        return;
    }
    if (!read_ahead(session)) {
        return;
    }
    if (routing->ended || peeked_bytes(session) >= routing->wanted) {
        routing->wanted = 0;
        scripting->route_ready(routing->run);
    }
}

static bool choose(void *argument, const char *name) {
    const struct session *session = argument;
    const struct worker_plan *plan = session->plan;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        if (strcmp(plan->pools[i].config->name, name) == 0) {
            session->dial->routing->chosen = &plan->pools[i];
            return true;
        }
    }
    return false;
}

static void on_done(void *argument, enum route_answer answer, const char *why) {
    struct session *session = argument;
    struct routing *routing = session->dial->routing;
    want(session, 0);
    routing->run = NULL;
    routing->answer = answer;
    snprintf(routing->why, sizeof(routing->why), "%s", why);
    session_move(session, SESSION_ROUTED);
}

void route_begin(struct session *session, struct worker_listener *listener) {
    struct routing *routing = calloc(1, sizeof(*routing));
    if (routing == NULL) {
        session_close(session, REASON_OUT_OF_MEMORY);
        return;
    }
    routing->listener = listener;
    session->dial->routing = routing;
    session_arm_timer(session);
    char client[ALACRITY_ADDRESS_BYTES];
    const struct alacrity_ctx_private ctx = session_ctx(session, client);
    const struct route_order order = {.ctx = &ctx,
                                      .timeout_ms = listener->config->timeouts.route_ms,
                                      .argument = session,
                                      .look = look,
                                      .want = want,
                                      .choose = choose,
                                      .done = on_done};
    struct route_run *run = scripting->route_start(listener->route, &order);
    if (session->state == SESSION_ROUTING) { /* else it has answered already */
        routing->run = run;
    }
}

void route_release(struct session *session) {
    struct routing *routing = session->dial != NULL ? session->dial->routing : NULL;
    if (routing == NULL) {
        return;
    }
    if (routing->run != NULL) {
        scripting->route_cancel(routing->run);
    }
    session->dial->routing = NULL;
    free(routing);
}

const char *route_why(const struct session *session) {
    return session->dial != NULL && session->dial->routing != NULL ? session->dial->routing->why
                                                                   : "";
}

/* Counts the answer. What the listener's own pool does not save ends for the reason returned. */
static enum session_reason count_answer(const struct session *session,
                                        const struct routing *routing) {
    struct listener_row *row = routing->listener->row;
    if (routing->answer != ROUTE_RESTING && routing->answer != ROUTE_OUT) {
        counter_add(&row->routes, 1);
    }
    switch (routing->answer) {
    case ROUTE_POOL:
    case ROUTE_NONE:
        return REASON_NO_ROUTE;
    case ROUTE_REJECT:
        return REASON_REJECTED;
    case ROUTE_ERROR:
        counter_add(&row->route_errors, 1);
        break;
    case ROUTE_TIMEOUT:
        counter_add(&row->route_timeouts, 1);
        log_limited(LOG_WARNING, "route", "listener %s: the route took longer than %u ms",
                    session->listener->name, routing->listener->config->timeouts.route_ms);
        break;
    case ROUTE_STOPPED:
        counter_add(&row->route_overruns, 1);
        break;
    case ROUTE_RESTING:
        counter_add(&row->route_resting, 1);
        break;
    case ROUTE_OUT:
        counter_add(&row->route_out, 1);
        if (session->plan == session->plane->plan) { /* else the one in use may be well */
            counter_set(&row->route_out_now, 1);
        }
        break;
    }
    return REASON_ROUTE_FAILED;
}

static void carry_out(struct session *session) {
    const struct routing *routing = session->dial->routing;
    enum session_reason reason = count_answer(session, routing);
    struct worker_pool *pool = routing->answer == ROUTE_REJECT ? NULL
                               : routing->answer == ROUTE_POOL ? routing->chosen
                                                               : routing->listener->pool;
    if (pool == NULL) {
        session_close(session, reason);
        return;
    }
    route_release(session);
    session_dial(session, pool);
}

void route_settle(struct data_plane *plane) {
    struct list *routed = &plane->sessions[SESSION_ROUTED];
    for (int i = 0; i < ROUTED_PER_TURN && !list_is_empty(routed); i++) {
        carry_out(container_of(routed->next, struct session, node));
    }
}
