/* How sessions end when not all goes well: resets on either side, whole answers and cut ones, our
 * own shortages. Over TCP, since a unix socket has no reset of its own; some over both. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "relay_stage.h"

/* ---- shortages on demand ---- */

static int send_error;   /* what send(), or splice() to a socket, fails with; 0 = works */
static bool watch_fails; /* epoll_ctl() finds no memory */

ssize_t send(int descriptor, const void *bytes, size_t length, int flags) {
    if (send_error != 0) {
        errno = send_error;
        return -1;
    }
    return sendto(descriptor, bytes, length, flags, NULL, 0);
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes,
               unsigned flags) {
    struct stat what;
    bool out = fstat(to, &what) == 0 && S_ISSOCK(what.st_mode);
    if (out && send_error != 0) {
        errno = send_error;
        return -1;
    }
    return syscall(SYS_splice, from, from_offset, to, to_offset, bytes, flags);
}

int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event) {
    if (watch_fails) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, descriptor, event);
}

/* The sanitizers bring a malloc of their own: there the tests that need this one are left out. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define OWN_MALLOC
static bool memory_is_out;
void *__libc_malloc(size_t bytes);
void *malloc(size_t bytes) {
    if (memory_is_out) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(bytes);
}
#endif

/* ---- what the outer ends see ---- */

#define ANSWER_BYTES 100000u

static void wait_ended(enum session_reason reason) {
    while (ended(reason) == 0) {
        ev_run(loop, EVRUN_ONCE);
    }
}

/* What else happens about every second while a session waits to end. */
static void look(struct session *session) {
    ev_feed_event(loop, &session->timer, EV_TIMER);
    turn();
}

/* Reads on to the end of the stream (0) or an error (its number). */
static int read_to_end(int descriptor, size_t *total) {
    static char block[65536];
    struct pollfd readable = {.fd = descriptor, .events = POLLIN};
    uint64_t limit = clock_monotonic_ms() + 5000;
    while (clock_monotonic_ms() < limit) {
        turn();
        if (poll(&readable, 1, 10) == 0) {
            continue;
        }
        ssize_t n = recv(descriptor, block, sizeof(block), 0);
        if (n <= 0) {
            return n == 0 ? 0 : errno;
        }
        *total += (size_t)n;
    }
    return EAGAIN;
}

/* The session's end of a connection keeps next to nothing for a receiver that is full. */
static void little_room(int descriptor) {
    int little = 1;
    ck_assert_int_eq(setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
}

static bool sees_reset(int descriptor) {
    size_t total = 0;
    return read_to_end(descriptor, &total) == ECONNRESET;
}

static bool sees_end(int descriptor) {
    size_t total = 0;
    return read_to_end(descriptor, &total) == 0;
}

/* After the end of stream came a reset: reading does not show it any more. */
static bool was_reset_later(int descriptor) {
    struct pollfd look = {.fd = descriptor};
    return poll(&look, 1, 3000) == 1 && (look.revents & POLLERR) != 0;
}

static void reset(int *descriptor) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    ck_assert_int_eq(setsockopt(*descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(*descriptor);
    *descriptor = -1;
}

/* The backend sends more than the client has room for; the session has read it all, but the
 * client has not got it. */
static struct session *answered_session(uint32_t idle_ms, bool with_unread_upload) {
    struct session *session = open_session_over(tcp_pair, idle_ms, 0);
    int much = 1 << 20; /* the session's end keeps it for the client */
    ck_assert_int_eq(
        setsockopt(session->client.descriptor, SOL_SOCKET, SO_SNDBUF, &much, sizeof(much)), 0);
    if (with_unread_upload) {
        ck_assert_int_eq(send(client, "upload", 6, 0), 6);
        turn();
    }
    static char answer[ANSWER_BYTES];
    ck_assert_int_eq(send(backend, answer, sizeof(answer), 0), sizeof(answer));
    turn();
    ck_assert_uint_eq(session->backend.received_bytes, sizeof(answer));
    ck_assert(!side_has_pending(&session->client));
    return session;
}

/* ---- our own shortage ---- */

START_TEST(send_without_kernel_memory_resets_both) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    ck_assert_int_eq(send(client, "before", 6, 0), 6);
    turn();
    expect_bytes(backend, "before");
    ck_assert_int_eq(send(client, "lost", 4, 0), 4);
    send_error = _i == 0 ? ENOBUFS : ENOMEM;
    turn();
    send_error = 0;
    ck_assert_uint_eq(ended(REASON_OUT_OF_MEMORY), 1);
    ck_assert_int_eq(session->state, SESSION_CLOSED);
    ck_assert(sees_reset(client));
    ck_assert(sees_reset(backend));
}
END_TEST

START_TEST(flush_without_kernel_memory_resets_both) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    fill_from(client);
    ck_assert(side_has_pending(&session->backend));
    send_error = _i == 0 ? ENOBUFS : ENOMEM;
    ck_assert(sees_reset(backend)); /* reading made room, so that the session would write */
    send_error = 0;
    ck_assert_uint_eq(ended(REASON_OUT_OF_MEMORY), 1);
    ck_assert(sees_reset(client));
}
END_TEST

#ifdef OWN_MALLOC
static void turn_without_memory(void) {
    memory_is_out = true;
    turn();
    memory_is_out = false;
}

START_TEST(no_memory_for_what_the_receiver_does_not_take_resets_both) {
    if (splices) {
        return; /* needs none */
    }
    struct session *session = open_session_over(tcp_pair, 0, 0);
    little_room(session->backend.descriptor);
    static char upload[60000];
    ck_assert_int_eq(send(client, upload, sizeof(upload), 0), sizeof(upload));
    turn_without_memory();
    ck_assert_uint_eq(ended(REASON_OUT_OF_MEMORY), 1);
    ck_assert(sees_reset(client));
    ck_assert(sees_reset(backend));
}
END_TEST
#endif

START_TEST(a_connection_that_cannot_be_watched_ends) {
    struct session *session = connected_session(tcp_pair, 0, 0);
    watch_fails = true;
    relay_start(session);
    watch_fails = false;
    turn();
    ck_assert_uint_eq(ended(REASON_OUT_OF_MEMORY), 1);
    ck_assert(sees_reset(client));
    ck_assert(sees_reset(backend));
}
END_TEST

START_TEST(out_of_descriptors_gives_its_own_back_at_once) {
    struct session *session = dialling_session();
    tcp_pair(&client, &session->client.descriptor);
    int inner = session->client.descriptor;
    session_close(session, REASON_OUT_OF_DESCRIPTORS);
    ck_assert_int_eq(fcntl(inner, F_GETFD), -1);
    ck_assert_uint_eq(plane.farewell_count, 0);
    ck_assert(sees_end(client));
}
END_TEST

/* Whoever was never relayed sees an orderly end, even with its request unread. */
START_TEST(who_is_not_connected_yet_may_finish_speaking) {
    static const enum session_reason reasons[] = {REASON_NO_BACKEND, REASON_CONNECT_FAILED,
                                                  REASON_SESSION_TIMEOUT, REASON_KILLED,
                                                  REASON_DRAIN};
    struct session *session = dialling_session();
    tcp_pair(&client, &session->client.descriptor);
    ck_assert_int_eq(send(client, "request", 7, 0), 7);
    session_close(session, reasons[_i]);
    ck_assert_uint_eq(plane.farewell_count, 1);
    ck_assert_int_eq(send(client, "still speaking", 14, 0), 14);
    ck_assert(sees_end(client));
}
END_TEST

/* ---- cut in the middle ---- */

START_TEST(a_session_that_is_cut_resets_both) {
    static const enum session_reason reasons[] = {REASON_DRAIN, REASON_KILLED,
                                                  REASON_SESSION_TIMEOUT};
    struct session *session = open_session_over(tcp_pair, 0, 0);
    ck_assert_int_eq(send(backend, "half of an answer", 17, 0), 17);
    turn();
    session_close(session, reasons[_i]);
    ck_assert(sees_reset(client));
    ck_assert(sees_reset(backend));
}
END_TEST

START_TEST(an_idle_session_ends_in_order) {
    open_session_over(tcp_pair, 50, 0);
    ck_assert_int_eq(send(backend, "an answer", 9, 0), 9);
    turn();
    wait_ended(REASON_IDLE_TIMEOUT);
    ck_assert(sees_end(client));
    ck_assert(sees_end(backend));
}
END_TEST

START_TEST(bytes_that_an_idle_end_throws_away_reset_both) {
    struct session *session = open_session_over(tcp_pair, 200, 0);
    little_room(session->client.descriptor);
    static char answer[60000]; /* read in one go, so that nothing unread resets the backend */
    ck_assert_int_eq(send(backend, answer, sizeof(answer), 0), sizeof(answer));
    turn();
    ck_assert_uint_eq(session->backend.received_bytes, sizeof(answer));
    ck_assert(side_has_pending(&session->client));
    wait_ended(REASON_IDLE_TIMEOUT);
    ck_assert(sees_reset(client));
    ck_assert(sees_reset(backend));
}
END_TEST

/* ---- reset after the end of stream ---- */

START_TEST(client_that_vanishes_after_its_end_of_stream) {
    open_session_over(tcp_pair, 0, 0);
    ck_assert_int_eq(send(client, "request", 7, 0), 7);
    shutdown(client, SHUT_WR);
    turn();
    expect_bytes(backend, "request");
    ck_assert(sees_end(backend));
    reset(&client);
    wait_ended(REASON_CLIENT_RESET);
    ck_assert(was_reset_later(backend));
    ck_assert_uint_eq(atomic_load(&slot->script.view.active), 0);
}
END_TEST

START_TEST(backend_that_vanishes_after_its_end_of_stream) {
    open_session_over(tcp_pair, 0, 0);
    ck_assert_int_eq(send(backend, "answer", 6, 0), 6);
    shutdown(backend, SHUT_WR);
    turn();
    expect_bytes(client, "answer");
    ck_assert(sees_end(client));
    reset(&backend);
    wait_ended(REASON_BACKEND_RESET);
    ck_assert(was_reset_later(client));
    struct slot_row row = arena_slot_sum(arena, slot);
    ck_assert_uint_eq(counter_get(&row.resets), 1);
}
END_TEST

/* On a unix socket, closing with unread bytes is a reset. */
START_TEST(unix_client_that_vanishes_after_its_end_of_stream) {
    struct session *session = open_session(0, 0);
    shutdown(client, SHUT_WR);
    turn();
    ck_assert_int_eq(send(backend, "unread", 6, 0), 6);
    turn();
    close(client);
    client = -1;
    look(session);
    ck_assert_uint_eq(ended(REASON_CLIENT_RESET), 1);
    ck_assert(sees_end(backend));
}
END_TEST

/* Closing in order must not: whoever only delivers something need not wait for an answer. */
START_TEST(unix_client_that_sends_and_closes_is_served) {
    struct session *session = open_session(0, 0);
    ck_assert_int_eq(send(client, "log line", 8, 0), 8);
    close(client);
    client = -1;
    turn();
    look(session);
    look(session);
    ck_assert_int_eq(session->state, SESSION_RELAYING);
    expect_bytes(backend, "log line");
    ck_assert(sees_end(backend));
    shutdown(backend, SHUT_WR);
    wait_ended(REASON_DONE);
}
END_TEST

START_TEST(slow_answer_to_a_client_that_ended_its_stream) {
    struct session *session = open_session_over(_i == 0 ? socket_pair : tcp_pair, 0, 0);
    shutdown(client, SHUT_WR);
    turn();
    look(session);
    look(session);
    ck_assert_int_eq(session->state, SESSION_RELAYING);
    ck_assert_int_eq(send(backend, "late answer", 11, 0), 11);
    shutdown(backend, SHUT_WR);
    wait_ended(REASON_DONE);
    expect_bytes(client, "late answer");
    ck_assert(sees_end(client));
}
END_TEST

START_TEST(slow_upload_to_a_backend_that_ended_its_stream) {
    struct session *session = open_session_over(_i == 0 ? socket_pair : tcp_pair, 0, 0);
    shutdown(backend, SHUT_WR);
    turn();
    look(session);
    look(session);
    ck_assert_int_eq(session->state, SESSION_RELAYING);
    ck_assert_int_eq(send(client, "late upload", 11, 0), 11);
    shutdown(client, SHUT_WR);
    wait_ended(REASON_DONE);
    expect_bytes(backend, "late upload");
    ck_assert(sees_end(backend));
}
END_TEST

/* ---- an answer that is here already is delivered ---- */

/* Nothing at the backend's address any more: it resets what comes. */
static void upload_into_nothing(void) {
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(send(client, "upload", 6, 0), 6);
        turn();
    }
}

START_TEST(whole_answer_reaches_a_slow_client_whose_upload_fails) {
    struct session *session = answered_session(0, false);
    close(backend);
    backend = -1;
    turn();
    ck_assert(session->backend.read_closed);
    upload_into_nothing();
    ck_assert(session->backend.broken);
    size_t total = 0;
    ck_assert_int_eq(read_to_end(client, &total), 0);
    ck_assert_uint_eq(total, ANSWER_BYTES);
    wait_ended(REASON_BACKEND_RESET);
    ck_assert(was_reset_later(client)); /* the upload was cut */
}
END_TEST

START_TEST(cut_answer_reaches_a_slow_client_and_is_no_whole_one) {
    struct session *session = answered_session(0, true);
    close(backend); /* with the upload unread: a reset */
    backend = -1;
    turn();
    ck_assert(session->backend.cut);
    ck_assert_uint_eq(ended(REASON_BACKEND_RESET), 0);
    size_t total = 0;
    ck_assert_int_eq(read_to_end(client, &total), ECONNRESET);
    ck_assert_uint_eq(total, ANSWER_BYTES);
    ck_assert_uint_eq(ended(REASON_BACKEND_RESET), 1);
}
END_TEST

/* The same, but noticed by writing: reading goes on to what then looks like an end of stream. */
START_TEST(cut_answer_of_which_writing_tells_is_no_whole_one) {
    if (splices) {
        return; /* all of it fits into a pipe: nothing is left to be read */
    }
    struct session *session = open_session_over(tcp_pair, 0, 0);
    little_room(session->client.descriptor);
    static char answer[ANSWER_BYTES];
    ck_assert_int_eq(send(client, "upload", 6, 0), 6);
    turn();
    ck_assert_int_eq(send(backend, answer, sizeof(answer), 0), sizeof(answer));
    turn();
    ck_assert_uint_lt(session->backend.received_bytes, sizeof(answer)); /* so it is not read now */
    ck_assert(side_has_pending(&session->client));
    close(backend);
    backend = -1;
    ck_assert_int_eq(send(client, "upload", 6, 0), 6);
    turn();
    ck_assert(session->backend.broken);
    ck_assert(!session->backend.read_closed);
    uint64_t before = session->backend.received_bytes;
    size_t total = 0;
    ck_assert_int_eq(read_to_end(client, &total), ECONNRESET);
    ck_assert_uint_gt(total, before);
    ck_assert_uint_eq(ended(REASON_BACKEND_RESET), 1);
}
END_TEST

START_TEST(cut_answer_is_no_whole_one_when_the_client_is_idle_either) {
    answered_session(300, true);
    close(backend);
    backend = -1;
    wait_ended(REASON_IDLE_TIMEOUT);
    ck_assert(sees_reset(client));
}
END_TEST

START_TEST(whole_request_reaches_a_slow_backend_whose_client_left) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    int much = 1 << 20;
    ck_assert_int_eq(
        setsockopt(session->backend.descriptor, SOL_SOCKET, SO_SNDBUF, &much, sizeof(much)), 0);
    static char request[ANSWER_BYTES];
    ck_assert_int_eq(send(client, request, sizeof(request), 0), sizeof(request));
    close(client);
    client = -1;
    turn();
    ck_assert(session->client.read_closed);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(send(backend, "ok", 2, 0), 2);
        turn();
    }
    ck_assert(session->client.broken);
    size_t total = 0;
    ck_assert_int_eq(read_to_end(backend, &total), 0);
    ck_assert_uint_eq(total, ANSWER_BYTES);
    wait_ended(REASON_CLIENT_RESET);
}
END_TEST

START_TEST(an_upload_that_nobody_gets_is_no_activity) {
    struct session *session = answered_session(300, false);
    close(backend);
    backend = -1;
    turn();
    upload_into_nothing();
    ck_assert(session->backend.broken);
    uint64_t limit = clock_monotonic_ms() + 3000;
    while (ended(REASON_IDLE_TIMEOUT) == 0 && clock_monotonic_ms() < limit) {
        (void)!send(client, "x", 1, MSG_NOSIGNAL); /* and never reads the answer */
        ev_run(loop, EVRUN_ONCE);
    }
    ck_assert_uint_eq(ended(REASON_IDLE_TIMEOUT), 1);
}
END_TEST

START_TEST(both_gone_is_the_end) {
    struct session *session = answered_session(0, false);
    shutdown(client, SHUT_WR);
    turn();
    close(backend);
    backend = -1;
    turn();
    ck_assert_int_eq(session->state, SESSION_CLOSED);
    ck_assert_uint_eq(ended(REASON_DONE), 1);
}
END_TEST

START_TEST(client_that_leaves_before_it_has_the_rest_of_the_answer) {
    struct session *session = answered_session(0, false);
    close(backend);
    backend = -1;
    turn();
    upload_into_nothing();
    if (_i > 0) {
        shutdown(client, SHUT_WR);
    }
    if (_i == 1) { /* else the reset is told of together with the end */
        turn();
    }
    ck_assert_int_eq(session->state, SESSION_RELAYING);
    reset(&client);
    turn();
    if (ended(REASON_CLIENT_RESET) + ended(REASON_BACKEND_RESET) == 0) { /* else it is no more */
        look(session);
    }
    ck_assert_uint_eq(ended(REASON_CLIENT_RESET) + ended(REASON_BACKEND_RESET), 1);
}
END_TEST

static void add_tests(TCase *cases) {
    tcase_add_loop_test(cases, send_without_kernel_memory_resets_both, 0, 2);
    tcase_add_loop_test(cases, flush_without_kernel_memory_resets_both, 0, 2);
#ifdef OWN_MALLOC
    tcase_add_test(cases, no_memory_for_what_the_receiver_does_not_take_resets_both);
#endif
    tcase_add_test(cases, a_connection_that_cannot_be_watched_ends);
    tcase_add_test(cases, out_of_descriptors_gives_its_own_back_at_once);
    tcase_add_loop_test(cases, who_is_not_connected_yet_may_finish_speaking, 0, 5);
    tcase_add_loop_test(cases, a_session_that_is_cut_resets_both, 0, 3);
    tcase_add_test(cases, an_idle_session_ends_in_order);
    tcase_add_test(cases, bytes_that_an_idle_end_throws_away_reset_both);
    tcase_add_test(cases, client_that_vanishes_after_its_end_of_stream);
    tcase_add_test(cases, backend_that_vanishes_after_its_end_of_stream);
    tcase_add_test(cases, unix_client_that_vanishes_after_its_end_of_stream);
    tcase_add_test(cases, unix_client_that_sends_and_closes_is_served);
    tcase_add_loop_test(cases, slow_answer_to_a_client_that_ended_its_stream, 0, 2);
    tcase_add_loop_test(cases, slow_upload_to_a_backend_that_ended_its_stream, 0, 2);
    tcase_add_test(cases, whole_answer_reaches_a_slow_client_whose_upload_fails);
    tcase_add_test(cases, cut_answer_reaches_a_slow_client_and_is_no_whole_one);
    tcase_add_test(cases, cut_answer_of_which_writing_tells_is_no_whole_one);
    tcase_add_test(cases, cut_answer_is_no_whole_one_when_the_client_is_idle_either);
    tcase_add_test(cases, whole_request_reaches_a_slow_backend_whose_client_left);
    tcase_add_test(cases, an_upload_that_nobody_gets_is_no_activity);
    tcase_add_test(cases, both_gone_is_the_end);
    tcase_add_loop_test(cases, client_that_leaves_before_it_has_the_rest_of_the_answer, 0, 3);
}

int main(void) {
    Suite *suite = suite_create("endings");
    add_both_ways(suite, add_tests);
    return run_suite(suite);
}
