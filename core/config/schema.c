/* Schema: see schema.h. Constant data; any thread.
 *
 * Order matters in one place: the rows of a shape are filled from top to bottom, and `pools` must
 * be known before `listeners` refer to them. */
#include "config/schema.h"

#include <string.h>

#include "config/snapshot.h"

const char *const *(*config_stock_names)(const char *folder);

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))
#define KEYS(array) .keys = (array), .key_count = COUNT(array)
#define SECOND 1000u
#define HOUR (3600u * SECOND)
#define DAY (24u * HOUR)
#define MIB (1u << 20)
#define SESSIONS_MAX 10000000u

static const char *const log_formats[] = {"text", "json", NULL}; /* as enum log_format */
static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const char *const fallbacks[] = {"round-robin", "reject", NULL};
static const char *const error_actions[] = {"fallback", NULL};

_Static_assert(LOG_TEXT == 0 && LOG_JSON == 1, "log_formats");
_Static_assert(LOG_DEBUG == 0 && LOG_INFO == 1 && LOG_WARNING == 2 && LOG_ERROR == 3, "log_levels");
_Static_assert(sizeof(enum log_format) == sizeof(uint32_t), "KEY_CHOICE stores 32 bits");
_Static_assert(offsetof(struct check_config, enabled) == 0, "may_be_off");
_Static_assert(offsetof(struct pool_config, name) == 0, "KEY_NAMED");
_Static_assert(offsetof(struct backend_config, name) == 0, "KEY_NAMED");
_Static_assert(offsetof(struct listener_config, name) == 0, "KEY_NAMED");

static const struct key timeout_keys[] = {
    {.name = "connect",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, connect_ms),
     .initial = "5s",
     .maximum = HOUR,
     .example = "5s",
     .summary = "How long a backend may take to accept a connection before another is tried. 0: as "
                "long as the kernel tries."},
    {.name = "idle",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, idle_ms),
     .initial = "5m",
     .maximum = 30u * DAY,
     .example = "5m",
     .summary =
         "A session in which no byte moves in either direction for this long is closed. 0: never."},
    {.name = "session",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, session_ms),
     .initial = "0",
     .maximum = 30u * DAY,
     .example = "12h",
     .summary = "The longest a session may last, busy or not. 0: no limit."},
    {.name = "drain",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, drain_ms),
     .initial = "30s",
     .maximum = DAY,
     .example = "30s",
     .summary =
         "After a stop signal, how long open sessions may go on before they are cut. 0: no limit."},
    {.name = "route",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, route_ms),
     .initial = "5s",
     .maximum = HOUR,
     .example = "5s",
     .summary = "How long a route script may take, with all it waits for, before the listener's "
                "`pool` gets the session. 0: no limit."},
};
static const struct shape timeout_shape = {.what = "timeouts", KEYS(timeout_keys)};

static const struct key limit_keys[] = {
    {.name = "sessions",
     .type = KEY_INTEGER,
     .offset = offsetof(struct snapshot, max_sessions),
     .initial = "100000",
     .minimum = 1,
     .maximum = SESSIONS_MAX,
     .example = "100000",
     .summary = "Sessions open at once, over all listeners. Beyond it a new connection is closed "
                "at once."},
};
static const struct shape limit_shape = {.what = "limits", KEYS(limit_keys)};

static const struct key admin_keys[] = {
    {.name = "socket",
     .type = KEY_SOCKET,
     .initial = "/run/alacrity/admin.sock",
     .example = "/run/alacrity/admin.sock",
     .summary = "Where the commands `status`, `reload`, `backend`... reach the running process. "
                "Only its user may connect. If the key is left out and the default cannot be used, "
                "it runs without; if it is written, that is an error. `off`: none."},
};
static const struct shape admin_shape = {.what = "admin", KEYS(admin_keys)};

static const struct key log_keys[] = {
    {.name = "target",
     .type = KEY_TEXT,
     .offset = offsetof(struct snapshot, log.target),
     .initial = "stderr",
     .example = "stderr",
     .summary = "`stderr`, `stdout`, `off` or a file name. A file is opened again on signal USR1."},
    {.name = "format",
     .type = KEY_CHOICE,
     .offset = offsetof(struct snapshot, log.format),
     .initial = "text",
     .choices = log_formats,
     .example = "json",
     .summary = "Lines for people or JSON lines for collectors."},
    {.name = "level",
     .type = KEY_CHOICE,
     .offset = offsetof(struct snapshot, log.level),
     .initial = "info",
     .choices = log_levels,
     .example = "info",
     .summary = "The least important lines to write."},
    {.name = "sessions",
     .type = KEY_BOOLEAN,
     .offset = offsetof(struct snapshot, log_sessions),
     .initial = "false",
     .example = "true",
     .summary =
         "One line for every session: client, listener, backend, times, bytes, why it ended."},
};
static const struct shape log_shape = {.what = "log", KEYS(log_keys)};

static const struct key lua_keys[] = {
    {.name = "jit",
     .type = KEY_BOOLEAN,
     .offset = offsetof(struct snapshot, lua.jit),
     .initial = "true",
     .example = "on",
     .summary = "Compile scripts to machine code."},
    {.name = "pick_budget",
     .type = KEY_DURATION,
     .offset = offsetof(struct snapshot, lua.pick_budget_ms),
     .initial = "10ms",
     .minimum = 1,
     .maximum = 10u * SECOND,
     .example = "10ms",
     .summary = "CPU time a policy may use for one `pick` or `on_close`."},
    {.name = "budget",
     .type = KEY_DURATION,
     .offset = offsetof(struct snapshot, lua.budget_ms),
     .initial = "100ms",
     .minimum = 1,
     .maximum = 60u * SECOND,
     .example = "100ms",
     .summary = "CPU time any other script, and a timer, may use without a pause."},
    {.name = "memory",
     .type = KEY_SIZE,
     .offset = offsetof(struct snapshot, lua.memory_bytes),
     .initial = "64MiB",
     .minimum = MIB,
     .maximum = 16384ull * MIB,
     .example = "64MiB",
     .summary = "Memory each Lua state may use."},
    {.name = "shared",
     .type = KEY_SIZE,
     .offset = offsetof(struct snapshot, lua.shared_bytes),
     .initial = "16MiB",
     .minimum = 4u * MIB,
     .maximum = 1024u * MIB,
     .example = "64MiB",
     .summary = "Memory of all dictionaries of `alacrity.shared` together; what was not used for "
                "the longest time makes room."},
    {.name = "overruns",
     .type = KEY_INTEGER,
     .offset = offsetof(struct snapshot, lua.overruns),
     .initial = "3",
     .maximum = 1000000,
     .example = "3",
     .summary = "Times a script may be stopped within `overrun_window` before a thread asks it no "
                "more, until a new version is published. 0: never."},
    {.name = "overrun_window",
     .type = KEY_DURATION,
     .offset = offsetof(struct snapshot, lua.overrun_window_ms),
     .initial = "1m",
     .minimum = 1,
     .maximum = 86400u * SECOND,
     .example = "10m",
     .summary = "See `overruns` and `rollback_errors`."},
    {.name = "rollback_errors",
     .type = KEY_INTEGER,
     .offset = offsetof(struct snapshot, lua.rollback_errors),
     .initial = "10",
     .maximum = 1000000,
     .example = "10",
     .summary = "Errors, bad answers and overruns of a new version of a policy within "
                "`overrun_window` after which the pool returns to the version before. 0: never."},
    {.name = "path",
     .type = KEY_DIRECTORIES,
     .offset = offsetof(struct snapshot, lua.path),
     .count_offset = offsetof(struct snapshot, lua.path_count),
     .otherwise = "none",
     .example = "[./scripts]",
     .summary =
         "Directories where `require` in a script looks for modules, relative to this file."},
};
static const struct shape lua_shape = {.what = "lua", KEYS(lua_keys)};

static const struct key policy_keys[] = {
    {.name = "name",
     .type = KEY_STOCK,
     .offset = offsetof(struct pool_config, policy),
     .folder = "policies",
     .example = "least-conn",
     .summary = "A policy that comes with Alacrity."},
    {.name = "script",
     .type = KEY_SCRIPT,
     .offset = offsetof(struct pool_config, policy),
     .example = "./mine.lua",
     .summary = "A policy of your own, a Lua file, relative to this file."},
    {.name = "with",
     .type = KEY_OPTIONS,
     .offset = offsetof(struct pool_config, policy),
     .example = "{key: value}",
     .summary = "Options of the policy, as it declares them."},
    {.name = "fallback",
     .type = KEY_TEXT,
     .offset = offsetof(struct pool_config, fallback),
     .initial = "round-robin",
     .choices = fallbacks,
     .example = "round-robin",
     .summary = "What answers when the policy fails or finds no backend: plain rotation in C, or "
                "closing the connection."},
    {.name = "on_error",
     .type = KEY_TEXT,
     .offset = KEY_NOT_STORED,
     .initial = "fallback",
     .choices = error_actions,
     .example = "fallback",
     .summary = "What an error in the policy leads to."},
};
static const struct shape policy_shape = {
    .what = "a policy", KEYS(policy_keys), .shorthand = "name", .either = {"name", "script"}};

static const struct key check_keys[] = {
    {.name = "type",
     .type = KEY_STOCK,
     .offset = offsetof(struct check_config, script),
     .folder = "checks",
     .example = "tcp",
     .summary = "A check that comes with Alacrity."},
    {.name = "script",
     .type = KEY_SCRIPT,
     .offset = offsetof(struct check_config, script),
     .example = "./mine.lua",
     .summary = "A check of your own, a Lua file, relative to this file."},
    {.name = "with",
     .type = KEY_OPTIONS,
     .offset = offsetof(struct check_config, script),
     .example = "{path: /health}",
     .summary = "Options of the check, as it declares them."},
    {.name = "interval",
     .type = KEY_DURATION,
     .offset = offsetof(struct check_config, interval_ms),
     .initial = "2s",
     .minimum = 10,
     .maximum = DAY,
     .example = "2s",
     .summary = "Time from one check of a backend to the next, spread a little at random."},
    {.name = "timeout",
     .type = KEY_DURATION,
     .offset = offsetof(struct check_config, timeout_ms),
     .initial = "1s",
     .minimum = 1,
     .maximum = HOUR,
     .example = "1s",
     .summary = "A check that takes longer has failed."},
    {.name = "rise",
     .type = KEY_INTEGER,
     .offset = offsetof(struct check_config, rise),
     .initial = "2",
     .minimum = 1,
     .maximum = 1000,
     .example = "2",
     .summary = "Checks in a row that must succeed before a backend that was down is used again."},
    {.name = "fall",
     .type = KEY_INTEGER,
     .offset = offsetof(struct check_config, fall),
     .initial = "3",
     .minimum = 1,
     .maximum = 1000,
     .example = "3",
     .summary = "Checks in a row that must fail before a backend counts as down."},
};
static const struct shape check_shape = {.what = "a check",
                                         KEYS(check_keys),
                                         .shorthand = "type",
                                         .either = {"type", "script"},
                                         .may_be_off = true};

static const struct key pool_timeout_keys[] = {
    {.name = "connect",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, connect_ms),
     .otherwise = "`timeouts.connect`",
     .maximum = HOUR,
     .example = "1s",
     .summary = "As in `timeouts`, for this pool."},
};
static const struct shape pool_timeout_shape = {.what = "a pool's timeouts",
                                                KEYS(pool_timeout_keys)};

static const struct key backend_keys[] = {
    {.name = "address",
     .type = KEY_ADDRESS,
     .required = true,
     .example = "127.0.0.1:9001",
     .summary = "`127.0.0.1:9001`, `[::1]:9001`, `name:9001` (looked up when the configuration is "
                "loaded) or `unix:/path`."},
    {.name = "weight",
     .type = KEY_INTEGER,
     .offset = offsetof(struct backend_config, weight),
     .initial = "1",
     .maximum = 1000000,
     .example = "3",
     .summary = "Its share compared with the others. 0: no new sessions."},
    {.name = "max_sessions",
     .type = KEY_INTEGER,
     .offset = offsetof(struct backend_config, max_sessions),
     .initial = "0",
     .maximum = SESSIONS_MAX,
     .example = "500",
     .summary = "Sessions it may have at once. 0: no limit."},
    {.name = "zone",
     .type = KEY_WORD,
     .offset = offsetof(struct backend_config, zone),
     .otherwise = "none",
     .example = "east",
     .summary = "Where it stands: a room, a site, a region. Policies may prefer those near by."},
    {.name = "tags",
     .type = KEY_WORDS,
     .offset = offsetof(struct backend_config, tags),
     .count_offset = offsetof(struct backend_config, tag_count),
     .maximum = BACKEND_TAGS_MAX,
     .otherwise = "none",
     .example = "[canary, ssd]",
     .summary = "Words that policies know it by. At most 32 different ones in the file."},
};
_Static_assert(SNAPSHOT_TAGS_MAX == 32, "the summary says so");
static const struct shape backend_shape = {.what = "a backend",
                                           KEYS(backend_keys),
                                           .shorthand = "address",
                                           .bytes = sizeof(struct backend_config),
                                           .at_offset = offsetof(struct backend_config, at)};

static const struct key pool_keys[] = {
    {.name = "policy",
     .type = KEY_MAP,
     .shape = &policy_shape,
     .initial = "round-robin",
     .example = "least-conn",
     .summary = "How a backend is chosen. The name of a stock policy alone is enough."},
    {.name = "check",
     .type = KEY_MAP,
     .offset = offsetof(struct pool_config, check),
     .shape = &check_shape,
     .otherwise = "no check",
     .example = "{type: tcp, interval: 2s}",
     .summary = "How the health of the backends is found out. The name of a stock check alone is "
                "enough; `false`: no check, all count as up."},
    {.name = "retries",
     .type = KEY_INTEGER,
     .offset = offsetof(struct pool_config, retries),
     .initial = "3",
     .maximum = 15,
     .example = "3",
     .summary = "Further backends to try when connecting to the first fails."},
    {.name = "suspect_after",
     .type = KEY_INTEGER,
     .offset = offsetof(struct pool_config, suspect_after),
     .initial = "3",
     .maximum = 1000,
     .example = "3",
     .summary = "Failed connections in a row that put a backend aside at once, without waiting for "
                "a check. 0: never."},
    {.name = "timeouts",
     .type = KEY_MAP,
     .offset = offsetof(struct pool_config, timeouts),
     .shape = &pool_timeout_shape,
     .example = "{connect: 1s}",
     .summary = "Timeouts that differ from the general ones."},
    {.name = "source",
     .type = KEY_SOURCE,
     .offset = offsetof(struct pool_config, source),
     .otherwise = "as the kernel routes",
     .example = "192.0.2.10",
     .summary = "Where sessions reach backends from: an address of this machine, or `client`: the "
                "address of each client. That needs CAP_NET_ADMIN, and backends whose answers come "
                "back through this machine. Checks are not concerned, nor are unix sockets."},
    {.name = "tcp",
     .type = KEY_MAP,
     .offset = offsetof(struct pool_config, tcp),
     .shape = &schema_tcp_connecting,
     .example = "{user_timeout: 30s}",
     .summary = "Options of the TCP connections to the backends. Unix sockets and checks are not "
                "concerned."},
    {.name = "zone",
     .type = KEY_WORD,
     .offset = offsetof(struct pool_config, zone),
     .otherwise = "the general `zone`",
     .example = "west",
     .summary = "Where this balancer stands, as this pool's backends see it."},
    {.name = "backends",
     .type = KEY_NAMED,
     .required = true,
     .offset = offsetof(struct pool_config, backends),
     .count_offset = offsetof(struct pool_config, backend_count),
     .shape = &backend_shape,
     .example = "{a: 127.0.0.1:9001}",
     .summary = "The servers, each under a name of its own. An address alone is enough."},
};
static const struct shape pool_shape = {.what = "a pool",
                                        KEYS(pool_keys),
                                        .bytes = sizeof(struct pool_config),
                                        .at_offset = offsetof(struct pool_config, at)};

static const struct key service_keys[] = {
    {.name = "name",
     .type = KEY_STOCK,
     .offset = offsetof(struct listener_config, service),
     .folder = "services",
     .example = "stats",
     .summary = "A service that comes with Alacrity."},
    {.name = "script",
     .type = KEY_SCRIPT,
     .offset = offsetof(struct listener_config, service),
     .example = "./page.lua",
     .summary = "A service of your own, a Lua file, relative to this file."},
    {.name = "with",
     .type = KEY_OPTIONS,
     .offset = offsetof(struct listener_config, service),
     .example = "{title: Example}",
     .summary = "Options of the service, as it declares them."},
};
static const struct shape service_shape = {
    .what = "a service", KEYS(service_keys), .shorthand = "name", .either = {"name", "script"}};

static const struct key route_keys[] = {
    {.name = "name",
     .type = KEY_STOCK,
     .offset = offsetof(struct listener_config, route),
     .folder = "routes",
     .example = "rate-limit",
     .summary = "A route script that comes with Alacrity."},
    {.name = "script",
     .type = KEY_SCRIPT,
     .offset = offsetof(struct listener_config, route),
     .example = "./route.lua",
     .summary = "A route script of your own, a Lua file, relative to this file."},
    {.name = "with",
     .type = KEY_OPTIONS,
     .offset = offsetof(struct listener_config, route),
     .example = "{rate: 10}",
     .summary = "Options of the route script, as it declares them."},
};
static const struct shape route_shape = {
    .what = "a route", KEYS(route_keys), .shorthand = "name", .either = {"name", "script"}};

static const struct key listener_timeout_keys[] = {
    {.name = "idle",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, idle_ms),
     .otherwise = "`timeouts.idle`",
     .maximum = 30u * DAY,
     .example = "1m",
     .summary = "As in `timeouts`, for this listener."},
    {.name = "session",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, session_ms),
     .otherwise = "`timeouts.session`",
     .maximum = 30u * DAY,
     .example = "12h",
     .summary = "As in `timeouts`, for this listener."},
    {.name = "route",
     .type = KEY_DURATION,
     .offset = offsetof(struct timeouts, route_ms),
     .otherwise = "`timeouts.route`",
     .maximum = HOUR,
     .example = "2s",
     .summary = "As in `timeouts`, for this listener."},
};
static const struct shape listener_timeout_shape = {.what = "a listener's timeouts",
                                                    KEYS(listener_timeout_keys)};

static const struct key listener_keys[] = {
    {.name = "bind",
     .type = KEY_BINDS,
     .required = true,
     .offset = offsetof(struct listener_config, binds),
     .count_offset = offsetof(struct listener_config, bind_count),
     .example = "\"127.0.0.1:8080\"",
     .summary = "Where to accept connections: `127.0.0.1:80`, `\"*:80\"` (all of IPv4), "
                "`\"[::]:80\"` or `unix:/path`; one or a list."},
    {.name = "pool",
     .type = KEY_POOL,
     .offset = offsetof(struct listener_config, pool),
     .otherwise = "none",
     .example = "app",
     .summary =
         "The pool whose backends answer; with a `route`, those of the sessions for which it "
         "chooses none."},
    {.name = "route",
     .type = KEY_MAP,
     .shape = &route_shape,
     .otherwise = "none",
     .example = "rate-limit",
     .summary = "A script that chooses the pool for each session, or rejects it. The name of a "
                "stock route alone is enough."},
    {.name = "service",
     .type = KEY_MAP,
     .shape = &service_shape,
     .otherwise = "none",
     .example = "stats",
     .summary = "A script that answers HTTP itself, in place of a pool. The name of a stock "
                "service alone is enough."},
    {.name = "max_sessions",
     .type = KEY_INTEGER,
     .offset = offsetof(struct listener_config, max_sessions),
     .initial = "0",
     .maximum = SESSIONS_MAX,
     .example = "20000",
     .summary = "Sessions it may have at once. 0: no limit but that of `limits.sessions`."},
    {.name = "backlog",
     .type = KEY_INTEGER,
     .offset = offsetof(struct listener_config, backlog),
     .initial = "4096",
     .minimum = 1,
     .maximum = 65535,
     .example = "4096",
     .summary = "Connections the kernel may keep waiting to be accepted."},
    {.name = "tcp",
     .type = KEY_MAP,
     .offset = offsetof(struct listener_config, tcp),
     .shape = &schema_tcp_listening,
     .example = "{fast_open: 256}",
     .summary = "Options of the TCP connections of clients. A reload changes them for those still "
                "to come; unix sockets are not concerned."},
    {.name = "timeouts",
     .type = KEY_MAP,
     .offset = offsetof(struct listener_config, timeouts),
     .shape = &listener_timeout_shape,
     .example = "{idle: 1m}",
     .summary = "Timeouts that differ from the general ones."},
};
static const struct shape listener_shape = {.what = "a listener",
                                            KEYS(listener_keys),
                                            .either = {"pool", "service"},
                                            .beside = "route",
                                            .bytes = sizeof(struct listener_config),
                                            .at_offset = offsetof(struct listener_config, at)};

static const struct key root_keys[] = {
    {.name = "workers",
     .type = KEY_INTEGER,
     .offset = offsetof(struct snapshot, workers),
     .otherwise = "one per CPU",
     .minimum = 1,
     .maximum = 63,
     .example = "2",
     .summary = "Threads that relay."},
    {.name = "pin_workers",
     .type = KEY_BOOLEAN,
     .offset = offsetof(struct snapshot, pin_workers),
     .initial = "false",
     .example = "on",
     .summary = "Ties each worker to one of the CPUs this process may run on."},
    {.name = "user",
     .type = KEY_USER,
     .otherwise = "who started it",
     .example = "alacrity",
     .summary = "Started as root, it becomes this user once its sockets are bound and its log is "
                "open; only binding ports below 1024 stays possible. A reload then reads files as "
                "that user, and cannot change it."},
    {.name = "timeouts",
     .type = KEY_MAP,
     .offset = offsetof(struct snapshot, timeouts),
     .shape = &timeout_shape,
     .example = "{connect: 5s, idle: 5m}",
     .summary = "How long to wait. Pools and listeners may differ."},
    {.name = "limits",
     .type = KEY_MAP,
     .shape = &limit_shape,
     .example = "{sessions: 100000}",
     .summary = "What the process as a whole may use."},
    {.name = "admin",
     .type = KEY_MAP,
     .shape = &admin_shape,
     .example = "{socket: /run/alacrity/admin.sock}",
     .summary = "The door for commands."},
    {.name = "log",
     .type = KEY_MAP,
     .shape = &log_shape,
     .example = "{target: stderr, level: info}",
     .summary = "What is written where."},
    {.name = "lua",
     .type = KEY_MAP,
     .shape = &lua_shape,
     .example = "{memory: 64MiB}",
     .summary = "Bounds of scripts."},
    {.name = "splice",
     .type = KEY_BOOLEAN,
     .offset = offsetof(struct snapshot, splice),
     .initial = "true",
     .example = "off",
     .summary = "Whether streams of many bytes stay in the kernel on their way from one connection "
                "to the other, which takes much less CPU. Off: they are copied, as all else."},
    {.name = "zone",
     .type = KEY_WORD,
     .offset = offsetof(struct snapshot, zone),
     .otherwise = "none",
     .example = "east",
     .summary = "Where this balancer stands: the zone of the backends that are near by."},
    {.name = "pools",
     .type = KEY_NAMED,
     .offset = offsetof(struct snapshot, pools),
     .count_offset = offsetof(struct snapshot, pool_count),
     .shape = &pool_shape,
     .example = "{app: {backends: {a: 127.0.0.1:9001}}}",
     .summary = "Groups of backends, each under a name of its own."},
    {.name = "listeners",
     .type = KEY_NAMED,
     .offset = offsetof(struct snapshot, listeners),
     .count_offset = offsetof(struct snapshot, listener_count),
     .shape = &listener_shape,
     .example = "{web: {bind: \"127.0.0.1:8080\", pool: app}}",
     .summary = "Addresses to accept connections on, each under a name of its own."},
};
const struct shape schema_root = {.what = "the configuration", KEYS(root_keys)};

const struct key *schema_find(const struct shape *shape, const char *name) {
    for (uint32_t i = 0; i < shape->key_count; i++) {
        if (strcmp(shape->keys[i].name, name) == 0) {
            return &shape->keys[i];
        }
    }
    return NULL;
}
