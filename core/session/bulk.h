/* Bulk: moving a sustained stream by splice. See bulk.c. */
#ifndef SESSION_BULK_H
#define SESSION_BULK_H

#include <sys/types.h>

#include "session/session.h"

#define BULK_PIPES 64u /* of one worker: with a MiB each in the kernel when all are full */

#define BULK_LEAST_BYTES 16384u

struct bulk_pipe {
    struct bulk_pipe *next; /* of plane->free_pipes */
    int read_end, write_end;
};

/* Moves what `from` has into a pipe, which is its peer's from then on. As recv(); EMFILE: there is
 * no pipe to be had. */
ssize_t bulk_read(struct side *from);
/* Moves what is in the side's pipe to its socket. As send(). */
ssize_t bulk_write(struct side *to);
/* Does the error of one of these mean that the kernel does not splice here? Then the session copies
 * from now on. */
bool bulk_is_refused(struct session *session, int error);
/* What is in the side's pipe becomes its pending bytes. False: out of memory. */
bool bulk_unload(struct side *to);
/* The side's pipe, if it has one, and what is in it are thrown away. */
void bulk_drop(struct side *to);
/* Now and then: closes one of the pipes that nobody needed since the last call. */
void bulk_rest(struct data_plane *plane);
/* Descriptors are needed: closes the pipes that no side holds. False: there was none. */
bool bulk_close(struct data_plane *plane);

#endif
