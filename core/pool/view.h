/* View: the eligible backends of one pool as one worker (or the builder's trial) sees them, dense
 * and in document order, and the native selectors over it. Belongs to one thread.
 *
 * The view is what a policy gets as `pool`. It is rebuilt when the pool's generation changed, and
 * narrowed to the untried backends during a retry.
 *
 * Caps (max_sessions): `active` changes with every session and raises no generation, so the built
 * set ignores caps, and view_prepare hides the backends at their cap, before each pick, in the same
 * pass that hides the tried ones (only if some backend of the pool has a cap). Scripts, selectors,
 * round robin and view_offers then all see one and the same set. A pick takes microseconds; a cap
 * that must hold to the last session against other workers is for the one who raises `active`. */
#ifndef POOL_VIEW_H
#define POOL_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "pool/arena.h"

#define VIEW_TRIED_MAX 16 /* most attempts of one session, = schema's bound on retries + 1 */

struct maglev;
struct ring;

struct pool_view {
    struct alacrity_pool_private script; /* first: handed to scripts */
    struct slot **members;               /* script.all_count of them, document order */
    const struct alacrity_backend **all, **eligible, **untried; /* arrays of all_count */
    uint32_t eligible_count;
    const struct pool_facts *facts;
    bool built;
    bool has_caps;     /* some eligible backend has max_sessions */
    uint32_t rotation; /* of view_pick_round_robin and view_natives.least */
    /* Where a member (by its position) stands in eligible[] and untried[]; an entry counts only if
     * the backend really stands there, so neither needs to be cleared. */
    uint32_t *eligible_at, *untried_at;
    uint32_t *positions; /* hash from slot id to position + 1; 0 = empty; fixed by view_init */
    uint32_t positions_mask;
    uint64_t signature;    /* of the eligible set with its weights: when tables are stale */
    struct maglev *maglev; /* selectors' own; NULL until the first use */
    struct ring *ring;
};

/* `members` is copied. False: out of memory, nothing kept. */
bool view_init(struct pool_view *view, const struct pool_facts *facts, const char *name,
               struct slot *const *members, uint32_t count) __attribute__((warn_unused_result));
void view_free(struct pool_view *view);

/* Before a pick: rebuilds if the generation changed, then hides the tried slots (ids) and those at
 * their cap. Never allocates. */
void view_prepare(struct pool_view *view, const uint32_t *tried, uint32_t tried_count);
/* Builder, for a trial pick: offers every member whatever its state, since backends of a new
 * configuration are not present yet. The next view_prepare rebuilds. */
void view_prepare_trial(struct pool_view *view);

/* The fallback and last resort: plain round robin over what view_prepare left. -1 = none. */
int32_t view_pick_round_robin(struct pool_view *view);

/* Is this one of the backends the view offers now? Its slot, or NULL. `candidate` is compared,
 * never dereferenced before it is known to be one: it may come from a script's memory. */
struct slot *view_offers(const struct pool_view *view, const struct arena *arena,
                         const void *candidate);

/* Position of the slot among members[] (document order, as in pool_config), -1 = not a member. */
int32_t view_position(const struct pool_view *view, const struct slot *slot);
/* Where the member at that position stands in script.eligible now, -1 = not offered. */
int32_t view_offered_at(const struct pool_view *view, uint32_t position);

/* selectors.c: frees the tables; view_free's. */
void selectors_free(struct pool_view *view);
/* Native selectors for scripts: weighted least active (ties: fewest, then rotating),
 * Maglev hashing by backend name and weight (Eisenbud 2016), ketama-like ring. */
extern const struct alacrity_natives view_natives;

#endif
