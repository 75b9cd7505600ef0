/* alacrity.net, used where it must not be: sockets that are closed, of another run or of none, and
 * waiting where nobody can wait. All of it is refused, and harms nobody. */
#include "runtime_stage.h"

#define OUTSIDE "alacrity.net works only while a check, a service or a route is asked"
#define OWN_COROUTINE "alacrity.net does not work inside a coroutine of your own"
#define CANNOT_WAIT "alacrity.net cannot wait inside a function that another one calls back"

#define LINE "./mine.lua:2: "

#define TRY_ALL                                                                                    \
    "local function all(s) return table.concat({show(s:send('x')), show(s:receive(1)), "           \
    "show(s:receive_line()), show(s:receive_all()), show(s:receive_some()), show(s:close())}, "    \
    "'|') end "
#define ALL_CLOSED "nil closed|nil closed|nil closed|nil closed|nil closed|"

/* ---- sockets that are closed ---- */

START_TEST(a_closed_socket_answers_closed) {
    assert_up(TRY_ALL "local s = net.connect(asked) s:close() return 'up', all(s)", ALL_CLOSED);
}
END_TEST

START_TEST(a_closed_socket_is_closed_at_once) {
    struct asked asked;
    uint32_t before = descriptors_open();
    ask(&asked, check_of("net.connect(asked):close() net.sleep(80000)"));
    await(server.count == 1 && server.peers[0].ended);
    ck_assert_uint_eq(descriptors_open(), before + 1); /* the peer's own end */
    scripting->check_cancel(asked.run);
}
END_TEST

/* A new socket in the place of the closed one is not mistaken for it. */
START_TEST(a_closed_socket_stays_closed_when_its_place_is_taken) {
    struct asked asked;
    ask(&asked, check_of(TRY_ALL "local old = net.connect(asked) old:close() "
                                 "local new = net.connect(asked) local words = all(old) "
                                 "return 'up', words .. show(new:send('still'))"));
    assert_answered(&asked, CHECK_UP, ALL_CLOSED "true");
    await(server.count == 2 && server.peers[1].ended);
    ck_assert_str_eq(server.peers[1].got.bytes, "still");
}
END_TEST

/* ---- sockets of other runs ---- */

/* The first run keeps its socket and waits with it, the second is given it. */
START_TEST(the_socket_of_another_run_answers_closed) {
    struct asked owner, thief;
    struct check *check =
        check_of(TRY_ALL "if not kept.s then kept.s = net.connect(asked) "
                         "return 'up', kept.s:receive_line() end "
                         "local own = net.connect(asked) " /* in the same place of its own run */
                         "return 'up', all(kept.s) .. show(own:send('own'))");
    ask(&owner, check);
    await(server.count == 1 && run_of(&owner)->wait == WAIT_LINE);
    ask(&thief, check);
    assert_answered(&thief, CHECK_UP, ALL_CLOSED "true");
    ck_assert_uint_eq(owner.answers, 0);
    peer_send(&server.peers[0], "still here\n");
    assert_answered(&owner, CHECK_UP, "still here");
    await(server.peers[0].ended && server.count == 2 && server.peers[1].ended);
    ck_assert_uint_eq(server.peers[0].got.length, 0);
    ck_assert_str_eq(server.peers[1].got.bytes, "own");
}
END_TEST

START_TEST(the_socket_of_a_run_that_ended_answers_closed) {
    struct asked first, second;
    struct check *check = check_of(TRY_ALL "if not kept.s then kept.s = net.connect(asked) "
                                           "return 'up', 'kept' end return 'up', all(kept.s)");
    ask(&first, check);
    assert_answered(&first, CHECK_UP, "kept");
    await(server.count == 1 && server.peers[0].ended); /* keeping it does not keep it open */
    ask(&second, check);
    assert_answered(&second, CHECK_UP, ALL_CLOSED);
    ck_assert_uint_eq(server.count, 1);
}
END_TEST

START_TEST(only_a_socket_is_a_socket) {
    assert_up("local s = net.connect(asked) return 'up', try(s.send, 5, 'x')",
              "bad argument #1 to '?' (alacrity.socket expected, got number)");
    assert_up("local s = net.connect(asked) return 'up', try(s.receive_line, {})",
              "bad argument #1 to '?' (alacrity.socket expected, got table)");
    assert_up("local s = net.connect(asked) return 'up', try(s.close, asked)",
              "bad argument #1 to '?' (alacrity.socket expected, got cdata)");
    assert_up("local s = net.connect(asked) return 'up', try(s.close)",
              "bad argument #1 to '?' (alacrity.socket expected, got no value)");
}
END_TEST

START_TEST(a_script_cannot_change_what_a_socket_is) {
    assert_up("local s = net.connect(asked) return 'up', show(getmetatable(s), "
              "pcall(setmetatable, s, {}), pcall(function() s.send = 1 end))",
              "false false false ./mine.lua:2: attempt to index upvalue 's' (a userdata value)");
}
END_TEST

/* ---- where there is nothing to wait for ---- */

static void assert_not_made(const char *text, const char *part) {
    f.pool.check.script = fixture_script(&f, text);
    ck_assert_ptr_null(scripting->check_new(f.host, &f.pool, &f.messages));
    fixture_assert_says(&f, part);
    messages_free(&f.messages);
}

#define CHECK_MODULE(fields) "return {api = 1, kind = 'check', name = 'mine', " fields "}"

START_TEST(the_network_is_not_there_while_a_script_is_made) {
    assert_not_made("require('alacrity.net').sleep(1) " CHECK_MODULE(""), "./mine.lua:1: " OUTSIDE);
    assert_not_made("local net = require 'alacrity.net'\n" CHECK_MODULE(
                        "new = function() net.connect('127.0.0.1:1') end"),
                    "./mine.lua:2: " OUTSIDE);
}
END_TEST

/* A socket, too, which a later configuration's host cannot get. */
START_TEST(a_socket_is_nothing_outside_a_run) {
    static const char text[] =
        "local net, kept = require 'alacrity.net'\n"
        "return {api = 1, kind = 'check', name = 'mine', new = function()\n"
        "  if kept then kept:close() end\n"
        "  return {check = function(self, asked) kept = net.connect(asked) return 'up', 'kept' end}"
        "\nend}";
    struct asked asked;
    struct script_use use = fixture_script(&f, text);
    ask(&asked, check_using(use));
    assert_answered(&asked, CHECK_UP, "kept");
    f.pool.check.script = use;
    ck_assert_ptr_null(scripting->check_new(f.host, &f.pool, &f.messages));
    fixture_assert_says(&f, "./mine.lua:3: " OUTSIDE);
}
END_TEST

START_TEST(a_coroutine_of_the_script_cannot_wait) {
    assert_up("return 'up', show(coroutine.resume(coroutine.create(function() "
              "net.connect(asked) end)))",
              "false " LINE OWN_COROUTINE);
    assert_up("local s = net.connect(asked) local words = show(pcall(coroutine.wrap(function() "
              "s:close() end))) return 'up', words .. show(s:send('x'))",
              "false " LINE OWN_COROUTINE "true");
    await(server.count == 1);
}
END_TEST

START_TEST(a_coroutine_of_the_script_can_do_all_else) {
    assert_up("local next = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) "
              "local sum = next() + next() net.sleep(0.001) return 'up', show(sum + next())",
              "6");
}
END_TEST

/* Called back by a C function, Lua cannot leave in the middle. What was refused leaves nothing
 * behind: no socket, no limit that would end a later wait. */
START_TEST(a_callback_cannot_wait) {
    struct asked asked;
    uint32_t before = descriptors_open();
    ask(&asked, check_of("local s = net.connect(asked) local words = {} "
                         "for i, call in ipairs {"
                         "function() net.connect(asked, {timeout = 0.05}) end, "
                         "function() net.sleep(0.05) end, "
                         "function() s:receive(1, 0.05) end} do "
                         "words[i] = try(string.gsub, 'x', 'x', call) end "
                         "return 'up', show(words[1], words[2] == words[1], words[3] == words[1], "
                         "s:receive(2))"));
    await(server.count == 1 && run_of(&asked)->wanted == 2);
    ck_assert(!ev_is_active(&run_of(&asked)->wait_limit));
    ck_assert_uint_eq(descriptors_open(), before + 2);
    peer_send(&server.peers[0], "ok");
    assert_answered(&asked, CHECK_UP, LINE CANNOT_WAIT " true true ok");
    ck_assert_uint_eq(server.count, 1);
}
END_TEST

START_TEST(a_callback_can_close) {
    assert_up("local s = net.connect(asked) string.gsub('x', 'x', function() s:close() end) "
              "return 'up', show(s:send('x'))",
              "nil closed");
}
END_TEST

/* pcall and metamethods are no obstacle. */
START_TEST(a_protected_call_can_wait) {
    assert_up(
        "local ok, s = pcall(net.connect, asked) "
        "local t = setmetatable({}, {__index = function(_, k) net.sleep(0.001) return k end}) "
        "return 'up', show(ok, type(s), t.slow, xpcall(function() net.sleep(0.001) error('x', "
        "0) end, function(e) return e .. '!' end))",
        "true userdata slow false x!");
}
END_TEST

/* ---- yielding and resuming behind the runtime's back ---- */

START_TEST(yielding_to_nobody_is_a_mistake) {
    assert_raises("coroutine.yield('up')", "it yielded, but not to alacrity.net");
    ck_assert_uint_eq(stage_errors(), 1);
    assert_raises("local s = net.connect(asked) net.sleep(0.001) coroutine.yield()",
                  "it yielded, but not to alacrity.net");
    await(server.count == 1 && server.peers[0].ended);
    assert_raises("pcall(string.gsub, 'x', 'x', function() net.sleep(0.05) end) coroutine.yield()",
                  "it yielded, but not to alacrity.net");
}
END_TEST

#define FIRST_KEEPS_ITSELF                                                                         \
    "if not kept.thread then kept.thread = coroutine.running() "                                   \
    "local s = net.connect(asked) local line = s:receive_line() %s end "                           \
    "return 'up', show(coroutine.resume(kept.thread, 'forged'))"

/* The first run waits; the second resumes its coroutine, which then does `after`. */
static void resume_another(const char *after, const char *resumed, struct asked *first) {
    struct asked second;
    char body[1024];
    snprintf(body, sizeof(body), FIRST_KEEPS_ITSELF, after);
    struct check *check = check_of(body);
    ask(first, check);
    await(server.count == 1 && run_of(first)->wait == WAIT_LINE);
    ask(&second, check);
    assert_answered(&second, CHECK_UP, resumed);
    peer_send(&server.peers[0], "genuine\n");
}

START_TEST(a_run_that_another_one_finished_is_a_mistake) {
    struct asked first;
    resume_another("return 'up', line", "true up forged", &first);
    assert_answered(&first, CHECK_ERROR, "its coroutine was resumed, but not by alacrity.net");
    await(server.peers[0].ended);
}
END_TEST

START_TEST(a_run_that_another_one_broke_is_a_mistake) {
    struct asked first;
    resume_another("s:close()", "false " LINE OWN_COROUTINE, &first);
    assert_answered(&first, CHECK_ERROR, "its coroutine was resumed, but not by alacrity.net");
    await(server.peers[0].ended);
}
END_TEST

START_TEST(a_run_that_another_one_finished_ends_at_its_deadline) {
    struct asked first;
    struct check *check = check_of("if not kept.thread then kept.thread = coroutine.running() "
                                   "net.sleep(80000) return 'up' end "
                                   "return 'up', show(coroutine.resume(kept.thread))");
    ask_at(&first, check, &server.address, 60);
    struct asked second;
    ask(&second, check);
    assert_answered(&second, CHECK_UP, "true up");
    assert_answered(&first, CHECK_DOWN, "timeout");
}
END_TEST

static void close_nothing(struct socket *socket) {
    (void)socket;
}

/* A wait that raises an error, for want of memory say, leaves its socket as the awaited one. */
START_TEST(nothing_waits_for_a_closed_socket) {
    const struct machine machine = {.close = close_nothing};
    struct runtime runtime = {.machine = &machine};
    struct run run = {.runtime = &runtime, .wait = WAIT_SEND};
    struct socket *socket = calloc(1, sizeof(*socket));
    ck_assert_ptr_nonnull(socket);
    socket->run = &run;
    run.wait_socket = socket;
    socket_close(socket);
    ck_assert_ptr_null(run.wait_socket);
    ck_assert_int_eq(run.wait, WAIT_NOTHING);
}
END_TEST

/* The builder makes states anew while control goes on asking: what it runs then is not theirs. */
START_TEST(a_script_that_is_constructed_again_does_not_see_what_runs) {
    struct asked waiting, asked;
    struct check *made = check_using(fixture_script(
        &f,
        "local net, why = require 'alacrity.net' return {api = 1, kind = 'check', name = 'mine', "
        "new = function() local _, a = pcall(net.sleep, 1) local _, b = pcall(net.connect, "
        "'127.0.0.1:1') why = a .. '|' .. b return {check = function() return 'up', why end} "
        "end}"));
    ask(&waiting, check_of("net.sleep(0.01) return 'up', 'waited'"));

    struct instance *instance = (struct instance *)made;
    struct runtime *runtime = f.host->runtime;
    runtime->current = run_of(&waiting);
    instance->script->vm->resting = true;
    instance->ref = vm_instance(instance->script, instance->use, NULL, &f.messages);
    ck_assert_msg(instance->ref != LUA_NOREF, "%s", fixture_said(&f));
    instance->script->vm->resting = false;
    runtime->current = NULL;

    assert_answered(&waiting, CHECK_UP, "waited");
    ask(&asked, made);
    assert_answered(&asked, CHECK_UP, OUTSIDE "|" OUTSIDE);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: handles and misuse");
    TCase *tests = tcase_create("handles");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, stage_open, stage_close);
    tcase_add_test(tests, a_closed_socket_answers_closed);
    tcase_add_test(tests, a_closed_socket_is_closed_at_once);
    tcase_add_test(tests, a_closed_socket_stays_closed_when_its_place_is_taken);
    tcase_add_test(tests, the_socket_of_another_run_answers_closed);
    tcase_add_test(tests, the_socket_of_a_run_that_ended_answers_closed);
    tcase_add_test(tests, only_a_socket_is_a_socket);
    tcase_add_test(tests, a_script_cannot_change_what_a_socket_is);
    tcase_add_test(tests, the_network_is_not_there_while_a_script_is_made);
    tcase_add_test(tests, a_socket_is_nothing_outside_a_run);
    tcase_add_test(tests, a_coroutine_of_the_script_cannot_wait);
    tcase_add_test(tests, a_coroutine_of_the_script_can_do_all_else);
    tcase_add_test(tests, a_callback_cannot_wait);
    tcase_add_test(tests, a_callback_can_close);
    tcase_add_test(tests, a_protected_call_can_wait);
    tcase_add_test(tests, yielding_to_nobody_is_a_mistake);
    tcase_add_test(tests, a_run_that_another_one_finished_is_a_mistake);
    tcase_add_test(tests, a_run_that_another_one_broke_is_a_mistake);
    tcase_add_test(tests, a_run_that_another_one_finished_ends_at_its_deadline);
    tcase_add_test(tests, nothing_waits_for_a_closed_socket);
    tcase_add_test(tests, a_script_that_is_constructed_again_does_not_see_what_runs);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
