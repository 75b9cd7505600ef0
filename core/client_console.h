/* The command line's side of a console. */
#ifndef CLIENT_CONSOLE_H
#define CLIENT_CONSOLE_H

#include <stdbool.h>

#include "base/text.h"

/* On a connection to the admin socket: sends the request, then evaluates `expression`, or, when it
 * is NULL, what comes from stdin. Returns an exit code: 0, 1 (an error was told), 3 (it went away,
 * or would not begin). */
int client_console(int descriptor, const struct text *request, const char *expression);

#endif
