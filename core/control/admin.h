/* Admin, from the inside: for admin.c and its unit test. Others use control/control.h. */
#ifndef CONTROL_ADMIN_H
#define CONTROL_ADMIN_H

#include "base/list.h"
#include "control/console.h"
#include "control/control.h"
#include "control/door.h"

struct admin_settings {
    uint32_t max_connections;
    double request_s; /* until the line is complete */
    double inquiry_s; /* until the workers have answered */
    double answer_s;  /* until the client has taken the answer */
    void (*reload)(struct control *control, reload_done *done, void *argument);
};

struct admin {
    struct control *control;
    struct admin_settings settings; /* may be changed before the first connection */
    struct door door;
    struct door next; /* what admin_prepare opened */
    bool switching;   /* admin_commit puts `next`, open or not, in the place of `door` */
    struct ev_io accept;
    struct ev_timer pause; /* active: nothing is accepted */
    struct list connections;
    uint32_t connection_count;
    struct consoles consoles;
};

#endif
