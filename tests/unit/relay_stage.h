/* Stage for tests of sessions: the test holds the outer ends of two socket pairs, a data plane of
 * its own relays between the inner ones. No script, no listener. */
#ifndef TESTS_RELAY_STAGE_H
#define TESTS_RELAY_STAGE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/session.h"
#include "suite.h"

static struct ev_loop *loop;
static struct arena *arena;
static struct data_plane plane;
static struct snapshot snapshot;
static struct worker_plan plan;
static struct listener_facts *listener;
static struct pool_facts *pool;
static struct slot *slot;
static int client, backend; /* the outer ends; -1 = closed by the test */
static bool splices;        /* every byte goes through a pipe; else none */

static void plan_unused(struct data_plane *p, struct worker_plan *unused) {
    (void)p;
    (void)unused;
}

static void socket_pair(int *outer, int *inner) {
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *outer = pair[0];
    *inner = pair[1];
}

/* The outer end has little room for what it does not read. */
static inline void tcp_pair(int *outer, int *inner) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, length), 0);
    ck_assert_int_eq(listen(listening, 1), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    *outer = socket(AF_INET, SOCK_STREAM, 0);
    int little = 8192;
    ck_assert_int_eq(setsockopt(*outer, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
    ck_assert_int_eq(connect(*outer, (struct sockaddr *)&address, length), 0);
    *inner = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
    ck_assert_int_ge(*inner, 0);
    ck_assert_int_eq(fcntl(*outer, F_SETFL, O_NONBLOCK), 0);
    close(listening);
}

/* A session that dial.c works on, without any descriptor. */
static struct session *dialling_session(void) {
    struct session *session = session_new(&plane, &plan);
    session->listener = listener;
    session->listener_row = arena_listener_row(arena, listener, 0);
    session->pool = pool;
    session->pool_row = arena_pool_row(arena, pool, 0);
    return session;
}

/* As if it had been accepted, or dialled. */
static void adopt(struct side *side) {
    int family = AF_UNSPEC;
    socklen_t length = sizeof(family);
    ck_assert_int_eq(getsockopt(side->descriptor, SOL_SOCKET, SO_DOMAIN, &family, &length), 0);
    ready_reset(side, family);
}

/* `pair` makes the two connections of the session. */
static void connect_sides(struct session *session, void (*pair)(int *outer, int *inner)) {
    pair(&client, &session->client.descriptor);
    pair(&backend, &session->backend.descriptor);
    adopt(&session->client);
    adopt(&session->backend);
    ck_assert(ready_watch(&session->backend));
    session->backend.ready.writable = true;
}

/* A session as dial.c leaves it when the connect succeeded. */
static struct session *connected_session(void (*pair)(int *outer, int *inner), uint32_t idle_ms,
                                         uint32_t session_ms) {
    struct session *session = dialling_session();
    connect_sides(session, pair);
    session->slot = slot;
    session->slot_row = arena_slot_row(arena, slot, 0);
    atomic_fetch_add(&slot->script.view.active, 1);
    session->idle_ms = idle_ms;
    session->session_ms = session_ms;
    session->copies = !splices;
    session->client.streams = session->backend.streams = splices;
    return session;
}

static inline struct session *open_session_over(void (*pair)(int *outer, int *inner),
                                                uint32_t idle_ms, uint32_t session_ms) {
    struct session *session = connected_session(pair, idle_ms, session_ms);
    relay_start(session);
    return session;
}

static inline struct session *open_session(uint32_t idle_ms, uint32_t session_ms) {
    return open_session_over(socket_pair, idle_ms, session_ms);
}

static void setup(void) {
    client = backend = -1;
    char error[128];
    bool changed;
    loop = ev_loop_new(EVBACKEND_EPOLL);
    arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(arena);
    arena_use_workers(arena, 1);
    memset(&plane, 0, sizeof(plane));
    memset(&plan, 0, sizeof(plan));
    plan.references = 1;
    plan.snapshot = &snapshot;
    ck_assert(plane_open(&plane, loop, arena, 0));
    plane.on_plan_unused = plan_unused;
    plane.bulk_least_bytes = 1;
    pool = arena_take_pool(arena, "app");
    slot = arena_take_slot(arena, pool, "a", "127.0.0.1:1", &changed);
    listener = arena_take_listener(arena, "web");
}

static void teardown(void) {
    plane_close(&plane);
    ev_loop_destroy(loop);
    arena_free(arena);
    if (client >= 0) {
        close(client);
    }
    if (backend >= 0) {
        close(backend);
    }
}

static inline void setup_splicing(void) {
    splices = true;
    signal(SIGPIPE, SIG_IGN); /* as the process does: splice() has no MSG_NOSIGNAL */
    setup();
}

/* Every test twice: with all bytes copied, and with all bytes spliced. */
static inline void add_both_ways(Suite *suite, void (*add)(TCase *cases)) {
    static const struct {
        const char *name;
        void (*setup)(void);
    } ways[] = {{"copying", setup}, {"splicing", setup_splicing}};
    for (int i = 0; i < 2; i++) {
        TCase *cases = tcase_create(ways[i].name);
        tcase_set_timeout(cases, 30);
        tcase_add_checked_fixture(cases, ways[i].setup, teardown);
        add(cases);
        suite_add_tcase(suite, cases);
    }
}

static inline void turn(void) {
    for (int i = 0; i < 20; i++) {
        ev_run(loop, EVRUN_NOWAIT);
    }
}

static inline uint64_t ended(enum session_reason reason) {
    struct listener_row sum = arena_listener_sum(arena, listener);
    return counter_get(&sum.ended[reason]);
}

static inline void expect_bytes(int descriptor, const char *text) {
    char got[256];
    ssize_t n = recv(descriptor, got, sizeof(got), 0);
    ck_assert_int_eq(n, (ssize_t)strlen(text));
    ck_assert(memcmp(got, text, strlen(text)) == 0);
}

/* Fills the relay until the sender is stopped; returns how much went in. */
static inline size_t fill_from(int sender) {
    static char block[65536];
    size_t total = 0;
    for (int idle = 0; idle < 3;) {
        ssize_t n = send(sender, block, sizeof(block), MSG_NOSIGNAL);
        if (n > 0) {
            total += (size_t)n;
            idle = 0;
        } else {
            idle++;
        }
        turn();
    }
    return total;
}

#endif
