/* The books of a pool's versions, and what a build is told of them; see versions.h. */
#include "control/versions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counter.h"

#define SHADOW_FAILURES_PERCENT 10 /* of its picks: with more it should not be promoted */

static void remove_kept(struct pool_scripts *pool, uint32_t index) {
    version_release(pool->kept[index]);
    pool->kept_count--;
    memmove(&pool->kept[index], &pool->kept[index + 1],
            (pool->kept_count - index) * sizeof(struct script_version *));
}

/* The oldest goes, but never the last one that a rollback could return to. */
static void make_room(struct pool_scripts *pool) {
    if (pool->kept_count < VERSIONS_KEPT) {
        return;
    }
    uint32_t last = pool->kept_count - 1;
    remove_kept(pool, pool->kept[last] == versions_previous(pool) ? last - 1 : last);
}

void versions_make_current(struct pool_scripts *pool, struct script_version *version) {
    struct script_version *left = pool->current;
    if (version->number == 0) {
        version->number = ++pool->last_number;
    }
    version->since_wall_ms = (int64_t)clock_wall_ms();
    version->failed_wall_ms = 0;
    for (uint32_t i = pool->kept_count; i-- > 0;) {
        const struct script_version *kept = pool->kept[i];
        /* What failed gets another chance: its old verdict is void. */
        if (kept == version || (kept->failed_wall_ms != 0 && version_same_text(kept, version))) {
            remove_kept(pool, i);
        }
    }
    if (left != NULL) {
        make_room(pool);
        memmove(&pool->kept[1], &pool->kept[0], pool->kept_count * sizeof(struct script_version *));
        pool->kept[0] = left;
        pool->kept_count++;
    }
    pool->current = version;
    pool->returned = false;
}

struct script_version *versions_previous(const struct pool_scripts *pool) {
    for (uint32_t i = 0; i < pool->kept_count; i++) {
        if (pool->kept[i]->failed_wall_ms == 0) {
            return pool->kept[i];
        }
    }
    return NULL;
}

struct script_version *versions_failed(const struct pool_scripts *pool) {
    for (uint32_t i = 0; i < pool->kept_count; i++) {
        if (pool->kept[i]->failed_wall_ms != 0) {
            return pool->kept[i];
        }
    }
    return NULL;
}

static bool has_number(const struct script_version *version, const char *word) {
    char number[16];
    snprintf(number, sizeof(number), "%u", version != NULL ? version->number : 0);
    return version != NULL && strcmp(word, number) == 0;
}

struct script_version *versions_named(const struct pool_scripts *pool, const char *word) {
    if (strcmp(word, "current") == 0 || has_number(pool->current, word)) {
        return pool->current;
    }
    if (strcmp(word, "shadow") == 0 || has_number(pool->shadow, word)) {
        return pool->shadow;
    }
    if (strcmp(word, "previous") == 0) {
        return versions_previous(pool);
    }
    if (strcmp(word, "failed") == 0) {
        return versions_failed(pool);
    }
    for (uint32_t i = 0; i < pool->kept_count; i++) {
        if (has_number(pool->kept[i], word)) {
            return pool->kept[i];
        }
    }
    return NULL;
}

const char *versions_role(const struct pool_scripts *pool, const struct script_version *version) {
    if (version == pool->current) {
        return "current";
    }
    if (version == pool->shadow) {
        return "shadow";
    }
    if (version->failed_wall_ms != 0) {
        return "failed";
    }
    return version == versions_previous(pool) ? "previous" : "kept";
}

bool versions_shadow_is_bad(const struct pool_scripts *pool, const struct pool_row *sum, char *out,
                            size_t bytes) {
    uint64_t asked = counter_get(&sum->shadow_asked), stopped = counter_get(&sum->shadow_stopped);
    uint64_t failed = counter_get(&sum->shadow_failed), nil = counter_get(&sum->shadow_nil);
    uint64_t without_nil = failed > nil + stopped ? failed - nil : stopped; /* not read at once */
    bool out_now = counter_get(&sum->shadow_out_now) > 0;
    if (!out_now && without_nil * 100 <= asked * SHADOW_FAILURES_PERCENT) {
        return false;
    }
    snprintf(out, bytes,
             "the shadow of pool %s, version %u, %s: of %llu picks, %llu failed (%llu errors or "
             "nonsense, %llu while it was stopped); write: script promote %s --force, to promote "
             "it all the same",
             pool->pool, pool->shadow->number,
             out_now ? "was stopped too often" : "fails too often", (unsigned long long)asked,
             (unsigned long long)without_nil, (unsigned long long)(without_nil - stopped),
             (unsigned long long)stopped, pool->pool);
    return true;
}

void versions_forget(struct pool_scripts *pool) {
    version_release(pool->current);
    version_release(pool->shadow);
    for (uint32_t i = 0; i < pool->kept_count; i++) {
        version_release(pool->kept[i]);
    }
    free(pool);
}

/* ---- what a build is told ---- */

bool past_add(struct pool_past **pasts, const struct pool_scripts *pool) {
    if (versions_failed(pool) == NULL) {
        return true;
    }
    struct pool_past *past = calloc(1, sizeof(*past));
    if (past == NULL) {
        return false;
    }
    memcpy(past->pool, pool->pool, sizeof(past->pool));
    past->current = version_hold(pool->current);
    for (uint32_t i = 0; i < pool->kept_count; i++) {
        if (pool->kept[i]->failed_wall_ms != 0) {
            past->failed[past->failed_count++] = version_hold(pool->kept[i]);
        }
    }
    past->next = *pasts;
    *pasts = past;
    return true;
}

void past_free(struct pool_past *pasts) {
    while (pasts != NULL) {
        struct pool_past *past = pasts;
        pasts = past->next;
        version_release(past->current);
        for (uint32_t i = 0; i < past->failed_count; i++) {
            version_release(past->failed[i]);
        }
        free(past);
    }
}

struct script_version *past_failed(struct pool_past *pasts, const char *pool,
                                   const struct script_use *configured, struct pool_past **past) {
    while (pasts != NULL && strcmp(pasts->pool, pool) != 0) {
        pasts = pasts->next;
    }
    if (pasts == NULL || version_is_of(pasts->current, configured)) {
        return NULL;
    }
    for (uint32_t i = 0; i < pasts->failed_count; i++) {
        if (version_is_of(pasts->failed[i], configured)) {
            *past = pasts;
            return pasts->failed[i];
        }
    }
    return NULL;
}
