/* Tags: which bit of a slot's tag word stands for which tag. A tag keeps its bit as long as any
 * plan speaks of it, so that scripts of an old configuration read the slots of the new one rightly.
 * The builder's. */
#ifndef POOL_TAGS_H
#define POOL_TAGS_H

#include <stdint.h>

#include "alacrity/script.h"

#define TAG_BITS 32

struct tags {
    struct tag {
        char name[ALACRITY_NAME_BYTES]; /* "" = the bit is free */
        uint32_t references;            /* plans that speak of it */
    } bits[TAG_BITS];
};

/* Refers to the tag once more. Its bit's number; -1: none is free, or the name is too long. */
int tags_take(struct tags *tags, const char *name);
/* The same for all the tags whose bits are set. */
void tags_hold(struct tags *tags, uint32_t bits);
void tags_give(struct tags *tags, uint32_t bits);

#endif
