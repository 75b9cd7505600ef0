/* Client: the command-line verbs that talk to a running balancer over its admin socket, and the
 * text of `alacrity help`. A process of its own, without threads. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdio.h>

/* argv[0] is the program, argv[1] the verb (status, reload, backend, session, stats). Returns the
 * exit code: 0 done, 1 refused or failed, 2 wrong command line, 3 no balancer could be reached. */
int client_main(int argc, char **argv);
void client_usage(FILE *out);

#endif
