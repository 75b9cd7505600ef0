/* Turns: how long they took, by the wall and in CPU time, and which of them were long. */
#include "session/turn.h"

#include <check.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"
#include "suite.h"

static struct turns turns;

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void compute(uint64_t ns) {
    uint64_t end = cpu_ns() + ns;
    while (cpu_ns() < end) {
    }
}

static void setup(void) {
    turns = (struct turns){0};
    turn_begin(&turns,
               clock_monotonic_ns()); /* asked for the first time: the thread's start counts */
    compute(300000);
    turn_end(&turns);
    turn_forget(&turns);
    turn_forget(&turns);
}

static void teardown(void) {
}

static uint64_t longest(void) {
    return counter_get(&turns.counters.longest_ns);
}

static uint64_t longest_cpu(void) {
    return counter_get(&turns.counters.longest_cpu_ns);
}

START_TEST(a_turn_that_computes_is_long) {
    turn_begin(&turns, clock_monotonic_ns());
    compute(3000000);
    ck_assert_uint_ge(turn_age_ns(&turns), 3000000);
    turn_end(&turns);
    ck_assert_uint_ge(longest(), 3000000);
    ck_assert_uint_ge(longest_cpu(), 2900000);
    ck_assert_uint_le(longest_cpu(), longest());
    ck_assert_uint_eq(counter_get(&turns.counters.long_turns), 1);
}
END_TEST

START_TEST(a_turn_that_waits_is_long_by_the_wall_alone) {
    turn_begin(&turns, clock_monotonic_ns());
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    turn_end(&turns);
    ck_assert_uint_ge(longest(), 5000000);
    ck_assert_uint_lt(longest_cpu(), 1000000);
    ck_assert_uint_eq(counter_get(&turns.counters.long_turns), 0);
}
END_TEST

/* Their CPU time is not held against the long one that comes after them, nor added up. */
START_TEST(short_turns_before_a_long_one_do_not_count) {
    for (int i = 0; i < 40; i++) {
        turn_begin(&turns, clock_monotonic_ns());
        compute(100000);
        turn_end(&turns);
    }
    turn_begin(&turns, clock_monotonic_ns());
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    turn_end(&turns);
    ck_assert_uint_ge(longest(), 20000000);
    ck_assert_uint_lt(longest_cpu(), 3000000); /* of 4 ms and what is lost to others */
}
END_TEST

START_TEST(the_longest_is_forgotten_at_the_second_call) {
    turn_begin(&turns, clock_monotonic_ns());
    compute(3000000);
    turn_end(&turns);
    turn_forget(&turns);
    ck_assert_uint_ge(longest(), 3000000);
    ck_assert_uint_ge(longest_cpu(), 2900000);
    turn_begin(&turns, clock_monotonic_ns());
    compute(400000);
    turn_end(&turns);
    ck_assert_uint_ge(longest_cpu(), 2900000);
    turn_forget(&turns);
    ck_assert_uint_lt(longest_cpu(), 2900000);
    ck_assert_uint_gt(longest_cpu(), 0);
    turn_forget(&turns);
    ck_assert_uint_eq(longest(), 0);
    ck_assert_uint_eq(counter_get(&turns.counters.long_turns), 1); /* a counter stays */
}
END_TEST

START_TEST(an_end_without_a_beginning_is_none) {
    turn_end(&turns);
    ck_assert_uint_eq(longest(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("turn");
    TCase *cases = tcase_create("turn");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_turn_that_computes_is_long);
    tcase_add_test(cases, a_turn_that_waits_is_long_by_the_wall_alone);
    tcase_add_test(cases, short_turns_before_a_long_one_do_not_count);
    tcase_add_test(cases, the_longest_is_forgotten_at_the_second_call);
    tcase_add_test(cases, an_end_without_a_beginning_is_none);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
