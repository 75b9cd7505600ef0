/* Many sessions that can go on at once: a turn ends in time, nobody is passed over, and who sends a
 * lot comes after who does not. */
#include <sys/syscall.h>

#include "base/clock.h"
#include "relay_stage.h"

#define SESSIONS 20

static uint64_t cost_ns; /* of a read */

ssize_t recv(int descriptor, void *buffer, size_t length, int flags) {
    for (uint64_t end = clock_monotonic_ns() + cost_ns; clock_monotonic_ns() < end;) {
    }
    return syscall(SYS_recvfrom, descriptor, buffer, length, flags, NULL, NULL);
}

static struct session *sessions[SESSIONS];
static int clients[SESSIONS], backends[SESSIONS];

static void start(void) {
    setup();
    cost_ns = 0;
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = open_session(0, 0);
        clients[i] = client;
        backends[i] = backend;
    }
    turn();
    cost_ns = 200000;
}

static void end(void) {
    cost_ns = 0;
    client = backend = -1;
    teardown();
    for (int i = 0; i < SESSIONS; i++) {
        close(clients[i]);
        close(backends[i]);
    }
}

static void say(int i) {
    ck_assert_int_eq(send(clients[i], "x", 1, 0), 1);
}

/* How much has arrived, and is taken. */
static int heard(int i) {
    char got[64];
    ssize_t n = syscall(SYS_recvfrom, backends[i], got, sizeof(got), 0, NULL, NULL);
    return n > 0 ? (int)n : 0;
}

static int heard_all(void) {
    int sum = 0;
    for (int i = 0; i < SESSIONS; i++) {
        sum += heard(i);
    }
    return sum;
}

START_TEST(a_turn_ends_in_time_and_the_rest_comes_next) {
    for (int i = 0; i < SESSIONS; i++) {
        say(i);
    }
    int came = 0, turns = 0;
    while (came < SESSIONS) {
        ev_run(loop, EVRUN_NOWAIT);
        int now = heard_all();
        ck_assert_int_ge(now, 1);
        ck_assert_int_le(now, 3); /* of 200 us each: 500 us are full then */
        came += now;
        turns++;
    }
    ck_assert_int_ge(turns, SESSIONS / 3);
    ck_assert_int_eq(came, SESSIONS);
}
END_TEST

/* Those that came to their turn and have more do not get another before the others. */
START_TEST(it_goes_round) {
    int came[SESSIONS] = {0};
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < SESSIONS; i++) {
            say(i);
        }
        ev_run(loop, EVRUN_NOWAIT);
        for (int i = 0; i < SESSIONS; i++) {
            came[i] += heard(i) > 0;
        }
    }
    for (int i = 0; i < SESSIONS; i++) { /* 60 turns for two or three each */
        ck_assert_int_ge(came[i], 3);
        ck_assert_int_le(came[i], 10);
    }
}
END_TEST

START_TEST(who_sends_a_lot_comes_last_but_comes) {
    int streamed = 0;
    for (int i = 1; i < SESSIONS; i++) {
        sessions[i]->client.streams = true; /* and copies, in this test */
        say(i);
    }
    for (int round = 0; round < SESSIONS; round++) {
        say(0);
        ev_run(loop, EVRUN_NOWAIT);
        ck_assert_int_eq(heard(0), 1);
        int now = heard_all();
        ck_assert_int_ge(now, streamed < SESSIONS - 1);
        ck_assert_int_le(now, 2);
        streamed += now;
        for (int i = 1; i < SESSIONS; i++) {
            sessions[i]->client.streams = true;
        }
    }
    ck_assert_int_eq(streamed, SESSIONS - 1);
}
END_TEST

/* However much there is of the others. */
START_TEST(who_sends_a_lot_is_not_starved) {
    sessions[0]->client.streams = true;
    say(0);
    for (int i = 1; i < SESSIONS; i++) {
        say(i);
    }
    ev_run(loop, EVRUN_NOWAIT);
    ck_assert_int_eq(heard(0), 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fairness");
    TCase *cases = tcase_create("fairness");
    tcase_set_timeout(cases, 60);
    tcase_add_checked_fixture(cases, start, end);
    tcase_add_test(cases, a_turn_ends_in_time_and_the_rest_comes_next);
    tcase_add_test(cases, it_goes_round);
    tcase_add_test(cases, who_sends_a_lot_comes_last_but_comes);
    tcase_add_test(cases, who_sends_a_lot_is_not_starved);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
