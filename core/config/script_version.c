/* Making, comparing and counting references of script versions; see script_version.h. */
#include "config/script_version.h"

#include <stdlib.h>
#include <string.h>

#include "config/given.h"

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

struct script_version *version_again(struct script_version *version, const char *origin) {
    struct script_version *again =
        version_new(version->snapshot, &version->use, version->use.name, version->use.path, origin);
    if (again != NULL) { /* the end of the chain: it shall not grow */
        struct script_version *owner = version->options_of != NULL ? version->options_of : version;
        again->options_of = version_hold(owner);
    }
    return again;
}

bool version_set_options(struct script_version *version, char *const *texts, uint32_t count) {
    version->use.with = NULL;
    for (uint32_t i = 0; i < count; i++) {
        version->use.with =
            given_add(&version->memory, version->use.with, version->use.at, texts[i]);
        if (version->use.with == NULL) {
            return false;
        }
    }
    return true;
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
    version_release(version->options_of);
    region_free(&version->memory);
    free(version);
}

typedef bool same_source(const struct script_source *a, const struct script_source *b);

static bool same_use(const struct script_use *a, const struct script_use *b, same_source *same) {
    if ((a->source == NULL) != (b->source == NULL) || !value_equal(a->with, b->with)) {
        return false;
    }
    return a->source != NULL ? same(a->source, b->source) : strcmp(a->name, b->name) == 0;
}

bool version_equal(const struct script_version *a, const struct script_version *b) {
    return same_use(&a->use, &b->use, source_equal);
}

bool version_same_text(const struct script_version *a, const struct script_version *b) {
    return same_use(&a->use, &b->use, source_same_text);
}

bool version_is_of(const struct script_version *version, const struct script_use *use) {
    return same_use(&version->use, use, source_unchanged);
}
