/* Admin: the unix socket on which administrators ask and command. Control thread.
 *
 * One connection carries one request: a line of words, perhaps begun with --json. The answer is a
 * line "ok" or "error", then text (docs/admin.md), then the end; or, to `console`, what console.c
 * makes of it. The walk:
 *
 *     on_accept -> READING -> run_request -> [WAITING for a reload or for workers] -> WRITING ->
 * gone
 *
 * Bounds: connections, length of a request, time to send it, time to take the answer. Whoever waits
 * for a reload waits as long as the reload takes.
 */
#include "control/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "control/answers.h"
#include "control/commands.h"
#include "control/inquiry.h"
#include "control/scripts.h"

#define ACCEPTS_A_TURN 16
#define REQUEST_BYTES 4096u /* with the newline */
#define REQUEST_WORDS 56u
#define ACCEPT_PAUSE_SECONDS 0.2 /* when descriptors or memory are out */

enum connection_state { CONNECTION_READING, CONNECTION_WAITING, CONNECTION_WRITING };

/* Outlives its connection, for control_reload cannot be called off. */
struct reload_wait {
    struct connection *connection; /* NULL: it has gone */
};

struct connection {
    struct admin *admin;
    struct list node;
    struct ev_io io;
    struct ev_timer deadline;
    enum connection_state state;
    bool json;
    char request[REQUEST_BYTES];
    size_t received, used; /* used: what belongs to the request, once that is complete */
    struct text answer;
    size_t sent;
    struct inquiry *inquiry;    /* WAITING for workers, else NULL */
    struct reload_wait *reload; /* WAITING for a reload, else NULL */
};

/* ---- the end of a connection ---- */

/* Its descriptor stays open: it is another's, or closed next. */
static void connection_free(struct connection *connection) {
    struct admin *admin = connection->admin;
    ev_io_stop(admin->control->loop, &connection->io);
    ev_timer_stop(admin->control->loop, &connection->deadline);
    if (connection->inquiry != NULL) {
        inquiry_drop(connection->inquiry);
    }
    if (connection->reload != NULL) {
        connection->reload->connection = NULL;
    }
    list_remove(&connection->node);
    admin->connection_count--;
    text_free(&connection->answer);
    free(connection);
}

static void connection_close(struct connection *connection) {
    int descriptor = connection->io.fd;
    connection_free(connection);
    close(descriptor);
}

/* ---- answering ---- */

static void wait_for(struct connection *connection, int events) {
    struct ev_loop *loop = connection->admin->control->loop;
    ev_io_stop(loop, &connection->io);
    if (events != 0) {
        ev_io_set(&connection->io, connection->io.fd, events);
        ev_io_start(loop, &connection->io);
    }
}

/* 0: none. */
static void set_deadline(struct connection *connection, double seconds) {
    struct ev_loop *loop = connection->admin->control->loop;
    ev_timer_stop(loop, &connection->deadline);
    if (seconds > 0) {
        ev_timer_set(&connection->deadline, seconds, 0);
        ev_timer_start(loop, &connection->deadline);
    }
}

static void write_some(struct connection *connection) {
    while (connection->sent < connection->answer.length) {
        ssize_t sent =
            send(connection->io.fd, connection->answer.bytes + connection->sent,
                 connection->answer.length - connection->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            wait_for(connection, EV_WRITE);
            return;
        }
        if (sent < 0) {
            break; /* the client has gone */
        }
        connection->sent += (size_t)sent;
    }
    connection_close(connection);
}

/* `body` follows the line that says how it went. The connection may be gone afterwards. */
static void finish(struct connection *connection, bool ok, struct text *body) {
    static const char no_memory[] = "error\nout of memory\n";
    struct text *answer = &connection->answer;
    connection->state = CONNECTION_WRITING;
    if (!body->failed) {
        text_string(answer, ok ? "ok\n" : "error\n");
        text_append(answer, body->bytes != NULL ? body->bytes : "", body->length);
    }
    text_free(body);
    if (answer->bytes == NULL || answer->failed || answer->length == 0) {
        (void)send(connection->io.fd, no_memory, sizeof(no_memory) - 1,
                   MSG_NOSIGNAL | MSG_DONTWAIT);
        connection_close(connection);
        return;
    }
    set_deadline(connection, connection->admin->settings.answer_s);
    write_some(connection);
}

static void finish_message(struct connection *connection, bool ok, const char *message) {
    struct text body = {0};
    answer_message(ok, message, connection->json, &body);
    finish(connection, ok, &body);
}

/* ---- requests that are answered later ---- */

static void on_reloaded(void *argument, bool ok, const char *text) {
    struct reload_wait *wait = argument;
    struct connection *connection = wait->connection;
    free(wait);
    if (connection != NULL) {
        connection->reload = NULL;
        finish_message(connection, ok, text);
    }
}

static void run_reload(struct connection *connection) {
    struct reload_wait *wait = calloc(1, sizeof(*wait));
    if (wait == NULL) {
        finish_message(connection, false, "out of memory");
        return;
    }
    wait->connection = connection;
    connection->reload = wait;
    struct admin *admin = connection->admin;
    admin->settings.reload(admin->control, on_reloaded, wait); /* may have answered already */
}

/* `request` is one of those that change a pool's policy. */
static void run_script(struct connection *connection, const struct request *request) {
    const char *error;
    struct reload_wait *wait = calloc(1, sizeof(*wait));
    struct script_wish *wish = wait != NULL ? script_wish_read(request, &error) : NULL;
    if (wish == NULL) {
        finish_message(connection, false, wait != NULL ? error : "out of memory");
        free(wait);
        return;
    }
    wait->connection = connection;
    connection->reload = wait;
    control_script(connection->admin->control, wish, on_reloaded, wait);
}

static void on_listed(void *argument, const struct inquiry *inquiry) {
    struct connection *connection = argument;
    struct text body = {0};
    connection->inquiry = NULL;
    for (uint32_t i = 0; i < inquiry->mail_count; i++) {
        body.failed = body.failed || inquiry->mails[i].failed;
    }
    answer_sessions(inquiry, connection->json, &body);
    finish(connection, true, &body);
}

static void on_killed(void *argument, const struct inquiry *inquiry) {
    struct connection *connection = argument;
    bool killed = inquiry->mails[0].killed;
    connection->inquiry = NULL;
    finish_message(connection, killed, killed ? "session ended" : "there is no such session");
}

/* `request` is SESSION_LIST or SESSION_KILL. */
static void run_inquiry(struct connection *connection, const struct request *request) {
    struct control *control = connection->admin->control;
    if (request->kind == COMMAND_SESSION_LIST) {
        connection->inquiry = inquiry_list(control, on_listed, connection);
    } else {
        const char *word = request->arguments[0];
        size_t digits = strspn(word, "0123456789");
        char *end;
        errno = 0;
        uint64_t id = strtoull(word, &end, 10);
        if (digits == 0 || word[digits] != '\0' || errno != 0) {
            finish_message(connection, false,
                           "a session's ID is a number; 'session list' shows it");
            return;
        }
        connection->inquiry = inquiry_kill(control, id, on_killed, connection);
    }
    if (connection->inquiry != NULL) {
        set_deadline(connection, connection->admin->settings.inquiry_s);
    } else {
        finish_message(connection, false,
                       errno != 0 ? "out of memory" : "there is no such session");
    }
}

/* The connection goes on as a console's. */
static void run_console(struct connection *connection) {
    char error[256];
    if (console_open(&connection->admin->consoles, connection->io.fd, connection->json,
                     connection->request + connection->used,
                     connection->received - connection->used, error, sizeof(error))) {
        connection_free(connection);
    } else {
        finish_message(connection, false, error);
    }
}

/* ---- requests ---- */

static bool is_plain(const char *line) {
    for (; *line != '\0'; line++) {
        if ((unsigned char)*line < ' ' || *line == 0x7F) {
            return false;
        }
    }
    return true;
}

/* Cuts at spaces, in place. Words beyond the bound are counted, not kept. */
static uint32_t split(char *line, const char **words) {
    uint32_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (count < REQUEST_WORDS) {
            words[count] = word;
        }
        count++;
    }
    return count;
}

/* The line is complete. */
static void run_request(struct connection *connection, char *line) {
    const char *words[REQUEST_WORDS];
    const char *const *first = words;
    struct request request;
    char error[512];
    wait_for(connection, 0);
    set_deadline(connection, 0);
    connection->state = CONNECTION_WAITING;
    if (!is_plain(line)) {
        finish_message(connection, false, "the request holds control characters");
        return;
    }
    uint32_t count = split(line, words);
    if (count > REQUEST_WORDS) {
        finish_message(connection, false, "too many words; 'help' lists the commands");
        return;
    }
    if (count > 0 && strcmp(words[0], "--json") == 0) {
        connection->json = true;
        first++;
        count--;
    }
    if (!command_parse(first, count, &request, error, sizeof(error))) {
        finish_message(connection, false, error);
    } else if (request.kind == COMMAND_RELOAD) {
        run_reload(connection);
    } else if (request.kind == COMMAND_SESSION_LIST || request.kind == COMMAND_SESSION_KILL) {
        run_inquiry(connection, &request);
    } else if (request.kind >= COMMAND_SCRIPT_SWAP && request.kind <= COMMAND_SCRIPT_DROP) {
        run_script(connection, &request);
    } else if (request.kind == COMMAND_CONSOLE) {
        run_console(connection);
    } else {
        struct text body = {0};
        bool ok = answer_now(connection->admin->control, &request, connection->json, &body);
        finish(connection, ok, &body);
    }
}

static void read_some(struct connection *connection) {
    ssize_t got = recv(connection->io.fd, connection->request + connection->received,
                       sizeof(connection->request) - connection->received, MSG_DONTWAIT);
    if (got < 0) {
        if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
            connection_close(connection);
        }
        return;
    }
    connection->received += (size_t)got;
    char *newline = memchr(connection->request, '\n', connection->received);
    if (newline == NULL && got > 0 && connection->received < sizeof(connection->request)) {
        return;
    }
    if (newline == NULL && got > 0) {
        finish_message(connection, false, "the request is longer than 4096 bytes");
    } else if (newline == NULL && connection->received == 0) {
        connection_close(connection); /* came, said nothing, went */
    } else {
        /* At the end of input the line is complete without its newline; there is room, as a full
         * buffer was refused. */
        size_t length =
            newline != NULL ? (size_t)(newline - connection->request) : connection->received;
        connection->used = length + (newline != NULL);
        if (length > 0 && connection->request[length - 1] == '\r') {
            length--;
        }
        connection->request[length] = '\0';
        if (strlen(connection->request) < length) {
            finish_message(connection, false, "the request holds control characters");
        } else {
            run_request(connection, connection->request);
        }
    }
}

static void on_ready(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    (void)events;
    struct connection *connection = container_of(io, struct connection, io);
    if (connection->state == CONNECTION_READING) {
        read_some(connection);
    } else {
        write_some(connection);
    }
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct connection *connection = container_of(timer, struct connection, deadline);
    switch (connection->state) {
    case CONNECTION_READING:
        finish_message(connection, false, "the request was not complete in time");
        break;
    case CONNECTION_WAITING:
        inquiry_drop(connection->inquiry); /* only those have a deadline while they wait */
        connection->inquiry = NULL;
        finish_message(connection, false, "a worker did not answer in time");
        break;
    case CONNECTION_WRITING:
        connection_close(connection);
        break;
    }
}

/* ---- accepting ---- */

static void pause_accepting(struct admin *admin) {
    ev_io_stop(admin->control->loop, &admin->accept);
    ev_timer_stop(admin->control->loop, &admin->pause);
    ev_timer_set(&admin->pause, ACCEPT_PAUSE_SECONDS, 0);
    ev_timer_start(admin->control->loop, &admin->pause);
}

static void on_pause_over(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)events;
    struct admin *admin = container_of(timer, struct admin, pause);
    if (admin->door.descriptor >= 0) {
        ev_io_start(loop, &admin->accept);
    }
}

static void connection_open(struct admin *admin, int descriptor) {
    static const char too_many[] = "error\ntoo many connections to the admin socket\n";
    struct connection *connection = NULL;
    if (admin->connection_count < admin->settings.max_connections) {
        connection = calloc(1, sizeof(*connection));
    }
    if (connection == NULL) {
        (void)send(descriptor, too_many, sizeof(too_many) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(descriptor);
        return;
    }
    connection->admin = admin;
    connection->state = CONNECTION_READING;
    list_append(&admin->connections, &connection->node);
    admin->connection_count++;
    ev_io_init(&connection->io, on_ready, descriptor, EV_READ);
    ev_timer_init(&connection->deadline, on_deadline, 0, 0);
    ev_io_start(admin->control->loop, &connection->io);
    set_deadline(connection, admin->settings.request_s);
}

static void on_accept(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    (void)events;
    struct admin *admin = container_of(io, struct admin, accept);
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int descriptor = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            connection_open(admin, descriptor);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            log_limited(LOG_WARNING, "admin", "the admin socket cannot accept: %s",
                        strerror(errno));
            pause_accepting(admin);
            return;
        }
    }
}

/* ---- the door, opened beside the one in use ---- */

bool admin_prepare(struct admin *admin, const char *path, const struct owner *owner, char *error,
                   size_t error_bytes) {
    admin_abort(admin);
    if (path == NULL) {
        admin->switching = true;
    } else if (admin->door.descriptor < 0 || strcmp(path, admin->door.path) != 0 ||
               !door_is_there(&admin->door)) {
        admin->switching = door_open(&admin->next, path, owner, error, error_bytes);
        return admin->switching;
    }
    return true;
}

void admin_commit(struct admin *admin) {
    struct ev_loop *loop = admin->control->loop;
    if (!admin->switching) {
        return;
    }
    ev_io_stop(loop, &admin->accept);
    door_close(&admin->door);
    admin->door = admin->next;
    admin->next = (struct door){.descriptor = -1};
    admin->switching = false;
    if (admin->door.descriptor >= 0) {
        ev_io_set(&admin->accept, admin->door.descriptor, EV_READ);
        ev_io_start(loop, &admin->accept);
    }
}

void admin_abort(struct admin *admin) {
    door_undo(&admin->next);
    admin->switching = false;
}

/* ---- life ---- */

struct admin *admin_new(struct control *control) {
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        return NULL;
    }
    admin->control = control;
    admin->settings = (struct admin_settings){.max_connections = 64,
                                              .request_s = 5,
                                              .inquiry_s = 5,
                                              .answer_s = 30,
                                              .reload = control_reload};
    admin->door.descriptor = admin->next.descriptor = -1;
    list_init(&admin->connections);
    consoles_init(&admin->consoles, control);
    ev_io_init(&admin->accept, on_accept, -1, EV_READ);
    ev_timer_init(&admin->pause, on_pause_over, 0, 0);
    return admin;
}

void admin_free(struct admin *admin) {
    if (admin == NULL) {
        return;
    }
    list_each(node, &admin->connections) {
        connection_close(container_of(node, struct connection, node));
    }
    consoles_close(&admin->consoles);
    ev_timer_stop(admin->control->loop, &admin->pause);
    ev_io_stop(admin->control->loop, &admin->accept);
    admin_abort(admin);
    door_close(&admin->door);
    free(admin);
}
