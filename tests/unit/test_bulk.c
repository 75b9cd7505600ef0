/* Bulk: pipes are borrowed, given back, limited; where the kernel will not splice, bytes are copied
 * and none is lost. */
#include <stdarg.h>
#include <sys/syscall.h>

#include "relay_stage.h"
#include "session/bulk.h"

static int read_error, write_error; /* what splice() from and to a socket fails with; 0 = works */
static uint32_t good_calls;         /* of that half, before it fails */
static bool no_pipes;
static int tiny_pipes; /* what room pipes are made with, and cannot be given more; 0 = as usual */
static uint32_t calls, pipes_made;

static bool is_pipe(int descriptor) {
    return syscall(SYS_fcntl, descriptor, F_GETPIPE_SZ) > 0;
}

int fcntl(int descriptor, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (tiny_pipes > 0 && command == F_SETPIPE_SZ) {
        errno = EPERM;
        return -1;
    }
    if (tiny_pipes > 0 && command == F_GETPIPE_SZ) {
        return tiny_pipes;
    }
    return (int)syscall(SYS_fcntl, descriptor, command, argument);
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes,
               unsigned flags) {
    int error = is_pipe(to) ? read_error : write_error;
    calls++;
    if (error != 0 && good_calls == 0) {
        errno = error;
        return -1;
    }
    good_calls -= error != 0;
    return syscall(SYS_splice, from, from_offset, to, to_offset, bytes, flags);
}

int pipe2(int ends[2], int flags) {
    pipes_made++;
    if (no_pipes) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_pipe2, ends, flags);
}

static void start(void) {
    read_error = write_error = tiny_pipes = 0;
    no_pipes = false;
    calls = good_calls = pipes_made = 0;
    setup_splicing();
}

static char byte_at(size_t at) {
    return (char)(at * 2654435761u >> 13);
}

/* Sends so much from one outer end to the other; checks every byte, and the end of the stream. */
static void transfer(int from, int to, size_t total) {
    static char block[100000], got[100000];
    size_t sent = 0, made = SIZE_MAX, received = 0;
    bool over = false;
    while (!over) {
        if (sent < total) {
            size_t length = total - sent < sizeof(block) ? total - sent : sizeof(block);
            if (made != sent) {
                for (size_t i = 0; i < length; i++) {
                    block[i] = byte_at(sent + i);
                }
                made = sent;
            }
            ssize_t n = send(from, block, length, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
            if (sent == total) {
                shutdown(from, SHUT_WR);
            }
        }
        ev_run(loop, EVRUN_NOWAIT);
        ssize_t n = recv(to, got, sizeof(got), 0);
        ssize_t same = 0; /* an assertion for each byte would take seconds */
        while (same < n && got[same] == byte_at(received + (size_t)same)) {
            same++;
        }
        ck_assert_msg(n <= 0 || same == n, "byte %zu", received + (size_t)same);
        received += n > 0 ? (size_t)n : 0;
        over = n == 0;
    }
    ck_assert_uint_eq(received, total);
}

static uint32_t free_pipes(void) {
    uint32_t count = 0;
    for (const struct bulk_pipe *pipe = plane.free_pipes; pipe != NULL; pipe = pipe->next) {
        count++;
    }
    return count;
}

static uint64_t got(const counter *value) {
    return counter_get(value);
}

START_TEST(a_stream_is_spliced_whole) {
    struct session *session = open_session_over(_i == 0 ? tcp_pair : socket_pair, 0, 0);
    transfer(client, backend, 2000000);
    ck_assert_uint_gt(calls, 4);
    ck_assert_uint_eq(session->client.received_bytes, 2000000);
    ck_assert_uint_ge(plane.pipe_count, 1);
    ck_assert_uint_le(plane.pipe_count, 2);
    ck_assert_uint_eq(free_pipes(), plane.pipe_count); /* an idle session owns none */
    ck_assert_uint_eq(plane.free_pipe_count, plane.pipe_count);
    ck_assert_uint_eq(got(&plane.bulk.pipes), plane.pipe_count);
    ck_assert_uint_eq(got(&plane.bulk.spliced_bytes), 2000000);
    transfer(backend, client, 1000000);
    ck_assert_uint_eq(got(&plane.bulk.spliced_bytes), 3000000);
    ck_assert_uint_eq(got(&plane.bulk.no_pipe) + got(&plane.bulk.refused), 0);
    ck_assert_uint_eq(ended(REASON_DONE), 1);
    struct slot_row row = arena_slot_sum(arena, slot);
    ck_assert_uint_eq(counter_get(&row.bytes_in), 2000000);
    ck_assert_uint_eq(counter_get(&row.bytes_out), 1000000);
}
END_TEST

/* Errors of splice() that mean copying from then on. */
static const int refusals[] = {EINVAL, ENOSYS, EOPNOTSUPP, EPERM};

START_TEST(where_it_cannot_be_read_by_splice_it_is_copied) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    calls = 0; /* it looked for first bytes */
    read_error = refusals[_i];
    transfer(client, backend, 1000000);
    ck_assert_uint_eq(calls, 1);
    ck_assert(session->copies);
}
END_TEST

START_TEST(where_it_cannot_be_written_by_splice_what_is_in_the_pipe_is_copied) {
    struct session *session = open_session_over(tcp_pair, 0, 0);
    calls = 0;
    write_error = refusals[_i];
    transfer(client, backend, 1000000);
    ck_assert_uint_eq(calls, 2);
    ck_assert(session->copies);
}
END_TEST

/* Reads all that still comes. */
static void read_the_rest(int to) {
    static char block[100000];
    ssize_t n;
    do {
        turn();
        n = recv(to, block, sizeof(block), 0);
    } while (n > 0 || (n < 0 && errno == EAGAIN));
}

START_TEST(without_pipes_it_is_copied) {
    no_pipes = true;
    struct session *session = open_session_over(tcp_pair, 0, 0);
    transfer(client, backend, 1000000);
    ck_assert_uint_eq(calls, 0);
    ck_assert(!session->copies); /* there may be one next time */
    ck_assert_uint_ge(got(&plane.bulk.no_pipe), 4);
    ck_assert_uint_eq(got(&plane.bulk.spliced_bytes), 0);
    ck_assert_uint_eq(got(&plane.bulk.pipes), 0);
    plane.pipes_wait_until = 0;
    no_pipes = false;
    transfer(backend, client, 1000000);
    ck_assert_uint_gt(calls, 0);
}
END_TEST

/* One that could not be had is not asked for again at each move. */
START_TEST(pipes_that_cannot_be_had_are_not_asked_for_all_the_time) {
    no_pipes = true;
    open_session_over(socket_pair, 0, 0);
    ev_tstamp began = plane.now;
    transfer(client, backend, 2000000);
    ck_assert_uint_ge(got(&plane.bulk.no_pipe), 10);
    ck_assert_uint_le(pipes_made, 2 + (uint32_t)(plane.now - began));
}
END_TEST

/* What the kernel gives who has too many pages in pipes. */
START_TEST(tiny_pipes_are_none) {
    tiny_pipes = 8192;
    int lowest = dup(0);
    open_session_over(socket_pair, 0, 0);
    transfer(client, backend, 1000000);
    ck_assert_uint_eq(calls, 0);
    ck_assert_uint_ge(got(&plane.bulk.no_pipe), 4);
    ck_assert_uint_ge(pipes_made, 1);
    close(lowest);
    close(client);
    client = dup(0);
    ck_assert_int_eq(client, lowest); /* they were closed again */
}
END_TEST

START_TEST(small_pipes_are_better_than_none) {
    tiny_pipes = 65536;
    open_session_over(socket_pair, 0, 0);
    transfer(client, backend, 1000000);
    ck_assert_uint_eq(got(&plane.bulk.spliced_bytes), 1000000);
}
END_TEST

/* In the middle of a stream, either half, either direction: every byte arrives, and the session
 * counts once. */
START_TEST(the_kernel_may_refuse_at_any_call) {
    bool down = (_i & 1) != 0, write_half = (_i & 2) != 0;
    struct session *session = open_session_over(socket_pair, 0, 0);
    good_calls = (_i & 4) != 0 ? 3 : 10;
    *(write_half ? &write_error : &read_error) = refusals[(_i >> 3) & 3];
    transfer(down ? backend : client, down ? client : backend, 3000000);
    ck_assert(session->copies);
    ck_assert_uint_eq(good_calls, 0);
    uint64_t spliced = got(&plane.bulk.spliced_bytes);
    ck_assert_uint_gt(spliced, 0);
    ck_assert_uint_lt(spliced, 3000000);
    transfer(down ? client : backend, down ? backend : client, 1000000);
    ck_assert_uint_eq(got(&plane.bulk.spliced_bytes), spliced);
    ck_assert_uint_eq(got(&plane.bulk.refused), 1);
    ck_assert_uint_eq(free_pipes(), plane.pipe_count);
    ck_assert_uint_eq(ended(REASON_DONE), 1);
    struct slot_row row = arena_slot_sum(arena, slot);
    ck_assert_uint_eq(got(&row.bytes_in), down ? 1000000 : 3000000);
    ck_assert_uint_eq(got(&row.bytes_out), down ? 3000000 : 1000000);
}
END_TEST

/* Both directions stand, with bytes in a pipe each, when the kernel refuses to empty them. */
START_TEST(what_is_in_both_pipes_is_copied) {
    static char block[100000];
    struct session *session = open_session_over(socket_pair, 0, 0);
    size_t up = fill_from(client), down = fill_from(backend);
    ck_assert_ptr_nonnull(session->client.pipe);
    ck_assert_ptr_nonnull(session->backend.pipe);
    write_error = EINVAL;
    shutdown(client, SHUT_WR);
    shutdown(backend, SHUT_WR);
    for (int idle = 0; idle < 3; idle++) {
        turn();
        ssize_t a = recv(backend, block, sizeof(block), 0);
        ssize_t b = recv(client, block, sizeof(block), 0);
        up -= a > 0 ? (size_t)a : 0;
        down -= b > 0 ? (size_t)b : 0;
        idle = a > 0 || b > 0 ? 0 : idle;
    }
    ck_assert_uint_eq(up, 0);
    ck_assert_uint_eq(down, 0);
    ck_assert_uint_eq(got(&plane.bulk.refused), 1);
    ck_assert_uint_eq(ended(REASON_DONE), 1);
}
END_TEST

static uint32_t descriptors(void) {
    uint32_t count = 0;
    for (int i = 0; i < 1024; i++) {
        count += syscall(SYS_fcntl, i, F_GETFD) >= 0;
    }
    return count;
}

START_TEST(a_full_pipe_goes_with_its_session) {
    uint32_t before = descriptors();
    open_session_over(tcp_pair, 0, 0);
    fill_from(client);
    ck_assert_uint_eq(plane.pipe_count, 1);
    ck_assert_uint_eq(free_pipes(), 0);
    ck_assert_uint_eq(descriptors(), before + 6);
    struct linger now = {.l_onoff = 1};
    int gone = _i == 0 ? client : backend;
    ck_assert_int_eq(setsockopt(gone, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(gone);
    turn();
    plane_end_sessions(&plane, REASON_KILLED);
    ck_assert_uint_eq(plane.pipe_count, free_pipes());
    (void)bulk_close(&plane);
    ck_assert_uint_eq(got(&plane.bulk.pipes), 0);
    ck_assert_uint_eq(descriptors(), before + 1); /* the outer end that is left */
    *(_i == 0 ? &client : &backend) = -1;
}
END_TEST

START_TEST(pipes_nobody_needs_are_closed_one_by_one) {
    uint32_t before = descriptors();
    int clients[3], backends[3];
    for (int i = 0; i < 3; i++) {
        open_session_over(tcp_pair, 0, 0);
        clients[i] = client;
        backends[i] = backend;
        fill_from(client);
    }
    ck_assert_uint_eq(plane.pipe_count, 3);
    bulk_rest(&plane);
    bulk_rest(&plane);
    ck_assert_uint_eq(plane.pipe_count, 3); /* all are in use */
    for (int i = 0; i < 3; i++) {
        shutdown(clients[i], SHUT_WR);
        read_the_rest(backends[i]);
        close(clients[i]);
        close(backends[i]);
    }
    turn();
    ck_assert_uint_eq(free_pipes(), 3);
    bulk_rest(&plane);
    ck_assert_uint_eq(plane.pipe_count, 3); /* until now they may have been needed */
    bulk_rest(&plane);
    ck_assert_uint_eq(plane.pipe_count, 2);
    open_session_over(socket_pair, 0, 0);
    transfer(client, backend, 200000);
    bulk_rest(&plane); /* one of the two was needed, one was not */
    ck_assert_uint_eq(plane.pipe_count, 1);
    transfer(backend, client, 200000);
    bulk_rest(&plane);
    ck_assert_uint_eq(plane.pipe_count, 1);
    ck_assert(bulk_close(&plane));
    ck_assert(!bulk_close(&plane));
    ck_assert_uint_eq(got(&plane.bulk.pipes), 0);
    ck_assert_uint_eq(descriptors(), before + 2);
}
END_TEST

START_TEST(there_are_only_so_many_pipes) {
    struct bulk_pipe *held[BULK_PIPES];
    struct session *sessions[BULK_PIPES];
    int clients[BULK_PIPES], backends[BULK_PIPES];
    for (uint32_t i = 0; i < BULK_PIPES; i++) { /* all are in use, as their receivers do not read */
        sessions[i] = open_session_over(tcp_pair, 0, 0);
        clients[i] = client;
        backends[i] = backend;
        fill_from(client);
        held[i] = sessions[i]->backend.pipe;
        ck_assert_ptr_nonnull(held[i]);
    }
    ck_assert_uint_eq(plane.pipe_count, BULK_PIPES);
    const struct session *last = open_session_over(tcp_pair, 0, 0);
    fill_from(client);
    ck_assert_ptr_null(last->backend.pipe);
    ck_assert_ptr_nonnull(last->backend.pending);
    ck_assert_uint_gt(got(&plane.bulk.no_pipe), 0);
    ck_assert_uint_eq(got(&plane.bulk.pipes), BULK_PIPES);
    for (uint32_t i = 0; i < BULK_PIPES; i++) {
        close(clients[i]);
        close(backends[i]);
    }
}
END_TEST

START_TEST(a_little_is_not_spliced) {
    plane.bulk_least_bytes = BULK_LEAST_BYTES;
    struct session *session =
        open_session_over(socket_pair, 0, 0); /* which fills a read for sure */
    session->client.streams = false;          /* as it begins */
    calls = 0;
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(send(client, "question", 8, 0), 8);
        turn();
        expect_bytes(backend, "question");
    }
    ck_assert_uint_eq(calls, 0);
    transfer(client, backend, 2000000);
    ck_assert_uint_gt(calls, 2);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("bulk");
    TCase *cases = tcase_create("bulk");
    int refused = sizeof(refusals) / sizeof(refusals[0]);
    tcase_set_timeout(cases, 240);
    tcase_add_checked_fixture(cases, start, teardown);
    tcase_add_loop_test(cases, a_stream_is_spliced_whole, 0, 2);
    tcase_add_loop_test(cases, where_it_cannot_be_read_by_splice_it_is_copied, 0, refused);
    tcase_add_loop_test(cases, where_it_cannot_be_written_by_splice_what_is_in_the_pipe_is_copied,
                        0, refused);
    tcase_add_loop_test(cases, the_kernel_may_refuse_at_any_call, 0, 32);
    tcase_add_test(cases, what_is_in_both_pipes_is_copied);
    tcase_add_test(cases, without_pipes_it_is_copied);
    tcase_add_test(cases, pipes_that_cannot_be_had_are_not_asked_for_all_the_time);
    tcase_add_test(cases, tiny_pipes_are_none);
    tcase_add_test(cases, small_pipes_are_better_than_none);
    tcase_add_loop_test(cases, a_full_pipe_goes_with_its_session, 0, 2);
    tcase_add_test(cases, pipes_nobody_needs_are_closed_one_by_one);
    tcase_add_test(cases, there_are_only_so_many_pipes);
    tcase_add_test(cases, a_little_is_not_spliced);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
