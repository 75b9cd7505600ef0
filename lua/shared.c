/* The functions behind alacrity.shared: from what Lua hands over to core/pool/shared.h, with the
 * time. See library.c for where they run. The Lua side has checked types and lengths. */
#include "pool/shared.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "lua/library.h"

static struct shared *table_of(const struct alacrity_library *library) {
    return library->shared;
}

static uint64_t now_ms_of(const struct alacrity_library *library) {
    return library->now != NULL ? (uint64_t)(library->now() * 1000) : clock_coarse_ms();
}

static struct shared_key key_of(uint32_t dictionary, const char *key, uint32_t length,
                                double number) {
    return (struct shared_key){
        .dictionary = dictionary, .bytes = key, .length = length, .number = number};
}

/* 0 = never. Rounded up: an entry lives at least as long as it was told. */
static uint64_t end_of(uint64_t now_ms, double ttl) {
    return ttl > 0 ? now_ms + (uint64_t)ceil(ttl * 1000) : 0;
}

/* In a trial nothing is changed, only told what would come of it. (Where a change is an error, Lua
 * has raised it.) */
static bool is_trial(const struct alacrity_library *library) {
    return library->stage != ALACRITY_LIVE;
}

static bool is_there(const struct alacrity_library *library, const struct shared_key *key,
                     uint64_t now_ms) {
    uint64_t ends_ms;
    return shared_ends(table_of(library), key, now_ms, &ends_ms);
}

static int32_t native_open(const struct alacrity_library *library, const char *name,
                           uint32_t length) {
    struct shared *shared = table_of(library);
    if (shared == NULL || library->stage != ALACRITY_LOOKING) {
        return shared != NULL ? shared_dictionary(shared, name, length) : -1;
    }
    for (uint32_t i = 0; i < shared_dictionary_count(shared); i++) {
        const char *known = shared_dictionary_name(shared, i);
        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static void native_get(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                       uint32_t length, double number, struct alacrity_shared_value *out) {
    struct shared_key wanted = key_of(dictionary, key, length, number);
    shared_get(table_of(library), &wanted, now_ms_of(library), out);
}

static void native_set(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                       uint32_t length, double number, uint32_t type, double value,
                       const char *bytes, uint32_t value_length, double ttl) {
    struct shared_key wanted = key_of(dictionary, key, length, number);
    struct shared_value stored = {(enum shared_type)type, value_length, value, bytes};
    uint64_t now_ms = now_ms_of(library);
    if (!is_trial(library)) {
        shared_set(table_of(library), &wanted, &stored, now_ms, end_of(now_ms, ttl));
    }
}

static uint32_t native_add(const struct alacrity_library *library, uint32_t dictionary,
                           const char *key, uint32_t length, double number, uint32_t type,
                           double value, const char *bytes, uint32_t value_length, double ttl) {
    struct shared_key wanted = key_of(dictionary, key, length, number);
    struct shared_value stored = {(enum shared_type)type, value_length, value, bytes};
    uint64_t now_ms = now_ms_of(library);
    if (is_trial(library)) {
        return !is_there(library, &wanted, now_ms);
    }
    return shared_add(table_of(library), &wanted, &stored, now_ms, end_of(now_ms, ttl));
}

static void native_incr(const struct alacrity_library *library, uint32_t dictionary,
                        const char *key, uint32_t length, double number, double by, double initial,
                        double ttl, struct alacrity_shared_value *out) {
    struct shared_key wanted = key_of(dictionary, key, length, number);
    uint64_t now_ms = now_ms_of(library);
    if (is_trial(library)) {
        shared_get(table_of(library), &wanted, now_ms, out);
        out->number = (out->type == SHARED_NUMBER ? out->number : initial) + by;
        out->type = out->type == SHARED_NOTHING ? SHARED_NUMBER : out->type;
        return;
    }
    out->type = shared_incr(table_of(library), &wanted, by, initial, now_ms, end_of(now_ms, ttl),
                            &out->number);
}

static uint32_t native_delete(const struct alacrity_library *library, uint32_t dictionary,
                              const char *key, uint32_t length, double number) {
    struct shared_key wanted = key_of(dictionary, key, length, number);
    uint64_t now_ms = now_ms_of(library);
    return is_trial(library) ? is_there(library, &wanted, now_ms)
                             : shared_delete(table_of(library), &wanted, now_ms);
}

static double native_ttl(const struct alacrity_library *library, uint32_t dictionary,
                         const char *key, uint32_t length, double number) {
    struct shared_key wanted = key_of(dictionary, key, length, number);
    uint64_t now_ms = now_ms_of(library), ends_ms;
    if (!shared_ends(table_of(library), &wanted, now_ms, &ends_ms)) {
        return -1;
    }
    return ends_ms == 0 ? INFINITY : (double)(ends_ms - now_ms) / 1000;
}

static uint32_t native_count(const struct alacrity_library *library, uint32_t dictionary) {
    return shared_count(table_of(library), dictionary);
}

const struct alacrity_shared_natives shared_natives = {
    .open = native_open,
    .get = native_get,
    .set = native_set,
    .add = native_add,
    .incr = native_incr,
    .delete = native_delete,
    .ttl = native_ttl,
    .count = native_count,
};
