/* Mailbox: the one way a thread hands work to another. Any thread posts; the owner's loop is woken
 * by ev_async and delivers in posting order. Lock-free (a stack taken whole and reversed). */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <ev.h>
#include <stdatomic.h>
#include <stdbool.h>

struct mail {
    struct mail *next; /* mailbox's own */
    void (*deliver)(struct mail *mail,
                    void *owner); /* runs on the owner's thread, then owns mail */
};

struct mailbox {
    _Atomic(struct mail *) head; /* writers: any thread (push), owner (take all) */
    struct ev_async wake;
    struct ev_loop *loop;
    void *owner; /* handed to deliver */
};

/* Owner's thread or whoever makes it, before others may post. False: errno, out of descriptors. */
bool mailbox_init(struct mailbox *mailbox, struct ev_loop *loop, void *owner)
    __attribute__((warn_unused_result));
/* Any thread. The mail must stay valid until delivered. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);
/* Owner's thread: delivers what is there now, then stops the watcher. Nobody may post any more. */
void mailbox_close(struct mailbox *mailbox);

#endif
