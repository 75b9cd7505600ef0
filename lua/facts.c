/* Facts for service scripts: turns one struct facts into one plain Lua table. Control thread only:
 * a call from any other (the builder's trial construction, a worker's policy) is refused with a Lua
 * error. Counters become Lua numbers, exact below 2^53. */
#include "lua/facts.h"

#include <lauxlib.h>
#include <pthread.h>

#include "control/control.h"
#include "control/scripts.h"
#include "worker.h"

static struct control *bound;
static pthread_t bound_thread;

void facts_bind(struct control *control) {
    bound = control;
    bound_thread = pthread_self();
}

/* ---- fields of the table on top of the stack ---- */

static void set_number(lua_State *lua, const char *field, double value) {
    lua_pushnumber(lua, value);
    lua_setfield(lua, -2, field);
}

static void set_count(lua_State *lua, const char *field, uint64_t value) {
    set_number(lua, field, (double)value);
}

static void set_counter(lua_State *lua, const char *field, const counter *value) {
    set_count(lua, field, counter_get(value));
}

static void set_string(lua_State *lua, const char *field, const char *value) {
    if (value != NULL) { /* else the field stays nil */
        lua_pushstring(lua, value);
        lua_setfield(lua, -2, field);
    }
}

/* Always there, if empty. */
static void set_strings(lua_State *lua, const char *field, char *const *values, uint32_t count) {
    lua_createtable(lua, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushstring(lua, values[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, field);
}

static void set_boolean(lua_State *lua, const char *field, bool value) {
    lua_pushboolean(lua, value);
    lua_setfield(lua, -2, field);
}

/* ---- one table each ---- */

static const char *admin_word(enum backend_admin admin) {
    switch (admin) {
    case ADMIN_DRAIN:
        return "drain";
    case ADMIN_MAINT:
        return "maint";
    case ADMIN_READY:
        break;
    }
    return "ready";
}

static void push_backend(lua_State *lua, const struct facts_backend *backend) {
    const struct slot *slot = backend->slot;
    lua_createtable(lua, 0, 24);
    set_string(lua, "name", backend->config->name);
    set_string(lua, "address", slot->script.address);
    set_string(lua, "configured_address", backend->config->address_text);
    set_string(lua, "state", state_word(backend->state));
    set_string(lua, "admin", admin_word(backend->admin));
    set_boolean(lua, "eligible", slot_is_eligible(slot));
    set_count(lua, "weight", backend->weight);
    set_count(lua, "configured_weight", backend->config->weight);
    set_count(lua, "max_sessions", backend->config->max_sessions);
    set_string(lua, "zone", backend->config->zone);
    set_strings(lua, "tags", backend->config->tags, backend->config->tag_count);
    set_count(lua, "active", backend->active);
    set_counter(lua, "sessions_total", &backend->sum.sessions_total);
    set_counter(lua, "bytes_in_total", &backend->sum.bytes_in);
    set_counter(lua, "bytes_out_total", &backend->sum.bytes_out);
    set_counter(lua, "picks_total", &backend->sum.picked);
    set_counter(lua, "shadow_picks_total", &backend->sum.shadow_picked);
    set_counter(lua, "connect_failures_total", &backend->sum.connect_failures);
    set_counter(lua, "connect_timeouts_total", &backend->sum.connect_timeouts);
    set_counter(lua, "resets_total", &backend->sum.resets);
    set_number(lua, "connect_ms", (double)backend->connect_ewma_ms);
    set_count(lua, "checks_total", atomic_load_explicit(&slot->checks_total, memory_order_relaxed));
    set_count(lua, "checks_failed_total",
              atomic_load_explicit(&slot->checks_failed, memory_order_relaxed));
    set_count(lua, "downs_total",
              atomic_load_explicit(&slot->transitions_down, memory_order_relaxed));
    set_number(lua, "changed_ms", (double)backend->changed_wall_ms);
    set_string(lua, "reason", backend->reason);
}

/* What is told of one version; field `role` of the table on top. NULL: nothing. */
static void set_version(lua_State *lua, const char *role, const struct script_version *version) {
    if (version == NULL) {
        return;
    }
    lua_createtable(lua, 0, 5);
    set_count(lua, "number", version->number);
    set_string(lua, "name", version->use.name);
    set_string(lua, "path", version->use.path);
    set_string(lua, "origin", version->origin);
    set_number(lua, "since_ms", (double)version->since_wall_ms);
    lua_setfield(lua, -2, role);
}

static void push_versions(lua_State *lua, const struct facts_pool *pool) {
    const struct pool_scripts *scripts = pool->scripts;
    lua_createtable(lua, 0, 4);
    if (scripts != NULL) {
        set_version(lua, "current", scripts->current);
        set_version(lua, "previous", versions_previous(scripts));
        set_version(lua, "failed", scripts->returned ? versions_failed(scripts) : NULL);
        set_version(lua, "shadow", scripts->shadow);
    }
}

static void push_shadow(lua_State *lua, const struct facts_pool *pool) {
    lua_createtable(lua, 0, 6);
    set_counter(lua, "asked_total", &pool->sum.shadow_asked);
    set_counter(lua, "agreed_total", &pool->sum.shadow_agreed);
    set_counter(lua, "failed_total", &pool->sum.shadow_failed);
    set_counter(lua, "shadow_ns_total", &pool->sum.shadow_ns);
    set_counter(lua, "current_ns_total", &pool->sum.current_ns);
    set_count(lua, "sample", pool->scripts->shadow_sample);
}

static void push_backends(lua_State *lua, const struct facts_backend *backends, uint32_t count) {
    lua_createtable(lua, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        push_backend(lua, &backends[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
}

static void push_pool(lua_State *lua, const struct facts_pool *pool, bool backends) {
    const struct pool_config *config = pool->pool->config;
    uint64_t active = 0;
    lua_createtable(lua, 0, 24);
    set_string(lua, "name", config->name);
    set_string(lua, "policy",
               pool->scripts != NULL ? pool->scripts->current->use.name : config->policy.name);
    set_string(lua, "fallback", config->fallback);
    if (config->check.enabled) {
        set_string(lua, "check", config->check.script.name);
    }
    if (pool->pool->check != NULL) {
        set_boolean(lua, "check_out", scripting->check_is_out(pool->pool->check));
    }
    set_string(lua, "zone", config->zone);
    set_count(lua, "retries", config->retries);
    set_counter(lua, "sessions_total", &pool->sum.sessions_total);
    set_counter(lua, "bytes_in_total", &pool->sum.bytes_in);
    set_counter(lua, "bytes_out_total", &pool->sum.bytes_out);
    set_counter(lua, "retries_total", &pool->sum.retries);
    set_counter(lua, "picks_total", &pool->sum.picks);
    set_counter(lua, "policy_errors_total", &pool->sum.policy_errors);
    set_counter(lua, "policy_bad_answers_total", &pool->sum.policy_bad_answers);
    set_counter(lua, "policy_nil_total", &pool->sum.policy_nil);
    set_counter(lua, "policy_overruns_total", &pool->sum.policy_overruns);
    set_counter(lua, "policy_resting_total", &pool->sum.policy_resting);
    set_counter(lua, "policy_out_total", &pool->sum.policy_out);
    set_counter(lua, "policy_out_workers", &pool->sum.out_now);
    set_counter(lua, "fallbacks_total", &pool->sum.fallbacks);
    set_counter(lua, "no_backend_total", &pool->sum.no_backend);
    set_count(lua, "backends_eligible", pool->eligible_count);
    push_versions(lua, pool);
    lua_setfield(lua, -2, "versions");
    if (pool->scripts != NULL && pool->scripts->shadow != NULL) {
        push_shadow(lua, pool);
        lua_setfield(lua, -2, "shadow");
    }
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        active += pool->backends[i].active;
    }
    set_count(lua, "backend_count", pool->backend_count);
    push_backends(lua, pool->backends, backends ? pool->backend_count : 0);
    lua_setfield(lua, -2, "backends");
    set_count(lua, "sessions_active", active);
}

static void push_listener(lua_State *lua, const struct facts *facts,
                          const struct facts_listener *listener) {
    const struct listener_config *config = listener->listener->config;
    lua_createtable(lua, 0, 24);
    set_string(lua, "name", config->name);
    lua_createtable(lua, (int)config->bind_count, 0);
    for (uint32_t i = 0; i < config->bind_count; i++) {
        lua_pushstring(lua, config->binds[i].text);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "bind");
    if (config->pool >= 0 && (uint32_t)config->pool < facts->pool_count) {
        set_string(lua, "pool", facts->pools[config->pool].pool->config->name);
    }
    set_string(lua, "service", config->service.name);
    if (config->route.name != NULL) {
        set_string(lua, "route", config->route.name);
        set_counter(lua, "routes_total", &listener->sum.routes);
        set_counter(lua, "route_errors_total", &listener->sum.route_errors);
        set_counter(lua, "route_timeouts_total", &listener->sum.route_timeouts);
        set_counter(lua, "route_overruns_total", &listener->sum.route_overruns);
        set_counter(lua, "route_resting_total", &listener->sum.route_resting);
        set_counter(lua, "route_out_total", &listener->sum.route_out);
        set_counter(lua, "route_out_workers", &listener->sum.route_out_now);
    }
    set_count(lua, "max_sessions", config->max_sessions);
    set_count(lua, "sessions_active", listener->active);
    set_counter(lua, "sessions_total", &listener->sum.sessions_total);
    set_counter(lua, "handed_over_total", &listener->sum.handed_over);
    set_counter(lua, "bytes_in_total", &listener->sum.bytes_in);
    set_counter(lua, "bytes_out_total", &listener->sum.bytes_out);
    lua_createtable(lua, 0, REASON_COUNT);
    for (uint32_t i = 0; i < REASON_COUNT; i++) {
        set_counter(lua, session_reason_word((enum session_reason)i), &listener->sum.ended[i]);
    }
    lua_setfield(lua, -2, "ended");
}

static void push_worker(lua_State *lua, const struct worker_told *worker) {
    lua_createtable(lua, 0, 11);
    set_count(lua, "index", worker->index);
    set_count(lua, "sessions", worker->sessions);
    set_count(lua, "lua_memory_bytes", worker->lua_memory_bytes);
    if (worker->cpu >= 0) { /* else the field stays nil */
        set_count(lua, "cpu", (uint64_t)worker->cpu);
    }
    set_count(lua, "heartbeat_age_ms", worker->heartbeat_age_ms);
    set_number(lua, "turn_max_ms", (double)worker->turn_max_ns / 1e6);
    set_number(lua, "turn_cpu_max_ms", (double)worker->turn_cpu_max_ns / 1e6);
    set_count(lua, "long_turns_total", worker->long_turns);
    set_count(lua, "spliced_bytes_total", worker->spliced_bytes);
    set_count(lua, "pipes", worker->pipes);
    set_count(lua, "no_pipe_total", worker->no_pipe);
    set_count(lua, "splice_refused_total", worker->splice_refused);
}

static void push_script(lua_State *lua, const struct facts *facts, uint32_t index) {
    const struct script_info *script = &facts->scripts[index];
    lua_createtable(lua, 0, 13);
    set_string(lua, "kind", script->kind);
    set_string(lua, "name", script->name);
    set_string(lua, "path", script->path);
    set_count(lua, "version", script->version);
    set_count(lua, "calls_total", script->calls);
    set_count(lua, "errors_total", script->errors);
    set_count(lua, "overruns_total", script->overruns);
    set_string(lua, "state", script->state);
    set_count(lua, "memory_bytes", script->memory_bytes);
    set_string(lua, "last_error", script->last_error);
    set_string(lua, "listener", script->listener);
    if (index < facts->pool_count) { /* a policy: see struct facts */
        const struct facts_pool *pool = &facts->pools[index];
        set_string(lua, "pool", pool->pool->config->name);
        set_counter(lua, "bad_answers_total", &pool->sum.policy_bad_answers);
        set_counter(lua, "nil_answers_total", &pool->sum.policy_nil);
        set_counter(lua, "fallbacks_total", &pool->sum.fallbacks);
    }
}

static void push_shared(lua_State *lua, const struct facts *facts) {
    lua_createtable(lua, 0, 5);
    set_count(lua, "entries", facts->shared.entries);
    set_count(lua, "bytes", facts->shared.bytes);
    set_count(lua, "limit_bytes", facts->shared.limit_bytes);
    set_count(lua, "evictions_total", facts->shared.evictions);
    lua_createtable(lua, (int)facts->dictionary_count, 0);
    for (uint32_t i = 0; i < facts->dictionary_count; i++) {
        lua_createtable(lua, 0, 2);
        set_string(lua, "name", facts->dictionaries[i].name);
        set_count(lua, "entries", facts->dictionaries[i].entries);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "dictionaries");
}

/* A histogram's buckets become cumulative, as everybody shows them; the last is all of them. */
static void push_histogram(lua_State *lua, const struct metric_sum *sum) {
    double count = 0;
    lua_createtable(lua, (int)sum->metric.bound_count, 0);
    for (uint32_t i = 0; i < sum->metric.bound_count; i++) {
        count += sum->values[i];
        lua_createtable(lua, 0, 2);
        set_number(lua, "le", sum->metric.bounds[i]);
        set_number(lua, "count", count);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "buckets");
    set_number(lua, "count", count + sum->values[sum->metric.bound_count]);
    set_number(lua, "sum", sum->values[sum->metric.bound_count + 1]);
}

static void push_metric(lua_State *lua, const struct metric_sum *sum) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const struct metric *metric = &sum->metric;
    lua_createtable(lua, 0, 7);
    set_string(lua, "name", metric->name);
    set_string(lua, "kind", kinds[metric->kind]);
    set_string(lua, "help", metric->help);
    lua_createtable(lua, (int)metric->label_count, 0);
    for (uint32_t i = 0; i < metric->label_count; i++) {
        lua_createtable(lua, 0, 2);
        set_string(lua, "name", metric->labels[i].name);
        set_string(lua, "value", metric->labels[i].value);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "labels");
    if (metric->kind == METRIC_HISTOGRAM) {
        push_histogram(lua, sum);
    } else {
        set_number(lua, "value", sum->values[0]);
    }
}

static void push_facts(lua_State *lua, const struct facts *facts, bool backends) {
    lua_createtable(lua, 0, 16);
    set_string(lua, "version", ALACRITY_VERSION);
    set_count(lua, "configuration", facts->configuration);
    set_count(lua, "now_ms", facts->now_wall_ms);
    set_count(lua, "uptime_ms", facts->uptime_ms);
    set_count(lua, "reloads_total", facts->reloads_total);
    set_count(lua, "reloads_failed_total", facts->reloads_failed);
    set_count(lua, "log_dropped_total", facts->log_dropped);
    set_count(lua, "log_suppressed_total", facts->log_suppressed);
    set_count(lua, "socket_options_refused_total", facts->options_refused);
    set_boolean(lua, "draining", facts->draining);
    set_boolean(lua, "watchdog", scripting->watchdog_is_proven());

    lua_createtable(lua, (int)facts->listener_count, 0);
    for (uint32_t i = 0; i < facts->listener_count; i++) {
        push_listener(lua, facts, &facts->listeners[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "listeners");

    lua_createtable(lua, (int)facts->pool_count, 0);
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        push_pool(lua, &facts->pools[i], backends);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "pools");

    lua_createtable(lua, (int)facts->worker_count, 0);
    for (uint32_t i = 0; i < facts->worker_count; i++) {
        push_worker(lua, &facts->workers[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "workers");

    lua_createtable(lua, (int)facts->script_count, 0);
    for (uint32_t i = 0; i < facts->script_count; i++) {
        push_script(lua, facts, i);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "scripts");

    lua_createtable(lua, 0, 3);
    set_count(lua, "slots", facts->arena_slots);
    set_count(lua, "pools", facts->arena_pools);
    set_count(lua, "listeners", facts->arena_listeners);
    lua_setfield(lua, -2, "arena");

    push_shared(lua, facts);
    lua_setfield(lua, -2, "shared");

    lua_createtable(lua, (int)facts->metric_count, 0);
    for (uint32_t i = 0; i < facts->metric_count; i++) {
        push_metric(lua, &facts->metrics[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "script_metrics");
}

/* ---- the function ---- */

/* Of the call under way. One that was stopped in the middle left its facts here. */
static struct facts *told;

/* Argument: with backends? Raises only when memory is out. */
static int facts_table(lua_State *lua) {
    push_facts(lua, told, lua_toboolean(lua, 1));
    return 1;
}

static void check_thread(lua_State *lua, const char *function) {
    if (bound == NULL || !pthread_equal(pthread_self(), bound_thread)) {
        luaL_error(lua, "alacrity.%s() answers only while a service serves", function);
    }
}

/* alacrity.facts(backends) -> table; false: without the backends. What can raise is done before the
 * facts are taken or inside the protected call, so that running out of Lua memory does not leak
 * them. */
static int facts_function(lua_State *lua) {
    check_thread(lua, "facts");
    bool backends = lua_isnoneornil(lua, 1) || lua_toboolean(lua, 1);
    lua_settop(lua, 0);
    lua_pushcfunction(lua, facts_table);
    lua_pushboolean(lua, backends);
    facts_free(told);
    told = facts_collect(bound);
    if (told == NULL) {
        return luaL_error(lua, "alacrity.facts(): out of memory");
    }
    int status = lua_pcall(lua, 1, 1, 0);
    facts_free(told);
    told = NULL;
    return status == 0 ? 1 : lua_error(lua);
}

#define BACKENDS_AT_ONCE 128u

/* alacrity.backends(pool, first) -> list, configuration. Nothing is owned here that an error or a
 * stop could leak. */
static int backends_function(lua_State *lua) {
    struct facts_backend backends[BACKENDS_AT_ONCE];
    uint64_t configuration;
    check_thread(lua, "backends");
    const char *pool = luaL_checkstring(lua, 1);
    lua_Number first = luaL_checknumber(lua, 2);
    luaL_argcheck(lua, first >= 1 && first < 4294967296.0, 2, "the first one is number 1");
    uint32_t count = facts_backends(bound, pool, (uint32_t)first - 1, BACKENDS_AT_ONCE, backends,
                                    &configuration);
    push_backends(lua, backends, count);
    lua_pushnumber(lua, (double)configuration);
    return 2;
}

int facts_open(lua_State *lua) {
    bool into_table = lua_istable(lua, -1);
    if (into_table) {
        lua_pushcfunction(lua, backends_function);
        lua_setfield(lua, -2, "backends");
    }
    lua_pushcfunction(lua, facts_function);
    if (into_table) {
        lua_pushvalue(lua, -1);
        lua_setfield(lua, -3, "facts");
    }
    return 1;
}
