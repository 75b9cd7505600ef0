/* Bulk: pipes are borrowed, given back, limited; where the kernel will not splice, bytes are copied
 * and none is lost. */
#include <sys/syscall.h>

#include "relay_stage.h"
#include "session/bulk.h"

static int read_error, write_error; /* what splice() from and to a socket fails with; 0 = works */
static bool no_pipes;
static uint32_t calls;

static bool is_pipe(int descriptor) {
    return fcntl(descriptor, F_GETPIPE_SZ) > 0;
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes,
               unsigned flags) {
    int error = is_pipe(to) ? read_error : write_error;
    calls++;
    if (error != 0) {
        errno = error;
        return -1;
    }
    return syscall(SYS_splice, from, from_offset, to, to_offset, bytes, flags);
}

int pipe2(int ends[2], int flags) {
    if (no_pipes) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_pipe2, ends, flags);
}

static void start(void) {
    read_error = write_error = 0;
    no_pipes = false;
    calls = 0;
    setup_splicing();
}

static char byte_at(size_t at) {
    return (char)(at * 2654435761u >> 13);
}

/* Sends so much from one outer end to the other; checks every byte, and the end of the stream. */
static void transfer(int from, int to, size_t total) {
    static char block[100000], got[100000];
    size_t sent = 0, received = 0;
    bool over = false;
    while (!over) {
        if (sent < total) {
            size_t length = total - sent < sizeof(block) ? total - sent : sizeof(block);
            for (size_t i = 0; i < length; i++) {
                block[i] = byte_at(sent + i);
            }
            ssize_t n = send(from, block, length, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
            if (sent == total) {
                shutdown(from, SHUT_WR);
            }
        }
        ev_run(loop, EVRUN_NOWAIT);
        ssize_t n = recv(to, got, sizeof(got), 0);
        for (ssize_t i = 0; i < n; i++) {
            ck_assert_msg(got[i] == byte_at(received + (size_t)i), "byte %zu",
                          received + (size_t)i);
        }
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

START_TEST(a_stream_is_spliced_whole) {
    struct session *session = open_session_over(_i == 0 ? tcp_pair : socket_pair, 0, 0);
    transfer(client, backend, 2000000);
    ck_assert_uint_gt(calls, 4);
    ck_assert_uint_eq(session->client.received_bytes, 2000000);
    ck_assert_uint_ge(plane.pipe_count, 1);
    ck_assert_uint_le(plane.pipe_count, 2);
    ck_assert_uint_eq(free_pipes(), plane.pipe_count); /* an idle session owns none */
    transfer(backend, client, 1000000);
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

START_TEST(without_pipes_it_is_copied) {
    no_pipes = true;
    struct session *session = open_session_over(tcp_pair, 0, 0);
    transfer(client, backend, 1000000);
    ck_assert_uint_eq(calls, 0);
    ck_assert(!session->copies); /* there may be one next time */
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
    tcase_add_test(cases, without_pipes_it_is_copied);
    tcase_add_test(cases, there_are_only_so_many_pipes);
    tcase_add_test(cases, a_little_is_not_spliced);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
