/* Lua states: making one, what every state has before a script runs in it, and errors. States are
 * made and closed on the builder; in between they belong to the thread of their host.
 *
 * Everything that may raise a Lua error runs under lua_cpcall or guard_*, so that running out of
 * memory while a state is made is a message, never the end of the process. */
#include "lua/vm.h"

#include <errno.h>
#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "lua/guard.h"
#include "lua/library.h"
#include "lua/rebuild.h"
#include "lua/run.h"
#include "lua/runtime.h"
#include "lua/state.h"
#include "lua/timers.h"
#include "pool/arena.h"
#include "pool/view.h"

#define OPENING_BUDGET_US 1000000u /* takes some 300 µs, on a machine at rest */

static const char cdef_text[] =
#include "script_cdef.h"
    ;

/* ---- what prelude.lua is handed ---- */

static double now_seconds(void) {
    return (double)clock_monotonic_us() / 1e6;
}

static void set_states(lua_State *lua) {
    lua_createtable(lua, STATE_COUNT, 0);
    for (int i = 0; i < STATE_COUNT; i++) {
        lua_pushstring(lua, state_word((enum backend_state)i));
        lua_rawseti(lua, -2, i);
    }
    lua_setfield(lua, -2, "states");
}

/* ctx.last_failure in words; any other errno is "error NUMBER". */
static const struct {
    int code;
    const char *word;
} failures[] = {
    {ECONNREFUSED, "refused"},       {ETIMEDOUT, "timeout"},         {EHOSTUNREACH, "unreachable"},
    {ENETUNREACH, "unreachable"},    {ECONNRESET, "reset"},          {ENOENT, "no socket"},
    {EADDRNOTAVAIL, "no port left"}, {EMFILE, "no descriptor left"}, {ENFILE, "no descriptor left"},
};

uint32_t vm_failure_code(const char *word) {
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        if (strcmp(failures[i].word, word) == 0) {
            return (uint32_t)failures[i].code;
        }
    }
    return 0;
}

static void set_failures(lua_State *lua) {
    lua_newtable(lua);
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        lua_pushstring(lua, failures[i].word);
        lua_rawseti(lua, -2, failures[i].code);
    }
    lua_setfield(lua, -2, "failures");
}

/* Zones by their code, tags by their name to their bit: those the configuration speaks of. */
static void set_labels(lua_State *lua, const struct snapshot *snapshot) {
    lua_newtable(lua);
    for (uint32_t i = 0; snapshot != NULL && i < snapshot->zone_count; i++) {
        lua_pushnumber(lua, snapshot->zones[i].code);
        lua_pushstring(lua, snapshot->zones[i].name);
        lua_rawset(lua, -3);
    }
    lua_setfield(lua, -2, "zones");
    lua_newtable(lua);
    for (uint32_t i = 0; snapshot != NULL && i < snapshot->tag_count; i++) {
        lua_pushnumber(lua, 1u << snapshot->tags[i].bit);
        lua_setfield(lua, -2, snapshot->tags[i].name);
    }
    lua_setfield(lua, -2, "tags");
}

static void set_function(lua_State *lua, struct vm *vm, const char *field, lua_CFunction function) {
    lua_pushlightuserdata(lua, vm);
    lua_pushcclosure(lua, function, 1);
    lua_setfield(lua, -2, field);
}

static void set_pointer(lua_State *lua, const char *field, const void *pointer) {
    lua_pushlightuserdata(lua, (void *)(uintptr_t)pointer);
    lua_setfield(lua, -2, field);
}

/* LuaJIT starts math.random with the same seed in every state, which would make all workers draw
 * the same backends. */
static double random_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
        seed = clock_monotonic_us() * 2654435761u ^ (uintptr_t)&seed;
    }
    return (double)(seed >> 11);
}

/* string.buffer, which only `require` of the package library, not opened here, would load. */
static void push_buffer_library(lua_State *lua) {
    lua_getfield(lua, LUA_REGISTRYINDEX, "_PRELOAD");
    if (lua_istable(lua, -1)) {
        lua_getfield(lua, -1, "string.buffer");
        lua_remove(lua, -2);
    }
    if (!lua_isfunction(lua, -1)) {
        luaL_error(lua, "this LuaJIT has no string.buffer");
    }
    lua_call(lua, 0, 1);
}

static void push_prelude_arguments(lua_State *lua, struct vm *vm) {
    lua_newtable(lua);
    lua_pushcfunction(lua, luaopen_ffi);
    lua_call(lua, 0, 1);
    lua_setfield(lua, -2, "ffi");
    push_buffer_library(lua);
    lua_setfield(lua, -2, "buffer");
    lua_pushstring(lua, cdef_text);
    lua_setfield(lua, -2, "cdef");
    set_pointer(lua, "natives", &view_natives);
    library_push(vm, lua);
    set_pointer(lua, "now", (const void *)(uintptr_t)vm->host->now);
    set_states(lua);
    set_failures(lua);
    set_labels(lua, vm->host->snapshot);
    set_function(lua, vm, "log", library_log);
    set_function(lua, vm, "load_builtin", state_load_builtin);
    set_function(lua, vm, "load_file", state_load_file);
    lua_pushnumber(lua, vm->host->seed != 0 ? vm->host->seed : random_seed());
    lua_setfield(lua, -2, "seed");
    lua_pushboolean(lua, vm->host->loop != NULL);
    lua_setfield(lua, -2, "control");
    if (vm->host->owner < ARENA_CONTROL_ROW) {
        lua_pushnumber(lua, vm->host->owner);
        lua_setfield(lua, -2, "worker");
    }
    lua_pushnumber(lua, vm->host->snapshot != NULL ? vm->host->snapshot->workers : 1);
    lua_setfield(lua, -2, "workers");
}

/* ---- making and closing ---- */

static void open_library(lua_State *lua, const char *name, lua_CFunction open) {
    lua_pushcfunction(lua, open);
    lua_pushstring(lua, name);
    lua_call(lua, 1, 0);
}

/* Under lua_cpcall; argument: the vm. No io, debug or package is even opened. */
static int open_state(lua_State *lua) {
    struct vm *vm = lua_touserdata(lua, 1);
    size_t length = 0;
    const char *text = vm_builtin("alacrity", "prelude", &length);
    open_library(lua, "", luaopen_base);
    open_library(lua, LUA_TABLIBNAME, luaopen_table);
    open_library(lua, LUA_STRLIBNAME, luaopen_string);
    open_library(lua, LUA_MATHLIBNAME, luaopen_math);
    open_library(lua, LUA_BITLIBNAME, luaopen_bit);
    open_library(lua, LUA_OSLIBNAME, luaopen_os);
    open_library(lua, LUA_JITLIBNAME, luaopen_jit); /* without it nothing is compiled */
    if (vm->host->snapshot != NULL && !vm->host->snapshot->lua.jit) {
        luaJIT_setmode(lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    }
    watchdog_prepare_state(lua);
    guard_open(vm, lua);
    if (text == NULL) {
        return luaL_error(lua, "the prelude is not built in");
    }
    if (luaL_loadbufferx(lua, text, length, "@alacrity.prelude", "t") != 0) {
        return lua_error(lua);
    }
    push_prelude_arguments(lua, vm);
    lua_call(lua, 1, 1);
    vm->prelude_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    if (vm->host->has_runs && !runtime_open(vm)) {
        return luaL_error(lua, "out of memory");
    }
    return 0;
}

/* Reached only by our own mistake: an unguarded call. LuaJIT ends the process after it. */
static int on_panic(lua_State *lua) {
    log_message(LOG_ERROR, "script", "BUG: unguarded error in Lua: %s", guard_error_text(lua, -1));
    log_stop();
    return 0;
}

/* Gives the state back: in order, or, when it was stopped in the middle of something, whole. */
void vm_give_back(struct vm *vm) {
    if (vm->lua != NULL && !(vm->lost && watchdog_is_proven())) {
        memory_bound = &vm->memory;
        lua_close(vm->lua);
        memory_bound = NULL;
    }
    vm->lua = NULL;
    memory_abandon(&vm->memory);
}

static void vm_free(struct vm *vm) {
    vm_give_back(vm);
    timers_free(vm);
    source_release(vm->source);
    rebuild_free(vm);
    free(vm->path);
    free(vm->name);
    free(vm);
}

static bool open_lua(struct vm *vm, char *error, size_t error_bytes) {
    vm->lost = false;
    vm->collection = (struct collection){0};
    vm->library.stage = ALACRITY_TRIAL;
    vm->handler_ref = vm->prelude_ref = LUA_NOREF;
    memory_bound = &vm->memory;
    vm->lua = luaL_newstate();
    memory_bound = NULL;
    if (vm->lua == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return false;
    }
    lua_atpanic(vm->lua, on_panic);
    if (vm->host->loop !=
        NULL) { /* control's: a long page shall not fill lua.memory with garbage */
        lua_gc(vm->lua, LUA_GCSETPAUSE, 110);
    }
    const uint32_t budget_us = vm->budget_us; /* of what users wrote; this is all ours */
    if (budget_us > 0 && budget_us < OPENING_BUDGET_US) {
        vm->budget_us = OPENING_BUDGET_US;
    }
    int status = guard_cfunction(vm, open_state, vm);
    vm->budget_us = budget_us;
    if (status == GUARD_STOPPED) {
        vm_describe_stop(vm, false, error, error_bytes);
    } else if (status != 0) {
        snprintf(error, error_bytes, "%s", guard_error_text(vm->lua, -1));
    }
    return status == 0;
}

bool vm_renew(struct vm *vm, char *error, size_t error_bytes) {
    vm_give_back(vm);
    return open_lua(vm, error, error_bytes);
}

const char *vm_name(const struct vm *vm) {
    return vm->name != NULL ? vm->name : "stock scripts";
}

static uint32_t budget_us(uint32_t configured_ms, uint32_t default_ms) {
    return (configured_ms > 0 ? configured_ms : default_ms) * 1000;
}

struct vm *state_new(struct script_host *host, const char *path, const char *name,
                     struct script_source *source, char *error, size_t error_bytes) {
    struct vm *vm = calloc(1, sizeof(*vm));
    snprintf(error, error_bytes, "out of memory");
    if (vm == NULL) {
        return NULL;
    }
    vm->host = host;
    vm->source = source != NULL ? source_hold(source) : NULL;
    library_init(vm);
    list_init(&vm->timers);
    if (host->snapshot != NULL) {
        vm->memory.cap_bytes = (size_t)host->snapshot->lua.memory_bytes;
        vm->pick_budget_us = budget_us(host->snapshot->lua.pick_budget_ms, 10);
        vm->budget_us = budget_us(host->snapshot->lua.budget_ms, 100);
    }
    if (path != NULL) {
        vm->path = strdup(path);
        vm->name = strdup(name);
        if (vm->path == NULL || vm->name == NULL) {
            vm_free(vm);
            return NULL;
        }
    }
    if (!open_lua(vm, error, error_bytes)) {
        vm_free(vm);
        return NULL;
    }
    if (host->started) { /* the tools of the command line load scripts as they go */
        vm->library.stage = ALACRITY_LIVE;
    }
    vm->next = host->states;
    host->states = vm;
    return vm;
}

struct script_host *vm_host_new(const struct snapshot *snapshot, struct arena *arena,
                                struct ev_loop *loop, const struct script_post *post,
                                uint32_t owner, struct messages *messages) {
    struct script_host *host = calloc(1, sizeof(*host));
    if (host == NULL) {
        messages_add(messages, (struct position){0}, "out of memory");
        return NULL;
    }
    host->snapshot = snapshot;
    host->arena = arena;
    host->loop = loop;
    host->has_runs = loop != NULL || (snapshot != NULL && snapshot_has_routes(snapshot));
    host->post = post;
    host->owner = owner;
    host->now = now_seconds;
    host->machine = &machine_real;
    return host;
}

void vm_host_virtual(struct script_host *host, double (*now)(void), double seed) {
    host->now = now;
    host->is_virtual = true;
    host->seed = seed;
}

void vm_host_free(struct script_host *host) {
    while (host->scripts != NULL) {
        struct script *script = host->scripts;
        host->scripts = script->next;
        script_free(script);
    }
    while (host->states != NULL) {
        struct vm *vm = host->states;
        host->states = vm->next;
        vm_free(vm);
    }
    library_host_free(host);
    free(host);
}

/* ---- for bindings ---- */

void state_push_prelude(const struct vm *vm, lua_State *lua, const char *field) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, vm->prelude_ref);
    lua_getfield(lua, -1, field);
    lua_remove(lua, -2);
}

void vm_push_module(struct vm *vm, lua_State *lua, const char *name) {
    state_push_prelude(vm, lua, "modules");
    lua_getfield(lua, -1, name);
    lua_remove(lua, -2);
}

void vm_set_module(struct vm *vm, const char *name) {
    state_push_prelude(vm, vm->lua, "modules");
    lua_insert(vm->lua, -2);
    lua_setfield(vm->lua, -2, name);
    lua_pop(vm->lua, 1);
}

static void push_view(struct vm *vm, lua_State *lua, const char *kind, const void *pointer) {
    state_push_prelude(vm, lua, kind);
    lua_pushlightuserdata(lua, (void *)(uintptr_t)pointer);
    lua_call(lua, 1, 1);
}

void vm_push_backend(struct vm *vm, lua_State *lua, const struct alacrity_backend *backend) {
    push_view(vm, lua, "backend", backend);
}

void vm_push_pool(struct vm *vm, lua_State *lua, const struct alacrity_pool *pool) {
    push_view(vm, lua, "pool", pool);
}

void vm_push_ctx(struct vm *vm, lua_State *lua, const struct alacrity_ctx *ctx) {
    push_view(vm, lua, "ctx", ctx);
}

void vm_push_closed(struct vm *vm, lua_State *lua, const struct alacrity_closed *closed) {
    push_view(vm, lua, "closed", closed);
}

/* ---- memory ---- */

uint64_t vm_memory_bytes(const struct vm *vm) {
    if (vm->resting) {
        return 0;
    }
    return (uint64_t)lua_gc(vm->lua, LUA_GCCOUNT, 0) * 1024 +
           (uint64_t)lua_gc(vm->lua, LUA_GCCOUNTB, 0);
}

uint64_t vm_host_memory_bytes(const struct script_host *host) {
    uint64_t bytes = 0;
    for (const struct vm *vm = host->states; vm != NULL; vm = vm->next) {
        bytes += vm_memory_bytes(vm);
    }
    return bytes;
}

/* ---- errors ---- */

/* Lua shortens the name of a long path in its messages to "..." and its end: this gives where the
 * rest of the message begins if that stands for `name`, else NULL. */
static const char *after_name(const char *message, const char *name) {
    size_t length = strlen(name);
    if (strncmp(message, name, length) == 0 && message[length] == ':') {
        return message + length;
    }
    if (strncmp(message, "...", 3) == 0) {
        const char *shown = message + 3, *colon = strchr(shown, ':');
        size_t shown_length = colon != NULL ? (size_t)(colon - shown) : 0;
        if (shown_length > 0 && shown_length < length &&
            strncmp(name + length - shown_length, shown, shown_length) == 0) {
            return colon;
        }
    }
    return NULL;
}

void vm_add_error(struct script *script, lua_State *thread, const char *doing,
                  const struct script_use *use, struct messages *messages) {
    char chunk[300], stop[128];
    const char *name = script_chunk_name(script, chunk, sizeof(chunk));
    const char *message = stop, *rest = NULL;
    if (script->vm->lost) {
        vm_describe_stop(script->vm, false, stop, sizeof(stop));
    } else {
        message = guard_error_text(thread, -1);
        rest = after_name(message, name);
    }
    if (use->at.file == NULL) { /* nothing configured it */
        messages_add(messages, (struct position){0}, "%s%s%s", name, rest != NULL ? "" : ": ",
                     rest != NULL ? rest : message);
    } else if (use->at.line == 0) { /* a command asked for it */
        messages_add(messages, (struct position){0}, "%s%s%s (%s for %s)", name,
                     rest != NULL ? "" : ": ", rest != NULL ? rest : message, doing, use->at.file);
    } else {
        messages_add(messages, (struct position){0}, "%s%s%s (%s for %s:%u:%u)", name,
                     rest != NULL ? "" : ": ", rest != NULL ? rest : message, doing, use->at.file,
                     use->at.line, use->at.column);
    }
    if (!script->vm->lost) {
        lua_pop(thread, 1);
    }
}

void vm_describe_stop(const struct vm *vm, bool picking, char *out, size_t bytes) {
    switch (vm->stop.cause) {
    case STOP_STACK:
        snprintf(out, bytes, "it was stopped: it used up its C stack (a recursion without end?)");
        break;
    case STOP_MEMORY:
        snprintf(out, bytes, "it was stopped: it filled its memory (lua.memory: %zu KiB)",
                 vm->memory.cap_bytes / 1024);
        break;
    default:
        snprintf(out, bytes, "it was stopped: it used more than %u ms of CPU time (lua.%s: %u ms)",
                 vm->stop.cpu_us / 1000, picking ? "pick_budget" : "budget",
                 (picking ? vm->pick_budget_us : vm->budget_us) / 1000);
    }
}

static bool first_time(struct script *script, const char *message) {
    uint32_t hash = hash_bytes(message, strlen(message));
    hash = hash != 0 ? hash : 1; /* 0 marks an unused entry */
    for (uint32_t i = 0; i < SCRIPT_SEEN_ERRORS; i++) {
        if (script->seen[i] == hash) {
            return false;
        }
    }
    script->seen[script->seen_next++ % SCRIPT_SEEN_ERRORS] = hash;
    return true;
}

void vm_describe_role(const struct vm *vm, char out[SCRIPT_ROLE_BYTES]) {
    const char *pool = vm->host->shadow_of;
    snprintf(out, SCRIPT_ROLE_BYTES, "%s%s%s", pool != NULL ? " (shadow of " : "",
             pool != NULL ? pool : "", pool != NULL ? ")" : "");
}

void vm_report(struct script *script, const char *hook, const char *message) {
    struct vm *vm = script->vm;
    script->errors++;
    vm->errors++;
    snprintf(script->last_error, sizeof(script->last_error), "%s", message);
    memcpy(vm->last_error, script->last_error, sizeof(vm->last_error));
    char role[SCRIPT_ROLE_BYTES];
    vm_describe_role(vm, role);
    bool traced = first_time(script, message) && vm->traceback[0] != '\0';
    log_limited(LOG_ERROR, "script", "%s of %s%s failed: %s%s%s", hook, script->name, role, message,
                traced ? "; traceback: " : "", traced ? vm->traceback : "");
}

void vm_report_error(struct script *script, lua_State *thread, const char *hook) {
    vm_report(script, hook, guard_error_text(thread, -1));
    lua_pop(thread, 1);
}

/* ---- self test ---- */

#define FIELD(structure, field)                                                                    \
    { #structure, #field, offsetof(struct structure, field), sizeof(struct structure) }

static const struct layout {
    const char *structure, *field;
    size_t offset, size;
} layouts[] = {
    FIELD(alacrity_backend, id),
    FIELD(alacrity_backend, weight),
    FIELD(alacrity_backend, active),
    FIELD(alacrity_backend, state_code),
    FIELD(alacrity_backend, connect_ewma_ms),
    FIELD(alacrity_backend, max_sessions),
    FIELD(alacrity_backend, connect_last_ms),
    FIELD(alacrity_backend, connected_at),
    FIELD(alacrity_backend, recovered_at),
    FIELD(alacrity_backend, zone_code),
    FIELD(alacrity_backend, tag_bits),
    FIELD(alacrity_pool, count),
    FIELD(alacrity_pool, generation),
    FIELD(alacrity_pool, zone_code),
    FIELD(alacrity_ctx, attempt),
    FIELD(alacrity_ctx, client_hash),
    FIELD(alacrity_ctx, client_port),
    FIELD(alacrity_ctx, last_failure_code),
    FIELD(alacrity_backend_private, name),
    FIELD(alacrity_backend_private, pool),
    FIELD(alacrity_backend_private, address),
    FIELD(alacrity_pool_private, all_count),
    FIELD(alacrity_pool_private, eligible),
    FIELD(alacrity_pool_private, all),
    FIELD(alacrity_pool_private, name),
    FIELD(alacrity_ctx_private, client),
    FIELD(alacrity_ctx_private, listener),
    FIELD(alacrity_ctx_private, values),
    FIELD(alacrity_closed, attempts),
    FIELD(alacrity_closed, client_hash),
    FIELD(alacrity_closed, client_port),
    FIELD(alacrity_closed, reason_code),
    FIELD(alacrity_closed, duration_ms),
    FIELD(alacrity_closed, bytes_in),
    FIELD(alacrity_closed, bytes_out),
    FIELD(alacrity_closed_private, client),
    FIELD(alacrity_closed_private, listener),
    FIELD(alacrity_closed_private, reason),
    FIELD(alacrity_closed_private, backend),
    FIELD(alacrity_closed_private, values),
    FIELD(alacrity_value, type),
    FIELD(alacrity_value, length),
    FIELD(alacrity_value, number),
    FIELD(alacrity_value, bytes),
    FIELD(alacrity_natives, least),
    FIELD(alacrity_natives, rotate),
    FIELD(alacrity_natives, rotate_words),
    FIELD(alacrity_natives, maglev),
    FIELD(alacrity_natives, ring),
    FIELD(alacrity_natives, find),
    FIELD(alacrity_natives, subset),
    FIELD(alacrity_natives, hash),
    FIELD(alacrity_natives, value_get),
    FIELD(alacrity_natives, value_set),
};

/* Under guard_cfunction; argument: the vm. Raises when a layout differs. */
static int compare_layouts(lua_State *lua) {
    const struct vm *vm = lua_touserdata(lua, 1);
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        const struct layout *layout = &layouts[i];
        state_push_prelude(vm, lua, "size");
        lua_pushstring(lua, layout->structure);
        lua_call(lua, 1, 1);
        state_push_prelude(vm, lua, "offset");
        lua_pushstring(lua, layout->structure);
        lua_pushstring(lua, layout->field);
        lua_call(lua, 2, 1);
        if (lua_tonumber(lua, -2) != (double)layout->size ||
            lua_tonumber(lua, -1) != (double)layout->offset) {
            return luaL_error(lua, "struct %s is laid out differently at %s", layout->structure,
                              layout->field);
        }
        lua_pop(lua, 2);
    }
    return 0;
}

bool state_self_test(char *error, size_t error_bytes) {
    struct script_host host = {0};
    struct vm *vm = state_new(&host, NULL, NULL, NULL, error, error_bytes);
    if (vm == NULL) {
        return false;
    }
    int status = guard_cfunction(vm, compare_layouts, vm);
    bool ok = status == 0;
    if (status > 0) {
        snprintf(error, error_bytes, "%s", guard_error_text(vm->lua, -1));
    }
    vm_free(vm);
    return ok;
}
