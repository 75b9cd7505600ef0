/* Stage for tests of the coroutine runtime (lua/run.c, net.c, check.c, service.c): a control
 * thread's host on a loop of the test's own, scripts given as the body of their method, and servers
 * on loopback sockets in the same loop, so that every test awaits what it names. */
#ifndef TESTS_RUNTIME_STAGE_H
#define TESTS_RUNTIME_STAGE_H

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/text.h"
#include "lua/run.h"
#include "script_fixture.h"
#include "suite.h"

#define STAGE_PEERS 64
#define LONG_MS 60000 /* a deadline that no test reaches */

static struct fixture f;
static struct ev_loop *loop;

/* ---- awaiting ---- */

static bool stage_timed_out;

static inline void stage_on_timeout(struct ev_loop *l, struct ev_timer *timer, int events) {
    (void)l, (void)timer, (void)events;
    stage_timed_out = true;
}

/* Turns the loop until the condition holds; fails after 10 s. */
#define await(condition)                                                                           \
    do {                                                                                           \
        struct ev_timer limit_;                                                                    \
        stage_timed_out = false;                                                                   \
        ev_now_update(loop);                                                                       \
        ev_timer_init(&limit_, stage_on_timeout, 10., 0.);                                         \
        ev_timer_start(loop, &limit_);                                                             \
        while (!(condition)) {                                                                     \
            ev_run(loop, EVRUN_ONCE);                                                              \
            ck_assert_msg(!stage_timed_out, "never happened: %s", #condition);                     \
        }                                                                                          \
        ev_timer_stop(loop, &limit_);                                                              \
    } while (0)

/* ---- a server in the loop: accepts everybody, keeps what it hears ---- */

struct peer {
    int descriptor;
    struct ev_io io;
    struct text got;
    bool ended, reset; /* the other side closed; not orderly */
};

struct server {
    int descriptor;
    struct ev_io io;
    struct address address;
    char text[64]; /* the address */
    bool deaf;     /* what it accepts from now on is not read, until peer_listen */
    struct peer peers[STAGE_PEERS];
    uint32_t count; /* accepted so far */
};

static struct server server;

static inline void peer_on_readable(struct ev_loop *l, struct ev_io *io, int events) {
    struct peer *peer = container_of(io, struct peer, io);
    char bytes[65536];
    (void)events;
    ssize_t count = recv(peer->descriptor, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) {
        text_append(&peer->got, bytes, (size_t)count);
    } else if (count == 0 || errno != EAGAIN) {
        peer->ended = true;
        peer->reset = count < 0;
        ev_io_stop(l, io);
    }
}

static inline void peer_listen(struct peer *peer) {
    ev_io_start(loop, &peer->io);
}

static inline void peer_send_bytes(struct peer *peer, const char *bytes, size_t length) {
    ck_assert_int_eq(send(peer->descriptor, bytes, length, MSG_NOSIGNAL), length);
}

static inline void peer_send(struct peer *peer, const char *text) {
    peer_send_bytes(peer, text, strlen(text));
}

static inline bool peer_got(const struct peer *peer, const char *all) {
    return peer->got.bytes != NULL && strcmp(peer->got.bytes, all) == 0;
}

static inline void peer_close(struct peer *peer) {
    if (peer->descriptor >= 0) {
        ev_io_stop(loop, &peer->io);
        close(peer->descriptor);
        text_free(&peer->got);
        peer->descriptor = -1;
    }
}

static inline void peer_reset(struct peer *peer) {
    const struct linger now = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(peer->descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    peer_close(peer);
}

static inline void server_on_accept(struct ev_loop *l, struct ev_io *io, int events) {
    struct server *owner = container_of(io, struct server, io);
    struct peer *peer = &owner->peers[owner->count];
    (void)events;
    int descriptor = accept4(owner->descriptor, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_uint_lt(owner->count, STAGE_PEERS);
    *peer = (struct peer){.descriptor = descriptor};
    ev_io_init(&peer->io, peer_on_readable, descriptor, EV_READ);
    if (!owner->deaf) {
        ev_io_start(l, &peer->io);
    }
    owner->count++;
}

/* A socket on a port of its own, which nobody listens to yet: who connects is refused. */
static inline int bind_anywhere(struct address *address) {
    address->v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address->length = sizeof(address->v4);
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(bind(descriptor, &address->any, address->length), 0);
    ck_assert_int_eq(getsockname(descriptor, &address->any, &address->length), 0);
    return descriptor;
}

static inline void server_open(struct server *opened) {
    memset(opened, 0, sizeof(*opened));
    opened->descriptor = bind_anywhere(&opened->address);
    address_format(&opened->address, opened->text, sizeof(opened->text));
    ck_assert_int_eq(listen(opened->descriptor, 128), 0);
    ev_io_init(&opened->io, server_on_accept, opened->descriptor, EV_READ);
    ev_io_start(loop, &opened->io);
}

static inline void server_close(struct server *closed) {
    ev_io_stop(loop, &closed->io);
    close(closed->descriptor);
    for (uint32_t i = 0; i < closed->count; i++) {
        peer_close(&closed->peers[i]);
    }
}

/* ---- descriptors ---- */

/* Open in this process now; the one that counts is not counted. */
static inline uint32_t descriptors_open(void) {
    uint32_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(folder);
    return count - 1;
}

/* ---- the host ---- */

static inline void stage_open(void) {
    fixture_open(&f, 2, NULL);
    scripting->host_free(f.host);
    loop = ev_loop_new(0);
    ck_assert_ptr_nonnull(loop);
    f.host = scripting->host_new(&f.snapshot, f.arena, loop, NULL, 0, &f.messages);
    ck_assert_ptr_nonnull(f.host);
    server_open(&server);
}

static inline void stage_close(void) {
    server_close(&server);
    fixture_close(&f);
    ck_assert_msg(!ev_run(loop, EVRUN_NOWAIT), "something is still watched or timed");
    ev_loop_destroy(loop);
}

static inline uint64_t stage_errors(void) {
    struct script_info info = {0};
    ck_assert(scripting->host_script(f.host, 0, &info)); /* the script loaded last */
    return info.errors;
}

static inline const char *stage_last_error(void) {
    static struct script_info info;
    ck_assert(scripting->host_script(f.host, 0, &info));
    return info.last_error;
}

/* ---- scripts ---- */

/* A script whose method has this body; its second line is the body's first. `kept` is a table that
 * outlives the runs, `show` makes one text of values, `try` the same of what a call raises. */
static inline struct script_use stage_script(const char *kind, const char *method,
                                             const char *body) {
    static char text[16384];
    int length =
        snprintf(text, sizeof(text),
                 "local net, alacrity, kept = require 'alacrity.net', require 'alacrity', {} "
                 "local function show(...) local words = {} for i = 1, select('#', ...) do "
                 "words[i] = tostring((select(i, ...))) end return table.concat(words, ' ') end "
                 "local function try(...) return show(select(2, pcall(...))) end "
                 "return {api = 1, kind = '%s', name = 'mine', new = function(cfg) return {%s = "
                 "function(self, asked)\n%s\nend} end}",
                 kind, method, body);
    ck_assert_int_lt(length, (int)sizeof(text));
    return fixture_script(&f, text);
}

static inline struct check *check_using(struct script_use use) {
    f.pool.name = (char *)(uintptr_t) "app";
    f.pool.check.script = use;
    struct check *check = scripting->check_new(f.host, &f.pool, &f.messages);
    ck_assert_msg(check != NULL, "%s", fixture_said(&f));
    return check;
}

static inline struct check *check_of(const char *body) {
    return check_using(stage_script("check", "check", body));
}

/* ---- asking a check ---- */

struct asked {
    struct check_run *run;
    uint32_t answers; /* how often it was answered */
    enum check_answer answer;
    char info[512];
};

static inline void asked_done(void *argument, enum check_answer answer, const char *info) {
    struct asked *asked = argument;
    asked->answers++;
    asked->answer = answer;
    snprintf(asked->info, sizeof(asked->info), "%s", info);
}

static inline void ask_at(struct asked *asked, struct check *check, const struct address *address,
                          uint32_t timeout_ms) {
    *asked = (struct asked){0};
    ev_now_update(loop);
    asked->run = scripting->check_start(check, f.slots[0], address, timeout_ms, asked_done, asked);
    ck_assert_ptr_nonnull(asked->run);
}

static inline void ask(struct asked *asked, struct check *check) {
    ask_at(asked, check, &server.address, LONG_MS);
}

/* What the runtime keeps of it; only while it runs. */
static inline struct run *run_of(const struct asked *asked) {
    ck_assert_uint_eq(asked->answers, 0);
    return (struct run *)asked->run;
}

#define assert_answered(asked, expected, words)                                                    \
    do {                                                                                           \
        await((asked)->answers > 0);                                                               \
        ck_assert_str_eq((asked)->info, words);                                                    \
        ck_assert_int_eq((asked)->answer, expected);                                               \
        ck_assert_uint_eq((asked)->answers, 1);                                                    \
    } while (0)

/* The body is asked about the server; it answers "up" with these words. */
#define assert_up(body, words)                                                                     \
    do {                                                                                           \
        struct asked asked_;                                                                       \
        ask(&asked_, check_of(body));                                                              \
        assert_answered(&asked_, CHECK_UP, words);                                                 \
    } while (0)

/* It raises this error. */
#define assert_raises(body, error)                                                                 \
    do {                                                                                           \
        struct asked asked_;                                                                       \
        ask(&asked_, check_of(body));                                                              \
        assert_answered(&asked_, CHECK_ERROR, error);                                              \
    } while (0)

#endif
