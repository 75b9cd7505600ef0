/* alacrity.net: sending, to who reads, reads slowly, does not read, or is gone. */
#include <signal.h>

#include "runtime_stage.h"

/* Asks the body about a peer that does not read, on a connection of which the kernel keeps little.
 * The body must begin with CONNECT. */
#define CONNECT "local s = net.connect(asked) s:receive(1) "

static struct peer *ask_deaf(struct asked *asked, const char *body, uint32_t timeout_ms) {
    const int bytes = 4096;
    server.deaf = true;
    ck_assert_int_eq(setsockopt(server.descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)),
                     0);
    ask_at(asked, check_of(body), &server.address, timeout_ms);
    await(server.count == 1 && run_of(asked)->wait == WAIT_BYTES);
    ck_assert_int_eq(
        setsockopt(run_of(asked)->sockets[0]->io.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)),
        0);
    peer_send(&server.peers[0], "x");
    return &server.peers[0];
}

/* Byte i of it is i % 251, so that a piece lost or sent twice shows. */
#define MAKE_MEBIBYTE                                                                              \
    "local block = {} for i = 0, 250 do block[i + 1] = string.char(i) end "                        \
    "local whole = table.concat(block):rep(4178):sub(1, 1048576) "

static void assert_is_mebibyte(const struct text *text) {
    ck_assert_uint_eq(text->length, 1048576);
    for (size_t i = 0; i < text->length; i++) {
        if ((unsigned char)text->bytes[i] != i % 251) {
            ck_abort_msg("byte %zu is wrong", i);
        }
    }
}

START_TEST(a_mebibyte_reaches_a_slow_reader_whole) {
    struct asked asked;
    struct peer *peer = ask_deaf(
        &asked, CONNECT MAKE_MEBIBYTE "return 'up', show(s:send(whole), s:send('end'))", LONG_MS);
    await(run_of(&asked)->wait == WAIT_SEND && run_of(&asked)->sockets[0]->out_start > 0);
    for (int i = 0; i < 20; i++) { /* it waits, and does not turn in circles */
        ev_run(loop, EVRUN_NOWAIT);
        ck_assert_uint_eq(asked.answers, 0);
    }
    static char piece[3000];
    struct text got = {0};
    for (uint32_t reads = 0; got.length < 1048576; reads++) {
        size_t left = 1048576 - got.length;
        ssize_t count = recv(peer->descriptor, piece, left < sizeof(piece) ? left : sizeof(piece),
                             MSG_DONTWAIT);
        if (count < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            ev_run(loop, EVRUN_NOWAIT);
            continue;
        }
        ck_assert_int_gt(count, 0);
        text_append(&got, piece, (size_t)count);
    }
    assert_is_mebibyte(&got);
    assert_answered(&asked, CHECK_UP, "true true");
    peer_listen(peer);
    await(peer_got(peer, "end") && peer->ended);
    text_free(&got);
}
END_TEST

START_TEST(a_mebibyte_reaches_a_quick_reader_whole) {
    assert_up(MAKE_MEBIBYTE "local s = net.connect(asked) return 'up', show(s:send(whole))",
              "true");
    await(server.count == 1 && server.peers[0].ended);
    assert_is_mebibyte(&server.peers[0].got);
}
END_TEST

START_TEST(more_than_a_mebibyte_is_not_sent_at_all) {
    assert_up(MAKE_MEBIBYTE "local s = net.connect(asked) "
                            "return 'up', show(s:send(whole .. 'x'))",
              "nil too long");
    await(server.count == 1 && server.peers[0].ended);
    ck_assert_uint_eq(server.peers[0].got.length, 0);
}
END_TEST

START_TEST(nothing_and_zero_bytes_can_be_sent) {
    assert_up("local s = net.connect(asked) "
              "return 'up', show(s:send(''), s:send('a\\0b'), s:send(''), s:send(5))",
              "true true true true");
    await(server.count == 1 && server.peers[0].ended);
    ck_assert_uint_eq(server.peers[0].got.length, 4);
    ck_assert_mem_eq(server.peers[0].got.bytes, "a\0b5", 4);
}
END_TEST

START_TEST(a_send_gives_up_at_its_limit) {
    struct asked asked;
    ask_deaf(&asked, CONNECT MAKE_MEBIBYTE "return 'up', show(s:send(whole, 0.05))", LONG_MS);
    assert_answered(&asked, CHECK_UP, "nil timeout");
}
END_TEST

/* What the first one did not get rid of is forgotten; the next begins anew. */
START_TEST(a_socket_may_send_again_after_a_timeout) {
    struct asked asked;
    struct peer *peer = ask_deaf(
        &asked,
        CONNECT MAKE_MEBIBYTE "local first = show(s:send(whole, 0.05)) "
                              "s:receive(2) return 'up', first .. ' ' .. show(s:send('the end'))",
        LONG_MS);
    await(run_of(&asked)->wanted == 2);
    peer_listen(peer);
    peer_send(peer, "go");
    assert_answered(&asked, CHECK_UP, "nil timeout true");
    await(peer->ended);
    const struct text *got = &peer->got;
    ck_assert_uint_lt(got->length, 1048576);
    ck_assert_str_eq(got->bytes + got->length - 7, "the end");
}
END_TEST

START_TEST(a_send_without_a_limit_ends_at_the_deadline_of_the_run) {
    struct asked asked;
    ask_deaf(&asked, CONNECT MAKE_MEBIBYTE "return 'up', show(s:send(whole))", 500);
    assert_answered(&asked, CHECK_DOWN, "timeout");
}
END_TEST

/* The first is told with ECONNRESET, the next with EPIPE, and no signal comes of it. */
START_TEST(a_peer_that_is_gone_is_a_reset) {
    struct asked asked;
    signal(SIGPIPE, SIG_DFL);
    ask(&asked,
        check_of("local s = net.connect(asked) s:receive(1) local ok, why, n = true, nil, 0 "
                 "while ok and n < 1000 do ok, why = s:send('more') net.sleep(0.001) "
                 "n = n + 1 end return 'up', show(ok, why, s:send('again'))"));
    await(server.count == 1);
    peer_send(&server.peers[0], "x");
    peer_reset(&server.peers[0]);
    assert_answered(&asked, CHECK_UP, "nil reset nil reset");
}
END_TEST

START_TEST(a_peer_that_leaves_while_it_is_sent_to_is_a_reset) {
    struct asked asked;
    struct peer *peer =
        ask_deaf(&asked, CONNECT MAKE_MEBIBYTE "return 'up', show(s:send(whole))", LONG_MS);
    await(run_of(&asked)->wait == WAIT_SEND);
    peer_reset(peer);
    assert_answered(&asked, CHECK_UP, "nil reset");
}
END_TEST

START_TEST(send_takes_only_what_it_can_send) {
    assert_up("local s = net.connect(asked) return 'up', show(pcall(s.send, s, {}))",
              "false bad argument #2 to '?' (string expected, got table)");
    assert_up("local s = net.connect(asked) return 'up', show(pcall(s.send, s, 'x', -1))",
              "false bad argument #3 to '?' (seconds, 0 to 86400)");
    await(server.count == 2 && server.peers[0].ended && server.peers[1].ended);
    ck_assert_uint_eq(server.peers[0].got.length + server.peers[1].got.length, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: sending");
    TCase *tests = tcase_create("send");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, stage_open, stage_close);
    tcase_add_test(tests, a_mebibyte_reaches_a_slow_reader_whole);
    tcase_add_test(tests, a_mebibyte_reaches_a_quick_reader_whole);
    tcase_add_test(tests, more_than_a_mebibyte_is_not_sent_at_all);
    tcase_add_test(tests, nothing_and_zero_bytes_can_be_sent);
    tcase_add_test(tests, a_send_gives_up_at_its_limit);
    tcase_add_test(tests, a_socket_may_send_again_after_a_timeout);
    tcase_add_test(tests, a_send_without_a_limit_ends_at_the_deadline_of_the_run);
    tcase_add_test(tests, a_peer_that_is_gone_is_a_reset);
    tcase_add_test(tests, a_peer_that_leaves_while_it_is_sent_to_is_a_reset);
    tcase_add_test(tests, send_takes_only_what_it_can_send);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
