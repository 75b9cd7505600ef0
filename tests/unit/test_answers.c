/* Policies whose answers are outside the contract, and scripts whose words go out: whatever they
 * are, nobody is harmed, and it is counted. See test_policy.c for the plain cases. */
#include <check.h>

#include "script_fixture.h"
#include "suite.h"

static struct fixture f;

/* ---- answers ---- */

static const char *const policy_head =
    "local M, kept = {api = 1, kind = 'policy', name = 'mine'}, {}\n"
    "function M.new() return {pick = function(self, ctx, pool)\n"
    "if ctx.listener == 'trial' then kept.trial = true return nil end\n";

static struct script_use policy_script(const char *body) {
    char text[2048];
    snprintf(text, sizeof(text), "%s%s\nend} end\nreturn M", policy_head, body);
    return fixture_script(&f, text);
}

static enum pick_answer pick_of(struct policy *policy, struct slot **slot) {
    const struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1}, .client = "c", .listener = "l"};
    view_prepare(&f.view, NULL, 0);
    return scripting->policy_pick(policy, &ctx, slot);
}

/* A pool beside the fixture's, of one backend. */
struct other {
    struct pool_facts *facts;
    struct slot *slot;
    struct pool_view view;
};

static void other_open(struct other *other) {
    bool changed;
    other->facts = arena_take_pool(f.arena, "other");
    other->slot = arena_take_slot(f.arena, other->facts, "o1", "127.0.0.1:9999", &changed);
    ck_assert_ptr_nonnull(other->slot);
    atomic_store(&other->slot->presence, PRESENCE_PRESENT);
    atomic_store(&other->slot->health, HEALTH_UP);
    slot_changed(other->slot, other->facts);
    ck_assert(view_init(&other->view, other->facts, "other", &other->slot, 1));
}

/* Two pools of one script share its state, so it can answer the one with the other's backend; and
 * go on with it when that backend has left and its slot is another's. */
START_TEST(a_backend_of_another_pool_or_of_none_is_a_bad_answer) {
    struct other other = {0};
    struct slot *slot = NULL;
    bool changed;
    fixture_open(&f, 3, NULL);
    other_open(&other);
    struct script_use use = policy_script(
        "if pool.name == 'other' then kept.b, kept.pool = pool[1], pool return pool[1] "
        "end assert(pool.name == 'app') kept.seen = kept.b and kept.b.name\n"
        "return kept.b");
    struct policy *here = fixture_policy(&f, use);
    const struct policy_order order = {.use = &use, .view = &other.view};
    struct policy *there = scripting->policy_new(f.host, &order, &f.messages);
    ck_assert_msg(here != NULL && there != NULL, "%s", fixture_said(&f));
    view_prepare(&other.view, NULL, 0);
    ck_assert_int_eq(pick_of(there, &slot), PICK_BACKEND);
    ck_assert_ptr_eq(slot, other.slot);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(pick_of(here, &slot), PICK_BAD);
        ck_assert_ptr_null(slot);
    }
    atomic_store(&other.slot->presence, PRESENCE_GONE);
    slot_changed(other.slot, other.facts);
    ck_assert_int_eq(pick_of(here, &slot), PICK_BAD);
    arena_give_slot(f.arena, other.slot);
    arena_sweep(f.arena);
    struct slot *recycled = arena_take_slot(f.arena, f.facts, "late", "127.0.0.1:9998", &changed);
    ck_assert_ptr_eq(recycled, other.slot);
    atomic_store(&recycled->presence, PRESENCE_PRESENT);
    atomic_store(&recycled->health, HEALTH_UP);
    slot_changed(recycled, f.facts);
    for (int i = 0; i < 200; i++) { /* of the pool by now, but not of this configuration of it */
        ck_assert_int_eq(pick_of(here, &slot), PICK_BAD);
    }
    scripting->host_free(f.host);
    f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
    view_free(&other.view);
    fixture_close(&f);
}
END_TEST

/* A script that guesses where a backend stands has only named that backend. */
START_TEST(a_number_that_looks_like_an_address_is_judged_like_a_backend) {
    struct slot *slot = NULL;
    char body[256];
    fixture_open(&f, 3, NULL);
    snprintf(body, sizeof(body), "return 0x%llxULL", (unsigned long long)(uintptr_t)f.slots[1]);
    struct policy *guess = fixture_policy(&f, policy_script(body));
    snprintf(body, sizeof(body), "return 0x%llxULL", (unsigned long long)(uintptr_t)f.slots[1] + 8);
    struct policy *beside = fixture_policy(&f, policy_script(body));
    ck_assert_msg(guess != NULL && beside != NULL, "%s", fixture_said(&f));
    ck_assert_int_eq(pick_of(guess, &slot), PICK_BACKEND);
    ck_assert_ptr_eq(slot, f.slots[1]);
    ck_assert_int_eq(pick_of(beside, &slot), PICK_BAD);
    atomic_store(&f.slots[1]->health, HEALTH_DOWN);
    slot_changed(f.slots[1], f.facts);
    ck_assert_int_eq(pick_of(guess, &slot), PICK_BAD);
    fixture_close(&f);
}
END_TEST

/* A part of three, kept; on a retry it is made anew with two while the script goes over it. */
START_TEST(a_part_that_shrinks_under_way_holds_no_hole) {
    struct alacrity_ctx_private ctx = {.view = {.attempt = 1}, .client = "c", .listener = "l"};
    struct slot *slot = NULL;
    fixture_open(&f, 3, NULL);
    struct policy *policy = fixture_policy(
        &f, policy_script("if ctx.attempt == 1 then kept.part = pool:untagged('x') return pool[1] "
                          "end local seen = '' local b = kept.part:min(function(b)\n"
                          "pool:untagged('x') seen = seen .. b.name return b.id end)\n"
                          "assert(#seen >= 4, seen) return b"));
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    ck_assert_int_eq(pick_of(policy, &slot), PICK_BACKEND);
    const uint32_t tried[] = {slot->script.view.id};
    ctx.view.attempt = 2;
    view_prepare(&f.view, tried, 1);
    enum pick_answer answer = scripting->policy_pick(policy, &ctx, &slot);
    ck_assert_msg(answer == PICK_BACKEND || answer == PICK_BAD, "%d", (int)answer);
    fixture_close(&f);
}
END_TEST

static const char *const other_answers[] = {
    "counter", "dictionary", "rotation", "pool:near()", "pool:near().all", "pool.near", "alacrity"};

START_TEST(an_object_of_the_library_is_a_bad_answer) {
    struct slot *slot = NULL;
    char body[256];
    fixture_open(&f, 3, NULL);
    snprintf(body, sizeof(body), "return %s", other_answers[_i]);
    char text[2048];
    snprintf(text, sizeof(text),
             "local alacrity = require 'alacrity' local counter = alacrity.counter('x')\n"
             "local dictionary, rotation = alacrity.shared('x'), alacrity.rotation() %s%s\nend} "
             "end\nreturn M",
             policy_head, body);
    struct policy *policy = fixture_policy(&f, fixture_script(&f, text));
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(pick_of(policy, &slot), PICK_BAD);
    }
    fixture_close(&f);
}
END_TEST

/* ---- text that goes out ---- */

static void read_text(int descriptor, char *text, size_t bytes) {
    ssize_t length = pread(descriptor, text, bytes - 1, 0);
    ck_assert_int_gt(length, 0);
    ck_assert_uint_lt((size_t)length, bytes - 1);
    text[length] = '\0';
}

static void assert_plain(const char *text, uint32_t lines) {
    for (; *text != '\0'; text++) {
        ck_assert_msg(*text == '\n' || ((unsigned char)*text >= ' ' && *text != 127),
                      "a control character: %d", *text);
        lines -= *text == '\n';
    }
    ck_assert_uint_eq(lines, 0);
}

/* Before the log runs, lines go straight to stderr. */
START_TEST(what_a_script_logs_is_one_line_each) {
    static char text[16384];
    struct slot *slot = NULL;
    fixture_open(&f, 3, NULL);
    struct policy *policy = fixture_policy(
        &f, policy_script("local a = require 'alacrity' print('a\\nb\\r', '\\27[2J', 'c')\n"
                          "a.log.error('\\0hidden') a.log.info('\\7\\8%s%n') "
                          "a.log.warning(('x'):rep(1e6)) return pool[1]"));
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    char path[] = "/tmp/alacrity-test-log-XXXXXX";
    int file = mkstemp(path), kept = dup(STDERR_FILENO);
    ck_assert(file >= 0 && kept >= 0 && unlink(path) == 0);
    ck_assert_int_eq(dup2(file, STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(pick_of(policy, &slot), PICK_BACKEND);
    ck_assert_int_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    read_text(file, text, sizeof(text));
    assert_plain(text, 4);
    ck_assert_ptr_nonnull(strstr(text, "a\\nb"));
    close(file);
    close(kept);
    fixture_close(&f);
}
END_TEST

START_TEST(what_is_said_of_a_script_is_one_line_each) {
    fixture_open(&f, 3, NULL);
    ck_assert_ptr_null(fixture_policy(&f, fixture_script(&f, "error('a\\nb\\27[2J\\8\\127c')")));
    assert_plain(fixture_said(&f), 1);
    ck_assert_uint_eq(f.messages.count, 1);
    fixture_close(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("answers");
    TCase *cases = tcase_create("answers");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, a_backend_of_another_pool_or_of_none_is_a_bad_answer);
    tcase_add_test(cases, a_number_that_looks_like_an_address_is_judged_like_a_backend);
    tcase_add_test(cases, a_part_that_shrinks_under_way_holds_no_hole);
    tcase_add_loop_test(cases, an_object_of_the_library_is_a_bad_answer, 0,
                        sizeof(other_answers) / sizeof(other_answers[0]));
    tcase_add_test(cases, what_a_script_logs_is_one_line_each);
    tcase_add_test(cases, what_is_said_of_a_script_is_one_line_each);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
