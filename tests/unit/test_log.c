/* Log: both formats, long and hostile lines, levels, many threads, a sink that blocks, rotation. */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/log_line.h"
#include "suite.h"

static char folder[64], file[80];
static char contents[8 << 20];

static void open_folder(void) {
    strcpy(folder, "/tmp/test_log_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/log", folder);
}

static void remove_folder(void) {
    log_stop();
    unlink(file);
    rmdir(folder);
}

static size_t read_file(const char *name) {
    int descriptor = open(name, O_RDONLY);
    ck_assert_int_ge(descriptor, 0);
    size_t length = 0;
    ssize_t got;
    while ((got = read(descriptor, contents + length, sizeof(contents) - 1 - length)) > 0) {
        length += (size_t)got;
    }
    contents[length] = '\0';
    close(descriptor);
    return length;
}

static bool configure(const struct log_settings *settings) {
    bool ok = log_prepare(settings, NULL);
    log_commit();
    return ok;
}

static void start(enum log_format format, enum log_level level) {
    struct log_settings settings = {file, format, level};
    ck_assert(log_start());
    ck_assert(configure(&settings));
}

__attribute__((format(printf, 5, 6))) static void
format_line(struct log_line *line, enum log_format format, const struct log_field *fields,
            uint32_t count, const char *message, ...) {
    va_list arguments;
    va_start(arguments, message);
    log_line_format(line, format, LOG_INFO, "session", "worker 0", fields, count, message,
                    arguments);
    va_end(arguments);
    ck_assert_uint_le(line->length, LOG_LINE_BYTES);
    ck_assert_ptr_eq(memchr(line->bytes, '\n', line->length), line->bytes + line->length - 1);
    line->bytes[line->length - 1] = '\0';
}

#define TIME_BYTES 24 /* 2026-01-02T03:04:05.678Z */

START_TEST(text_lines_quote_what_needs_it) {
    struct log_line line;
    struct log_field fields[] = {LOG_STRING("client", "127.0.0.1"), LOG_NUMBER("bytes_in", -5),
                                 LOG_STRING("empty", ""), LOG_STRING("path", "a b=\"c\"\n\\")};
    format_line(&line, LOG_TEXT, fields, 4, "closed %d", 7);
    ck_assert_str_eq(line.bytes + TIME_BYTES,
                     " info session closed 7 client=127.0.0.1 bytes_in=-5 empty=\"\" "
                     "path=\"a b=\\\"c\\\"\\n\\\\\"");
    ck_assert_int_eq(line.bytes[TIME_BYTES - 1], 'Z');
}
END_TEST

START_TEST(bare_values_have_no_quotes) {
    struct log_line line;
    struct log_field fields[] = {LOG_BARE("load", "0.5"), LOG_BARE("ok", "true"),
                                 LOG_STRING("text", "0.5")};
    format_line(&line, LOG_JSON, fields, 3, "m");
    ck_assert_ptr_nonnull(
        strstr(line.bytes, "\"message\":\"m\",\"load\":0.5,\"ok\":true,\"text\":\"0.5\"}"));
    format_line(&line, LOG_TEXT, fields, 3, "m");
    ck_assert_ptr_nonnull(strstr(line.bytes, " m load=0.5 ok=true text=0.5"));
}
END_TEST

START_TEST(json_lines_are_json) {
    struct log_line line;
    struct log_field fields[] = {LOG_STRING("client", "a\"b"), LOG_NUMBER("bytes_in", 5)};
    format_line(&line, LOG_JSON, fields, 2, "two\nlines \xFF");
    ck_assert_str_eq(
        line.bytes + 9 + TIME_BYTES,
        "\",\"level\":\"info\",\"event\":\"session\",\"thread\":\"worker 0\","
        "\"message\":\"two\\nlines \xEF\xBF\xBD\",\"client\":\"a\\\"b\",\"bytes_in\":5}");
}
END_TEST

START_TEST(a_message_cannot_forge_a_second_line) {
    struct log_line line;
    format_line(&line, LOG_TEXT, NULL, 0, "x\n2026-01-02T03:04:05.678Z info fake\x1b[2J");
    ck_assert_str_eq(line.bytes + TIME_BYTES,
                     " info session x\\n2026-01-02T03:04:05.678Z info fake\\u001b[2J");
}
END_TEST

/* Every length around the limit, with characters of one, two and six bytes, must end well. */
START_TEST(long_lines_are_shortened_visibly_and_stay_whole) {
    static char message[4200 * 2 + 1];
    static const char *const letters[] = {"x", "\"", "\x01", "\xC3\xBC"};
    struct log_line line;
    for (uint32_t letter = 0; letter < 4; letter++) {
        for (uint32_t repeat = 400; repeat < 4200; repeat += repeat < 3800 ? 97 : 1) {
            message[0] = '\0';
            char *end = message;
            for (uint32_t i = 0; i < repeat; i++) {
                end = stpcpy(end, letters[letter]);
            }
            struct log_field fields[] = {LOG_NUMBER("n", 1234567), LOG_STRING("s", message)};
            format_line(&line, LOG_JSON, fields, 2, "m");
            const char *tail = line.bytes + strlen(line.bytes);
            ck_assert_msg(memcmp(tail - 2, line.shortened ? "e}" : "\"}", 2) == 0, "%s", tail - 30);
            if (line.shortened) {
                ck_assert_str_eq(tail - 18, ",\"shortened\":true}");
                ck_assert_int_eq(tail[-19], '"');
            }
            format_line(&line, LOG_TEXT, fields, 2, "%s", message);
            tail = line.bytes + strlen(line.bytes);
            ck_assert(!line.shortened || strcmp(tail - 12, " [shortened]") == 0);
            struct log_field many[] = {LOG_STRING("s", message), LOG_NUMBER("n", 1234567),
                                       LOG_STRING("t", message)};
            format_line(&line, LOG_JSON, many, 3, "%s", message);
            ck_assert(line.bytes[strlen(line.bytes) - 1] == '}');
        }
    }
}
END_TEST

START_TEST(levels_filter_and_off_is_silent) {
    start(LOG_TEXT, LOG_WARNING);
    log_message(LOG_INFO, "check", "quiet");
    log_message(LOG_WARNING, "check", "loud");
    ck_assert(!log_enabled(LOG_INFO));
    ck_assert(log_enabled(LOG_ERROR));
    log_stop();
    read_file(file);
    ck_assert_ptr_null(strstr(contents, "quiet"));
    ck_assert_ptr_nonnull(strstr(contents, "Z warning check loud\n"));
    ck_assert(log_start());
    ck_assert(configure(&(struct log_settings){"off", LOG_TEXT, LOG_DEBUG}));
    ck_assert(!log_enabled(LOG_ERROR));
}
END_TEST

START_TEST(a_target_that_cannot_be_opened_changes_nothing) {
    start(LOG_TEXT, LOG_INFO);
    ck_assert(!configure(&(struct log_settings){"/nowhere/log", LOG_JSON, LOG_ERROR}));
    log_message(LOG_INFO, "reload", "still here");
    log_stop();
    read_file(file);
    ck_assert_ptr_nonnull(strstr(contents, "info reload still here\n"));
}
END_TEST

/* The lowest free descriptor: higher when one was left open. */
static int lowest_free(void) {
    int descriptor = dup(STDERR_FILENO);
    close(descriptor);
    return descriptor;
}

START_TEST(what_is_prepared_changes_nothing_until_it_is_committed) {
    char other[100];
    snprintf(other, sizeof(other), "%s.other", file);
    start(LOG_TEXT, LOG_INFO);
    int before = lowest_free();
    for (int i = 0; i < 2; i++) { /* the second time, what the first prepared is closed */
        ck_assert(log_prepare(&(struct log_settings){other, LOG_JSON, LOG_ERROR}, NULL));
        log_message(LOG_INFO, "reload", "round %d", i);
    }
    log_abort();
    ck_assert_int_eq(lowest_free(), before);
    log_commit(); /* nothing is prepared */
    log_message(LOG_INFO, "reload", "the end");
    log_stop();
    read_file(file);
    ck_assert_ptr_nonnull(strstr(contents, "info reload round 0\n"));
    ck_assert_ptr_nonnull(strstr(contents, "info reload round 1\n"));
    ck_assert_ptr_nonnull(strstr(contents, "info reload the end\n"));
    ck_assert_uint_eq(read_file(other), 0);
    unlink(other);
}
END_TEST

START_TEST(reopening_follows_a_rotation) {
    char rotated[100];
    snprintf(rotated, sizeof(rotated), "%s.1", file);
    start(LOG_TEXT, LOG_INFO);
    log_message(LOG_INFO, "log", "before");
    log_stop(); /* the line is in the file now */
    start(LOG_TEXT, LOG_INFO);
    ck_assert_int_eq(rename(file, rotated), 0);
    log_reopen();
    log_message(LOG_INFO, "log", "after");
    log_stop();
    read_file(file);
    ck_assert_ptr_nonnull(strstr(contents, "after"));
    ck_assert_ptr_null(strstr(contents, "before"));
    unlink(rotated);
}
END_TEST

#define THREADS 4
#define LINES 5000

static void *log_lines(void *argument) {
    int number = *(int *)argument;
    if (number > 0) { /* thread 0 takes the shared path */
        char name[32];
        snprintf(name, sizeof(name), "worker %d", number);
        log_thread(name);
    }
    for (int i = 0; i < LINES; i++) {
        struct log_field fields[] = {LOG_NUMBER("thread", number), LOG_NUMBER("line", i)};
        log_fields(LOG_INFO, "session", fields, "x");
        if (i % 500 == 499) {
            sched_yield(); /* lets the writer in, so that not all is dropped */
        }
    }
    log_thread_end();
    return NULL;
}

START_TEST(lines_of_threads_arrive_whole_and_in_order) {
    pthread_t threads[THREADS];
    int numbers[THREADS], next[THREADS] = {0};
    start(LOG_TEXT, LOG_INFO);
    uint64_t dropped_before = log_dropped();
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    uint64_t dropped = log_dropped() - dropped_before;
    log_stop();
    read_file(file);
    uint64_t seen = 0;
    for (char *line = strtok(contents, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        int thread, number;
        if (strstr(line, "lines dropped") != NULL) {
            continue;
        }
        ck_assert_msg(
            sscanf(line + TIME_BYTES, " info session x thread=%d line=%d", &thread, &number) == 2,
            "%s", line);
        ck_assert_int_ge(number, next[thread]);
        next[thread] = number + 1;
        seen++;
    }
    ck_assert_uint_eq(seen + dropped, THREADS * LINES);
    ck_assert_uint_gt(seen, 0);
}
END_TEST

START_TEST(a_blocked_sink_drops_lines_and_tells_later) {
    ck_assert_int_eq(mkfifo(file, 0600), 0);
    int reader = open(file, O_RDONLY | O_NONBLOCK);
    ck_assert_int_ge(reader, 0);
    start(LOG_TEXT, LOG_INFO);
    log_thread("worker 0");
    char filler[1000];
    memset(filler, 'f', sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    uint64_t began = clock_monotonic_ms();
    for (int i = 0; i < 2000; i++) { /* 2 MB: more than pipe and ring hold */
        log_message(LOG_INFO, "session", "%s", filler);
    }
    ck_assert_uint_lt(clock_monotonic_ms() - began, 2000); /* the producer was not held up */
    ck_assert_uint_gt(log_dropped(), 500);
    /* Now the reader reads: what was kept comes, and the count of what was not. */
    size_t length = 0;
    while (length < sizeof(contents) - 65536) {
        struct pollfd ready = {.fd = reader, .events = POLLIN};
        ck_assert_int_eq(poll(&ready, 1, 10000), 1);
        ssize_t got = read(reader, contents + length, 65536);
        ck_assert_int_gt(got, 0);
        length += (size_t)got;
        contents[length] = '\0';
        if (strstr(contents, "lines dropped") != NULL) {
            break;
        }
    }
    ck_assert_ptr_nonnull(strstr(contents, "lines dropped"));
    log_thread_end();
    log_stop();
    close(reader);
}
END_TEST

START_TEST(stopping_does_not_wait_for_ever_for_a_blocked_sink) {
    ck_assert_int_eq(mkfifo(file, 0600), 0);
    int reader = open(file, O_RDONLY | O_NONBLOCK);
    start(LOG_TEXT, LOG_INFO);
    for (int i = 0; i < 20000; i++) {
        log_message(LOG_INFO, "session", "nobody reads this line %d", i);
    }
    uint64_t began = clock_monotonic_ms();
    log_stop();
    ck_assert_uint_lt(clock_monotonic_ms() - began, 10000);
    close(reader);
}
END_TEST

START_TEST(another_target_frees_a_blocked_log) {
    char other[100];
    snprintf(other, sizeof(other), "%s.other", file);
    ck_assert_int_eq(mkfifo(file, 0600), 0);
    int reader = open(file, O_RDONLY | O_NONBLOCK);
    start(LOG_TEXT, LOG_INFO);
    for (int i = 0; i < 2000; i++) {
        log_message(LOG_INFO, "session", "nobody reads this line %d", i);
    }
    ck_assert(configure(&(struct log_settings){other, LOG_TEXT, LOG_INFO}));
    log_message(LOG_INFO, "log", "free again");
    log_stop();
    read_file(other);
    ck_assert_ptr_nonnull(strstr(contents, "free again"));
    unlink(other);
    close(reader);
}
END_TEST

START_TEST(the_limiter_lets_a_burst_pass_and_counts_the_rest) {
    struct log_limiter limiter = {0};
    uint32_t suppressed, passed = 0;
    /* A second may turn in the middle: then another burst passes. */
    for (int i = 0; i < 1000; i++) {
        passed += log_limiter_pass(&limiter, 10, &suppressed);
    }
    ck_assert(passed == 10 || passed == 20);
    limiter.second = 1; /* as if time had passed */
    ck_assert(log_limiter_pass(&limiter, 10, &suppressed));
    ck_assert_uint_gt(suppressed, 900);
    ck_assert(log_limiter_pass(&limiter, 10, &suppressed));
    ck_assert_uint_eq(suppressed, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");
    tcase_add_checked_fixture(tests, open_folder, remove_folder);
    tcase_add_test(tests, text_lines_quote_what_needs_it);
    tcase_add_test(tests, bare_values_have_no_quotes);
    tcase_add_test(tests, json_lines_are_json);
    tcase_add_test(tests, a_message_cannot_forge_a_second_line);
    tcase_add_test(tests, long_lines_are_shortened_visibly_and_stay_whole);
    tcase_add_test(tests, levels_filter_and_off_is_silent);
    tcase_add_test(tests, a_target_that_cannot_be_opened_changes_nothing);
    tcase_add_test(tests, what_is_prepared_changes_nothing_until_it_is_committed);
    tcase_add_test(tests, reopening_follows_a_rotation);
    tcase_add_test(tests, lines_of_threads_arrive_whole_and_in_order);
    tcase_add_test(tests, a_blocked_sink_drops_lines_and_tells_later);
    tcase_add_test(tests, stopping_does_not_wait_for_ever_for_a_blocked_sink);
    tcase_add_test(tests, another_target_frees_a_blocked_log);
    tcase_add_test(tests, the_limiter_lets_a_burst_pass_and_counts_the_rest);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
