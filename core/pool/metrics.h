/* Metrics: the counters, gauges and histograms scripts make (alacrity.counter ...). They live in
 * the arena: a table of what there is, and for every worker and control a row of values, which that
 * thread alone writes and readers sum. So they outlive reloads and scripts, by name.
 *
 * The builder makes entries and recycles those no host refers to any more; control reads. The table
 * is guarded by a lock, the values are single words. */
#ifndef POOL_METRICS_H
#define POOL_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS 512u /* series: a name with one set of labels */
#define METRIC_NAME_BYTES 64u
#define METRIC_HELP_BYTES 128u
#define METRIC_LABELS 4u
#define METRIC_LABEL_NAME_BYTES 32u
#define METRIC_LABEL_VALUE_BYTES 64u
#define METRIC_BOUNDS 30u /* of a histogram */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_label {
    char name[METRIC_LABEL_NAME_BYTES], value[METRIC_LABEL_VALUE_BYTES];
};

/* What a script says of a metric. Names were checked (metric_name_fault); labels are sorted by
 * name. */
struct metric {
    enum metric_kind kind;
    char name[METRIC_NAME_BYTES]; /* without prefix and suffix */
    char help[METRIC_HELP_BYTES];
    uint32_t label_count, bound_count;
    struct metric_label labels[METRIC_LABELS];
    double bounds[METRIC_BOUNDS]; /* of a histogram: upper ones, ascending */
};

/* A thread's values of one metric. Writer: that thread. A counter or gauge has one; a histogram one
 * for each bound and the rest above, not cumulative, then their sum. */
struct metric_row {
    _Atomic double values[METRIC_BOUNDS + 2];
};

struct arena;
struct metrics; /* the table */

/* ---- for arena.c ---- */
size_t metrics_bytes(void); /* of the table; a multiple of a page, zeroed is empty */
#define METRIC_ROWS_BYTES (METRICS * sizeof(struct metric_row)) /* of one thread */
void metrics_sweep(struct arena *arena);

/* ---- builder ---- */

/* NULL, or what is wrong with the name of a metric, or of a label. */
const char *metric_name_fault(const char *name, size_t length);
const char *metric_label_fault(const char *name, size_t length);
/* The series, the existing one or a new one, with one more reference; its index in *index. Else
 * what is wrong: it is of another kind, ..., or there are too many. */
const char *metrics_take(struct arena *arena, const struct metric *wanted, uint32_t *index);
void metrics_give(struct arena *arena, uint32_t index);

/* ---- the thread that owns the row ---- */

void metric_add(struct arena *arena, uint32_t row, uint32_t index, double amount);
void metric_set(struct arena *arena, uint32_t row, uint32_t index, double value);
void metric_observe(struct arena *arena, uint32_t row, uint32_t index, double value);
/* A worker that serves no more: its gauges say nothing. */
void metrics_clear_gauges(struct arena *arena, uint32_t row);

/* ---- control ---- */

struct metric_sum {
    struct metric metric;
    double values[METRIC_BOUNDS + 2]; /* as in a row, of all threads together */
};
uint32_t metrics_count(struct arena *arena);
/* False: no series has this index now. */
bool metrics_sum(struct arena *arena, uint32_t index, struct metric_sum *out);

#endif
