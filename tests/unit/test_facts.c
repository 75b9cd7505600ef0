/* Facts: a plan of one listener and one pool over a real arena, collected in C and told to Lua.
 * The scripting table is a stub: this test needs no script, only what control would show of one. */
#include <check.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "control/control.h"
#include "lua/facts.h"
#include "suite.h"

static bool stub_script(struct script_host *host, uint32_t index, struct script_info *info) {
    (void)host;
    if (index > 0) {
        return false;
    }
    *info = (struct script_info){.kind = "service", .name = "stats", .calls = 7, .errors = 1};
    snprintf(info->last_error, sizeof(info->last_error), "boom");
    return true;
}

static bool stub_proven(void) {
    return true;
}

static const struct scripting stub = {.host_script = stub_script,
                                      .watchdog_is_proven = stub_proven};
static const struct scripting *scripting_before;

static struct backend_config backends[] = {
    {.name = "a", .address_text = "127.0.0.1:1", .weight = 1},
    {.name = "b", .address_text = "127.0.0.1:2", .weight = 3},
};
static struct pool_config pool_config = {
    .name = "app", .policy = {.name = "least-conn"}, .backend_count = 2, .backends = backends};
static struct bind_config binds[] = {{.text = "127.0.0.1:80"}};
static struct listener_config listener_config = {
    .name = "web", .bind_count = 1, .binds = binds, .pool = 0, .max_sessions = 50};
static struct snapshot snapshot = {.number = 3,
                                   .pool_count = 1,
                                   .listener_count = 1,
                                   .pools = &pool_config,
                                   .listeners = &listener_config};

static struct arena *arena;
static struct slot *slots[2];
static struct control_pool pool;
static struct control_listener listener;
static struct control_plan plan;
static struct control control;

static void set_up(void) {
    char error[128];
    bool changed;
    arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(arena);
    arena_use_workers(arena, 2);
    pool = (struct control_pool){
        .config = &pool_config, .facts = arena_take_pool(arena, "app"), .slots = slots};
    for (int i = 0; i < 2; i++) {
        slots[i] = arena_take_slot(arena, pool.facts, backends[i].name, backends[i].address_text,
                                   &changed);
        ck_assert_ptr_nonnull(slots[i]);
        slots[i]->presence = PRESENCE_PRESENT;
        slots[i]->script.view.weight = backends[i].weight;
        slots[i]->health = i == 0 ? HEALTH_UP : HEALTH_DOWN;
        slot_changed(slots[i], pool.facts);
    }
    listener = (struct control_listener){.config = &listener_config,
                                         .facts = arena_take_listener(arena, "web")};
    plan = (struct control_plan){.snapshot = &snapshot,
                                 .host = (struct script_host *)&plan,
                                 .pool_count = 1,
                                 .listener_count = 1,
                                 .pools = &pool,
                                 .listeners = &listener};
    control = (struct control){.arena = arena,
                               .plan = &plan,
                               .reloads_total = 4,
                               .reloads_failed = 1,
                               .started_wall_ms = clock_wall_ms() - 5000};
    scripting_before = scripting;
    scripting = &stub;
}

static void tear_down(void) {
    facts_bind(NULL);
    scripting = scripting_before;
    arena_free(arena);
}

/* Two workers count; every sum is theirs together. */
static void count_traffic(void) {
    for (uint32_t worker = 0; worker < 2; worker++) {
        counter_add(&arena_slot_row(arena, slots[0], worker)->sessions_total, 10 + worker);
        counter_add(&arena_slot_row(arena, slots[0], worker)->bytes_out, 1ull << 50);
        counter_add(&arena_pool_row(arena, pool.facts, worker)->picks, 12);
        counter_add(&arena_pool_row(arena, pool.facts, worker)->policy_errors, 1);
        struct listener_row *row = arena_listener_row(arena, listener.facts, worker);
        counter_add(&row->sessions_total, 11);
        counter_add(&row->sessions_closed, worker == 0 ? 11 : 9);
        counter_add(&row->ended[REASON_CLIENT_RESET], 2);
    }
}

START_TEST(sums_and_states) {
    count_traffic();
    struct facts *facts = facts_collect(&control);
    ck_assert_ptr_nonnull(facts);
    ck_assert_uint_eq(facts->configuration, 3);
    ck_assert_uint_ge(facts->uptime_ms, 5000);
    ck_assert_uint_eq(facts->pool_count, 1);
    ck_assert_uint_eq(facts->pools[0].backend_count, 2);
    ck_assert_uint_eq(facts->pools[0].eligible_count, 1);
    ck_assert_uint_eq(facts->pools[0].backends[0].sum.sessions_total, 21);
    ck_assert_int_eq(facts->pools[0].backends[1].state, STATE_DOWN);
    ck_assert_uint_eq(facts->listeners[0].active, 2);
    ck_assert_uint_eq(facts->script_count, 2); /* the pool's policy, control's service */
    ck_assert_str_eq(facts->scripts[0].kind, "policy");
    ck_assert_uint_eq(facts->scripts[0].calls, 24);
    ck_assert_uint_eq(facts->scripts[0].errors, 2);
    ck_assert_str_eq(facts->scripts[1].last_error, "boom");
    facts_free(facts);
}
END_TEST

START_TEST(before_the_first_plan) {
    control.plan = NULL;
    struct facts *facts = facts_collect(&control);
    ck_assert_ptr_nonnull(facts);
    ck_assert_uint_eq(facts->configuration, 0);
    ck_assert_uint_eq(facts->pool_count + facts->listener_count + facts->script_count, 0);
    facts_free(facts);
}
END_TEST

/* Closed may be read a moment after total: that is no session, not 2^64 of them. */
START_TEST(active_is_never_negative) {
    counter_add(&arena_listener_row(arena, listener.facts, 0)->sessions_closed, 1);
    struct facts *facts = facts_collect(&control);
    ck_assert_ptr_nonnull(facts);
    ck_assert_uint_eq(facts->listeners[0].active, 0);
    facts_free(facts);
}
END_TEST

static const char lua_checks[] =
    "local f = facts()\n"
    "assert(f.configuration == 3 and f.reloads_total == 4 and f.reloads_failed_total == 1)\n"
    "local l, p = f.listeners[1], f.pools[1]\n"
    "assert(l.name == 'web' and l.pool == 'app' and l.bind[1] == '127.0.0.1:80')\n"
    "assert(l.sessions_total == 22 and l.sessions_active == 2 and l.ended.client_reset == 4)\n"
    "assert(l.ended.done == 0 and l.max_sessions == 50)\n"
    "assert(p.policy == 'least-conn' and p.backends_eligible == 1 and p.check == nil)\n"
    "local a, b = p.backends[1], p.backends[2]\n"
    "assert(a.state == 'up' and a.eligible and a.sessions_total == 21)\n"
    "assert(a.bytes_out_total == 2 ^ 51 and a.address == '127.0.0.1:1')\n"
    "assert(b.state == 'down' and not b.eligible and b.weight == 3 and b.admin == 'ready')\n"
    "assert(p.backend_count == 2 and #p.backends == 2)\n"
    "local g = facts(false).pools[1]\n"
    "assert(g.backend_count == 2 and #g.backends == 0 and g.sessions_active == p.sessions_active)\n"
    "local part, configuration = backends('app', 2)\n"
    "assert(#part == 1 and configuration == 3 and part[1].name == b.name and part[1].weight == 3)\n"
    "assert(#backends('app', 1) == 2 and #backends('app', 3) == 0 and #backends('x', 1) == 0)\n"
    "assert(not pcall(backends, 'app', 0) and not pcall(backends, 'app', 0/0))\n"
    "assert(not pcall(backends, 'app') and not pcall(backends, nil, 1))\n"
    "assert(f.scripts[1].pool == 'app' and f.scripts[1].errors_total == 2)\n"
    "assert(f.scripts[2].pool == nil and f.scripts[2].last_error == 'boom')\n"
    "assert(f.arena.slots == 2 and #f.workers == 0)\n"
    "assert(f.shared.entries == 1 and f.shared.bytes >= 64 and f.shared.evictions_total == 0)\n"
    "assert(f.shared.dictionaries[1].name == 'd' and f.shared.dictionaries[1].entries == 1)\n"
    "assert(f.shared.limit_bytes > 2 ^ 23 and f.shared.limit_bytes <= 2 ^ 24)\n";

static lua_State *lua_with_facts(void) {
    lua_State *lua = luaL_newstate();
    ck_assert_ptr_nonnull(lua);
    luaL_openlibs(lua);
    lua_newtable(lua);
    ck_assert_int_eq(facts_open(lua), 1);
    lua_setglobal(lua, "facts");
    lua_getfield(lua, -1, "backends");
    lua_setglobal(lua, "backends");
    lua_getfield(lua, -1, "facts"); /* the library's table has it as well */
    ck_assert(lua_isfunction(lua, -1));
    lua_settop(lua, 0);
    return lua;
}

START_TEST(lua_sees_the_same) {
    struct shared_key key = {.number = 1};
    struct shared_value value = {.type = SHARED_NUMBER, .number = 1};
    ck_assert_int_eq(shared_dictionary(arena_shared(arena), "d", 1), 0);
    shared_set(arena_shared(arena), &key, &value, 0, 0);
    count_traffic();
    facts_bind(&control);
    lua_State *lua = lua_with_facts();
    int status = luaL_dostring(lua, lua_checks);
    ck_assert_msg(status == 0, "%s", lua_tostring(lua, -1));
    lua_close(lua);
}
END_TEST

static void *ask_elsewhere(void *argument) {
    lua_State *lua = argument;
    lua_getglobal(lua, "facts");
    return lua_pcall(lua, 0, 1, 0) == 0 ? lua : NULL;
}

/* The facts belong to control: the builder's trial and workers get an error, not a race. */
START_TEST(other_threads_are_refused) {
    facts_bind(&control);
    lua_State *lua = lua_with_facts();
    pthread_t thread;
    void *answered = lua;
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_elsewhere, lua), 0);
    pthread_join(thread, &answered);
    ck_assert_ptr_null(answered);
    facts_bind(NULL);
    ck_assert_int_ne(luaL_dostring(lua, "facts()"), 0);
    lua_close(lua);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("facts");
    TCase *tests = tcase_create("facts");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, sums_and_states);
    tcase_add_test(tests, before_the_first_plan);
    tcase_add_test(tests, active_is_never_negative);
    tcase_add_test(tests, lua_sees_the_same);
    tcase_add_test(tests, other_threads_are_refused);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
