/* View and native selectors: what is offered, narrowing, caps, shares and disruption. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/view.h"
#include "suite.h"

#define MEMBERS 10
#define HASHES 20000u

static struct arena *arena;
static struct pool_facts *pool;
static struct slot *slots[MEMBERS];
static struct pool_view view;

/* `count` members named b0, b1, ..., all up, weight 1. */
static void fill(struct slot **members, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        char name[32];
        bool changed;
        snprintf(name, sizeof(name), "b%u", i);
        members[i] = arena_take_slot(arena, pool, name, "127.0.0.1:1", &changed);
        ck_assert_ptr_nonnull(members[i]);
        members[i]->presence = PRESENCE_PRESENT;
        members[i]->health = HEALTH_UP;
        slot_changed(members[i], pool);
    }
}

static void open_view(void) {
    char error[200];
    arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(arena);
    pool = arena_take_pool(arena, "app");
    fill(slots, MEMBERS);
    ck_assert(view_init(&view, pool, "app", slots, MEMBERS));
    view_prepare(&view, NULL, 0);
}

static void close_view(void) {
    view_free(&view);
    arena_free(arena);
}

static void set_health(uint32_t index, enum backend_health health) {
    slots[index]->health = health;
    slot_changed(slots[index], pool);
}

static void set_weight(uint32_t index, uint32_t weight) {
    slots[index]->script.view.weight = weight;
    slot_changed(slots[index], pool);
}

static uint32_t offered(void) {
    return view.script.view.count;
}

/* The document position behind an answer of a selector. */
static uint32_t member(int32_t answer) {
    ck_assert_int_ge(answer, 0);
    ck_assert_int_lt(answer, (int32_t)offered());
    int32_t position =
        view_position(&view, (const struct slot *)(const void *)view.script.eligible[answer]);
    ck_assert_int_ge(position, 0);
    return (uint32_t)position;
}

START_TEST(the_view_is_dense_and_in_document_order) {
    ck_assert_uint_eq(offered(), MEMBERS);
    set_health(0, HEALTH_DOWN);
    set_health(4, HEALTH_SUSPECT);
    set_weight(7, 0);
    ck_assert_uint_eq(offered(), MEMBERS); /* nothing changes under a policy's feet */
    view_prepare(&view, NULL, 0);
    static const uint32_t left[] = {1, 2, 3, 5, 6, 8, 9};
    ck_assert_uint_eq(offered(), 7);
    for (uint32_t i = 0; i < 7; i++) {
        ck_assert_uint_eq(member((int32_t)i), left[i]);
    }
    ck_assert_uint_eq(view.script.all_count, MEMBERS);
    set_health(0, HEALTH_STARTING);
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(offered(), 8);
}
END_TEST

START_TEST(a_retry_sees_only_the_untried) {
    uint32_t tried[] = {slots[3]->script.view.id, slots[9]->script.view.id, 60000};
    view_prepare(&view, tried, 3);
    ck_assert_uint_eq(offered(), MEMBERS - 2);
    ck_assert_ptr_null(view_offers(&view, arena, slots[3]));
    ck_assert_ptr_eq(view_offers(&view, arena, slots[4]), slots[4]);
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(offered(), MEMBERS);
    ck_assert_ptr_eq(view_offers(&view, arena, slots[3]), slots[3]);
}
END_TEST

START_TEST(backends_at_their_cap_are_hidden_at_once) {
    slots[2]->script.view.max_sessions = 5;
    slot_changed(slots[2], pool);
    slots[2]->script.view.active = 4;
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(offered(), MEMBERS);
    slots[2]->script.view.active = 5; /* raises no generation */
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(offered(), MEMBERS - 1);
    ck_assert_ptr_null(view_offers(&view, arena, slots[2]));
    slots[2]->script.view.active = 4;
    view_prepare(&view, NULL, 0);
    ck_assert_ptr_eq(view_offers(&view, arena, slots[2]), slots[2]);
}
END_TEST

START_TEST(only_offered_slots_are_accepted) {
    bool changed;
    struct pool_facts *other = arena_take_pool(arena, "other");
    struct slot *stranger = arena_take_slot(arena, other, "b0", "127.0.0.1:1", &changed);
    struct slot outside = {0};
    ck_assert_ptr_null(view_offers(&view, arena, stranger));
    ck_assert_ptr_null(view_offers(&view, arena, &outside));
    ck_assert_ptr_null(view_offers(&view, arena, (const char *)slots[0] + 4));
    ck_assert_ptr_null(view_offers(&view, arena, NULL));
    ck_assert_ptr_null(view_offers(&view, arena, (const void *)(uintptr_t)1));
    for (uint32_t i = 0; i < MEMBERS; i++) {
        ck_assert_ptr_eq(view_offers(&view, arena, slots[i]), slots[i]);
        ck_assert_int_eq(view_position(&view, slots[i]), (int32_t)i);
    }
    set_health(5, HEALTH_DOWN);
    view_prepare(&view, NULL, 0);
    ck_assert_ptr_null(view_offers(&view, arena, slots[5]));
}
END_TEST

START_TEST(round_robin_takes_turns) {
    uint32_t counts[MEMBERS] = {0};
    for (int i = 0; i < 3 * MEMBERS; i++) {
        counts[member(view_pick_round_robin(&view))]++;
    }
    for (int i = 0; i < MEMBERS; i++) {
        ck_assert_uint_eq(counts[i], 3);
    }
}
END_TEST

START_TEST(nobody_offered_is_minus_one) {
    for (uint32_t i = 0; i < MEMBERS; i++) {
        set_health(i, HEALTH_DOWN);
    }
    view_prepare(&view, NULL, 0);
    const struct alacrity_pool *seen = &view.script.view;
    ck_assert_int_eq(view_pick_round_robin(&view), -1);
    ck_assert_int_eq(view_natives.least(seen), -1);
    ck_assert_int_eq(view_natives.maglev(seen, 1), -1);
    ck_assert_int_eq(view_natives.ring(seen, 1), -1);
    struct pool_view empty;
    ck_assert(view_init(&empty, pool, "empty", NULL, 0));
    view_prepare(&empty, NULL, 0);
    ck_assert_int_eq(view_natives.maglev(&empty.script.view, 1), -1);
    ck_assert_ptr_null(view_offers(&empty, arena, slots[0]));
    view_free(&empty);
}
END_TEST

START_TEST(a_trial_offers_backends_that_are_not_present_yet) {
    for (uint32_t i = 0; i < MEMBERS; i++) {
        slots[i]->presence = PRESENCE_GONE;
        slot_changed(slots[i], pool);
    }
    view_prepare_trial(&view);
    ck_assert_uint_eq(offered(), MEMBERS);
    ck_assert_int_ge(view_natives.maglev(&view.script.view, 1), 0);
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(offered(), 0);
}
END_TEST

/* ---- least ---- */

START_TEST(least_keeps_sessions_in_proportion_to_weight) {
    for (uint32_t i = 0; i < MEMBERS; i++) {
        set_weight(i, i + 1);
    }
    view_prepare(&view, NULL, 0);
    for (int i = 0; i < 550; i++) {
        slots[member(view_natives.least(&view.script.view))]->script.view.active++;
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        uint32_t active = slots[i]->script.view.active;
        ck_assert_msg(active + 1 >= 10 * (i + 1) && active <= 10 * (i + 1) + 1, "b%u has %u", i,
                      active);
    }
}
END_TEST

START_TEST(least_lets_equals_take_turns) {
    uint32_t counts[MEMBERS] = {0};
    for (int i = 0; i < 100; i++) {
        counts[member(view_natives.least(&view.script.view))]++;
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        ck_assert_uint_eq(counts[i], 10);
    }
}
END_TEST

/* ---- maglev and ring: both are consistent hashes, and held to the same rules ---- */

typedef int32_t (*selector)(const struct alacrity_pool *pool, uint32_t hash);

static selector selector_of(int index) {
    return index == 0 ? view_natives.maglev : view_natives.ring;
}

static uint32_t key(uint32_t number) {
    return view_natives.hash((const char *)&number, sizeof(number));
}

static void ask_all(selector ask, uint32_t *answers) {
    for (uint32_t i = 0; i < HASHES; i++) {
        answers[i] = member(ask(&view.script.view, key(i)));
    }
}

static uint32_t answers_before[HASHES], answers_after[HASHES];

START_TEST(removing_one_of_ten_moves_little_else) {
    selector ask = selector_of(_i);
    ask_all(ask, answers_before);
    set_health(6, HEALTH_DOWN);
    view_prepare(&view, NULL, 0);
    ask_all(ask, answers_after);
    uint32_t moved = 0, lost = 0;
    for (uint32_t i = 0; i < HASHES; i++) {
        lost += answers_before[i] == 6;
        moved += answers_before[i] != 6 && answers_before[i] != answers_after[i];
        ck_assert_uint_ne(answers_after[i], 6);
    }
    /* A tenth has to move, a few per cent more may. */
    ck_assert_msg(lost > HASHES / 20 && lost < HASHES * 3 / 20, "lost %u", lost);
    ck_assert_msg(moved < HASHES * 3 / 100, "moved needlessly %u", moved);
    set_health(6, HEALTH_UP);
    view_prepare(&view, NULL, 0);
    ask_all(ask, answers_after);
    ck_assert_mem_eq(answers_before, answers_after, sizeof(answers_before));
}
END_TEST

START_TEST(shares_follow_weights) {
    uint32_t counts[MEMBERS] = {0};
    for (uint32_t i = 0; i < MEMBERS; i++) {
        set_weight(i, i < 5 ? 1 : 3);
    }
    view_prepare(&view, NULL, 0);
    ask_all(selector_of(_i), answers_after);
    for (uint32_t i = 0; i < HASHES; i++) {
        counts[answers_after[i]]++;
    }
    double tolerance = _i == 0 ? 0.12 : 0.40; /* a ring is less even */
    for (uint32_t i = 0; i < MEMBERS; i++) {
        double wanted = HASHES / 20.0 * (i < 5 ? 1 : 3);
        ck_assert_msg(counts[i] > wanted * (1 - tolerance) && counts[i] < wanted * (1 + tolerance),
                      "b%u has %u of %f", i, counts[i], wanted);
    }
}
END_TEST

START_TEST(a_retry_moves_only_those_who_tried) {
    selector ask = selector_of(_i);
    ask_all(ask, answers_before);
    uint32_t tried = slots[2]->script.view.id;
    view_prepare(&view, &tried, 1);
    ask_all(ask, answers_after);
    bool elsewhere[MEMBERS] = {false};
    uint32_t places = 0;
    for (uint32_t i = 0; i < HASHES; i++) {
        if (answers_before[i] != 2) {
            ck_assert_uint_eq(answers_after[i], answers_before[i]);
        } else {
            ck_assert_uint_ne(answers_after[i], 2);
            places += !elsewhere[answers_after[i]];
            elsewhere[answers_after[i]] = true;
        }
    }
    ck_assert_uint_ge(places, 5); /* the second choices are spread */
}
END_TEST

START_TEST(nodes_that_list_backends_differently_agree) {
    selector ask = selector_of(_i);
    struct slot *reversed[MEMBERS];
    struct pool_view other;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        set_weight(i, i % 3 + 1);
        reversed[MEMBERS - 1 - i] = slots[i];
    }
    view_prepare(&view, NULL, 0);
    ck_assert(view_init(&other, pool, "app", reversed, MEMBERS));
    view_prepare(&other, NULL, 0);
    for (uint32_t i = 0; i < HASHES; i++) {
        int32_t here = ask(&view.script.view, key(i)), there = ask(&other.script.view, key(i));
        ck_assert_ptr_eq(view.script.eligible[here], other.script.eligible[there]);
    }
    view_free(&other);
}
END_TEST

START_TEST(a_weight_out_of_all_proportion_is_bearable) {
    set_weight(0, 1000000);
    view_prepare(&view, NULL, 0);
    ask_all(selector_of(_i), answers_after);
    uint32_t heavy = 0;
    for (uint32_t i = 0; i < HASHES; i++) {
        heavy += answers_after[i] == 0;
    }
    ck_assert_uint_gt(heavy, HASHES * 98 / 100);
    uint32_t tried = slots[0]->script.view.id; /* the rest may have no entry at all */
    view_prepare(&view, &tried, 1);
    ck_assert_uint_ne(member(selector_of(_i)(&view.script.view, 7)), 0);
}
END_TEST

START_TEST(a_thousand_backends_all_get_a_share) {
    static struct slot *many[1000];
    static uint32_t counts[1000];
    struct pool_view large;
    pool = arena_take_pool(arena, "many");
    fill(many, 1000);
    ck_assert(view_init(&large, pool, "many", many, 1000));
    view_prepare(&large, NULL, 0);
    memset(counts, 0, sizeof(counts));
    for (uint32_t i = 0; i < 200000; i++) {
        int32_t answer = selector_of(_i)(&large.script.view, key(i));
        ck_assert(answer >= 0 && answer < 1000);
        counts[answer]++;
    }
    for (uint32_t i = 0; i < 1000; i++) {
        ck_assert_uint_gt(counts[i], 20);
        ck_assert_uint_lt(counts[i], 800);
    }
    view_free(&large);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("view");
    TCase *tests = tcase_create("view");
    tcase_add_checked_fixture(tests, open_view, close_view);
    tcase_add_test(tests, the_view_is_dense_and_in_document_order);
    tcase_add_test(tests, a_retry_sees_only_the_untried);
    tcase_add_test(tests, backends_at_their_cap_are_hidden_at_once);
    tcase_add_test(tests, only_offered_slots_are_accepted);
    tcase_add_test(tests, round_robin_takes_turns);
    tcase_add_test(tests, nobody_offered_is_minus_one);
    tcase_add_test(tests, a_trial_offers_backends_that_are_not_present_yet);
    tcase_add_test(tests, least_keeps_sessions_in_proportion_to_weight);
    tcase_add_test(tests, least_lets_equals_take_turns);
    tcase_add_loop_test(tests, removing_one_of_ten_moves_little_else, 0, 2);
    tcase_add_loop_test(tests, shares_follow_weights, 0, 2);
    tcase_add_loop_test(tests, a_retry_moves_only_those_who_tried, 0, 2);
    tcase_add_loop_test(tests, nodes_that_list_backends_differently_agree, 0, 2);
    tcase_add_loop_test(tests, a_weight_out_of_all_proportion_is_bearable, 0, 2);
    tcase_add_loop_test(tests, a_thousand_backends_all_get_a_share, 0, 2);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
