/* Asking the workers what their policies leave; see carry.h. carry_* run on control, on_worker() on
 * the worker that is asked. */
#include "control/carry.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "worker_control.h"

struct gather_mail {
    struct mail mail;
    struct gather *gather;
    struct carry *taken;
    uint32_t worker;
};

struct gather {
    struct control *control;
    carry_done *done;
    void *argument;
    struct carry_set set;
    uint32_t awaited;
    struct gather_mail mails[];
};

static void free_list(struct carry *carry) {
    while (carry != NULL) {
        struct carry *next = carry->next;
        free(carry->pool);
        free(carry->script);
        free(carry);
        carry = next;
    }
}

void carry_set_free(struct carry_set *set) {
    for (uint32_t i = 0; i < ARENA_WORKERS; i++) {
        free_list(set->of_worker[i]);
        set->of_worker[i] = NULL;
    }
}

const struct carry *carry_find(const struct carry_set *set, uint32_t worker, const char *pool) {
    const struct carry *carry = set->of_worker[worker];
    while (carry != NULL && strcmp(carry->pool, pool) != 0) {
        carry = carry->next;
    }
    return carry;
}

static void on_control(struct mail *mail, void *owner) {
    (void)owner;
    struct gather_mail *part = container_of(mail, struct gather_mail, mail);
    struct gather *gather = part->gather;
    gather->set.of_worker[part->worker] = part->taken;
    if (--gather->awaited > 0) {
        return;
    }
    gather->done(gather->argument, &gather->set);
    free(gather);
}

static void on_worker(struct mail *mail, void *owner) {
    struct gather_mail *part = container_of(mail, struct gather_mail, mail);
    part->taken = worker_take_snapshots(owner);
    mail->deliver = on_control;
    mailbox_post(&part->gather->control->mailbox, mail);
}

void carry_gather(struct control *control, carry_done *done, void *argument) {
    uint32_t count = control->worker_count;
    struct gather *gather = calloc(1, sizeof(*gather) + count * sizeof(struct gather_mail));
    if (gather == NULL || count == 0) {
        struct carry_set none = {0};
        if (gather == NULL) {
            log_limited(LOG_ERROR, "memory",
                        "out of memory: policies begin without what the "
                        "versions before them knew");
        }
        free(gather);
        done(argument, &none);
        return;
    }
    gather->control = control;
    gather->done = done;
    gather->argument = argument;
    gather->awaited = count;
    for (uint32_t i = 0; i < count; i++) {
        gather->mails[i].gather = gather;
        gather->mails[i].worker = i;
        gather->mails[i].mail.deliver = on_worker;
        worker_post(control->workers[i], &gather->mails[i].mail);
    }
}
