/* One HTTP/1.1 server connection on a libev loop: reads a request under deadlines, hands it to its
 * server, writes the answer, goes on with the next one. Knows nothing of scripts, plans or
 * listeners. Runs on the thread of its loop (control).
 *
 * The server (services.c) fills struct http_server and is asked four questions; it embeds struct
 * http_connection as the first member of what it keeps for each. */
#ifndef CONTROL_HTTP_CONNECTION_H
#define CONTROL_HTTP_CONNECTION_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "pool/slot.h"
#include "transport/http.h"

struct http_connection;

/* Durations in seconds, each for the whole phase, never for inactivity: a peer that drips cannot
 * stretch them. */
struct http_settings {
    double head_s;   /* from accept, or from the first byte of a later request, to the empty line */
    double body_s;   /* from there to the last byte of the body */
    double idle_s;   /* between two requests */
    double run_s;    /* from the complete request to the answer */
    double write_s;  /* from the answer to its last byte taken by the kernel */
    double linger_s; /* after the last answer, until the peer has finished too */
    size_t linger_bytes;     /* at most so much is read and thrown away then */
    size_t answer_bytes;     /* answers waiting to be written, of all connections together */
    uint32_t answers_a_turn; /* pipelined requests answered before others get their turn */
};

struct http_answer {
    uint32_t status;
    const char *content_type; /* NULL = plain text */
    const char *body;         /* everything is copied */
    size_t body_bytes;
    const char *allow; /* methods for an Allow header, or NULL */
    uint32_t retry_s;  /* Retry-After, 0 = none */
};

struct http_server {
    struct ev_loop *loop;
    struct http_settings settings;
    struct list idle;    /* connections between two requests, longest idle first */
    size_t answer_bytes; /* waiting now */

    /* The head is complete. True: read the body and serve. False: answer `refusal` instead. */
    bool (*judge)(struct http_connection *connection, const char *bytes,
                  const struct http_request *request, struct http_answer *refusal);
    /* The request is complete; http_answer must be called, now or later. `bytes` (the head and
     * request->content_length of body) stay until then, `request` only during the call. */
    void (*serve)(struct http_connection *connection, const char *bytes,
                  const struct http_request *request);
    /* What serve started must stop, and not answer any more. */
    void (*cancel)(struct http_connection *connection);
    /* The connection has ended, its descriptor is closed: forget and free it. */
    void (*closed)(struct http_connection *connection, enum session_reason reason);
};

enum http_phase {
    HTTP_IDLE,    /* between two requests; owns no buffer */
    HTTP_HEAD,    /* reading a head */
    HTTP_BODY,    /* reading a body */
    HTTP_RUNNING, /* the server was asked; nothing is read */
    HTTP_WRITING, /* the answer is on its way; nothing is read */
    HTTP_LINGER,  /* the last answer is written, our end is closed; input is thrown away */
};

struct http_connection {
    struct http_server *server;
    int descriptor;
    enum http_phase phase;
    enum session_reason reason; /* how it will have ended, unless something happens */
    struct ev_io io;
    struct ev_timer deadline; /* of the phase */
    struct list in_idle;
    struct listener_row *row; /* where bytes are counted; NULL: nowhere */

    char *input; /* NULL while idle */
    uint32_t input_used, input_capacity;
    uint32_t head_bytes, content_length; /* of the request being read or answered */

    char *output; /* the answer from its status line on; NULL: none */
    size_t output_length, output_sent, lingered;

    bool head_only;   /* HEAD: the answer has no body */
    bool version_1_0; /* keep-alive must be said */
    bool keep_alive;  /* after this answer */
    bool last;        /* close after this answer, whatever the client wishes */
    bool unread;      /* refused with input still to come: linger */
    bool spoke;       /* the peer has sent something */
    bool failed;      /* no memory for an answer: close */
    bool advancing;   /* the state machine is on the stack */
};

/* Takes a non-blocking socket into the zeroed connection and starts to read. */
void http_open(struct http_connection *connection, struct http_server *server, int descriptor,
               struct listener_row *row);
/* Answers the running request. Ignored when none is running. May end the connection. */
void http_answer(struct http_connection *connection, const struct http_answer *answer);
/* The same with one short line of text. */
void http_answer_text(struct http_connection *connection, uint32_t status, const char *line);
/* Answers 503 before any request was read, and closes: this connection is one too many. */
void http_turn_away(struct http_connection *connection);
/* No further request: an idle connection is closed, others after their answer. */
void http_finish(struct http_connection *connection, enum session_reason reason);
/* Ends it now; a running request is cancelled first. */
void http_close(struct http_connection *connection, enum session_reason reason);

#endif
