/* Arena: one pointer-free memfd that holds all slots, pool and listener facts, counter rows and
 * shared dictionaries, so that an upgrade can pass it to the next process. Sparse: only used pages
 * cost memory.
 *
 * Taking and recycling entries is the builder's work alone; reading is anybody's. An entry is
 * recycled when no plan refers to it and no session uses it any more; its counters are zeroed then.
 * "No session" means: slots, `active` is 0; pools, all their slots are recycled; listeners, as many
 * sessions closed as began. So a session that ends writes its slot's and pool's rows, then the rest
 * of its listener's row, then sessions_closed, and lowers `active` last, with release. */
#ifndef POOL_ARENA_H
#define POOL_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/slot.h"

#define ARENA_SLOTS 65536u
#define ARENA_POOLS 8192u
#define ARENA_LISTENERS 4096u
#define ARENA_WORKERS 64u /* rows of every counter: one a worker thread, and control's */
/* The control thread's own row (its services' listeners). So there are at most this many workers;
 * the sums always include this row, whatever arena_use_workers said. */
#define ARENA_CONTROL_ROW (ARENA_WORKERS - 1)

struct arena;
struct shared;  /* pool/shared.h */
struct metrics; /* pool/metrics.h */
struct metric_row;

struct arena *arena_new(char *error, size_t error_bytes) __attribute__((warn_unused_result));
void arena_free(struct arena *arena);

/* Builder: the entry of that identity, the existing one or a new one, with one more reference.
 * NULL: the arena is full (or a name or address does not fit its field). A new slot is
 * starting/ready/gone with weight 1. When the address of an existing one differs,
 * `*address_changed` is set and the old one still stands there: the build may yet fail, so control
 * writes the new one, and forgets its health, when it publishes. Every take is matched by one give.
 */
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
struct slot *arena_slot(struct arena *arena, uint32_t id); /* id must be below ARENA_SLOTS */
/* The slot that begins exactly at `candidate`, or NULL. Compares only, reads nothing. */
struct slot *arena_slot_at(const struct arena *arena, const void *candidate);
struct pool_facts *arena_slot_pool(struct arena *arena, const struct slot *slot);
/* The table of the scripts' metrics, and the values of one thread, METRICS of them. */
struct metrics *arena_metrics(const struct arena *arena);
struct metric_row *arena_metric_rows(const struct arena *arena, uint32_t worker);
/* Did this row ever count? Others must not be looked at, as that would cost memory. */
bool arena_row_is_used(const struct arena *arena, uint32_t worker);
/* The scripts' dictionaries; any thread. */
struct shared *arena_shared(const struct arena *arena);

/* Sums over the rows of all workers that ever ran; exact when traffic rests. */
struct slot_row arena_slot_sum(struct arena *arena, const struct slot *slot);
struct pool_row arena_pool_sum(struct arena *arena, const struct pool_facts *pool);
struct listener_row arena_listener_sum(struct arena *arena, const struct listener_facts *listener);
/* Control, when workers start: rows [0, count) are in use from now on. */
void arena_use_workers(struct arena *arena, uint32_t count);
/* Any thread: how many workers' rows are in use. */
uint32_t arena_workers(const struct arena *arena);
/* Entries in use now (slots, pools, listeners), for stats and the churn test. */
void arena_usage(const struct arena *arena, uint32_t *slots, uint32_t *pools, uint32_t *listeners);

#endif
