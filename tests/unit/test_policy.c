/* Policies: the stock ones choose as they promise; whatever a user's answers, the worker gets a
 * backend it may use or a word for what went wrong. */
#include <check.h>
#include <errno.h>

#include "policy_fixture.h"
#include "suite.h"

static struct script_info info_of(uint32_t index) {
    struct script_info info = {0};
    ck_assert(scripting->host_script(f.host, index, &info));
    return info;
}

/* ---- stock policies ---- */

START_TEST(round_robin_gives_exact_shares_by_weight) {
    const uint32_t weights[] = {1, 2, 3, 4};
    uint32_t counts[4];
    open_with(4, weights);
    struct policy *policy = stock("round-robin");
    count_picks(policy, 1000, counts);
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(counts[i], 100 * weights[i]);
    }
    for (int window = 0; window < 20; window++) { /* not only in the long run: in every ten */
        count_picks(policy, 10, counts);
        for (uint32_t i = 0; i < 4; i++) {
            ck_assert_uint_eq(counts[i], weights[i]);
        }
    }
    fixture_close(&f);
}
END_TEST

START_TEST(round_robin_mixes_a_heavy_backend_with_the_others) {
    const uint32_t weights[] = {5, 1, 1};
    uint32_t run = 0;
    open_with(3, weights);
    struct policy *policy = stock("round-robin");
    for (int i = 0; i < 70; i++) {
        run = pick(policy, 0, NULL, 0) == 1 ? run + 1 : 0;
        ck_assert_uint_le(run, 4); /* a a b a c a a: three, and the seam */
    }
    fixture_close(&f);
}
END_TEST

START_TEST(round_robin_goes_on_when_backends_leave_and_return) {
    uint32_t counts[4];
    open_with(4, NULL);
    struct policy *policy = stock("round-robin");
    count_picks(policy, 7, counts);
    set_health(2, HEALTH_DOWN);
    count_picks(policy, 300, counts);
    ck_assert_uint_eq(counts[1], 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_le(counts[i], i == 1 ? 0 : 101);
    }
    set_health(2, HEALTH_UP);
    count_picks(policy, 400, counts);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_ge(counts[i], 99);
        ck_assert_uint_le(counts[i], 101);
    }
    fixture_close(&f);
}
END_TEST

/* A rotation in the wrong hands is a new one, not an array that is too small. */
START_TEST(a_rotation_fits_the_pool_it_is_used_on) {
    static struct pool_view small;
    bool seen[64] = {false};
    open_with(64, NULL);
    ck_assert(view_init(&small, f.facts, "app", f.slots, 2));
    struct script_use use = fixture_script(
        &f, "local alacrity = require 'alacrity'\n"
            "local rotation = alacrity.rotation() -- of all pools\n"
            "return {api = 1, kind = 'policy', name = 'mine', new = function() return {\n"
            "pick = function(self, ctx, pool) return pool:rotate(rotation) end} end}");
    f.pool.policy = use;
    struct policy *of_small = scripting->policy_new(
        f.host, &(struct policy_order){.use = &f.pool.policy, .view = &small}, &f.messages);
    struct policy *of_large = fixture_policy(&f, use);
    ck_assert_msg(of_large != NULL && of_small != NULL, "%s", fixture_said(&f));
    for (int round = 0; round < 50; round++) {
        struct alacrity_ctx_private ctx = a_ctx(0);
        struct slot *slot = NULL;
        view_prepare(&small, NULL, 0);
        ck_assert_int_eq(scripting->policy_pick(of_small, &ctx, &slot), PICK_BACKEND);
        memset(seen, 0, sizeof(seen));
        for (int i = 0; i < 64; i++) {
            uint32_t number = pick(of_large, 0, NULL, 0);
            ck_assert(!seen[number - 1]);
            seen[number - 1] = true;
        }
    }
    view_free(&small);
    fixture_close(&f);
}
END_TEST

START_TEST(round_robin_instances_keep_their_own_rotation) {
    open_with(3, NULL);
    struct policy *one = stock("round-robin"), *two = stock("round-robin");
    for (int i = 0; i < 9; i++) {
        ck_assert_uint_eq(pick(one, 0, NULL, 0), pick(two, 0, NULL, 0));
    }
    fixture_close(&f);
}
END_TEST

START_TEST(least_conn_takes_the_emptiest_for_its_weight) {
    const uint32_t weights[] = {1, 4, 1};
    open_with(3, weights);
    struct policy *policy = stock("least-conn");
    set_active(1, 3);
    set_active(2, 8);
    set_active(3, 5);
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 2);
    set_active(2, 40);
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
    const uint32_t tried[] = {f.slots[0]->script.view.id};
    ck_assert_uint_eq(pick(policy, 0, tried, 1), 3);
    fixture_close(&f);
}
END_TEST

START_TEST(random_draws_by_weight) {
    const uint32_t weights[] = {1, 3};
    uint32_t counts[2];
    open_with(2, weights);
    struct policy *policy = stock("random");
    count_picks(policy, 8000, counts);
    ck_assert_uint_gt(counts[0], 1750); /* 2000 expected; 6 standard deviations are 232 */
    ck_assert_uint_lt(counts[0], 2250);
    fixture_close(&f);
}
END_TEST

START_TEST(states_do_not_draw_the_same_random_numbers) {
    static struct fixture g;
    uint32_t same = 0;
    fixture_open(&f, 64, NULL);
    fixture_open(&g, 64, NULL);
    struct policy *one = fixture_policy(&f, fixture_stock("random"));
    struct policy *two = fixture_policy(&g, fixture_stock("random"));
    for (int i = 0; i < 100; i++) {
        struct alacrity_ctx_private ctx = a_ctx(0);
        struct slot *a = NULL, *b = NULL;
        scripting->policy_pick(one, &ctx, &a);
        scripting->policy_pick(two, &ctx, &b);
        same += strcmp(a->script.name, b->script.name) == 0;
    }
    ck_assert_uint_lt(same, 30);
    fixture_close(&f);
    fixture_close(&g);
}
END_TEST

START_TEST(p2c_never_takes_the_fuller_of_two) {
    open_with(2, NULL);
    struct policy *policy = stock("p2c");
    set_active(1, 10);
    for (int i = 0; i < 200; i++) {
        ck_assert_uint_eq(pick(policy, 0, NULL, 0), 2);
    }
    const uint32_t tried[] = {f.slots[1]->script.view.id};
    ck_assert_uint_eq(pick(policy, 0, tried, 1), 1); /* one left: that one */
    fixture_close(&f);
}
END_TEST

START_TEST(p2c_draws_every_backend) {
    uint32_t counts[5];
    open_with(5, NULL);
    count_picks(stock("p2c"), 1000, counts);
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_gt(counts[i], 100);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(source_hash_sticks_and_moves_only_the_clients_of_who_left) {
    uint32_t before[500], moved = 0;
    open_with(5, NULL);
    struct policy *policy = stock("source-hash");
    for (uint32_t i = 0; i < 500; i++) {
        before[i] = pick(policy, i * 2654435761u, NULL, 0);
        ck_assert_uint_eq(pick(policy, i * 2654435761u, NULL, 0), before[i]);
    }
    set_health(3, HEALTH_DOWN);
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t after = pick(policy, i * 2654435761u, NULL, 0);
        ck_assert_uint_ne(after, 3);
        moved += before[i] != 3 && after != before[i];
    }
    ck_assert_uint_lt(moved, 50);
    const uint32_t tried[] = {f.slots[before[0] - 1]->script.view.id};
    set_health(3, HEALTH_UP);
    ck_assert_uint_ne(pick(policy, 0, tried, 1), before[0]);
    fixture_close(&f);
}
END_TEST

START_TEST(first_takes_the_next_only_when_it_must) {
    open_with(3, NULL);
    struct policy *policy = stock("first");
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
    set_health(1, HEALTH_DOWN);
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 2);
    const uint32_t tried[] = {f.slots[1]->script.view.id};
    ck_assert_uint_eq(pick(policy, 0, tried, 1), 3);
    set_health(1, HEALTH_UP);
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
    fixture_close(&f);
}
END_TEST

START_TEST(every_stock_policy_answers_nil_for_nobody) {
    const char *const *names = scripting_stock_names("policies");
    open_with(2, NULL);
    for (; *names != NULL; names++) {
        struct policy *policy = stock(*names);
        set_health(1, HEALTH_DOWN);
        set_health(2, HEALTH_DOWN);
        ck_assert_msg(answer(policy) == PICK_NIL, "%s", *names);
        set_health(1, HEALTH_UP);
        ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
        set_health(2, HEALTH_UP);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(every_stock_policy_works_without_the_jit) {
    const char *const *names = scripting_stock_names("policies");
    open_with(3, NULL);
    f.snapshot.lua.jit = false;
    for (; *names != NULL; names++) {
        struct policy *policy = stock(*names);
        for (int i = 0; i < 300; i++) {
            pick(policy, (uint32_t)i, NULL, 0);
        }
    }
    fixture_close(&f);
}
END_TEST

/* ---- answers of all kinds; the trial pick gets nil, so that they reach the worker ---- */

#define AFTER_TRIAL "if ctx.listener == 'trial' then return nil end "

static const char *const bad_answers[] = {
    "return 1",
    "return 'b1'",
    "return {}",
    "return true",
    "return pool",
    "return ctx",
    "return pool.all",
    "return 1LL",
    "return 1i",
    "return print",
    "return pool.all[2]",
    "return pool[1].id",
    "return 0x7fffffffffffffffULL",
    "return self.kept",
};

START_TEST(anything_but_an_eligible_backend_is_a_bad_answer) {
    char body[256];
    open_with(2, NULL);
    snprintf(body, sizeof(body),
             "if ctx.listener == 'trial' then self.kept = pool.all[2] return nil end %s",
             bad_answers[_i]);
    struct policy *policy = mine(body);
    set_health(2, HEALTH_DOWN);     /* so pool.all[2] is a backend, but not on offer */
    for (int i = 0; i < 200; i++) { /* interpreted first, then compiled */
        ck_assert_int_eq(answer(policy), PICK_BAD);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(nil_is_a_legal_answer) {
    open_with(2, NULL);
    ck_assert_int_eq(answer(mine("return nil, 'nobody is near'")), PICK_NIL);
    ck_assert_int_eq(answer(mine("")), PICK_NIL);
    fixture_close(&f);
}
END_TEST

START_TEST(a_backend_of_pool_all_counts_when_it_is_eligible) {
    open_with(3, NULL);
    struct policy *policy = mine("return pool.all[2]");
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 2);
    fixture_close(&f);
}
END_TEST

START_TEST(an_error_is_a_value_and_counted) {
    open_with(2, NULL);
    struct policy *policy = mine(AFTER_TRIAL "error('boom')");
    for (int i = 0; i < 20000; i++) { /* nothing piles up on the stack */
        ck_assert_int_eq(answer(policy), PICK_ERROR);
    }
    struct script_info info = info_of(0);
    ck_assert_str_eq(info.kind, "policy");
    ck_assert_str_eq(info.name, "./mine.lua");
    ck_assert_str_eq(info.last_error, "./mine.lua:3: boom");
    ck_assert_uint_eq(info.errors, 20000);
    ck_assert_uint_eq(info.calls, 20000);
    ck_assert_uint_eq(info.version, 7);
    ck_assert_uint_lt(info.memory_bytes, 4u << 20);
    fixture_close(&f);
}
END_TEST

static const char *const errors[] = {
    "error()",
    "error({})",
    "error(5)",
    "error(pool)",
    "error(setmetatable({}, {__tostring = function() error('again') end}))",
    "local function f() return f() + 1 end return f()",
    "return pool.least(5)",
    "return pool[1].has_tag(5, 'canary')",
    "return pool:near():far()",
    "return pool.tagged(5, 'canary')",
    "return pool:rotate()",
    "return pool:rotate({})",
    "return pool.find(5, 1)",
    "return pool:find('x')",
    "return pool:find(-1)",
    "return pool:ring(1, 0.5)",
    "return pool:ring(1, 0/0)",
    "return pool:ring(1, '2')",
    "return pool.no_such()",
    "local t = {} while true do t = {t, t} error(t) end",
};

START_TEST(every_kind_of_error_is_survived) {
    char body[256];
    open_with(2, NULL);
    snprintf(body, sizeof(body), AFTER_TRIAL "%s", errors[_i]);
    struct policy *policy = mine(body);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(answer(policy), PICK_ERROR);
    }
    ck_assert_uint_gt(strlen(info_of(0).last_error), 0);
    fixture_close(&f);
}
END_TEST

START_TEST(a_failing_script_leaves_others_alone) {
    open_with(2, NULL);
    struct policy *good = stock("first");
    struct policy *bad = mine(AFTER_TRIAL "error('x')");
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(answer(bad), PICK_ERROR);
        ck_assert_uint_eq(pick(good, 0, NULL, 0), 1);
    }
    fixture_close(&f);
}
END_TEST

/* ---- the trial pick ---- */

START_TEST(the_trial_refuses_an_error_with_its_line) {
    open_with(2, NULL);
    ck_assert_ptr_null(fixture_pick(&f, "\nlocal x = nil\nreturn x.y"));
    fixture_assert_said(&f, "./mine.lua:5: attempt to index local 'x' (a nil value) "
                            "(trial pick for app.yaml:4:13)\n");
    fixture_close(&f);
}
END_TEST

START_TEST(the_trial_refuses_a_bad_answer) {
    open_with(2, NULL);
    ck_assert_ptr_null(fixture_pick(&f, "return 'b1'"));
    fixture_assert_says(&f, "app.yaml:4:13: policy ./mine.lua answered a string value");
    fixture_close(&f);
}
END_TEST

START_TEST(the_trial_offers_backends_that_are_not_present_yet) {
    open_with(2, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        atomic_store(&f.slots[i]->presence, PRESENCE_GONE);
        slot_changed(f.slots[i], f.facts);
    }
    mine("assert(#pool == 2); return assert(pool[2])");
    fixture_close(&f);
}
END_TEST

/* ---- what a policy sees ---- */

START_TEST(a_policy_sees_the_session) {
    open_with(2, NULL);
    struct policy *policy = mine(
        AFTER_TRIAL
        "assert(ctx.attempt == 2 and ctx.client == '198.51.100.7' and ctx.client_port == 5555)\n"
        "assert(ctx.listener == 'web' and ctx.client_hash == 4294967295)\n"
        "assert(ctx.last_failure == 'refused' and ctx.nonsense == nil)\n"
        "return pool[1]");
    struct alacrity_ctx_private ctx = a_ctx(UINT32_MAX);
    struct slot *slot = NULL;
    ctx.view.attempt = 2;
    ctx.view.last_failure_code = ECONNREFUSED;
    for (int i = 0; i < 300; i++) {
        ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_BACKEND);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(a_policy_sees_the_pool_and_its_backends) {
    const uint32_t weights[] = {1, 7, 1};
    open_with(3, weights);
    struct policy *policy =
        mine(AFTER_TRIAL
             "assert(#pool == 2 and #pool.all == 3 and pool.name == 'app')\n"
             "local b = pool[1]\n"
             "assert(b.name == 'b2' and b.pool_name == 'app' and b.address == '127.0.0.1:9002')\n"
             "assert(b.weight == 7 and b.active == 5 and b.state == 'up' and b.max_sessions == 9)\n"
             "assert(b.connect_ewma_ms == 1.5 and b.nonsense == nil)\n"
             "assert(pool.all[1].state == 'down' and pool.all[2] == b and pool.all[1] ~= b)\n"
             "assert(b ~= nil and b ~= 1 and b ~= 'b2' and b ~= pool)\n"
             "assert(tostring(b) == 'backend app/b2')\n"
             "return b");
    set_health(1, HEALTH_DOWN);
    set_active(2, 5);
    atomic_store(&f.slots[1]->script.view.max_sessions, 9);
    atomic_store(&f.slots[1]->script.view.connect_ewma_ms, 1.5f);
    for (int i = 0; i < 300; i++) {
        ck_assert_uint_eq(pick(policy, 0, NULL, 0), 2);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(a_policy_sees_zones_and_tags) {
    open_with(3, NULL);
    struct policy *policy = mine(
        AFTER_TRIAL
        "assert(pool.zone == 'east')\n"
        "assert(pool[1].zone == 'east' and pool[2].zone == 'west' and pool[3].zone == '')\n"
        "assert(pool[1]:has_tag('canary') and not pool[1]:has_tag('backup'))\n"
        "assert(pool[2]:has_tag('canary') and pool[2]:has_tag('backup'))\n"
        "assert(not pool[3]:has_tag('canary') and not pool[3]:has_tag('nonsense'))\n"
        "local function refused(f, ...) return not pcall(f, ...) end\n"
        "assert(refused(pool[3].has_tag, pool[3]) and refused(pool[3].has_tag, pool[3], pool))\n"
        "assert(refused(pool.tagged, pool) and refused(pool.untagged, pool, 5))\n"
        "assert(self.generation ~= pool.generation)\n"
        "if ctx.client_hash == 1 then self.generation = pool.generation end\n"
        "return pool[1]");
    set_zone(1, "east");
    set_zone(2, "west");
    set_tags(1, 1u << FIXTURE_CANARY);
    set_tags(2, 1u << FIXTURE_CANARY | 1u << FIXTURE_BACKUP);
    set_tags(3, ~(1u << FIXTURE_CANARY | 1u << FIXTURE_BACKUP)); /* of others */
    for (int i = 0; i < 300; i++) {
        ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
    }
    pick(policy, 1, NULL, 0);
    set_active(1, 7); /* no news for the generation */
    ck_assert_int_eq(answer(policy), PICK_ERROR);
    set_tags(3, 0);
    ck_assert_int_eq(answer(policy), PICK_BACKEND);
    fixture_close(&f);
}
END_TEST

START_TEST(a_kept_ctx_says_nothing_of_a_session_that_is_gone) {
    open_with(2, NULL);
    struct policy *one =
        mine(AFTER_TRIAL "kept = kept or ctx\n"
                         "if rawequal(kept, ctx) then assert(kept.client == '198.51.100.7')\n"
                         "else assert(kept.client == '' and kept.listener == '') end\n"
                         "return pool[1]");
    struct policy *two = fixture_policy(&f, f.pool.policy); /* in the same state */
    ck_assert_int_eq(answer(one), PICK_BACKEND);
    ck_assert_int_eq(answer(two), PICK_BACKEND);
    ck_assert_int_eq(answer(one), PICK_BACKEND);
    fixture_close(&f);
}
END_TEST

START_TEST(min_takes_the_lowest_score_and_spreads_equal_ones) {
    uint32_t counts[4];
    open_with(4, NULL);
    struct policy *policy = mine(
        "self.score = self.score or function(b) return b.active end return pool:min(self.score)");
    set_active(1, 1);
    set_active(3, 1);
    count_picks(policy, 400, counts);
    ck_assert_uint_eq(counts[0] + counts[2], 0);
    ck_assert_uint_gt(counts[1], 50);
    ck_assert_uint_gt(counts[3], 50);
    fixture_close(&f);
}
END_TEST

START_TEST(min_gives_equal_ones_the_same_chance) {
    uint32_t counts[6];
    open_with(6, NULL);
    /* Two and two together, with others between: none inherits the chance of a neighbour. */
    struct policy *policy =
        mine("self.score = self.score or function(b) return (b.id % 3 > 0) and 1 or 0/0 end "
             "return pool:min(self.score)");
    count_picks(policy, 4000, counts);
    for (uint32_t i = 0; i < 6; i++) {
        bool taken = f.slots[i]->script.view.id % 3 > 0;
        ck_assert(taken ? counts[i] > 830 && counts[i] < 1170 : counts[i] == 0); /* 6 sigma */
    }
    fixture_close(&f);
}
END_TEST

START_TEST(find_answers_only_who_can_take_the_session) {
    open_with(3, NULL);
    struct policy *policy =
        mine(AFTER_TRIAL
             "local b = pool:find(ctx.client_hash) assert(pool:find(70000) == nil) return b");
    uint32_t id = f.slots[1]->script.view.id;
    ck_assert_uint_eq(pick(policy, id, NULL, 0), 2);
    struct alacrity_ctx_private ctx = a_ctx(id);
    struct slot *slot = NULL;
    view_prepare(&f.view, &id, 1);
    ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_NIL);
    set_health(2, HEALTH_DOWN);
    view_prepare(&f.view, NULL, 0);
    ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_NIL);
    fixture_close(&f);
}
END_TEST

START_TEST(min_never_takes_nan_but_takes_infinity) {
    open_with(3, NULL);
    ck_assert_uint_eq(pick(mine("return pool:min(function(b) return b.name == 'b2' and math.huge "
                                "or 0/0 end)"),
                           0, NULL, 0),
                      2);
    ck_assert_int_eq(answer(mine("return pool:min(function() return 0/0 end)")), PICK_NIL);
    fixture_close(&f);
}
END_TEST

START_TEST(two_pools_of_one_script_have_an_instance_each) {
    open_with(2, NULL);
    struct policy *one = mine("self.n = (self.n or 0) + 1 return pool[(self.n - 1) % 2 + 1]");
    struct policy *two = fixture_policy(&f, f.pool.policy);
    ck_assert_uint_eq(pick(one, 0, NULL, 0), 2); /* the trial was the first */
    ck_assert_uint_eq(pick(one, 0, NULL, 0), 1);
    ck_assert_uint_eq(pick(two, 0, NULL, 0), 2);
    ck_assert(!scripting->host_script(f.host, 1, &(struct script_info){0})); /* loaded once */
    fixture_close(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("policy");
    TCase *cases = tcase_create("policy");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, round_robin_gives_exact_shares_by_weight);
    tcase_add_test(cases, round_robin_mixes_a_heavy_backend_with_the_others);
    tcase_add_test(cases, round_robin_goes_on_when_backends_leave_and_return);
    tcase_add_test(cases, a_rotation_fits_the_pool_it_is_used_on);
    tcase_add_test(cases, round_robin_instances_keep_their_own_rotation);
    tcase_add_test(cases, least_conn_takes_the_emptiest_for_its_weight);
    tcase_add_test(cases, random_draws_by_weight);
    tcase_add_test(cases, states_do_not_draw_the_same_random_numbers);
    tcase_add_test(cases, p2c_never_takes_the_fuller_of_two);
    tcase_add_test(cases, p2c_draws_every_backend);
    tcase_add_test(cases, source_hash_sticks_and_moves_only_the_clients_of_who_left);
    tcase_add_test(cases, first_takes_the_next_only_when_it_must);
    tcase_add_test(cases, every_stock_policy_answers_nil_for_nobody);
    tcase_add_test(cases, every_stock_policy_works_without_the_jit);
    tcase_add_loop_test(cases, anything_but_an_eligible_backend_is_a_bad_answer, 0,
                        sizeof(bad_answers) / sizeof(bad_answers[0]));
    tcase_add_test(cases, nil_is_a_legal_answer);
    tcase_add_test(cases, a_backend_of_pool_all_counts_when_it_is_eligible);
    tcase_add_test(cases, an_error_is_a_value_and_counted);
    tcase_add_loop_test(cases, every_kind_of_error_is_survived, 0,
                        sizeof(errors) / sizeof(errors[0]));
    tcase_add_test(cases, a_failing_script_leaves_others_alone);
    tcase_add_test(cases, the_trial_refuses_an_error_with_its_line);
    tcase_add_test(cases, the_trial_refuses_a_bad_answer);
    tcase_add_test(cases, the_trial_offers_backends_that_are_not_present_yet);
    tcase_add_test(cases, a_policy_sees_the_session);
    tcase_add_test(cases, a_policy_sees_the_pool_and_its_backends);
    tcase_add_test(cases, a_policy_sees_zones_and_tags);
    tcase_add_test(cases, a_kept_ctx_says_nothing_of_a_session_that_is_gone);
    tcase_add_test(cases, min_takes_the_lowest_score_and_spreads_equal_ones);
    tcase_add_test(cases, min_gives_equal_ones_the_same_chance);
    tcase_add_test(cases, find_answers_only_who_can_take_the_session);
    tcase_add_test(cases, min_never_takes_nan_but_takes_infinity);
    tcase_add_test(cases, two_pools_of_one_script_have_an_instance_each);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
