/* Tags: see tags.h. */
#include "pool/tags.h"

#include <string.h>

int tags_take(struct tags *tags, const char *name) {
    int found = -1;
    if (strlen(name) >= ALACRITY_NAME_BYTES) {
        return -1;
    }
    for (int i = TAG_BITS - 1; i >= 0; i--) {
        if (strcmp(tags->bits[i].name, name) == 0) {
            tags->bits[i].references++;
            return i;
        }
        if (tags->bits[i].references == 0) {
            found = i; /* the lowest free one, if the name has none yet */
        }
    }
    if (found >= 0) {
        strcpy(tags->bits[found].name, name);
        tags->bits[found].references = 1;
    }
    return found;
}

void tags_hold(struct tags *tags, uint32_t bits) {
    for (int i = 0; i < TAG_BITS; i++) {
        tags->bits[i].references += bits >> i & 1;
    }
}

void tags_give(struct tags *tags, uint32_t bits) {
    for (int i = 0; i < TAG_BITS; i++) {
        struct tag *tag = &tags->bits[i];
        if ((bits >> i & 1) != 0 && --tag->references == 0) {
            tag->name[0] = '\0';
        }
    }
}
