/* Fixed-size objects cut from blocks of about 64 KiB. Runs on the thread that owns the slab. */
#include "base/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (64u * 1024u)
#define OBJECT_ALIGNMENT 64u /* a cache line: objects never share one */

void slab_init(struct slab *slab, size_t object_bytes) {
    size_t rounded = (object_bytes + OBJECT_ALIGNMENT - 1) / OBJECT_ALIGNMENT * OBJECT_ALIGNMENT;
    rounded = rounded < OBJECT_ALIGNMENT ? OBJECT_ALIGNMENT : rounded;
    size_t count = (BLOCK_BYTES - OBJECT_ALIGNMENT) / rounded;
    *slab = (struct slab){.object_bytes = rounded, .objects_per_block = count > 0 ? count : 1};
}

/* The first word of a block links the blocks; objects begin one alignment further. */
static bool add_block(struct slab *slab) {
    size_t bytes = OBJECT_ALIGNMENT + slab->objects_per_block * slab->object_bytes;
    char *block = aligned_alloc(OBJECT_ALIGNMENT, bytes);
    if (block == NULL) {
        return false;
    }
    memset(block, 0, bytes);
    *(void **)(void *)block = slab->blocks;
    slab->blocks = block;
    for (size_t i = slab->objects_per_block; i > 0; i--) {
        void *object = block + OBJECT_ALIGNMENT + (i - 1) * slab->object_bytes;
        *(void **)object = slab->free_objects;
        slab->free_objects = object;
    }
    slab->total += slab->objects_per_block;
    return true;
}

void *slab_take(struct slab *slab) {
    if (slab->free_objects == NULL && !add_block(slab)) {
        return NULL;
    }
    void *object = slab->free_objects;
    slab->free_objects = *(void **)object;
    slab->used++;
    memset(object, 0, slab->object_bytes);
    return object;
}

void slab_give(struct slab *slab, void *object) {
    *(void **)object = slab->free_objects;
    slab->free_objects = object;
    slab->used--;
}

void *slab_next(const struct slab *slab, struct slab_walk *walk) {
    if (slab->blocks == NULL) {
        return NULL;
    }
    if (walk->block == NULL) {
        *walk = (struct slab_walk){.block = slab->blocks};
    }
    if (walk->at == slab->objects_per_block) {
        void *older = *(void **)walk->block;
        if (older == NULL) {
            return NULL;
        }
        *walk = (struct slab_walk){.block = older};
    }
    return (char *)walk->block + OBJECT_ALIGNMENT + walk->at++ * slab->object_bytes;
}

void slab_destroy(struct slab *slab) {
    for (void *block = slab->blocks; block != NULL;) {
        void *next = *(void **)block;
        free(block);
        block = next;
    }
    slab->blocks = slab->free_objects = NULL;
    slab->used = slab->total = 0;
}
