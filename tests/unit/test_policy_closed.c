/* on_close, and what a session keeps (ctx:set), as policies see them. */
#include <check.h>

#include "base/values.h"
#include "policy_fixture.h"
#include "suite.h"

static struct values values;

static void open_pool(void) {
    open_with(2, NULL);
}

static void close_pool(void) {
    values_free(&values);
    fixture_close(&f);
}

/* A policy whose `new` is the text; it may use `alacrity`. */
static struct policy *made(const char *new_body) {
    char text[2048];
    snprintf(text, sizeof(text),
             "local alacrity = require 'alacrity'\n"
             "return {api = 1, kind = 'policy', name = 'mine', new = function()\n%s\nend}\n",
             new_body);
    const struct script_use use = fixture_script(&f, text);
    return fixture_policy(&f, use);
}

static struct alacrity_closed_private an_end(void) {
    return (struct alacrity_closed_private){.view = {.attempts = 2,
                                                     .client_hash = 99,
                                                     .client_port = 5555,
                                                     .reason_code = REASON_CLIENT_RESET,
                                                     .duration_ms = 1500,
                                                     .bytes_in = 5e9,
                                                     .bytes_out = 12},
                                            .client = "198.51.100.7",
                                            .listener = "web",
                                            .reason = "client_reset",
                                            .backend = &f.slots[1]->script.view,
                                            .values = &values};
}

static enum pick_answer pick_keeping(struct policy *policy) {
    struct alacrity_ctx_private ctx = a_ctx(1);
    struct slot *slot = NULL;
    ctx.values = &values;
    view_prepare(&f.view, NULL, 0);
    return scripting->policy_pick(policy, &ctx, &slot);
}

static void live(void) {
    scripting->host_start(f.host, NULL);
}

static const char *last_error(void) {
    static struct script_info info;
    ck_assert(scripting->host_script(f.host, 0, &info));
    return info.last_error;
}

START_TEST(it_is_told_everything) {
    struct policy *policy = made(
        "return {pick = function(self, ctx, pool) return pool[1] end,\n"
        "on_close = function(self, closed)\n"
        "if closed.listener == 'trial' then return end\n"
        "assert(closed.attempts == 2 and closed.client_hash == 99 and closed.client_port == 5555)\n"
        "assert(closed.duration_ms == 1500 and closed.bytes_in == 5e9 and closed.bytes_out == 12)\n"
        "assert(closed.client == '198.51.100.7' and closed.listener == 'web')\n"
        "assert(closed.reason == 'client_reset' and closed.backend.name == 'b2')\n"
        "assert(closed:get('n') == nil and closed.no_such == nil)\n"
        "assert(tostring(closed) == 'closed')\n"
        "end}");
    ck_assert_ptr_nonnull(policy);
    ck_assert(scripting->policy_hears(policy));
    live();
    struct alacrity_closed_private end = an_end();
    ck_assert_int_eq(scripting->policy_closed(policy, &end), TOLD);
    end.backend = NULL;
    ck_assert_int_eq(scripting->policy_closed(policy, &end), TOLD_ERROR);
    ck_assert_ptr_nonnull(strstr(last_error(), "field 'backend'"));
}
END_TEST

START_TEST(who_has_none_is_not_told) {
    struct policy *policy = made("return {pick = function(self, ctx, pool) return pool[1] end}");
    const struct alacrity_closed_private end = an_end();
    ck_assert(!scripting->policy_hears(policy));
    ck_assert_int_eq(scripting->policy_closed(policy, &end), TOLD_NOBODY);
}
END_TEST

static const struct {
    const char *on_close, *said;
} refused[] = {
    {"5", "on_close must be a function, or left out"},
    {"function(self, closed) error('always') end", "mine.lua:"},
    {"function(self, closed) closed:set('a', 1) end", "method 'set'"},
    {"function(self, closed) closed.bytes_in = 1 end", "constant location"},
    {"function(self, closed) closed.get({}, 'a') end", "with a colon"},
};

START_TEST(one_that_cannot_work_is_refused) {
    char body[256];
    snprintf(body, sizeof(body), "return {pick = function(s, c, p) return p[1] end, on_close = %s}",
             refused[_i].on_close);
    ck_assert_ptr_null(made(body));
    ck_assert_msg(strstr(fixture_said(&f), refused[_i].said) != NULL, "%s", fixture_said(&f));
}
END_TEST

/* What was kept of a session that is over is empty, not a pointer to what was. */
START_TEST(what_a_script_kept_of_it_is_empty_afterwards) {
    struct policy *policy =
        made("local kept, session\n"
             "return {pick = function(self, ctx, pool)\n"
             "if kept and ctx.listener ~= 'trial' then\n"
             "assert(kept.client == '' and kept.reason == '' and kept.backend == nil)\n"
             "assert(kept:get('a') == nil)\n"
             "end session = ctx return pool[1] end,\n"
             "on_close = function(self, closed) kept = closed\n"
             "if closed.listener ~= 'trial' then\n"
             "assert(session.client == '' and session:get('a') == nil)\n"
             "session:set('a', 1) end end}");
    ck_assert_ptr_nonnull(policy);
    live();
    ck_assert_int_eq(pick_keeping(policy), PICK_BACKEND);
    const struct alacrity_closed_private end = an_end();
    ck_assert_int_eq(scripting->policy_closed(policy, &end), TOLD_ERROR);
    ck_assert_ptr_nonnull(strstr(last_error(), "the session is over"));
    ck_assert_int_eq(pick_keeping(policy), PICK_BACKEND);
}
END_TEST

START_TEST(a_session_keeps_what_a_pick_sets) {
    struct policy *policy =
        made("return {pick = function(self, ctx, pool)\n"
             "assert(ctx:get('text') == (ctx:get('n') and 'a\\0b' or nil))\n"
             "ctx:set('text', 'a\\0b') ctx:set('yes', true) ctx:set('no', false)\n"
             "ctx:set('n', (ctx:get('n') or 0) + 1) ctx:set('gone', 1) ctx:set('gone', nil)\n"
             "return pool[1] end,\n"
             "on_close = function(self, closed)\n"
             "if closed.listener == 'trial' then return end\n"
             "assert(closed:get('n') == 2 and closed:get('text') == 'a\\0b')\n"
             "assert(closed:get('yes') == true and closed:get('no') == false)\n"
             "assert(closed:get('gone') == nil) end}");
    ck_assert_ptr_nonnull(policy);
    live();
    ck_assert_int_eq(pick_keeping(policy), PICK_BACKEND);
    ck_assert_int_eq(pick_keeping(policy), PICK_BACKEND);
    const struct alacrity_closed_private end = an_end();
    ck_assert_int_eq(scripting->policy_closed(policy, &end), TOLD);
    ck_assert_uint_eq(values.count, 4);
}
END_TEST

/* As a shadow: it sees what is kept, and changes nothing. */
START_TEST(before_it_is_live_nothing_is_kept) {
    struct policy *policy = made("return {pick = function(self, ctx, pool)\n"
                                 "ctx:set('a', 2)\n"
                                 "if ctx.listener ~= 'trial' then assert(ctx:get('a') == 1) end\n"
                                 "return pool[1] end}");
    const struct alacrity_value one = {.type = ALACRITY_SHARED_NUMBER, .number = 1};
    ck_assert_ptr_nonnull(policy);
    ck_assert_int_eq(values_set(&values, "a", 1, &one), VALUES_DONE);
    ck_assert_int_eq(pick_keeping(policy), PICK_BACKEND);
    live();
    ck_assert_int_eq(pick_keeping(policy), PICK_ERROR); /* now it is 2 */
}
END_TEST

static const struct {
    const char *call, *said;
} mistakes[] = {
    {"ctx:set(1, 1)", "the key must be a string"},
    {"ctx:set('a b', 1)", "a key must be a name"},
    {"ctx:set('a', {})", "a value must be a number, a string, a boolean"},
    {"ctx:set('a', ('x'):rep(257))", "at most 256 bytes"},
    {"for i = 1, 17 do ctx:set('a' .. i, i) end", "at most 16 values"},
    {"ctx.set({}, 'a', 1)", "with a colon"},
    {"ctx.get(pool, 'a')", "with a colon"},
    {"ctx:get(nil)", "the key must be a string"},
    {"ctx:set('a', ctx)", "a value must be"},
};

START_TEST(mistakes_are_told_with_their_line) {
    char body[256];
    snprintf(body, sizeof(body),
             "return {pick = function(self, ctx, pool)\n"
             "if ctx.listener == 'trial' then return pool[1] end\n%s\nreturn pool[1] end}",
             mistakes[_i].call);
    struct policy *policy = made(body);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    live();
    ck_assert_int_eq(pick_keeping(policy), PICK_ERROR);
    ck_assert_msg(strstr(last_error(), mistakes[_i].said) != NULL, "%s", last_error());
    ck_assert_msg(strstr(last_error(), "mine.lua:5: ") != NULL, "%s", last_error());
}
END_TEST

int main(void) {
    Suite *suite = suite_create("policy_closed");
    TCase *cases = tcase_create("policy_closed");
    tcase_add_checked_fixture(cases, open_pool, close_pool);
    tcase_add_test(cases, it_is_told_everything);
    tcase_add_test(cases, who_has_none_is_not_told);
    tcase_add_loop_test(cases, one_that_cannot_work_is_refused, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(cases, what_a_script_kept_of_it_is_empty_afterwards);
    tcase_add_test(cases, a_session_keeps_what_a_pick_sets);
    tcase_add_test(cases, before_it_is_live_nothing_is_kept);
    tcase_add_loop_test(cases, mistakes_are_told_with_their_line, 0,
                        sizeof(mistakes) / sizeof(mistakes[0]));
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
