/* Services, their bounds: deadlines, limits, counters, and a change of configuration or the end
 * while connections are under way. */
#include "tests/unit/services_stage.h"

static struct listener_row *row_of(uint32_t listener) {
    return arena_listener_row(control.arena, stages[0].listeners[listener].facts,
                              ARENA_CONTROL_ROW);
}

/* ---- deadlines ---- */

static void on_drip(struct ev_loop *l, struct ev_timer *timer, int events) {
    (void)l;
    (void)events;
    send(((struct client *)timer->data)->descriptor, "G", 1, MSG_NOSIGNAL);
}

START_TEST(test_drip) {
    struct client client;
    struct ev_timer drip;
    services->http.settings.head_s = 0.2;
    uint64_t before_ms = clock_monotonic_ms();
    client_open(&client);
    ev_timer_init(&drip, on_drip, 0., 0.03);
    drip.data = &client;
    ev_timer_start(loop, &drip);
    await(got(&client, "HTTP/1.1 408 Request Timeout\r\n"));
    ck_assert_uint_ge(clock_monotonic_ms() - before_ms, 190);
    ev_timer_stop(loop, &drip);
    await(client.ended);
    client_close(&client);
    await(services->connection_count == 0);
    ck_assert_uint_eq(counter_get(&row_of(0)->ended[REASON_IDLE_TIMEOUT]), 1);
}
END_TEST

START_TEST(test_slow_body) {
    services->http.settings.body_s = 0.05;
    exchange_once("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n1234", "408 Request Timeout",
                  "Connection: close\r\n");
    ck_assert_uint_eq(fake.starts, 0);
}
END_TEST

/* Nothing was asked, so nothing is answered. */
START_TEST(test_silence) {
    struct client client;
    services->http.settings.head_s = 0.05;
    client_open(&client);
    await(client.ended);
    ck_assert(!client.reset);
    ck_assert_uint_eq(client.got.length, 0);
    client_close(&client);
}
END_TEST

START_TEST(test_idle) {
    struct client client;
    services->http.settings.idle_s = 0.1;
    client_open(&client);
    exchange(&client, GET("/healthz"), "200 OK", "ok\n");
    await(!list_is_empty(&services->http.idle));
    struct http_connection *idle =
        container_of(services->http.idle.next, struct http_connection, in_idle);
    ck_assert_ptr_null(idle->input);
    ck_assert_ptr_null(idle->output);
    await(client.ended);
    ck_assert(!client.reset);
    client_close(&client);
    ck_assert_uint_eq(services->connection_count, 0);
}
END_TEST

START_TEST(test_slow_script) {
    struct client client;
    services->http.settings.run_s = 0.05;
    fake.mode = FAKE_LATER;
    client_open(&client);
    exchange(&client, GET("/"), "503 Service Unavailable", "too long");
    ck_assert(got(&client, "Retry-After: 1\r\n"));
    ck_assert_uint_eq(fake.cancels, 1);
    /* The connection is as good as before. */
    text_clear(&client.got);
    fake.mode = FAKE_NOW;
    exchange(&client, GET("/"), "200 OK", "hello");
    client_close(&client);
}
END_TEST

/* The client asks for much and reads nothing. */
START_TEST(test_slow_reader) {
    struct client client;
    services->http.settings.write_s = 0.1;
    fake.body_bytes = 32u << 20;
    fake.body = calloc(1, fake.body_bytes);
    client_open(&client);
    ev_io_stop(loop, &client.io);
    client_send(&client, GET("/"));
    await(fake.starts == 1);
    ck_assert_uint_ge(services->http.answer_bytes, fake.body_bytes);
    await(services->connection_count == 0);
    ck_assert_uint_eq(services->http.answer_bytes, 0);
    client_close(&client);

    /* All answers together are bounded, too. */
    services->http.settings.answer_bytes = 1000;
    exchange_once(GET("/"), "503 Service Unavailable", "too many answers");
    free((char *)(uintptr_t)fake.body);
}
END_TEST

/* A large answer arrives whole. */
START_TEST(test_large_answer) {
    struct client client;
    fake.body_bytes = 8u << 20;
    char *body = malloc(fake.body_bytes);
    for (size_t i = 0; i < fake.body_bytes; i++) {
        body[i] = (char)('a' + i % 25);
    }
    fake.body = body;
    client_open(&client);
    client_send(&client, "GET / HTTP/1.0\r\n\r\n");
    await(client.ended);
    ck_assert_uint_gt(client.got.length, fake.body_bytes);
    ck_assert(
        memcmp(client.got.bytes + client.got.length - fake.body_bytes, body, fake.body_bytes) == 0);
    free(body);
    client_close(&client);
}
END_TEST

/* ---- limits ---- */

START_TEST(test_idle_makes_room) {
    struct client old, young, third;
    services->settings.max_connections = 2;
    client_open(&old);
    exchange(&old, GET("/healthz"), "200 OK", "ok\n");
    client_open(&young);
    exchange(&young, GET("/healthz"), "200 OK", "ok\n");
    client_open(&third);
    exchange(&third, GET("/healthz"), "200 OK", "ok\n");
    await(old.ended);
    ck_assert(!young.ended);
    ck_assert_uint_eq(services->connection_count, 2);
    client_close(&old);
    client_close(&young);
    client_close(&third);
}
END_TEST

/* Nobody is idle: the newcomer is told, also while it sends. */
static void turn_away_story(void) {
    struct client busy, late;
    fake.mode = FAKE_LATER;
    client_open(&busy);
    client_send(&busy, GET("/"));
    await(fake.done != NULL);
    client_open(&late);
    client_send(&late, GET("/healthz"));
    await(late.ended);
    ck_assert(!late.reset);
    ck_assert(got(&late, "HTTP/1.1 503 Service Unavailable\r\n"));
    ck_assert(got(&late, "Connection: close\r\n"));
    client_close(&late);
    await(services->turned_away_count == 0);
    ck_assert_uint_eq(services->connection_count, 1);
    ck_assert_uint_eq(counter_get(&row_of(0)->ended[REASON_LIMIT]), 1);
    ck_assert_uint_eq(counter_get(&row_of(0)->sessions_total), 1);
    fake_answer();
    await(got(&busy, "hello"));
    client_close(&busy);
}

START_TEST(test_too_many) {
    services->settings.max_connections = 1;
    turn_away_story();
}
END_TEST

START_TEST(test_max_sessions) {
    stages[0].configs[0].max_sessions = 1;
    turn_away_story();
}
END_TEST

START_TEST(test_out_of_descriptors) {
    struct client waiting, client;
    struct rlimit before, none;
    client_open(&waiting);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    await(ev_is_active(&services->pause));
    ck_assert_uint_eq(counter_get(&row_of(0)->ended[REASON_OUT_OF_DESCRIPTORS]), 1);
    /* Turning on without a pause would count hundreds here. */
    uint64_t until_ms = clock_monotonic_ms() + 250;
    await(clock_monotonic_ms() >= until_ms);
    ck_assert_uint_le(counter_get(&row_of(0)->ended[REASON_OUT_OF_DESCRIPTORS]), 4);
    ck_assert_uint_ge(counter_get(&row_of(0)->ended[REASON_OUT_OF_DESCRIPTORS]), 2);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    exchange(&waiting, GET("/healthz"), "200 OK", "ok\n");
    client_close(&waiting);
    client_open(&client);
    exchange(&client, GET("/healthz"), "200 OK", "ok\n");
    client_close(&client);
}
END_TEST

START_TEST(test_counters) {
    struct client client;
    client_open(&client);
    exchange(&client, GET("/"), "200 OK", "hello");
    size_t out = client.got.length;
    ck_assert_uint_eq(counter_get(&row_of(0)->sessions_total), 1);
    ck_assert_uint_eq(counter_get(&row_of(0)->sessions_closed), 0);
    client_close(&client);
    await(services->connection_count == 0);
    ck_assert_uint_eq(counter_get(&row_of(0)->sessions_closed), 1);
    ck_assert_uint_eq(counter_get(&row_of(0)->ended[REASON_DONE]), 1);
    ck_assert_uint_eq(counter_get(&row_of(0)->bytes_in), strlen(GET("/")));
    ck_assert_uint_eq(counter_get(&row_of(0)->bytes_out), out);
    struct listener_row sum = arena_listener_sum(control.arena, stages[0].listeners[0].facts);
    ck_assert_uint_eq(counter_get(&sum.sessions_total), 1);
}
END_TEST

/* ---- a new configuration ---- */

static void switch_to(struct stage *stage) {
    struct control_plan *old = control.plan;
    control.plan = &stage->plan;
    services_switch(services, old, control.plan);
}

/* The listener stays: what runs is cancelled, what is idle goes on with the new service. */
START_TEST(test_switch) {
    struct client idle, running;
    client_open(&idle);
    exchange(&idle, GET("/healthz"), "200 OK", "ok\n");
    text_clear(&idle.got);
    fake.mode = FAKE_LATER;
    client_open(&running);
    client_send(&running, GET("/"));
    await(fake.done != NULL);
    ck_assert_ptr_eq(fake.service, &service_marks[0]);

    switch_to(set_stage(1, 1));
    ck_assert_uint_eq(fake.cancels, 1);
    fake.mode = FAKE_NOW;
    await(got(&running, "HTTP/1.1 503 Service Unavailable\r\n") && got(&running, "ask again\n"));
    ck_assert(got(&running, "Retry-After: 1\r\n"));
    text_clear(&running.got);
    exchange(&running, GET("/"), "200 OK", "hello");
    exchange(&idle, GET("/"), "200 OK", "hello");
    ck_assert_ptr_eq(fake.service, &service_marks[1]);
    client_close(&idle);
    client_close(&running);
}
END_TEST

/* The listener goes: idle ones are closed, what runs gets its 503 and then the end, what is being
 * written is written to its end. */
START_TEST(test_switch_gone) {
    struct client idle, running, reading, stays;
    switch_to(set_stage(0, 2));
    client_open_at(&idle, 1);
    exchange(&idle, GET("/healthz"), "200 OK", "ok\n");
    fake.body_bytes = 8u << 20;
    char *body = calloc(1, fake.body_bytes);
    fake.body = body;
    client_open_at(&reading, 1);
    ev_io_stop(loop, &reading.io);
    client_send(&reading, GET("/"));
    await(fake.starts == 1);
    fake.mode = FAKE_LATER;
    client_open_at(&running, 1);
    client_send(&running, GET("/"));
    await(fake.done != NULL);
    client_open(&stays);
    exchange(&stays, GET("/healthz"), "200 OK", "ok\n");
    text_clear(&stays.got);

    switch_to(set_stage(1, 1));
    ck_assert_uint_eq(fake.cancels, 1);
    await(idle.ended && running.ended);
    ck_assert(!running.reset);
    ck_assert(got(&running, "HTTP/1.1 503 ") && got(&running, "Connection: close\r\n"));
    ev_io_start(loop, &reading.io);
    await(reading.ended);
    ck_assert(!reading.reset);
    ck_assert_uint_gt(reading.got.length, fake.body_bytes);
    exchange(&stays, GET("/healthz"), "200 OK", "ok\n");
    ck_assert_uint_eq(services->connection_count, 1);
    ck_assert_uint_eq(counter_get(&row_of(1)->sessions_total), 3);
    ck_assert_uint_eq(counter_get(&row_of(1)->sessions_closed), 3);
    ck_assert(services->listeners.next->next == &services->listeners); /* one is left */
    free(body);
    client_close(&idle);
    client_close(&running);
    client_close(&reading);
    client_close(&stays);
}
END_TEST

/* Nothing is accepted where nothing is configured, and it is again after the next switch. */
START_TEST(test_switch_and_back) {
    struct client client;
    switch_to(set_stage(1, 0));
    client_open(&client);
    client_send(&client, GET("/healthz"));
    ev_run(loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(services->connection_count, 0);
    switch_to(&stages[0]);
    await(got(&client, "ok\n"));
    client_close(&client);
}
END_TEST

/* The end comes while everything is under way. */
START_TEST(test_free_while_busy) {
    struct client idle, running, reading, refused;
    client_open(&idle);
    exchange(&idle, GET("/healthz"), "200 OK", "ok\n");
    client_open(&refused);
    exchange(&refused, "no\r\n", "400 Bad Request", "400 Bad Request\n");
    client_open(&reading);
    client_send(&reading, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n1");
    fake.mode = FAKE_LATER;
    client_open(&running);
    client_send(&running, GET("/"));
    await(fake.done != NULL);
    services_free(services);
    ck_assert_uint_eq(fake.cancels, 1);
    ck_assert_uint_eq(counter_get(&row_of(0)->sessions_total),
                      counter_get(&row_of(0)->sessions_closed));
    services = NULL;
    client_close(&idle);
    client_close(&running);
    client_close(&reading);
    client_close(&refused);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("bounds");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, test_drip);
    tcase_add_test(tests, test_slow_body);
    tcase_add_test(tests, test_silence);
    tcase_add_test(tests, test_idle);
    tcase_add_test(tests, test_slow_script);
    tcase_add_test(tests, test_slow_reader);
    tcase_add_test(tests, test_large_answer);
    tcase_add_test(tests, test_idle_makes_room);
    tcase_add_test(tests, test_too_many);
    tcase_add_test(tests, test_max_sessions);
    tcase_add_test(tests, test_out_of_descriptors);
    tcase_add_test(tests, test_counters);
    tcase_add_test(tests, test_switch);
    tcase_add_test(tests, test_switch_gone);
    tcase_add_test(tests, test_switch_and_back);
    tcase_add_test(tests, test_free_while_busy);
    return run_suite(tests);
}
