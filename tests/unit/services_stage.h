/* Stage for tests of services over real loopback sockets: server, clients and a fake script share
 * one loop, so that every test awaits what it names and nothing sleeps. */
#ifndef TESTS_SERVICES_STAGE_H
#define TESTS_SERVICES_STAGE_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/services.h"

#define HOST "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static struct ev_loop *loop;
static struct control control;
static struct services *services;

/* ---- a fake script ---- */

enum fake_mode { FAKE_NOW, FAKE_LATER, FAKE_NULL };
static struct {
    enum fake_mode mode;
    uint32_t status;
    const char *content_type, *body;
    size_t body_bytes; /* 0 = strlen */
    /* what it was asked last */
    char method[16], path[64], query[64], client[64], agent[64], body_got[65537];
    size_t got_bytes;
    uint32_t headers, timeout_ms, starts, cancels;
    struct service *service;
    service_done *done; /* set while it runs */
    void *argument;
} fake;

static void fake_answer(void) {
    service_done *done = fake.done;
    fake.done = NULL;
    size_t bytes = fake.body_bytes > 0 ? fake.body_bytes : strlen(fake.body);
    done(fake.argument, fake.status, fake.content_type, fake.body, bytes);
}

static struct service_run *fake_start(struct service *service,
                                      const struct service_request *request, uint32_t timeout_ms,
                                      service_done *done, void *argument) {
    fake.starts++;
    fake.service = service;
    fake.timeout_ms = timeout_ms;
    snprintf(fake.method, sizeof(fake.method), "%s", request->method);
    snprintf(fake.path, sizeof(fake.path), "%s", request->path);
    snprintf(fake.query, sizeof(fake.query), "%s", request->query);
    snprintf(fake.client, sizeof(fake.client), "%s", request->client);
    fake.headers = request->header_count;
    for (uint32_t i = 0; i < request->header_count; i++) {
        if (strcmp(request->header_names[i], "user-agent") == 0) {
            snprintf(fake.agent, sizeof(fake.agent), "%s", request->header_values[i]);
        }
    }
    ck_assert_uint_lt(request->body_bytes, sizeof(fake.body_got));
    memcpy(fake.body_got, request->body, request->body_bytes);
    fake.got_bytes = request->body_bytes;
    if (fake.mode == FAKE_NULL) {
        return NULL;
    }
    fake.done = done;
    fake.argument = argument;
    if (fake.mode == FAKE_NOW) {
        fake_answer();
    }
    return (struct service_run *)&fake;
}

static void fake_cancel(struct service_run *run) {
    ck_assert_ptr_eq(run, (struct service_run *)&fake);
    ck_assert_ptr_nonnull(fake.done);
    fake.done = NULL;
    fake.cancels++;
}

static const struct scripting fake_scripting = {
    .service_start = fake_start,
    .service_cancel = fake_cancel,
};

/* ---- a plan of the test's own ---- */

struct stage {
    struct listener_config configs[2];
    struct control_listener listeners[2];
    struct control_plan plan;
};
static struct stage stages[2]; /* before and after a switch */
static int sockets[2];
static char service_marks[2]; /* addresses that stand for service instances */

static int listen_anywhere(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(bind(descriptor, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(listen(descriptor, 128), 0);
    return descriptor;
}

/* Listeners `first` and, with count 2, `second`, on sockets[0] and [1]. */
static struct stage *set_stage(uint32_t index, uint32_t count) {
    static char *names[] = {"first", "second"};
    struct stage *stage = &stages[index];
    for (uint32_t i = 0; i < count; i++) {
        stage->configs[i].name = names[i];
        stage->configs[i].pool = -1;
        stage->listeners[i] = (struct control_listener){
            .config = &stage->configs[i],
            .facts = arena_take_listener(control.arena, names[i]),
            .service = (struct service *)&service_marks[index],
            .socket_count = 1,
            .sockets = &sockets[i],
        };
    }
    stage->plan.listener_count = count;
    stage->plan.listeners = stage->listeners;
    return stage;
}

static void set_up(void) {
    char error[128];
    memset(&fake, 0, sizeof(fake));
    fake.status = 200;
    fake.content_type = "text/html";
    fake.body = "hello";
    scripting = &fake_scripting;
    loop = ev_loop_new(0);
    ck_assert_ptr_nonnull(loop);
    control = (struct control){.loop = loop};
    control.arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(control.arena);
    services = services_new(&control);
    ck_assert_ptr_nonnull(services);
    sockets[0] = listen_anywhere();
    sockets[1] = listen_anywhere();
    control.plan = &set_stage(0, 1)->plan;
    services_switch(services, NULL, control.plan);
}

static void tear_down(void) {
    services_free(services);
    close(sockets[0]);
    close(sockets[1]);
    arena_free(control.arena);
    ev_loop_destroy(loop);
}

/* ---- clients ---- */

struct client {
    int descriptor;
    struct ev_io io;
    struct text got;
    bool ended, reset;
};

static void on_client_readable(struct ev_loop *l, struct ev_io *io, int events) {
    (void)events;
    struct client *client = io->data;
    char bytes[65536];
    ssize_t count = recv(client->descriptor, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) {
        text_append(&client->got, bytes, (size_t)count);
    } else if (count == 0 || errno != EAGAIN) {
        client->ended = true;
        client->reset = count < 0;
        ev_io_stop(l, io);
    }
}

static void client_open_at(struct client *client, uint32_t listener) {
    struct sockaddr_in at;
    socklen_t length = sizeof(at);
    *client = (struct client){.descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ck_assert_int_ge(client->descriptor, 0);
    ck_assert_int_eq(getsockname(sockets[listener], (struct sockaddr *)&at, &length), 0);
    ck_assert_int_eq(connect(client->descriptor, (struct sockaddr *)&at, length), 0);
    ev_io_init(&client->io, on_client_readable, client->descriptor, EV_READ);
    client->io.data = client;
    ev_io_start(loop, &client->io);
}

static void client_open(struct client *client) {
    client_open_at(client, 0);
}

static void client_close(struct client *client) {
    ev_io_stop(loop, &client->io);
    close(client->descriptor);
    text_free(&client->got);
}

static void client_send(struct client *client, const char *bytes) {
    ck_assert_int_eq(send(client->descriptor, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
}

static bool timed_out;

static void on_test_timeout(struct ev_loop *l, struct ev_timer *timer, int events) {
    (void)l;
    (void)timer;
    (void)events;
    timed_out = true;
}

/* Turns the loop until the condition holds; fails after 5 s. */
#define await(condition)                                                                           \
    do {                                                                                           \
        struct ev_timer limit_;                                                                    \
        timed_out = false;                                                                         \
        ev_now_update(loop);                                                                       \
        ev_timer_init(&limit_, on_test_timeout, 5., 0.);                                           \
        ev_timer_start(loop, &limit_);                                                             \
        while (!(condition)) {                                                                     \
            ev_run(loop, EVRUN_ONCE);                                                              \
            ck_assert_msg(!timed_out, "never happened: %s", #condition);                           \
        }                                                                                          \
        ev_timer_stop(loop, &limit_);                                                              \
    } while (0)

static bool got(const struct client *client, const char *part) {
    return client->got.bytes != NULL && strstr(client->got.bytes, part) != NULL;
}

/* Sends, awaits the end of the answer, checks its first line; forgets it afterwards. */
static void exchange(struct client *client, const char *request, const char *status,
                     const char *end) {
    char first[64];
    client_send(client, request);
    await(got(client, end));
    snprintf(first, sizeof(first), "HTTP/1.1 %s\r\n", status);
    ck_assert_msg(strncmp(client->got.bytes, first, strlen(first)) == 0, "%s -> %s", request,
                  client->got.bytes);
}

static void exchange_once(const char *request, const char *status, const char *end) {
    struct client client;
    client_open(&client);
    exchange(&client, request, status, end);
    client_close(&client);
}

static int run_suite(TCase *tests) {
    Suite *suite = suite_create("services");
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
