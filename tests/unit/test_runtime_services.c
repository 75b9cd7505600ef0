/* Services as scripts: what a request looks like to them, and what becomes of their answers. */
#include "runtime_stage.h"

#define ANSWER_WANTED "it must answer status, content type and body"
#define STATUS_WANTED "the status must be a whole number from 200 to 599"

struct served {
    struct service_run *run;
    uint32_t answers;
    uint32_t status;
    char content_type[256];
    struct text body;
};

static struct served served;

static void on_served(void *argument, uint32_t status, const char *content_type, const char *body,
                      size_t body_bytes) {
    struct served *to = argument;
    to->answers++;
    to->status = status;
    snprintf(to->content_type, sizeof(to->content_type), "%s", content_type);
    text_append(&to->body, body, body_bytes);
}

static const char *const header_names[] = {"host", "user-agent"};
static const char *const header_values[] = {"example.org", "me"};

static const struct service_request plain_request = {
    .method = "POST",
    .path = "/a%20b",
    .query = "q=1&r=%20",
    .client = "198.51.100.7",
    .header_count = 2,
    .header_names = header_names,
    .header_values = header_values,
    .body = "a\0b",
    .body_bytes = 3,
};

static struct service *service_of(const char *body) {
    struct listener_config listener = {.name = (char *)(uintptr_t) "web", .pool = -1};
    listener.service = stage_script("service", "serve", body);
    struct service *service = scripting->service_new(f.host, &listener, &f.messages);
    ck_assert_msg(service != NULL, "%s", fixture_said(&f));
    return service;
}

static void serve_into(struct served *to, struct service *service,
                       const struct service_request *request, uint32_t timeout_ms) {
    text_free(&to->body);
    *to = (struct served){0};
    ev_now_update(loop);
    to->run = scripting->service_start(service, request, timeout_ms, on_served, to);
    ck_assert_ptr_nonnull(to->run);
}

static void serve(const char *body, uint32_t timeout_ms) {
    serve_into(&served, service_of(body), &plain_request, timeout_ms);
}

static void assert_served(const struct served *by, uint32_t status, const char *content_type,
                          const char *body) {
    await(by->answers > 0);
    ck_assert_uint_eq(by->answers, 1);
    ck_assert_str_eq(by->body.bytes != NULL ? by->body.bytes : "", body);
    ck_assert_uint_eq(by->status, status);
    ck_assert_str_eq(by->content_type, content_type);
}

static void open_all(void) {
    stage_open();
}

static void close_all(void) {
    text_free(&served.body);
    stage_close();
}

/* ---- what a script may answer ---- */

START_TEST(an_answer_travels_whole) {
    serve("return 200, 'text/html; charset=utf-8', '<p>hello'", LONG_MS);
    ck_assert_uint_eq(served.answers, 1); /* before the start returned */
    assert_served(&served, 200, "text/html; charset=utf-8", "<p>hello");
    serve("net.sleep(0.001) return 404, 'text/plain', 'not here', 'more', {}", LONG_MS);
    assert_served(&served, 404, "text/plain", "not here");
    ck_assert_uint_eq(stage_errors(), 0);
}
END_TEST

START_TEST(a_body_may_be_anything) {
    serve("return 200, 'a/b', ''", LONG_MS);
    assert_served(&served, 200, "a/b", "");
    serve("return 200, 'a/b', 'x\\0y'", LONG_MS);
    await(served.answers == 1);
    ck_assert_uint_eq(served.body.length, 3);
    ck_assert_mem_eq(served.body.bytes, "x\0y", 3);
    serve("return 200, 'a/b', ('0123456789abcdef'):rep(262144)", LONG_MS);
    await(served.answers == 1);
    ck_assert_uint_eq(served.body.length, 4 << 20);
    ck_assert_mem_eq(served.body.bytes + (4 << 20) - 16, "0123456789abcdef", 16);
}
END_TEST

START_TEST(a_body_may_come_in_pieces) {
    serve("return 200, 'a/b', {'x\\0', '', 'y', ('z'):rep(3)}", LONG_MS);
    await(served.answers == 1);
    ck_assert_uint_eq(served.body.length, 6);
    ck_assert_mem_eq(served.body.bytes, "x\0yzzz", 6);
    serve("local t = {} for i = 1, 100000 do t[i] = '0123456789' end net.sleep(0) "
          "return 200, 'a/b', t",
          LONG_MS);
    await(served.answers == 1);
    ck_assert_uint_eq(served.body.length, 1000000);
    ck_assert_uint_eq(stage_errors(), 0);
}
END_TEST

static const struct {
    const char *body;
    uint32_t status;   /* 0 = it failed */
    const char *error; /* counted and logged; NULL = none */
} answers[] = {
    {"return 200, 'a/b', 'x'", 200, NULL},
    {"return 204, 'a/b', 'x'", 204, NULL},
    {"return 599, 'a/b', 'x'", 599, NULL},
    /* a status that cannot be sent */
    {"return 99, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 199, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 600, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 0, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return -200, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 200.5, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 1e300, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 0/0, 'a/b', 'x'", 0, STATUS_WANTED},
    {"return 4294967496, 'a/b', 'x'", 0, STATUS_WANTED}, /* 200 in 32 bits */
    /* wrong types */
    {"", 0, ANSWER_WANTED},
    {"return nil", 0, ANSWER_WANTED},
    {"return 200", 0, ANSWER_WANTED},
    {"return 200, 'a/b'", 0, ANSWER_WANTED},
    {"return 200, 'a/b', nil", 0, ANSWER_WANTED},
    {"return 200, 'a/b', 5", 0, ANSWER_WANTED},
    {"return 200, 'a/b', {}", 0, ANSWER_WANTED},
    {"return 200, 'a/b', {'x'}", 200, NULL},
    {"return 200, 'a/b', {'x', 5}", 0, ANSWER_WANTED},
    {"return 200, 'a/b', {'x', {}}", 0, ANSWER_WANTED},
    {"return 200, 'a/b', setmetatable({}, {__index = {'x'}})", 0, ANSWER_WANTED},
    {"return 200, nil, 'x'", 0, ANSWER_WANTED},
    {"return 200, 5, 'x'", 0, ANSWER_WANTED},
    {"return '200', 'a/b', 'x'", 0, ANSWER_WANTED},
    {"return 'a/b', 200, 'x'", 0, ANSWER_WANTED},
    {"return {200, 'a/b', 'x'}", 0, ANSWER_WANTED},
    /* errors */
    {"error('boom')", 0, "./mine.lua:2: boom"},
    {"error({})", 0, "(the error is a table, not a message)"},
    {"error()", 0, "(an error without a message)"},
    {"return asked.nothing.there", 0,
     "./mine.lua:2: attempt to index field 'nothing' (a nil value)"},
    {"coroutine.yield(200, 'a/b', 'x')", 0, "it yielded, but not to alacrity.net"},
};

static void assert_answer(int i, const char *before) {
    char body[512];
    snprintf(body, sizeof(body), "%s%s", before, answers[i].body);
    serve(body, LONG_MS);
    if (answers[i].status != 0) {
        assert_served(&served, answers[i].status, "a/b", "x");
    } else {
        assert_served(&served, 0, "", "");
    }
    ck_assert_str_eq(stage_last_error(), answers[i].error != NULL ? answers[i].error : "");
    ck_assert_uint_eq(stage_errors(), answers[i].error != NULL);
}

START_TEST(an_answer_at_once) {
    assert_answer(_i, "");
}
END_TEST

START_TEST(an_answer_after_waiting) {
    assert_answer(_i, "net.sleep(0.001) ");
}
END_TEST

/* ---- the other ends ---- */

#define OPEN_ONE "local s = net.connect('%s') s:send('hello') "

static void serve_connected(const char *rest, uint32_t timeout_ms) {
    char body[512];
    int length = snprintf(body, sizeof(body), OPEN_ONE "%s", server.text, rest);
    ck_assert_int_lt(length, (int)sizeof(body));
    serve(body, timeout_ms);
    await(server.count == 1 && peer_got(&server.peers[0], "hello"));
}

START_TEST(a_service_may_ask_others) {
    serve_connected("return 200, 'a/b', (s:receive_line())", LONG_MS);
    peer_send(&server.peers[0], "from the backend\n");
    assert_served(&served, 200, "a/b", "from the backend");
    await(server.peers[0].ended);
}
END_TEST

START_TEST(there_is_no_backend_to_connect_to) {
    serve("net.connect(asked)", LONG_MS);
    assert_served(&served, 0, "", "");
    ck_assert_str_eq(stage_last_error(), "./mine.lua:2: bad argument #1 to 'connect' (the backend "
                                         "that is checked, or an address as text)");
}
END_TEST

START_TEST(the_deadline_is_a_failure) {
    uint32_t before = descriptors_open();
    serve_connected("s:receive(1) return 200, 'a/b', 'x'", 500);
    assert_served(&served, 0, "", "");
    await(server.peers[0].ended);
    ck_assert_uint_eq(descriptors_open(), before + 1); /* the peer's own end */
}
END_TEST

START_TEST(a_cancelled_request_is_never_answered) {
    struct served other = {0};
    uint32_t before = descriptors_open();
    serve_connected("return 200, 'a/b', (s:receive_line())", 500);
    peer_send(&server.peers[0], "too late\n");
    scripting->service_cancel(served.run);
    ck_assert_uint_eq(descriptors_open(), before + 1);
    serve_into(&other, service_of("net.sleep(80000)"), &plain_request, 550);
    assert_served(&other, 0, "", ""); /* its deadline came after the other's */
    ck_assert_uint_eq(served.answers, 0);
    text_free(&other.body);
}
END_TEST

START_TEST(freeing_the_host_answers_nobody) {
    uint32_t before = descriptors_open();
    serve_connected("s:receive(1) return 200, 'a/b', 'x'", LONG_MS);
    scripting->host_free(f.host);
    f.host = scripting->host_new(&f.snapshot, f.arena, loop, NULL, 0, &f.messages);
    await(server.peers[0].ended);
    ck_assert_uint_eq(descriptors_open(), before + 1);
    ck_assert_uint_eq(served.answers, 0);
}
END_TEST

/* ---- the request ---- */

#define SAY(expression) "return 200, 'a/b', show(" expression ")"

START_TEST(a_request_is_seen_as_it_was_sent) {
    serve(SAY("asked.method, asked.path, asked.query, asked.client, #asked.body, "
              "asked.body == 'a\\0b', asked.headers.host, asked.headers['user-agent'], "
              "asked.headers.accept, type(self)"),
          LONG_MS);
    assert_served(&served, 200, "a/b",
                  "POST /a%20b q=1&r=%20 198.51.100.7 3 true example.org me nil table");
}
END_TEST

START_TEST(a_bare_request_has_all_its_fields) {
    static const struct service_request bare = {
        .method = "GET", .path = "/", .query = "", .client = "unix", .body = ""};
    serve_into(&served,
               service_of(SAY("asked.method, asked.path, asked.query == '', asked.client, "
                              "asked.body == '', next(asked.headers)")),
               &bare, LONG_MS);
    assert_served(&served, 200, "a/b", "GET / true unix true nil");
}
END_TEST

START_TEST(a_request_has_nothing_more) {
    serve("local keys = {} for k in pairs(asked) do keys[#keys + 1] = k end table.sort(keys) "
          "return 200, 'a/b', table.concat(keys, ' ')",
          LONG_MS);
    assert_served(&served, 200, "a/b", "body client headers method path query");
}
END_TEST

/* A script may keep and change its request: it is a copy. */
START_TEST(a_request_is_the_runs_own) {
    struct service *service = service_of(
        "if kept.r then return 200, 'a/b', show(kept.r.path, kept.r.headers.host, asked.path) end "
        "kept.r = asked asked.path = 'changed' return 200, 'a/b', 'kept'");
    char path[] = "/first", host[] = "one.example";
    const char *const values[] = {host, "me"};
    struct service_request request = plain_request;
    request.path = path;
    request.header_values = values;
    serve_into(&served, service, &request, LONG_MS);
    assert_served(&served, 200, "a/b", "kept");
    memset(path, 'x', strlen(path));
    memset(host, 'x', strlen(host));
    serve_into(&served, service, &plain_request, LONG_MS);
    assert_served(&served, 200, "a/b", "changed one.example /a%20b");
}
END_TEST

/* ---- many at once ---- */

START_TEST(requests_to_one_instance_do_not_mix) {
    struct served many[4] = {{0}};
    char body[512];
    snprintf(body, sizeof(body),
             "local s = net.connect('%s') s:send(asked.path .. '\\n') local line = "
             "s:receive_line() return 200, 'a/b', asked.path .. line",
             server.text);
    struct service *service = service_of(body);
    static const char *const paths[] = {"/0", "/1", "/2", "/3"};
    for (int i = 0; i < 4; i++) {
        struct service_request request = plain_request;
        request.path = paths[i];
        serve_into(&many[i], service, &request, LONG_MS); /* pushed before this returns */
    }
    for (uint32_t i = 0; i < 4; i++) {
        await(server.count == 4 && server.peers[i].got.length == 3);
    }
    for (uint32_t i = 4; i-- > 0;) {
        char line[8];
        snprintf(line, sizeof(line), "=%c\n", server.peers[i].got.bytes[1]);
        peer_send(&server.peers[i], line);
    }
    for (int i = 0; i < 4; i++) {
        char expected[8];
        snprintf(expected, sizeof(expected), "/%d=%d", i, i);
        assert_served(&many[i], 200, "a/b", expected);
        text_free(&many[i].body);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime: services");
    TCase *tests = tcase_create("services");
    const int count = (int)(sizeof(answers) / sizeof(answers[0]));
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, open_all, close_all);
    tcase_add_test(tests, an_answer_travels_whole);
    tcase_add_test(tests, a_body_may_be_anything);
    tcase_add_test(tests, a_body_may_come_in_pieces);
    tcase_add_loop_test(tests, an_answer_at_once, 0, count);
    tcase_add_loop_test(tests, an_answer_after_waiting, 0, count);
    tcase_add_test(tests, a_service_may_ask_others);
    tcase_add_test(tests, there_is_no_backend_to_connect_to);
    tcase_add_test(tests, the_deadline_is_a_failure);
    tcase_add_test(tests, a_cancelled_request_is_never_answered);
    tcase_add_test(tests, freeing_the_host_answers_nobody);
    tcase_add_test(tests, a_request_is_seen_as_it_was_sent);
    tcase_add_test(tests, a_bare_request_has_all_its_fields);
    tcase_add_test(tests, a_request_has_nothing_more);
    tcase_add_test(tests, a_request_is_the_runs_own);
    tcase_add_test(tests, requests_to_one_instance_do_not_mix);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
