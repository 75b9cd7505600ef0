/* Relay and session over socket pairs: the test holds the outer ends, a data plane of its own
 * relays between the inner ones. No script, no listener. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
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
static int client, backend; /* the outer ends */

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

/* A session as dial.c leaves it when the connect succeeded. */
static struct session *open_session(uint32_t idle_ms, uint32_t session_ms) {
    struct session *session = session_new(&plane, &plan);
    socket_pair(&client, &session->client.io.fd);
    socket_pair(&backend, &session->backend.io.fd);
    session->listener = listener;
    session->listener_row = arena_listener_row(arena, listener, 0);
    session->pool = pool;
    session->pool_row = arena_pool_row(arena, pool, 0);
    session->slot = slot;
    session->slot_row = arena_slot_row(arena, slot, 0);
    atomic_fetch_add(&slot->script.view.active, 1);
    session->idle_ms = idle_ms;
    session->session_ms = session_ms;
    relay_start(session);
    return session;
}

static void setup(void) {
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
    pool = arena_take_pool(arena, "app");
    slot = arena_take_slot(arena, pool, "a", "127.0.0.1:1", &changed);
    listener = arena_take_listener(arena, "web");
}

static void teardown(void) {
    plane_close(&plane);
    ev_loop_destroy(loop);
    arena_free(arena);
    close(client);
    close(backend);
}

static void turn(void) {
    for (int i = 0; i < 20; i++) {
        ev_run(loop, EVRUN_NOWAIT);
    }
}

static uint64_t ended(enum session_reason reason) {
    struct listener_row sum = arena_listener_sum(arena, listener);
    return counter_get(&sum.ended[reason]);
}

static void expect_bytes(int descriptor, const char *text) {
    char got[256];
    ssize_t n = recv(descriptor, got, sizeof(got), 0);
    ck_assert_int_eq(n, (ssize_t)strlen(text));
    ck_assert(memcmp(got, text, strlen(text)) == 0);
}

START_TEST(bytes_go_both_ways_and_are_counted) {
    struct session *session = open_session(0, 0);
    ck_assert_int_eq(send(client, "question", 8, 0), 8);
    turn();
    expect_bytes(backend, "question");
    ck_assert_int_eq(send(backend, "answer!", 7, 0), 7);
    turn();
    expect_bytes(client, "answer!");
    ck_assert_uint_eq(session->client.received_bytes, 8);
    struct slot_row row = arena_slot_sum(arena, slot);
    ck_assert_uint_eq(counter_get(&row.bytes_in), 8);
    ck_assert_uint_eq(counter_get(&row.bytes_out), 7);
    ck_assert_uint_eq(counter_get(&row.sessions_total), 1);
}
END_TEST

START_TEST(plan_is_let_go_when_connected) {
    open_session(0, 0);
    ck_assert_uint_eq(plan.references, 1);
}
END_TEST

START_TEST(half_close_lets_the_answer_through) {
    open_session(0, 0);
    ck_assert_int_eq(send(client, "all", 3, 0), 3);
    shutdown(client, SHUT_WR);
    turn();
    expect_bytes(backend, "all");
    char byte;
    ck_assert_int_eq(recv(backend, &byte, 1, 0), 0); /* the end came across */
    ck_assert_uint_eq(ended(REASON_DONE), 0);
    ck_assert_int_eq(send(backend, "late answer", 11, 0), 11);
    turn();
    expect_bytes(client, "late answer");
    shutdown(backend, SHUT_WR);
    turn();
    ck_assert_int_eq(recv(client, &byte, 1, 0), 0);
    ck_assert_uint_eq(ended(REASON_DONE), 1);
    ck_assert_uint_eq(atomic_load(&slot->script.view.active), 0);
}
END_TEST

/* Fills the relay until the sender is stopped; returns how much went in. */
static size_t fill_from(int sender) {
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

START_TEST(a_receiver_that_does_not_read_stops_the_sender) {
    struct session *session = open_session(0, 0);
    size_t sent = fill_from(client);
    ck_assert_ptr_nonnull(session->backend.pending);
    ck_assert_uint_le(session->backend.pending_end - session->backend.pending_start,
                      RELAY_SCRATCH_BYTES);
    ck_assert_uint_lt(sent, 8u << 20); /* socket buffers and one scratch, nothing that grows */
    ck_assert((session->client.io.events & EV_READ) == 0 || !ev_is_active(&session->client.io));
    /* The receiver reads again: every byte arrives, also after the end of stream. */
    shutdown(client, SHUT_WR);
    size_t received = 0;
    static char block[65536];
    for (int idle = 0; idle < 3;) {
        ssize_t n = recv(backend, block, sizeof(block), 0);
        if (n > 0) {
            received += (size_t)n;
            idle = 0;
        } else {
            idle++;
            turn();
        }
    }
    ck_assert_uint_eq(received, sent);
    ck_assert_ptr_null(session->backend.pending);
}
END_TEST

START_TEST(what_a_backend_sent_before_it_closed_is_delivered) {
    open_session(0, 0);
    turn();
    ck_assert_int_eq(send(backend, "no thanks", 9, 0), 9);
    close(backend);
    backend = -1;
    ck_assert_int_eq(send(client, "a long upload", 13, 0), 13);
    turn();
    expect_bytes(client, "no thanks");
}
END_TEST

START_TEST(a_reset_backend_is_counted_as_such) {
    open_session(0, 0);
    ck_assert_int_eq(send(client, "unread", 6, 0), 6);
    turn();
    close(backend); /* with unread bytes: a reset */
    backend = -1;
    turn();
    ck_assert_uint_eq(ended(REASON_BACKEND_RESET), 1);
    struct slot_row row = arena_slot_sum(arena, slot);
    ck_assert_uint_eq(counter_get(&row.resets), 1);
}
END_TEST

START_TEST(idle_session_is_closed_a_busy_one_is_not) {
    open_session(60, 0);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(send(client, "x", 1, 0), 1);
        ev_run(loop, EVRUN_ONCE);
        struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
        nanosleep(&moment, NULL);
    }
    ck_assert_uint_eq(ended(REASON_IDLE_TIMEOUT), 0);
    while (ended(REASON_IDLE_TIMEOUT) == 0) {
        ev_run(loop, EVRUN_ONCE);
    }
}
END_TEST

START_TEST(session_timeout_holds_also_for_a_busy_session) {
    open_session(0, 50);
    while (ended(REASON_SESSION_TIMEOUT) == 0) {
        (void)!send(client, "x", 1, MSG_NOSIGNAL);
        ev_run(loop, EVRUN_ONCE);
    }
}
END_TEST

START_TEST(all_sessions_end_when_told) {
    open_session(0, 0);
    plane_end_sessions(&plane, REASON_DRAIN);
    ck_assert_uint_eq(ended(REASON_DRAIN), 1);
    ck_assert_uint_eq(atomic_load(&slot->script.view.active), 0);
    turn();
    ck_assert_uint_eq(plane.session_slab.used, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("relay");
    TCase *cases = tcase_create("relay");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, bytes_go_both_ways_and_are_counted);
    tcase_add_test(cases, plan_is_let_go_when_connected);
    tcase_add_test(cases, half_close_lets_the_answer_through);
    tcase_add_test(cases, a_receiver_that_does_not_read_stops_the_sender);
    tcase_add_test(cases, what_a_backend_sent_before_it_closed_is_delivered);
    tcase_add_test(cases, a_reset_backend_is_counted_as_such);
    tcase_add_test(cases, idle_session_is_closed_a_busy_one_is_not);
    tcase_add_test(cases, session_timeout_holds_also_for_a_busy_session);
    tcase_add_test(cases, all_sessions_end_when_told);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
