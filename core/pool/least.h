/* Least: the offered backend with the fewest sessions for its weight. The view owner's thread. */
#ifndef POOL_LEAST_H
#define POOL_LEAST_H

#include "pool/view.h"

/* A place in what the view offers, or -1. Equal ones take turns. */
int32_t least_pick(const struct alacrity_pool *pool);
void least_free(struct pool_view *view);

#endif
