/* What a route looked at, and is the first a backend gets. */
#include "relay_stage.h"

#define PREFIX_BYTES 16384u

/* As the route leaves it: bytes pending for a backend that has just been connected. */
static struct session *open_with_prefix(uint32_t length) {
    struct session *session = connected_session(socket_pair, 0, 0);
    session->backend.pending = malloc(length);
    ck_assert_ptr_nonnull(session->backend.pending);
    for (uint32_t i = 0; i < length; i++) {
        session->backend.pending[i] = (char)(i % 251);
    }
    session->backend.pending_end = length;
    return session;
}

static uint64_t bytes_in(void) {
    struct listener_row sum = arena_listener_sum(arena, listener);
    return counter_get(&sum.bytes_in);
}

/* Reads until nothing comes any more; checks that it is the prefix and then `rest`, behind whatever
 * letters z fill the socket. */
static void expect_prefix_and(const char *rest, bool ended) {
    static char all[16 * PREFIX_BYTES];
    char *got = all;
    size_t length = 0, rest_length = strlen(rest);
    ssize_t n;
    do {
        turn();
        n = recv(backend, all + length, sizeof(all) - length, 0);
        length += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    while (length > 0 && *got == 'z') {
        got++;
        length--;
    }
    ck_assert_uint_eq(length, PREFIX_BYTES + rest_length);
    for (uint32_t i = 0; i < PREFIX_BYTES; i++) {
        ck_assert_int_eq(got[i], (char)(i % 251));
    }
    ck_assert(memcmp(got + PREFIX_BYTES, rest, rest_length) == 0);
    ck_assert_int_eq(n, ended ? 0 : -1);
    ck_assert_uint_eq(bytes_in(), PREFIX_BYTES + rest_length);
}

START_TEST(it_comes_before_all_else) {
    struct session *session = open_with_prefix(PREFIX_BYTES);
    ck_assert_int_eq(send(client, "more", 4, 0), 4);
    relay_start(session);
    expect_prefix_and("more", false);
}
END_TEST

/* The backend's socket takes only a part of it at first. */
START_TEST(it_comes_in_parts_when_the_backend_is_slow) {
    struct session *session = open_with_prefix(PREFIX_BYTES);
    int little = 1;
    ck_assert_int_eq(
        setsockopt(session->backend.descriptor, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
    char block[512];
    memset(block, 'z', sizeof(block));
    while (send(session->backend.descriptor, block, sizeof(block), MSG_DONTWAIT) > 0) {
    }
    ck_assert_int_eq(send(client, "more", 4, 0), 4);
    ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
    relay_start(session);
    ck_assert_ptr_nonnull(session->backend.pending);
    ck_assert_int_eq(session->state, SESSION_RELAYING);
    expect_prefix_and("more", true);
}
END_TEST

START_TEST(a_backend_that_is_gone_ends_the_session) {
    struct session *session = open_with_prefix(PREFIX_BYTES);
    close(backend);
    backend = -1;
    relay_start(session);
    turn();
    ck_assert_uint_eq(ended(REASON_BACKEND_RESET) + ended(REASON_DONE), 1);
}
END_TEST

START_TEST(a_session_that_was_never_connected_loses_it) {
    struct session *session = open_with_prefix(64);
    close(session->backend.descriptor);
    session->backend.descriptor = -1;
    session_close(session, REASON_CONNECT_FAILED);
    ck_assert_ptr_null(session->backend.pending);
    turn();
    expect_bytes(client, "");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("relay prefix");
    TCase *cases = tcase_create("prefix");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, it_comes_before_all_else);
    tcase_add_test(cases, it_comes_in_parts_when_the_backend_is_slow);
    tcase_add_test(cases, a_backend_that_is_gone_ends_the_session);
    tcase_add_test(cases, a_session_that_was_never_connected_loses_it);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
