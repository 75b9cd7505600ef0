/* The shared memory that holds slots, facts of pools and listeners, counter rows, and the scripts'
 * metrics and shared dictionaries; and the builder's books about it (names, free entries), which
 * are private memory.
 *
 * Layout of the memfd: slots | pool facts | listener facts | rows of worker 0 | rows of worker 1
 * ... | metrics | shared. Rows are grouped by worker, so that a worker that never runs costs no
 * memory. Reading an untouched page of a memfd allocates it, therefore only rows below `workers`
 * are ever looked at.
 *
 * Taking, giving and sweeping run on the builder; everything else on any thread. */
#include "pool/arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/address.h"
#include "pool/metrics.h"
#include "pool/shared.h"

/* Where the parts begin. Each is a multiple of a page long. */
#define SLOTS_BYTES ((size_t)ARENA_SLOTS * sizeof(struct slot))
#define POOLS_BYTES ((size_t)ARENA_POOLS * sizeof(struct pool_facts))
#define LISTENERS_BYTES ((size_t)ARENA_LISTENERS * sizeof(struct listener_facts))
#define SLOT_ROWS_BYTES ((size_t)ARENA_SLOTS * sizeof(struct slot_row))
#define POOL_ROWS_BYTES ((size_t)ARENA_POOLS * sizeof(struct pool_row))
#define LISTENER_ROWS_BYTES ((size_t)ARENA_LISTENERS * sizeof(struct listener_row))
#define WORKER_BYTES (SLOT_ROWS_BYTES + POOL_ROWS_BYTES + LISTENER_ROWS_BYTES + METRIC_ROWS_BYTES)
#define POOLS_OFFSET SLOTS_BYTES
#define LISTENERS_OFFSET (POOLS_OFFSET + POOLS_BYTES)
#define ROWS_OFFSET (LISTENERS_OFFSET + LISTENERS_BYTES)
#define METRICS_OFFSET (ROWS_OFFSET + ARENA_WORKERS * WORKER_BYTES)

_Static_assert(SLOTS_BYTES % 4096 == 0 && POOLS_BYTES % 4096 == 0 && LISTENERS_BYTES % 4096 == 0,
               "parts begin on pages");
_Static_assert(SLOT_ROWS_BYTES % 4096 == 0 && POOL_ROWS_BYTES % 4096 == 0 &&
                   LISTENER_ROWS_BYTES % 4096 == 0,
               "workers must not share a page of rows");

/* The builder's book of one kind of entry: a chained hash table from identity to index, and which
 * indices are free. Everywhere in it index + 1 stands for an entry and 0 for none, so that fresh
 * zeroed memory is an empty book. */
struct book {
    uint32_t capacity; /* entries, a power of two; also the number of chains */
    uint32_t touched;  /* entries ever taken; those above are fresh */
    uint32_t free;     /* first free entry below `touched`, linked through next_free */
    uint32_t *chains, *next;
    _Atomic uint32_t used; /* read by stats */
};

struct arena {
    char *memory;
    size_t bytes;
    int descriptor;
    struct metrics *metrics;
    struct shared *shared;
    _Atomic uint32_t workers; /* rows [0, workers) were ever in use; writer: control */
    struct book slots, pools, listeners;
};

/* ---- the builder's books ---- */

static bool book_init(struct book *book, uint32_t capacity) {
    book->capacity = capacity;
    book->chains = calloc(capacity, sizeof *book->chains);
    book->next = calloc(capacity, sizeof *book->next);
    return book->chains != NULL && book->next != NULL;
}

static void book_free(struct book *book) {
    free(book->chains);
    free(book->next);
}

static bool book_has_room(const struct book *book) {
    return book->free != 0 || book->touched < book->capacity;
}

static void book_link(struct book *book, uint32_t hash, uint32_t index) {
    uint32_t *chain = &book->chains[hash & (book->capacity - 1)];
    book->next[index] = *chain;
    *chain = index + 1;
    atomic_fetch_add_explicit(&book->used, 1, memory_order_relaxed);
}

static void book_unlink(struct book *book, uint32_t hash, uint32_t index) {
    uint32_t *link = &book->chains[hash & (book->capacity - 1)];
    while (*link != index + 1) {
        link = &book->next[*link - 1];
    }
    *link = book->next[index];
    atomic_fetch_sub_explicit(&book->used, 1, memory_order_relaxed);
}

/* A free index; book_has_room() holds. `next_free` is that of the first free entry, if any. */
static uint32_t book_take(struct book *book, uint32_t next_free) {
    if (book->free == 0) {
        return book->touched++;
    }
    uint32_t index = book->free - 1;
    book->free = next_free;
    return index;
}

static uint32_t name_hash(const char *name) {
    return hash_bytes(name, strlen(name));
}

static uint32_t slot_hash(const char *pool, const char *name) {
    return name_hash(pool) * 31 + name_hash(name);
}

static bool name_fits(const char *name, size_t bytes) {
    return strlen(name) < bytes;
}

/* ---- places ---- */

static struct slot *slots_of(const struct arena *arena) {
    return (struct slot *)(void *)arena->memory;
}

static struct pool_facts *pools_of(const struct arena *arena) {
    return (struct pool_facts *)(void *)(arena->memory + POOLS_OFFSET);
}

static struct listener_facts *listeners_of(const struct arena *arena) {
    return (struct listener_facts *)(void *)(arena->memory + LISTENERS_OFFSET);
}

static uint32_t slot_index(const struct arena *arena, const struct slot *slot) {
    return (uint32_t)(slot - slots_of(arena));
}

static uint32_t pool_index(const struct arena *arena, const struct pool_facts *pool) {
    return (uint32_t)(pool - pools_of(arena));
}

static uint32_t listener_index(const struct arena *arena, const struct listener_facts *listener) {
    return (uint32_t)(listener - listeners_of(arena));
}

struct slot_row *arena_slot_row(struct arena *arena, const struct slot *slot, uint32_t worker) {
    char *rows = arena->memory + ROWS_OFFSET + worker * WORKER_BYTES;
    return (struct slot_row *)(void *)rows + slot_index(arena, slot);
}

struct pool_row *arena_pool_row(struct arena *arena, const struct pool_facts *pool,
                                uint32_t worker) {
    char *rows = arena->memory + ROWS_OFFSET + worker * WORKER_BYTES + SLOT_ROWS_BYTES;
    return (struct pool_row *)(void *)rows + pool_index(arena, pool);
}

struct listener_row *arena_listener_row(struct arena *arena, const struct listener_facts *listener,
                                        uint32_t worker) {
    char *rows =
        arena->memory + ROWS_OFFSET + worker * WORKER_BYTES + SLOT_ROWS_BYTES + POOL_ROWS_BYTES;
    return (struct listener_row *)(void *)rows + listener_index(arena, listener);
}

struct slot *arena_slot(struct arena *arena, uint32_t id) {
    return slots_of(arena) + id;
}

struct slot *arena_slot_at(const struct arena *arena, const void *candidate) {
    /* As integers: comparing unrelated pointers is undefined, and a wrapped difference is large. */
    uintptr_t offset = (uintptr_t)candidate - (uintptr_t)arena->memory;
    if (offset < SLOTS_BYTES && offset % sizeof(struct slot) == 0) {
        return slots_of(arena) + offset / sizeof(struct slot);
    }
    return NULL;
}

struct pool_facts *arena_slot_pool(struct arena *arena, const struct slot *slot) {
    return pools_of(arena) + atomic_load_explicit(&slot->pool_facts, memory_order_relaxed);
}

struct metrics *arena_metrics(const struct arena *arena) {
    return arena->metrics;
}

struct metric_row *arena_metric_rows(const struct arena *arena, uint32_t worker) {
    char *rows = arena->memory + ROWS_OFFSET + worker * WORKER_BYTES + SLOT_ROWS_BYTES +
                 POOL_ROWS_BYTES + LISTENER_ROWS_BYTES;
    return (struct metric_row *)(void *)rows;
}

struct shared *arena_shared(const struct arena *arena) {
    return arena->shared;
}

/* ---- life ---- */

struct arena *arena_new(char *error, size_t error_bytes) {
    struct arena *arena = calloc(1, sizeof *arena);
    if (arena == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    arena->memory = MAP_FAILED;
    arena->bytes = METRICS_OFFSET + metrics_bytes() + shared_bytes();
    arena->descriptor = memfd_create("alacrity-arena", MFD_CLOEXEC);
    if (arena->descriptor < 0 || ftruncate(arena->descriptor, (off_t)arena->bytes) != 0) {
        snprintf(error, error_bytes, "shared memory for counters: %s", strerror(errno));
        arena_free(arena);
        return NULL;
    }
    arena->memory = mmap(NULL, arena->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                         arena->descriptor, 0);
    if (arena->memory == MAP_FAILED) {
        snprintf(error, error_bytes, "mapping %zu MiB for counters: %s", arena->bytes >> 20,
                 strerror(errno));
        arena_free(arena);
        return NULL;
    }
    if (!book_init(&arena->slots, ARENA_SLOTS) || !book_init(&arena->pools, ARENA_POOLS) ||
        !book_init(&arena->listeners, ARENA_LISTENERS)) {
        snprintf(error, error_bytes, "out of memory");
        arena_free(arena);
        return NULL;
    }
    arena->metrics = (struct metrics *)(void *)(arena->memory + METRICS_OFFSET);
    arena->shared = shared_start(arena->memory + METRICS_OFFSET + metrics_bytes());
    return arena;
}

void arena_free(struct arena *arena) {
    if (arena == NULL) {
        return;
    }
    book_free(&arena->slots);
    book_free(&arena->pools);
    book_free(&arena->listeners);
    if (arena->memory != MAP_FAILED) {
        munmap(arena->memory, arena->bytes);
    }
    if (arena->descriptor >= 0) {
        close(arena->descriptor);
    }
    free(arena);
}

/* ---- taking and giving (builder) ---- */

/* References are the builder's alone; atomic only because stats may look. */
static void refer(_Atomic uint32_t *references) {
    atomic_fetch_add_explicit(references, 1, memory_order_relaxed);
}

static void unrefer(_Atomic uint32_t *references) {
    atomic_fetch_sub_explicit(references, 1, memory_order_relaxed);
}

static bool is_referred(const _Atomic uint32_t *references) {
    return atomic_load_explicit(references, memory_order_relaxed) > 0;
}

/* True: the book has room, perhaps after a sweep. */
static bool make_room(struct arena *arena, const struct book *book) {
    if (!book_has_room(book)) {
        arena_sweep(arena);
    }
    return book_has_room(book);
}

static struct slot *find_slot(const struct arena *arena, const char *pool, const char *name,
                              uint32_t hash) {
    const struct book *book = &arena->slots;
    struct slot *slots = slots_of(arena);
    for (uint32_t i = book->chains[hash & (book->capacity - 1)]; i != 0; i = book->next[i - 1]) {
        struct slot *slot = &slots[i - 1];
        if (strcmp(slot->script.name, name) == 0 && strcmp(slot->script.pool, pool) == 0) {
            return slot;
        }
    }
    return NULL;
}

struct slot *arena_take_slot(struct arena *arena, struct pool_facts *pool, const char *name,
                             const char *address, bool *address_changed) {
    uint32_t hash = slot_hash(pool->name, name);
    struct slot *slot = find_slot(arena, pool->name, name, hash);
    *address_changed = false;
    if (!name_fits(name, ALACRITY_NAME_BYTES) || !name_fits(address, ALACRITY_ADDRESS_BYTES)) {
        return NULL;
    }
    if (slot != NULL) {
        *address_changed = strcmp(slot->script.address, address) != 0;
        refer(&slot->references);
        return slot;
    }
    if (!make_room(arena, &arena->slots)) {
        return NULL;
    }
    struct book *book = &arena->slots;
    uint32_t index = book_take(book, book->free ? slots_of(arena)[book->free - 1].next_free : 0);
    slot = slots_of(arena) + index;
    slot->script.view.id = index;
    atomic_store_explicit(&slot->script.view.weight, 1, memory_order_relaxed);
    atomic_store_explicit(&slot->script.view.state_code, STATE_GONE, memory_order_relaxed);
    strcpy(slot->script.name, name);
    strcpy(slot->script.pool, pool->name);
    strcpy(slot->script.address, address);
    slot->configured_weight = 1;
    atomic_store_explicit(&slot->pool_facts, pool_index(arena, pool), memory_order_relaxed);
    book_link(book, hash, index);
    refer(&slot->references);
    refer(
        &pool->references); /* until the slot is recycled: its last session writes the pool's row */
    return slot;
}

struct pool_facts *arena_take_pool(struct arena *arena, const char *name) {
    struct book *book = &arena->pools;
    struct pool_facts *pools = pools_of(arena);
    uint32_t hash = name_hash(name);
    if (!name_fits(name, ALACRITY_NAME_BYTES)) {
        return NULL;
    }
    for (uint32_t i = book->chains[hash & (book->capacity - 1)]; i != 0; i = book->next[i - 1]) {
        if (strcmp(pools[i - 1].name, name) == 0) {
            refer(&pools[i - 1].references);
            return &pools[i - 1];
        }
    }
    if (!make_room(arena, book)) {
        return NULL;
    }
    uint32_t index = book_take(book, book->free ? pools[book->free - 1].next_free : 0);
    strcpy(pools[index].name, name);
    book_link(book, hash, index);
    refer(&pools[index].references);
    return &pools[index];
}

struct listener_facts *arena_take_listener(struct arena *arena, const char *name) {
    struct book *book = &arena->listeners;
    struct listener_facts *listeners = listeners_of(arena);
    uint32_t hash = name_hash(name);
    if (!name_fits(name, ALACRITY_NAME_BYTES)) {
        return NULL;
    }
    for (uint32_t i = book->chains[hash & (book->capacity - 1)]; i != 0; i = book->next[i - 1]) {
        if (strcmp(listeners[i - 1].name, name) == 0) {
            refer(&listeners[i - 1].references);
            return &listeners[i - 1];
        }
    }
    if (!make_room(arena, book)) {
        return NULL;
    }
    uint32_t index = book_take(book, book->free ? listeners[book->free - 1].next_free : 0);
    strcpy(listeners[index].name, name);
    book_link(book, hash, index);
    refer(&listeners[index].references);
    return &listeners[index];
}

void arena_give_slot(struct arena *arena, struct slot *slot) {
    (void)arena;
    unrefer(&slot->references);
}

void arena_give_pool(struct arena *arena, struct pool_facts *pool) {
    (void)arena;
    unrefer(&pool->references);
}

void arena_give_listener(struct arena *arena, struct listener_facts *listener) {
    (void)arena;
    unrefer(&listener->references);
}

/* ---- recycling (builder) ---- */

/* Rows are arrays of counters; nobody writes them any more. Looked at first, so that a row of an
 * untouched cache line stays clean. */
static void zero_row(void *row, size_t bytes) {
    counter *words = row;
    for (size_t i = 0; i < bytes / sizeof *words; i++) {
        if (counter_get(&words[i]) != 0) {
            atomic_store_explicit(&words[i], 0, memory_order_relaxed);
        }
    }
}

uint32_t arena_workers(const struct arena *arena) {
    return atomic_load_explicit(&arena->workers, memory_order_relaxed);
}

static void recycle_slot(struct arena *arena, struct slot *slot) {
    uint32_t index = slot_index(arena, slot);
    book_unlink(&arena->slots, slot_hash(slot->script.pool, slot->script.name), index);
    for (uint32_t worker = 0; worker < arena_workers(arena); worker++) {
        zero_row(arena_slot_row(arena, slot, worker), sizeof(struct slot_row));
    }
    unrefer(&arena_slot_pool(arena, slot)->references);
    memset(slot, 0, sizeof *slot);
    slot->script.view.id = index;
    slot->next_free = arena->slots.free;
    arena->slots.free = index + 1;
}

static void recycle_pool(struct arena *arena, struct pool_facts *pool) {
    uint32_t index = pool_index(arena, pool);
    book_unlink(&arena->pools, name_hash(pool->name), index);
    for (uint32_t worker = 0; worker < arena_workers(arena); worker++) {
        zero_row(arena_pool_row(arena, pool, worker), sizeof(struct pool_row));
    }
    memset(pool, 0, sizeof *pool);
    pool->next_free = arena->pools.free;
    arena->pools.free = index + 1;
}

static void recycle_listener(struct arena *arena, struct listener_facts *listener) {
    uint32_t index = listener_index(arena, listener);
    book_unlink(&arena->listeners, name_hash(listener->name), index);
    for (uint32_t worker = 0; worker < arena_workers(arena); worker++) {
        zero_row(arena_listener_row(arena, listener, worker), sizeof(struct listener_row));
    }
    zero_row(arena_listener_row(arena, listener, ARENA_CONTROL_ROW), sizeof(struct listener_row));
    memset(listener, 0, sizeof *listener);
    listener->next_free = arena->listeners.free;
    arena->listeners.free = index + 1;
}

static bool listener_is_idle(const struct arena *arena, const struct listener_facts *listener) {
    struct listener_row sum = arena_listener_sum((struct arena *)arena, listener);
    return counter_get(&sum.sessions_total) == counter_get(&sum.sessions_closed);
}

void arena_sweep(struct arena *arena) {
    /* Slots before pools, as a slot holds a reference to its pool. An empty name marks a free
     * entry. */
    for (uint32_t i = 0; i < arena->slots.touched; i++) {
        struct slot *slot = slots_of(arena) + i;
        /* Acquire pairs with the release by which a session's end lowers `active`: what it wrote
         * into the rows before is not written over our zeroes. */
        if (slot->script.name[0] != '\0' && !is_referred(&slot->references) &&
            atomic_load_explicit(&slot->script.view.active, memory_order_acquire) == 0) {
            recycle_slot(arena, slot);
        }
    }
    for (uint32_t i = 0; i < arena->pools.touched; i++) {
        struct pool_facts *pool = pools_of(arena) + i;
        if (pool->name[0] != '\0' && !is_referred(&pool->references)) {
            recycle_pool(arena, pool);
        }
    }
    for (uint32_t i = 0; i < arena->listeners.touched; i++) {
        struct listener_facts *listener = listeners_of(arena) + i;
        if (listener->name[0] != '\0' && !is_referred(&listener->references) &&
            listener_is_idle(arena, listener)) {
            recycle_listener(arena, listener);
        }
    }
    metrics_sweep(arena);
}

/* ---- sums ---- */

/* Relaxed sums may be a moment apart; they are exact when traffic rests. */
static void add_row(void *sum, const void *row, size_t bytes) {
    counter *total = sum;
    const counter *words = row;
    for (size_t i = 0; i < bytes / sizeof *words; i++) {
        counter_add(&total[i], counter_get(&words[i]));
    }
}

struct slot_row arena_slot_sum(struct arena *arena, const struct slot *slot) {
    struct slot_row sum = {0};
    for (uint32_t worker = 0; worker < arena_workers(arena); worker++) {
        add_row(&sum, arena_slot_row(arena, slot, worker), sizeof sum);
    }
    return sum;
}

struct pool_row arena_pool_sum(struct arena *arena, const struct pool_facts *pool) {
    struct pool_row sum = {0};
    for (uint32_t worker = 0; worker < arena_workers(arena); worker++) {
        add_row(&sum, arena_pool_row(arena, pool, worker), sizeof sum);
    }
    return sum;
}

struct listener_row arena_listener_sum(struct arena *arena, const struct listener_facts *listener) {
    struct listener_row sum = {0};
    for (uint32_t worker = 0; worker < arena_workers(arena); worker++) {
        add_row(&sum, arena_listener_row(arena, listener, worker), sizeof sum);
    }
    add_row(&sum, arena_listener_row(arena, listener, ARENA_CONTROL_ROW), sizeof sum);
    return sum;
}

bool arena_row_is_used(const struct arena *arena, uint32_t worker) {
    return worker < arena_workers(arena) || worker == ARENA_CONTROL_ROW;
}

void arena_use_workers(struct arena *arena, uint32_t count) {
    count = count < ARENA_CONTROL_ROW ? count : ARENA_CONTROL_ROW;
    if (count > arena_workers(arena)) {
        atomic_store_explicit(&arena->workers, count, memory_order_relaxed);
    }
}

void arena_usage(const struct arena *arena, uint32_t *slots, uint32_t *pools, uint32_t *listeners) {
    *slots = atomic_load_explicit(&arena->slots.used, memory_order_relaxed);
    *pools = atomic_load_explicit(&arena->pools.used, memory_order_relaxed);
    *listeners = atomic_load_explicit(&arena->listeners.used, memory_order_relaxed);
}
