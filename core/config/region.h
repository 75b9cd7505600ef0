/* Region: memory that is taken piece by piece and freed as a whole. A snapshot lives in one, the
 * document it was read from in another. Belongs to one thread while it grows. */
#ifndef CONFIG_REGION_H
#define CONFIG_REGION_H

#include <stdbool.h>
#include <stddef.h>

struct region {
    struct region_block *blocks; /* the first one is being filled */
    bool failed;                 /* memory was out at least once; stays set */
};

/* Zeroed, aligned for any type. NULL: memory is out, `failed` is set. */
void *region_take(struct region *region, size_t bytes) __attribute__((warn_unused_result));
/* The same for an array; refuses a product that overflows. */
void *region_take_array(struct region *region, size_t count, size_t bytes)
    __attribute__((warn_unused_result));
/* A NUL-terminated copy. */
char *region_copy(struct region *region, const char *bytes, size_t length)
    __attribute__((warn_unused_result));
void region_free(struct region *region); /* leaves an empty, usable region */

#endif
