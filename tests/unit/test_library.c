/* The scripts' library as scripts see it: what is asked of it in a pick, what it refuses and when,
 * and that a script stopped in the middle of it harms nobody. */
#include <check.h>
#include <math.h>

#include "lua/watchdog.h"
#include "pool/metrics.h"
#include "pool/shared.h"
#include "script_fixture.h"
#include "suite.h"

static struct fixture f;

static void open_fixture(void) {
    fixture_open(&f, 3, NULL);
}

static void close_fixture(void) {
    fixture_close(&f);
}

/* A policy that runs `body` in every pick but the trial, after `head` in its main chunk. */
static struct policy *policy_of(struct fixture *in, const char *head, const char *body) {
    char text[8192];
    snprintf(text, sizeof(text),
             "local alacrity = require 'alacrity' %s\n"
             "return {api = 1, kind = 'policy', name = 'mine', new = function(cfg)\n"
             "return {pick = function(self, ctx, pool)\n"
             "if ctx.listener == 'trial' then return pool[1] end\n"
             "%s\nreturn pool[1] end} end}",
             head, body);
    return fixture_policy(in, fixture_script(in, text));
}
#define BODY_LINE "5" /* where it begins */

static enum pick_answer ask(struct policy *policy) {
    struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1, .client_hash = 7}, .client = "192.0.2.7", .listener = "web"};
    struct slot *slot;
    return scripting->policy_pick(policy, &ctx, &slot);
}

static const char *last_error(void) {
    static struct script_info info;
    ck_assert(scripting->host_script(f.host, 0, &info));
    return info.last_error;
}

/* Runs it once on a host that is in use. */
static enum pick_answer run(const char *body) {
    struct policy *policy = policy_of(&f, "local d = alacrity.shared('d')", body);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    scripting->host_start(f.host, NULL);
    return ask(policy);
}

#define ck_assert_runs(body) ck_assert_msg(run(body) == PICK_BACKEND, "%s", last_error())

static void assert_refused(const char *body, const char *message) {
    ck_assert_int_eq(run(body), PICK_ERROR);
    ck_assert_msg(strstr(last_error(), "./mine.lua:" BODY_LINE ": ") == last_error() &&
                      strstr(last_error(), message) != NULL,
                  "%s: %s", body, last_error());
}

/* ---- shared ---- */

START_TEST(values_keep_their_type_and_precision) {
    ck_assert_runs(
        "for key, value in pairs {n = 0.1, z = -1e300, b = true, c = false, s = 'text',\n"
        "e = '', [1] = 1, [0.5] = 'half', [-1e9] = 2^53, ['1'] = 'one',\n"
        "['nul\\0nul'] = 'a\\0b', inf = math.huge} do\n"
        "assert(d:get(key) == nil) d:set(key, value) assert(d:get(key) == value) end\n"
        "assert(d:get(1) == 1 and d:get('1') == 'one' and d:count() == 12)\n"
        "local long = ('x'):rep(65536) d:set(('k'):rep(250), long)\n"
        "assert(d:get(('k'):rep(250)) == long)");
}
END_TEST

START_TEST(the_operations) {
    ck_assert_runs(
        "assert(d:add('a', 1) == true and d:add('a', 2) == false and d:get('a') == 1)\n"
        "assert(d:incr('a', 2) == 3 and d:incr('a') == 4 and d:incr('new', 1) == 1)\n"
        "assert(d:incr('from', -1, 10) == 9 and d:incr('from', 0.5, 99) == 9.5)\n"
        "assert(d:delete('a') == true and d:delete('a') == false and d:get('a') == nil)\n"
        "assert(d:ttl('new') == math.huge and d:ttl('a') == nil)\n"
        "d:set('t', 1, 100) local left = d:ttl('t') assert(left > 99 and left <= 100)\n"
        "d:incr('t', 1, 0, 5) assert(d:ttl('t') > 99)\n"
        "d:incr('u', 1, 0, 5) assert(d:ttl('u') <= 5)\n"
        "assert(d:set('t', 1) == nil and d:ttl('t') == math.huge)\n"
        "assert(alacrity.shared('d') == d or alacrity.shared('d'):get('t') == 1)\n"
        "assert(alacrity.shared('other'):get('t') == nil)");
}
END_TEST

START_TEST(what_ran_out_is_gone) {
    struct policy *policy = policy_of(&f, "local d = alacrity.shared('d') local first = true",
                                      "if first then first = false d:set('t', 1, 0.05) "
                                      "assert(d:get('t') == 1) else assert(not d:get('t')) end");
    ck_assert_ptr_nonnull(policy);
    scripting->host_start(f.host, NULL);
    ck_assert_int_eq(ask(policy), PICK_BACKEND);
    usleep(100000);
    ck_assert_msg(ask(policy) == PICK_BACKEND, "%s", last_error());
}
END_TEST

static const struct {
    const char *body, *message;
} refusals[] = {
    {"d:get(nil)", "a shared key must be a string or a number"},
    {"d:get({})", "a shared key must be a string or a number"},
    {"d:set(0/0, 1)", "a shared key must be a string or a number, and not NaN"},
    {"d:incr(('k'):rep(251), 1)", "at most 250 bytes"},
    {"d:set('a', nil)", "a shared value must be"},
    {"d:set('a', {})", "a shared value must be"},
    {"d:set('a', pool)", "a shared value must be"},
    {"d:add('a', print)", "a shared value must be"},
    {"d:set('a', ('x'):rep(65537))", "at most 65536 bytes"},
    {"d:set('a', 1, 0)", "the time to live must be seconds"},
    {"d:set('a', 1, -1)", "the time to live must be seconds"},
    {"d:add('a', 1, 0/0)", "the time to live must be seconds"},
    {"d:incr('a', 1, 0, 1e10)", "the time to live must be seconds"},
    {"d:set('a', 1, '5')", "the time to live must be seconds"},
    {"d:incr('a', '1')", "takes numbers"},
    {"d:incr('a', 1, {})", "takes numbers"},
    {"d:set('a', 'text') d:incr('a', 1)", "the value of this key is no number"},
    {"d:set('a', true) d:incr('a', 1)", "the value of this key is no number"},
    {"d.get('a')", "call the methods of a shared dictionary with a colon"},
    {"d.set(5, 'a', 1)", "call the methods of a shared dictionary with a colon"},
    {"d.count(pool)", "call the methods of a shared dictionary with a colon"},
    {"d.id = 5", ""},
    {"d.get = nil", ""},
    {"alacrity.shared()", "takes a name"},
    {"alacrity.shared('')", "takes a name"},
    {"alacrity.shared(5)", "takes a name"},
    {"alacrity.shared(('n'):rep(64))", "takes a name"},
    {"alacrity.shared('a\\0b')", ""},
    {"for i = 1, 300 do alacrity.shared('n' .. i) end", "too many shared dictionaries"},
};

START_TEST(mistakes_are_told_with_their_line) {
    assert_refused(refusals[_i].body, refusals[_i].message);
}
END_TEST

START_TEST(a_dictionary_cannot_be_forged) {
    /* Whatever a script can make: nothing of it is taken for a dictionary. */
    ck_assert_runs("for _, fake in ipairs {5, 'd', {id = 1}, pool, ctx, pool[1], 5LL, "
                   "setmetatable({}, {__index = d})} do\n"
                   "assert(not pcall(d.get, fake, 'a')) assert(not pcall(d.incr, fake, 'a'))\n"
                   "end\n"
                   "assert(not pcall(function() return d(7) end))\n"
                   "assert(not pcall(function() return d + 1 end))\n"
                   "assert(not pcall(function() return #d end))\n"
                   "assert(getmetatable(d) ~= nil and type(getmetatable(d)) ~= 'table')\n"
                   "assert(not pcall(require, 'alacrity.inner.shared'))\n"
                   "assert(not pcall(require, 'alacrity.inner/shared'))");
}
END_TEST

/* What changes something is refused before the trial; looking is allowed. */
static const char *const changes[] = {"d:set('a', 1)", "d:add('a', 1)", "d:incr('a', 1)",
                                      "d:delete('a')"};

START_TEST(nothing_is_changed_before_the_trial) {
    const char *change = changes[_i];
    char text[2048];
    for (int place = 0; place < 2; place++) {
        messages_free(&f.messages);
        f.messages = (struct messages){0};
        snprintf(text, sizeof(text),
                 "local d = require('alacrity').shared('d') assert(d:get('a') == nil)\n"
                 "%s\nreturn {api = 1, kind = 'policy', name = 'mine', new = function()\n"
                 "%s\nreturn {pick = function(self, ctx, pool) return pool[1] end} end}",
                 place == 0 ? change : "", place == 1 ? change : "");
        ck_assert_ptr_null(fixture_policy(&f, fixture_script(&f, text)));
        fixture_assert_says(&f, "only when the script serves");
        fixture_assert_says(&f, place == 0 ? "./mine.lua:2: " : "./mine.lua:4: ");
    }
    ck_assert_uint_eq(shared_count(arena_shared(f.arena), 0), 0);
}
END_TEST

START_TEST(a_trial_is_answered_but_changes_nothing) {
    struct shared_key key = {.bytes = "old", .length = 3};
    struct shared_value value = {.type = SHARED_NUMBER, .number = 5};
    ck_assert_int_eq(shared_dictionary(arena_shared(f.arena), "d", 1), 0);
    shared_set(arena_shared(f.arena), &key, &value, 0, 0);
    struct policy *policy =
        fixture_pick(&f, "local d = require('alacrity').shared('d')\n"
                         "if ctx.listener ~= 'trial' then error('again') end\n"
                         "assert(d:incr('new', 2, 7) == 9 and d:incr('new', 2, 7) == 9)\n"
                         "assert(d:incr('old', 1, 7) == 6 and d:get('old') == 5)\n"
                         "d:set('new', 'x') assert(d:get('new') == nil and d:add('new', 1))\n"
                         "assert(not d:add('old', 1) and d:delete('old') and d:get('old') == 5)\n"
                         "assert(not d:delete('new')) return pool[1]");
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    ck_assert_uint_eq(shared_count(arena_shared(f.arena), 0), 1);
}
END_TEST

START_TEST(states_see_the_same_and_a_new_state_finds_it) {
    struct script_host *other =
        scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 1, &f.messages);
    struct policy *mine = policy_of(&f, "local d = alacrity.shared('d')", "d:incr('n')");
    scripting->host_start(f.host, NULL);
    struct script_host *own = f.host;
    f.host = other;
    struct policy *its = policy_of(&f, "local d = alacrity.shared('d')", "d:incr('n')");
    scripting->host_start(f.host, NULL);
    for (int i = 0; i < 1000; i++) { /* often enough for the JIT */
        ck_assert_int_eq(ask(mine), PICK_BACKEND);
        ck_assert_int_eq(ask(its), PICK_BACKEND);
    }
    f.host = own;
    scripting->host_free(other);
    ck_assert_runs("assert(d:get('n') == 2000)");
}
END_TEST

START_TEST(it_works_without_the_jit) {
    f.snapshot.lua.jit = false;
    ck_assert_runs("for i = 1, 1000 do d:incr(i % 10) d:set('s', 'x' .. i) end\n"
                   "assert(d:get(3) == 100 and d:get('s') == 'x1000' and d:count() == 11)");
}
END_TEST

/* ---- counters, gauges, histograms ---- */

/* Of the series of that name, or -1. */
static double shown(const char *name, uint32_t value) {
    struct metric_sum sum;
    for (uint32_t i = 0; i < METRICS; i++) {
        if (metrics_sum(f.arena, i, &sum) && strcmp(sum.metric.name, name) == 0) {
            return sum.values[value];
        }
    }
    return -1;
}

#define MAKE_THREE                                                                                 \
    "local hits = alacrity.counter('hits', 'Hits.')\n"                                             \
    "local size = alacrity.gauge('size', nil, {zone = 'a', kind = 'x'})\n"                         \
    "local wait = alacrity.histogram('wait_seconds', {0.1, 1}, 'Waiting.')"

START_TEST(what_a_script_counts_is_seen) {
    struct policy *policy =
        policy_of(&f, MAKE_THREE,
                  "hits:add() hits:add(2.5) size:set(7) size:add(-0.5) wait:observe(0.05)\n"
                  "wait:observe(5) if ctx.attempt == 2 then hits:add(1) end");
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    arena_use_workers(f.arena, 1);
    scripting->host_start(f.host, NULL);
    for (int i = 0; i < 1000; i++) { /* often enough for the JIT */
        ck_assert_msg(ask(policy) == PICK_BACKEND, "%s", last_error());
    }
    ck_assert_double_eq(shown("hits", 0), 3500);
    ck_assert_double_eq(shown("size", 0), 6.5);
    ck_assert_double_eq(shown("wait_seconds", 0), 1000);
    ck_assert_double_eq(shown("wait_seconds", 1), 0);
    ck_assert_double_eq(shown("wait_seconds", 2), 1000);
    ck_assert(fabs(shown("wait_seconds", 3) - 5050) < 1e-6);
    struct metric_sum sum;
    ck_assert(metrics_sum(f.arena, 1, &sum));
    ck_assert_str_eq(sum.metric.labels[0].name, "kind"); /* sorted */
    ck_assert_str_eq(sum.metric.labels[1].value, "a");
}
END_TEST

START_TEST(a_trial_is_not_counted) {
    struct policy *policy =
        fixture_policy(&f, fixture_script(&f, "local hits = require('alacrity').counter('hits')\n"
                                              "return {api = 1, kind = 'policy', name = 'mine',\n"
                                              "new = function() return {pick = function(_, _, p)\n"
                                              "hits:add() return p[1] end} end}"));
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    arena_use_workers(f.arena, 1);
    ck_assert_double_eq(shown("hits", 0), 0);
    scripting->host_start(f.host, NULL);
    (void)ask(policy);
    ck_assert_double_eq(shown("hits", 0), 1);
}
END_TEST

START_TEST(the_next_version_counts_on) {
    arena_use_workers(f.arena, 1);
    for (int version = 1; version <= 3; version++) {
        struct script_host *previous = f.host;
        f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
        struct policy *policy =
            policy_of(&f, MAKE_THREE " hits = alacrity.counter('hits')", "hits:add(1)");
        ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
        scripting->host_start(f.host, NULL);
        scripting->host_free(previous);
        arena_sweep(f.arena);
        (void)ask(policy);
        ck_assert_double_eq(shown("hits", 0), version);
        ck_assert_uint_eq(metrics_count(f.arena), 3);
    }
    scripting->host_free(f.host);
    arena_sweep(f.arena);
    ck_assert_uint_eq(metrics_count(f.arena), 0);
    f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
}
END_TEST

static const struct {
    const char *head, *message;
} bad_metrics[] = {
    {"alacrity.counter()", "alacrity.counter(): the name must be a string"},
    {"alacrity.gauge({})", "alacrity.gauge(): the name must be a string"},
    {"alacrity.counter('Bad')", "alacrity.counter(): a name consists of a-z, 0-9 and _"},
    {"alacrity.counter('calls')", "the name belongs to Alacrity itself"},
    {"alacrity.counter('x_total')", "a name does not end with _total"},
    {"alacrity.counter('x', 5)", "help is a string of at most 127 bytes"},
    {"alacrity.counter('x', ('h'):rep(128))", "help is a string of at most 127 bytes"},
    {"alacrity.counter('x', nil, 'zone')", "labels must be a table"},
    {"alacrity.counter('x', nil, {'zone'})", "labels must be a table"},
    {"alacrity.counter('x', nil, {le = 'a'})", "no label is called le"},
    {"alacrity.counter('x', nil, {zone = 5})", "the value of a label is a string"},
    {"alacrity.counter('x', nil, {zone = ('v'):rep(64)})", "the value of a label is a string"},
    {"alacrity.counter('x', nil, {a='', b='', c='', d='', e=''})", "at most 4 labels"},
    {"alacrity.histogram('x')", "buckets must be a list"},
    {"alacrity.histogram('x', {})", "buckets must be a list"},
    {"alacrity.histogram('x', {1, 1})", "buckets must be a list"},
    {"alacrity.histogram('x', {2, 1})", "buckets must be a list"},
    {"alacrity.histogram('x', {1, 0/0})", "buckets must be a list"},
    {"alacrity.histogram('x', {'1'})", "buckets must be a list"},
    {"local t = {} for i = 1, 31 do t[i] = i end alacrity.histogram('x', t)",
     "buckets must be a list"},
    {"alacrity.counter('x') alacrity.gauge('x')",
     "alacrity.gauge(): there is a counter of this name already"},
    {"alacrity.counter('x', '', {a = ''}) alacrity.counter('x')", "with other labels"},
    {"alacrity.histogram('x', {1}) alacrity.histogram('x', {2})", "with other buckets"},
    {"for i = 1, 600 do alacrity.counter('c' .. i) end", "at most 512 series are kept"},
    {"alacrity.counter('x'):add(1)", "a script counts only when it serves"},
    {"alacrity.gauge('x'):set(1)", "a script counts only when it serves"},
    {"alacrity.histogram('x', {1}):observe(1)", "a script counts only when it serves"},
};

START_TEST(bad_metrics_are_refused_with_their_line) {
    char head[512], expected[512];
    for (int in_new = 0; in_new < 2; in_new++) {
        messages_free(&f.messages);
        f.messages = (struct messages){0};
        snprintf(head, sizeof(head),
                 "local alacrity = require 'alacrity'\n%s\nreturn {api = 1, kind = 'policy',\n"
                 "name = 'mine', new = function()\n%s\nend}",
                 in_new ? "" : bad_metrics[_i].head, in_new ? bad_metrics[_i].head : "");
        ck_assert_ptr_null(fixture_policy(&f, fixture_script(&f, head)));
        snprintf(expected, sizeof(expected), "./mine.lua:%d: ", in_new ? 5 : 2);
        fixture_assert_says(&f, expected);
        fixture_assert_says(&f, bad_metrics[_i].message);
    }
}
END_TEST

static const struct {
    const char *body, *message;
} bad_counts[] = {
    {"hits:add(-1)", "takes a number that is not negative"},
    {"hits:add(0/0)", "takes a number that is not negative"},
    {"hits:add(math.huge)", "takes a number that is not negative"},
    {"hits:add('1')", "takes a number that is not negative"},
    {"hits.add(1)", "with a colon"},
    {"hits.add(size, 1)", "with a colon"},
    {"size:set()", "takes a number"},
    {"size:set(0/0)", "takes a number"},
    {"size:add({})", "takes a number"},
    {"size.set(hits, 1)", "with a colon"},
    {"wait:observe('x')", "takes a number"},
    {"wait.observe(pool, 1)", "with a colon"},
    {"hits.id = 3", ""},
    {"hits:set(3)", ""},
    {"alacrity.counter('late')", "write it at the top of the script or in `new`"},
    {"alacrity.histogram('late', {1})", "write it at the top of the script or in `new`"},
};

START_TEST(bad_counts_are_told_with_their_line) {
    struct policy *policy = policy_of(&f,
                                      "local hits, size, wait = alacrity.counter('hits'), "
                                      "alacrity.gauge('size'), alacrity.histogram('w', {1})",
                                      bad_counts[_i].body);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    scripting->host_start(f.host, NULL);
    ck_assert_int_eq(ask(policy), PICK_ERROR);
    ck_assert_msg(strstr(last_error(), "./mine.lua:" BODY_LINE ": ") == last_error() &&
                      strstr(last_error(), bad_counts[_i].message) != NULL,
                  "%s", last_error());
}
END_TEST

START_TEST(none_is_made_in_the_trial) {
    ck_assert_ptr_null(fixture_pick(&f, "require('alacrity').counter('late') return pool[1]"));
    fixture_assert_says(&f, "write it at the top of the script or in `new`");
    ck_assert_uint_eq(metrics_count(f.arena), 0);
}
END_TEST

/* ---- stopped in the middle of it ---- */

static const char *const endless[] = {
    "while true do d:incr('n') end",
    "while true do d:set('s', ('x'):rep(30000)) end",
    "local i = 0 while true do i = i + 1 d:set(i, 'y') d:get(i - 1) d:delete(i - 2) end",
    "while true do pcall(d.set, d, 's', {}) d:get('s') end",
};

#define STOPS 16

static void *be_stopped(void *argument) {
    static struct fixture own[2]; /* f is large */
    struct fixture *in = &own[argument == NULL];
    *in = f;
    in->messages = (struct messages){0};
    in->snapshot.lua.pick_budget_ms = 1;
    uintptr_t stopped = 0;
    for (int i = 0; i < STOPS; i++) {
        in->scripts = (uint32_t)(1000 + 100 * (argument == NULL) + i);
        in->host = scripting->host_new(&in->snapshot, in->arena, NULL, NULL, 0, &in->messages);
        struct policy *policy = policy_of(in, "local d = alacrity.shared('d')", endless[i % 4]);
        if (policy != NULL) {
            scripting->host_start(in->host, NULL);
            stopped += ask(policy) == PICK_STOPPED;
        }
        scripting->host_free(in->host);
    }
    messages_free(&in->messages);
    return (void *)stopped;
}

START_TEST(a_script_stopped_in_it_leaves_no_lock_behind) {
    pthread_t threads[2];
    void *stopped;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(watchdog_thread_start(&threads[i], be_stopped, i == 0 ? &f : NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &stopped), 0);
        ck_assert_uint_eq((uintptr_t)stopped, STOPS);
    }
    /* Every shard can be locked, and is whole. */
    f.snapshot.lua.pick_budget_ms = 10000;
    ck_assert_runs("for i = 1, 5000 do d:set('k' .. i, i) end\n"
                   "for i = 1, 5000 do assert(d:get('k' .. i) == i) end");
}
END_TEST

int main(void) {
    char reason[256];
    if (!watchdog_open(reason, sizeof(reason))) {
        printf("the watchdog cannot be proven here: %s\n", reason);
    }
    Suite *suite = suite_create("library");
    TCase *tests = tcase_create("library");
    tcase_add_checked_fixture(tests, open_fixture, close_fixture);
    tcase_add_test(tests, values_keep_their_type_and_precision);
    tcase_add_test(tests, the_operations);
    tcase_add_test(tests, what_ran_out_is_gone);
    tcase_add_loop_test(tests, mistakes_are_told_with_their_line, 0,
                        sizeof(refusals) / sizeof(refusals[0]));
    tcase_add_test(tests, a_dictionary_cannot_be_forged);
    tcase_add_loop_test(tests, nothing_is_changed_before_the_trial, 0,
                        sizeof(changes) / sizeof(changes[0]));
    tcase_add_test(tests, a_trial_is_answered_but_changes_nothing);
    tcase_add_test(tests, states_see_the_same_and_a_new_state_finds_it);
    tcase_add_test(tests, it_works_without_the_jit);
    tcase_add_test(tests, what_a_script_counts_is_seen);
    tcase_add_test(tests, a_trial_is_not_counted);
    tcase_add_test(tests, the_next_version_counts_on);
    tcase_add_loop_test(tests, bad_metrics_are_refused_with_their_line, 0,
                        sizeof(bad_metrics) / sizeof(bad_metrics[0]));
    tcase_add_loop_test(tests, bad_counts_are_told_with_their_line, 0,
                        sizeof(bad_counts) / sizeof(bad_counts[0]));
    tcase_add_test(tests, none_is_made_in_the_trial);
    if (watchdog_is_proven()) {
        tcase_add_test(tests, a_script_stopped_in_it_leaves_no_lock_behind);
    }
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
