/* Metrics of scripts: identity, families, bounds, recycling, and sums over the rows of threads. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/arena.h"
#include "pool/metrics.h"
#include "suite.h"

static struct arena *arena;

static void open_arena(void) {
    char error[200];
    arena = arena_new(error, sizeof(error));
    ck_assert_msg(arena != NULL, "%s", error);
    arena_use_workers(arena, 2);
}

static void close_arena(void) {
    arena_free(arena);
}

static struct metric metric_of(enum metric_kind kind, const char *name, const char *label) {
    struct metric metric = {.kind = kind};
    snprintf(metric.name, sizeof(metric.name), "%s", name);
    if (label != NULL) {
        metric.label_count = 1;
        strcpy(metric.labels[0].name, "kind");
        snprintf(metric.labels[0].value, sizeof(metric.labels[0].value), "%s", label);
    }
    if (kind == METRIC_HISTOGRAM) {
        metric.bound_count = 2;
        metric.bounds[0] = 1;
        metric.bounds[1] = 10;
    }
    return metric;
}

static uint32_t take(enum metric_kind kind, const char *name, const char *label) {
    struct metric metric = metric_of(kind, name, label);
    uint32_t index;
    const char *fault = metrics_take(arena, &metric, &index);
    ck_assert_msg(fault == NULL, "%s", fault);
    return index;
}

static const char *fault_of(struct metric metric) {
    uint32_t index;
    const char *fault = metrics_take(arena, &metric, &index);
    return fault != NULL ? fault : "none";
}

static double sum_of(uint32_t index) {
    struct metric_sum sum;
    ck_assert(metrics_sum(arena, index, &sum));
    return sum.values[0];
}

START_TEST(a_name_and_its_labels_are_one_series) {
    uint32_t plain = take(METRIC_COUNTER, "plain", NULL);
    uint32_t good = take(METRIC_COUNTER, "hits", "good"), bad = take(METRIC_COUNTER, "hits", "bad");
    ck_assert_uint_eq(take(METRIC_COUNTER, "plain", NULL), plain);
    ck_assert_uint_eq(take(METRIC_COUNTER, "hits", "good"), good);
    ck_assert(plain != good && good != bad && plain != bad);
    ck_assert_uint_eq(metrics_count(arena), 3);
}
END_TEST

START_TEST(series_of_a_name_are_alike) {
    (void)take(METRIC_COUNTER, "hits", "good");
    (void)take(METRIC_HISTOGRAM, "wait", NULL);
    ck_assert_str_eq(fault_of(metric_of(METRIC_GAUGE, "hits", "good")),
                     "there is a counter of this name already");
    ck_assert_str_eq(fault_of(metric_of(METRIC_COUNTER, "wait", NULL)),
                     "there is a histogram of this name already");
    ck_assert_ptr_nonnull(strstr(fault_of(metric_of(METRIC_COUNTER, "hits", NULL)), "labels"));
    struct metric other = metric_of(METRIC_COUNTER, "hits", "good");
    strcpy(other.labels[0].name, "other");
    ck_assert_ptr_nonnull(strstr(fault_of(other), "labels"));
    other = metric_of(METRIC_HISTOGRAM, "wait", NULL);
    other.bounds[1] = 11;
    ck_assert_ptr_nonnull(strstr(fault_of(other), "buckets"));
    ck_assert_uint_eq(metrics_count(arena), 2);
}
END_TEST

START_TEST(names_are_checked) {
    static const char *const good[] = {"a", "_", "hits", "wait_seconds", "a1", "callsx", "le"};
    static const char *const bad[] = {
        "",       "A",        "1a",      "a-b",          "a b",         "h\xc3\xa9", "calls",
        "errors", "overruns", "x_total", "memory_bytes", "seconds_sum", "x_count",   "x_bucket"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(metric_name_fault(good[i], strlen(good[i])) == NULL, "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(metric_name_fault(bad[i], strlen(bad[i])) != NULL, "%s", bad[i]);
    }
    ck_assert_ptr_nonnull(metric_name_fault("a\0b", 3));
    char longest[METRIC_NAME_BYTES + 1];
    memset(longest, 'a', sizeof(longest));
    ck_assert_ptr_null(metric_name_fault(longest, METRIC_NAME_BYTES - 1));
    ck_assert_ptr_nonnull(metric_name_fault(longest, METRIC_NAME_BYTES));
    ck_assert_ptr_null(metric_label_fault("zone", 4));
    ck_assert_ptr_null(metric_label_fault("_", 1));
    ck_assert_ptr_nonnull(metric_label_fault("le", 2));
    ck_assert_ptr_nonnull(metric_label_fault("__name__", 8));
    ck_assert_ptr_nonnull(metric_label_fault("Zone", 4));
    ck_assert_ptr_null(metric_label_fault(longest, METRIC_LABEL_NAME_BYTES - 1));
    ck_assert_ptr_nonnull(metric_label_fault(longest, METRIC_LABEL_NAME_BYTES));
}
END_TEST

START_TEST(rows_add_up) {
    uint32_t hits = take(METRIC_COUNTER, "hits", NULL), gauge = take(METRIC_GAUGE, "size", NULL);
    uint32_t histogram = take(METRIC_HISTOGRAM, "wait", NULL);
    const uint32_t rows[] = {0, 1, ARENA_CONTROL_ROW};
    for (uint32_t i = 0; i < 3; i++) {
        metric_add(arena, rows[i], hits, 0.5);
        metric_add(arena, rows[i], hits, i);
        metric_set(arena, rows[i], gauge, 99);
        metric_set(arena, rows[i], gauge, 10 * i);
        metric_observe(arena, rows[i], histogram, i == 0 ? 1 : 1.5);
        metric_observe(arena, rows[i], histogram, 1000);
        metric_observe(arena, rows[i], histogram, -5);
    }
    ck_assert_double_eq(sum_of(hits), 4.5);
    ck_assert_double_eq(sum_of(gauge), 30);
    struct metric_sum sum;
    ck_assert(metrics_sum(arena, histogram, &sum));
    ck_assert_double_eq(sum.values[0], 4); /* a bound belongs to its bucket */
    ck_assert_double_eq(sum.values[1], 2);
    ck_assert_double_eq(sum.values[2], 3);
    ck_assert_double_eq(sum.values[3], 3 * 1000 - 15 + 1 + 3);
    metrics_clear_gauges(arena, 1); /* of a worker that serves no more */
    ck_assert_double_eq(sum_of(gauge), 20);
    ck_assert_double_eq(sum_of(hits), 4.5);
}
END_TEST

START_TEST(a_series_lives_as_long_as_somebody_refers_to_it) {
    uint32_t index = take(METRIC_COUNTER, "hits", NULL);
    metric_add(arena, 1, index, 5);
    (void)take(METRIC_COUNTER, "hits", NULL); /* the next configuration's */
    metrics_give(arena, index);
    arena_sweep(arena);
    ck_assert_double_eq(sum_of(index), 5);
    metrics_give(arena, index);
    struct metric_sum sum;
    ck_assert(!metrics_sum(arena, index, &sum)); /* not shown any more ... */
    ck_assert_uint_eq(take(METRIC_COUNTER, "hits", NULL), index);
    ck_assert_double_eq(sum_of(index), 5); /* ... but kept until swept */
    metrics_give(arena, index);
    arena_sweep(arena);
    ck_assert_uint_eq(metrics_count(arena), 0);
    /* Its place is empty for another, of another kind. */
    ck_assert_uint_eq(take(METRIC_GAUGE, "other", NULL), index);
    ck_assert_double_eq(sum_of(index), 0);
}
END_TEST

START_TEST(there_are_512_and_no_more) {
    char name[32];
    for (uint32_t i = 0; i < METRICS; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        (void)take(METRIC_COUNTER, name, NULL);
    }
    ck_assert_ptr_nonnull(strstr(fault_of(metric_of(METRIC_COUNTER, "more", NULL)), "too many"));
    (void)take(METRIC_COUNTER, "m300", NULL);
    metrics_give(arena, 7);
    arena_sweep(arena);
    ck_assert_uint_eq(take(METRIC_COUNTER, "more", NULL), 7);
}
END_TEST

/* ---- threads: each counts in its own row, one makes and recycles, one reads ---- */

#define TIMES 100000

static uint32_t counted, observed;
static _Atomic bool counting;

static void *count_row(void *argument) {
    uint32_t row = *(const uint32_t *)argument;
    for (uint32_t i = 0; i < TIMES; i++) {
        metric_add(arena, row, counted, 1);
        metric_observe(arena, row, observed, i % 20);
    }
    return NULL;
}

static void *read_all(void *argument) {
    struct metric_sum sum;
    double last = 0;
    while (counting) {
        ck_assert(metrics_sum(arena, counted, &sum) && sum.values[0] >= last);
        last = sum.values[0];
        for (uint32_t i = 0; i < 10; i++) {
            if (metrics_sum(arena, i, &sum) && strcmp(sum.metric.name, "passing") == 0 &&
                sum.metric.kind != METRIC_GAUGE) {
                return NULL;
            }
        }
    }
    return argument;
}

START_TEST(threads_do_not_disturb_each_other) {
    pthread_t threads[2], reader;
    uint32_t rows[2] = {0, 1};
    counted = take(METRIC_COUNTER, "hits", NULL);
    observed = take(METRIC_HISTOGRAM, "wait", NULL);
    counting = true;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_row, &rows[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, rows), 0);
    for (int i = 0; i < 500; i++) {
        uint32_t index = take(METRIC_GAUGE, "passing", NULL);
        metrics_give(arena, index);
        arena_sweep(arena);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    counting = false;
    void *whole;
    pthread_join(reader, &whole);
    ck_assert_ptr_nonnull(whole);
    ck_assert_double_eq(sum_of(counted), 2 * TIMES);
    struct metric_sum sum;
    ck_assert(metrics_sum(arena, observed, &sum));
    ck_assert_double_eq(sum.values[0] + sum.values[1] + sum.values[2], 2 * TIMES);
    ck_assert_double_eq(sum.values[3], 2 * TIMES * 9.5);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("metrics");
    TCase *tests = tcase_create("metrics");
    tcase_add_checked_fixture(tests, open_arena, close_arena);
    tcase_add_test(tests, a_name_and_its_labels_are_one_series);
    tcase_add_test(tests, series_of_a_name_are_alike);
    tcase_add_test(tests, names_are_checked);
    tcase_add_test(tests, rows_add_up);
    tcase_add_test(tests, a_series_lives_as_long_as_somebody_refers_to_it);
    tcase_add_test(tests, there_are_512_and_no_more);
    tcase_add_test(tests, threads_do_not_disturb_each_other);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
