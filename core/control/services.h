/* Services, from the inside: for services.c and its unit test. Others use control/control.h. */
#ifndef CONTROL_SERVICES_H
#define CONTROL_SERVICES_H

#include "control/control.h"
#include "control/http_connection.h"
#include "worker.h"

struct services_settings {
    uint32_t max_connections; /* of all listeners together */
    uint32_t max_turned_away; /* beyond those: being told that they are too many */
    uint32_t accepts_a_turn;
    double accept_pause_s;       /* when descriptors or memory are out */
    uint64_t heartbeat_limit_ms; /* an older one fails /livez */
    uint64_t (*heartbeat_ms)(const struct worker *worker);
};

struct services {
    struct control *control;
    struct services_settings settings;
    struct http_server http;    /* its settings, too, may be changed before the first connection */
    struct list listeners;      /* struct service_listener, of the plan or with connections left */
    struct ev_timer pause;      /* active: nothing is accepted */
    uint32_t connection_count;  /* without those turned away */
    uint32_t turned_away_count; /* open now */
    bool switching;             /* listeners are being walked: none may be freed */
};

#endif
