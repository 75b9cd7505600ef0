/* The connections of consoles. Control thread. A connection comes from the admin socket and then
 * speaks in frames: a word, a length and so many bytes (docs/admin.md).
 *
 *     console_open -> READING <-> (evaluated) -> WRITING -> ... -> client_close
 *
 * A text is evaluated as soon as it is complete, and holds control up for as long as that takes, at
 * most lua.budget and a little. The next one is looked at in another turn of the loop, so that one
 * who sends many does not shut others out. Bounds: clients, length of a text, time between texts,
 * time to take an answer; lua/ bounds what an answer is. */
#include "control/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/answers.h"

#define HEAD_BYTES 8u /* "65536\n" */
#define INPUT_BYTES (HEAD_BYTES + CONSOLE_TEXT_BYTES)

struct console_client {
    struct consoles *consoles;
    struct list node;
    struct ev_io io;
    struct ev_timer deadline;
    struct ev_timer turn; /* active: the next text is here already */
    struct console *console;
    bool json;
    bool last; /* the answer being written is the last: what came in cannot be understood */
    struct text answer;
    size_t sent, received;
    char input[INPUT_BYTES];
};

/* What stands at the beginning of the input. */
enum frame { FRAME_PART, FRAME_WHOLE, FRAME_WRONG };

static void client_close(struct console_client *client) {
    struct consoles *consoles = client->consoles;
    struct ev_loop *loop = consoles->control->loop;
    ev_io_stop(loop, &client->io);
    ev_timer_stop(loop, &client->deadline);
    ev_timer_stop(loop, &client->turn);
    close(client->io.fd);
    list_remove(&client->node);
    consoles->client_count--;
    scripting->console_free(client->console);
    text_free(&client->answer);
    free(client);
}

static void wait_for(struct console_client *client, int events, double seconds) {
    struct ev_loop *loop = client->consoles->control->loop;
    ev_io_stop(loop, &client->io);
    ev_io_set(&client->io, client->io.fd, events);
    ev_io_start(loop, &client->io);
    ev_timer_stop(loop, &client->deadline);
    ev_timer_set(&client->deadline, seconds, 0);
    ev_timer_start(loop, &client->deadline);
}

/* `start` and `length` say where the text is. */
static enum frame look_for_frame(const struct console_client *client, size_t *start,
                                 size_t *length) {
    size_t known = client->received < HEAD_BYTES ? client->received : HEAD_BYTES;
    const char *newline = memchr(client->input, '\n', known);
    size_t digits = newline != NULL ? (size_t)(newline - client->input) : known;
    *length = 0;
    for (size_t i = 0; i < digits; i++) {
        if (client->input[i] < '0' || client->input[i] > '9') {
            return FRAME_WRONG;
        }
        *length = *length * 10 + (size_t)(client->input[i] - '0');
    }
    if (newline == NULL) {
        return known < HEAD_BYTES ? FRAME_PART : FRAME_WRONG;
    }
    if (digits == 0 || *length > CONSOLE_TEXT_BYTES) {
        return FRAME_WRONG;
    }
    *start = digits + 1;
    return client->received - *start >= *length ? FRAME_WHOLE : FRAME_PART;
}

/* ---- answering ---- */

static void look_again(struct console_client *client) {
    size_t start, length;
    if (client->received > 0 && look_for_frame(client, &start, &length) != FRAME_PART) {
        ev_io_stop(client->consoles->control->loop, &client->io);
        ev_timer_start(client->consoles->control->loop, &client->turn);
    } else {
        wait_for(client, EV_READ, client->consoles->settings.idle_s);
    }
}

static void write_some(struct console_client *client) {
    while (client->sent < client->answer.length) {
        ssize_t sent = send(client->io.fd, client->answer.bytes + client->sent,
                            client->answer.length - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return; /* begin_writing has said what is awaited */
        }
        if (sent < 0) {
            client_close(client);
            return;
        }
        client->sent += (size_t)sent;
    }
    if (client->last) {
        client_close(client);
        return;
    }
    text_free(&client->answer);
    client->sent = 0;
    look_again(client);
}

/* `said` is freed. The client may be gone afterwards. */
static void answer(struct console_client *client, const char *word, struct text *said) {
    static const char no_memory[] = "error 14\nout of memory\n";
    text_format(&client->answer, "%s %zu\n", word, said->length);
    text_append(&client->answer, said->bytes != NULL ? said->bytes : "", said->length);
    if (said->failed || client->answer.failed) {
        text_free(&client->answer);
        text_string(&client->answer, no_memory);
    }
    text_free(said);
    if (client->answer.failed || client->answer.length == 0) {
        client_close(client); /* not even that */
        return;
    }
    wait_for(client, EV_WRITE, client->consoles->settings.answer_s);
    write_some(client);
}

static void answer_wrong(struct console_client *client) {
    struct text said = {0};
    client->last = true;
    answer_message(false, "not what a console is sent: a length of at most 65536, and a text",
                   client->json, &said);
    answer(client, "error", &said);
}

static void evaluate(struct console_client *client, size_t start, size_t length) {
    static const char *const words[] = {
        [CONSOLE_OK] = "ok", [CONSOLE_ERROR] = "error", [CONSOLE_INCOMPLETE] = "more"};
    struct text said = {0}, body = {0};
    enum console_answer how = scripting->console_evaluate(client->console, client->input + start,
                                                          length, client->json, &said);
    client->received -= start + length;
    memmove(client->input, client->input + start + length, client->received);
    if (how == CONSOLE_ERROR && !said.failed) {
        answer_message(false, said.bytes != NULL ? said.bytes : "", client->json, &body);
        text_free(&said);
        said = body;
    }
    answer(client, words[how], &said);
}

/* ---- reading ---- */

static void go_on(struct console_client *client) {
    size_t start, length;
    switch (look_for_frame(client, &start, &length)) {
    case FRAME_PART:
        break;
    case FRAME_WHOLE:
        evaluate(client, start, length);
        break;
    case FRAME_WRONG:
        answer_wrong(client);
        break;
    }
}

static void read_some(struct console_client *client) {
    ssize_t got = recv(client->io.fd, client->input + client->received,
                       sizeof(client->input) - client->received, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) {
        return;
    }
    if (got <= 0) {
        client_close(client); /* also in the middle of a text: nothing was done with it */
        return;
    }
    client->received += (size_t)got;
    go_on(client);
}

static void on_ready(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    struct console_client *client = container_of(io, struct console_client, io);
    if ((events & EV_WRITE) != 0) {
        write_some(client);
    } else {
        read_some(client);
    }
}

static void on_turn(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    go_on(container_of(timer, struct console_client, turn));
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    client_close(container_of(timer, struct console_client, deadline));
}

/* ---- life ---- */

void consoles_init(struct consoles *consoles, struct control *control) {
    consoles->control = control;
    consoles->settings =
        (struct consoles_settings){.max_clients = 4, .idle_s = 3600, .answer_s = 30};
    consoles->client_count = 0;
    list_init(&consoles->clients);
}

void consoles_close(struct consoles *consoles) {
    list_each(node, &consoles->clients) {
        client_close(container_of(node, struct console_client, node));
    }
}

bool console_open(struct consoles *consoles, int descriptor, bool json, const char *bytes,
                  size_t length, char *error, size_t error_bytes) {
    struct control *control = consoles->control;
    if (consoles->client_count >= consoles->settings.max_clients) {
        snprintf(error, error_bytes, "there are %u consoles already: end one",
                 consoles->client_count);
        return false;
    }
    if (control->plan == NULL || length > INPUT_BYTES) {
        snprintf(error, error_bytes, "there is no configuration yet");
        return false;
    }
    struct console_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return false;
    }
    client->console =
        scripting->console_new(control->plan->snapshot, control->arena, error, error_bytes);
    if (client->console == NULL) {
        free(client);
        return false;
    }
    client->consoles = consoles;
    client->json = json;
    client->received = length;
    memcpy(client->input, bytes, length);
    list_append(&consoles->clients, &client->node);
    consoles->client_count++;
    ev_io_init(&client->io, on_ready, descriptor, EV_READ);
    ev_timer_init(&client->deadline, on_deadline, 0, 0);
    ev_timer_init(&client->turn, on_turn, 0, 0);
    text_string(&client->answer, "ok\n"); /* to the request itself */
    if (client->answer.failed) {
        client->last = true; /* it is closed when that is written: nothing */
    }
    wait_for(client, EV_WRITE, consoles->settings.answer_s); /* in a turn of its own */
    return true;
}
