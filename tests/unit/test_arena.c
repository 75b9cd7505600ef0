/* Arena and slot: identity, references, recycling, sums; and how a slot's state is derived. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool/arena.h"
#include "suite.h"

static struct arena *arena;
static struct pool_facts *pool;

static void open_arena(void) {
    char error[200];
    arena = arena_new(error, sizeof(error));
    ck_assert_msg(arena != NULL, "%s", error);
    arena_use_workers(arena, 3);
    pool = arena_take_pool(arena, "app");
    ck_assert_ptr_nonnull(pool);
}

static void close_arena(void) {
    arena_free(arena);
}

static struct slot *take(const char *name, const char *address) {
    bool changed;
    return arena_take_slot(arena, pool, name, address, &changed);
}

static void expect_usage(uint32_t slots, uint32_t pools, uint32_t listeners) {
    uint32_t s, p, l;
    arena_usage(arena, &s, &p, &l);
    ck_assert_uint_eq(s, slots);
    ck_assert_uint_eq(p, pools);
    ck_assert_uint_eq(l, listeners);
}

START_TEST(identity_is_pool_and_name) {
    struct pool_facts *other = arena_take_pool(arena, "other");
    bool changed;
    struct slot *a = take("a", "127.0.0.1:1");
    struct slot *b = take("b", "127.0.0.1:1");
    struct slot *a_other = arena_take_slot(arena, other, "a", "127.0.0.1:1", &changed);
    ck_assert_ptr_ne(a, b);
    ck_assert_ptr_ne(a, a_other);
    ck_assert_ptr_eq(take("a", "127.0.0.1:1"), a);
    ck_assert_ptr_eq(arena_take_pool(arena, "app"), pool);
    ck_assert_str_eq(a_other->script.pool, "other");
    ck_assert_ptr_eq(arena_slot_pool(arena, a_other), other);
    ck_assert_ptr_eq(arena_slot(arena, b->script.view.id), b);
    ck_assert_ptr_eq(arena_take_listener(arena, "web"), arena_take_listener(arena, "web"));
    expect_usage(3, 2, 1);
}
END_TEST

START_TEST(a_new_slot_is_gone_until_control_publishes_it) {
    struct slot *a = take("a", "127.0.0.1:1");
    ck_assert_int_eq(slot_state(a), STATE_GONE);
    ck_assert_uint_eq(a->script.view.state_code, STATE_GONE);
    ck_assert_uint_eq(a->script.view.weight, 1);
    ck_assert(!slot_is_eligible(a));
}
END_TEST

START_TEST(another_address_is_told_and_not_written) {
    bool changed;
    struct slot *a = take("a", "127.0.0.1:1");
    ck_assert_ptr_eq(arena_take_slot(arena, pool, "a", "127.0.0.1:1", &changed), a);
    ck_assert(!changed);
    ck_assert_ptr_eq(arena_take_slot(arena, pool, "a", "127.0.0.1:2", &changed), a);
    ck_assert(changed);
    ck_assert_str_eq(a->script.address, "127.0.0.1:1");
}
END_TEST

START_TEST(names_that_do_not_fit_are_refused) {
    char longest[ALACRITY_NAME_BYTES + 1];
    memset(longest, 'n', sizeof(longest));
    longest[ALACRITY_NAME_BYTES] = '\0';
    ck_assert_ptr_null(take(longest, "127.0.0.1:1"));
    ck_assert_ptr_null(arena_take_pool(arena, longest));
    ck_assert_ptr_null(arena_take_listener(arena, longest));
    longest[ALACRITY_NAME_BYTES - 1] = '\0';
    ck_assert_ptr_nonnull(take(longest, "127.0.0.1:1"));
}
END_TEST

START_TEST(sums_add_up_the_rows_of_all_workers) {
    struct slot *a = take("a", "127.0.0.1:1"), *b = take("b", "127.0.0.1:2");
    struct listener_facts *web = arena_take_listener(arena, "web");
    for (uint32_t worker = 0; worker < 3; worker++) {
        counter_add(&arena_slot_row(arena, a, worker)->bytes_in, 100 + worker);
        counter_add(&arena_pool_row(arena, pool, worker)->picks, 10 + worker);
        counter_add(&arena_listener_row(arena, web, worker)->ended[REASON_KILLED], worker);
    }
    ck_assert_uint_eq(arena_slot_sum(arena, a).bytes_in, 303);
    ck_assert_uint_eq(arena_slot_sum(arena, a).bytes_out, 0);
    ck_assert_uint_eq(arena_slot_sum(arena, b).bytes_in, 0);
    ck_assert_uint_eq(arena_pool_sum(arena, pool).picks, 33);
    ck_assert_uint_eq(arena_listener_sum(arena, web).ended[REASON_KILLED], 3);
    arena_use_workers(arena, 1); /* fewer workers now: what the others counted stays */
    ck_assert_uint_eq(arena_slot_sum(arena, a).bytes_in, 303);
}
END_TEST

START_TEST(a_slot_is_recycled_when_no_plan_and_no_session_uses_it) {
    struct slot *a = take("a", "127.0.0.1:1");
    uint32_t id = a->script.view.id;
    counter_add(&arena_slot_row(arena, a, 2)->sessions_total, 5);
    counter_add(&arena_pool_row(arena, pool, 1)->picks, 5);
    a->script.view.active = 1;
    arena_sweep(arena);
    arena_give_slot(arena, a);
    arena_give_pool(arena, pool);
    arena_sweep(arena);
    expect_usage(1, 1, 0); /* a session is open: slot and pool stay */
    ck_assert_ptr_eq(take("a", "127.0.0.1:1"), a);
    arena_give_slot(arena, a);
    a->script.view.active = 0;
    arena_sweep(arena);
    expect_usage(0, 0, 0);
    pool = arena_take_pool(arena, "fresh");
    struct slot *b = take("b", "127.0.0.1:2");
    ck_assert_uint_eq(b->script.view.id, id); /* the place is used again, and is empty */
    ck_assert_uint_eq(arena_slot_sum(arena, b).sessions_total, 0);
    ck_assert_uint_eq(arena_pool_sum(arena, pool).picks, 0);
    ck_assert_str_eq(b->script.name, "b");
}
END_TEST

START_TEST(a_listener_is_recycled_when_its_sessions_are_closed) {
    struct listener_facts *web = arena_take_listener(arena, "web");
    counter_add(&arena_listener_row(arena, web, 0)->sessions_total, 2);
    counter_add(&arena_listener_row(arena, web, 0)->sessions_closed, 1);
    arena_give_listener(arena, web);
    arena_sweep(arena);
    expect_usage(0, 1, 1);
    counter_add(&arena_listener_row(arena, web, 1)->sessions_closed, 1); /* on another worker */
    arena_sweep(arena);
    expect_usage(0, 1, 0);
    ck_assert_uint_eq(arena_listener_sum(arena, arena_take_listener(arena, "new")).sessions_total,
                      0);
}
END_TEST

static long resident_pages(void) {
    long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%ld %ld", &total, &resident), 2);
    fclose(file);
    return resident;
}

START_TEST(ten_thousand_names_through_a_hundred_places_cost_nothing) {
    char name[32];
    long before = 0;
    uint32_t highest = 0;
    for (int round = 0; round < 100; round++) {
        struct slot *slots[100];
        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof(name), "b%d", round * 100 + i);
            slots[i] = take(name, "127.0.0.1:1");
            ck_assert_ptr_nonnull(slots[i]);
            uint32_t id = slots[i]->script.view.id;
            highest = id > highest ? id : highest;
            counter_add(&arena_slot_row(arena, slots[i], 0)->picked, 1);
        }
        for (int i = 0; i < 100; i++) {
            arena_give_slot(arena, slots[i]);
        }
        arena_sweep(arena);
        expect_usage(0, 1, 0);
        before = round == 10 ? resident_pages() : before;
    }
    ck_assert_uint_lt(highest, 100);
    /* 10 000 places would be 5 MB; a sanitizer's own growth is less than the 4 MB allowed. */
    ck_assert_int_le(resident_pages() - before, 1024);
}
END_TEST

START_TEST(a_full_arena_refuses_and_recovers) {
    char name[32];
    struct slot *last = NULL;
    for (uint32_t i = 0; i < ARENA_SLOTS; i++) {
        snprintf(name, sizeof(name), "b%u", i);
        last = take(name, "127.0.0.1:1");
        ck_assert_ptr_nonnull(last);
    }
    ck_assert_ptr_null(take("one more", "127.0.0.1:1"));
    arena_give_slot(arena, last);
    ck_assert_ptr_eq(take("one more", "127.0.0.1:1"), last);
    ck_assert_str_eq(last->script.name, "one more");
}
END_TEST

START_TEST(only_exact_slots_of_the_arena_are_recognised) {
    struct slot *a = take("a", "127.0.0.1:1");
    const char *bytes = (const char *)a;
    ck_assert_ptr_eq(arena_slot_at(arena, a), a);
    ck_assert_ptr_null(arena_slot_at(arena, bytes + 1));
    ck_assert_ptr_null(arena_slot_at(arena, bytes + 64));
    ck_assert_ptr_null(arena_slot_at(arena, (const char *)arena_slot(arena, 0) - 1));
    ck_assert_ptr_null(arena_slot_at(arena, arena_slot(arena, 0) + ARENA_SLOTS));
    ck_assert_ptr_null(arena_slot_at(arena, NULL));
    ck_assert_ptr_null(arena_slot_at(arena, (void *)UINTPTR_MAX));
}
END_TEST

/* ---- slot ---- */

static struct slot *present(const char *name) {
    struct slot *slot = take(name, "127.0.0.1:1");
    slot->presence = PRESENCE_PRESENT;
    slot_changed(slot, pool);
    return slot;
}

START_TEST(gone_beats_maint_beats_drain_beats_health) {
    struct slot *a = present("a");
    ck_assert_int_eq(slot_state(a), STATE_STARTING);
    static const enum backend_state by_health[] = {STATE_STARTING, STATE_UP, STATE_SUSPECT,
                                                   STATE_DOWN};
    for (uint32_t health = HEALTH_STARTING; health <= HEALTH_DOWN; health++) {
        a->health = health;
        a->admin = ADMIN_READY;
        a->presence = PRESENCE_PRESENT;
        ck_assert_int_eq(slot_state(a), by_health[health]);
        a->admin = ADMIN_DRAIN;
        ck_assert_int_eq(slot_state(a), STATE_DRAIN);
        a->admin = ADMIN_MAINT;
        ck_assert_int_eq(slot_state(a), STATE_MAINT);
        a->presence = PRESENCE_GONE;
        ck_assert_int_eq(slot_state(a), STATE_GONE);
    }
    for (uint32_t state = 0; state < STATE_COUNT; state++) {
        ck_assert_str_ne(state_word(state), "unknown");
    }
    for (uint32_t reason = 0; reason < REASON_COUNT; reason++) {
        ck_assert_str_ne(session_reason_word(reason), "unknown");
    }
}
END_TEST

START_TEST(a_change_raises_the_generation) {
    struct slot *a = present("a");
    uint32_t before = pool->generation;
    a->health = HEALTH_DOWN;
    slot_changed(a, pool);
    ck_assert_uint_eq(a->script.view.state_code, STATE_DOWN);
    ck_assert_uint_ne(pool->generation, before);
}
END_TEST

START_TEST(eligible_needs_state_weight_and_room) {
    struct slot *a = present("a");
    ck_assert(slot_is_eligible(a));
    a->script.view.weight = 0;
    ck_assert(!slot_is_eligible(a));
    a->script.view.weight = 1;
    a->script.view.max_sessions = 2;
    a->script.view.active = 1;
    ck_assert(slot_is_eligible(a));
    a->script.view.active = 2;
    ck_assert(!slot_is_eligible(a));
    ck_assert(slot_is_listed(a));
    a->admin = ADMIN_DRAIN;
    slot_changed(a, pool);
    ck_assert(!slot_is_listed(a));
}
END_TEST

START_TEST(failures_in_a_row_make_suspect_once) {
    struct slot *a = present("a");
    a->health = HEALTH_UP;
    slot_changed(a, pool);
    ck_assert(!slot_connect_failed(a, pool, 3));
    ck_assert(!slot_connect_failed(a, pool, 3));
    slot_connected(a, 1, 1000); /* the run ends */
    ck_assert(!slot_connect_failed(a, pool, 3));
    ck_assert(!slot_connect_failed(a, pool, 3));
    ck_assert(slot_connect_failed(a, pool, 3));
    ck_assert_uint_eq(a->script.view.state_code, STATE_SUSPECT);
    for (int i = 0; i < 10; i++) {
        ck_assert(!slot_connect_failed(a, pool, 3));
    }
    a->health = HEALTH_DOWN; /* control's verdict is not overwritten */
    slot_changed(a, pool);
    ck_assert(!slot_connect_failed(a, pool, 1));
    ck_assert_uint_eq(a->health, HEALTH_DOWN);
    a->health = HEALTH_UP;
    for (int i = 0; i < 10; i++) {
        ck_assert(!slot_connect_failed(a, pool, 0));
    }
}
END_TEST

static _Atomic uint32_t suspects;
static _Atomic bool racing;

static void *fail_connects(void *argument) {
    struct slot *slot = argument;
    while (racing) {
        suspects += slot_connect_failed(slot, pool, 1);
    }
    return NULL;
}

START_TEST(a_race_of_workers_and_control_leaves_no_stale_state) {
    struct slot *a = present("a");
    pthread_t threads[2];
    racing = true;
    a->health = HEALTH_UP;
    slot_changed(a, pool);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fail_connects, a), 0);
    }
    uint32_t ups = 1;
    while (ups < 2000) {
        uint32_t suspect = HEALTH_SUSPECT;
        if (atomic_compare_exchange_strong(&a->health, &suspect, HEALTH_UP)) {
            ups++;
            slot_changed(a, pool);
        }
    }
    racing = false;
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(a->script.view.state_code, slot_state(a));
    ck_assert_uint_eq(suspects + (a->health == HEALTH_UP), ups); /* each told exactly once */
}
END_TEST

START_TEST(recovery_is_when_it_could_take_sessions_again) {
    struct slot *a = present("a");
    const struct alacrity_backend *seen = &a->script.view;
    uint32_t now = (uint32_t)(clock_monotonic_ms() / 1000);
    ck_assert_uint_eq(seen->recovered_at, 0); /* new, it never failed */
    a->health = HEALTH_STARTING;
    slot_changed(a, pool);
    a->health = HEALTH_UP;
    slot_changed(a, pool);
    ck_assert_uint_eq(seen->recovered_at, 0);
    a->health = HEALTH_DOWN;
    slot_changed(a, pool);
    ck_assert_uint_eq(seen->recovered_at, 0);
    a->health = HEALTH_UP;
    slot_changed(a, pool);
    uint32_t recovered_at = seen->recovered_at;
    ck_assert(recovered_at > now && recovered_at <= now + 20);
    a->script.view.recovered_at = 5;
    slot_changed(a, pool); /* up all the time */
    ck_assert_uint_eq(seen->recovered_at, 5);
    a->admin = ADMIN_DRAIN;
    slot_changed(a, pool);
    a->admin = ADMIN_READY;
    slot_changed(a, pool);
    ck_assert_uint_gt(seen->recovered_at, now);
    a->presence = PRESENCE_GONE;
    slot_changed(a, pool);
    a->presence = PRESENCE_PRESENT;
    slot_changed(a, pool);
    ck_assert_uint_eq(seen->recovered_at, 0); /* a new one */
}
END_TEST

START_TEST(the_connect_average_follows) {
    struct slot *a = present("a");
    slot_connected(a, 8, 1000);
    ck_assert_float_eq(a->script.view.connect_ewma_ms, 8);
    slot_connected(a, 16, 1000);
    ck_assert_float_eq(a->script.view.connect_ewma_ms, 9);
    slot_connected(a, -1, 1000);
    ck_assert(a->script.view.connect_ewma_ms > 0);
    struct slot *b = present("b");
    slot_connected(b, 0, 1000);
    ck_assert(b->script.view.connect_ewma_ms > 0); /* 0 means none yet */
    ck_assert_float_eq(b->script.view.connect_last_ms, b->script.view.connect_ewma_ms);
    ck_assert_uint_eq(b->script.view.connected_at, 1);
}
END_TEST

/* What was long ago counts less than what is measured now. */
START_TEST(the_connect_average_forgets) {
    struct slot *a = present("a");
    slot_connected(a, 100, 1000);
    slot_connected(a, 0.5f, 3999); /* two seconds: as in a row */
    ck_assert_float_eq_tol(a->script.view.connect_ewma_ms, 81.96f, 0.01f);
    ck_assert_float_eq(a->script.view.connect_last_ms, 0.5f);
    ck_assert_uint_eq(a->script.view.connected_at, 3);
    slot_connected(a, 0.5f, 13000); /* ten: 63 percent */
    ck_assert_float_eq_tol(a->script.view.connect_ewma_ms, 30.47f, 0.01f);
    slot_connected(a, 0.5f, 100000);
    ck_assert_float_eq_tol(a->script.view.connect_ewma_ms, 0.5f, 0.01f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("arena");
    TCase *tests = tcase_create("arena");
    tcase_add_checked_fixture(tests, open_arena, close_arena);
    tcase_add_test(tests, identity_is_pool_and_name);
    tcase_add_test(tests, a_new_slot_is_gone_until_control_publishes_it);
    tcase_add_test(tests, another_address_is_told_and_not_written);
    tcase_add_test(tests, names_that_do_not_fit_are_refused);
    tcase_add_test(tests, sums_add_up_the_rows_of_all_workers);
    tcase_add_test(tests, a_slot_is_recycled_when_no_plan_and_no_session_uses_it);
    tcase_add_test(tests, a_listener_is_recycled_when_its_sessions_are_closed);
    tcase_add_test(tests, ten_thousand_names_through_a_hundred_places_cost_nothing);
    tcase_add_test(tests, a_full_arena_refuses_and_recovers);
    tcase_add_test(tests, only_exact_slots_of_the_arena_are_recognised);
    tcase_add_test(tests, gone_beats_maint_beats_drain_beats_health);
    tcase_add_test(tests, a_change_raises_the_generation);
    tcase_add_test(tests, eligible_needs_state_weight_and_room);
    tcase_add_test(tests, failures_in_a_row_make_suspect_once);
    tcase_add_test(tests, a_race_of_workers_and_control_leaves_no_stale_state);
    tcase_add_test(tests, recovery_is_when_it_could_take_sessions_again);
    tcase_add_test(tests, the_connect_average_follows);
    tcase_add_test(tests, the_connect_average_forgets);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
