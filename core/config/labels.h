/* Labels: the zones and tags a configuration speaks of. Builder thread and command line tools. */
#ifndef CONFIG_LABELS_H
#define CONFIG_LABELS_H

#include "config/findings.h"
#include "config/region.h"
#include "config/snapshot.h"

/* Fills snapshot->zones and ->tags from its pools, and the pools' own zone where none is written.
 * Too many tags, or zones that cannot be told apart, are findings. */
void labels_gather(struct snapshot *snapshot, struct region *memory, struct findings *findings);

#endif
