/* Region: see region.h. Builder thread and command line tools. */
#include "config/region.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (64u * 1024u)
#define ALIGNMENT 16u

struct region_block {
    struct region_block *next;
    size_t used, capacity;
    _Alignas(ALIGNMENT) char bytes[];
};

static struct region_block *block_make(struct region *region, size_t capacity) {
    struct region_block *block = NULL;

    if (capacity <= SIZE_MAX - sizeof(*block)) {
        block = calloc(1, sizeof(*block) + capacity);
    }
    if (block == NULL) {
        region->failed = true;
        return NULL;
    }
    block->capacity = capacity;
    return block;
}

void *region_take(struct region *region, size_t bytes) {
    struct region_block *block = region->blocks;

    if (bytes > SIZE_MAX - ALIGNMENT) {
        region->failed = true;
        return NULL;
    }
    bytes = bytes == 0 ? ALIGNMENT : (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (block == NULL || bytes > block->capacity - block->used) {
        /* A large piece gets a block of its own, behind the one being filled. */
        const bool large = bytes > BLOCK_BYTES / 4 && block != NULL;

        block = block_make(region, bytes > BLOCK_BYTES / 4 ? bytes : BLOCK_BYTES);
        if (block == NULL) {
            return NULL;
        }
        if (large) {
            block->next = region->blocks->next;
            region->blocks->next = block;
        } else {
            block->next = region->blocks;
            region->blocks = block;
        }
    }
    block->used += bytes;
    return block->bytes + block->used - bytes;
}

void *region_take_array(struct region *region, size_t count, size_t bytes) {
    size_t total;

    if (__builtin_mul_overflow(count, bytes, &total)) {
        region->failed = true;
        return NULL;
    }
    return region_take(region, total);
}

char *region_copy(struct region *region, const char *bytes, size_t length) {
    char *copy = length < SIZE_MAX ? region_take(region, length + 1) : NULL;

    if (copy != NULL && length > 0) {
        memcpy(copy, bytes, length);
    }
    return copy;
}

void region_free(struct region *region) {
    while (region->blocks != NULL) {
        struct region_block *next = region->blocks->next;

        free(region->blocks);
        region->blocks = next;
    }
    region->failed = false;
}
