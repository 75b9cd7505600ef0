/* A world made up: virtual time and connections in memory. See fake.h. */
#include "lua/fake.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static _Thread_local const struct fake *clock_of;

void fake_set_clock(const struct fake *fake) {
    clock_of = fake;
}

double fake_now(void) {
    return clock_of != NULL ? clock_of->now : 0;
}

static struct fake *world_of(const struct socket *socket) {
    return socket->run->runtime->world;
}

static struct fake_end *end_of(const struct socket *socket) {
    return &world_of(socket)->ends[socket->io.fd];
}

/* ---- what is due ---- */

static void schedule(struct fake *fake, struct fake_event event, double seconds) {
    if (fake->count == fake->capacity) {
        uint32_t capacity = fake->capacity == 0 ? 64 : fake->capacity * 2;
        struct fake_event *grown = realloc(fake->events, capacity * sizeof(*grown));
        if (grown == NULL) {
            fake->failed = true; /* whoever waits for it is told (test.c) */
            return;
        }
        fake->events = grown;
        fake->capacity = capacity;
    }
    event.due = clock_round(fake->now + seconds);
    event.order = fake->next_order++;
    fake->events[fake->count++] = event;
}

/* Forgets every event of that timer or end. */
static void cancel(struct fake *fake, const struct ev_timer *timer, const struct fake_end *end) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < fake->count; i++) {
        const struct fake_event *event = &fake->events[i];
        if ((timer == NULL || event->timer != timer) && (end == NULL || event->end != end)) {
            fake->events[kept++] = *event;
        }
    }
    fake->count = kept;
}

static void timer_start(struct runtime *runtime, struct ev_timer *timer, double seconds) {
    schedule(runtime->world, (struct fake_event){.kind = EVENT_TIMER, .timer = timer}, seconds);
}

static void timer_stop(struct runtime *runtime, struct ev_timer *timer) {
    cancel(runtime->world, timer, NULL);
}

/* ---- connections ---- */

static bool is_ready(const struct fake_end *end, int events) {
    if (end->connecting) {
        return false;
    }
    bool over = end->connect_error != 0 || end->reset || end->ended;
    if ((events & EV_READ) != 0 && (over || end->in_length > 0)) {
        return true;
    }
    return (events & EV_WRITE) != 0 && (over || end->peer->in_length < FAKE_BUFFER_BYTES);
}

/* Something about the end changed: its holder is told if it waits for that. */
static void notify(struct fake *fake, struct fake_end *end) {
    if (end->socket != NULL && end->watched != 0 && is_ready(end, end->watched)) {
        cancel(fake, NULL, end);
        schedule(fake, (struct fake_event){.kind = EVENT_READY, .end = end}, 0);
    }
}

static void watch(struct socket *socket, int events) {
    struct fake_end *end = end_of(socket);
    end->watched = events;
    notify(world_of(socket), end);
}

static struct fake_end *take_end(struct fake *fake) {
    for (uint32_t i = 0; i < FAKE_ENDS; i++) {
        struct fake_end *end = &fake->ends[i];
        if (!end->open) {
            *end = (struct fake_end){.open = true, .in = malloc(FAKE_BUFFER_BYTES)};
            end->open = end->in != NULL;
            return end->open ? end : NULL;
        }
    }
    return NULL;
}

static void free_end(struct fake *fake, struct fake_end *end) {
    if (end != NULL && end->open) {
        cancel(fake, NULL, end);
        free(end->in);
        *end = (struct fake_end){.open = false};
    }
}

static int start_connect(struct socket *socket, const struct address *address) {
    (void)address; /* all of the world is the one server the test has set up */
    struct fake *fake = world_of(socket);
    struct fake_end *near = take_end(fake), *far = take_end(fake);
    if (near == NULL || far == NULL) {
        free_end(fake, near);
        free_end(fake, far);
        return EMFILE;
    }
    near->peer = far;
    far->peer = near;
    near->socket = socket;
    near->connecting = true;
    near->watched = EV_WRITE;
    socket->io.fd = (int)(near - fake->ends);
    static const int errors[] = {
        [FATE_REFUSED] = ECONNREFUSED, [FATE_UNREACHABLE] = EHOSTUNREACH, [FATE_UNANSWERED] = 0};
    near->connect_error = fake->fate >= FATE_REFUSED ? errors[fake->fate] : 0;
    near->ended = fake->fate == FATE_CLOSED;
    near->reset = fake->fate == FATE_RESET;
    far->closed = near->ended || near->reset;
    if (fake->fate != FATE_UNANSWERED) {
        schedule(fake, (struct fake_event){.kind = EVENT_CONNECT, .end = near},
                 fake->connect_seconds);
    }
    return 0;
}

static int connect_error(struct socket *socket) {
    return end_of(socket)->connect_error;
}

/* True: its holder is told of the reset now. */
static bool tells_reset(struct fake_end *end) {
    bool tells = end->reset && !end->ended && !end->told;
    end->told = true;
    return tells;
}

static ssize_t send_bytes(struct socket *socket, const char *bytes, size_t length) {
    struct fake_end *end = end_of(socket), *peer = end->peer;
    if (end->reset) {
        errno = tells_reset(end) ? ECONNRESET : EPIPE;
        return -1;
    }
    if (peer->closed) { /* nobody reads that: a reset comes back */
        end->reset = true;
        notify(world_of(socket), end);
        return (ssize_t)length;
    }
    size_t room = FAKE_BUFFER_BYTES - peer->in_length;
    if (room == 0) {
        errno = EAGAIN;
        return -1;
    }
    size_t count = length < room ? length : room;
    memcpy(peer->in + peer->in_length, bytes, count);
    peer->in_length += count;
    notify(world_of(socket), peer);
    return (ssize_t)count;
}

static ssize_t receive_bytes(struct socket *socket, char *bytes, size_t length) {
    struct fake_end *end = end_of(socket);
    if (end->in_length == 0) {
        bool over = end->ended || (end->reset && !tells_reset(end));
        errno = end->reset ? ECONNRESET : EAGAIN;
        return over ? 0 : -1;
    }
    size_t count = length < end->in_length ? length : end->in_length;
    memcpy(bytes, end->in, count);
    end->in_length -= count;
    memmove(end->in, end->in + count, end->in_length);
    notify(world_of(socket), end->peer);
    return (ssize_t)count;
}

/* A pair is given back when neither side is held any more. */
static void close_socket(struct socket *socket) {
    struct fake *fake = world_of(socket);
    struct fake_end *end = end_of(socket), *peer = end->peer;
    cancel(fake, NULL, end);
    end->socket = NULL;
    end->closed = true;
    if (!peer->reset && !peer->closed) {
        peer->ended = end->in_length == 0;
        peer->reset = !peer->ended;
    }
    if (peer->socket == NULL) {
        free_end(fake, peer);
        free_end(fake, end);
    } else {
        notify(fake, peer);
    }
}

void fake_adopt(struct fake *fake, struct fake_end *end, struct socket *socket) {
    end->socket = socket;
    socket->io.fd = (int)(end - fake->ends);
}

void fake_reset(struct fake *fake, struct socket *socket) {
    struct fake_end *peer = end_of(socket)->peer;
    peer->reset = true;
    notify(fake, peer);
}

/* ---- time ---- */

static void fire_connect(struct fake *fake, struct fake_end *near) {
    struct fake_end *far = near->peer;
    near->connecting = false;
    if (near->connect_error == 0 && !far->closed && !near->reset && fake->fate == FATE_SERVED) {
        fake->accept(fake->argument, far);
    }
    notify(fake, near);
}

bool fake_step(struct fake *fake) {
    uint32_t next = 0;
    if (fake->count == 0) {
        return false;
    }
    for (uint32_t i = 1; i < fake->count; i++) {
        const struct fake_event *event = &fake->events[i], *best = &fake->events[next];
        if (event->due < best->due || (event->due == best->due && event->order < best->order)) {
            next = i;
        }
    }
    struct fake_event event = fake->events[next];
    fake->events[next] = fake->events[--fake->count];
    fake->now = event.due;
    switch (event.kind) {
    case EVENT_TIMER:
        event.timer->cb(NULL, event.timer, EV_TIMER);
        break;
    case EVENT_CONNECT:
        fire_connect(fake, event.end);
        break;
    case EVENT_READY: {
        struct ev_io *io = &event.end->socket->io;
        io->cb(NULL, io, event.end->watched);
        break;
    }
    }
    return true;
}

double fake_due(const struct fake *fake) {
    double due = (double)INFINITY;
    for (uint32_t i = 0; i < fake->count; i++) {
        due = fake->events[i].due < due ? fake->events[i].due : due;
    }
    return due;
}

void fake_free(struct fake *fake) {
    for (uint32_t i = 0; i < FAKE_ENDS; i++) {
        free_end(fake, &fake->ends[i]);
    }
    free(fake->events);
    fake->events = NULL;
    fake->count = fake->capacity = 0;
}

const struct machine machine_fake = {
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .connect = start_connect,
    .connect_error = connect_error,
    .send = send_bytes,
    .receive = receive_bytes,
    .watch = watch,
    .close = close_socket,
};
