/* Checks: what a script may answer about a backend, and what becomes of every other answer. */
#include "runtime_stage.h"

#include <arpa/inet.h>

#define ANSWER_WANTED "it must answer \"up\", \"down\" or \"drain\", not a"

static const struct {
    const char *body;
    enum check_answer answer;
    const char *info;
} answers[] = {
    {"return 'up', 'fine'", CHECK_UP, "fine"},
    {"return 'down', 'poorly'", CHECK_DOWN, "poorly"},
    {"return 'drain', 'leaving'", CHECK_DRAIN, "leaving"},
    {"return 'up'", CHECK_UP, ""},
    {"return 'up', ''", CHECK_UP, ""},
    {"return 'up', 5", CHECK_UP, ""}, /* the text is for people; what is none is left out */
    {"return 'down', {}", CHECK_DOWN, ""},
    {"return 'up', 'a\\nb\\0c'", CHECK_UP, "a\nb"},
    {"return 'up', 'fine', 'and', 'more'", CHECK_UP, "fine"},
    {"return 'up', 'fine', unpack({}, 1, 150)", CHECK_UP, "fine"},
    /* nonsense */
    {"", CHECK_ERROR, ANSWER_WANTED " no value"},
    {"return nil", CHECK_ERROR, ANSWER_WANTED " nil"},
    {"return nil, 'why'", CHECK_ERROR, ANSWER_WANTED " nil"},
    {"return true", CHECK_ERROR, ANSWER_WANTED " boolean"},
    {"return 1", CHECK_ERROR, ANSWER_WANTED " number"},
    {"return {'up'}", CHECK_ERROR, ANSWER_WANTED " table"},
    {"return asked", CHECK_ERROR, ANSWER_WANTED " cdata"},
    {"return 'UP'", CHECK_ERROR, ANSWER_WANTED " string"},
    {"return ''", CHECK_ERROR, ANSWER_WANTED " string"},
    {"return 'suspect', 'no'", CHECK_ERROR, ANSWER_WANTED " string"},
    {"return 'up ', 'no'", CHECK_ERROR, ANSWER_WANTED " string"},
    /* errors */
    {"error('boom')", CHECK_ERROR, "./mine.lua:2: boom"},
    {"error('boom', 0)", CHECK_ERROR, "boom"},
    {"local x = asked.name.y.z", CHECK_ERROR,
     "./mine.lua:2: attempt to index field 'y' (a nil value)"},
    {"error({code = 5})", CHECK_ERROR, "(the error is a table, not a message)"},
    {"error()", CHECK_ERROR, "(an error without a message)"},
    {"error(nil)", CHECK_ERROR, "(an error without a message)"},
    {"error(5, 0)", CHECK_ERROR, "(the error is a number, not a message)"},
    {"error(print)", CHECK_ERROR, "(the error is no message)"},
    {"error(setmetatable({}, {__tostring = function() error('again') end}))", CHECK_ERROR,
     "(the error is a table, not a message)"},
    {"local function deeper() return 1 + deeper() end deeper()", CHECK_ERROR,
     "./mine.lua:2: stack overflow"},
};

static void assert_answer(int i, const char *before) {
    struct asked asked;
    char body[1024];
    uint32_t descriptors = descriptors_open();
    snprintf(body, sizeof(body), "%s%s", before, answers[i].body);
    ask(&asked, check_of(body));
    await(asked.answers > 0);
    ck_assert_int_eq(asked.answer, answers[i].answer);
    ck_assert_str_eq(asked.info, answers[i].info);
    ck_assert_uint_eq(asked.answers, 1);
    ck_assert_uint_eq(stage_errors(), answers[i].answer == CHECK_ERROR);
    ck_assert_str_eq(stage_last_error(), answers[i].answer == CHECK_ERROR ? answers[i].info : "");
    ck_assert_uint_eq(descriptors_open(), descriptors);
}

START_TEST(an_answer_at_once) {
    assert_answer(_i, "");
}
END_TEST

START_TEST(an_answer_after_waiting) {
    assert_answer(_i, "net.sleep(0.001) ");
}
END_TEST

/* ---- the text for people is bounded ---- */

START_TEST(a_long_text_is_cut) {
    struct asked asked;
    ask(&asked, check_of("return 'down', ('0123456789'):rep(100)"));
    await(asked.answers == 1);
    ck_assert_int_eq(asked.answer, CHECK_DOWN);
    ck_assert_uint_eq(strlen(asked.info), 255);
    ck_assert_mem_eq(asked.info + 240, "012345678901234", 15);
}
END_TEST

START_TEST(a_text_that_just_fits_is_whole) {
    struct asked asked;
    ask(&asked, check_of("return 'up', ('x'):rep(254) .. '.'"));
    await(asked.answers == 1);
    ck_assert_uint_eq(strlen(asked.info), 255);
    ck_assert_int_eq(asked.info[254], '.');
}
END_TEST

START_TEST(a_long_error_is_cut) {
    struct asked asked;
    ask(&asked, check_of("error(('0123456789'):rep(100), 0)"));
    await(asked.answers == 1);
    ck_assert_int_eq(asked.answer, CHECK_ERROR);
    ck_assert_uint_eq(strlen(asked.info), 255);
    ck_assert_uint_eq(strlen(stage_last_error()), 255);
}
END_TEST

/* ---- what a check is asked with ---- */

START_TEST(a_check_sees_its_backend) {
    struct asked asked;
    struct check *check =
        check_of("return 'up', show(asked.name, asked.pool_name, asked.address, asked.weight)");
    ask(&asked, check);
    assert_answered(&asked, CHECK_UP, "b1 app 127.0.0.1:9001 1");
    asked = (struct asked){0};
    scripting->check_start(check, f.slots[1], &server.address, LONG_MS, asked_done, &asked);
    assert_answered(&asked, CHECK_UP, "b2 app 127.0.0.1:9002 1");
}
END_TEST

/* Each pool's check is an instance of its own, in one state when the script is the same. */
START_TEST(instances_have_their_own_self) {
    static const char text[] =
        "return {api = 1, kind = 'check', name = 'mine', new = function(cfg) "
        "return {n = 0, check = function(self) self.n = self.n + 1 "
        "return 'up', tostring(self.n) end} end}";
    struct asked asked;
    struct script_use use = fixture_script(&f, text);
    struct check *one = check_using(use), *two = check_using(use);
    ask(&asked, one);
    assert_answered(&asked, CHECK_UP, "1");
    ask(&asked, one);
    assert_answered(&asked, CHECK_UP, "2");
    ask(&asked, two);
    assert_answered(&asked, CHECK_UP, "1");
    struct script_info info;
    ck_assert(scripting->host_script(f.host, 0, &info));
    ck_assert_uint_eq(info.calls, 3);
    ck_assert(!scripting->host_script(f.host, 1, &info));
}
END_TEST

START_TEST(a_check_that_cannot_be_made_is_a_message) {
    f.pool.check.script =
        fixture_script(&f, "return {api = 1, kind = 'check', name = 'mine', "
                           "new = function() return {serve = function() end} end}");
    ck_assert_ptr_null(scripting->check_new(f.host, &f.pool, &f.messages));
    fixture_assert_said(&f, "./mine.lua: what new returned has no method check (constructed for "
                            "app.yaml:4:13)\n");
}
END_TEST

/* ---- the stock ones ---- */

START_TEST(the_tcp_check_tells_who_listens) {
    struct asked asked;
    struct address nobody;
    int reserved = bind_anywhere(&nobody);
    struct check *check = check_using(fixture_stock("tcp"));
    ask(&asked, check);
    assert_answered(&asked, CHECK_UP, "accepts connections");
    await(server.count == 1 && server.peers[0].ended);
    ask_at(&asked, check, &nobody, LONG_MS);
    assert_answered(&asked, CHECK_DOWN, "refused");
    close(reserved);
}
END_TEST

static const struct {
    const char *said, *info;
    enum check_answer answer;
} http_cases[] = {
    {"HTTP/1.1 200 OK\r\n\r\n", "status 200", CHECK_UP},
    {"HTTP/1.0 399 Odd\r\n\r\n", "status 399", CHECK_UP},
    {"HTTP/1.1 400 Bad\r\n\r\n", "status 400", CHECK_DOWN},
    {"HTTP/1.1 503 Busy\r\n\r\n", "status 503", CHECK_DOWN},
    {"SSH-2.0-OpenSSH\r\n", "not an HTTP answer", CHECK_DOWN},
    {"HTTP/1.1 200 OK", "closed", CHECK_DOWN},
    {"", "closed", CHECK_DOWN},
};

START_TEST(the_http_check_reads_the_status) {
    struct asked asked;
    ask(&asked, check_using(fixture_stock("http")));
    await(server.count == 1 &&
          peer_got(&server.peers[0], "GET / HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUser-Agent: "
                                     "alacrity\r\nConnection: close\r\n\r\n"));
    peer_send(&server.peers[0], http_cases[_i].said);
    shutdown(server.peers[0].descriptor, SHUT_WR);
    assert_answered(&asked, http_cases[_i].answer, http_cases[_i].info);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: checks");
    TCase *tests = tcase_create("checks");
    const int count = (int)(sizeof(answers) / sizeof(answers[0]));
    const int http_count = (int)(sizeof(http_cases) / sizeof(http_cases[0]));
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, stage_open, stage_close);
    tcase_add_loop_test(tests, an_answer_at_once, 0, count);
    tcase_add_loop_test(tests, an_answer_after_waiting, 0, count);
    tcase_add_test(tests, a_long_text_is_cut);
    tcase_add_test(tests, a_text_that_just_fits_is_whole);
    tcase_add_test(tests, a_long_error_is_cut);
    tcase_add_test(tests, a_check_sees_its_backend);
    tcase_add_test(tests, instances_have_their_own_self);
    tcase_add_test(tests, a_check_that_cannot_be_made_is_a_message);
    tcase_add_test(tests, the_tcp_check_tells_who_listens);
    tcase_add_loop_test(tests, the_http_check_reads_the_status, 0, http_count);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
