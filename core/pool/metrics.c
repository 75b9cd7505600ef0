/* The metrics of scripts; see metrics.h for who runs what. */
#include "pool/metrics.h"

#include <stdatomic.h>
#include <string.h>

#include "base/lock.h"
#include "pool/arena.h"

struct entry {
    struct metric metric;
    uint32_t references; /* hosts that made it; 0 and a name: free at the next sweep */
};

struct metrics {
    lock_word lock; /* of all entries */
    struct entry entries[METRICS];
};

_Static_assert(METRIC_ROWS_BYTES % 4096 == 0, "workers must not share a page of rows");

size_t metrics_bytes(void) {
    return (sizeof(struct metrics) + 4095) & ~(size_t)4095;
}

/* ---- names ---- */

static bool is_word(const char *name, size_t length) {
    for (size_t i = 0; i < length; i++) {
        bool letter = (name[i] >= 'a' && name[i] <= 'z') || name[i] == '_';
        if (!letter && (i == 0 || name[i] < '0' || name[i] > '9')) {
            return false;
        }
    }
    return length > 0;
}

static bool ends_with(const char *name, size_t length, const char *end) {
    size_t end_length = strlen(end);
    return length >= end_length && memcmp(name + length - end_length, end, end_length) == 0;
}

const char *metric_name_fault(const char *name, size_t length) {
    /* alacrity_script_... of our own, lua/alacrity/stats_metrics.lua */
    static const char *const taken[] = {"calls", "errors", "overruns", "memory_bytes"};
    static const char *const endings[] = {"_total", "_bucket", "_sum", "_count"};
    if (!is_word(name, length)) {
        return "a name consists of a-z, 0-9 and _, and begins with no digit";
    }
    if (length >= METRIC_NAME_BYTES) {
        return "a name has at most 63 bytes";
    }
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (strlen(taken[i]) == length && memcmp(name, taken[i], length) == 0) {
            return "the name belongs to Alacrity itself";
        }
    }
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (ends_with(name, length, endings[i])) {
            return "a name does not end with _total, _bucket, _sum or _count: where it needs such "
                   "an ending it gets it";
        }
    }
    return NULL;
}

const char *metric_label_fault(const char *name, size_t length) {
    if (!is_word(name, length)) {
        return "a label's name consists of a-z, 0-9 and _, and begins with no digit";
    }
    if (length >= METRIC_LABEL_NAME_BYTES) {
        return "a label's name has at most 31 bytes";
    }
    if (length >= 2 &&
        (memcmp(name, "__", 2) == 0 || (length == 2 && memcmp(name, "le", 2) == 0))) {
        return "no label is called le or begins with __";
    }
    return NULL;
}

/* ---- the table ---- */

static bool labels_equal(const struct metric *a, const struct metric *b) {
    for (uint32_t i = 0; i < a->label_count; i++) {
        if (strcmp(a->labels[i].value, b->labels[i].value) != 0) {
            return false;
        }
    }
    return true;
}

/* All series of a name are alike but for their labels' values. */
static const char *family_fault(const struct metric *there, const struct metric *wanted) {
    if (there->kind != wanted->kind) {
        static const char *const faults[] = {
            [METRIC_COUNTER] = "there is a counter of this name already",
            [METRIC_GAUGE] = "there is a gauge of this name already",
            [METRIC_HISTOGRAM] = "there is a histogram of this name already",
        };
        return faults[there->kind];
    }
    bool same = there->label_count == wanted->label_count;
    for (uint32_t i = 0; same && i < there->label_count; i++) {
        same = strcmp(there->labels[i].name, wanted->labels[i].name) == 0;
    }
    if (!same) {
        return "it exists with other labels; all series of a name have the same, in all scripts "
               "that "
               "run";
    }
    if (there->bound_count != wanted->bound_count ||
        memcmp(there->bounds, wanted->bounds, there->bound_count * sizeof(double)) != 0) {
        return "it exists with other buckets, in this or another script that runs";
    }
    return NULL;
}

/* Under the lock. The index, or METRICS with `fault`. */
static uint32_t find_or_make(struct metrics *metrics, const struct metric *wanted,
                             const char **fault) {
    uint32_t vacant = METRICS;
    for (uint32_t i = 0; i < METRICS; i++) {
        const struct metric *there = &metrics->entries[i].metric;
        if (there->name[0] == '\0') {
            vacant = vacant < METRICS ? vacant : i;
        } else if (strcmp(there->name, wanted->name) == 0) {
            *fault = family_fault(there, wanted);
            if (*fault != NULL) {
                return METRICS;
            }
            if (labels_equal(there, wanted)) {
                return i;
            }
        }
    }
    if (vacant < METRICS) {
        metrics->entries[vacant].metric = *wanted;
    } else {
        *fault = "there are too many: at most 512 series are kept";
    }
    return vacant;
}

const char *metrics_take(struct arena *arena, const struct metric *wanted, uint32_t *index) {
    struct metrics *metrics = arena_metrics(arena);
    const char *fault = NULL;
    lock_take(&metrics->lock);
    *index = find_or_make(metrics, wanted, &fault);
    if (fault == NULL) {
        metrics->entries[*index].references++;
    }
    lock_give(&metrics->lock);
    return fault;
}

void metrics_give(struct arena *arena, uint32_t index) {
    struct metrics *metrics = arena_metrics(arena);
    lock_take(&metrics->lock);
    metrics->entries[index].references--;
    lock_give(&metrics->lock);
}

/* ---- values ---- */

static void value_set(_Atomic double *value, double to) {
    atomic_store_explicit(value, to, memory_order_relaxed);
}

static double value_get(const _Atomic double *value) {
    return atomic_load_explicit((_Atomic double *)(uintptr_t)value, memory_order_relaxed);
}

static void value_add(_Atomic double *value, double amount) {
    value_set(value, value_get(value) + amount);
}

static struct metric_row *row_of(struct arena *arena, uint32_t row, uint32_t index) {
    return &arena_metric_rows(arena, row)[index];
}

void metric_add(struct arena *arena, uint32_t row, uint32_t index, double amount) {
    value_add(&row_of(arena, row, index)->values[0], amount);
}

void metric_set(struct arena *arena, uint32_t row, uint32_t index, double value) {
    value_set(&row_of(arena, row, index)->values[0], value);
}

void metric_observe(struct arena *arena, uint32_t row, uint32_t index, double value) {
    /* Without the lock: an entry does not change while a host refers to it, and ours does. */
    const struct metric *metric = &arena_metrics(arena)->entries[index].metric;
    struct metric_row *own = row_of(arena, row, index);
    uint32_t bucket = 0;
    while (bucket < metric->bound_count && value > metric->bounds[bucket]) {
        bucket++;
    }
    value_add(&own->values[bucket], 1);
    value_add(&own->values[metric->bound_count + 1], value);
}

static void zero_row(struct metric_row *row) {
    for (uint32_t i = 0; i < METRIC_BOUNDS + 2; i++) {
        if (value_get(&row->values[i]) != 0) {
            value_set(&row->values[i], 0);
        }
    }
}

void metrics_clear_gauges(struct arena *arena, uint32_t row) {
    struct metrics *metrics = arena_metrics(arena);
    lock_take(&metrics->lock);
    for (uint32_t i = 0; i < METRICS; i++) {
        const struct metric *metric = &metrics->entries[i].metric;
        if (metric->name[0] != '\0' && metric->kind == METRIC_GAUGE) {
            zero_row(row_of(arena, row, i));
        }
    }
    lock_give(&metrics->lock);
}

static bool exists(const struct entry *entry) {
    return entry->metric.name[0] != '\0' && entry->references > 0;
}

uint32_t metrics_count(struct arena *arena) {
    struct metrics *metrics = arena_metrics(arena);
    uint32_t count = 0;
    lock_take(&metrics->lock);
    for (uint32_t i = 0; i < METRICS; i++) {
        count += exists(&metrics->entries[i]);
    }
    lock_give(&metrics->lock);
    return count;
}

bool metrics_sum(struct arena *arena, uint32_t index, struct metric_sum *out) {
    struct metrics *metrics = arena_metrics(arena);
    const struct entry *entry = &metrics->entries[index];
    lock_take(&metrics->lock);
    bool found = exists(entry);
    if (found) {
        *out = (struct metric_sum){.metric = entry->metric};
        for (uint32_t row = 0; row < ARENA_WORKERS; row++) {
            if (!arena_row_is_used(arena, row)) {
                continue;
            }
            const struct metric_row *values = row_of(arena, row, index);
            for (uint32_t i = 0; i < entry->metric.bound_count + 2; i++) {
                out->values[i] += value_get(&values->values[i]);
            }
        }
    }
    lock_give(&metrics->lock);
    return found;
}

void metrics_sweep(struct arena *arena) {
    struct metrics *metrics = arena_metrics(arena);
    lock_take(&metrics->lock);
    for (uint32_t i = 0; i < METRICS; i++) {
        struct entry *entry = &metrics->entries[i];
        if (entry->metric.name[0] == '\0' || entry->references > 0) {
            continue;
        }
        for (uint32_t row = 0; row < ARENA_WORKERS; row++) {
            if (arena_row_is_used(arena, row)) {
                zero_row(row_of(arena, row, i));
            }
        }
        *entry = (struct entry){0};
    }
    lock_give(&metrics->lock);
}
