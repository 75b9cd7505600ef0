/* Readiness from edges: what is told once is not forgotten, and nothing waits for an edge that does
 * not come. */
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "relay_stage.h"

static int no_delay(int descriptor) {
    int value = -1;
    socklen_t length = sizeof(value);
    ck_assert_int_eq(getsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    return value;
}

/* Reads the whole stream: the kernel may take its time to bring it. */
static void expect_stream(int descriptor, const char *text) {
    char got[64];
    size_t length = 0, wanted = strlen(text);
    while (length < wanted) {
        ssize_t n = recv(descriptor, got + length, wanted - length, 0);
        ck_assert_int_ne(n, 0);
        length += n > 0 ? (size_t)n : 0;
        turn();
    }
    ck_assert(memcmp(got, text, wanted) == 0);
}

static void expect_end(int descriptor) {
    char byte;
    ssize_t n;
    while ((n = recv(descriptor, &byte, 1, 0)) < 0) {
        turn();
    }
    ck_assert_int_eq(n, 0);
}

/* A read stops short at the mark, with more behind it that no edge tells of. */
START_TEST(bytes_behind_urgent_data_arrive) {
    open_session_over(tcp_pair, 0, 0);
    turn();
    ck_assert_int_eq(send(client, "before", 6, 0), 6);
    ck_assert_int_eq(send(client, "!", 1, MSG_OOB), 1);
    ck_assert_int_eq(send(client, "behind", 6, 0), 6);
    shutdown(client, SHUT_WR);
    turn();
    expect_stream(backend, "beforebehind"); /* the urgent byte is no part of the stream */
    expect_end(backend);
}
END_TEST

/* So it does on a unix socket where a descriptor is passed along. */
START_TEST(bytes_behind_a_passed_descriptor_arrive) {
    open_session_over(socket_pair, 0, 0);
    turn();
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec bytes = {.iov_base = (char[]){"with"}, .iov_len = 4};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &client, sizeof(int));
    ck_assert_int_eq(send(client, "before", 6, 0), 6);
    ck_assert_int_eq(sendmsg(client, &message, 0), 4);
    ck_assert_int_eq(send(client, "behind", 6, 0), 6);
    turn();
    expect_stream(backend, "beforewithbehind");
}
END_TEST

START_TEST(bytes_and_end_that_come_together_are_passed_on) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    turn();
    ck_assert_int_eq(send(client, "all", 3, 0), 3);
    shutdown(client, SHUT_WR);
    turn();
    expect_stream(backend, "all");
    expect_end(backend);
    ck_assert(session->client.read_closed);
    ck_assert_uint_eq(session->client.received_bytes, 3);
}
END_TEST

/* The same, before anything was told: as when they come just after the set was asked. */
START_TEST(urgent_data_not_told_of_is_not_the_end) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    turn();
    ck_assert_int_eq(send(client, "before", 6, 0), 6);
    ck_assert_int_eq(send(client, "!", 1, MSG_OOB), 1);
    ck_assert_int_eq(send(client, "behind", 6, 0), 6);
    shutdown(client, SHUT_WR);
    for (int i = 0; i < 3; i++) {
        session->client.ready.readable = true;
        session->client.streams = splices;
        relay_on_ready(session);
    }
    turn();
    expect_stream(backend, "beforebehind");
    expect_end(backend);
}
END_TEST

/* The end came with bytes that the backend does not take at once. */
START_TEST(an_end_waits_for_the_bytes_before_it) {
    static char much[60000], block[65536];
    struct session *session = open_session_over(tcp_pair, 0, 0);
    int little = 4096;
    ck_assert_int_eq(
        setsockopt(session->backend.descriptor, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
    turn();
    ck_assert_int_eq(send(client, much, sizeof(much), 0), sizeof(much));
    shutdown(client, SHUT_WR);
    turn();
    ck_assert(side_has_pending(&session->backend));
    size_t received = 0;
    ssize_t n;
    do {
        n = recv(backend, block, sizeof(block), 0);
        received += n > 0 ? (size_t)n : 0;
        turn();
    } while (n != 0);
    ck_assert_uint_eq(received, sizeof(much));
}
END_TEST

START_TEST(a_reset_behind_the_end_is_noticed_at_once) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    shutdown(client, SHUT_WR);
    turn();
    struct linger now = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(client);
    client = -1;
    turn();
    ck_assert(session->client.broken); /* it ends as soon as the backend has acknowledged all */
    while (ended(REASON_CLIENT_RESET) == 0) {
        ev_run(loop, EVRUN_ONCE);
    }
}
END_TEST

/* A session that has had its share waits for the others, and goes on without any edge. */
START_TEST(one_that_sends_much_leaves_turns_to_the_others) {
    static char much[3 << 20]; /* more than a pipe holds */
    struct session *busy = open_session_over(socket_pair, 0, 0);
    int busy_client = client, busy_backend = backend, room = 1 << 23;
    turn();
    setsockopt(busy_client, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    setsockopt(busy->backend.descriptor, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    open_session_over(socket_pair, 0, 0);
    turn();
    ssize_t sent = send(busy_client, much, sizeof(much), 0);
    ck_assert_int_gt(sent, 5 * (int)RELAY_SCRATCH_BYTES);
    ck_assert_int_eq(send(client, "short", 5, 0), 5);
    ev_run(loop, EVRUN_ONCE);
    ck_assert_uint_lt(busy->client.received_bytes, sent);
    expect_stream(backend, "short");
    for (size_t turns = 0; busy->client.received_bytes < (size_t)sent; turns++) {
        ck_assert_int_lt(turns, 1000);
        ev_run(loop, EVRUN_ONCE); /* does not wait */
    }
    close(busy_client);
    close(busy_backend);
}
END_TEST

START_TEST(only_a_second_send_needs_no_delay) {
    struct session *session = connected_session(tcp_pair, 0, 0);
    session->backend.held_back = true; /* as dial.c says */
    int inner = session->backend.descriptor;
    relay_start(session);
    ck_assert_int_eq(send(client, "first", 5, 0), 5);
    turn();
    expect_stream(backend, "first");
    ck_assert_int_eq(no_delay(inner), 0);
    ck_assert_int_eq(send(client, "second", 6, 0), 6);
    turn();
    expect_stream(backend, "second");
    ck_assert_int_eq(no_delay(inner), 1);
}
END_TEST

/* What is told of it later would reach whoever has the session's memory by then. */
START_TEST(a_socket_that_is_handed_on_is_not_watched_any_more) {
    struct session *session = dialling_session();
    connect_sides(session, socket_pair);
    ck_assert(ready_watch(&session->client));
    session_close(session, REASON_NO_BACKEND); /* a farewell takes the client's socket */
    turn();
    ck_assert_uint_eq(plane.farewell_count, 1);
    ck_assert_int_eq(send(client, "x", 1, 0), 1);
    struct epoll_event event;
    ck_assert_int_eq(epoll_wait(plane.ready_io.fd, &event, 1, 0), 0);
}
END_TEST

static void add_tests(TCase *cases) {
    tcase_add_test(cases, bytes_behind_urgent_data_arrive);
    tcase_add_test(cases, bytes_behind_a_passed_descriptor_arrive);
    tcase_add_test(cases, bytes_and_end_that_come_together_are_passed_on);
    tcase_add_test(cases, urgent_data_not_told_of_is_not_the_end);
    tcase_add_test(cases, an_end_waits_for_the_bytes_before_it);
    tcase_add_test(cases, a_reset_behind_the_end_is_noticed_at_once);
    tcase_add_test(cases, one_that_sends_much_leaves_turns_to_the_others);
    tcase_add_test(cases, only_a_second_send_needs_no_delay);
    tcase_add_test(cases, a_socket_that_is_handed_on_is_not_watched_any_more);
}

int main(void) {
    Suite *suite = suite_create("ready");
    add_both_ways(suite, add_tests);
    return run_suite(suite);
}
