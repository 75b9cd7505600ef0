/* For tests of policies: one fixture with named backends b1, b2, ..., and what one asks of it.
 * Zones and tags are those of fixture_labels; none is set at first. */
#ifndef POLICY_FIXTURE_H
#define POLICY_FIXTURE_H

#include <check.h>

#include "script_fixture.h"

static struct fixture f;

static inline void open_with(uint32_t count, const uint32_t *weights) {
    fixture_open(&f, count, weights);
    fixture_labels(&f);
}

static inline struct policy *stock(const char *name) {
    struct policy *policy = fixture_policy(&f, fixture_stock(name));
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    return policy;
}

static inline struct policy *mine(const char *body) {
    struct policy *policy = fixture_pick(&f, body);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    return policy;
}

static inline struct alacrity_ctx_private a_ctx(uint32_t hash) {
    return (struct alacrity_ctx_private){
        .view = {.attempt = 1, .client_hash = hash, .client_port = 5555},
        .client = "198.51.100.7",
        .listener = "web"};
}

/* The number of the backend it picks, 1 for b1; fails the test when it picks none. */
static inline uint32_t pick(struct policy *policy, uint32_t hash, const uint32_t *tried,
                            uint32_t count) {
    struct alacrity_ctx_private ctx = a_ctx(hash);
    struct slot *slot = NULL;
    view_prepare(&f.view, tried, count);
    ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_BACKEND);
    for (uint32_t i = 0; i < f.count; i++) {
        if (f.slots[i] == slot) {
            return i + 1;
        }
    }
    ck_abort_msg("a slot of nobody");
}

static inline enum pick_answer answer(struct policy *policy) {
    struct alacrity_ctx_private ctx = a_ctx(0);
    struct slot *slot = NULL;
    view_prepare(&f.view, NULL, 0);
    return scripting->policy_pick(policy, &ctx, &slot);
}

static inline void set_health(uint32_t number, enum backend_health health) {
    atomic_store(&f.slots[number - 1]->health, health);
    slot_changed(f.slots[number - 1], f.facts);
}

static inline void set_active(uint32_t number, uint32_t active) {
    atomic_store(&f.slots[number - 1]->script.view.active, active);
}

static inline void count_picks(struct policy *policy, uint32_t picks, uint32_t *counts) {
    memset(counts, 0, f.count * sizeof(*counts));
    for (uint32_t i = 0; i < picks; i++) {
        counts[pick(policy, i * 2654435761u, NULL, 0) - 1]++;
    }
}

static inline void set_tags(uint32_t number, uint32_t bits) {
    atomic_store(&f.slots[number - 1]->script.view.tag_bits, bits);
    slot_changed(f.slots[number - 1], f.facts);
}

static inline void set_zone(uint32_t number, const char *zone) {
    atomic_store(&f.slots[number - 1]->script.view.zone_code, zone_code(zone));
    slot_changed(f.slots[number - 1], f.facts);
}

#endif
