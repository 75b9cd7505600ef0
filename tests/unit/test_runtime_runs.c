/* Runs: however one ends, everything it opened is closed, nobody is told twice, and those beside it
 * go on; errors are counted, and told with a traceback once. */
#include "runtime_stage.h"

#include "base/log.h"

/* ---- every kind of end ---- */

enum how { BY_ITSELF, BY_DEADLINE, BY_CANCEL, BY_FREEING_THE_HOST };

/* Each opens two sockets, closes none, and has unsent bytes. */
#define OPEN_TWO                                                                                   \
    "local one, two = net.connect(asked), net.connect(asked) one:send('hello') two:send('hello') " \
    "kept.two = two "

static const struct {
    const char *body;
    enum how how;
    enum check_answer answer;
    const char *info;
    uint32_t errors;
} ends[] = {
    {OPEN_TWO "return 'up', 'fine'", BY_ITSELF, CHECK_UP, "fine", 0},
    {OPEN_TWO "one:receive(1) return 'down', 'late'", BY_ITSELF, CHECK_DOWN, "late", 0},
    {OPEN_TWO "error('boom')", BY_ITSELF, CHECK_ERROR, "./mine.lua:2: boom", 1},
    {OPEN_TWO "one:receive(1) error('boom')", BY_ITSELF, CHECK_ERROR, "./mine.lua:2: boom", 1},
    {OPEN_TWO "coroutine.yield()", BY_ITSELF, CHECK_ERROR, "it yielded, but not to alacrity.net",
     1},
    {OPEN_TWO "return 5", BY_ITSELF, CHECK_ERROR,
     "it must answer \"up\", \"down\" or \"drain\", not a number", 1},
    {OPEN_TWO "two:receive_all() return 'up'", BY_DEADLINE, CHECK_DOWN, "timeout", 0},
    {OPEN_TWO "net.sleep(80000)", BY_DEADLINE, CHECK_DOWN, "timeout", 0},
    {OPEN_TWO "two:receive_line(9, 70000)", BY_CANCEL, 0, NULL, 0},
    {OPEN_TWO "net.sleep(80000)", BY_CANCEL, 0, NULL, 0},
    {OPEN_TWO "two:send(('x'):rep(1048576)) two:receive(1)", BY_CANCEL, 0, NULL, 0},
    {OPEN_TWO "two:receive_line(9, 70000)", BY_FREEING_THE_HOST, 0, NULL, 0},
    {OPEN_TWO "net.sleep(80000)", BY_FREEING_THE_HOST, 0, NULL, 0},
};

static bool both_arrived(void) {
    return server.count == 2 && server.peers[0].got.length >= 5 && server.peers[1].got.length >= 5;
}

/* What is left behind by a run is also found by stage_close: a watcher or a timer. */
START_TEST(whatever_the_end_nothing_is_left_open) {
    struct asked asked;
    struct check *check = check_of(ends[_i].body);
    uint32_t before = descriptors_open();
    ask_at(&asked, check, &server.address, ends[_i].how == BY_DEADLINE ? 500 : LONG_MS);
    await(both_arrived());
    if (ends[_i].how == BY_CANCEL || ends[_i].how == BY_FREEING_THE_HOST) {
        await(run_of(&asked)->sockets[1] != NULL && run_of(&asked)->wait != WAIT_NOTHING);
        ck_assert_uint_eq(descriptors_open(), before + 4);
    } else if (asked.answers == 0 && ends[_i].how == BY_ITSELF) {
        peer_send(&server.peers[0], "x");
    }
    switch (ends[_i].how) {
    case BY_ITSELF:
    case BY_DEADLINE:
        assert_answered(&asked, ends[_i].answer, ends[_i].info);
        ck_assert_uint_eq(stage_errors(), ends[_i].errors);
        break;
    case BY_CANCEL:
        scripting->check_cancel(asked.run);
        ck_assert_uint_eq(stage_errors(), 0);
        break;
    case BY_FREEING_THE_HOST:
        scripting->host_free(f.host);
        f.host = scripting->host_new(&f.snapshot, f.arena, loop, NULL, 0, &f.messages);
        break;
    }
    await(server.peers[0].ended && server.peers[1].ended);
    ck_assert_uint_eq(descriptors_open(), before + 2); /* the peers' own ends */
    ck_assert_uint_eq(asked.answers, ends[_i].how == BY_ITSELF || ends[_i].how == BY_DEADLINE);
}
END_TEST

START_TEST(a_connection_that_is_not_made_yet_is_closed_too) {
    struct address full;
    struct asked asked[3];
    int listening = bind_anywhere(&full);
    int waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(listen(listening, 0), 0); /* room for one */
    ck_assert_int_eq(connect(waiting, &full.any, full.length), 0);
    struct check *check = check_of("net.connect(asked, {timeout = 70000})");
    uint32_t before = descriptors_open();
    ask_at(&asked[0], check, &full, 30);
    ask_at(&asked[1], check, &full, LONG_MS);
    ask_at(&asked[2], check, &full, LONG_MS);
    ck_assert_uint_eq(descriptors_open(), before + 3);
    assert_answered(&asked[0], CHECK_DOWN, "timeout");
    ck_assert_uint_eq(descriptors_open(), before + 2);
    scripting->check_cancel(asked[1].run);
    ck_assert_uint_eq(descriptors_open(), before + 1);
    scripting->host_free(f.host);
    ck_assert_uint_eq(descriptors_open(), before);
    f.host = scripting->host_new(&f.snapshot, f.arena, loop, NULL, 0, &f.messages);
    close(listening);
    close(waiting);
}
END_TEST

/* ---- who is told, and when ---- */

START_TEST(an_answer_may_come_before_the_start_returns) {
    static const char *const bodies[] = {"return 'up', 'at once'", "error('at once', 0)",
                                         "coroutine.yield()"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct asked asked;
        ask(&asked, check_of(bodies[i])); /* asserts that it was begun */
        ck_assert_uint_eq(asked.answers, 1);
        ck_assert_int_eq(asked.answer, i == 0 ? CHECK_UP : CHECK_ERROR);
        ck_assert(i == 2 || strcmp(asked.info, "at once") == 0);
    }
}
END_TEST

/* Nor later, when what it waited for comes, or its deadline. */
START_TEST(a_cancelled_run_is_never_answered) {
    struct asked cancelled, other;
    struct check *check = check_of("local s = net.connect(asked) return 'up', s:receive_line()");
    ask_at(&cancelled, check, &server.address, 500);
    await(server.count == 1 && run_of(&cancelled)->wait == WAIT_LINE);
    peer_send(&server.peers[0], "too late\n"); /* is there already when it is cancelled */
    scripting->check_cancel(cancelled.run);
    ask_at(&other, check_of("net.sleep(80000)"), &server.address, 550);
    assert_answered(&other, CHECK_DOWN, "timeout"); /* its deadline came after the other's */
    ck_assert_uint_eq(cancelled.answers, 0);
}
END_TEST

struct chain {
    struct asked first, second;
    struct check *check;
};

static void start_second(void *argument, enum check_answer answer, const char *info) {
    struct chain *chain = argument;
    asked_done(&chain->first, answer, info);
    ask(&chain->second, chain->check);
}

/* The next check begins while the answer of the one before is told: the usual way of services. */
START_TEST(whoever_is_told_may_start_the_next) {
    struct chain chain = {.check = check_of("kept.n = (kept.n or 0) + 1 local me = kept.n "
                                            "local s = net.connect(asked) s:send('n' .. me) "
                                            "return 'up', me .. s:receive_line()")};
    chain.first.run = scripting->check_start(chain.check, f.slots[0], &server.address, LONG_MS,
                                             start_second, &chain);
    await(server.count == 1);
    peer_send(&server.peers[0], "one\n");
    assert_answered(&chain.first, CHECK_UP, "1one");
    await(server.count == 2 && peer_got(&server.peers[1], "n2"));
    peer_send(&server.peers[1], "two\n");
    assert_answered(&chain.second, CHECK_UP, "2two");
}
END_TEST

/* ---- many at once ---- */

#define CONVERSATION                                                                               \
    "kept.n = (kept.n or 0) + 1 local me = kept.n local s = net.connect(asked) "                   \
    "s:send('I am ' .. me .. '\\n') local heard = '' for i = 1, 3 do "                             \
    "heard = heard .. s:receive_line() s:send('.') end return 'up', me .. heard"

/* Peers in the order of the runs: each says whose it is. */
static struct peer *peer_of(uint32_t number) {
    char text[32];
    snprintf(text, sizeof(text), "I am %u\n", number);
    for (uint32_t i = 0; i < server.count; i++) {
        const struct text *got = &server.peers[i].got;
        if (got->bytes != NULL && strncmp(got->bytes, text, strlen(text)) == 0) {
            return &server.peers[i];
        }
    }
    return NULL;
}

/* One instance, three runs, their lines woven into each other and the last begun ended first. */
START_TEST(runs_of_one_instance_do_not_mix) {
    struct asked asked[3];
    struct check *check = check_of(CONVERSATION);
    for (int i = 0; i < 3; i++) {
        ask(&asked[i], check);
    }
    for (uint32_t i = 1; i <= 3; i++) {
        await(peer_of(i) != NULL);
    }
    for (uint32_t line = 1; line <= 3; line++) {
        for (uint32_t i = 3; i >= 1; i--) {
            char text[16];
            size_t length = peer_of(i)->got.length;
            snprintf(text, sizeof(text), " %c%u\n", (int)('a' + i - 1), line);
            peer_send(peer_of(i), text);
            await(peer_of(i)->got.length == length + 1);
        }
    }
    assert_answered(&asked[2], CHECK_UP, "3 c1 c2 c3");
    assert_answered(&asked[1], CHECK_UP, "2 b1 b2 b3");
    assert_answered(&asked[0], CHECK_UP, "1 a1 a2 a3");
}
END_TEST

START_TEST(the_end_of_one_run_leaves_the_others) {
    struct asked asked[5];
    struct check *check =
        check_of("kept.n = (kept.n or 0) + 1 local me = kept.n local s = net.connect(asked) "
                 "s:send('I am ' .. me .. '\\n') local line = s:receive_line() "
                 "if line == 'fail' then error('told to', 0) end return 'up', me .. line");
    for (int i = 0; i < 5; i++) {
        ask_at(&asked[i], check, &server.address, i == 2 ? 500 : LONG_MS);
    }
    for (uint32_t i = 1; i <= 5; i++) {
        await(peer_of(i) != NULL);
    }
    assert_answered(&asked[2], CHECK_DOWN, "timeout");
    scripting->check_cancel(asked[0].run);
    peer_send(peer_of(2), "fail\n");
    assert_answered(&asked[1], CHECK_ERROR, "told to");
    peer_send(peer_of(5), " fine\n");
    assert_answered(&asked[4], CHECK_UP, "5 fine");
    ck_assert_uint_eq(asked[3].answers, 0);
    peer_send(peer_of(4), " too\n");
    assert_answered(&asked[3], CHECK_UP, "4 too");
    ck_assert_uint_eq(asked[0].answers, 0);
}
END_TEST

/* ---- what is counted and logged ---- */

static void log_to_file(void) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/log", f.folder);
    ck_assert(log_start());
    ck_assert(log_prepare(&(struct log_settings){path, LOG_TEXT, LOG_INFO}, NULL));
    log_commit();
}

/* Everything that was logged; the log is closed. */
static const char *logged(void) {
    static char text[65536];
    char path[128];
    log_stop();
    snprintf(path, sizeof(path), "%s/log", f.folder);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static uint32_t times(const char *text, const char *part) {
    uint32_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

START_TEST(errors_are_counted_and_explained_once) {
    struct asked asked;
    struct check *check = check_of("local function weigh(x)\n  return x.y.z\nend\n"
                                   "kept.n = (kept.n or 0) + 1\n"
                                   "if kept.n == 4 then error('another', 0) end\n"
                                   "net.sleep(0.001)\n"
                                   "return 'up', weigh(kept)");
    log_to_file();
    for (int i = 0; i < 5; i++) {
        ask(&asked, check);
        await(asked.answers == 1);
        ck_assert_int_eq(asked.answer, CHECK_ERROR);
    }
    struct script_info info = {0};
    ck_assert(scripting->host_script(f.host, 0, &info));
    ck_assert_uint_eq(info.calls, 5);
    ck_assert_uint_eq(info.errors, 5);
    ck_assert_str_eq(info.kind, "check");
    ck_assert_str_eq(info.last_error, "./mine.lua:3: attempt to index field 'y' (a nil value)");
    const char *log = logged();
    ck_assert_uint_eq(times(log, "check of ./mine.lua failed: ./mine.lua:3: attempt to index"), 4);
    ck_assert_uint_eq(times(log, "check of ./mine.lua failed: another"), 1);
    ck_assert_uint_eq(times(log, "traceback: "), 2); /* one for each message */
    ck_assert_msg(times(log, "weigh <- ./mine.lua:8 in ") == 1, "%s", log);
}
END_TEST

/* What is wrong with an answer happened nowhere in the script: no traceback, least of all an old
 * one. */
START_TEST(a_wrong_answer_is_logged_without_a_traceback) {
    struct asked asked;
    struct check *check =
        check_of("kept.n = (kept.n or 0) + 1 if kept.n == 1 then error('boom') end return 'maybe'");
    log_to_file();
    ask(&asked, check);
    ask(&asked, check);
    ck_assert_uint_eq(stage_errors(), 2);
    const char *log = logged();
    ck_assert_uint_eq(times(log, "check of ./mine.lua failed: it must answer \"up\""), 1);
    ck_assert_uint_eq(times(log, "traceback: "), 1);
}
END_TEST

START_TEST(an_error_inside_a_coroutine_of_the_script_is_its_own) {
    assert_up("return 'up', show(coroutine.resume(coroutine.create(function() error('x', 0) end)))",
              "false x");
    ck_assert_uint_eq(stage_errors(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: runs");
    TCase *tests = tcase_create("runs");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, stage_open, stage_close);
    tcase_add_loop_test(tests, whatever_the_end_nothing_is_left_open, 0,
                        (int)(sizeof(ends) / sizeof(ends[0])));
    tcase_add_test(tests, a_connection_that_is_not_made_yet_is_closed_too);
    tcase_add_test(tests, an_answer_may_come_before_the_start_returns);
    tcase_add_test(tests, a_cancelled_run_is_never_answered);
    tcase_add_test(tests, whoever_is_told_may_start_the_next);
    tcase_add_test(tests, runs_of_one_instance_do_not_mix);
    tcase_add_test(tests, the_end_of_one_run_leaves_the_others);
    tcase_add_test(tests, errors_are_counted_and_explained_once);
    tcase_add_test(tests, a_wrong_answer_is_logged_without_a_traceback);
    tcase_add_test(tests, an_error_inside_a_coroutine_of_the_script_is_its_own);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
