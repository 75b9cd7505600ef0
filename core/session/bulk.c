/* Bulk: moving a sustained stream by splice, through pipes of the worker's own. Runs on the
 * session's worker.
 *
 * A side holds a pipe only while bytes are in it: it is taken for one move, and given back when all
 * went out at once, so that an idle session owns none and a few serve many. A worker has at most
 * BULK_PIPES of them; who gets none copies. Where the kernel will not splice, a session copies from
 * then on. */
#include "session/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define PIPE_BYTES (1 << 20)

static struct bulk_pipe *pipe_new(void) {
    struct bulk_pipe *made = malloc(sizeof(*made));
    int ends[2];
    if (made == NULL || pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(made); /* out of memory or descriptors: copying needs neither */
        return NULL;
    }
    made->read_end = ends[0];
    made->write_end = ends[1];
    /* Refused beyond what /proc/sys/fs/pipe-* allow: then it is a small one, and slower. */
    (void)fcntl(made->write_end, F_SETPIPE_SZ, PIPE_BYTES);
    return made;
}

static void pipe_close(struct data_plane *plane, struct bulk_pipe *pipe) {
    close(pipe->read_end);
    close(pipe->write_end);
    free(pipe);
    plane->pipe_count--;
}

static bool take_pipe(struct side *to) {
    struct data_plane *plane = to->session->plane;
    struct bulk_pipe *pipe = plane->free_pipes;
    if (pipe != NULL) {
        plane->free_pipes = pipe->next;
    } else if (plane->pipe_count < BULK_PIPES && (pipe = pipe_new()) != NULL) {
        plane->pipe_count++;
    }
    to->pipe = pipe;
    to->piped = 0;
    return pipe != NULL;
}

static void give_pipe(struct side *to) {
    struct data_plane *plane = to->session->plane;
    struct bulk_pipe *pipe = to->pipe;
    to->pipe = NULL;
    pipe->next = plane->free_pipes;
    plane->free_pipes = pipe;
}

ssize_t bulk_read(struct side *from) {
    struct side *to = from->peer;
    if (!take_pipe(to)) {
        errno = EMFILE;
        return -1;
    }
    ssize_t moved = splice(from->descriptor, NULL, to->pipe->write_end, NULL, PIPE_BYTES,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved > 0) {
        to->piped = (uint32_t)moved;
    } else {
        int error = errno;
        give_pipe(to);
        errno = error;
    }
    return moved;
}

ssize_t bulk_write(struct side *to) {
    ssize_t moved = splice(to->pipe->read_end, NULL, to->descriptor, NULL, to->piped,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved > 0) {
        to->piped -= (uint32_t)moved;
        if (to->piped == 0) {
            give_pipe(to);
        }
    }
    return moved;
}

bool bulk_is_refused(int error) {
    switch (error) {
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
    case EPERM:
        log_limited(LOG_WARNING, "bulk", "the kernel does not splice (%s): bytes are copied",
                    strerror(error));
        return true;
    default:
        return false;
    }
}

bool bulk_unload(struct side *to) {
    char *bytes = malloc(to->piped);
    uint32_t length = 0;
    while (bytes != NULL && length < to->piped) {
        ssize_t got = read(to->pipe->read_end, bytes + length, to->piped - length);
        if (got <= 0) {
            free(bytes);
            return false;
        }
        length += (uint32_t)got;
    }
    if (bytes == NULL) {
        return false;
    }
    give_pipe(to);
    to->pending = bytes;
    to->pending_start = 0;
    to->pending_end = length;
    return true;
}

void bulk_drop(struct side *to) {
    if (to->pipe != NULL) {
        pipe_close(to->session->plane, to->pipe); /* what is in it is nobody's */
        to->pipe = NULL;
    }
}

void bulk_close(struct data_plane *plane) {
    while (plane->free_pipes != NULL) {
        struct bulk_pipe *pipe = plane->free_pipes;
        plane->free_pipes = pipe->next;
        pipe_close(plane, pipe);
    }
}
