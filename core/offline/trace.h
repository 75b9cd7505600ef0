/* Trace: the sessions of a log the balancer wrote (`log: {format: json, sessions: true}`), in the
 * order they began. Belongs to one thread; does not change once it was read. */
#ifndef OFFLINE_TRACE_H
#define OFFLINE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

struct trace_session {
    double at, duration; /* seconds; `at` since the first one began */
    uint32_t client;     /* in trace.clients */
    uint32_t port;
};

/* A client's address without its port. */
struct client {
    char text[60];
    uint32_t hash;
};

struct trace {
    struct trace_session *sessions;
    uint64_t count, capacity;
    struct client *clients;
    uint32_t client_count, client_capacity;
    uint32_t *places; /* hash to client + 1; twice client_capacity */
};

/* Sessions of other pools than `pool` are left out (NULL: of none). Returns OFFLINE_OK, or the exit
 * code after it printed what is wrong, as file:line: message. */
int trace_read(struct trace *trace, const char *file, const char *pool)
    __attribute__((warn_unused_result));
void trace_free(struct trace *trace);

#endif
