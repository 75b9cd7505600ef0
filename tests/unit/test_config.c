/* Configurations: what is written arrives in the snapshot, what is not has its default, and every
 * mistake is reported where it stands. Run from the top of the tree: reads tests/cases/bad and
 * examples. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/document.h"
#include "config/schema.h"
#include "config/snapshot.h"

#define POOL "pools: {app: {backends: {a: \"127.0.0.1:9001\"}}}\n"

static const char *const *stock_names(const char *folder) {
    static const char *const policies[] = {"round-robin", "least-conn", "random", "p2c",
                                           "source-hash", "first",      NULL};
    static const char *const checks[] = {"tcp", "http", NULL};
    static const char *const services[] = {"stats", NULL};
    static const char *const routes[] = {"sni", "protocol", "rate-limit", NULL};

    return strcmp(folder, "policies") == 0 ? policies
           : strcmp(folder, "checks") == 0 ? checks
           : strcmp(folder, "routes") == 0 ? routes
                                           : services;
}

static struct messages messages;

static void set_up(void) {
    config_stock_names = stock_names;
}

static void tear_down(void) {
    messages_free(&messages);
}

static struct snapshot *parse(const char *text) {
    return snapshot_parse(text, strlen(text), "test.yaml", &messages);
}

static struct snapshot *parse_good(const char *text) {
    struct snapshot *snapshot = parse(text);

    ck_assert_msg(snapshot != NULL, "refused: %s", messages.text.bytes);
    ck_assert_uint_eq(messages.count, 0);
    return snapshot;
}

/* The only message must be exactly this. */
static void refuse(const char *text, const char *expected) {
    ck_assert_ptr_null(parse(text));
    ck_assert_str_eq(messages.text.bytes, expected);
    ck_assert_uint_eq(messages.count, 1);
    messages_free(&messages);
}

START_TEST(defaults_fill_what_is_not_written) {
    struct snapshot *s = parse_good("listeners: {web: {bind: \"*:8080\", pool: app}}\n" POOL);
    const struct pool_config *pool = &s->pools[0];
    const struct listener_config *listener = &s->listeners[0];

    ck_assert_str_eq(s->file, "test.yaml");
    ck_assert_uint_ge(s->workers, 1);
    ck_assert_uint_le(s->workers, 63);
    ck_assert_uint_eq(s->timeouts.connect_ms, 5000);
    ck_assert_uint_eq(s->timeouts.idle_ms, 300000);
    ck_assert_uint_eq(s->timeouts.session_ms, 0);
    ck_assert_uint_eq(s->timeouts.drain_ms, 30000);
    ck_assert_uint_eq(s->max_sessions, 100000);
    ck_assert_str_eq(s->admin_socket, "/run/alacrity/admin.sock");
    ck_assert(!s->admin_socket_explicit);
    ck_assert_ptr_null(s->user);
    ck_assert_str_eq(s->log.target, "stderr");
    ck_assert_int_eq(s->log.format, LOG_TEXT);
    ck_assert_int_eq(s->log.level, LOG_INFO);
    ck_assert(!s->log_sessions);
    ck_assert(s->splice);
    ck_assert(s->lua.jit);
    ck_assert_uint_eq(s->lua.pick_budget_ms, 10);
    ck_assert_uint_eq(s->lua.budget_ms, 100);
    ck_assert_uint_eq(s->lua.memory_bytes, 64u << 20);
    ck_assert_uint_eq(s->lua.path_count, 0);

    ck_assert_uint_eq(s->pool_count, 1);
    ck_assert_str_eq(pool->policy.name, "round-robin");
    ck_assert_ptr_null(pool->policy.path);
    ck_assert_ptr_null(pool->policy.with);
    ck_assert_str_eq(pool->fallback, "round-robin");
    ck_assert(!pool->check.enabled);
    ck_assert_uint_eq(pool->retries, 3);
    ck_assert_uint_eq(pool->suspect_after, 3);
    ck_assert_uint_eq(pool->timeouts.connect_ms, 5000);
    ck_assert_uint_eq(pool->timeouts.idle_ms, 300000);
    ck_assert_uint_eq(pool->backend_count, 1);
    ck_assert_str_eq(pool->backends[0].name, "a");
    ck_assert_str_eq(pool->backends[0].address_text, "127.0.0.1:9001");
    ck_assert_uint_eq(address_port(&pool->backends[0].address), 9001);
    ck_assert_uint_eq(pool->backends[0].weight, 1);
    ck_assert_uint_eq(pool->backends[0].max_sessions, 0);
    ck_assert_ptr_null(pool->backends[0].zone);
    ck_assert_uint_eq(pool->backends[0].tag_count, 0);
    ck_assert_ptr_null(pool->zone);
    ck_assert_uint_eq(s->zone_count, 0);
    ck_assert_uint_eq(s->tag_count, 0);

    ck_assert_uint_eq(s->listener_count, 1);
    ck_assert_int_eq(listener->pool, 0);
    ck_assert_ptr_null(listener->service.name);
    ck_assert_uint_eq(listener->bind_count, 1);
    ck_assert_uint_eq(listener->max_sessions, 0);
    ck_assert_uint_eq(listener->backlog, 4096);
    ck_assert_uint_eq(listener->timeouts.idle_ms, 300000);
    ck_assert_uint_eq(listener->timeouts.session_ms, 0);
    snapshot_release(s);
}
END_TEST

START_TEST(every_key_reaches_its_field) {
    struct snapshot *s = parse_good(
        "workers: 7\n"
        "user: root\n"
        "timeouts: {connect: 250ms, idle: 2h, session: 1d, drain: 0}\n"
        "limits: {sessions: 5}\n"
        "admin: {socket: /tmp/a.sock}\n"
        "log: {target: /tmp/a.log, format: json, level: error, sessions: yes}\n"
        "lua: {jit: off, pick_budget: 1ms, budget: 2s, memory: 1048576, path: [tests, lua]}\n"
        "zone: here\n"
        "pools:\n"
        "  p1: {backends: {x: unix:/run/x.sock}}\n"
        "  p2:\n"
        "    policy: {script: tests/unit/test_config.c, with: {k: 1}, fallback: reject,\n"
        "             on_error: fallback}\n"
        "    check: {type: http, with: {path: /}, interval: 1m, timeout: 2s, rise: 4, fall: 5}\n"
        "    retries: 0\n"
        "    suspect_after: 9\n"
        "    timeouts: {connect: 3ms}\n"
        "    zone: there\n"
        "    backends: {b: {address: localhost:80, weight: 0, max_sessions: 8, zone: far.away,\n"
        "                   tags: [ssd, canary-1]}, a: \"[::1]:1\"}\n"
        "listeners:\n"
        "  web: {bind: [127.0.0.1:80, \"[::1]:81\"], pool: p2, max_sessions: 6, backlog: 11,\n"
        "        timeouts: {idle: 0, session: 4s}}\n"
        "  page: {bind: unix:/run/y.sock, service: {name: stats, with: {title: T}}}\n"
        "splice: off\n");
    const struct pool_config *pool = &s->pools[1];
    const struct listener_config *web = &s->listeners[0], *page = &s->listeners[1];

    ck_assert_uint_eq(s->workers, 7);
    ck_assert_str_eq(s->user, "root");
    ck_assert_uint_eq(s->owner.user, 0);
    ck_assert_uint_eq(s->owner.group, 0);
    ck_assert_uint_eq(s->user_at.line, 2);
    ck_assert_uint_eq(s->user_at.column, 7);
    ck_assert_uint_eq(s->timeouts.connect_ms, 250);
    ck_assert_uint_eq(s->timeouts.idle_ms, 7200000);
    ck_assert_uint_eq(s->timeouts.session_ms, 86400000);
    ck_assert_uint_eq(s->timeouts.drain_ms, 0);
    ck_assert_uint_eq(s->max_sessions, 5);
    ck_assert_str_eq(s->admin_socket, "/tmp/a.sock");
    ck_assert(s->admin_socket_explicit);
    ck_assert_str_eq(s->log.target, "/tmp/a.log");
    ck_assert_int_eq(s->log.format, LOG_JSON);
    ck_assert_int_eq(s->log.level, LOG_ERROR);
    ck_assert(s->log_sessions);
    ck_assert(!s->splice);
    ck_assert(!s->lua.jit);
    ck_assert_uint_eq(s->lua.pick_budget_ms, 1);
    ck_assert_uint_eq(s->lua.budget_ms, 2000);
    ck_assert_uint_eq(s->lua.memory_bytes, 1048576);
    ck_assert_uint_eq(s->lua.path_count, 2);
    ck_assert_int_eq(s->lua.path[1][0], '/');
    ck_assert_str_eq(strrchr(s->lua.path[1], '/'), "/lua");

    ck_assert_str_eq(s->pools[0].name, "p1");
    ck_assert_str_eq(pool->name, "p2");
    ck_assert_uint_eq(pool->at.line, 11);
    ck_assert_uint_eq(pool->at.column, 3);
    ck_assert_str_eq(pool->policy.name, "tests/unit/test_config.c");
    ck_assert_str_eq(pool->policy.path, "tests/unit/test_config.c");
    ck_assert_str_eq(pool->policy.with->keys[0], "k");
    ck_assert_uint_eq(pool->policy.at.line, 12);
    ck_assert_str_eq(pool->fallback, "reject");
    ck_assert(pool->check.enabled);
    ck_assert_str_eq(pool->check.script.name, "http");
    ck_assert_str_eq(pool->check.script.with->items[0].string, "/");
    ck_assert_uint_eq(pool->check.interval_ms, 60000);
    ck_assert_uint_eq(pool->check.timeout_ms, 2000);
    ck_assert_uint_eq(pool->check.rise, 4);
    ck_assert_uint_eq(pool->check.fall, 5);
    ck_assert_uint_eq(pool->retries, 0);
    ck_assert_uint_eq(pool->suspect_after, 9);
    ck_assert_uint_eq(pool->timeouts.connect_ms, 3);
    ck_assert_str_eq(pool->backends[0].name, "b"); /* document order */
    ck_assert_uint_eq(pool->backends[0].address.length, 0);
    ck_assert_uint_eq(pool->backends[0].weight, 0);
    ck_assert_uint_eq(pool->backends[0].max_sessions, 8);
    ck_assert_str_eq(pool->backends[0].zone, "far.away");
    ck_assert_uint_eq(pool->backends[0].tag_count, 2);
    ck_assert_str_eq(pool->backends[0].tags[0], "ssd");
    ck_assert_str_eq(pool->backends[0].tags[1], "canary-1");
    ck_assert_ptr_null(pool->backends[1].zone);
    ck_assert_str_eq(s->zone, "here");
    ck_assert_str_eq(s->pools[0].zone, "here"); /* inherited */
    ck_assert_str_eq(pool->zone, "there");
    ck_assert_int_eq(pool->backends[1].address.any.sa_family, AF_INET6);

    ck_assert_int_eq(web->pool, 1);
    ck_assert_uint_eq(web->bind_count, 2);
    ck_assert_str_eq(web->binds[1].text, "[::1]:81");
    ck_assert_uint_eq(address_port(&web->binds[1].address), 81);
    ck_assert_uint_eq(web->max_sessions, 6);
    ck_assert_uint_eq(web->backlog, 11);
    ck_assert_uint_eq(web->timeouts.idle_ms, 0); /* a written 0 is not inherited over */
    ck_assert_uint_eq(web->timeouts.session_ms, 4000);
    ck_assert_int_eq(page->pool, -1);
    ck_assert_str_eq(page->service.name, "stats");
    ck_assert_str_eq(page->service.with->items[0].string, "T");
    ck_assert_uint_eq(page->timeouts.idle_ms, 7200000); /* the general one */
    snapshot_release(s);
}
END_TEST

START_TEST(routes_reach_their_fields) {
    struct snapshot *s = parse_good("timeouts: {route: 3s}\n"
                                    "listeners:\n"
                                    "  a: {bind: \"*:1\", route: sni, pool: app}\n"
                                    "  b: {bind: \"*:2\", timeouts: {route: 0},\n"
                                    "      route: {name: sni, with: {n: 1}}}\n"
                                    "  c: {bind: \"*:3\", pool: app}\n"
                                    "  d: {bind: \"*:4\", service: stats}\n" POOL);
    const struct listener_config *l = s->listeners;
    ck_assert_str_eq(l[0].route.name, "sni");
    ck_assert_int_eq(l[0].pool, 0);
    ck_assert_uint_eq(l[0].timeouts.route_ms, 3000);
    ck_assert_str_eq(l[1].route.name, "sni");
    ck_assert_str_eq(l[1].route.with->keys[0], "n");
    ck_assert_int_eq(l[1].pool, -1);
    ck_assert_uint_eq(l[1].timeouts.route_ms, 0);
    ck_assert_ptr_null(l[2].route.name);
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert(listener_relays(&l[i]) == (i < 3));
    }
    ck_assert(snapshot_has_routes(s));
    snapshot_release(s);
    s = parse_good("listeners: {c: {bind: \"*:3\", pool: app}}\n" POOL);
    ck_assert(!snapshot_has_routes(s));
    ck_assert_uint_eq(s->listeners[0].timeouts.route_ms, 5000);
    snapshot_release(s);
}
END_TEST

START_TEST(short_forms_mean_the_long_ones) {
    struct snapshot *s = parse_good("listeners: {l: {bind: \"*:1\", service: stats}}\n"
                                    "admin: {socket: off}\n"
                                    "pools:\n"
                                    "  a: {policy: p2c, check: tcp, backends: {x: \"h:1\"}}\n"
                                    "  b: {policy: {name: p2c}, check: {type: tcp},\n"
                                    "      backends: {x: {address: \"h:1\"}}}\n"
                                    "  c: {check: no, backends: {x: \"h:1\"}}\n");

    ck_assert_ptr_null(s->admin_socket);
    ck_assert(s->admin_socket_explicit);
    ck_assert_str_eq(s->listeners[0].service.name, "stats");
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_str_eq(s->pools[i].policy.name, "p2c");
        ck_assert(s->pools[i].check.enabled);
        ck_assert_str_eq(s->pools[i].check.script.name, "tcp");
        ck_assert_uint_eq(s->pools[i].check.interval_ms, 2000);
        ck_assert_str_eq(s->pools[i].backends[0].address_text, "h:1");
    }
    ck_assert(!s->pools[2].check.enabled);
    snapshot_release(s);
}
END_TEST

START_TEST(options_keep_types_order_and_places) {
    struct snapshot *s = parse_good(
        "pools:\n"
        "  app:\n"
        "    policy:\n"
        "      name: random\n"
        "      with: {z: yes, y: \"yes\", x: -1.5e3, w: ~, v: [1, {u: 0x10}], t: 2s, s: '5'}\n"
        "    backends: {a: \"127.0.0.1:1\"}\n");
    const struct value *with = s->pools[0].policy.with;
    const struct value *v = &with->items[4];

    ck_assert_int_eq(with->kind, VALUE_MAP);
    ck_assert_uint_eq(with->count, 7);
    ck_assert_str_eq(with->keys[0], "z");
    ck_assert_uint_eq(with->key_at[0].line, 5);
    ck_assert_uint_eq(with->key_at[0].column, 14);
    ck_assert_str_eq(with->key_at[0].file, "test.yaml");
    ck_assert_int_eq(with->items[0].kind, VALUE_BOOLEAN);
    ck_assert(with->items[0].boolean);
    ck_assert_str_eq(with->items[0].string, "yes");
    ck_assert_int_eq(with->items[1].kind, VALUE_STRING);
    ck_assert_int_eq(with->items[2].kind, VALUE_NUMBER);
    ck_assert_double_eq(with->items[2].number, -1500);
    ck_assert_str_eq(with->items[2].string, "-1.5e3");
    ck_assert_int_eq(with->items[3].kind, VALUE_NULL);
    ck_assert_int_eq(v->kind, VALUE_LIST);
    ck_assert_uint_eq(v->count, 2);
    ck_assert_int_eq(v->items[1].kind, VALUE_MAP);
    ck_assert_int_eq(v->items[1].items[0].kind, VALUE_STRING); /* hexadecimal is no number */
    ck_assert_int_eq(with->items[5].kind, VALUE_STRING);
    ck_assert_int_eq(with->items[6].kind, VALUE_STRING);
    snapshot_release(s);
}
END_TEST

START_TEST(labels_are_gathered_each_once) {
    struct snapshot *s = parse_good(
        "zone: east\n"
        "pools:\n"
        "  a: {backends: {x: {address: h:1, zone: west, tags: [one, two]}, y: h:1}}\n"
        "  b: {zone: north, backends: {x: {address: h:1, zone: east, tags: two},\n"
        "                              y: {address: h:1, zone: west, tags: [three, one]}}}\n");
    uint32_t seen = 0;

    ck_assert_uint_eq(s->zone_count, 3);
    for (uint32_t i = 0; i < s->zone_count; i++) {
        ck_assert_uint_eq(s->zones[i].code, zone_code(s->zones[i].name));
        ck_assert_uint_ne(s->zones[i].code, 0);
        seen |= strcmp(s->zones[i].name, "east") == 0   ? 1
                : strcmp(s->zones[i].name, "west") == 0 ? 2
                                                        : 4;
    }
    ck_assert_uint_eq(seen, 7);
    ck_assert_uint_eq(zone_code(NULL), 0);
    ck_assert_uint_eq(s->tag_count, 3);
    ck_assert_str_eq(s->tags[0].name, "one");
    ck_assert_str_eq(s->tags[1].name, "two");
    ck_assert_str_eq(s->tags[2].name, "three");
    s->tags[1].bit = 5; /* as the builder would say */
    ck_assert_uint_eq(snapshot_tag_bits(s, "two"), 1u << 5);
    ck_assert_uint_eq(snapshot_tag_bits(s, "four"), 0);
    snapshot_release(s);
}
END_TEST

START_TEST(aliases_repeat_whole_values) {
    struct snapshot *s = parse_good("pools:\n"
                                    "  a: {check: &c {type: tcp, rise: 7}, backends: &b {x: h:1}}\n"
                                    "  b: {check: *c, backends: *b}\n");

    ck_assert_uint_eq(s->pools[1].check.rise, 7);
    ck_assert_str_eq(s->pools[1].backends[0].name, "x");
    snapshot_release(s);
}
END_TEST

START_TEST(files_are_relative_to_the_configuration) {
    struct snapshot *s;
    const char *text = "pools: {app: {policy: {script: ./test_config.c}, backends: {a: h:1}}}\n";

    s = snapshot_parse(text, strlen(text), "tests/unit/x.yaml", &messages);
    ck_assert_msg(s != NULL, "%s", messages.text.bytes);
    ck_assert_str_eq(s->pools[0].policy.name, "./test_config.c");
    ck_assert_str_eq(s->pools[0].policy.path, "tests/unit/test_config.c");
    snapshot_release(s);
    ck_assert_ptr_null(snapshot_parse(text, strlen(text), "x.yaml", &messages));
}
END_TEST

START_TEST(names_are_not_checked_without_a_list) {
    config_stock_names = NULL;
    snapshot_release(parse_good("pools: {app: {policy: other, backends: {a: h:1}}}\n"));
}
END_TEST

START_TEST(messages_come_in_the_order_of_the_file) {
    ck_assert_ptr_null(parse("pools: {app: {retries: x, backends: {a: 1}}}\n"
                             "workers: 0\n"
                             "unknown: 1\n"));
    const char *first = strstr(messages.text.bytes, "test.yaml:1:24: 'retries'");
    const char *second = strstr(messages.text.bytes, "test.yaml:1:41: '1' has no port");
    const char *third = strstr(messages.text.bytes, "test.yaml:2:10: 'workers' is 0");
    const char *fourth = strstr(messages.text.bytes, "test.yaml:3:1: 'unknown'");

    ck_assert_msg(first != NULL && second > first && third > second && fourth > third, "%s",
                  messages.text.bytes);
    ck_assert_uint_eq(messages.count, 4);
}
END_TEST

START_TEST(thousands_of_mistakes_are_counted) {
    struct text text = {0};

    text_string(&text, "pools:\n");
    for (int i = 0; i < 3000; i++) {
        text_format(&text, "  p%d: {}\n", i);
    }
    ck_assert_ptr_null(parse(text.bytes));
    ck_assert_uint_eq(messages.count, 3000);
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "test.yaml:2:3: a pool needs 'backends'"));
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "and 2900 more"));
    text_free(&text);
}
END_TEST

START_TEST(messages_do_not_carry_the_inputs_bytes_or_length) {
    struct text text = {0};

    text_string(&text, POOL "\"a\\nb\\e\": 1\nworkers: ");
    for (int i = 0; i < 100000; i++) {
        text_string(&text, "x");
    }
    ck_assert_ptr_null(parse(text.bytes));
    ck_assert_uint_eq(messages.count, 2);
    ck_assert_uint_lt(messages.text.length, 600);
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, ":2:1: 'a?b?' is not a key"));
    text_free(&text);
}
END_TEST

START_TEST(bounds_hold) {
    const size_t length = DOCUMENT_BYTES_MAX + 1;
    char *spaces = malloc(length);

    ck_assert_ptr_nonnull(spaces);
    memset(spaces, '#', length);
    ck_assert_ptr_null(snapshot_parse(spaces, length, "test.yaml", &messages));
    ck_assert_str_eq(messages.text.bytes,
                     "test.yaml: the file is larger than 16 MiB; write less into it\n");
    messages_free(&messages);
    /* 8 million elements, "a," each: stopped half way */
    for (size_t i = 0; i < length - 1; i++) {
        spaces[i] = i == 0 ? '[' : i % 2 == 1 ? 'a' : ',';
    }
    ck_assert_ptr_null(snapshot_parse(spaces, length - 1, "test.yaml", &messages));
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "write at most 4 million values"));
    free(spaces);
}
END_TEST

/* CPU time, so that a busy machine does not matter; what is guarded against would take minutes. */
START_TEST(large_configurations_are_read_quickly) {
    struct text text = {0};

    text_string(&text, "pools:\n  big:\n    backends:\n");
    for (int i = 0; i < 10000; i++) {
        text_format(&text, "      b%d: {address: 10.0.%d.%d:80, weight: %d}\n", i, i / 250, i % 250,
                    i % 9);
    }
    for (int i = 0; i < 10000; i++) {
        text_format(&text, "  p%d: {backends: {a: 127.0.0.1:80}}\n", i);
    }
    text_string(&text, "listeners:\n");
    for (int i = 0; i < 10000; i++) {
        text_format(&text, "  l%d: {bind: 127.0.%d.%d:80, pool: p%d}\n", i, i / 250, i % 250,
                    9999 - i);
    }
    const clock_t before = clock();
    struct snapshot *s = parse_good(text.bytes);
    const double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    ck_assert_uint_eq(s->pools[0].backend_count, 10000);
    ck_assert_str_eq(s->pools[0].backends[9999].name, "b9999");
    ck_assert_str_eq(s->pools[s->listeners[0].pool].name, "p9999");
    ck_assert_double_lt(seconds, 5);
    snapshot_release(s);
    text_free(&text);
}
END_TEST

START_TEST(a_held_snapshot_outlives_its_first_owner) {
    struct snapshot *s = parse_good(POOL);
    const struct snapshot *held = snapshot_hold(s);

    snapshot_release(s);
    ck_assert_str_eq(held->pools[0].name, "app");
    snapshot_release(s);
}
END_TEST

START_TEST(host_names_are_resolved_on_request) {
    struct snapshot *s =
        parse_good("pools: {app: {backends: {a: localhost:9001, b: \"[::1]:2\"}}}");

    ck_assert_uint_eq(s->pools[0].backends[0].address.length, 0);
    ck_assert(snapshot_resolve(s, &messages));
    ck_assert_uint_eq(address_port(&s->pools[0].backends[0].address), 9001);
    ck_assert_uint_eq(address_port(&s->pools[0].backends[1].address), 2);
    snapshot_release(s);
}
END_TEST

/* A label of 70 letters is refused by the resolver itself, without asking any server. */
START_TEST(host_names_that_do_not_resolve_are_all_reported) {
    char label[71], text[512];

    memset(label, 'x', sizeof(label) - 1);
    label[sizeof(label) - 1] = '\0';
    snprintf(text, sizeof(text),
             "pools:\n  app:\n    backends:\n      a: %s.test:1\n      b: %s.test:2\n", label,
             label);
    struct snapshot *s = parse_good(text);
    ck_assert(!snapshot_resolve(s, &messages));
    ck_assert_uint_eq(messages.count, 2);
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "test.yaml:4:7: host '"));
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "test.yaml:5:7: host '"));
    snapshot_release(s);
}
END_TEST

START_TEST(files_that_cannot_be_read_say_why) {
    ck_assert_ptr_null(snapshot_load("tests/no-such-file.yaml", &messages));
    ck_assert_str_eq(messages.text.bytes,
                     "tests/no-such-file.yaml: cannot be read: No such file or directory; write "
                     "the name of a configuration file\n");
    messages_free(&messages);
    ck_assert_ptr_null(snapshot_load("tests", &messages));
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "tests: cannot be read: Is a directory"));
    messages_free(&messages);
    ck_assert_ptr_null(snapshot_load("/dev/null", &messages));
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "the configuration is empty"));
    messages_free(&messages);
    ck_assert_ptr_null(snapshot_load("/dev/zero", &messages)); /* endless */
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "larger than 16 MiB"));
}
END_TEST

START_TEST(mistakes_are_told_one_by_one) {
    refuse("", "test.yaml:1:1: the configuration is empty; write listeners and pools, as in "
               "examples/minimal.yaml\n");
    refuse(POOL "workers: ~\n",
           "test.yaml:2:10: 'workers' needs a whole number from 1 to 63, not nothing; write "
           "workers: 2\n");
    refuse(POOL "log:\n  target: \"\"\n",
           "test.yaml:3:11: 'target' needs a text, not the text \"\"; write target: stderr\n");
    refuse(POOL "admin: {socket: on}\n", "test.yaml:2:17: 'socket' needs a path, or off, not on; "
                                         "write socket: /run/alacrity/admin.sock\n");
}
END_TEST

/* Their hash stands for them; these two names have the same. */
START_TEST(zones_that_cannot_be_told_apart_are_refused) {
    refuse("pools: {a: {backends: {x: {address: h:1, zone: site-2377998587.zone},\n"
           "                       y: {address: h:1, zone: site-3102078054.zone}}}}\n",
           "test.yaml: the zones 'site-2377998587.zone' and 'site-3102078054.zone' cannot be told "
           "apart by their hash; give one another name\n");
}
END_TEST

/* Every beginning of a good file is either good or refused with a reason; nothing else happens. */
START_TEST(torn_files_never_do_anything_else) {
    FILE *file = fopen("examples/full.yaml", "r");
    char text[16384];

    ck_assert_ptr_nonnull(file);
    const size_t length = fread(text, 1, sizeof(text), file);
    fclose(file);
    ck_assert_uint_lt(length, sizeof(text));
    for (size_t cut = 0; cut <= length; cut++) {
        char *exact = malloc(cut + 1); /* so that AddressSanitizer sees a read beyond it */
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, text, cut);
        struct snapshot *s = snapshot_parse(exact, cut, "examples/full.yaml", &messages);
        ck_assert_int_eq(s == NULL, messages.count > 0);
        snapshot_release(s);
        messages_free(&messages);
        free(exact);
    }
}
END_TEST

/* A file of tests/cases/bad begins with `# expect: LINE:COLUMN: part of the message` for each
 * message that must come, and no other may. */
static void check_bad_file(const char *path) {
    char line[512];
    uint32_t expected = 0;
    FILE *file = fopen(path, "r");

    ck_assert_msg(file != NULL, "%s", path);
    struct snapshot *s = snapshot_load(path, &messages);
    ck_assert_msg(s == NULL, "%s is not refused", path);
    while (fgets(line, sizeof(line), file) != NULL && strncmp(line, "# expect: ", 10) == 0) {
        char start[600];
        char *what = strstr(line + 10, ": ");

        ck_assert_msg(what != NULL, "%s: %s", path, line);
        line[strcspn(line, "\n")] = '\0';
        snprintf(start, sizeof(start), "%s:%.*s: ", path, (int)(what - line - 10), line + 10);
        bool found = false;
        for (const char *at = messages.text.bytes; at != NULL && !found;) {
            at = strstr(at, start);
            if (at != NULL) {
                const char *end = strchr(at, '\n');
                const char *hit = strstr(at, what + 2);
                found = hit != NULL && hit < end;
                at = end;
            }
        }
        ck_assert_msg(found, "%s: expected \"%s\", got:\n%s", path, line + 10, messages.text.bytes);
        expected++;
    }
    fclose(file);
    ck_assert_msg(expected > 0 && expected == messages.count, "%s: %u expected, got:\n%s", path,
                  expected, messages.text.bytes);
    messages_free(&messages);
}

static uint32_t each_yaml(const char *folder, void (*check)(const char *path)) {
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    uint32_t count = 0;

    ck_assert_msg(directory != NULL, "%s: run from the top of the tree", folder);
    while ((entry = readdir(directory)) != NULL) {
        char path[512];

        if (strstr(entry->d_name, ".yaml") != NULL) {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            check(path);
            count++;
        }
    }
    closedir(directory);
    return count;
}

START_TEST(every_bad_file_is_refused_with_its_messages) {
    ck_assert_uint_ge(each_yaml("tests/cases/bad", check_bad_file), 60);
}
END_TEST

static void check_example(const char *path) {
    config_stock_names = NULL; /* which scripts there are is not the matter here */
    struct snapshot *s = snapshot_load(path, &messages);

    ck_assert_msg(s != NULL, "%s", messages.text.bytes);
    snapshot_release(s);
}

START_TEST(every_example_is_good) {
    ck_assert_uint_ge(each_yaml("examples", check_example), 4);
}
END_TEST

/* Each key of the table stands in examples/full.yaml, if only in a comment. */
static void check_shape_is_shown(const struct shape *shape, const char *text) {
    for (uint32_t i = 0; i < shape->key_count; i++) {
        char key[80];

        snprintf(key, sizeof(key), " %s:", shape->keys[i].name);
        ck_assert_msg(strstr(text, key) != NULL || strstr(text, key + 1) == text ||
                          (key[0] = '\n', strstr(text, key) != NULL),
                      "'%s' of %s is not in examples/full.yaml", key + 1, shape->what);
        if (shape->keys[i].shape != NULL) {
            check_shape_is_shown(shape->keys[i].shape, text);
        }
    }
}

START_TEST(the_full_example_shows_every_key) {
    FILE *file = fopen("examples/full.yaml", "r");
    char text[16384] = "";

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, file), 0);
    fclose(file);
    check_shape_is_shown(&schema_root, text);
}
END_TEST

static const struct node *child(const struct node *map, const char *key) {
    ck_assert_ptr_nonnull(map);
    ck_assert_int_eq(map->kind, NODE_MAP);
    for (uint32_t i = 0; i < map->count; i++) {
        if (strcmp(map->items[2 * i].text, key) == 0) {
            return &map->items[2 * i + 1];
        }
    }
    ck_abort_msg("no '%s' in the schema", key);
    return NULL;
}

/* JSON is YAML: our own reader checks the form (no key twice), and the content is looked up. */
START_TEST(the_printed_schema_says_what_the_table_says) {
    struct text text = {0};
    struct region memory = {0};
    struct findings findings = {.file = "schema", .memory = &memory};

    config_stock_names = stock_names;
    schema_print(&text);
    ck_assert(!text.failed);
    const struct node *root = document_read(text.bytes, text.length, &memory, &findings);
    ck_assert_uint_eq(findings.count, 0);
    ck_assert_str_eq(child(root, "$schema")->text, "http://json-schema.org/draft-07/schema#");
    const struct node *top = child(root, "properties");
    ck_assert_str_eq(child(child(top, "workers"), "maximum")->text, "63");
    const struct node *pool = child(child(top, "pools"), "additionalProperties");
    ck_assert_str_eq(child(pool, "required")->items[0].text, "backends");
    ck_assert_str_eq(child(child(child(pool, "properties"), "retries"), "default")->text, "3");
    ck_assert_str_eq(child(child(child(pool, "properties"), "policy"), "default")->text,
                     "round-robin");
    ck_assert_uint_eq(child(child(child(pool, "properties"), "check"), "anyOf")->count, 3);
    const struct node *listener = child(child(top, "listeners"), "additionalProperties");
    ck_assert_uint_eq(child(listener, "oneOf")->count, 2);
    ck_assert_str_eq(child(listener, "additionalProperties")->text, "false");
    const struct node *service = child(child(listener, "properties"), "service");
    ck_assert_str_eq(child(&child(service, "anyOf")->items[0], "enum")->items[0].text, "stats");
    region_free(&memory);
    text_free(&text);
}
END_TEST

static void check_shape_is_told(const struct shape *shape, const char *reference) {
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];
        char row[80];

        snprintf(row, sizeof(row), "| `%s` | ", key->name);
        ck_assert_msg(strstr(reference, row) != NULL, "%s", key->name);
        ck_assert_msg(strstr(reference, key->summary) != NULL, "%s", key->name);
        ck_assert_msg(key->example != NULL, "%s", key->name);
        if (key->shape != NULL) {
            check_shape_is_told(key->shape, reference);
        }
    }
}

START_TEST(the_reference_tells_every_key) {
    struct text text = {0};

    schema_print_reference(&text);
    ck_assert(!text.failed);
    check_shape_is_told(&schema_root, text.bytes);
    ck_assert_ptr_nonnull(strstr(text.bytes, "## `pools.NAME.backends.NAME`"));
    text_free(&text);
}
END_TEST

/* What the walk relies on but cannot check while it walks. */
static void check_shape_is_sound(const struct shape *shape) {
    ck_assert_uint_le(shape->key_count, SCHEMA_KEYS_MAX);
    ck_assert(shape->shorthand == NULL || schema_find(shape, shape->shorthand) != NULL);
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert(shape->either[i] == NULL || schema_find(shape, shape->either[i]) != NULL);
    }
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];

        ck_assert_ptr_eq(schema_find(shape, key->name), key); /* no name twice */
        ck_assert((key->type == KEY_MAP || key->type == KEY_NAMED) == (key->shape != NULL));
        ck_assert(key->type == KEY_STOCK ? key->folder != NULL : key->folder == NULL);
        if (key->type == KEY_INTEGER || key->type == KEY_DURATION) {
            ck_assert_uint_lt(key->minimum, key->maximum);
            ck_assert_uint_lt(key->maximum, DURATION_INHERITED);
        }
        if (key->shape != NULL) {
            check_shape_is_sound(key->shape);
        }
    }
}

START_TEST(the_table_is_sound) {
    check_shape_is_sound(&schema_root);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config");
    TCase *good = tcase_create("good"), *bad = tcase_create("bad"), *table = tcase_create("table");
    SRunner *runner = srunner_create(suite);

    tcase_add_checked_fixture(good, set_up, tear_down);
    tcase_set_timeout(good, 120); /* sanitizers on a busy machine */
    tcase_add_test(good, defaults_fill_what_is_not_written);
    tcase_add_test(good, every_key_reaches_its_field);
    tcase_add_test(good, short_forms_mean_the_long_ones);
    tcase_add_test(good, routes_reach_their_fields);
    tcase_add_test(good, options_keep_types_order_and_places);
    tcase_add_test(good, labels_are_gathered_each_once);
    tcase_add_test(good, aliases_repeat_whole_values);
    tcase_add_test(good, files_are_relative_to_the_configuration);
    tcase_add_test(good, names_are_not_checked_without_a_list);
    tcase_add_test(good, large_configurations_are_read_quickly);
    tcase_add_test(good, a_held_snapshot_outlives_its_first_owner);
    tcase_add_test(good, host_names_are_resolved_on_request);
    tcase_add_test(good, every_example_is_good);
    tcase_add_checked_fixture(bad, set_up, tear_down);
    tcase_set_timeout(bad, 120);
    tcase_add_test(bad, messages_come_in_the_order_of_the_file);
    tcase_add_test(bad, thousands_of_mistakes_are_counted);
    tcase_add_test(bad, messages_do_not_carry_the_inputs_bytes_or_length);
    tcase_add_test(bad, bounds_hold);
    tcase_add_test(bad, host_names_that_do_not_resolve_are_all_reported);
    tcase_add_test(bad, files_that_cannot_be_read_say_why);
    tcase_add_test(bad, mistakes_are_told_one_by_one);
    tcase_add_test(bad, zones_that_cannot_be_told_apart_are_refused);
    tcase_add_test(bad, torn_files_never_do_anything_else);
    tcase_add_test(bad, every_bad_file_is_refused_with_its_messages);
    tcase_add_test(table, the_full_example_shows_every_key);
    tcase_add_test(table, the_printed_schema_says_what_the_table_says);
    tcase_add_test(table, the_reference_tells_every_key);
    tcase_add_test(table, the_table_is_sound);
    suite_add_tcase(suite, good);
    suite_add_tcase(suite, bad);
    suite_add_tcase(suite, table);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
