/* Inquiry: a question about sessions that only the workers can answer. Asked and answered on
 * control; in between each worker looks at its own sessions, by mail. */
#ifndef CONTROL_INQUIRY_H
#define CONTROL_INQUIRY_H

#include <stdbool.h>
#include <stdint.h>

#include "control/control.h"
#include "worker.h"

#define INQUIRY_SESSIONS_MAX 10000u /* of one worker */

struct inquiry;
/* Control. Called once unless the inquiry is dropped; afterwards the inquiry is freed. */
typedef void inquiry_done(void *argument, const struct inquiry *inquiry);

/* One worker's part: question there, answer back. */
struct inquiry_mail {
    struct mail mail;
    struct inquiry *inquiry;
    struct session_info *sessions; /* list: `count` of them, there is room for `room` */
    uint32_t count, room, total;   /* total: open */
    struct slab_walk walk;         /* the worker's */
    bool failed;                   /* out of memory on the worker */
    bool killed;
};

struct inquiry {
    struct control *control;
    inquiry_done *done; /* NULL: dropped, nobody waits any more */
    void *argument;
    uint64_t session; /* to kill; 0 = list */
    uint32_t mail_count, awaited;
    struct inquiry_mail mails[];
};

/* Control. NULL: out of memory (ENOMEM), or no worker could know: errno 0.
 * `done` is never called before these return. */
struct inquiry *inquiry_list(struct control *control, inquiry_done *done, void *argument)
    __attribute__((warn_unused_result));
struct inquiry *inquiry_kill(struct control *control, uint64_t session, inquiry_done *done,
                             void *argument) __attribute__((warn_unused_result));
/* Control. `done` will not be called; the rest sees to itself. */
void inquiry_drop(struct inquiry *inquiry);

#endif
