/* Services: listeners that a script (or C itself) answers over HTTP/1.1, on the control thread.
 *
 * The walk: on_accept -> admit -> (http_connection.c reads a request) -> judge -> serve ->
 * serve_native or serve_script -> on_served -> (http_connection.c writes) -> forget.
 *
 * /healthz and /livez are answered here, on every service listener and never through Lua: they must
 * tell the truth also when scripts are what is broken. */
#include "control/services.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"

#define CLIENT_BYTES 64

/* A listener's identity is its name: it outlives plans as long as they name it, and the last of
 * its connections in any case. */
struct service_listener {
    struct list node; /* services->listeners */
    struct services *services;
    char name[ALACRITY_NAME_BYTES];
    const struct control_listener *planned; /* in the current plan; NULL: gone */
    struct listener_row *row;               /* control's; NULL: gone */
    struct list connections;
    uint32_t connection_count; /* without those turned away */
    uint32_t accept_count;
    struct ev_io *accepts; /* one a socket */
};

/* A request as the script sees it; strings and pointer arrays stand behind it in one block. */
struct service_call {
    struct service_request request;
    uint64_t started_ms;
};

struct service_connection {
    struct http_connection http; /* first: the same pointer */
    struct list node;            /* listener->connections */
    struct service_listener *listener;
    struct service_call *call; /* handed to a script and not answered; else NULL */
    struct service_run *run;   /* NULL also while service_start is still on the stack */
    bool turned_away;
    char client[CLIENT_BYTES];
};

static struct service_connection *of(struct http_connection *http) {
    return (struct service_connection *)(void *)http;
}

/* ---- asking a script ---- */

static char *put(char **at, const char *bytes, size_t length, bool lower) {
    char *start = *at;
    for (size_t i = 0; i < length; i++) {
        char c = bytes[i];
        start[i] = lower && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    start[length] = '\0';
    *at = start + length + 1;
    return start;
}

static char *put_span(char **at, const char *bytes, struct http_span span) {
    return put(at, bytes + span.start, span.length, false);
}

/* NULL: out of memory. */
static struct service_call *call_new(const struct service_connection *connection, const char *bytes,
                                     const struct http_request *head) {
    uint32_t count = head->header_count;
    size_t text = CLIENT_BYTES + head->method.length + head->path.length + head->query.length + 3;
    for (uint32_t i = 0; i < count; i++) {
        text += head->headers[i].name.length + head->headers[i].value.length + 2;
    }
    struct service_call *call = malloc(sizeof(*call) + sizeof(char *) * 2 * count + text);
    if (call == NULL) {
        return NULL;
    }
    const char **names = (const char **)(void *)(call + 1);
    const char **values = names + count;
    char *at = (char *)(void *)(values + count);
    for (uint32_t i = 0; i < count; i++) {
        struct http_span name = head->headers[i].name;
        names[i] = put(&at, bytes + name.start, name.length, true);
        values[i] = put_span(&at, bytes, head->headers[i].value);
    }
    call->started_ms = clock_monotonic_ms();
    call->request = (struct service_request){
        .method = put_span(&at, bytes, head->method),
        .path = put_span(&at, bytes, head->path),
        .query = put_span(&at, bytes, head->query),
        .client = put(&at, connection->client, strlen(connection->client), false),
        .header_count = count,
        .header_names = names,
        .header_values = values,
        .body = bytes + head->head_bytes,
        .body_bytes = head->content_length,
    };
    return call;
}

/* The script has answered, perhaps still inside service_start. */
static void on_served(void *argument, uint32_t status, const char *content_type, const char *body,
                      size_t body_bytes) {
    struct service_connection *connection = argument;
    struct service_call *call = connection->call;
    connection->call = NULL;
    connection->run = NULL;
    if (status != 0) {
        struct http_answer answer = {
            .status = status,
            .content_type = content_type,
            .body = body,
            .body_bytes = body == NULL ? 0 : body_bytes,
        };
        http_answer(&connection->http, &answer);
    } else {
        /* 0 also says that the deadline passed: the runtime's timer and ours are as long, and
         * either may be the first. */
        double ran_s = (double)(clock_monotonic_ms() - call->started_ms) / 1000.;
        bool late = ran_s > connection->http.server->settings.run_s - 0.02;
        http_answer_text(&connection->http, late ? 503 : 500,
                         late ? "the service took too long to answer\n"
                              : "the service failed, see the log\n");
    }
    free(call); /* the connection may be gone by now */
}

static void serve_script(struct service_connection *connection, struct service *service,
                         const char *bytes, const struct http_request *request) {
    struct service_call *call = call_new(connection, bytes, request);
    if (call == NULL) {
        http_answer_text(&connection->http, 503, "out of memory\n");
        return;
    }
    connection->call = call;
    uint32_t timeout_ms = (uint32_t)(connection->http.server->settings.run_s * 1000.);
    struct service_run *run =
        scripting->service_start(service, &call->request, timeout_ms, on_served, connection);
    /* Answered already? Then the run is over. The connection still stands: http_answer ends none
     * while it is being served. */
    if (connection->call == NULL) {
        return;
    }
    connection->run = run;
    if (run == NULL) {
        on_served(connection, 0, NULL, NULL, 0);
    }
}

static void on_cancel(struct http_connection *http) {
    struct service_connection *connection = of(http);
    if (connection->run != NULL) {
        scripting->service_cancel(connection->run);
    }
    free(connection->call);
    connection->run = NULL;
    connection->call = NULL;
}

/* ---- what C answers itself ---- */

/* For balancers and DNS in front: is it wise to send new clients here? */
static void serve_healthz(struct service_connection *connection) {
    bool draining = connection->listener->services->control->draining;
    http_answer_text(&connection->http, draining ? 503 : 200, draining ? "draining\n" : "ok\n");
}

/* For supervisors: does every worker's loop turn? */
static void serve_livez(struct service_connection *connection) {
    const struct services *services = connection->listener->services;
    uint64_t now_ms = clock_monotonic_ms();
    for (uint32_t i = 0; i < services->control->worker_count; i++) {
        const struct worker *worker = services->control->workers[i];
        uint64_t beat_ms = services->settings.heartbeat_ms(worker);
        /* The worker may have beaten since we read the clock. */
        uint64_t age_ms = now_ms > beat_ms ? now_ms - beat_ms : 0;
        if (age_ms >= services->settings.heartbeat_limit_ms) {
            char line[80];
            snprintf(line, sizeof(line), "worker %u has not turned for %" PRIu64 " ms\n", i,
                     age_ms);
            http_answer_text(&connection->http, 503, line);
            return;
        }
    }
    http_answer_text(&connection->http, 200, "ok\n");
}

/* ---- the four questions of http_connection.c ---- */

static bool is_native(const char *bytes, const struct http_request *request) {
    return http_span_is(bytes, request->path, "/healthz") ||
           http_span_is(bytes, request->path, "/livez");
}

static bool judge(struct http_connection *http, const char *bytes,
                  const struct http_request *request, struct http_answer *refusal) {
    const struct control_listener *planned = of(http)->listener->planned;
    bool native = is_native(bytes, request);
    const char *line;
    if (!native && planned != NULL && planned->service == NULL) {
        refusal->status = 404;
        line = "there is nothing here but /healthz and /livez\n";
    } else if (http_span_is(bytes, request->method, "GET") ||
               http_span_is(bytes, request->method, "HEAD") ||
               (http_span_is(bytes, request->method, "POST") && !native)) {
        return true;
    } else {
        refusal->status = 405;
        refusal->allow = native ? "GET, HEAD" : "GET, HEAD, POST";
        line = native ? "use GET or HEAD\n" : "use GET, HEAD or POST\n";
    }
    refusal->body = line;
    refusal->body_bytes = strlen(line);
    return false;
}

static void serve(struct http_connection *http, const char *bytes,
                  const struct http_request *request) {
    struct service_connection *connection = of(http);
    const struct control_listener *planned = connection->listener->planned;
    if (http_span_is(bytes, request->path, "/healthz")) {
        serve_healthz(connection);
    } else if (http_span_is(bytes, request->path, "/livez")) {
        serve_livez(connection);
    } else if (planned == NULL || planned->service == NULL) {
        /* The configuration changed while the request was being read. */
        http_answer_text(http, 503, "this service is not configured any more\n");
    } else {
        serve_script(connection, planned->service, bytes, request);
    }
}

static void listener_free_if_unused(struct service_listener *listener) {
    if (listener->planned == NULL && list_is_empty(&listener->connections)) {
        list_remove(&listener->node);
        free(listener->accepts);
        free(listener);
    }
}

static void forget(struct http_connection *http, enum session_reason reason) {
    struct service_connection *connection = of(http);
    struct service_listener *listener = connection->listener;
    struct services *services = listener->services;
    if (connection->turned_away) {
        services->turned_away_count--;
    } else {
        counter_add(&http->row->ended[reason], 1);
        counter_add(&http->row->sessions_closed, 1); /* last: now the row may be recycled */
        services->connection_count--;
        listener->connection_count--;
    }
    list_remove(&connection->node);
    free(connection);
    if (!services->switching) {
        listener_free_if_unused(listener);
    }
}

/* ---- accepting ---- */

static void count_refused(const struct service_listener *listener, enum session_reason reason) {
    counter_add(&listener->row->ended[reason], 1);
}

/* Closes the connection that waited longest for its client's next request; of `listener` alone,
 * or of all (NULL). False: none is idle. */
static bool make_room(struct services *services, const struct service_listener *listener) {
    list_each(node, &services->http.idle) {
        struct http_connection *http = container_of(node, struct http_connection, in_idle);
        if (listener == NULL || of(http)->listener == listener) {
            http_close(http, REASON_LIMIT);
            return true;
        }
    }
    return false;
}

static bool has_room(struct services *services, const struct service_listener *listener) {
    uint32_t most = listener->planned->config->max_sessions;
    if (most > 0 && listener->connection_count >= most && !make_room(services, listener)) {
        return false;
    }
    return services->connection_count < services->settings.max_connections ||
           make_room(services, NULL);
}

static void admit(struct service_listener *listener, int descriptor,
                  const struct address *address) {
    struct services *services = listener->services;
    bool room = has_room(services, listener);
    if (!room) {
        count_refused(listener, REASON_LIMIT);
        if (services->turned_away_count >= services->settings.max_turned_away) {
            close(descriptor);
            return;
        }
    }
    struct service_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        close(descriptor);
        count_refused(listener, REASON_OUT_OF_MEMORY);
        return;
    }
    connection->listener = listener;
    connection->turned_away = !room;
    address_format_host(address, connection->client, sizeof(connection->client));
    list_append(&listener->connections, &connection->node);
    if (room) {
        services->connection_count++;
        listener->connection_count++;
        counter_add(&listener->row->sessions_total, 1);
    } else {
        services->turned_away_count++;
    }
    /* Who is turned away is no session and would not keep the row from being recycled. */
    http_open(&connection->http, &services->http, descriptor, room ? listener->row : NULL);
    if (!room) {
        http_turn_away(&connection->http);
    }
}

static void stop_accepting(struct services *services) {
    list_each(node, &services->listeners) {
        struct service_listener *listener = container_of(node, struct service_listener, node);
        for (uint32_t i = 0; i < listener->accept_count; i++) {
            ev_io_stop(services->control->loop, &listener->accepts[i]);
        }
    }
}

static void start_accepting(struct services *services) {
    list_each(node, &services->listeners) {
        struct service_listener *listener = container_of(node, struct service_listener, node);
        for (uint32_t i = 0; i < listener->accept_count; i++) {
            ev_io_start(services->control->loop, &listener->accepts[i]);
        }
    }
}

static void on_pause_over(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    start_accepting(timer->data);
}

/* A listening socket with a waiting client stays readable: going on to ask would spin. */
static void pause_accepting(struct service_listener *listener, int error) {
    struct services *services = listener->services;
    if (error == EMFILE || error == ENFILE) {
        count_refused(listener, REASON_OUT_OF_DESCRIPTORS);
    } else if (error == ENOMEM || error == ENOBUFS) {
        count_refused(listener, REASON_OUT_OF_MEMORY);
    }
    log_limited(LOG_ERROR, "accept", "listener %s: %s; trying again shortly", listener->name,
                strerror(error));
    stop_accepting(services);
    ev_timer_stop(services->control->loop, &services->pause);
    ev_timer_set(&services->pause, services->settings.accept_pause_s, 0.);
    ev_timer_start(services->control->loop, &services->pause);
}

static void on_accept(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    (void)events;
    struct service_listener *listener = io->data;
    for (uint32_t i = 0; i < listener->services->settings.accepts_a_turn; i++) {
        struct address address = {.length = sizeof(struct sockaddr_un)};
        int descriptor =
            accept4(io->fd, &address.any, &address.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0 && (errno == ECONNABORTED || errno == EPROTO || errno == EINTR)) {
            continue; /* that client is gone already */
        }
        if (descriptor < 0) {
            if (errno != EAGAIN) {
                pause_accepting(listener, errno);
            }
            return;
        }
        admit(listener, descriptor, &address);
    }
}

/* ---- following the configuration ---- */

static struct service_listener *find_listener(struct services *services, const char *name) {
    list_each(node, &services->listeners) {
        struct service_listener *listener = container_of(node, struct service_listener, node);
        if (strcmp(listener->name, name) == 0) {
            return listener;
        }
    }
    return NULL;
}

static struct service_listener *add_listener(struct services *services, const char *name) {
    struct service_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return NULL;
    }
    listener->services = services;
    snprintf(listener->name, sizeof(listener->name), "%s", name);
    list_init(&listener->connections);
    list_append(&services->listeners, &listener->node);
    return listener;
}

/* Binds the listener to its place in the new plan. Its watchers are stopped. */
static bool plan_listener(struct services *services, const struct control_listener *planned) {
    struct service_listener *listener = find_listener(services, planned->config->name);
    if (listener == NULL) {
        listener = add_listener(services, planned->config->name);
    }
    if (listener == NULL) {
        return false;
    }
    struct ev_io *accepts = calloc(planned->socket_count, sizeof(*accepts));
    if (accepts == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < planned->socket_count; i++) {
        ev_io_init(&accepts[i], on_accept, planned->sockets[i], EV_READ);
        accepts[i].data = listener;
    }
    free(listener->accepts);
    listener->accepts = accepts;
    listener->accept_count = planned->socket_count;
    listener->planned = planned;
    listener->row = arena_listener_row(services->control->arena, planned->facts, ARENA_CONTROL_ROW);
    return true;
}

/* What the old plan's scripts were asked they will not answer any more. */
static void cancel_runs(struct service_listener *listener) {
    list_each(node, &listener->connections) {
        struct service_connection *connection = container_of(node, struct service_connection, node);
        if (connection->run != NULL) {
            on_cancel(&connection->http);
            connection->http.last = listener->planned == NULL;
            http_answer_text(&connection->http, 503, "the configuration changed, ask again\n");
        }
    }
}

/* The listener is not in the plan: its connections end after their answer. */
static void finish_connections(struct service_listener *listener) {
    list_each(node, &listener->connections) {
        struct service_connection *connection = container_of(node, struct service_connection, node);
        http_finish(&connection->http, REASON_DRAIN);
    }
    listener->row = NULL;
}

void services_switch(struct services *services, struct control_plan *old,
                     struct control_plan *new_plan) {
    (void)old;
    services->switching = true;
    stop_accepting(services);
    list_each(node, &services->listeners) {
        struct service_listener *listener = container_of(node, struct service_listener, node);
        listener->planned = NULL;
        listener->accept_count = 0;
    }
    for (uint32_t i = 0; new_plan != NULL && i < new_plan->listener_count; i++) {
        const struct control_listener *planned = &new_plan->listeners[i];
        if (planned->socket_count > 0 && !plan_listener(services, planned)) {
            log_message(LOG_ERROR, "service", "listener %s: out of memory, it does not answer",
                        planned->config->name);
        }
    }
    list_each(node, &services->listeners) {
        struct service_listener *listener = container_of(node, struct service_listener, node);
        cancel_runs(listener);
        if (listener->planned == NULL) {
            finish_connections(listener);
            listener_free_if_unused(listener);
        }
    }
    services->switching = false;
    if (!ev_is_active(&services->pause)) {
        start_accepting(services);
    }
}

/* ---- from start to end ---- */

struct services *services_new(struct control *control) {
    struct services *services = calloc(1, sizeof(*services));
    if (services == NULL) {
        return NULL;
    }
    services->control = control;
    services->settings = (struct services_settings){
        .max_connections = 512,
        .max_turned_away = 64,
        .accepts_a_turn = 16,
        .accept_pause_s = 0.1,
        .heartbeat_limit_ms = 2000,
        .heartbeat_ms = worker_heartbeat_ms,
    };
    services->http = (struct http_server){
        .loop = control->loop,
        .settings =
            {
                .head_s = 10.,
                .body_s = 20.,
                .idle_s = 30.,
                .run_s = 10.,
                .write_s = 30.,
                .linger_s = 2.,
                .linger_bytes = 256u * 1024u,
                .answer_bytes = 64u * 1024u * 1024u,
                .answers_a_turn = 4,
            },
        .judge = judge,
        .serve = serve,
        .cancel = on_cancel,
        .closed = forget,
    };
    list_init(&services->http.idle);
    list_init(&services->listeners);
    ev_init(&services->pause, on_pause_over);
    services->pause.data = services;
    return services;
}

void services_free(struct services *services) {
    if (services == NULL) {
        return;
    }
    stop_accepting(services);
    ev_timer_stop(services->control->loop, &services->pause);
    services->switching = true; /* we free the listeners ourselves */
    list_each(node, &services->listeners) {
        struct service_listener *listener = container_of(node, struct service_listener, node);
        list_each(member, &listener->connections) {
            struct service_connection *connection =
                container_of(member, struct service_connection, node);
            http_close(&connection->http, REASON_DRAIN);
        }
        listener->planned = NULL;
        listener_free_if_unused(listener);
    }
    free(services);
}
