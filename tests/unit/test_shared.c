/* Shared dictionaries: every operation, times by a clock of the test's, bounds, the order of
 * eviction, threads, and random operations against a simple model. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/arena.h"
#include "pool/shared.h"
#include "suite.h"

#ifdef __SANITIZE_THREAD__
#define FEWER 20 /* it is slow */
#else
#define FEWER 1
#endif

static struct arena *arena;
static struct shared *shared;
static uint32_t first, second; /* two dictionaries */
static struct alacrity_shared_value got;
static char long_bytes[SHARED_VALUE_BYTES + 1];

static void open_shared(void) {
    char error[200];
    arena = arena_new(error, sizeof(error));
    ck_assert_msg(arena != NULL, "%s", error);
    shared = arena_shared(arena);
    first = (uint32_t)shared_dictionary(shared, "first", 5);
    second = (uint32_t)shared_dictionary(shared, "second", 6);
    for (uint32_t i = 0; i < sizeof(long_bytes); i++) {
        long_bytes[i] = (char)(i * 7 + i / 256);
    }
}

static void close_shared(void) {
    arena_free(arena);
}

static struct shared_key name(const char *text) {
    return (struct shared_key){
        .dictionary = first, .bytes = text, .length = (uint32_t)strlen(text)};
}

static struct shared_key number_key(double number) {
    return (struct shared_key){.dictionary = first, .number = number};
}

static struct shared_value number(double value) {
    return (struct shared_value){.type = SHARED_NUMBER, .number = value};
}

static struct shared_value string(const char *bytes, uint32_t length) {
    return (struct shared_value){.type = SHARED_STRING, .bytes = bytes, .length = length};
}

static void set(struct shared_key key, struct shared_value value) {
    shared_set(shared, &key, &value, 0, 0);
}

static enum shared_type type_at(struct shared_key key, uint64_t now_ms) {
    shared_get(shared, &key, now_ms, &got);
    return (enum shared_type)got.type;
}

static bool holds_number(struct shared_key key, double value) {
    return type_at(key, 0) == SHARED_NUMBER && got.number == value;
}

static bool holds_string(struct shared_key key, const char *bytes, uint32_t length) {
    return type_at(key, 0) == SHARED_STRING && got.length == length &&
           memcmp(got.bytes, bytes, length) == 0;
}

static bool has(struct shared_key key) {
    return type_at(key, 0) != SHARED_NOTHING;
}

static struct shared_usage usage(void) {
    struct shared_usage usage;
    shared_usage(shared, &usage);
    return usage;
}

/* ---- operations ---- */

START_TEST(what_is_set_is_got) {
    ck_assert(!has(name("a")));
    set(name("a"), number(0.1));
    ck_assert(holds_number(name("a"), 0.1));
    set(name("a"), number(-1e300));
    ck_assert(holds_number(name("a"), -1e300));
    set(name("a"), string("text\0more", 9));
    ck_assert(holds_string(name("a"), "text\0more", 9));
    set(name("a"), (struct shared_value){.type = SHARED_BOOLEAN, .number = 1});
    ck_assert(type_at(name("a"), 0) == SHARED_BOOLEAN && got.number == 1);
    set(name("a"), string("", 0));
    ck_assert(holds_string(name("a"), "", 0));
    set(name("a"), number(INFINITY));
    ck_assert(holds_number(name("a"), INFINITY));
    ck_assert_uint_eq(usage().entries, 1);
    ck_assert_uint_eq(shared_count(shared, first), 1);
}
END_TEST

START_TEST(dictionaries_and_kinds_of_keys_are_apart) {
    struct shared_key other = name("1");
    other.dictionary = second;
    set(name("1"), number(1));
    set(number_key(1), number(2));
    set(other, number(3));
    /* The same bytes as the number 1. */
    double one = 1;
    char bytes[sizeof(one)];
    memcpy(bytes, &one, sizeof(one));
    struct shared_key binary = {.dictionary = first, .bytes = bytes, .length = sizeof(bytes)};
    ck_assert(!has(binary));
    ck_assert(holds_number(name("1"), 1) && holds_number(number_key(1), 2));
    ck_assert(holds_number(other, 3));
    ck_assert_uint_eq(shared_count(shared, first), 2);
    ck_assert_uint_eq(shared_count(shared, second), 1);
    set(number_key(-0.0), number(4));
    ck_assert(holds_number(number_key(0.0), 4));
    ck_assert(holds_number(name("1"), 1));
    set(name(""), number(5));
    ck_assert(holds_number(name(""), 5));
}
END_TEST

START_TEST(keys_and_strings_of_every_length_come_back) {
    for (uint32_t key_bytes = 0; key_bytes <= SHARED_KEY_BYTES; key_bytes += key_bytes / 9 + 1) {
        struct shared_key key = {.dictionary = first, .bytes = long_bytes, .length = key_bytes};
        for (uint32_t bytes = 0; bytes <= 300; bytes++) {
            set(key, string(long_bytes + bytes, bytes));
            ck_assert(holds_string(key, long_bytes + bytes, bytes));
        }
        set(key, string(long_bytes, SHARED_VALUE_BYTES));
        ck_assert(holds_string(key, long_bytes, SHARED_VALUE_BYTES));
        struct shared_key shorter = key;
        shorter.length = key_bytes == 0 ? 1 : key_bytes - 1;
        ck_assert(shared_delete(shared, &key, 0));
        ck_assert(!has(shorter) && !has(key));
    }
    /* Nothing of all that is left. */
    ck_assert_uint_eq(usage().entries, 0);
    ck_assert_uint_le(usage().bytes, SHARED_SHARDS * sizeof(uint32_t) * 2);
}
END_TEST

START_TEST(add_only_what_is_absent) {
    struct shared_key key = name("a");
    struct shared_value value = number(1), other = number(2);
    ck_assert(shared_add(shared, &key, &value, 0, 0));
    ck_assert(!shared_add(shared, &key, &other, 0, 0));
    ck_assert(holds_number(key, 1));
    ck_assert(shared_delete(shared, &key, 0));
    ck_assert(!shared_delete(shared, &key, 0));
    ck_assert(shared_add(shared, &key, &other, 0, 0));
    ck_assert(holds_number(key, 2));
}
END_TEST

START_TEST(incr_counts_and_leaves_other_types_alone) {
    struct shared_key key = name("a"), text = name("text");
    double sum = 0;
    ck_assert_int_eq(shared_incr(shared, &key, 1, 10, 0, 0, &sum), SHARED_NUMBER);
    ck_assert_double_eq(sum, 11);
    ck_assert_int_eq(shared_incr(shared, &key, -0.5, 99, 0, 0, &sum), SHARED_NUMBER);
    ck_assert_double_eq(sum, 10.5);
    ck_assert(holds_number(key, 10.5));
    set(text, string("x", 1));
    ck_assert_int_eq(shared_incr(shared, &text, 1, 0, 0, 0, &sum), SHARED_STRING);
    ck_assert(holds_string(text, "x", 1));
    double big = 9007199254740991.0; /* 2^53 - 1 */
    set(key, number(big - 1));
    (void)shared_incr(shared, &key, 1, 0, 0, 0, &sum);
    ck_assert(sum == big);
}
END_TEST

START_TEST(dictionaries_are_found_by_name_and_bounded) {
    char text[32];
    ck_assert_int_eq(shared_dictionary(shared, "first", 5), (int32_t)first);
    ck_assert_str_eq(shared_dictionary_name(shared, second), "second");
    ck_assert_int_eq(shared_dictionary(shared, "", 0), -1);
    ck_assert_int_eq(shared_dictionary(shared, "a\0b", 3), -1);
    ck_assert_int_eq(shared_dictionary(shared, long_bytes + 1, SHARED_NAME_BYTES), -1);
    for (uint32_t i = 2; i < SHARED_DICTIONARIES; i++) {
        int length = snprintf(text, sizeof(text), "d%u", i);
        ck_assert_int_eq(shared_dictionary(shared, text, (size_t)length), (int32_t)i);
    }
    ck_assert_int_eq(shared_dictionary(shared, "one more", 8), -1);
    ck_assert_int_eq(shared_dictionary(shared, "d200", 4), 200);
    ck_assert_uint_eq(shared_dictionary_count(shared), SHARED_DICTIONARIES);
}
END_TEST

/* ---- times ---- */

START_TEST(an_entry_ends_when_its_time_is_over) {
    struct shared_key key = name("a");
    struct shared_value value = number(1);
    uint64_t ends_ms;
    shared_set(shared, &key, &value, 1000, 1500);
    ck_assert_int_eq(type_at(key, 1499), SHARED_NUMBER);
    ck_assert(shared_ends(shared, &key, 1499, &ends_ms) && ends_ms == 1500);
    ck_assert_int_eq(type_at(key, 1500), SHARED_NOTHING);
    ck_assert_uint_eq(usage().entries, 0);
    ck_assert(!shared_ends(shared, &key, 1500, &ends_ms));
    shared_set(shared, &key, &value, 1000, 1500);
    ck_assert(!shared_delete(shared, &key, 1500));
    ck_assert(shared_add(shared, &key, &value, 1500, 1600));
    ck_assert(shared_add(shared, &key, &value, 1600, 1700));
    /* A set without a time makes it last; counting does not change when it ends. */
    shared_set(shared, &key, &value, 1650, 0);
    ck_assert(shared_ends(shared, &key, 1u << 30, &ends_ms) && ends_ms == 0);
    double sum;
    shared_set(shared, &key, &value, 1000, 1500);
    (void)shared_incr(shared, &key, 1, 0, 1400, 9999, &sum);
    ck_assert(shared_ends(shared, &key, 1400, &ends_ms) && ends_ms == 1500);
    (void)shared_incr(shared, &key, 1, 0, 1500, 9999, &sum);
    ck_assert_double_eq(sum, 1);
    ck_assert(shared_ends(shared, &key, 1500, &ends_ms) && ends_ms == 9999);
}
END_TEST

START_TEST(the_sweep_frees_what_is_over_and_nothing_else) {
    struct shared_value value = string(long_bytes, 100);
    for (uint32_t i = 0; i < 10000; i++) {
        struct shared_key key = number_key(i);
        shared_set(shared, &key, &value, 0, i % 2 == 0 ? 100 + i % 3 : 0);
    }
    shared_sweep(shared, 99);
    ck_assert_uint_eq(usage().entries, 10000);
    shared_sweep(shared, 102);
    ck_assert_uint_eq(usage().entries, 5000);
    ck_assert_uint_eq(shared_count(shared, first), 5000);
    ck_assert_uint_eq(usage().evictions, 0);
    ck_assert(!has(number_key(4)) && has(number_key(5)));
}
END_TEST

/* ---- bounds ---- */

#define SHARD_BLOCKS (SHARED_SMALLEST / SHARED_SHARDS / 68)

/* Keys of one shard, found out from outside: two of the longest strings do not fit into the
 * smallest shard. */
static void find_neighbours(double *keys, uint32_t wanted) {
    struct shared_value big = string(long_bytes, SHARED_VALUE_BYTES);
    shared_limit(shared, SHARED_SMALLEST);
    keys[0] = 0.5;
    for (uint32_t found = 1, i = 1; found < wanted; i++) {
        set(number_key(keys[0]), big);
        set(number_key(i), big);
        if (!has(number_key(keys[0]))) {
            keys[found++] = i;
        }
        struct shared_key key = number_key(i);
        ck_assert(shared_delete(shared, &key, 0));
    }
    struct shared_key key = number_key(keys[0]);
    (void)shared_delete(shared, &key, 0);
    ck_assert_uint_eq(usage().entries, 0);
}

START_TEST(what_was_not_used_longest_goes_first) {
    double keys[8], sum;
    struct shared_value sixth = string(long_bytes, 19000); /* 317 blocks: six fit */
    find_neighbours(keys, 8);
    uint64_t before = usage().evictions;
    for (int i = 0; i < 5; i++) {
        set(number_key(keys[i]), sixth);
    }
    set(number_key(keys[5]), number(1));
    ck_assert_uint_eq(usage().evictions, before);
    /* Used again, each in its way: 0 is got, 1 is set, 2 added in vain; 5 counted. */
    ck_assert(has(number_key(keys[0])));
    set(number_key(keys[1]), sixth);
    struct shared_key key = number_key(keys[2]);
    ck_assert(!shared_add(shared, &key, &sixth, 0, 0));
    key = number_key(keys[5]);
    (void)shared_incr(shared, &key, 1, 0, 0, 0, &sum);
    set(number_key(keys[6]), sixth); /* the sixth of them */
    ck_assert_uint_eq(usage().evictions, before);
    set(number_key(keys[7]), sixth);
    ck_assert_uint_eq(usage().evictions, before + 1);
    const bool expected[] = {true, true, true, false, true, true, true, true};
    for (int i = 0; i < 8; i++) {
        ck_assert_msg(has(number_key(keys[i])) == expected[i], "key %d", i);
    }
    /* Looked at in order just now: 0 is the oldest, then 1. */
    set(number_key(keys[3]), sixth);
    ck_assert(!has(number_key(keys[0])));
    ck_assert_uint_eq(usage().evictions, before + 2);
}
END_TEST

START_TEST(memory_is_bounded_and_flat_under_a_million_keys) {
    shared_limit(shared, SHARED_SMALLEST);
    for (uint32_t i = 0; i < 1000000 / FEWER; i++) {
        struct shared_key key = number_key(i);
        struct shared_value value = i % 50 == 0 ? string(long_bytes, i % 3000) : number(i);
        shared_set(shared, &key, &value, 0, 0);
    }
    struct shared_usage now = usage();
    ck_assert_uint_le(now.bytes, now.limit_bytes);
    ck_assert_uint_le(now.limit_bytes, SHARED_SMALLEST);
    ck_assert_uint_eq(now.entries + now.evictions, 1000000 / FEWER);
    ck_assert_uint_eq(now.entries, shared_count(shared, first));
    ck_assert(holds_number(number_key(1000000 / FEWER - 1), 1000000 / FEWER - 1));
}
END_TEST

START_TEST(another_limit_is_reached_without_a_pause) {
    for (uint32_t i = 0; i < 100000; i++) {
        set(number_key(i), number(i));
    }
    ck_assert_uint_eq(usage().entries, 100000);
    for (uint32_t i = 0; i < 100000; i++) {
        ck_assert(holds_number(number_key(i), i));
    }
    shared_limit(shared, SHARED_SMALLEST);
    uint64_t before = usage().entries;
    set(name("one more"), number(1));
    ck_assert_uint_ge(usage().entries, before - 100); /* bounded work */
    ck_assert(holds_number(name("one more"), 1));
    shared_sweep(shared, 0);
    ck_assert_uint_le(usage().entries, SHARED_SMALLEST / 68);
    ck_assert(holds_number(name("one more"), 1));
    shared_limit(shared, SHARED_LARGEST);
    before = usage().evictions;
    for (uint32_t i = 0; i < 200000; i++) {
        set(number_key(i), number(i));
    }
    ck_assert_uint_eq(usage().evictions, before);
}
END_TEST

/* ---- against a model ---- */

#define MODEL_KEYS 40

struct model_entry {
    bool present;
    enum shared_type type;
    double number;
    uint32_t length, start; /* of long_bytes */
    uint64_t ends_ms, used; /* when, in operations */
};
static struct model_entry model[MODEL_KEYS];
static uint64_t operation, model_evictions;

static uint32_t model_blocks(const struct model_entry *entry) {
    uint32_t bytes = 8 + (entry->type == SHARED_STRING ? entry->length : 0);
    return !entry->present ? 0 : bytes <= 24 ? 1 : 1 + (bytes - 24 + 59) / 60;
}

static void model_forget(struct model_entry *entry, uint64_t now_ms) {
    entry->present = entry->present && (entry->ends_ms == 0 || entry->ends_ms > now_ms);
}

/* One entry is to become `wanted`: the others make room, oldest first. An entry that is over but
 * was not met yet still takes part. */
static void model_put(struct model_entry *entry, struct model_entry wanted, uint64_t now_ms) {
    wanted.present = true;
    wanted.used = operation;
    bool in_place = entry->present && model_blocks(entry) == model_blocks(&wanted);
    entry->present = false;
    for (;;) {
        uint32_t blocks = model_blocks(&wanted);
        struct model_entry *oldest = NULL;
        for (int i = 0; i < MODEL_KEYS; i++) {
            blocks += model_blocks(&model[i]);
            if (model[i].present && (oldest == NULL || model[i].used < oldest->used)) {
                oldest = &model[i];
            }
        }
        if (in_place || blocks <= SHARD_BLOCKS) {
            break;
        }
        model_evictions += oldest->ends_ms == 0 || oldest->ends_ms > now_ms;
        oldest->present = false;
    }
    *entry = wanted;
}

static bool model_agrees(const struct model_entry *entry) {
    return got.type == (entry->present ? entry->type : SHARED_NOTHING) &&
           (got.type != SHARED_NUMBER || got.number == entry->number) &&
           (got.type != SHARED_STRING ||
            (got.length == entry->length &&
             memcmp(got.bytes, long_bytes + entry->start, got.length) == 0));
}

static struct shared_value random_value(struct model_entry *wanted, uint64_t ends_ms) {
    *wanted = (struct model_entry){.type = random() % 2 ? SHARED_STRING : SHARED_NUMBER,
                                   .number = (double)(random() % 1000),
                                   .start = (uint32_t)random() % 10,
                                   .ends_ms = ends_ms};
    wanted->length = (uint32_t)random() % (random() % 4 == 0 ? 40000 : 300);
    return wanted->type == SHARED_STRING ? string(long_bytes + wanted->start, wanted->length)
                                         : number(wanted->number);
}

static void random_operation(const struct shared_key *key, struct model_entry *entry,
                             uint64_t now_ms) {
    struct model_entry wanted;
    uint64_t ends_ms = random() % 3 == 0 ? now_ms + 1 + (uint64_t)random() % 200 : 0;
    struct shared_value value = random_value(&wanted, ends_ms);
    double sum = 0;
    model_forget(entry, now_ms);
    switch (random() % 6) {
    case 0:
        shared_set(shared, key, &value, now_ms, ends_ms);
        model_put(entry, wanted, now_ms);
        break;
    case 1:
        ck_assert(shared_add(shared, key, &value, now_ms, ends_ms) == !entry->present);
        if (!entry->present) {
            model_put(entry, wanted, now_ms);
        }
        entry->used = operation;
        break;
    case 2:
        if (shared_incr(shared, key, 3, 7, now_ms, ends_ms, &sum) != SHARED_NUMBER) {
            ck_assert(entry->present && entry->type == SHARED_STRING);
            break;
        }
        if (!entry->present) {
            wanted.type = SHARED_NUMBER;
            wanted.number = 7;
            model_put(entry, wanted, now_ms);
        }
        entry->number += 3;
        entry->used = operation;
        ck_assert(entry->type == SHARED_NUMBER && sum == entry->number);
        break;
    case 3:
        ck_assert(shared_delete(shared, key, now_ms) == entry->present);
        entry->present = false;
        break;
    default:
        shared_get(shared, key, now_ms, &got);
        ck_assert_msg(model_agrees(entry), "operation %llu", (unsigned long long)operation);
        entry->used = operation;
        break;
    }
}

START_TEST(random_operations_agree_with_a_model) {
    double keys[MODEL_KEYS];
    uint64_t now_ms = 0;
    long seed = getenv("SEED") != NULL ? atol(getenv("SEED")) : (long)time(NULL);
    find_neighbours(keys, MODEL_KEYS);
    memset(model, 0, sizeof(model));
    model_evictions = usage().evictions;
    printf("SEED=%ld\n", seed);
    srandom((unsigned)seed);
    for (operation = 1; operation < 200000 / FEWER; operation++) {
        int i = (int)(random() % MODEL_KEYS);
        struct shared_key key = number_key(keys[i]);
        now_ms += (uint64_t)random() % 4;
        random_operation(&key, &model[i], now_ms);
        if (operation % 1000 == 0) {
            shared_sweep(shared, now_ms);
            uint32_t present = 0;
            for (int k = 0; k < MODEL_KEYS; k++) {
                model_forget(&model[k], now_ms);
                present += model[k].present;
            }
            ck_assert_uint_eq(shared_count(shared, first), present);
            ck_assert_uint_eq(usage().entries, present);
            ck_assert_uint_eq(usage().evictions, model_evictions);
        }
    }
}
END_TEST

/* ---- threads ---- */

#define THREADS 4
#define TIMES (50000 / FEWER)

static void *count_up(void *argument) {
    uint32_t own = *(const uint32_t *)argument;
    double sum = 0, last = 0;
    char bytes[300];
    memset(bytes, (int)own, sizeof(bytes));
    bool ok = true;
    for (uint32_t i = 0; i < TIMES; i++) {
        struct shared_key same = name("same"), mine = number_key(own), many = number_key(i % 997);
        ok = ok && shared_incr(shared, &same, 1, 0, 0, 0, &sum) == SHARED_NUMBER && sum > last;
        last = sum;
        (void)shared_incr(shared, &mine, 1, 0, 0, 0, &sum);
        ok = ok && sum == i + 1;
        many.dictionary = second;
        (void)shared_incr(shared, &many, 1, 0, 0, 0, &sum);
        if (i % 16 == 0) { /* strings that are never seen half written */
            struct alacrity_shared_value *found = malloc(sizeof(*found));
            struct shared_key text = name("text");
            struct shared_value value = string(bytes, 100 + i % 200);
            shared_set(shared, &text, &value, 0, 0);
            shared_get(shared, &text, 0, found);
            for (uint32_t k = 1; found->type == SHARED_STRING && k < found->length; k++) {
                ok = ok && found->bytes[k] == found->bytes[0];
            }
            free(found);
        }
    }
    return ok ? argument : NULL;
}

START_TEST(threads_count_exactly) {
    pthread_t threads[THREADS];
    uint32_t numbers[THREADS];
    double total = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = 5000 + i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, &numbers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_ptr_nonnull(result);
        ck_assert(holds_number(number_key(5000 + i), TIMES));
    }
    ck_assert(holds_number(name("same"), (double)THREADS * TIMES));
    for (uint32_t i = 0; i < 997; i++) {
        struct shared_key key = number_key(i);
        key.dictionary = second;
        ck_assert_int_eq(type_at(key, 0), SHARED_NUMBER);
        total += got.number;
    }
    ck_assert_double_eq(total, (double)THREADS * TIMES);
    ck_assert_uint_eq(usage().entries, 997 + THREADS + 2);
}
END_TEST

/* Everything at once, at a limit that evicts, with names that are new to all. */
static void *trample(void *argument) {
    unsigned seed = *(const uint32_t *)argument;
    struct alacrity_shared_value *found = malloc(sizeof(*found));
    double sum;
    for (uint32_t i = 0; i < TIMES; i++) {
        char dictionary[16];
        int length = snprintf(dictionary, sizeof(dictionary), "t%u", i * 300 / TIMES);
        int32_t id = shared_dictionary(shared, dictionary, (size_t)length);
        struct shared_key key = {.dictionary = id < 0 ? first : (uint32_t)id,
                                 .number = rand_r(&seed) % 20000};
        struct shared_value value = string(long_bytes, (uint32_t)rand_r(&seed) % 1000);
        switch (rand_r(&seed) % 5) {
        case 0:
            shared_set(shared, &key, &value, i, i + 50);
            break;
        case 1:
            (void)shared_add(shared, &key, &value, i, 0);
            break;
        case 2:
            (void)shared_incr(shared, &key, 1, 0, i, 0, &sum);
            break;
        case 3:
            (void)shared_delete(shared, &key, i);
            break;
        default:
            shared_get(shared, &key, i, found);
        }
    }
    free(found);
    return NULL;
}

START_TEST(threads_may_do_anything) {
    pthread_t threads[THREADS];
    uint32_t numbers[THREADS];
    shared_limit(shared, SHARED_SMALLEST);
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, trample, &numbers[i]), 0);
    }
    for (uint32_t i = 0; i < 50; i++) {
        shared_sweep(shared, i);
        ck_assert_uint_le(usage().bytes, usage().limit_bytes);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    uint64_t counted = 0;
    for (uint32_t i = 0; i < shared_dictionary_count(shared); i++) {
        for (uint32_t k = 0; k < i; k++) {
            ck_assert_str_ne(shared_dictionary_name(shared, i), shared_dictionary_name(shared, k));
        }
        counted += shared_count(shared, i);
    }
    ck_assert_uint_eq(counted, usage().entries);
    /* The table is whole: all of it can be evicted, and all of it used again. */
    for (uint32_t i = 0; i < 100000; i++) {
        set(number_key(i + 0.25), number(i));
    }
    ck_assert_uint_eq(shared_count(shared, first), usage().entries);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("shared");
    TCase *tests = tcase_create("shared");
    tcase_add_checked_fixture(tests, open_shared, close_shared);
    tcase_add_test(tests, what_is_set_is_got);
    tcase_add_test(tests, dictionaries_and_kinds_of_keys_are_apart);
    tcase_add_test(tests, keys_and_strings_of_every_length_come_back);
    tcase_add_test(tests, add_only_what_is_absent);
    tcase_add_test(tests, incr_counts_and_leaves_other_types_alone);
    tcase_add_test(tests, dictionaries_are_found_by_name_and_bounded);
    tcase_add_test(tests, an_entry_ends_when_its_time_is_over);
    tcase_add_test(tests, the_sweep_frees_what_is_over_and_nothing_else);
    tcase_add_test(tests, what_was_not_used_longest_goes_first);
    tcase_add_test(tests, memory_is_bounded_and_flat_under_a_million_keys);
    tcase_add_test(tests, another_limit_is_reached_without_a_pause);
    tcase_add_test(tests, random_operations_agree_with_a_model);
    tcase_add_test(tests, threads_count_exactly);
    tcase_add_test(tests, threads_may_do_anything);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
