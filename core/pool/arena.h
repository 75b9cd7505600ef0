/* Arena: one pointer-free memfd that holds all slots, pool and listener facts and counter rows, so
 * that an upgrade can pass it to the next process. Sparse: only used pages cost memory.
 *
 * Taking and recycling entries is the builder's work alone; reading is anybody's. An entry is
 * recycled when no plan refers to it and (slots) no session is active on it; its counters are
 * zeroed then. */
#ifndef POOL_ARENA_H
#define POOL_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/slot.h"

#define ARENA_SLOTS 65536u
#define ARENA_POOLS 8192u
#define ARENA_LISTENERS 4096u
#define ARENA_WORKERS 64u /* most worker threads, and rows of every counter */

struct arena;

struct arena *arena_new(char *error, size_t error_bytes) __attribute__((warn_unused_result));
void arena_free(struct arena *arena);

/* Builder: the entry of that identity, the existing one or a new one, with one more reference.
 * NULL: the arena is full. A new slot is starting/ready/gone with the given weight; when the
 * address of an existing one differs, `*address_changed` is set (control then forgets its health
 * when it publishes). Every take is matched by one give. */
struct slot *arena_take_slot(struct arena *arena, struct pool_facts *pool, const char *name,
                             const char *address, bool *address_changed);
struct pool_facts *arena_take_pool(struct arena *arena, const char *name);
struct listener_facts *arena_take_listener(struct arena *arena, const char *name);
void arena_give_slot(struct arena *arena, struct slot *slot);
void arena_give_pool(struct arena *arena, struct pool_facts *pool);
void arena_give_listener(struct arena *arena, struct listener_facts *listener);
/* Builder: recycles every entry that nothing uses any more. */
void arena_sweep(struct arena *arena);

/* Any thread. worker < ARENA_WORKERS. */
struct slot_row *arena_slot_row(struct arena *arena, const struct slot *slot, uint32_t worker);
struct pool_row *arena_pool_row(struct arena *arena, const struct pool_facts *pool,
                                uint32_t worker);
struct listener_row *arena_listener_row(struct arena *arena, const struct listener_facts *listener,
                                        uint32_t worker);
struct slot *arena_slot(struct arena *arena, uint32_t id);      /* id must be below ARENA_SLOTS */
struct pool_facts *arena_slot_pool(struct arena *arena, const struct slot *slot);

/* Sums over the rows of all workers that ever ran; exact when traffic rests. */
struct slot_row arena_slot_sum(struct arena *arena, const struct slot *slot);
struct pool_row arena_pool_sum(struct arena *arena, const struct pool_facts *pool);
struct listener_row arena_listener_sum(struct arena *arena, const struct listener_facts *listener);
/* Control, when workers start: rows [0, count) are in use from now on. */
void arena_use_workers(struct arena *arena, uint32_t count);
/* Entries in use now (slots, pools, listeners), for stats and the churn test. */
void arena_usage(const struct arena *arena, uint32_t *slots, uint32_t *pools, uint32_t *listeners);

#endif
