/* Watch: notices that a file has changed, and asks for a reload; see watch.h. The walk:
 *
 *   on_poll (builder) -> at_control -> control_reload, or scripts_swap_again -> ...
 *       -> on_reloaded (control) -> at_builder
 *
 * Files are looked at with stat(), ten times a second, and not through inotify: that follows one
 * inode or the names in one folder, while an editor may put another file in the place, a link
 * anywhere on the way may be pointed elsewhere (..data of a Kubernetes volume), and what another
 * machine writes to a network file system is never told. A few dozen stat() cost nothing, and a
 * file system that hangs makes only the builder wait, which reads from it anyway.
 *
 * What a file was like is noted right before a build reads it: a change that falls between the two
 * is seen afterwards, at worst for one reload too many. */
#include "control/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/log.h"
#include "config/source.h"
#include "control/conductor.h"
#include "control/scripts.h"

#define POLL_SECONDS 0.1
#define STILL_POLLS 1u /* without a further change: whoever writes has finished */
#define MISSING_POLLS                                                                              \
    10u /* the same while a file is not there: an editor may be about to put it                    \
         */
#define IMPATIENT_POLLS 20u /* after the first change, whether they end or not */

/* What a file was like. All zero but `error`: it could not be looked at. */
struct stamp {
    int error; /* errno of stat(), 0 = it is there */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed; /* the second also tells of permissions */
};

struct watched {
    struct list node;
    struct stamp seen;
    bool tried;      /* by the build under way */
    bool configured; /* tried by a build of the configuration; else for a policy swapped in */
    bool changed;    /* since the last build */
    char path[];
};

struct watch {
    struct source_witness witness;
    struct builder *builder;
    struct control *control;
    struct ev_loop *loop;
    struct ev_timer poll;
    const char *file; /* the configuration */
    struct list files;
    uint32_t still_polls; /* without a change */
    uint32_t polls;       /* since the first change that no build knows of; 0 = there is none */
    bool swapping;        /* the build under way is of a policy that is swapped in */
    bool asked;           /* the mail is on its way; what follows is control's meanwhile */
    struct mail mail;
    bool again;       /* asked to swap again, not to reload */
    uint32_t awaited; /* answers to that */
    char path[4096];  /* of the (first) file that has changed */
    uint32_t more;    /* others that have, too */
};

/* ---- looking ---- */

static struct stamp stamp_of(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return (struct stamp){.error = errno};
    }
    return (struct stamp){.device = status.st_dev,
                          .inode = status.st_ino,
                          .size = status.st_size,
                          .modified = status.st_mtim,
                          .changed = status.st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b) {
    return a->error == b->error && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && same_time(&a->modified, &b->modified) &&
           same_time(&a->changed, &b->changed);
}

static struct watched *find(struct watch *watch, const char *path) {
    list_each(node, &watch->files) {
        struct watched *file = container_of(node, struct watched, node);
        if (strcmp(file->path, path) == 0) {
            return file;
        }
    }
    return NULL;
}

static void forget(struct watched *file) {
    list_remove(&file->node);
    free(file);
}

/* A build is about to try the file. One that it tries again, for another worker, keeps the stamp of
 * the first time. */
static void note(struct watch *watch, const char *path) {
    struct watched *file = find(watch, path);
    if (file == NULL) {
        size_t bytes = strlen(path) + 1;
        file = calloc(1, sizeof(*file) + bytes);
        if (file == NULL) {
            log_limited(LOG_ERROR, "memory", "out of memory: %s is not watched", path);
            return;
        }
        memcpy(file->path, path, bytes);
        list_append(&watch->files, &file->node);
    }
    struct stamp now = file->tried ? file->seen : stamp_of(path);
    if (!watch->swapping) {
        file->configured = true;
    } else if (!file->configured) {
        file->changed = false;
    } else if (!same_stamp(&now, &file->seen)) { /* the configuration does not know that yet */
        file->changed = true;
        watch->polls = 1;
    }
    file->seen = now;
    file->tried = true;
}

static void on_tried(struct source_witness *witness, const char *path) {
    note(container_of(witness, struct watch, witness), path);
}

void watch_begin(struct watch *watch) {
    if (watch != NULL) {
        note(watch, watch->file);
        source_witness = &watch->witness;
    }
}

void watch_end(struct watch *watch, bool ok) {
    if (watch == NULL) {
        return;
    }
    source_witness = NULL;
    watch->polls = 0;
    list_each(node, &watch->files) {
        struct watched *file = container_of(node, struct watched, node);
        if (ok && !file->tried) {
            forget(file);
            continue;
        }
        file->tried = false;
        file->changed = file->changed && !file->configured; /* a swap that is still due */
        watch->polls = file->changed ? 1 : watch->polls;
    }
}

void watch_begin_swap(struct watch *watch) {
    if (watch != NULL) {
        watch->swapping = true;
        source_witness = &watch->witness;
    }
}

void watch_end_swap(struct watch *watch) {
    if (watch == NULL) {
        return;
    }
    source_witness = NULL;
    watch->swapping = false;
    list_each(node, &watch->files) {
        container_of(node, struct watched, node)->tried = false;
    }
}

/* ---- asking ---- */

static void at_builder(struct mail *mail, void *owner) {
    (void)owner;
    container_of(mail, struct watch, mail)->asked = false;
}

static void answered(struct watch *watch) {
    watch->mail.deliver = at_builder;
    builder_post(watch->builder, &watch->mail);
}

/* Control. What is wrong with all of it stands in the line of the reload or swap itself. */
static void on_done(void *argument, bool ok, const char *text) {
    struct watch *watch = argument;
    char more[32] = "";
    if (watch->more > 0) {
        snprintf(more, sizeof(more), " and %u more", watch->more);
    }
    if (ok) {
        log_message(LOG_INFO, "watch", "%s%s changed: %.*s", watch->path, more,
                    (int)strcspn(text, "\n"), text);
    } else {
        log_message(LOG_WARNING, "watch", "%s%s changed: refused, the running one goes on: %.*s",
                    watch->path, more, (int)strcspn(text, "\n"), text);
    }
    if (--watch->awaited == 0) {
        answered(watch);
    }
}

static void at_control(struct mail *mail, void *owner) {
    struct control *control = owner;
    struct watch *watch = container_of(mail, struct watch, mail);
    if (conductor_is_finishing(control) || control->draining) {
        return; /* it stays asked */
    }
    if (!watch->again) {
        watch->awaited = 1;
        control_reload(control, on_done, watch);
        return;
    }
    watch->awaited = 1; /* ours, until all are asked */
    scripts_swap_again(control->scripts, watch->path, &watch->awaited, on_done, watch);
    if (--watch->awaited == 0) {
        answered(watch); /* no such policy is current any more, or all have answered */
    }
}

/* The files of the configuration go first: a reload ends what was swapped in. False: none of that
 * kind has changed. */
static bool ask(struct watch *watch, bool again) {
    const struct watched *first = NULL;
    watch->more = 0;
    list_each(node, &watch->files) {
        struct watched *file = container_of(node, struct watched, node);
        if (!file->changed || file->configured == again) {
            continue;
        }
        watch->more += first != NULL && !again;
        if (first == NULL) {
            first = file;
            file->changed = !again; /* one swapped file at a time; a build clears the others */
        }
    }
    if (first == NULL) {
        return false;
    }
    snprintf(watch->path, sizeof(watch->path), "%s", first->path);
    watch->again = again;
    watch->asked = true;
    watch->mail.deliver = at_control;
    mailbox_post(&watch->control->mailbox, &watch->mail);
    return true;
}

static void on_poll(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct watch *watch = container_of(timer, struct watch, poll);
    bool change = false, missing = false;
    list_each(node, &watch->files) {
        struct watched *file = container_of(node, struct watched, node);
        struct stamp now = stamp_of(file->path);
        if (!same_stamp(&now, &file->seen)) {
            file->seen = now;
            file->changed = change = true;
        }
        missing = missing || (file->changed && file->seen.error != 0);
    }
    watch->still_polls = change ? 0 : watch->still_polls + 1;
    watch->polls += change || watch->polls > 0;
    bool finished = watch->still_polls >= (missing ? MISSING_POLLS : STILL_POLLS);
    if (watch->polls > 0 && !watch->asked && (finished || watch->polls >= IMPATIENT_POLLS) &&
        !ask(watch, false) && !ask(watch, true)) {
        watch->polls = 0; /* all that changed has been asked for */
    }
}

/* ---- life ---- */

struct watch *watch_new(struct builder *builder, struct control *control, struct ev_loop *loop,
                        const char *file) {
    struct watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL) {
        return NULL;
    }
    watch->witness.tried = on_tried;
    watch->builder = builder;
    watch->control = control;
    watch->loop = loop;
    watch->file = file;
    list_init(&watch->files);
    ev_timer_init(&watch->poll, on_poll, POLL_SECONDS, POLL_SECONDS);
    ev_timer_start(loop, &watch->poll);
    return watch;
}

void watch_free(struct watch *watch) {
    if (watch == NULL) {
        return;
    }
    ev_timer_stop(watch->loop, &watch->poll);
    list_each(node, &watch->files) {
        forget(container_of(node, struct watched, node));
    }
    free(watch);
}
