/* Work handed from thread to thread. Posting runs on any thread, everything else on the owner's. */
#include "base/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Takes everything and delivers it oldest first; the stack holds the newest on top. */
static void deliver_all(struct mailbox *mailbox) {
    /* Acquire pairs with the release of mailbox_post: what the poster wrote into a mail is seen.
     * The exchange heads the whole release sequence, so this holds for every mail taken. */
    struct mail *newest = atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    while (newest != NULL) {
        struct mail *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    while (oldest != NULL) {
        struct mail *mail = oldest;
        oldest = mail->next; /* before deliver: the mail may be freed or posted again there */
        mail->next = NULL;
        mail->deliver(mail, mailbox->owner);
    }
}

static void on_wake(struct ev_loop *loop, struct ev_async *wake, int events) {
    (void)loop;
    (void)events;
    deliver_all(wake->data);
}

/* libev ends the process when there is no descriptor for a loop's wake-up, else it tries again. */
static void on_loop_error(const char *what) {
    if (errno != EMFILE && errno != ENFILE) {
        perror(what);
        abort();
    }
    nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
}

bool mailbox_init(struct mailbox *mailbox, struct ev_loop *loop, void *owner) {
    /* Is there a descriptor for it? Should another thread take it in between, we wait for one. */
    int descriptor = eventfd(0, EFD_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    close(descriptor);
    ev_set_syserr_cb(on_loop_error);
    atomic_init(&mailbox->head, NULL);
    mailbox->loop = loop;
    mailbox->owner = owner;
    ev_async_init(&mailbox->wake, on_wake);
    mailbox->wake.data = mailbox;
    ev_async_start(loop, &mailbox->wake);
    return true;
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail) {
    struct mail *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    do {
        mail->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->head, &head, mail,
                                                    memory_order_release, memory_order_relaxed));
    /* Only the one who made it non-empty wakes the owner. The mailbox may not be touched through
     * `mail` from here on, as it may be delivered already. */
    if (head == NULL) {
        ev_async_send(mailbox->loop, &mailbox->wake);
    }
}

void mailbox_close(struct mailbox *mailbox) {
    /* Mails may post further mails to this box while they are delivered: "now" includes those. */
    while (atomic_load_explicit(&mailbox->head, memory_order_relaxed) != NULL) {
        deliver_all(mailbox);
    }
    ev_async_stop(mailbox->loop, &mailbox->wake);
}
