/* Watch: `run --watch`. Looks at every file the configuration was made of, and asks for a reload
 * when one has changed; and at those of policies swapped in, which are then swapped in again. The
 * builder's, but for what says otherwise. NULL, where nothing is watched,
 * is fine everywhere. */
#ifndef CONTROL_WATCH_H
#define CONTROL_WATCH_H

#include "control/build.h"

struct watch;

/* Control, before the builder's loop turns. NULL: out of memory. */
struct watch *watch_new(struct builder *builder, struct control *control, struct ev_loop *loop,
                        const char *file) __attribute__((warn_unused_result));
/* Control, after the builder's loop has ended. */
void watch_free(struct watch *watch);

/* Around a build: every file it tries in between, found or not, is looked at from then on. When it
 * came to something (`ok`), others are not any more. */
void watch_begin(struct watch *watch);
void watch_end(struct watch *watch, bool ok);
/* The same around the building of a policy that was asked for by its file. */
void watch_begin_swap(struct watch *watch);
void watch_end_swap(struct watch *watch);

#endif
