/* View and native selectors: what is offered, narrowing, caps, shares and disruption. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "view_fixture.h"

#define HASHES 20000u

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
    ck_assert_int_eq(view_natives.ring(seen, 1, 0), -1);
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

/* ---- what retries and caps leave ---- */

/* With few and with many hidden: those left stand in order, and both ways between places and
 * positions agree. */
START_TEST(what_is_left_stands_in_order) {
    enum { MANY = 60 };
    static struct slot *crowd[MANY];
    struct pool_view wide;
    uint32_t state = 9;
    pool = arena_take_pool(arena, "wide");
    fill(crowd, MANY);
    ck_assert(view_init(&wide, pool, "wide", crowd, MANY));
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t tried[VIEW_TRIED_MAX], count = 0, place = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            state = state * 1664525u + 1013904223u;
            crowd[i]->script.view.max_sessions = round % 3 == 0 ? 2 : 0;
            crowd[i]->script.view.active = (state >> 24) % (2 + round % 20) == 0 ? 2 : 1;
            crowd[i]->health = (state >> 16) % 8 == 0 ? HEALTH_DOWN : HEALTH_UP;
            slot_changed(crowd[i], pool);
            if ((state >> 10) % 16 == 0 && count < VIEW_TRIED_MAX) {
                tried[count++] = crowd[i]->script.view.id;
            }
        }
        view_prepare(&wide, tried, count);
        for (uint32_t i = 0; i < MANY; i++) {
            bool left = slot_is_eligible(crowd[i]);
            for (uint32_t k = 0; k < count; k++) {
                left = left && tried[k] != crowd[i]->script.view.id;
            }
            ck_assert_int_eq(view_offered_at(&wide, i), left ? (int32_t)place : -1);
            if (left) {
                ck_assert_ptr_eq(wide.script.eligible[place], &crowd[i]->script.view);
                ck_assert_uint_eq(view_position_at(&wide, place), i);
                place++;
            }
        }
        ck_assert_uint_eq(wide.script.view.count, place);
    }
    view_free(&wide);
}
END_TEST

/* ---- rotate ---- */

static int64_t *rotation_new(uint32_t members) {
    int64_t *rotation = calloc(view_natives.rotate_words(members), sizeof(*rotation));
    ck_assert_ptr_nonnull(rotation);
    return rotation;
}

/* The definition, over all members: for comparison. */
static uint32_t next_turn(int64_t *owed) {
    uint32_t turn = MEMBERS;
    int64_t total = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        if (view_offered_at(&view, i) >= 0) {
            owed[i] += slots[i]->script.view.weight;
            total += slots[i]->script.view.weight;
            turn = turn == MEMBERS || owed[i] > owed[turn] ? i : turn;
        }
    }
    owed[turn] -= total;
    return turn;
}

START_TEST(rotate_is_smooth_weighted_round_robin) {
    int64_t *rotation = rotation_new(MEMBERS), owed[MEMBERS] = {0};
    uint32_t counts[MEMBERS] = {0}, tried = slots[3]->script.view.id;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        set_weight(i, i % 4 + 1);
    }
    view_prepare(&view, NULL, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        if (i == 200) {
            set_health(2, HEALTH_DOWN); /* what it is owed waits */
        } else if (i == 400) {
            set_health(2, HEALTH_UP);
        } else if (i == 600) {
            set_weight(1, 100000);
        }
        view_prepare(&view, &tried, i % 5 == 0); /* and so it does on a retry */
        uint32_t turn = member(view_natives.rotate(&view.script.view, rotation));
        ck_assert_uint_eq(turn, next_turn(owed));
        counts[turn] += i < 200;
    }
    ck_assert_uint_gt(counts[3], counts[0]);
    free(rotation);
}
END_TEST

/* The same turns as by the definition: with few weights (0) or more than there are heaps for (1),
 * while some are tried, or many are full, or down, or change their weight. */
START_TEST(many_take_the_same_turns) {
    enum { MANY = 300 };
    static struct slot *crowd[MANY];
    static int64_t owed[MANY];
    struct pool_view wide;
    int64_t *rotation = rotation_new(MANY);
    uint32_t state = 11;
    memset(owed, 0, sizeof(owed));
    pool = arena_take_pool(arena, "wide");
    fill(crowd, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        crowd[i]->script.view.weight = _i == 0 ? i % 5 + 1 : i * 7 % MANY + 1;
    }
    slot_changed(crowd[0], pool);
    ck_assert(view_init(&wide, pool, "wide", crowd, MANY));
    for (uint32_t round = 0; round < 5000; round++) {
        uint32_t tried[VIEW_TRIED_MAX], count = 0, next = MANY;
        int64_t total = 0;
        state = state * 1664525u + 1013904223u;
        struct slot *slot = crowd[(state >> 8) % MANY];
        if (round % 50 == 0) {
            slot->health = slot->health == HEALTH_UP ? HEALTH_DOWN : HEALTH_UP;
            slot_changed(slot, pool);
        } else if (round % 50 == 1) {
            slot->script.view.weight = (state >> 20) % 9 + 1;
            slot_changed(slot, pool);
        } else if (round % 1000 == 2) { /* for a while, or no more: every third is full */
            for (uint32_t i = 0; i < MANY; i += 3) {
                crowd[i]->script.view.max_sessions = round % 2000 == 2;
                crowd[i]->script.view.active = 1;
                slot_changed(crowd[i], pool);
            }
        }
        for (; count < round % 7 % 4; count++) {
            tried[count] = crowd[(state + count * 977) % MANY]->script.view.id;
        }
        view_prepare(&wide, tried, count);
        int32_t place = view_natives.rotate(&wide.script.view, rotation);
        ck_assert_int_ge(place, 0);
        for (uint32_t i = 0; i < MANY; i++) {
            if (view_offered_at(&wide, i) >= 0) {
                owed[i] += crowd[i]->script.view.weight;
                total += crowd[i]->script.view.weight;
                next = next == MANY || owed[i] > owed[next] ? i : next;
            }
        }
        owed[next] -= total;
        ck_assert_uint_eq(view_position_at(&wide, (uint32_t)place), next);
    }
    view_free(&wide);
    free(rotation);
}
END_TEST

/* ---- subsets ---- */

static const struct alacrity_pool *part(enum subset_kind kind, uint32_t bits) {
    const struct alacrity_pool *made = view_natives.subset(&view.script.view, kind, bits);
    ck_assert_ptr_nonnull(made);
    return made;
}

/* The members of a part as bits. */
static uint32_t bits_of(const struct alacrity_pool *of) {
    const struct alacrity_pool_private *seen = (const struct alacrity_pool_private *)of;
    uint32_t bits = 0;
    for (uint32_t i = 0; i < of->count; i++) {
        bits |= 1u << view_position(&view, (const struct slot *)(const void *)seen->eligible[i]);
    }
    return bits;
}

START_TEST(a_subset_is_what_is_offered_and_belongs) {
    for (uint32_t i = 0; i < MEMBERS; i++) {
        slots[i]->script.view.tag_bits = i % 2 == 0 ? 6 : 1;
        slots[i]->script.view.zone_code = i < 3 ? 77 : i < 5 ? 78 : 0;
        slot_changed(slots[i], pool);
    }
    view.script.view.zone_code = 77;
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(bits_of(part(SUBSET_TAGGED, 4)), 0x155);
    ck_assert_uint_eq(bits_of(part(SUBSET_UNTAGGED, 4)), 0x2AA);
    ck_assert_uint_eq(bits_of(part(SUBSET_TAGGED, 0)), 0); /* a tag of nobody */
    ck_assert_uint_eq(bits_of(part(SUBSET_UNTAGGED, 0)), 0x3FF);
    ck_assert_uint_eq(bits_of(part(SUBSET_NEAR, 0)), 7);
    ck_assert_uint_eq(bits_of(part(SUBSET_FAR, 0)), 0x3F8);
    ck_assert_ptr_eq(part(SUBSET_NEAR, 0), part(SUBSET_NEAR, 0));
    ck_assert_ptr_null(view_natives.subset(part(SUBSET_NEAR, 0), SUBSET_FAR, 0));

    uint32_t tried[] = {slots[0]->script.view.id, slots[4]->script.view.id};
    view_prepare(&view, tried, 1);
    ck_assert_uint_eq(bits_of(part(SUBSET_TAGGED, 4)), 0x154);
    ck_assert_uint_eq(bits_of(part(SUBSET_NEAR, 0)), 6);
    view_prepare(&view, tried, 2);
    ck_assert_uint_eq(bits_of(part(SUBSET_TAGGED, 4)), 0x144);
    view_prepare(&view, NULL, 0);
    ck_assert_uint_eq(bits_of(part(SUBSET_TAGGED, 4)), 0x155);

    set_health(2, HEALTH_DOWN);
    slots[1]->script.view.tag_bits = 4;
    slot_changed(slots[1], pool);
    view_prepare(&view, tried, 1);
    ck_assert_uint_eq(bits_of(part(SUBSET_TAGGED, 4)), 0x152);
    ck_assert_uint_eq(bits_of(part(SUBSET_NEAR, 0)), 2);
    ck_assert_uint_eq(part(SUBSET_NEAR, 0)->generation, view.script.view.generation);
}
END_TEST

START_TEST(selectors_choose_within_a_subset) {
    uint32_t before[200], tried = slots[4]->script.view.id;
    int64_t *rotation = rotation_new(MEMBERS);
    for (uint32_t i = 0; i < MEMBERS; i += 2) {
        slots[i]->script.view.tag_bits = 1;
        slots[i]->script.view.active = 10;
        slot_changed(slots[i], pool);
    }
    slots[6]->script.view.active = 3;
    view_prepare(&view, NULL, 0);
    const struct alacrity_pool *tagged = part(SUBSET_TAGGED, 1);
    const struct alacrity_pool_private *seen = (const struct alacrity_pool_private *)tagged;
    ck_assert_ptr_eq(seen->eligible[view_natives.least(tagged)], &slots[6]->script.view);
    ck_assert_int_eq(view_natives.find(tagged, slots[1]->script.view.id), -1);
    ck_assert_int_eq(view_natives.find(tagged, slots[4]->script.view.id), 2);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        uint32_t turn = seen->eligible[view_natives.rotate(tagged, rotation)]->id;
        ck_assert_uint_eq(turn, slots[2 * (i % 5)]->script.view.id);
    }
    for (uint32_t i = 0; i < 200; i++) {
        before[i] = seen->eligible[view_natives.maglev(tagged, key(i))]->id;
    }
    view_prepare(&view, &tried, 1);
    tagged = part(SUBSET_TAGGED, 1);
    for (uint32_t i = 0; i < 200; i++) { /* a retry moves only those who tried, also here */
        uint32_t after = seen->eligible[view_natives.maglev(tagged, key(i))]->id;
        ck_assert(before[i] == tried ? after != tried : after == before[i]);
    }
    free(rotation);
}
END_TEST

/* ---- maglev and ring: both are consistent hashes, and held to the same rules ---- */

typedef int32_t (*selector)(const struct alacrity_pool *pool, uint32_t hash);

static int32_t plain_ring(const struct alacrity_pool *seen, uint32_t hash) {
    return view_natives.ring(seen, hash, 0);
}

static selector selector_of(int index) {
    return index == 0 ? view_natives.maglev : plain_ring;
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

/* ---- bounded ring ---- */

/* Whoever answers has less than its bound, and nobody before it on the ring has. */
START_TEST(a_bounded_ring_passes_over_the_full) {
    uint32_t passed = 0, state = 1;
    for (uint32_t round = 0; round < 200; round++) {
        uint64_t sessions = 1, weights = 0;
        for (uint32_t i = 0; i < MEMBERS; i++) {
            state = state * 1664525u + 1013904223u;
            slots[i]->script.view.active = state >> 26;
            sessions += state >> 26;
            set_weight(i, i % 3 + 1);
            weights += i % 3 + 1;
        }
        const double average = (double)sessions / (double)weights;
        view_prepare(&view, NULL, 0);
        for (uint32_t i = 0; i < 20; i++) {
            uint32_t owner = member(view_natives.ring(&view.script.view, key(i), 0));
            uint32_t taken = member(view_natives.ring(&view.script.view, key(i), 1.25));
            const struct alacrity_backend *b = &slots[taken]->script.view;
            ck_assert(b->active < ceil(1.25 * average * b->weight));
            const struct alacrity_backend *o = &slots[owner]->script.view;
            bool fits = o->active < ceil(1.25 * average * o->weight);
            ck_assert(fits ? taken == owner : taken != owner);
            passed += !fits;
        }
    }
    ck_assert_uint_gt(passed, 400);
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
    tcase_add_test(tests, a_bounded_ring_passes_over_the_full);
    tcase_add_test(tests, what_is_left_stands_in_order);
    tcase_add_loop_test(tests, many_take_the_same_turns, 0, 2);
    tcase_add_test(tests, rotate_is_smooth_weighted_round_robin);
    tcase_add_test(tests, a_subset_is_what_is_offered_and_belongs);
    tcase_add_test(tests, selectors_choose_within_a_subset);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
