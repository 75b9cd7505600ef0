/* Bulk: moving a sustained stream by splice, through pipes of the worker's own. Runs on the
 * session's worker.
 *
 * A side holds a pipe only while bytes are in it: it is taken for one move, and given back when all
 * went out at once, so that an idle session owns none and a few serve many. A worker has at most
 * BULK_PIPES of them; who gets none copies. Those that rest are closed one after the other, or at
 * once when descriptors run out. Where the kernel will not splice, a session copies from then on.
 */
#include "session/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* And so what is moved at once: some 0.2 ms of work, which a turn has room for. To move a quarter
 * of it costs a third more CPU. */
#define PIPE_BYTES (1 << 20)
#define PIPE_LEAST_BYTES (1 << 16)
#define WAIT_SECONDS 1.0 /* until a pipe is tried to be had again */

/* The bytes the pipe has room for. What /proc/sys/fs/pipe-* do not allow is refused, and beyond
 * that a new pipe is tiny; it shows in how few bytes one takes. */
static int enlarge(int pipe) {
    int bytes = fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES);
    return bytes >= 0 ? bytes : fcntl(pipe, F_GETPIPE_SZ);
}

static struct bulk_pipe *pipe_new(void) {
    struct bulk_pipe *made = malloc(sizeof(*made));
    int ends[2];
    if (made == NULL || pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(made); /* out of memory or descriptors: copying needs neither */
        return NULL;
    }
    if (enlarge(ends[1]) < PIPE_LEAST_BYTES) { /* copying takes fewer calls */
        close(ends[0]);
        close(ends[1]);
        free(made);
        return NULL;
    }
    made->read_end = ends[0];
    made->write_end = ends[1];
    return made;
}

static void note_pipes(struct data_plane *plane, int32_t change) {
    plane->pipe_count += (uint32_t)change;
    counter_set(&plane->bulk.pipes, plane->pipe_count);
}

static void pipe_close(struct data_plane *plane, struct bulk_pipe *pipe) {
    close(pipe->read_end);
    close(pipe->write_end);
    free(pipe);
    note_pipes(plane, -1);
}

static struct bulk_pipe *take_free(struct data_plane *plane) {
    struct bulk_pipe *pipe = plane->free_pipes;
    if (pipe != NULL) {
        plane->free_pipes = pipe->next;
        plane->free_pipe_count--;
        if (plane->pipes_spare > plane->free_pipe_count) {
            plane->pipes_spare = plane->free_pipe_count;
        }
    }
    return pipe;
}

/* NULL: there is none to be had now. */
static struct bulk_pipe *make_pipe(struct data_plane *plane) {
    if (plane->pipe_count >= BULK_PIPES || plane->now < plane->pipes_wait_until) {
        return NULL;
    }
    struct bulk_pipe *pipe = pipe_new();
    if (pipe == NULL) {
        plane->pipes_wait_until = plane->now + WAIT_SECONDS;
    } else {
        note_pipes(plane, 1);
    }
    return pipe;
}

static bool take_pipe(struct side *to) {
    struct data_plane *plane = to->session->plane;
    struct bulk_pipe *pipe = take_free(plane);
    to->pipe = pipe != NULL ? pipe : make_pipe(plane);
    to->piped = 0;
    return to->pipe != NULL;
}

static void give_pipe(struct side *to) {
    struct data_plane *plane = to->session->plane;
    struct bulk_pipe *pipe = to->pipe;
    to->pipe = NULL;
    pipe->next = plane->free_pipes;
    plane->free_pipes = pipe;
    plane->free_pipe_count++;
}

ssize_t bulk_read(struct side *from) {
    struct side *to = from->peer;
    if (!take_pipe(to)) {
        counter_add(&to->session->plane->bulk.no_pipe, 1);
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
        counter_add(&to->session->plane->bulk.spliced_bytes, (uint64_t)moved);
        if (to->piped == 0) {
            give_pipe(to);
        }
    }
    return moved;
}

bool bulk_is_refused(struct session *session, int error) {
    switch (error) {
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
    case EPERM:
        log_limited(LOG_WARNING, "bulk", "the kernel does not splice (%s): bytes are copied",
                    strerror(error));
        if (!session->copies) { /* else it is what still was in the other side's pipe */
            session->copies = true;
            counter_add(&session->plane->bulk.refused, 1);
        }
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

void bulk_rest(struct data_plane *plane) {
    if (plane->pipes_spare > 0) {
        pipe_close(plane, take_free(plane));
    }
    plane->pipes_spare = plane->free_pipe_count;
}

bool bulk_close(struct data_plane *plane) {
    struct bulk_pipe *pipe = take_free(plane);
    bool any = pipe != NULL;
    for (; pipe != NULL; pipe = take_free(plane)) {
        pipe_close(plane, pipe);
    }
    plane->pipes_wait_until = plane->now + WAIT_SECONDS;
    return any;
}
