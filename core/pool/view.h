/* View: the eligible backends of one pool as one worker (or the builder's trial) sees them, dense
 * and in document order, and the native selectors over it. Belongs to one thread.
 *
 * The view is what a policy gets as `pool`. It is rebuilt when the pool's generation changed, and
 * narrowed to the untried backends during a retry. */
#ifndef POOL_VIEW_H
#define POOL_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/arena.h"

#define VIEW_TRIED_MAX 16 /* most attempts of one session, = schema's bound on retries + 1 */

struct pool_view {
    struct alacrity_pool_private script; /* first: handed to scripts */
    struct slot **members;               /* script.all_count of them, document order */
    const struct alacrity_backend **all, **eligible, **untried; /* arrays of all_count */
    uint32_t eligible_count;
    const struct pool_facts *facts;
    uint32_t generation; /* of the facts, when built */
    bool built;
    uint32_t rotation;   /* of view_pick_round_robin */
    uint32_t maglev_generation; /* changes with the eligible set; selectors rebuild lazily */
    uint16_t *maglev_table;     /* positions in all[]; NULL until the first use */
    uint32_t maglev_size;
};

/* `members` is copied. False: out of memory, nothing kept. */
bool view_init(struct pool_view *view, const struct pool_facts *facts, const char *name,
               struct slot *const *members, uint32_t count) __attribute__((warn_unused_result));
void view_free(struct pool_view *view);

/* Before a pick: rebuilds if the generation changed, then hides the tried slots (ids). */
void view_prepare(struct pool_view *view, const uint32_t *tried, uint32_t tried_count);

/* The fallback and last resort: plain round robin over what view_prepare left. -1 = none. */
int32_t view_pick_round_robin(struct pool_view *view);

/* Is this one of the backends the view offers now? Its slot, or NULL. `candidate` is compared, never
 * dereferenced before it is known to be one: it may come from a script's memory. */
struct slot *view_offers(const struct pool_view *view, const struct arena *arena,
                         const void *candidate);

/* Native selectors for scripts: weighted least active (ties: fewest, then rotating),
 * Maglev hashing by backend name and weight (Eisenbud 2016), ketama-like ring. */
extern const struct alacrity_natives view_natives;

#endif
