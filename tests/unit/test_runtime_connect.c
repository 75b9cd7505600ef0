/* alacrity.net: connecting, its limits and bounds, and sleep. */
#include <fcntl.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "runtime_stage.h"

/* A listening socket whose queue is full: who connects now gets no answer. */
struct full_server {
    int descriptor, waiting;
    struct address address;
};

static void full_server_open(struct full_server *full) {
    full->descriptor = bind_anywhere(&full->address);
    ck_assert_int_eq(listen(full->descriptor, 0), 0); /* room for one */
    full->waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(full->waiting, &full->address.any, full->address.length), 0);
}

static void full_server_close(struct full_server *full) {
    close(full->waiting);
    close(full->descriptor);
}

/* ---- connect ---- */

START_TEST(connect_reaches_the_backend_that_is_checked) {
    struct asked asked;
    ask(&asked, check_of("local s = net.connect(asked) s:send('hello ' .. asked.name) "
                         "return 'up', s:receive_line()"));
    await(server.count == 1 && peer_got(&server.peers[0], "hello b1"));
    peer_send(&server.peers[0], "welcome\n");
    assert_answered(&asked, CHECK_UP, "welcome");
}
END_TEST

START_TEST(connect_reaches_an_address) {
    static struct server other;
    char body[256];
    server_open(&other);
    snprintf(body, sizeof(body),
             "local s, why = net.connect('%s') return 'up', s and 'connected' or why", other.text);
    assert_up(body, "connected");
    await(other.count == 1);
    ck_assert_uint_eq(server.count, 0);
    server_close(&other);
}
END_TEST

static struct address unix_address(const char *name) {
    struct address at;
    char text[256], error[128];
    snprintf(text, sizeof(text), "unix:%s/%s", f.folder, name);
    ck_assert_int_eq(address_parse(text, &at, error, sizeof(error)), ADDRESS_NUMERIC);
    return at;
}

static int listen_at(const struct address *at) {
    int listening = socket(at->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listening, &at->any, at->length), 0);
    ck_assert_int_eq(listen(listening, 8), 0);
    return listening;
}

START_TEST(connect_reaches_a_backend_that_is_a_unix_socket) {
    struct asked asked;
    char body[256];
    const struct address at = unix_address("s");
    snprintf(body, sizeof(body),
             "local s, why = net.connect(asked) local t = net.connect('unix:%s/s') "
             "return 'up', s and t and 'connected' or why",
             f.folder);
    struct check *check = check_of(body);
    uint32_t before = descriptors_open();
    ask_at(&asked, check, &at, LONG_MS);
    assert_answered(&asked, CHECK_UP, "No such file or directory");
    ck_assert_uint_eq(descriptors_open(), before);
    int listening = listen_at(&at);
    ask_at(&asked, check, &at, LONG_MS);
    assert_answered(&asked, CHECK_UP, "connected");
    close(listening);
    ask_at(&asked, check, &at, LONG_MS);
    assert_answered(&asked, CHECK_UP, "refused");
}
END_TEST

/* Ours is one of them: whoever may connect to the admin socket may command. */
START_TEST(connect_reaches_no_other_unix_socket) {
    struct asked asked;
    char body[256];
    const struct address at = unix_address("s"), admin = unix_address("admin");
    int listening = listen_at(&at), never = listen_at(&admin);
    snprintf(body, sizeof(body), "return 'up', try(net.connect, 'unix:%s/admin')", f.folder);
    struct check *check = check_of(body);
    ask_at(&asked, check, &at, LONG_MS);
    assert_answered(&asked, CHECK_UP,
                    "net.connect() reaches no unix socket but that of the backend");
    ask(&asked, check);
    assert_answered(&asked, CHECK_UP,
                    "net.connect() reaches no unix socket but that of the backend");
    ck_assert_int_eq(fcntl(never, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_lt(accept(never, NULL, NULL), 0);
    close(listening);
    close(never);
}
END_TEST

START_TEST(connect_is_refused) {
    struct asked asked;
    struct address nobody;
    int reserved = bind_anywhere(&nobody);
    ask_at(&asked, check_of("return 'up', show(net.connect(asked))"), &nobody, LONG_MS);
    assert_answered(&asked, CHECK_UP, "nil refused");
    /* It does not count among the sockets of the run. */
    ask_at(&asked,
           check_of("local last for i = 1, 100 do last = show(net.connect(asked)) end "
                    "return 'up', last"),
           &nobody, LONG_MS);
    assert_answered(&asked, CHECK_UP, "nil refused");
    close(reserved);
}
END_TEST

/* The socket of an attempt that failed is not kept until the end of the run. */
START_TEST(connect_gives_up_at_its_limit) {
    struct full_server full;
    struct asked asked;
    char body[256];
    full_server_open(&full);
    snprintf(body, sizeof(body),
             "kept.why = show(net.connect(asked, {timeout = 0.05})) "
             "local s = net.connect('%s') s:receive(1) return 'up', kept.why",
             server.text);
    uint32_t before = descriptors_open();
    ask_at(&asked, check_of(body), &full.address, LONG_MS);
    await(server.count == 1);
    ck_assert_uint_eq(descriptors_open(), before + 2); /* both ends of the second one */
    peer_send(&server.peers[0], "x");
    assert_answered(&asked, CHECK_UP, "nil timeout");
    full_server_close(&full);
}
END_TEST

START_TEST(connect_without_a_limit_ends_at_the_deadline_of_the_run) {
    struct full_server full;
    struct asked asked;
    uint32_t before = descriptors_open();
    full_server_open(&full);
    ask_at(&asked, check_of("return 'up', show(net.connect(asked))"), &full.address, 50);
    assert_answered(&asked, CHECK_DOWN, "timeout");
    full_server_close(&full);
    ck_assert_uint_eq(descriptors_open(), before);
}
END_TEST

START_TEST(connect_takes_only_what_it_can_reach) {
    assert_up("return 'up', try(net.connect, 'localhost:80')",
              "net.connect() needs a numeric address such as 127.0.0.1:80, not 'localhost:80'");
    assert_up("return 'up', try(net.connect, 'nonsense')",
              "net.connect() needs a numeric address such as 127.0.0.1:80, not 'nonsense'");
    assert_up("return 'up', try(net.connect)", "bad argument #1 to '?' (the backend that is "
                                               "checked, or an address as text)");
}
END_TEST

START_TEST(connect_takes_only_limits_it_can_keep) {
    static const char *const limits[] = {"-1", "0/0", "86400.5", "1/0", "{}", "'soon'"};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        char body[256];
        snprintf(body, sizeof(body),
                 "return 'up', show(pcall(net.connect, asked, {timeout = %s})):match('^false bad "
                 "argument #') or 'taken'",
                 limits[i]);
        assert_up(body, "false bad argument #");
    }
    ck_assert_uint_eq(server.count, 0);
}
END_TEST

/* Every other call takes its limit as a plain number; here it would be ignored. */
START_TEST(connect_refuses_a_limit_that_is_no_table) {
    assert_raises("net.connect(asked, 5)",
                  "./mine.lua:2: bad argument #2 to 'connect' (a table such as {timeout = 0.5})");
    ck_assert_uint_eq(server.count, 0);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_run_has_a_bounded_number_of_sockets) {
    struct asked asked;
    char words[64];
    ask(&asked, check_of("local s = {} repeat local one, why = net.connect(asked) "
                         "s[#s + 1] = one until why or #s > 100 "
                         "local first = #s .. ' ' .. show(net.connect(asked)) s[3]:close() "
                         "local again = net.connect(asked) ~= nil "
                         "return 'up', show(first, again, net.connect(asked))"));
    snprintf(words, sizeof(words), "%d nil too many sockets true nil too many sockets",
             RUN_SOCKETS);
    assert_answered(&asked, CHECK_UP, words);
    await(server.count == RUN_SOCKETS + 1);
    for (uint32_t i = 0; i < server.count; i++) {
        await(server.peers[i].ended);
    }
}
END_TEST

START_TEST(running_out_of_descriptors_is_an_answer) {
    struct rlimit all, few;
    struct asked asked;
    struct check *check = check_of("return 'up', show(net.connect(asked))");
    uint32_t before = descriptors_open();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
    few = all;
    few.rlim_cur = 3; /* there are more already */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    ask(&asked, check);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
    assert_answered(&asked, CHECK_UP, "nil Too many open files");
    ck_assert_uint_eq(descriptors_open(), before);
}
END_TEST

/* ---- sleep ---- */

START_TEST(sleep_lasts_as_long_as_it_is_told) {
    uint64_t start = clock_monotonic_ms();
    assert_up("return 'up', show(net.sleep(0.05))", "true");
    uint64_t took = clock_monotonic_ms() - start;
    ck_assert_uint_ge(took, 49);
    ck_assert_uint_lt(took, 5000);
}
END_TEST

START_TEST(sleeping_for_no_time_comes_back) {
    assert_up("return 'up', show(net.sleep(0))", "true");
}
END_TEST

START_TEST(sleepers_wake_in_their_order) {
    struct asked asked[3];
    struct check *check = check_of("kept.n = (kept.n or 0) + 1 local me = kept.n "
                                   "net.sleep(0.09 - 0.03 * (me - 1)) "
                                   "kept.woken = (kept.woken or '') .. me return 'up', kept.woken");
    ev_now_update(loop); /* all sleep from now */
    for (int i = 0; i < 3; i++) {
        asked[i] = (struct asked){0};
        scripting->check_start(check, f.slots[0], &server.address, LONG_MS, asked_done, &asked[i]);
    }
    assert_answered(&asked[0], CHECK_UP, "321");
    assert_answered(&asked[1], CHECK_UP, "32");
    assert_answered(&asked[2], CHECK_UP, "3");
}
END_TEST

START_TEST(sleep_ends_at_the_deadline_of_the_run) {
    struct asked asked;
    ask_at(&asked, check_of("net.sleep(86400) return 'up'"), &server.address, 30);
    assert_answered(&asked, CHECK_DOWN, "timeout");
    ck_assert_uint_eq(stage_errors(), 0); /* passing the time is no mistake of the script */
}
END_TEST

START_TEST(sleep_takes_only_times_it_can_keep) {
    static const char *const times[] = {"-1", "0/0", "86401", "'long'"};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char body[256];
        snprintf(body, sizeof(body),
                 "return 'up', show(pcall(net.sleep, %s)):match('^false bad argument #1')",
                 times[i]);
        assert_up(body, "false bad argument #1");
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: connect and sleep");
    TCase *tests = tcase_create("connect");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, stage_open, stage_close);
    tcase_add_test(tests, connect_reaches_the_backend_that_is_checked);
    tcase_add_test(tests, connect_reaches_an_address);
    tcase_add_test(tests, connect_reaches_a_backend_that_is_a_unix_socket);
    tcase_add_test(tests, connect_reaches_no_other_unix_socket);
    tcase_add_test(tests, connect_is_refused);
    tcase_add_test(tests, connect_gives_up_at_its_limit);
    tcase_add_test(tests, connect_without_a_limit_ends_at_the_deadline_of_the_run);
    tcase_add_test(tests, connect_takes_only_what_it_can_reach);
    tcase_add_test(tests, connect_takes_only_limits_it_can_keep);
    tcase_add_test(tests, connect_refuses_a_limit_that_is_no_table);
    tcase_add_test(tests, a_run_has_a_bounded_number_of_sockets);
    tcase_add_test(tests, running_out_of_descriptors_is_an_answer);
    tcase_add_test(tests, sleep_lasts_as_long_as_it_is_told);
    tcase_add_test(tests, sleeping_for_no_time_comes_back);
    tcase_add_test(tests, sleepers_wake_in_their_order);
    tcase_add_test(tests, sleep_ends_at_the_deadline_of_the_run);
    tcase_add_test(tests, sleep_takes_only_times_it_can_keep);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
