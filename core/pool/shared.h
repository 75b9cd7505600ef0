/* Shared: the dictionaries scripts share over all workers and control, alacrity.shared(name). They
 * live in the arena, without pointers, and outlive every configuration and Lua state.
 *
 * Bounded: one limit for all dictionaries together. When it is reached, the entry of the same shard
 * that was not used for the longest time makes room (get, set, add and incr use an entry). An entry
 * whose time is over is never seen again; its memory comes back when shared_sweep meets it.
 *
 * Any thread, unless a function says otherwise. Each takes one lock for a short while, and neither
 * waits nor allocates. Times are monotonic. */
#ifndef POOL_SHARED_H
#define POOL_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alacrity/script.h"

#define SHARED_DICTIONARIES 256u
#define SHARED_NAME_BYTES 64u /* of a dictionary, with the final NUL */
#define SHARED_KEY_BYTES 250u
#define SHARED_VALUE_BYTES ALACRITY_SHARED_BYTES /* of a string */
#define SHARED_SHARDS 32u
#define SHARED_SMALLEST (4ull << 20) /* a limit at which every value still fits into its shard */
#define SHARED_LARGEST (1ull << 30)
#define SHARED_DEFAULT (16ull << 20)

struct shared;

struct shared_key {
    uint32_t dictionary;
    const char *bytes; /* NULL: the key is `number` */
    uint32_t length;   /* at most SHARED_KEY_BYTES */
    double number;     /* not NaN; -0 is 0 */
};

enum shared_type {
    SHARED_NOTHING = ALACRITY_SHARED_NOTHING,
    SHARED_NUMBER = ALACRITY_SHARED_NUMBER,
    SHARED_BOOLEAN = ALACRITY_SHARED_BOOLEAN, /* `number` is 0 or 1 */
    SHARED_STRING = ALACRITY_SHARED_STRING,
};

/* A value to be stored. */
struct shared_value {
    enum shared_type type;
    uint32_t length; /* at most SHARED_VALUE_BYTES */
    double number;
    const char *bytes;
};

/* How much address space it needs, of the arena's; a multiple of a page. Only what is used costs
 * memory. */
size_t shared_bytes(void);
/* Once, before others use it: `memory` is zeroed. */
struct shared *shared_start(void *memory);

/* The id of the dictionary of that name, which it gets when it is new; never given back. -1: there
 * are SHARED_DICTIONARIES already, or the name is empty or too long. */
int32_t shared_dictionary(struct shared *shared, const char *name, size_t length);
/* Names of ids below the count; they never change. */
uint32_t shared_dictionary_count(const struct shared *shared);
const char *shared_dictionary_name(const struct shared *shared, uint32_t dictionary);

/* `out->type` is SHARED_NOTHING when there is none. */
void shared_get(struct shared *shared, const struct shared_key *key, uint64_t now_ms,
                struct alacrity_shared_value *out);
/* ends_ms 0: it stays until it is deleted or evicted. */
void shared_set(struct shared *shared, const struct shared_key *key,
                const struct shared_value *value, uint64_t now_ms, uint64_t ends_ms);
/* False: there is one, which stays. */
bool shared_add(struct shared *shared, const struct shared_key *key,
                const struct shared_value *value, uint64_t now_ms, uint64_t ends_ms);
/* Adds to the number, or to `initial` when there is none; only then ends_ms is set. The type of
 * what is there: SHARED_NUMBER, and *sum is it; else nothing was done. */
enum shared_type shared_incr(struct shared *shared, const struct shared_key *key, double by,
                             double initial, uint64_t now_ms, uint64_t ends_ms, double *sum);
/* False: there was none. */
bool shared_delete(struct shared *shared, const struct shared_key *key, uint64_t now_ms);
/* When it ends, 0 = never. False: there is none. */
bool shared_ends(struct shared *shared, const struct shared_key *key, uint64_t now_ms,
                 uint64_t *ends_ms);
/* Entries; those that are over may be among them until they are swept. */
uint32_t shared_count(const struct shared *shared, uint32_t dictionary);

/* Control. SHARED_SMALLEST to SHARED_LARGEST. A smaller limit is reached by and by. */
void shared_limit(struct shared *shared, uint64_t bytes);
/* Control, about once a second: frees some of what is over, and what a new limit has no room for.
 */
void shared_sweep(struct shared *shared, uint64_t now_ms);

struct shared_usage {
    uint64_t entries, bytes, limit_bytes, evictions;
};
void shared_usage(struct shared *shared, struct shared_usage *out);

#endif
