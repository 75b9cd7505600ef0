/* Questions to workers. inquiry_* run on control; on_worker() on the worker that was asked, which
 * alone touches the mail between the two postings. */
#include "control/inquiry.h"

#include <errno.h>
#include <stdlib.h>

#include "base/list.h"

static void inquiry_free(struct inquiry *inquiry) {
    for (uint32_t i = 0; i < inquiry->mail_count; i++) {
        free(inquiry->mails[i].sessions);
    }
    free(inquiry);
}

/* By age. */
static int by_id(const void *a, const void *b) {
    uint64_t first = ((const struct session_info *)a)->id;
    uint64_t second = ((const struct session_info *)b)->id;
    return (first > second) - (first < second);
}

static void sort_sessions(struct inquiry *inquiry) {
    for (uint32_t i = 0; i < inquiry->mail_count; i++) {
        if (inquiry->mails[i].count > 1) {
            qsort(inquiry->mails[i].sessions, inquiry->mails[i].count, sizeof(struct session_info),
                  by_id);
        }
    }
}

/* Control: the last mail ends the inquiry. */
static void on_control(struct mail *mail, void *owner) {
    (void)owner;
    struct inquiry *inquiry = container_of(mail, struct inquiry_mail, mail)->inquiry;
    if (--inquiry->awaited > 0) {
        return;
    }
    if (inquiry->done != NULL) {
        sort_sessions(inquiry);
        inquiry->done(inquiry->argument, inquiry);
    }
    inquiry_free(inquiry);
}

/* On the worker, in one turn after the other. True: the list is complete. */
static bool list_sessions(struct worker *worker, struct inquiry_mail *mail) {
    mail->total = worker_session_count(worker);
    if (mail->sessions == NULL) {
        uint32_t most = worker_list_most(worker);
        mail->room = most < INQUIRY_SESSIONS_MAX ? most : INQUIRY_SESSIONS_MAX;
        mail->sessions = calloc(mail->room + 1u, sizeof(*mail->sessions));
        mail->failed = mail->sessions == NULL;
    }
    bool ended = mail->failed;
    if (!ended) {
        mail->count += worker_list_sessions(worker, &mail->walk, mail->sessions + mail->count,
                                            mail->room - mail->count, &ended);
    }
    return ended;
}

static void on_worker(struct mail *mail, void *owner) {
    struct inquiry_mail *part = container_of(mail, struct inquiry_mail, mail);
    if (part->inquiry->session == 0) {
        if (!list_sessions(owner, part)) {
            worker_post(owner, mail);
            return;
        }
    } else {
        part->killed = worker_kill_session(owner, part->inquiry->session);
    }
    mail->deliver = on_control;
    mailbox_post(&part->inquiry->control->mailbox, mail);
}

static struct inquiry *ask(struct control *control, uint32_t first, uint32_t count,
                           uint64_t session, inquiry_done *done, void *argument) {
    struct inquiry *inquiry =
        calloc(1, sizeof(*inquiry) + (size_t)count * sizeof(struct inquiry_mail));
    if (inquiry == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    inquiry->control = control;
    inquiry->done = done;
    inquiry->argument = argument;
    inquiry->session = session;
    inquiry->mail_count = inquiry->awaited = count;
    for (uint32_t i = 0; i < count; i++) {
        inquiry->mails[i].inquiry = inquiry;
        inquiry->mails[i].mail.deliver = on_worker;
        worker_post(control->workers[first + i], &inquiry->mails[i].mail);
    }
    return inquiry;
}

struct inquiry *inquiry_list(struct control *control, inquiry_done *done, void *argument) {
    errno = 0;
    return control->worker_count == 0 ? NULL
                                      : ask(control, 0, control->worker_count, 0, done, argument);
}

struct inquiry *inquiry_kill(struct control *control, uint64_t session, inquiry_done *done,
                             void *argument) {
    uint64_t worker = session >> 48; /* struct session_info says so */
    errno = 0;
    if (session == 0 || worker >= control->worker_count) {
        return NULL;
    }
    return ask(control, (uint32_t)worker, 1, session, done, argument);
}

void inquiry_drop(struct inquiry *inquiry) {
    inquiry->done = NULL;
}
