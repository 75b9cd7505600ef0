/* Slab: fixed-size objects cut from large blocks, free ones kept in a list. Belongs to one thread.
 * Blocks are never returned before slab_destroy; memory is bounded by the peak. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

struct slab {
    size_t object_bytes;
    size_t objects_per_block;
    void *free_objects; /* linked through their first word */
    void *blocks;       /* linked through their first word */
    size_t used, total; /* objects handed out / objects in all blocks */
};

void slab_init(struct slab *slab, size_t object_bytes);
/* A zeroed object, or NULL when memory is out (an ordinary event: the caller refuses the work). */
void *slab_take(struct slab *slab) __attribute__((warn_unused_result));
void slab_give(struct slab *slab, void *object);

/* A walk through the slab that may pause while objects are taken and given. Zeroed begins. */
struct slab_walk {
    void *block;
    size_t at;
};
/* The next object, in use or not: what was given back keeps all but its first word, and what was
 * never taken is zeroed. Objects of blocks made after the walk began are passed over. NULL: that
 * was all. */
void *slab_next(const struct slab *slab, struct slab_walk *walk);
void slab_destroy(struct slab *slab);

#endif
