/* Labels: see labels.h. Scripts compare zones and tags for every session, so in slots a zone is one
 * number and a tag one bit; here is found out which names there are. */
#include "config/labels.h"

#include <stdlib.h>
#include <string.h>

uint32_t zone_code(const char *name) {
    if (name == NULL) {
        return 0;
    }
    uint32_t code = hash_bytes(name, strlen(name));
    return code != 0 ? code : 1;
}

static int by_code(const void *a, const void *b) {
    const struct zone_config *x = a, *y = b;

    return x->code != y->code ? (x->code < y->code ? -1 : 1) : strcmp(x->name, y->name);
}

static void add_zone(struct snapshot *snapshot, const char *name) {
    if (name != NULL) {
        snapshot->zones[snapshot->zone_count++] =
            (struct zone_config){.name = name, .code = zone_code(name)};
    }
}

/* Sorted by code, each once. */
static void gather_zones(struct snapshot *snapshot, struct region *memory,
                         struct findings *findings) {
    size_t most = 0;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        most += 1 + (size_t)snapshot->pools[i].backend_count;
    }
    snapshot->zones = region_take_array(memory, most, sizeof(*snapshot->zones));
    if (snapshot->zones == NULL) {
        return;
    }
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        struct pool_config *pool = &snapshot->pools[i];

        pool->zone = pool->zone != NULL ? pool->zone : snapshot->zone;
        add_zone(snapshot, pool->zone);
        for (uint32_t k = 0; k < pool->backend_count; k++) {
            add_zone(snapshot, pool->backends[k].zone);
        }
    }
    qsort(snapshot->zones, snapshot->zone_count, sizeof(*snapshot->zones), by_code);
    for (uint32_t i = 0; i < snapshot->zone_count; i++) {
        const struct zone_config *zone = &snapshot->zones[i];
        const struct zone_config *last = kept > 0 ? &snapshot->zones[kept - 1] : NULL;

        if (last == NULL || last->code != zone->code) {
            snapshot->zones[kept++] = *zone;
        } else if (strcmp(last->name, zone->name) != 0) {
            findings_add(findings, 0, 0,
                         "the zones '%s' and '%s' cannot be told apart by their hash; give one "
                         "another name",
                         last->name, zone->name);
        }
    }
    snapshot->zone_count = kept;
}

static const struct tag_config *find_tag(const struct snapshot *snapshot, const char *name) {
    for (uint32_t i = 0; i < snapshot->tag_count; i++) {
        if (strcmp(snapshot->tags[i].name, name) == 0) {
            return &snapshot->tags[i];
        }
    }
    return NULL;
}

uint32_t snapshot_tag_bits(const struct snapshot *snapshot, const char *tag) {
    const struct tag_config *found = find_tag(snapshot, tag);

    return found != NULL ? 1u << found->bit : 0;
}

/* In document order, each once. */
static void gather_tags(struct snapshot *snapshot, struct region *memory,
                        struct findings *findings) {
    snapshot->tags = region_take_array(memory, SNAPSHOT_TAGS_MAX, sizeof(*snapshot->tags));
    if (snapshot->tags == NULL) {
        return;
    }
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        for (uint32_t k = 0; k < snapshot->pools[i].backend_count; k++) {
            const struct backend_config *backend = &snapshot->pools[i].backends[k];

            for (uint32_t tag = 0; tag < backend->tag_count; tag++) {
                if (find_tag(snapshot, backend->tags[tag]) != NULL) {
                    continue;
                }
                if (snapshot->tag_count == SNAPSHOT_TAGS_MAX) {
                    findings_add(findings, backend->at.line, backend->at.column,
                                 "'%s' is one tag too many; write at most %u different ones",
                                 backend->tags[tag], SNAPSHOT_TAGS_MAX);
                    return;
                }
                snapshot->tags[snapshot->tag_count++].name = backend->tags[tag];
            }
        }
    }
}

void labels_gather(struct snapshot *snapshot, struct region *memory, struct findings *findings) {
    gather_zones(snapshot, memory, findings);
    gather_tags(snapshot, memory, findings);
}
