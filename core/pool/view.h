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

struct least;
struct maglev;
struct ring;
struct subset;

/* An array of backends, and both ways between places in it and positions among the members. */
struct view_list {
    const struct alacrity_backend **backends;
    uint32_t count;
    uint32_t *positions; /* of the backend at a place */
    uint32_t *places;    /* of the member at a position; counts only if it really stands there, so
                            that nothing needs to be cleared */
};

struct pool_view {
    struct alacrity_pool_private script; /* first: handed to scripts */
    struct slot **members;               /* script.all_count of them, document order */
    const struct alacrity_backend **all; /* the same, as scripts see them */
    struct view_list eligible, untried;
    const struct view_list *offered; /* one of the two: what script.eligible is */
    /* Where `untried` is all of `eligible` but a few, these are where they stand there, ascending:
     * then it has no positions and places of its own, and costs no more than a copy. */
    bool punched;
    uint32_t hole_count, holes[VIEW_TRIED_MAX];
    const struct pool_facts *facts;
    bool built;
    bool has_caps;     /* some eligible backend has max_sessions */
    uint32_t *weights; /* of the members, when listed */
    uint32_t rotation; /* of view_pick_round_robin and view_natives.least */
    /* How often `eligible`, and how often `untried` was filled: from these a subset knows. */
    uint64_t listings, narrowings;
    uint64_t listing;       /* the number of the last of `eligible`, among those of all views */
    struct subset *subsets; /* list; those that were ever asked for */
    bool is_part;           /* of another view: has no subsets itself */
    uint32_t *positions;    /* hash from slot id to position + 1; 0 = empty; fixed by view_init */
    uint32_t positions_mask;
    uint64_t signature;    /* of the eligible set with its weights: when tables are stale */
    struct least *least;   /* least.c's; NULL until it is needed */
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
/* The same of a backend's id; there need not be one of that id. */
int32_t view_position_of_id(const struct pool_view *view, uint32_t id);
/* Where the member at that position stands in script.eligible now, -1 = not offered. */
int32_t view_offered_at(const struct pool_view *view, uint32_t position);
/* And the other way: the position of the one at that place of script.eligible. */
uint32_t view_position_at(const struct pool_view *view, uint32_t place);
/* Where the one at that place of the list `eligible` is offered; it must be. */
uint32_t view_offered_place(const struct pool_view *view, uint32_t place);

/* A part of what is offered, as a pool of its own: same members, but only these are eligible. Kept
 * and renewed by the view. NULL: out of memory, or this is a part itself: a script could else have
 * parts of parts made without end. */
/* The numbers are prelude.lua's. */
enum subset_kind { SUBSET_TAGGED, SUBSET_UNTAGGED, SUBSET_NEAR, SUBSET_FAR };
const struct alacrity_pool *view_subset(struct pool_view *view, enum subset_kind kind,
                                        uint32_t tag_bits);

/* selectors.c: frees the tables; view_free's. */
void selectors_free(struct pool_view *view);
/* Native selectors for scripts: weighted least active (ties: fewest, then rotating),
 * Maglev hashing by backend name and weight (Eisenbud 2016), ketama-like ring. */
extern const struct alacrity_natives view_natives;

#endif
