/* Relay and session while all goes well: bytes, backpressure, half-close, timeouts. */
#include <time.h>

#include "relay_stage.h"

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

START_TEST(a_receiver_that_does_not_read_stops_the_sender) {
    struct session *session = open_session(0, 0);
    size_t sent = fill_from(client);
    ck_assert(side_has_pending(&session->backend));
    ck_assert_uint_le(session->backend.pending_end - session->backend.pending_start,
                      RELAY_SCRATCH_BYTES);
    ck_assert_uint_lt(sent, 8u << 20); /* socket buffers and one scratch, nothing that grows */
    turn();
    ck_assert(list_is_empty(&plane.runnable)); /* it waits, and does not spin */
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
    ck_assert(!side_has_pending(&session->backend));
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

static void add_tests(TCase *cases) {
    tcase_add_test(cases, bytes_go_both_ways_and_are_counted);
    tcase_add_test(cases, plan_is_let_go_when_connected);
    tcase_add_test(cases, half_close_lets_the_answer_through);
    tcase_add_test(cases, a_receiver_that_does_not_read_stops_the_sender);
    tcase_add_test(cases, what_a_backend_sent_before_it_closed_is_delivered);
    tcase_add_test(cases, a_reset_backend_is_counted_as_such);
    tcase_add_test(cases, idle_session_is_closed_a_busy_one_is_not);
    tcase_add_test(cases, session_timeout_holds_also_for_a_busy_session);
    tcase_add_test(cases, all_sessions_end_when_told);
}

int main(void) {
    Suite *suite = suite_create("relay");
    add_both_ways(suite, add_tests);
    return run_suite(suite);
}
