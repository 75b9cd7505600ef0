/* Services, one request after the other: what C answers itself, what the script is asked and how
 * its answer travels, and what is refused. */
#include "tests/unit/services_stage.h"

#define COMMON "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"

static bool got_all(const struct client *client, const char *all) {
    return client->got.bytes != NULL && strcmp(client->got.bytes, all) == 0;
}

/* ---- what C answers itself ---- */

START_TEST(test_healthz) {
    struct client client;
    client_open(&client);
    client_send(&client, GET("/healthz?x"));
    await(got_all(&client, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                           "Content-Length: 3\r\n" COMMON "ok\n"));
    client_close(&client);
    exchange_once("HEAD /healthz HTTP/1.1\r\n" HOST "\r\n", "200 OK", "Content-Length: 3\r\n");
    exchange_once("POST /healthz HTTP/1.1\r\n" HOST "\r\n", "405 Method Not Allowed",
                  "Allow: GET, HEAD\r\n");
    control.draining = true;
    exchange_once(GET("/healthz"), "503 Service Unavailable", "draining\n");
    ck_assert_uint_eq(fake.starts, 0);
}
END_TEST

static uint64_t fake_beats[2];
static uint64_t fake_heartbeat(const struct worker *worker) {
    return *(const uint64_t *)(const void *)worker;
}

START_TEST(test_livez) {
    struct worker *workers[] = {(struct worker *)&fake_beats[0], (struct worker *)&fake_beats[1]};
    services->settings.heartbeat_ms = fake_heartbeat;
    control.workers = workers;
    control.worker_count = 2;
    fake_beats[0] = clock_monotonic_ms() + 5; /* ahead of our reading: not old */
    fake_beats[1] = clock_monotonic_ms();
    exchange_once(GET("/livez"), "200 OK", "\r\n\r\nok\n");
    fake_beats[1] -= 3000;
    exchange_once(GET("/livez"), "503 Service Unavailable", "worker 1 ");
    ck_assert_uint_eq(fake.starts, 0);
}
END_TEST

START_TEST(test_no_service) {
    stages[0].listeners[0].service = NULL;
    exchange_once(GET("/"), "404 Not Found", "/healthz");
    exchange_once(GET("/healthz"), "200 OK", "ok\n");
}
END_TEST

/* ---- asking the script ---- */

START_TEST(test_script_request) {
    exchange_once("POST /a%20b?q=1 HTTP/1.1\r\n" HOST "User-AGENT: me \r\nContent-Length: 5\r\n\r\n"
                  "12345",
                  "200 OK", "\r\n\r\nhello");
    ck_assert_str_eq(fake.method, "POST");
    ck_assert_str_eq(fake.path, "/a%20b");
    ck_assert_str_eq(fake.query, "q=1");
    ck_assert_str_eq(fake.client, "127.0.0.1");
    ck_assert_str_eq(fake.agent, "me");
    ck_assert_uint_eq(fake.headers, 3);
    ck_assert_uint_eq(fake.got_bytes, 5);
    ck_assert_mem_eq(fake.body_got, "12345", 5);
    ck_assert_uint_eq(fake.timeout_ms, 10000);
}
END_TEST

START_TEST(test_script_answers) {
    exchange_once("PUT / HTTP/1.1\r\n" HOST "\r\n", "405 Method Not Allowed",
                  "Allow: GET, HEAD, POST\r\n");
    exchange_once("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "405 Method Not Allowed", "use GET");
    ck_assert_uint_eq(fake.starts, 0);

    fake.status = 0;
    exchange_once(GET("/"), "500 Internal Server Error", "failed");
    fake.status = 99;
    exchange_once(GET("/"), "500 Internal Server Error", "cannot be sent");
    fake.status = 200;
    fake.content_type = "text/html\r\nX: y";
    exchange_once(GET("/"), "500 Internal Server Error", "cannot be sent");
    fake.content_type = NULL;
    exchange_once(GET("/"), "200 OK", "text/plain");
    fake.mode = FAKE_NULL;
    exchange_once(GET("/"), "500 Internal Server Error", "failed");
}
END_TEST

START_TEST(test_no_content) {
    struct client client;
    client_open(&client);
    fake.status = 204;
    client_send(&client, GET("/"));
    await(got_all(&client, "HTTP/1.1 204 No Content\r\n" COMMON));
    client_close(&client);
}
END_TEST

START_TEST(test_head) {
    struct client client;
    client_open(&client);
    client_send(&client, "HEAD / HTTP/1.1\r\n" HOST "\r\n" GET("/healthz"));
    await(got_all(&client,
                  "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n" COMMON
                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                  "Content-Length: 3\r\n" COMMON "ok\n"));
    ck_assert_str_eq(fake.method, "HEAD");
    client_close(&client);
}
END_TEST

START_TEST(test_old_keep_alive) {
    struct client client;
    client_open(&client);
    exchange(&client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200 OK",
             "Connection: keep-alive\r\n");
    await(got(&client, "hello"));
    text_clear(&client.got);
    exchange(&client, "GET / HTTP/1.0\r\n\r\n", "200 OK", "Connection: close\r\n");
    await(client.ended);
    ck_assert(!client.reset);
    client_close(&client);
}
END_TEST

/* Requests sent at once are answered one at a time, in order, also across a slow one. */
START_TEST(test_pipeline) {
    struct client client;
    fake.mode = FAKE_LATER;
    client_open(&client);
    client_send(&client,
                GET("/1") GET("/healthz") GET("/2") "GET /3 HTTP/1.1\r\nConnection: close\r\n" HOST
                                                    "\r\n" GET("/never"));
    await(fake.done != NULL);
    ck_assert_str_eq(fake.path, "/1");
    ck_assert(client.got.length == 0);
    fake.body = "one";
    fake_answer();
    await(fake.done != NULL);
    ck_assert_str_eq(fake.path, "/2");
    await(got(&client, "one") && got(&client, "ok\n"));
    fake.body = "two";
    fake_answer();
    await(fake.done != NULL);
    ck_assert_str_eq(fake.path, "/3");
    fake.body = "three";
    fake_answer();
    await(client.ended);
    ck_assert(!client.reset);
    const char *one = strstr(client.got.bytes, "one"), *ok = strstr(client.got.bytes, "ok\n"),
               *two = strstr(client.got.bytes, "two"), *three = strstr(client.got.bytes, "three");
    ck_assert(one != NULL && one < ok && ok < two && two < three);
    ck_assert_uint_eq(fake.starts, 3);
    client_close(&client);
}
END_TEST

/* More in one go than one turn answers. */
START_TEST(test_long_pipeline) {
    struct text requests = {0};
    struct client client;
    for (uint32_t i = 0; i < 200; i++) {
        text_string(&requests, GET("/healthz"));
    }
    text_string(&requests, "GET / HTTP/1.0\r\n\r\n");
    client_open(&client);
    client_send(&client, requests.bytes);
    await(client.ended);
    uint32_t answers = 0;
    for (const char *at = client.got.bytes; (at = strstr(at, "\r\n\r\nok\n")) != NULL; at++) {
        answers++;
    }
    ck_assert_uint_eq(answers, 200);
    ck_assert(got(&client, "hello"));
    text_free(&requests);
    client_close(&client);
}
END_TEST

/* The largest head and the largest body there may be, in small pieces, then the next request. */
START_TEST(test_large_request) {
    struct text request = {0};
    struct client client;
    text_string(&request, "POST / HTTP/1.1\r\n" HOST "Content-Length: 65536\r\nX: ");
    while (request.length < HTTP_HEAD_BYTES - 4) {
        text_string(&request, "x");
    }
    text_string(&request, "\r\n\r\n");
    for (uint32_t i = 0; i < HTTP_BODY_BYTES; i++) {
        char c = (char)('a' + i % 23);
        text_append(&request, &c, 1);
    }
    text_string(&request, GET("/healthz"));
    client_open(&client);
    for (size_t at = 0; at < request.length; at += 1009) {
        size_t rest = request.length - at, piece = rest < 1009 ? rest : 1009;
        ck_assert_int_eq(send(client.descriptor, request.bytes + at, piece, 0), piece);
        ev_run(loop, EVRUN_NOWAIT);
    }
    await(got(&client, "hello") && got(&client, "ok\n"));
    ck_assert_uint_eq(fake.got_bytes, HTTP_BODY_BYTES);
    ck_assert_mem_eq(fake.body_got, request.bytes + HTTP_HEAD_BYTES, HTTP_BODY_BYTES);
    text_free(&request);
    client_close(&client);
}
END_TEST

START_TEST(test_continue) {
    struct client client;
    client_open(&client);
    client_send(&client,
                "POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    await(got_all(&client, "HTTP/1.1 100 Continue\r\n\r\n"));
    client_send(&client, "hi");
    await(got(&client, "hello"));
    ck_assert_mem_eq(fake.body_got, "hi", 2);
    client_close(&client);
    exchange_once("POST / HTTP/1.1\r\n" HOST "Expect: wonders\r\nContent-Length: 2\r\n\r\n",
                  "417 Expectation Failed", "Connection: close\r\n");
    exchange_once("PUT / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
                  "405 Method Not Allowed", "Connection: close\r\n");
}
END_TEST

/* ---- refusing ---- */

/* The client is still sending when it is refused; it must be able to read why. */
START_TEST(test_refusal_is_readable) {
    struct client client;
    client_open(&client);
    client_send(&client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999\r\n\r\n");
    struct text body = {0};
    for (uint32_t i = 0; i < 99999; i++) {
        text_string(&body, "x");
    }
    client_send(&client, body.bytes);
    await(got(&client, "413 Content Too Large\n"));
    await(client.ended);
    ck_assert(!client.reset);
    ck_assert(got(&client, "Connection: close\r\n"));
    text_free(&body);
    client_close(&client);
    await(services->connection_count == 0);
}
END_TEST

/* It goes on sending for ever: after a bounded amount we do not listen any more. */
START_TEST(test_linger_is_bounded) {
    struct client client;
    static char junk[65536];
    services->http.settings.linger_bytes = 100000;
    services->http.settings.linger_s = 1000.;
    client_open(&client);
    client_send(&client, "no\r\n");
    await(client.ended);
    ck_assert_uint_eq(services->connection_count, 1);
    int flags = fcntl(client.descriptor, F_GETFL);
    ck_assert_int_eq(fcntl(client.descriptor, F_SETFL, flags | O_NONBLOCK), 0);
    while (services->connection_count > 0) {
        if (send(client.descriptor, junk, sizeof(junk), MSG_NOSIGNAL) < 0) {
            ck_assert(errno == EAGAIN || errno == ECONNRESET || errno == EPIPE);
        }
        ev_run(loop, EVRUN_NOWAIT);
    }
    client_close(&client);
}
END_TEST

/* It keeps the connection open and says nothing more. */
START_TEST(test_linger_ends) {
    struct client client;
    services->http.settings.linger_s = 0.05;
    client_open(&client);
    client_send(&client, "no\r\n");
    await(client.ended);
    ck_assert_uint_eq(services->connection_count, 1);
    await(services->connection_count == 0);
    client_close(&client);
}
END_TEST

START_TEST(test_bad_requests) {
    exchange_once("\r\n", "400 Bad Request", "400 Bad Request\n");
    exchange_once("GET / HTTP/9.9\r\n" HOST "\r\n", "505 HTTP Version Not Supported", "505 ");
    exchange_once("\x16\x03\x01", "400 Bad Request", "Connection: close\r\n");
    exchange_once("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
                  "411 Length Required", "411 Length Required\n");
    ck_assert_uint_eq(fake.starts, 0);
}
END_TEST

/* It stops in the middle of a request, but still listens. */
START_TEST(test_half_a_request) {
    struct client client;
    client_open(&client);
    client_send(&client, "GET / HT");
    shutdown(client.descriptor, SHUT_WR);
    await(client.ended);
    ck_assert(got(&client, "HTTP/1.1 400 Bad Request\r\n"));
    client_close(&client);

    client_open(&client);
    client_send(&client, GET("/"));
    shutdown(client.descriptor, SHUT_WR);
    await(client.ended);
    ck_assert(got(&client, "HTTP/1.1 200 OK\r\n") && got(&client, "hello"));
    ck_assert_uint_eq(fake.starts, 1);
    client_close(&client);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("requests");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, test_healthz);
    tcase_add_test(tests, test_livez);
    tcase_add_test(tests, test_no_service);
    tcase_add_test(tests, test_script_request);
    tcase_add_test(tests, test_script_answers);
    tcase_add_test(tests, test_no_content);
    tcase_add_test(tests, test_head);
    tcase_add_test(tests, test_old_keep_alive);
    tcase_add_test(tests, test_pipeline);
    tcase_add_test(tests, test_long_pipeline);
    tcase_add_test(tests, test_large_request);
    tcase_add_test(tests, test_continue);
    tcase_add_test(tests, test_refusal_is_readable);
    tcase_add_test(tests, test_linger_is_bounded);
    tcase_add_test(tests, test_linger_ends);
    tcase_add_test(tests, test_bad_requests);
    tcase_add_test(tests, test_half_a_request);
    return run_suite(tests);
}
