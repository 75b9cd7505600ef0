/* Rotate: smooth weighted round robin over what a view offers. The view owner's thread. */
#ifndef POOL_ROTATE_H
#define POOL_ROTATE_H

#include "pool/view.h"

/* How many words a rotation over pools of so many members takes; zeroed, nobody is owed anything.
 */
uint32_t rotate_words(uint32_t members);
/* Whose turn it is: a place in what the view offers, or -1. */
int32_t rotate_pick(const struct alacrity_pool *pool, int64_t *rotation);

#endif
