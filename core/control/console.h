/* Consoles: connections to the admin socket on which texts are evaluated, one after the other.
 * Control thread. */
#ifndef CONTROL_CONSOLE_H
#define CONTROL_CONSOLE_H

#include <stddef.h>

#include "base/list.h"
#include "control/control.h"

#define CONSOLE_TEXT_BYTES 65536u /* of one text; the client knows it too */

struct consoles_settings {
    uint32_t max_clients;
    double idle_s;   /* until the next text is complete */
    double answer_s; /* until the client has taken an answer */
};

struct consoles {
    struct control *control;
    struct consoles_settings settings; /* may be changed before the first client */
    struct list clients;
    uint32_t client_count;
};

void consoles_init(struct consoles *consoles, struct control *control);
void consoles_close(struct consoles *consoles);

/* Goes on with a connection on which a console was asked for; `bytes` came in behind the request.
 * True: the descriptor is the console's now. False: error, and it stays the caller's. */
bool console_open(struct consoles *consoles, int descriptor, bool json, const char *bytes,
                  size_t length, char *error, size_t error_bytes)
    __attribute__((warn_unused_result));

#endif
