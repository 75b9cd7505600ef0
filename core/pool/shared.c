/* Shared dictionaries; see shared.h. Runs on every thread, in critical sections of C.
 *
 * An entry is one block of 64 bytes, a cache line: links, time, a number, and the first bytes of
 * its key. What does not fit (the rest of a long key, a string) follows in a chain of further
 * blocks. All blocks are alike, so nothing ever fragments, and what is evicted always serves what
 * comes. Everywhere index + 1 stands for a block and 0 for none: zeroed memory is an empty table.
 *
 * Keys are spread over shards, each with its own lock, blocks, hash table and order of use. The
 * hash table grows by one bucket at a time (linear hashing), so that no operation ever has to move
 * all of it. The hash has a secret, as clients can choose keys.
 *
 * The longest critical section is that of a set of 64 KiB into a full shard: about 1100 blocks are
 * freed and written. */
#include "pool/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/keyed_hash.h"
#include "base/lock.h"

#define BLOCK_BYTES 64u
#define HEAD_BYTES 24u
#define REST_BYTES 60u
#define COST_BYTES (BLOCK_BYTES + 4u) /* a block, and a bucket as there is one for each entry */
#define BLOCKS_MAX ((uint32_t)(SHARED_LARGEST / SHARED_SHARDS / COST_BYTES))
#define SWEEP_BUCKETS 4096u /* of each shard, each time */
#define SWEEP_AT_ONCE 64u   /* under one hold of the lock */
#define MAKE_ROOM_MORE 64u  /* blocks freed beyond what is needed, while above a new limit */

struct entry {
    uint32_t next; /* in its bucket */
    uint32_t newer, older;
    uint32_t hash;
    uint64_t ends_ms; /* 0 = never */
    uint32_t rest;    /* first further block */
    uint16_t dictionary;
    uint8_t key_bytes;
    uint8_t type : 4; /* enum shared_type */
    uint8_t number_key : 1;
    union {
        double number;
        uint32_t length; /* of a string */
    } value;
    char head[HEAD_BYTES];
};

struct rest {
    uint32_t next;
    char bytes[REST_BYTES];
};

union block {
    struct entry entry;
    struct rest rest; /* also a free one */
};

/* All of it is used under the lock, but for `counts`, which others may read. */
struct shard {
    _Alignas(64) lock_word lock;
    uint32_t limit;           /* blocks */
    uint32_t used, touched;   /* blocks in use; blocks ever used, those above are fresh */
    uint32_t free;            /* first free block below `touched` */
    uint32_t buckets;         /* at least 1 */
    uint32_t entries, mortal; /* all; those that end */
    uint32_t newest, oldest;
    uint32_t hand; /* bucket to be swept next */
    uint64_t evictions;
    _Atomic uint32_t counts[SHARED_DICTIONARIES]; /* entries of each dictionary */
};

struct shared {
    lock_word lock;                /* of the names; taken to add one */
    _Atomic uint32_t dictionaries; /* names below it stand for good; release on write */
    uint64_t secret[2];            /* written once, by shared_start */
    char names[SHARED_DICTIONARIES][SHARED_NAME_BYTES];
};

_Static_assert(sizeof(union block) == BLOCK_BYTES, "an entry is a cache line");
_Static_assert(BLOCKS_MAX < UINT32_MAX / 2, "index + 1 and a doubled table fit into 32 bits");
#define REST_BLOCKS(bytes) (((bytes)-HEAD_BYTES + REST_BYTES - 1) / REST_BYTES)
_Static_assert(1 + REST_BLOCKS(SHARED_KEY_BYTES + SHARED_VALUE_BYTES) + MAKE_ROOM_MORE <=
                   SHARED_SMALLEST / SHARED_SHARDS / COST_BYTES,
               "the largest entry fits into the smallest shard");

/* ---- places ---- */

#define PAGE_ROUNDED(bytes) (((bytes) + 4095u) & ~(size_t)4095u)
#define NAMES_BYTES PAGE_ROUNDED(sizeof(struct shared))
#define HEADER_BYTES PAGE_ROUNDED(sizeof(struct shard))
#define BUCKETS_BYTES PAGE_ROUNDED(BLOCKS_MAX * sizeof(uint32_t))
#define BLOCKS_BYTES PAGE_ROUNDED((size_t)BLOCKS_MAX *BLOCK_BYTES)
#define SHARD_BYTES (HEADER_BYTES + BUCKETS_BYTES + BLOCKS_BYTES)

size_t shared_bytes(void) {
    return NAMES_BYTES + SHARED_SHARDS * SHARD_BYTES;
}

static struct shard *shard_at(const struct shared *shared, uint32_t index) {
    return (struct shard *)(void *)((char *)(uintptr_t)shared + NAMES_BYTES + index * SHARD_BYTES);
}

static uint32_t *bucket_at(struct shard *shard, uint32_t index) {
    return (uint32_t *)(void *)((char *)shard + HEADER_BYTES) + index;
}

static union block *block_at(struct shard *shard, uint32_t number) {
    union block *blocks = (union block *)(void *)((char *)shard + HEADER_BYTES + BUCKETS_BYTES);
    return &blocks[number - 1];
}

static struct entry *entry_at(struct shard *shard, uint32_t number) {
    return &block_at(shard, number)->entry;
}

static uint32_t number_of(struct shard *shard, const struct entry *entry) {
    return (uint32_t)((const union block *)(const void *)entry - block_at(shard, 1)) + 1;
}

/* ---- bytes of an entry: its key, then its string ---- */

struct cursor {
    struct shard *shard;
    char *at;
    uint32_t left, next; /* bytes left in this block; the block after it */
};

static struct cursor cursor_of(struct shard *shard, struct entry *entry) {
    return (struct cursor){
        .shard = shard, .at = entry->head, .left = HEAD_BYTES, .next = entry->rest};
}

/* The next piece of at most `wanted` bytes, of which *length are there. */
static char *cursor_piece(struct cursor *cursor, uint32_t wanted, uint32_t *length) {
    if (cursor->left == 0) {
        struct rest *rest = &block_at(cursor->shard, cursor->next)->rest;
        cursor->at = rest->bytes;
        cursor->left = REST_BYTES;
        cursor->next = rest->next;
    }
    *length = wanted < cursor->left ? wanted : cursor->left;
    char *piece = cursor->at;
    cursor->at += *length;
    cursor->left -= *length;
    return piece;
}

static void cursor_skip(struct cursor *cursor, uint32_t count) {
    for (uint32_t length; count > 0; count -= length) {
        (void)cursor_piece(cursor, count, &length);
    }
}

static void cursor_write(struct cursor *cursor, const char *bytes, uint32_t count) {
    for (uint32_t length; count > 0; count -= length, bytes += length) {
        char *piece = cursor_piece(cursor, count, &length);
        memcpy(piece, bytes, length);
    }
}

static void cursor_read(struct cursor *cursor, char *bytes, uint32_t count) {
    for (uint32_t length; count > 0; count -= length, bytes += length) {
        const char *piece = cursor_piece(cursor, count, &length);
        memcpy(bytes, piece, length);
    }
}

static bool cursor_equals(struct cursor *cursor, const char *bytes, uint32_t count) {
    for (uint32_t length; count > 0; count -= length, bytes += length) {
        const char *piece = cursor_piece(cursor, count, &length);
        if (memcmp(piece, bytes, length) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- blocks ---- */

static uint32_t blocks_for(uint32_t bytes) {
    return bytes <= HEAD_BYTES ? 1 : 1 + REST_BLOCKS(bytes);
}

static uint32_t string_bytes(const struct entry *entry) {
    return entry->type == SHARED_STRING ? entry->value.length : 0;
}

/* There is one: make_room saw to it. */
static uint32_t take_block(struct shard *shard) {
    uint32_t number = shard->free;
    if (number != 0) {
        shard->free = block_at(shard, number)->rest.next;
    } else {
        number = ++shard->touched;
    }
    shard->used++;
    return number;
}

static void give_block(struct shard *shard, uint32_t number) {
    block_at(shard, number)->rest.next = shard->free;
    shard->free = number;
    shard->used--;
}

/* ---- order of use ---- */

static void unlink_use(struct shard *shard, struct entry *entry) {
    *(entry->newer != 0 ? &entry_at(shard, entry->newer)->older : &shard->newest) = entry->older;
    *(entry->older != 0 ? &entry_at(shard, entry->older)->newer : &shard->oldest) = entry->newer;
}

static void link_newest(struct shard *shard, struct entry *entry, uint32_t number) {
    entry->newer = 0;
    entry->older = shard->newest;
    *(shard->newest != 0 ? &entry_at(shard, shard->newest)->newer : &shard->oldest) = number;
    shard->newest = number;
}

static void use(struct shard *shard, struct entry *entry) {
    if (entry->newer != 0) {
        unlink_use(shard, entry);
        link_newest(shard, entry, number_of(shard, entry));
    }
}

/* ---- the hash table ---- */

/* Below the split, buckets have already been divided in two. */
static uint32_t bucket_of(uint32_t hash, uint32_t buckets) {
    uint32_t whole = 1u << (31 - __builtin_clz(buckets));
    uint32_t split = buckets - whole, index = hash & (whole - 1);
    return index < split ? hash & (2 * whole - 1) : index;
}

/* One bucket more, with its share of the one that is divided. */
static void grow(struct shard *shard) {
    uint32_t added = shard->buckets, whole = 1u << (31 - __builtin_clz(added));
    uint32_t *from = bucket_at(shard, added - whole), *to = bucket_at(shard, added);
    uint32_t number = *from;
    shard->buckets++;
    *from = *to = 0;
    while (number != 0) {
        struct entry *entry = entry_at(shard, number);
        uint32_t next = entry->next;
        uint32_t *bucket = bucket_of(entry->hash, shard->buckets) == added ? to : from;
        entry->next = *bucket;
        *bucket = number;
        number = next;
    }
}

static void entry_free(struct shard *shard, struct entry *entry) {
    uint32_t number = number_of(shard, entry);
    uint32_t *link = bucket_at(shard, bucket_of(entry->hash, shard->buckets));
    while (*link != number) {
        link = &entry_at(shard, *link)->next;
    }
    *link = entry->next;
    unlink_use(shard, entry);
    shard->entries--;
    shard->mortal -= entry->ends_ms != 0;
    _Atomic uint32_t *count = &shard->counts[entry->dictionary];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) - 1,
                          memory_order_relaxed);
    for (uint32_t rest = entry->rest, next; rest != 0; rest = next) {
        next = block_at(shard, rest)->rest.next;
        give_block(shard, rest);
    }
    give_block(shard, number);
}

static bool is_over(const struct entry *entry, uint64_t now_ms) {
    return entry->ends_ms != 0 && entry->ends_ms <= now_ms;
}

static void evict_oldest(struct shard *shard, uint64_t now_ms) {
    struct entry *oldest = entry_at(shard, shard->oldest);
    shard->evictions += !is_over(oldest, now_ms);
    entry_free(shard, oldest);
}

/* Frees what was used longest ago until `wanted` blocks can be taken. Above the limit, which was
 * lowered then, it frees a little more each time, but not all at once. */
static void make_room(struct shard *shard, uint32_t wanted, uint64_t now_ms) {
    uint32_t before = shard->used;
    while (shard->used + wanted > shard->limit && shard->oldest != 0 &&
           before - shard->used < wanted + MAKE_ROOM_MORE) {
        evict_oldest(shard, now_ms);
    }
}

/* ---- keys ---- */

/* A key as it is stored, and where. */
struct place {
    struct shard *shard;
    uint32_t dictionary, hash, length;
    const char *bytes;
    bool is_number;
    double number;
};

static void find_place(const struct shared *shared, const struct shared_key *key,
                       struct place *place) {
    place->is_number = key->bytes == NULL;
    place->number = key->number + 0.0; /* -0 becomes 0 */
    place->bytes = place->is_number ? (const char *)&place->number : key->bytes;
    place->length = place->is_number ? sizeof(place->number) : key->length;
    place->dictionary = key->dictionary;
    uint64_t hash = keyed_hash(shared->secret, (uint64_t)key->dictionary << 1 | place->is_number,
                               place->bytes, place->length);
    place->shard = shard_at(shared, (uint32_t)(hash >> 32) % SHARED_SHARDS);
    place->hash = (uint32_t)hash;
}

/* The entry, made the newest, or NULL. One that is over is freed on the way. */
static struct entry *find(const struct place *place, uint64_t now_ms) {
    struct shard *shard = place->shard;
    uint32_t number = *bucket_at(shard, bucket_of(place->hash, shard->buckets));
    while (number != 0) {
        struct entry *entry = entry_at(shard, number);
        struct cursor cursor = cursor_of(shard, entry);
        if (entry->hash == place->hash && entry->dictionary == place->dictionary &&
            entry->number_key == place->is_number && entry->key_bytes == place->length &&
            cursor_equals(&cursor, place->bytes, place->length)) {
            if (is_over(entry, now_ms)) {
                entry_free(shard, entry);
                return NULL;
            }
            return entry;
        }
        number = entry->next;
    }
    return NULL;
}

/* ---- values ---- */

static void write_value(struct shard *shard, struct entry *entry, const struct shared_value *value,
                        uint64_t ends_ms) {
    shard->mortal += (ends_ms != 0) - (entry->ends_ms != 0);
    entry->ends_ms = ends_ms;
    entry->type = value->type & 0xf;
    if (value->type == SHARED_STRING) {
        struct cursor cursor = cursor_of(shard, entry);
        cursor_skip(&cursor, entry->key_bytes);
        cursor_write(&cursor, value->bytes, value->length);
        entry->value.length = value->length;
    } else {
        entry->value.number = value->number;
    }
}

static void insert(const struct place *place, const struct shared_value *value, uint64_t now_ms,
                   uint64_t ends_ms) {
    struct shard *shard = place->shard;
    uint32_t blocks =
        blocks_for(place->length + (value->type == SHARED_STRING ? value->length : 0));
    make_room(shard, blocks, now_ms);
    uint32_t number = take_block(shard);
    struct entry *entry = entry_at(shard, number);
    entry->ends_ms = 0;
    entry->hash = place->hash;
    entry->dictionary = (uint16_t)place->dictionary;
    entry->key_bytes = (uint8_t)place->length;
    entry->number_key = place->is_number;
    uint32_t *link = &entry->rest;
    for (; blocks > 1; blocks--) {
        *link = take_block(shard);
        link = &block_at(shard, *link)->rest.next;
    }
    *link = 0;
    struct cursor cursor = cursor_of(shard, entry);
    cursor_write(&cursor, place->bytes, place->length);
    write_value(shard, entry, value, ends_ms);
    shard->entries++;
    _Atomic uint32_t *count = &shard->counts[place->dictionary];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (shard->entries > shard->buckets && shard->buckets < BLOCKS_MAX) {
        grow(shard);
    }
    uint32_t *bucket = bucket_at(shard, bucket_of(place->hash, shard->buckets));
    entry->next = *bucket;
    *bucket = number;
    link_newest(shard, entry, number);
}

/* In place when it is as large, else anew. */
static void replace(const struct place *place, struct entry *entry,
                    const struct shared_value *value, uint64_t now_ms, uint64_t ends_ms) {
    uint32_t bytes = value->type == SHARED_STRING ? value->length : 0;
    if (blocks_for(place->length + bytes) == blocks_for(place->length + string_bytes(entry))) {
        write_value(place->shard, entry, value, ends_ms);
        use(place->shard, entry);
    } else {
        entry_free(place->shard, entry);
        insert(place, value, now_ms, ends_ms);
    }
}

/* ---- what scripts do ---- */

void shared_get(struct shared *shared, const struct shared_key *key, uint64_t now_ms,
                struct alacrity_shared_value *out) {
    struct place place;
    find_place(shared, key, &place);
    out->type = SHARED_NOTHING;
    lock_take(&place.shard->lock);
    struct entry *entry = find(&place, now_ms);
    if (entry != NULL) {
        use(place.shard, entry);
        out->type = entry->type;
        if (entry->type == SHARED_STRING) {
            struct cursor cursor = cursor_of(place.shard, entry);
            cursor_skip(&cursor, entry->key_bytes);
            out->length = entry->value.length;
            cursor_read(&cursor, out->bytes, out->length);
        } else {
            out->number = entry->value.number;
        }
    }
    lock_give(&place.shard->lock);
}

void shared_set(struct shared *shared, const struct shared_key *key,
                const struct shared_value *value, uint64_t now_ms, uint64_t ends_ms) {
    struct place place;
    find_place(shared, key, &place);
    lock_take(&place.shard->lock);
    struct entry *entry = find(&place, now_ms);
    if (entry != NULL) {
        replace(&place, entry, value, now_ms, ends_ms);
    } else {
        insert(&place, value, now_ms, ends_ms);
    }
    lock_give(&place.shard->lock);
}

bool shared_add(struct shared *shared, const struct shared_key *key,
                const struct shared_value *value, uint64_t now_ms, uint64_t ends_ms) {
    struct place place;
    find_place(shared, key, &place);
    lock_take(&place.shard->lock);
    struct entry *entry = find(&place, now_ms);
    if (entry != NULL) {
        use(place.shard, entry);
    } else {
        insert(&place, value, now_ms, ends_ms);
    }
    lock_give(&place.shard->lock);
    return entry == NULL;
}

enum shared_type shared_incr(struct shared *shared, const struct shared_key *key, double by,
                             double initial, uint64_t now_ms, uint64_t ends_ms, double *sum) {
    struct place place;
    find_place(shared, key, &place);
    lock_take(&place.shard->lock);
    struct entry *entry = find(&place, now_ms);
    enum shared_type type = entry != NULL ? (enum shared_type)entry->type : SHARED_NUMBER;
    if (entry == NULL) {
        *sum = initial + by;
        insert(&place, &(struct shared_value){.type = SHARED_NUMBER, .number = *sum}, now_ms,
               ends_ms);
    } else if (type == SHARED_NUMBER) {
        *sum = entry->value.number += by;
        use(place.shard, entry);
    }
    lock_give(&place.shard->lock);
    return type;
}

bool shared_delete(struct shared *shared, const struct shared_key *key, uint64_t now_ms) {
    struct place place;
    find_place(shared, key, &place);
    lock_take(&place.shard->lock);
    struct entry *entry = find(&place, now_ms);
    if (entry != NULL) {
        entry_free(place.shard, entry);
    }
    lock_give(&place.shard->lock);
    return entry != NULL;
}

bool shared_ends(struct shared *shared, const struct shared_key *key, uint64_t now_ms,
                 uint64_t *ends_ms) {
    struct place place;
    find_place(shared, key, &place);
    lock_take(&place.shard->lock);
    const struct entry *entry = find(&place, now_ms);
    *ends_ms = entry != NULL ? entry->ends_ms : 0;
    lock_give(&place.shard->lock);
    return entry != NULL;
}

uint32_t shared_count(const struct shared *shared, uint32_t dictionary) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < SHARED_SHARDS; i++) {
        count +=
            atomic_load_explicit(&shard_at(shared, i)->counts[dictionary], memory_order_relaxed);
    }
    return count;
}

/* ---- dictionaries ---- */

static int32_t find_name(const struct shared *shared, const char *name, size_t length) {
    uint32_t count = shared_dictionary_count(shared);
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(shared->names[i], name, length) == 0 && shared->names[i][length] == '\0') {
            return (int32_t)i;
        }
    }
    return -1;
}

int32_t shared_dictionary(struct shared *shared, const char *name, size_t length) {
    if (length == 0 || length >= SHARED_NAME_BYTES || memchr(name, '\0', length) != NULL) {
        return -1;
    }
    int32_t found = find_name(shared, name, length);
    if (found >= 0) {
        return found;
    }
    lock_take(&shared->lock);
    found = find_name(shared, name, length); /* another thread may have been first */
    uint32_t count = shared_dictionary_count(shared);
    if (found < 0 && count < SHARED_DICTIONARIES) {
        memcpy(shared->names[count], name, length);
        /* Release: who sees the number sees the name. */
        atomic_store_explicit(&shared->dictionaries, count + 1, memory_order_release);
        found = (int32_t)count;
    }
    lock_give(&shared->lock);
    return found;
}

uint32_t shared_dictionary_count(const struct shared *shared) {
    return atomic_load_explicit(&((struct shared *)(uintptr_t)shared)->dictionaries,
                                memory_order_acquire);
}

const char *shared_dictionary_name(const struct shared *shared, uint32_t dictionary) {
    return shared->names[dictionary];
}

/* ---- the whole ---- */

struct shared *shared_start(void *memory) {
    struct shared *shared = memory;
    if (getrandom(shared->secret, sizeof(shared->secret), GRND_NONBLOCK) !=
        sizeof(shared->secret)) {
        shared->secret[0] = clock_monotonic_us() * 0x9E3779B97F4A7C15u;
        shared->secret[1] = (uintptr_t)memory;
    }
    for (uint32_t i = 0; i < SHARED_SHARDS; i++) {
        shard_at(shared, i)->buckets = 1;
    }
    shared_limit(shared, SHARED_DEFAULT);
    return shared;
}

void shared_limit(struct shared *shared, uint64_t bytes) {
    for (uint32_t i = 0; i < SHARED_SHARDS; i++) {
        struct shard *shard = shard_at(shared, i);
        lock_take(&shard->lock);
        shard->limit = (uint32_t)(bytes / SHARED_SHARDS / COST_BYTES);
        lock_give(&shard->lock);
    }
}

static void sweep_buckets(struct shard *shard, uint32_t count, uint64_t now_ms) {
    for (; count > 0 && shard->mortal > 0; count--) {
        shard->hand = shard->hand + 1 < shard->buckets ? shard->hand + 1 : 0;
        uint32_t number = *bucket_at(shard, shard->hand);
        while (number != 0) {
            struct entry *entry = entry_at(shard, number);
            number = entry->next;
            if (is_over(entry, now_ms)) {
                entry_free(shard, entry);
            }
        }
    }
}

void shared_sweep(struct shared *shared, uint64_t now_ms) {
    for (uint32_t i = 0; i < SHARED_SHARDS; i++) {
        struct shard *shard = shard_at(shared, i);
        for (uint32_t done = 0; done < SWEEP_BUCKETS; done += SWEEP_AT_ONCE) {
            lock_take(&shard->lock);
            sweep_buckets(shard, SWEEP_AT_ONCE, now_ms);
            make_room(shard, 0, now_ms);
            bool rests = shard->mortal == 0 && shard->used <= shard->limit;
            lock_give(&shard->lock);
            if (rests) {
                break;
            }
        }
    }
}

void shared_usage(struct shared *shared, struct shared_usage *out) {
    *out = (struct shared_usage){0};
    for (uint32_t i = 0; i < SHARED_SHARDS; i++) {
        struct shard *shard = shard_at(shared, i);
        lock_take(&shard->lock);
        out->entries += shard->entries;
        out->bytes += (uint64_t)shard->used * BLOCK_BYTES + shard->buckets * sizeof(uint32_t);
        out->limit_bytes += (uint64_t)shard->limit * COST_BYTES;
        out->evictions += shard->evictions;
        lock_give(&shard->lock);
    }
}
