/* Privileges: which user the process runs as (`user:` of the configuration), and what it keeps of
 * root. See privileges.c. */
#ifndef CONTROL_PRIVILEGES_H
#define CONTROL_PRIVILEGES_H

#include "config/snapshot.h"

/* Any thread. NULL: nothing is to be given up (any more). Else privileges_drop must come before the
 * snapshot is published, and files made until then belong to that owner. It lives as long as the
 * snapshot. */
const struct owner *privileges_owner(const struct snapshot *snapshot);
/* Builder. Can the process run as that user? `first`: no configuration was published yet. False:
 * messages. */
bool privileges_allow(const struct snapshot *snapshot, bool first, struct messages *messages)
    __attribute__((warn_unused_result));
/* Builder, once. Every thread is the snapshot's user afterwards; only the calling one keeps a
 * capability. False: messages, and the process can only end. */
bool privileges_drop(const struct snapshot *snapshot, struct messages *messages)
    __attribute__((warn_unused_result));

#endif
