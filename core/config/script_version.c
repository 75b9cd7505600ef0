/* Making, comparing and counting references of script versions; see script_version.h. */
#include "config/script_version.h"

#include <stdlib.h>
#include <string.h>

struct script_version *version_new(struct snapshot *snapshot, const struct script_use *use,
                                   const char *name, const char *path, const char *origin) {
    struct script_version *version = calloc(1, sizeof(*version));
    if (version == NULL) {
        return NULL;
    }
    const char *own_path = name != NULL ? path : use->path;
    atomic_init(&version->references, 1);
    version->snapshot = snapshot_hold(snapshot);
    version->origin = origin;
    version->use.at = name != NULL ? (struct position){.file = origin} : use->at;
    version->use.with = use->with;
    version->use.name = strdup(name != NULL ? name : use->name);
    version->use.path = own_path != NULL ? strdup(own_path) : NULL;
    if (name == NULL && use->source != NULL) {
        version->use.source = source_hold(use->source);
    }
    if (version->use.name == NULL || (own_path != NULL && version->use.path == NULL)) {
        version_release(version);
        return NULL;
    }
    return version;
}

struct script_version *version_hold(struct script_version *version) {
    atomic_fetch_add_explicit(&version->references, 1, memory_order_relaxed);
    return version;
}

void version_release(struct script_version *version) {
    /* Release: our reads come before the free; acquire: the one who frees sees them all. */
    if (version == NULL ||
        atomic_fetch_sub_explicit(&version->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    source_release(version->use.source);
    free(version->use.name);
    free(version->use.path);
    snapshot_release(version->snapshot);
    free(version);
}

bool version_equal(const struct script_version *a, const struct script_version *b) {
    if ((a->use.source == NULL) != (b->use.source == NULL) ||
        !value_equal(a->use.with, b->use.with)) {
        return false;
    }
    return a->use.source != NULL ? source_equal(a->use.source, b->use.source)
                                 : strcmp(a->use.name, b->use.name) == 0;
}
