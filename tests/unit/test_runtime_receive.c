/* alacrity.net: receiving by count, by line, until the peer closes, and whatever came; and what is
 * answered when the peer closes, resets, says nothing or says too much. */
#include "runtime_stage.h"

#define CONNECT "local s = net.connect(asked) "

/* What the script got so far and has not taken. */
static size_t waiting_in(const struct asked *asked) {
    const struct socket *socket = run_of(asked)->sockets[0];
    return socket == NULL ? 0 : socket->in_length;
}

/* Asks the body, and returns when its connection stands. */
static struct peer *ask_connected(struct asked *asked, const char *body) {
    uint32_t before = server.count;
    ask(asked, check_of(body));
    await(server.count > before);
    return &server.peers[before];
}

/* The peer says all of it at once and closes; the body answers. */
static void assert_hears(const char *said, size_t length, const char *body, const char *words) {
    struct asked asked;
    struct peer *peer = ask_connected(&asked, body);
    peer_send_bytes(peer, said, length);
    peer_close(peer);
    assert_answered(&asked, CHECK_UP, words);
}

/* ---- by count ---- */

START_TEST(receive_gives_exactly_so_many_bytes) {
    struct asked asked;
    struct peer *peer = ask_connected(
        &asked, CONNECT "return 'up', show(s:receive(3), s:receive(1), s:receive(5))");
    peer_send(peer, "ab");
    await(waiting_in(&asked) == 2);
    peer_send(peer, "cdef");
    await(waiting_in(&asked) == 2); /* abc and d are taken */
    peer_send(peer, "ghi and more");
    assert_answered(&asked, CHECK_UP, "abc d efghi");
}
END_TEST

START_TEST(receive_gives_zero_bytes_as_they_are) {
    assert_hears("a\0\n\r", 4, CONNECT "return 'up', show(s:receive(4) == 'a\\0\\n\\r')", "true");
}
END_TEST

START_TEST(receive_of_too_few_says_closed_and_leaves_them) {
    assert_hears("abc", 3,
                 CONNECT "local four, why = s:receive(4) "
                         "return 'up', show(four, why, s:receive_some(), s:receive(1))",
                 "nil closed abc nil closed");
}
END_TEST

START_TEST(receive_takes_only_counts_there_can_be) {
    static const char *const counts[] = {"0", "-1", "1.5", "1048577", "0/0", "1/0", "nil", "'x'"};
    char body[512] = CONNECT "local n = 0 ";
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        char call[64];
        snprintf(call, sizeof(call), "n = n + (pcall(s.receive, s, %s) and 1 or 0) ", counts[i]);
        strcat(body, call);
    }
    strcat(body, "return 'up', n .. try(s.receive, s, 0)");
    assert_up(body, "0bad argument #2 to '?' (a whole number of bytes, 1 to 1048576)");
}
END_TEST

/* ---- by line ---- */

static const struct {
    const char *said, *lines;
} line_cases[] = {
    {"a\nbc\n", "a|bc|nil closed"},          /* two at once, LF */
    {"a\r\nbc\r\n", "a|bc|nil closed"},      /* CRLF */
    {"\n\r\na\n", "||a|nil closed"},         /* empty ones */
    {"\r\r\n\ra\n", "\r|\ra|nil closed"},    /* only the last CR belongs to the end */
    {"a\nrest", "a|nil closed"},             /* no end: no line */
    {"", "nil closed"},                      /* nothing at all */
    {"12345678\n", "12345678|nil closed"},   /* as long as allowed */
    {"12345678\r\n", "12345678|nil closed"}, /* the end does not count */
    {"123456789\n", "nil too long"},         /* one more */
    {"123456789", "nil too long"},           /* no end in sight */
    {"12345678\r9\n", "nil too long"},       /* not an end */
    {"a\n123456789\nb\n", "a|nil too long"}, /* the second */
    {"1234567\r", "nil closed"},             /* perhaps an end, but it never came */
};

START_TEST(receive_line_gives_lines_without_their_end) {
    assert_hears(line_cases[_i].said, strlen(line_cases[_i].said),
                 CONNECT "local lines, line, why = {} repeat line, why = s:receive_line(8) "
                         "lines[#lines + 1] = why and 'nil ' .. why or line until why "
                         "return 'up', table.concat(lines, '|')",
                 line_cases[_i].lines);
}
END_TEST

/* The same, a byte at a time: where the stream is cut makes no difference. */
START_TEST(receive_line_does_not_care_how_it_was_cut) {
    struct asked asked;
    const char *said = line_cases[_i].said;
    struct peer *peer =
        ask_connected(&asked, CONNECT "local lines, line, why = {} kept.lines = lines "
                                      "repeat line, why = s:receive_line(8) "
                                      "lines[#lines + 1] = why and 'nil ' .. why or line until why "
                                      "return 'up', table.concat(lines, '|')");
    for (size_t i = 0; i < strlen(said) && asked.answers == 0; i++) {
        size_t before = waiting_in(&asked);
        peer_send_bytes(peer, said + i, 1);
        if (said[i] == '\n') { /* the line is taken, or the answer is there */
            await(asked.answers > 0 || waiting_in(&asked) == 0);
        } else {
            await(asked.answers > 0 || waiting_in(&asked) == before + 1);
        }
    }
    peer_close(peer);
    assert_answered(&asked, CHECK_UP, line_cases[_i].lines);
}
END_TEST

START_TEST(receive_line_has_a_bound_of_its_own) {
    struct text said = {0};
    for (int i = 0; i < 8192; i++) {
        text_string(&said, "x");
    }
    text_string(&said, "\r\n");
    const char *body = CONNECT "local line, why = s:receive_line() "
                               "return 'up', show(line and #line, why)";
    assert_hears(said.bytes, said.length, body, "8192 nil");
    assert_hears("x", 1, body, "nil closed");
    text_clear(&said);
    for (int i = 0; i < 8193; i++) {
        text_string(&said, "x");
    }
    text_string(&said, "\n");
    assert_hears(said.bytes, said.length, body, "nil too long");
    text_free(&said);
}
END_TEST

/* ---- until the peer closes ---- */

START_TEST(receive_all_gives_everything) {
    assert_hears("one\ntwo\n", 8, CONNECT "return 'up', (s:receive_all())", "one\ntwo\n");
    assert_hears("", 0, CONNECT "return 'up', show(s:receive_all() == '')", "true");
    assert_hears("one\ntwo", 7, CONNECT "return 'up', s:receive_line() .. s:receive_all()",
                 "onetwo");
    assert_hears("x", 1,
                 CONNECT "s:receive_all() return 'up', show(s:receive_all() == '', "
                         "s:receive(1))",
                 "true nil closed");
}
END_TEST

START_TEST(receive_all_waits_for_the_end) {
    struct asked asked;
    struct peer *peer = ask_connected(&asked, CONNECT "return 'up', (s:receive_all())");
    peer_send(peer, "one ");
    await(waiting_in(&asked) == 4);
    peer_send(peer, "two");
    await(waiting_in(&asked) == 7);
    peer_close(peer);
    assert_answered(&asked, CHECK_UP, "one two");
}
END_TEST

START_TEST(receive_all_is_bounded) {
    assert_hears("12345", 5, CONNECT "return 'up', show(s:receive_all(5))", "12345");
    assert_hears("123456", 6, CONNECT "return 'up', show(s:receive_all(5))", "nil too long");
}
END_TEST

/* A peer that does not even close: the bound holds before its end is seen. */
START_TEST(receive_all_does_not_wait_for_the_end_of_too_much) {
    struct asked asked;
    struct peer *peer = ask_connected(&asked, CONNECT "return 'up', show(s:receive_all(5))");
    peer_send(peer, "123456");
    assert_answered(&asked, CHECK_UP, "nil too long");
}
END_TEST

/* Sends `bytes` bytes without waiting for the reader, in turns with it. */
static void peer_send_much(struct peer *peer, const struct asked *asked, size_t bytes) {
    static char block[65536];
    memset(block, 'x', sizeof(block));
    while (bytes > 0 && asked->answers == 0) {
        ssize_t sent = send(peer->descriptor, block, bytes < sizeof(block) ? bytes : sizeof(block),
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            ck_assert_int_eq(errno, EAGAIN);
        } else {
            bytes -= (size_t)sent;
        }
        ev_run(loop, EVRUN_NOWAIT);
    }
}

START_TEST(a_mebibyte_can_be_received) {
    static const struct {
        const char *call;
        size_t bytes;
        const char *words;
    } cases[] = {
        {"receive_all()", 1048576, "1048576 nil"},
        {"receive_all()", 1048577, "nil too long"},
        {"receive(1048576)", 1048576, "1048576 nil"},
        {"receive(1048576)", 1048575, "nil closed"},
        {"receive_line(1048576)", 1048575, "nil closed"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct asked asked;
        char body[256];
        snprintf(body, sizeof(body),
                 CONNECT "local got, why = s:%s return 'up', show(got and #got, why)",
                 cases[i].call);
        struct peer *peer = ask_connected(&asked, body);
        peer_send_much(peer, &asked, cases[i].bytes);
        peer_close(peer);
        assert_answered(&asked, CHECK_UP, cases[i].words);
    }
}
END_TEST

START_TEST(the_longest_line_can_be_received) {
    struct asked asked;
    struct peer *peer = ask_connected(&asked, CONNECT "local got, why = s:receive_line(1048576) "
                                                      "return 'up', show(got and #got, why)");
    peer_send_much(peer, &asked, 1048576);
    ck_assert_uint_eq(asked.answers, 0);
    peer_send(peer, "\r\n");
    assert_answered(&asked, CHECK_UP, "1048576 nil");
}
END_TEST

/* ---- whatever came ---- */

START_TEST(receive_some_gives_what_is_there) {
    struct asked asked;
    struct peer *peer =
        ask_connected(&asked, CONNECT "local words = {} repeat local some, why = s:receive_some(4) "
                                      "words[#words + 1] = some or why s:send('.') "
                                      "until why return 'up', table.concat(words, '|')");
    peer_send(peer, "ab");
    await(peer_got(peer, "."));
    peer_send(peer, "cdefg");
    await(peer_got(peer, "..."));
    shutdown(peer->descriptor, SHUT_WR);
    assert_answered(&asked, CHECK_UP, "ab|cdef|g|closed");
}
END_TEST

/* ---- a peer that fails ---- */

static const char *const calls[] = {"receive(5", "receive_line(99", "receive_all(99",
                                    "receive_some(99"};
#define CALLS (int)(sizeof(calls) / sizeof(calls[0]))

START_TEST(a_reset_is_told) {
    struct asked asked;
    char body[256];
    snprintf(body, sizeof(body), CONNECT "return 'up', show(s:%s))", calls[_i]);
    struct peer *peer = ask_connected(&asked, body);
    await(run_of(&asked)->wait >= WAIT_BYTES);
    peer_reset(peer);
    assert_answered(&asked, CHECK_UP, "nil reset");
}
END_TEST

/* And the socket is as good as before: what comes then is not lost. */
START_TEST(a_receive_gives_up_at_its_limit) {
    struct asked asked;
    char body[512];
    snprintf(body, sizeof(body),
             CONNECT "local got, why = s:%s, 0.04) kept.why = show(got, why) "
                     "return 'up', kept.why .. ' ' .. show(s:receive(4))",
             calls[_i]);
    struct peer *peer = ask_connected(&asked, body);
    if (_i < CALLS - 1) { /* any byte would be enough for receive_some */
        peer_send(peer, "ab");
    }
    await(run_of(&asked)->wait == WAIT_BYTES && run_of(&asked)->wanted == 4);
    peer_send(peer, _i < CALLS - 1 ? "cd" : "abcd");
    assert_answered(&asked, CHECK_UP, "nil timeout abcd");
}
END_TEST

START_TEST(a_limit_holds_only_for_its_call) {
    struct asked asked;
    struct peer *peer =
        ask_connected(&asked, CONNECT "local a = s:receive(1, 80000) net.sleep(0.01) "
                                      "local b = s:receive(1, 80000) " /* it is there already */
                                      "return 'up', show(a, b, s:receive(1))");
    peer_send(peer, "ab");
    await(run_of(&asked)->wait == WAIT_SLEEP);
    await(run_of(&asked)->wait == WAIT_BYTES);
    ck_assert(!ev_is_active(&run_of(&asked)->wait_limit));
    peer_send(peer, "c");
    assert_answered(&asked, CHECK_UP, "a b c");
}
END_TEST

START_TEST(a_receive_without_a_limit_ends_at_the_deadline_of_the_run) {
    struct asked asked;
    char body[256];
    snprintf(body, sizeof(body), CONNECT "return 'up', show(s:%s))", calls[_i]);
    ask_at(&asked, check_of(body), &server.address, 40);
    assert_answered(&asked, CHECK_DOWN, "timeout");
    await(server.count == 1 && server.peers[0].ended);
}
END_TEST

/* A limit beyond the deadline does not stretch it. */
START_TEST(the_deadline_comes_before_a_longer_limit) {
    struct asked asked;
    ask_at(&asked, check_of(CONNECT "return 'up', show(s:receive(1, 80000))"), &server.address, 40);
    assert_answered(&asked, CHECK_DOWN, "timeout");
}
END_TEST

START_TEST(receive_takes_only_limits_it_can_keep) {
    assert_up(CONNECT "return 'up', show(pcall(s.receive, s, 1, -1), pcall(s.receive_line, s, 9, "
                      "0/0), pcall(s.receive_all, s, 9, 86401), pcall(s.receive_some, s, 9, {}))",
              "false false false false bad argument #3 to '?' (number expected, got table)");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: receiving");
    TCase *tests = tcase_create("receive");
    const int lines = (int)(sizeof(line_cases) / sizeof(line_cases[0]));
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, stage_open, stage_close);
    tcase_add_test(tests, receive_gives_exactly_so_many_bytes);
    tcase_add_test(tests, receive_gives_zero_bytes_as_they_are);
    tcase_add_test(tests, receive_of_too_few_says_closed_and_leaves_them);
    tcase_add_test(tests, receive_takes_only_counts_there_can_be);
    tcase_add_loop_test(tests, receive_line_gives_lines_without_their_end, 0, lines);
    tcase_add_loop_test(tests, receive_line_does_not_care_how_it_was_cut, 0, lines);
    tcase_add_test(tests, receive_line_has_a_bound_of_its_own);
    tcase_add_test(tests, receive_all_gives_everything);
    tcase_add_test(tests, receive_all_waits_for_the_end);
    tcase_add_test(tests, receive_all_is_bounded);
    tcase_add_test(tests, receive_all_does_not_wait_for_the_end_of_too_much);
    tcase_add_test(tests, a_mebibyte_can_be_received);
    tcase_add_test(tests, the_longest_line_can_be_received);
    tcase_add_test(tests, receive_some_gives_what_is_there);
    tcase_add_loop_test(tests, a_reset_is_told, 0, CALLS);
    tcase_add_loop_test(tests, a_receive_gives_up_at_its_limit, 0, CALLS);
    tcase_add_test(tests, a_limit_holds_only_for_its_call);
    tcase_add_loop_test(tests, a_receive_without_a_limit_ends_at_the_deadline_of_the_run, 0, CALLS);
    tcase_add_test(tests, the_deadline_comes_before_a_longer_limit);
    tcase_add_test(tests, receive_takes_only_limits_it_can_keep);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
