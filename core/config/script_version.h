/* Script version: one source text and options of a pool's policy, numbered per pool. Immutable;
 * held by whoever has something made of it. Any thread takes and gives references. */
#ifndef CONFIG_SCRIPT_VERSION_H
#define CONFIG_SCRIPT_VERSION_H

#include "config/region.h"
#include "config/snapshot.h"

struct script_version {
    _Atomic uint32_t references;
    uint32_t number;                   /* counts within the pool; 0 = not published (yet) */
    struct script_use use;             /* its strings and source are the version's own */
    struct snapshot *snapshot;         /* what use.with belongs to */
    struct region memory;              /* of options that were given with the version itself */
    struct script_version *options_of; /* a reference, when use.with is that one's; or NULL */
    const char *origin;                /* "configuration", "swap", "shadow"; static */
    int64_t since_wall_ms;             /* when it came into force, or became the shadow; control */
    int64_t failed_wall_ms; /* when it was left because it failed; 0: it was not; control */
};

/* A version of what `use`, which belongs to the snapshot, says; with another file or stock name
 * when `name` is given (path NULL: stock). The source is the use's, or none yet. NULL: out of
 * memory. One reference. */
struct script_version *version_new(struct snapshot *snapshot, const struct script_use *use,
                                   const char *name, const char *path, const char *origin)
    __attribute__((warn_unused_result));
/* A version of the same file and options, of which the source is none yet. NULL: out of memory. */
struct script_version *version_again(struct script_version *version, const char *origin)
    __attribute__((warn_unused_result));
/* Gives the version, which nobody else has yet, options of its own (given.h). False: out of
 * memory. */
bool version_set_options(struct script_version *version, char *const *texts, uint32_t count)
    __attribute__((warn_unused_result));
struct script_version *version_hold(struct script_version *version);
void version_release(struct script_version *version); /* NULL is fine */
/* Builder, or sealed sources. Would the same be made of both? */
bool version_equal(const struct script_version *a, const struct script_version *b);
/* The same, wherever the script's file is. */
bool version_same_text(const struct script_version *a, const struct script_version *b);
/* Builder. Is the version what would be made of this now, wherever the script's file is? The files
 * that the version requires are read again for that. */
bool version_is_of(const struct script_version *version, const struct script_use *use);

#endif
