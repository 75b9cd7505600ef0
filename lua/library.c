/* The parts of the scripts' library that need C: they are Lua files of their own, run by
 * prelude.lua in every new state, which call native functions through ffi.
 *
 * Such a function is called by machine code of the state, on the thread that owns it, and is not
 * left by the watchdog (watchdog.h): it may hold a lock for a moment. It must not call Lua. */
#include "lua/library.h"

#include "lua/rebuild.h"
#include "lua/run.h"
#include "lua/state.h"
#include "lua/timers.h"
#include "pool/arena.h"

static const char *const parts[] = {"shared", "metrics", "timers"};
#define PARTS (int)(sizeof(parts) / sizeof(parts[0]))

static void push_part(lua_State *lua, const char *part) {
    size_t length = 0;
    const char *name = lua_pushfstring(lua, "inner/%s", part);
    const char *text = vm_builtin("alacrity", name, &length);
    const char *chunk_name = lua_pushfstring(lua, "@alacrity.%s", part);
    if (text == NULL) {
        luaL_error(lua, "alacrity.%s is not built in", part);
    } else if (luaL_loadbufferx(lua, text, length, chunk_name, "t") != 0) {
        lua_error(lua);
    }
    lua_replace(lua, -3);
    lua_pop(lua, 1);
}

static void set_pointer(lua_State *lua, const char *field, const void *pointer) {
    lua_pushlightuserdata(lua, (void *)(uintptr_t)pointer);
    lua_setfield(lua, -2, field);
}

static void set_function(lua_State *lua, struct vm *vm, const char *field, lua_CFunction function) {
    lua_pushlightuserdata(lua, vm);
    lua_pushcclosure(lua, function, 1);
    lua_setfield(lua, -2, field);
}

void library_init(struct vm *vm) {
    const struct script_host *host = vm->host;
    vm->library.arena = host->arena;
    vm->library.row = host->owner;
    vm->library.now = host->is_virtual ? host->now : NULL;
    vm->library.shared = host->arena != NULL ? arena_shared(host->arena) : NULL;
}

void library_push(struct vm *vm, lua_State *lua) {
    set_pointer(lua, "library", &vm->library);
    set_pointer(lua, "shared", &shared_natives);
    set_pointer(lua, "metrics", &metric_natives);
    set_function(lua, vm, "open_metric", library_open_metric);
    set_function(lua, vm, "open_timer", timers_open);
    set_function(lua, vm, "cancel_timer", timers_cancel);
    set_function(lua, vm, "peek", route_peek);
    set_function(lua, vm, "use", route_use);
    set_function(lua, vm, "reject", route_reject);
    lua_createtable(lua, PARTS, 0);
    for (int i = 0; i < PARTS; i++) {
        push_part(lua, parts[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "parts");
}

void library_host_start(struct script_host *host, struct ev_loop *loop) {
    host->started = true;
    host->shadow_of = NULL;
    host->owner_loop = loop;
    struct runtime *runtime = host->runtime;
    if (runtime != NULL && loop != NULL) {
        runtime->loop = loop;
    }
    for (struct vm *vm = host->states; vm != NULL; vm = vm->next) {
        if (!vm->resting) { /* a shadow's may: it begins when the builder gives it back */
            vm->library.stage = ALACRITY_LIVE;
            timers_start(vm);
        }
    }
}

void library_host_stop(struct script_host *host) {
    host->started = false;
    for (struct vm *vm = host->states; vm != NULL; vm = vm->next) {
        timers_stop(vm);
    }
    host->owner_loop = NULL;
}

void library_host_retire(struct script_host *host) {
    library_host_stop(host);
    rebuild_retire(host);
}
