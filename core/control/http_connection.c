/* One HTTP/1.1 server connection. Runs on the thread of its loop (control).
 *
 *              first byte        empty line       last byte          http_answer
 *   IDLE ------------------> HEAD --------> BODY ----------> RUNNING ----------> WRITING
 *    ^                        |  \___________ no body _________^  ^                |  |
 *    |                        |                                   | cancelled by   |  |
 *    |                        |                                   | its deadline   |  |
 *    |                        +------- refused: 4xx, 5xx ---------+--------------->+  |
 *    +------------------------------- keep-alive, nothing pipelined ---------------+  |
 *                     LINGER <------- last answer, input may be unread ---------------+
 *
 * 1. Only `advance` moves a connection from phase to phase; a callback that brings something new
 *    (bytes, an answer, a deadline) notes it and calls advance, unless that is on the stack.
 * 2. Every phase has one deadline, set when it is entered and not by progress.
 * 3. One request at a time: while one runs or is answered nothing is read, so that a client that
 *    pipelines without reading is held back by TCP, and the bytes given to serve stay in place.
 * 4. Only http_close ends a connection; after it the memory is gone. */
#include "control/http_connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/counter.h"

#define INPUT_BYTES 1024u        /* first size of a read buffer; most requests fit */
#define ANSWER_HEAD_BYTES 768u   /* holds the longest head compose_head can write */
#define CONTENT_TYPE_BYTES 200u  /* longer ones are not believed */
#define WRITE_TURN_BYTES 262144u /* written at once before others get their turn */
#define LINGER_TURN_READS 4u

enum step {
    STEP_AGAIN, /* the phase changed: look again */
    STEP_WAIT,  /* for the loop */
    STEP_END,   /* close, with connection->reason */
};

static void advance(struct http_connection *connection);

/* ---- small parts ---- */

static void watch(struct http_connection *connection, int events) {
    struct ev_loop *loop = connection->server->loop;
    if (ev_is_active(&connection->io) && (connection->io.events & (EV_READ | EV_WRITE)) == events) {
        return;
    }
    ev_io_stop(loop, &connection->io);
    if (events != 0) {
        ev_io_set(&connection->io, connection->descriptor, events);
        ev_io_start(loop, &connection->io);
    }
}

static void enter(struct http_connection *connection, enum http_phase phase, double deadline_s) {
    struct ev_loop *loop = connection->server->loop;
    connection->phase = phase;
    ev_timer_stop(loop, &connection->deadline);
    ev_timer_set(&connection->deadline, deadline_s, 0.);
    ev_timer_start(loop, &connection->deadline);
}

static void count_in(struct http_connection *connection, size_t bytes) {
    if (connection->row != NULL) {
        counter_add(&connection->row->bytes_in, bytes);
    }
}

static void count_out(struct http_connection *connection, size_t bytes) {
    if (connection->row != NULL) {
        counter_add(&connection->row->bytes_out, bytes);
    }
}

static bool would_block(int error) {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static enum step end_with(struct http_connection *connection, enum session_reason reason) {
    connection->reason = reason;
    return STEP_END;
}

static bool grow_input(struct http_connection *connection, uint32_t capacity) {
    if (capacity <= connection->input_capacity) {
        return true;
    }
    char *input = realloc(connection->input, capacity);
    if (input == NULL) {
        return false;
    }
    connection->input = input;
    connection->input_capacity = capacity;
    return true;
}

static void free_input(struct http_connection *connection) {
    free(connection->input);
    connection->input = NULL;
    connection->input_used = connection->input_capacity = 0;
}

static void free_output(struct http_connection *connection) {
    if (connection->output != NULL) {
        connection->server->answer_bytes -= connection->output_length;
        free(connection->output);
        connection->output = NULL;
    }
    connection->output_length = connection->output_sent = 0;
}

/* ---- answers ---- */

/* A content type comes from a script and goes into the head: no line end may come along. */
static bool is_content_type(const char *type) {
    size_t length = strnlen(type, CONTENT_TYPE_BYTES + 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)type[i];
        if (c < ' ' || c >= 0x7f) {
            return false;
        }
    }
    return length > 0 && length <= CONTENT_TYPE_BYTES;
}

static bool may_have_body(uint32_t status) {
    return status != 204 && status != 304;
}

/* Writes status line and headers. Returns their length, always below ANSWER_HEAD_BYTES: the parts
 * of variable length are the content type (bounded) and constants. */
static size_t compose_head(const struct http_connection *connection,
                           const struct http_answer *answer, char *out) {
    char type[CONTENT_TYPE_BYTES + 32] = "", length[48] = "", allow[64] = "", retry[32] = "";
    if (may_have_body(answer->status)) {
        snprintf(type, sizeof(type), "Content-Type: %s\r\n",
                 answer->content_type != NULL ? answer->content_type : "text/plain; charset=utf-8");
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", answer->body_bytes);
    }
    if (answer->allow != NULL) {
        snprintf(allow, sizeof(allow), "Allow: %s\r\n", answer->allow);
    }
    if (answer->retry_s > 0) {
        snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", answer->retry_s);
    }
    const char *keep = "";
    if (!connection->keep_alive || connection->last) {
        keep = "Connection: close\r\n";
    } else if (connection->version_1_0) {
        keep = "Connection: keep-alive\r\n";
    }
    int written = snprintf(out, ANSWER_HEAD_BYTES,
                           "HTTP/1.1 %u %s\r\n%s%s%s%s%sCache-Control: no-store\r\n"
                           "X-Content-Type-Options: nosniff\r\n\r\n",
                           answer->status, http_status_word(answer->status), type, length, allow,
                           retry, keep);
    return (size_t)written;
}

/* Copies the answer into the output. False: no memory, or too much is waiting already. */
static bool compose(struct http_connection *connection, const struct http_answer *answer,
                    size_t limit) {
    struct http_server *server = connection->server;
    char head[ANSWER_HEAD_BYTES];
    size_t head_bytes = compose_head(connection, answer, head);
    bool with_body = may_have_body(answer->status) && !connection->head_only;
    size_t body_bytes = with_body ? answer->body_bytes : 0;
    if (body_bytes > limit || server->answer_bytes > limit - body_bytes) {
        return false;
    }
    char *output = malloc(head_bytes + body_bytes);
    if (output == NULL) {
        return false;
    }
    memcpy(output, head, head_bytes);
    if (body_bytes > 0) {
        memcpy(output + head_bytes, answer->body, body_bytes);
    }
    connection->output = output;
    connection->output_length = head_bytes + body_bytes;
    connection->output_sent = 0;
    server->answer_bytes += connection->output_length;
    return true;
}

static struct http_answer text_answer(uint32_t status, const char *line) {
    return (struct http_answer){
        .status = status,
        .body = line,
        .body_bytes = strlen(line),
        .retry_s = status == 503 ? 1 : 0,
    };
}

/* Puts the answer on its way; advance writes it. */
static void set_answer(struct http_connection *connection, const struct http_answer *answer) {
    struct http_answer checked = *answer;
    if (answer->status < 200 || answer->status > 599 ||
        (answer->content_type != NULL && !is_content_type(answer->content_type))) {
        checked = text_answer(500, "the service gave an answer that cannot be sent\n");
    }
    if (!compose(connection, &checked, connection->server->settings.answer_bytes)) {
        checked = text_answer(503, "too many answers are waiting to be read\n");
        connection->failed = !compose(connection, &checked, SIZE_MAX);
    }
    enter(connection, HTTP_WRITING, connection->server->settings.write_s);
}

/* Refuses the request being read. Unless all of it has arrived, the connection ends with it. */
static enum step refuse(struct http_connection *connection, const struct http_answer *answer) {
    if (connection->head_bytes == 0 ||
        connection->input_used - connection->head_bytes < connection->content_length) {
        connection->keep_alive = false;
        connection->unread = true;
    }
    set_answer(connection, answer);
    return STEP_AGAIN;
}

static enum step refuse_status(struct http_connection *connection, uint32_t status) {
    char line[80];
    snprintf(line, sizeof(line), "%u %s\n", status, http_status_word(status));
    struct http_answer answer = text_answer(status, line);
    return refuse(connection, &answer);
}

/* ---- reading a request ---- */

static void run(struct http_connection *connection, const struct http_request *request) {
    enter(connection, HTTP_RUNNING, connection->server->settings.run_s);
    connection->server->serve(connection, connection->input, request);
}

/* Tells a client that waits for it to send the body. False: the connection is no good. */
static bool send_continue(struct http_connection *connection) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    /* Everything before was taken by the kernel, so a full buffer here is a peer that reads
     * nothing at all. */
    ssize_t sent = send(connection->descriptor, text, sizeof(text) - 1, MSG_NOSIGNAL);
    if (sent > 0) {
        count_out(connection, (size_t)sent);
    }
    return sent == (ssize_t)(sizeof(text) - 1);
}

static enum step begin_body(struct http_connection *connection,
                            const struct http_request *request) {
    struct http_span expect;
    bool expects =
        request->minor_version > 0 && http_find(connection->input, request, "expect", &expect);
    if (expects) {
        if (expect.length != 12 ||
            strncasecmp(connection->input + expect.start, "100-continue", 12) != 0) {
            return refuse_status(connection, 417);
        }
        if (connection->input_used == connection->head_bytes && !send_continue(connection)) {
            return end_with(connection, REASON_CLIENT_RESET);
        }
    }
    if (!grow_input(connection, connection->head_bytes + connection->content_length)) {
        return end_with(connection, REASON_OUT_OF_MEMORY);
    }
    enter(connection, HTTP_BODY, connection->server->settings.body_s);
    return STEP_AGAIN;
}

static enum step read_head(struct http_connection *connection) {
    struct http_request request;
    int verdict = http_parse(connection->input, connection->input_used, &request);
    if (verdict == 0) {
        watch(connection, EV_READ);
        return STEP_WAIT;
    }
    connection->head_only = http_span_is(connection->input, request.method, "HEAD");
    if (verdict != 1) {
        return refuse_status(connection, (uint32_t)verdict);
    }
    connection->head_bytes = request.head_bytes;
    connection->content_length = request.content_length;
    connection->keep_alive = request.keep_alive;
    connection->version_1_0 = request.minor_version == 0;
    struct http_answer refusal = {0};
    if (!connection->server->judge(connection, connection->input, &request, &refusal)) {
        return refuse(connection, &refusal);
    }
    if (connection->input_used - connection->head_bytes < connection->content_length) {
        return begin_body(connection, &request);
    }
    run(connection, &request);
    return STEP_AGAIN;
}

static enum step read_body(struct http_connection *connection) {
    if (connection->input_used - connection->head_bytes < connection->content_length) {
        watch(connection, EV_READ);
        return STEP_WAIT;
    }
    /* Read the head again rather than keep a kilobyte of spans while the body trickles in. */
    struct http_request request;
    if (http_parse(connection->input, connection->input_used, &request) != 1) {
        return refuse_status(connection, 500);
    }
    run(connection, &request);
    return STEP_AGAIN;
}

/* One recv into the input. */
static enum step receive(struct http_connection *connection) {
    if (connection->input_used == connection->input_capacity) {
        uint32_t capacity = connection->input_capacity * 2;
        capacity = capacity < INPUT_BYTES ? INPUT_BYTES : capacity;
        /* http_parse decides at HTTP_HEAD_BYTES; begin_body made room for the body. */
        capacity = capacity > HTTP_HEAD_BYTES ? HTTP_HEAD_BYTES : capacity;
        if (!grow_input(connection, capacity)) {
            return end_with(connection, REASON_OUT_OF_MEMORY);
        }
    }
    ssize_t got = recv(connection->descriptor, connection->input + connection->input_used,
                       connection->input_capacity - connection->input_used, 0);
    if (got <= 0) {
        bool again = got < 0 && would_block(errno);
        if (connection->input_used == 0) {
            free_input(connection);
        } else if (got == 0) {
            /* The end, in the middle of a request: only our direction may still be open. */
            return refuse_status(connection, 400);
        }
        if (again) {
            return STEP_WAIT;
        }
        return end_with(connection, got == 0 ? REASON_DONE : REASON_CLIENT_RESET);
    }
    connection->input_used += (uint32_t)got;
    connection->spoke = true;
    count_in(connection, (size_t)got);
    if (connection->phase == HTTP_IDLE) {
        list_remove(&connection->in_idle);
        enter(connection, HTTP_HEAD, connection->server->settings.head_s);
    }
    return STEP_AGAIN;
}

/* ---- writing, and what comes after ---- */

static enum step begin_linger(struct http_connection *connection) {
    /* Closing with unread input makes the kernel send a reset, which can overtake the answer and
     * wipe it from the client's buffer. So: our end first, then read on until the client's. */
    shutdown(connection->descriptor, SHUT_WR);
    free_input(connection);
    enter(connection, HTTP_LINGER, connection->server->settings.linger_s);
    watch(connection, EV_READ);
    return STEP_WAIT;
}

static enum step answered(struct http_connection *connection) {
    free_output(connection);
    uint32_t taken = connection->head_bytes + connection->content_length;
    if (!connection->keep_alive || connection->last) {
        char byte;
        if (connection->unread || connection->input_used > taken ||
            recv(connection->descriptor, &byte, 1, MSG_PEEK) > 0) {
            return begin_linger(connection);
        }
        return STEP_END;
    }
    uint32_t rest = connection->input_used - taken;
    connection->head_bytes = connection->content_length = 0;
    connection->head_only = false;
    if (rest > 0) {
        memmove(connection->input, connection->input + taken, rest);
        connection->input_used = rest;
        enter(connection, HTTP_HEAD, connection->server->settings.head_s);
        return STEP_AGAIN;
    }
    free_input(connection);
    list_append(&connection->server->idle, &connection->in_idle);
    enter(connection, HTTP_IDLE, connection->server->settings.idle_s);
    watch(connection, EV_READ);
    return STEP_WAIT;
}

static enum step write_answer(struct http_connection *connection) {
    if (connection->failed) {
        return end_with(connection, REASON_OUT_OF_MEMORY);
    }
    size_t rest = connection->output_length - connection->output_sent;
    size_t turn = rest < WRITE_TURN_BYTES ? rest : WRITE_TURN_BYTES;
    ssize_t sent = send(connection->descriptor, connection->output + connection->output_sent, turn,
                        MSG_NOSIGNAL);
    if (sent < 0 && !would_block(errno)) {
        return end_with(connection, REASON_CLIENT_RESET);
    }
    if (sent > 0) {
        connection->output_sent += (size_t)sent;
        count_out(connection, (size_t)sent);
    }
    if (connection->output_sent < connection->output_length) {
        watch(connection, EV_WRITE);
        return STEP_WAIT;
    }
    return answered(connection);
}

static enum step linger(struct http_connection *connection) {
    char thrown_away[4096];
    for (uint32_t i = 0; i < LINGER_TURN_READS; i++) {
        ssize_t got = recv(connection->descriptor, thrown_away, sizeof(thrown_away), 0);
        if (got < 0 && would_block(errno)) {
            return STEP_WAIT;
        }
        if (got <= 0) {
            return STEP_END; /* the answer was read, or nobody wants it */
        }
        count_in(connection, (size_t)got);
        connection->lingered += (size_t)got;
        if (connection->lingered > connection->server->settings.linger_bytes) {
            return STEP_END;
        }
    }
    return STEP_WAIT;
}

/* ---- the state machine and what drives it ---- */

static enum step advance_once(struct http_connection *connection, uint32_t *answers) {
    switch (connection->phase) {
    case HTTP_HEAD:
        return read_head(connection);
    case HTTP_BODY:
        return read_body(connection);
    case HTTP_RUNNING:
        watch(connection, 0);
        return STEP_WAIT;
    case HTTP_WRITING:
        if (*answers == connection->server->settings.answers_a_turn) {
            watch(connection, EV_WRITE); /* writable already: the next turn goes on here */
            return STEP_WAIT;
        }
        ++*answers;
        return write_answer(connection);
    case HTTP_IDLE:
    case HTTP_LINGER:
        break;
    }
    return STEP_WAIT;
}

static void advance(struct http_connection *connection) {
    enum step step = STEP_AGAIN;
    uint32_t answers = 0;
    connection->advancing = true;
    while (step == STEP_AGAIN) {
        step = advance_once(connection, &answers);
    }
    connection->advancing = false;
    if (step == STEP_END) {
        http_close(connection, connection->reason);
    }
}

static void on_io(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    (void)events;
    struct http_connection *connection = io->data;
    enum step step = STEP_AGAIN;
    if (connection->phase == HTTP_LINGER) {
        step = linger(connection);
    } else if (connection->phase != HTTP_WRITING) {
        step = receive(connection);
    }
    if (step == STEP_END) {
        http_close(connection, connection->reason);
    } else if (step == STEP_AGAIN) {
        advance(connection);
    }
}

/* Ends with a reset: the kernel need not keep what the peer did not read. */
static void abort_write(struct http_connection *connection) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(connection->descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    http_close(connection, REASON_IDLE_TIMEOUT);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct http_connection *connection = timer->data;
    switch (connection->phase) {
    case HTTP_HEAD:
        if (!connection->spoke) {
            /* Opened ahead of need (browsers do): an answer nobody asked for would confuse. */
            http_close(connection, REASON_IDLE_TIMEOUT);
            return;
        }
        /* fall through */
    case HTTP_BODY:
        connection->reason = REASON_IDLE_TIMEOUT;
        refuse_status(connection, 408);
        advance(connection);
        return;
    case HTTP_RUNNING:
        connection->server->cancel(connection);
        http_answer_text(connection, 503, "the service took too long to answer\n");
        return;
    case HTTP_WRITING:
        abort_write(connection);
        return;
    case HTTP_IDLE:
        http_close(connection, REASON_IDLE_TIMEOUT);
        return;
    case HTTP_LINGER:
        http_close(connection, connection->reason);
        return;
    }
}

/* ---- for the server ---- */

void http_open(struct http_connection *connection, struct http_server *server, int descriptor,
               struct listener_row *row) {
    connection->server = server;
    connection->descriptor = descriptor;
    connection->row = row;
    connection->reason = REASON_DONE;
    list_init(&connection->in_idle);
    ev_init(&connection->io, on_io);
    ev_init(&connection->deadline, on_deadline);
    connection->io.data = connection->deadline.data = connection;
    enter(connection, HTTP_HEAD, server->settings.head_s);
    watch(connection, EV_READ);
}

void http_answer(struct http_connection *connection, const struct http_answer *answer) {
    if (connection->phase != HTTP_RUNNING) {
        return;
    }
    set_answer(connection, answer);
    if (!connection->advancing) {
        advance(connection);
    }
}

void http_answer_text(struct http_connection *connection, uint32_t status, const char *line) {
    struct http_answer answer = text_answer(status, line);
    http_answer(connection, &answer);
}

void http_turn_away(struct http_connection *connection) {
    struct http_answer answer = text_answer(503, "too many connections\n");
    connection->reason = REASON_LIMIT;
    refuse(connection, &answer);
    advance(connection);
}

void http_finish(struct http_connection *connection, enum session_reason reason) {
    connection->last = true;
    if (connection->phase == HTTP_IDLE || !connection->spoke) {
        http_close(connection, reason);
    }
}

void http_close(struct http_connection *connection, enum session_reason reason) {
    struct http_server *server = connection->server;
    if (connection->phase == HTTP_RUNNING) {
        server->cancel(connection);
    }
    list_remove(&connection->in_idle);
    ev_io_stop(server->loop, &connection->io);
    ev_timer_stop(server->loop, &connection->deadline);
    free_input(connection);
    free_output(connection);
    close(connection->descriptor);
    connection->descriptor = -1;
    server->closed(connection, reason);
}
