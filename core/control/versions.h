/* Versions: the books of one pool's policy: which version is in force, which ones were before,
 * which failed, which one is asked beside it. Control thread, but for the pasts, which go to the
 * builder. */
#ifndef CONTROL_VERSIONS_H
#define CONTROL_VERSIONS_H

#include "base/list.h"
#include "config/script_version.h"
#include "pool/slot.h"

#define VERSIONS_KEPT 4 /* besides the one in force */

/* Kept by name over reloads. */
struct pool_scripts {
    struct list node;
    char pool[ALACRITY_NAME_BYTES];
    struct script_version *current, *shadow; /* references; the shadow may be NULL */
    /* Those that were in force before, references, the last one first. */
    struct script_version *kept[VERSIONS_KEPT];
    uint32_t kept_count;
    bool returned; /* to the current one, by itself: it is not left by itself */
    uint32_t last_number;
    uint32_t shadow_sample;
    uint64_t window_started_ms; /* of the automatic rollback */
    uint64_t troubles_before;   /* errors, bad answers and overruns by then */
    bool seen;
};

/* The version, a reference of the caller's, is in force from now on. The one before it is kept. */
void versions_make_current(struct pool_scripts *pool, struct script_version *version);
/* The last in force before the current one that has not failed. NULL: there is none. */
struct script_version *versions_previous(const struct pool_scripts *pool);
/* The one that failed last. NULL: there is none. */
struct script_version *versions_failed(const struct pool_scripts *pool);
/* By role or number. NULL: there is none. */
struct script_version *versions_named(const struct pool_scripts *pool, const char *word);
/* "current", "previous", "failed", "kept" or "shadow", of one of the pool's. */
const char *versions_role(const struct pool_scripts *pool, const struct script_version *version);
/* Did the shadow do so badly, by the pool's counters, that it should not be promoted? What to say.
 */
bool versions_shadow_is_bad(const struct pool_scripts *pool, const struct pool_row *sum, char *out,
                            size_t bytes);
/* Gives back what the pool keeps, and its memory. */
void versions_forget(struct pool_scripts *pool);

/* What a build has to know of a pool of whose versions some failed: references. */
struct pool_past {
    struct pool_past *next;
    char pool[ALACRITY_NAME_BYTES];
    struct script_version *current;
    struct script_version *failed[VERSIONS_KEPT];
    uint32_t failed_count;
};

/* Adds the pool's past to the list, if some version failed. False: out of memory. */
bool past_add(struct pool_past **pasts, const struct pool_scripts *pool)
    __attribute__((warn_unused_result));
void past_free(struct pool_past *pasts); /* NULL is fine */
/* Builder. Has what is configured for that pool failed as it stands, while another is in force? The
 * failed version, and the pool's past. NULL: no. */
struct script_version *past_failed(struct pool_past *pasts, const char *pool,
                                   const struct script_use *configured, struct pool_past **past);

#endif
