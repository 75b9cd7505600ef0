/* alacrity.every, after and spawn: on a worker's host and on control's, over a loop of the test's
 * own. What a timer does is seen in a shared dictionary. */
#include "lua/rebuild.h"
#include "pool/shared.h"
#include "runtime_stage.h"

static void open_worker(void) {
    stage_open();
    scripting->host_free(f.host);
    f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
    ck_assert_ptr_nonnull(f.host);
}

static void close_stage(void) {
    stage_close();
}

/* What stands under the key of the dictionary t; 0: nothing. */
static double value(const char *key) {
    static struct alacrity_shared_value got;
    struct shared *shared = arena_shared(f.arena);
    struct shared_key wanted = {.dictionary = (uint32_t)shared_dictionary(shared, "t", 1),
                                .bytes = key,
                                .length = (uint32_t)strlen(key)};
    shared_get(shared, &wanted, 0, &got);
    return got.type == SHARED_NUMBER ? got.number : 0;
}

/* A policy: what `new` does first, and what a pick does. */
static struct policy *policy_of(const char *in_new, const char *in_pick) {
    char text[4096];
    snprintf(text, sizeof(text),
             "local alacrity = require 'alacrity' local t = alacrity.shared('t')\n"
             "return {api = 1, kind = 'policy', name = 'mine', new = function()\n"
             "%s\nreturn {pick = function(self, ctx, pool)\n%s\nreturn pool[1] end} end}",
             in_new, in_pick);
    return fixture_policy(&f, fixture_script(&f, text));
}

static struct policy *good_policy(const char *in_new, const char *in_pick) {
    struct policy *policy = policy_of(in_new, in_pick);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    return policy;
}

static enum pick_answer pick(struct policy *policy) {
    struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1}, .client = "192.0.2.7", .listener = "web"};
    struct slot *slot;
    view_prepare(&f.view, NULL, 0);
    return scripting->policy_pick(policy, &ctx, &slot);
}

static void start(void) {
    ev_now_update(loop);
    scripting->host_start(f.host, loop);
}

/* Turns the loop for that long. */
static void pass(double seconds) {
    struct ev_timer timer;
    stage_timed_out = false;
    ev_now_update(loop);
    ev_timer_init(&timer, stage_on_timeout, seconds, 0.);
    ev_timer_start(loop, &timer);
    while (!stage_timed_out) {
        ev_run(loop, EVRUN_ONCE);
    }
}

/* ---- on a worker ---- */

START_TEST(every_repeats_and_after_does_not) {
    good_policy("alacrity.every(0.02, function() t:incr('every') end)\n"
                "alacrity.after(0.01, function() t:incr('after') end)\n"
                "alacrity.spawn(function() t:incr('spawn') end)",
                "");
    pass(0.1);
    ck_assert(value("every") == 0 && value("spawn") == 0); /* not on the builder */
    start();
    await(value("spawn") == 1);
    await(value("every") >= 5);
    ck_assert(value("after") == 1 && value("spawn") == 1);
}
END_TEST

START_TEST(they_may_be_made_while_the_script_serves) {
    struct policy *policy =
        good_policy("", "alacrity.after(0, function() t:incr('picked')\n"
                        "alacrity.after(0, function() t:incr('nested') end) end)");
    start();
    ck_assert_int_eq(pick(policy), PICK_BACKEND);
    ck_assert_int_eq(pick(policy), PICK_BACKEND);
    await(value("nested") == 2);
    ck_assert(value("picked") == 2); /* the trial pick made none */
}
END_TEST

START_TEST(they_can_be_ended) {
    good_policy("local stop = alacrity.every(0.01, function() t:incr('never') end) stop() stop()\n"
                "local self_stop n = 0 self_stop = alacrity.every(0.01, function()\n"
                "n = n + 1 t:set('three', n) if n == 3 then self_stop() end end)\n"
                "local once = alacrity.after(0.05, function() t:incr('never') end)\n"
                "alacrity.after(0.02, function() once() end)\n"
                "local late late = alacrity.after(0, function() late() t:incr('late') end)",
                "");
    start();
    await(value("three") == 3);
    pass(0.15);
    ck_assert(value("three") == 3 && value("never") == 0 && value("late") == 1);
    ck_assert(list_is_empty(&f.host->states->timers));
}
END_TEST

static void stop_host(void) {
    scripting->host_stop(f.host);
}

static void retire_host(void) {
    scripting->host_retire(f.host);
}

/* As in a simulation, and on a worker that is not wanted any more. */
static void start_without_a_loop(void) {
    scripting->host_stop(f.host);
    scripting->host_start(f.host, NULL);
}

START_TEST(they_end_with_their_host) {
    static void (*const ends[])(void) = {stop_host, retire_host, start_without_a_loop};
    struct policy *policy = good_policy("alacrity.every(0.01, function() t:incr('n') end)",
                                        "alacrity.every(0.01, function() t:incr('late') end)");
    start();
    await(value("n") >= 2);
    ends[_i]();
    double n = value("n");
    for (int i = 0; i < 100; i++) { /* sessions that began before may still ask */
        ck_assert_int_eq(pick(policy), PICK_BACKEND);
    }
    pass(0.1);
    ck_assert(value("n") == n && value("late") == 0);
}
END_TEST

START_TEST(they_end_with_their_policy) {
    struct policy *one = good_policy("alacrity.every(0.01, function() t:incr('one') end)", "");
    (void)good_policy("alacrity.every(0.01, function() t:incr('two') end)", "");
    start();
    await(value("one") >= 2 && value("two") >= 2);
    scripting->policy_stop(one);
    double n = value("one");
    await(value("two") >= 10);
    ck_assert(value("one") == n);
}
END_TEST

START_TEST(an_error_is_counted_and_the_timer_goes_on) {
    good_policy("alacrity.every(0.01, function() t:incr('n') error('on purpose') end)\n"
                "alacrity.after(0, function() error({}) end)",
                "");
    start();
    await(value("n") >= 3);
    ck_assert_uint_ge(stage_errors(), 3);
    ck_assert_str_eq(stage_last_error(), "./mine.lua:3: on purpose");
    ck_assert_int_eq(lua_gettop(f.host->states->lua), 0);
}
END_TEST

static const struct {
    const char *in_new, *message;
} mistakes[] = {
    {"alacrity.every()", "alacrity.every(): seconds must be a number from 0.01"},
    {"alacrity.every(0, print)", "alacrity.every(): seconds must be a number from 0.01"},
    {"alacrity.every(0.009, print)", "alacrity.every(): seconds must be a number from 0.01"},
    {"alacrity.every(0/0, print)", "alacrity.every(): seconds must be a number from 0.01"},
    {"alacrity.every('1', print)", "alacrity.every(): seconds must be a number from 0.01"},
    {"alacrity.every(1e9, print)", "alacrity.every(): seconds must be a number from 0.01"},
    {"alacrity.after(-1, print)", "alacrity.after(): seconds must be a number from 0 to"},
    {"alacrity.every(1)", "alacrity.every(): what to do must be a function"},
    {"alacrity.after(1, 'print')", "alacrity.after(): what to do must be a function"},
    {"alacrity.spawn({})", "alacrity.spawn(): what to do must be a function"},
    {"for i = 1, 65 do alacrity.every(1, print) end", "an instance has at most 64"},
};

START_TEST(mistakes_are_told_with_their_line) {
    ck_assert_ptr_null(policy_of(mistakes[_i].in_new, ""));
    fixture_assert_says(&f, "./mine.lua:3: ");
    fixture_assert_says(&f, mistakes[_i].message);
}
END_TEST

START_TEST(none_is_made_at_the_top_of_a_script) {
    ck_assert_ptr_null(fixture_policy(
        &f, fixture_script(&f, "\nrequire('alacrity').every(1, print)\n"
                               "return {api = 1, kind = 'policy', name = 'x', new = print}")));
    fixture_assert_says(&f, "./mine.lua:2: alacrity.every(): write it in `new`");
}
END_TEST

START_TEST(each_instance_has_its_own_bound) {
    struct script_use use = fixture_script(
        &f,
        "local alacrity = require 'alacrity' local t = alacrity.shared('t')\n"
        "return {api = 1, kind = 'policy', name = 'mine', new = function()\n"
        "for i = 1, 60 do alacrity.every(1000, print) end\n"
        "return {pick = function(self, ctx, pool)\n"
        "t:incr(pcall(alacrity.every, 1000, print) and 'ok' or 'full') return pool[1] end} end}");
    struct policy *one = fixture_policy(&f, use), *two = fixture_policy(&f, use);
    ck_assert(one != NULL && two != NULL);
    start();
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(pick(one), PICK_BACKEND);
        ck_assert_int_eq(pick(two), PICK_BACKEND);
    }
    ck_assert(value("ok") == 8 && value("full") == 4);
}
END_TEST

/* The pause is counted from the end of the turn, however long that ran. */
static const char pausing[] =
    "local ended least = nil\n"
    "alacrity.every(0.05, function() local began = alacrity.now()\n"
    "if ended then least = math.min(least or 1, began - ended) t:set('least', least) end\n"
    "while alacrity.now() - began < 0.06 do end\n"
    "t:incr('turns') ended = alacrity.now() end)";

START_TEST(a_turn_that_runs_for_long_does_not_shorten_the_pause) {
    good_policy(pausing, "");
    start();
    await(value("turns") >= 5);
    ck_assert_double_ge(value("least"), 0.049);
}
END_TEST

/* ---- a state that is lost ---- */

static bool keep_mail;
static struct script_mail *kept;

static void post(void *argument, struct script_mail *mail) {
    (void)argument;
    mail->at_builder(mail);
    if (keep_mail) {
        kept = mail;
    } else {
        mail->at_owner(mail);
    }
}

static const struct script_post way = {.post = post};

static void lose(struct script *script) {
    script->vm->lost = true;
    rebuild_begin(script, "timer", false);
}

START_TEST(a_new_state_has_new_timers) {
    f.host->post = &way;
    keep_mail = false;
    struct policy *policy = good_policy("alacrity.every(0.01, function() t:incr('n') end)",
                                        "alacrity.every(0.01, function() t:incr('of a pick') end)");
    start();
    ck_assert_int_eq(pick(policy), PICK_BACKEND);
    await(value("n") >= 2 && value("of a pick") >= 1);
    lose(f.host->scripts);
    ck_assert(!f.host->states->resting);
    double n = value("n"), of_a_pick = value("of a pick");
    pass(0.2);
    /* One timer of the new instance, which makes at most one turn in 10 ms; the pick's is gone. */
    ck_assert(value("n") > n && value("n") <= n + 21 && value("of a pick") == of_a_pick);
}
END_TEST

/* What ends while the builder has the state does not begin again when it comes back. */
START_TEST(a_state_that_comes_back_too_late_begins_nothing) {
    f.host->post = &way;
    keep_mail = true;
    struct policy *policy = good_policy("alacrity.every(0.01, function() t:incr('n') end)", "");
    start();
    await(value("n") >= 2);
    lose(f.host->scripts);
    double n = value("n");
    if (_i == 0) {
        scripting->policy_stop(policy);
    } else {
        scripting->host_stop(f.host);
    }
    kept->at_owner(kept);
    pass(0.1);
    ck_assert(value("n") == n);
}
END_TEST

/* A shadow may be promoted while the builder has its state: its timers are not touched before. */
START_TEST(a_host_that_begins_while_a_state_is_made_anew_waits_for_it) {
    f.host->post = &way;
    keep_mail = true;
    struct policy *policy = good_policy("alacrity.every(0.01, function() t:incr('n') end)", "");
    lose(f.host->scripts);
    start();
    pass(0.05);
    ck_assert(value("n") == 0);
    ck_assert_int_eq(pick(policy), PICK_RESTING);
    kept->at_owner(kept);
    await(value("n") >= 2);
    ck_assert_int_eq(pick(policy), PICK_BACKEND);
}
END_TEST

/* ... and there is nothing to touch when it could not be made. */
START_TEST(a_host_that_begins_without_a_state_serves_nobody) {
    f.host->post = &way;
    keep_mail = false;
    struct policy *policy = good_policy("alacrity.every(0.01, function() t:incr('n') end)\n"
                                        "if t:get('broken') then error('not again') end",
                                        "t:set('broken', true)");
    start();
    ck_assert_int_eq(pick(policy), PICK_BACKEND);
    scripting->host_stop(f.host);
    lose(f.host->scripts);
    double n = value("n");
    start();
    pass(0.05);
    ck_assert(value("n") == n);
    ck_assert_int_eq(pick(policy), PICK_OUT);
}
END_TEST

/* ---- on control ---- */

static struct check *check_with(const char *in_new, const char *in_check) {
    char text[4096];
    snprintf(text, sizeof(text),
             "local alacrity, net = require 'alacrity', require 'alacrity.net'\n"
             "local t = alacrity.shared('t')\n"
             "return {api = 1, kind = 'check', name = 'mine', new = function()\n"
             "%s\nreturn {check = function(self, backend)\n%s\nreturn 'up', '' end} end}",
             in_new, in_check);
    return check_using(fixture_script(&f, text));
}

START_TEST(on_control_they_may_wait) {
    (void)check_with("alacrity.every(0.01, function() t:incr('begun') net.sleep(0.03)\n"
                     "t:incr('slept') end)\n"
                     "alacrity.spawn(function() for i = 1, 3 do net.sleep(0.02) t:incr('loop') end "
                     "end)",
                     "");
    pass(0.05);
    ck_assert(value("begun") == 0);
    start();
    await(value("slept") >= 3 && value("loop") == 3);
    ck_assert(value("begun") - value("slept") <= 1); /* one turn at a time */
}
END_TEST

START_TEST(on_control_the_pause_is_as_long) {
    (void)check_with(pausing, "");
    start();
    await(value("turns") >= 5);
    ck_assert_double_ge(value("least"), 0.049);
}
END_TEST

START_TEST(on_control_they_reach_servers_and_leave_nothing_open) {
    char in_new[512];
    uint32_t before = descriptors_open();
    snprintf(in_new, sizeof(in_new),
             "alacrity.every(0.01, function() local s = assert(net.connect('%s')) s:send('x')\n"
             "t:incr('sent') if t:get('sent') > 1 then s:receive_line() end end)",
             server.text);
    (void)check_with(in_new, "");
    start();
    await(server.count == 2 && peer_got(&server.peers[1], "x"));
    await(server.peers[0].ended);
    ck_assert(!server.peers[1].ended);
    scripting->host_stop(f.host); /* while it waits for a line that never comes */
    await(server.peers[1].ended);
    peer_close(&server.peers[0]);
    peer_close(&server.peers[1]);
    ck_assert_uint_eq(descriptors_open(), before);
    pass(0.05);
    ck_assert_uint_eq(server.count, 2);
}
END_TEST

START_TEST(a_check_may_spawn_what_outlives_it) {
    struct asked asked;
    struct check *check =
        check_with("", "alacrity.spawn(function() net.sleep(0.02) t:incr('later') end)");
    start();
    ask(&asked, check);
    assert_answered(&asked, CHECK_UP, "");
    ck_assert(value("later") == 0);
    await(value("later") == 1);
}
END_TEST

START_TEST(on_control_errors_are_counted_and_lost_states_begin_anew) {
    f.host->post = &way;
    keep_mail = false;
    (void)check_with("alacrity.every(0.01, function() t:incr('n') net.sleep(0.01) error('x') end)",
                     "");
    start();
    await(value("n") >= 2);
    await(stage_errors() >= 2);
    ck_assert_str_eq(stage_last_error(), "./mine.lua:4: x");
    lose(f.host->scripts);
    double n = value("n");
    await(value("n") >= n + 3);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("timers");
    TCase *worker = tcase_create("worker"), *control = tcase_create("control");
    tcase_add_checked_fixture(worker, open_worker, close_stage);
    tcase_add_test(worker, every_repeats_and_after_does_not);
    tcase_add_test(worker, they_may_be_made_while_the_script_serves);
    tcase_add_test(worker, they_can_be_ended);
    tcase_add_loop_test(worker, they_end_with_their_host, 0, 3);
    tcase_add_test(worker, they_end_with_their_policy);
    tcase_add_test(worker, an_error_is_counted_and_the_timer_goes_on);
    tcase_add_loop_test(worker, mistakes_are_told_with_their_line, 0,
                        sizeof(mistakes) / sizeof(mistakes[0]));
    tcase_add_test(worker, none_is_made_at_the_top_of_a_script);
    tcase_add_test(worker, each_instance_has_its_own_bound);
    tcase_add_test(worker, a_turn_that_runs_for_long_does_not_shorten_the_pause);
    tcase_add_test(worker, a_new_state_has_new_timers);
    tcase_add_loop_test(worker, a_state_that_comes_back_too_late_begins_nothing, 0, 2);
    tcase_add_test(worker, a_host_that_begins_while_a_state_is_made_anew_waits_for_it);
    tcase_add_test(worker, a_host_that_begins_without_a_state_serves_nobody);
    tcase_add_checked_fixture(control, stage_open, close_stage);
    tcase_add_test(control, on_control_they_may_wait);
    tcase_add_test(control, on_control_the_pause_is_as_long);
    tcase_add_test(control, on_control_they_reach_servers_and_leave_nothing_open);
    tcase_add_test(control, a_check_may_spawn_what_outlives_it);
    tcase_add_test(control, on_control_errors_are_counted_and_lost_states_begin_anew);
    tcase_set_timeout(worker, 60);
    tcase_set_timeout(control, 60);
    suite_add_tcase(suite, worker);
    suite_add_tcase(suite, control);
    return run_suite(suite);
}
