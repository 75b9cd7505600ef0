/* The guarded entries into Lua, and what an error looks like afterwards. Runs on the thread that
 * owns the state.
 *
 * A traceback is written into plain memory of the vm, without touching Lua's allocator, because
 * this code also runs when Lua is out of memory. */
#include "lua/guard.h"

#include <stdio.h>
#include <string.h>

#define TRACEBACK_LEVELS 16
#define COLLECT_EVERY 64

/* "mine.lua:3 in weigh <- mine.lua:9 in pick", innermost first. */
static void write_traceback(struct vm *vm, lua_State *from, int level) {
    size_t length = 0;
    lua_Debug frame;
    vm->traceback[0] = '\0';
    for (int i = 0; i < TRACEBACK_LEVELS && lua_getstack(from, level + i, &frame); i++) {
        if (!lua_getinfo(from, "Snl", &frame)) {
            return;
        }
        const char *separator = length > 0 ? " <- " : "";
        const char *name = frame.name != NULL ? frame.name : "?";
        size_t room = sizeof(vm->traceback) - length;
        int written;
        if (frame.currentline > 0) {
            written = snprintf(vm->traceback + length, room, "%s%s:%d in %s", separator,
                               frame.short_src, frame.currentline, name);
        } else {
            written = snprintf(vm->traceback + length, room, "%s%s", separator, name);
        }
        if (written < 0 || (size_t)written >= room) {
            return; /* full: the innermost frames, which say most, are there */
        }
        length += (size_t)written;
    }
}

const char *guard_error_text(lua_State *lua, int index) {
    switch (lua_type(lua, index)) {
    case LUA_TSTRING:
        return lua_tostring(lua, index);
    case LUA_TNUMBER: /* as text it would need memory */
        return "(the error is a number, not a message)";
    case LUA_TTABLE:
        return "(the error is a table, not a message)";
    case LUA_TNIL:
    case LUA_TNONE:
        return "(an error without a message)";
    default:
        return "(the error is no message)";
    }
}

/* Lua calls it where the error is raised, before the stack is unwound. */
static int on_error(lua_State *lua) {
    struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    write_traceback(vm, lua, 1);
    if (lua_type(lua, 1) != LUA_TSTRING) {
        lua_pushstring(lua, guard_error_text(lua, 1));
    }
    return 1;
}

void guard_open(struct vm *vm, lua_State *lua) {
    lua_pushlightuserdata(lua, vm);
    lua_pushcclosure(lua, on_error, 1);
    vm->handler_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
}

/* ---- the entries ---- */

/* One call, as the watchdog runs it. */
struct call {
    struct vm *vm;
    lua_State *lua;
    int arguments, results, handler, status;
    lua_CFunction function;
    void *argument;
};

static void pcall_work(void *argument) {
    struct call *call = argument;
    call->status = lua_pcall(call->lua, call->arguments, call->results, call->handler);
}

static void resume_work(void *argument) {
    struct call *call = argument;
    call->status = lua_resume(call->lua, call->arguments);
}

static void cpcall_work(void *argument) {
    struct call *call = argument;
    call->status = lua_cpcall(call->lua, call->function, call->argument);
}

/* Signal handler: writes where the script is, as well as can be told. The frame that the state
 * knows of may be that of the function which called the one that runs. */
static void look(void *argument) {
    const struct call *call = argument;
    struct vm *vm = call->vm;
    lua_Debug frame;
    vm->near[0] = '\0';
    for (int level = 0; level < 4 && lua_getstack(call->lua, level, &frame); level++) {
        if (lua_getinfo(call->lua, "S", &frame) && frame.linedefined >= 0 && frame.what[0] != 'C') {
            snprintf(vm->near, sizeof(vm->near), "%s:%d", frame.short_src, frame.linedefined);
            return;
        }
    }
}

void guard_watch(void) {
    watchdog_on_leaving(look);
}

/* Under collect_work; argument: the call. */
static int collect_part(lua_State *lua) {
    const struct call *call = lua_touserdata(lua, 1);
    struct collection *collection = &call->vm->collection;
    int added_kib = lua_gc(lua, LUA_GCCOUNT, 0) - collection->used_kib;
    int part_kib = added_kib < 4 ? 4 : added_kib > 256 ? 256 : added_kib;
    collection->under_way = lua_gc(lua, LUA_GCSTEP, part_kib) == 0;
    return 0;
}

/* Protected: a collection may need memory itself, when it moves the table of all strings. */
static void collect_work(void *argument) {
    struct call *call = argument;
    if (lua_cpcall(call->vm->lua, collect_part, call) != 0) {
        lua_pop(call->vm->lua, 1); /* there was none; the next part tries again */
    }
}

/* Every so many calls, a part of a collection as large as what was allocated since. LuaJIT begins
 * one by itself, inside a call, only when memory doubled: so none is paid for by a pick. Calls that
 * allocate nothing but LuaJIT's own wrappers would never begin one. */
static struct stop collect_some(struct call *call) {
    struct vm *vm = call->vm;
    struct collection *collection = &vm->collection;
    struct stop stop = {.cause = STOP_NONE};
    int used_kib = lua_gc(vm->lua, LUA_GCCOUNT, 0);
    if (collection->under_way || used_kib >= collection->next_kib) {
        stop = watchdog_run(&vm->memory, vm->budget_us, collect_work, call);
        used_kib = stop.cause == STOP_NONE ? lua_gc(vm->lua, LUA_GCCOUNT, 0) : 0;
        collection->next_kib = used_kib + used_kib / 2 + 64;
    }
    collection->used_kib = used_kib;
    return stop;
}

static int guarded(struct call *call, uint32_t budget_us, void (*work)(void *)) {
    struct vm *vm = call->vm;
    struct stop stop = watchdog_run(&vm->memory, budget_us, work, call);
    if (stop.cause == STOP_NONE && ++vm->collection.calls % COLLECT_EVERY == 0 &&
        memory_bound == NULL) { /* else this call was made inside another */
        stop = collect_some(call);
    }
    if (stop.cause == STOP_NONE) {
        return call->status;
    }
    if (stop.cause != STOP_BUDGET) {
        vm->near[0] = '\0'; /* of an earlier stop */
    }
    vm->stop = stop;
    vm->lost = true;
    return GUARD_STOPPED;
}

void guard_push_handler(const struct vm *vm, lua_State *lua) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, vm->handler_ref);
}

static int call_within(struct call *call, uint32_t budget_us) {
    struct vm *vm = call->vm;
    vm->calls++;
    int status = guarded(call, budget_us, pcall_work);
    if (status == LUA_ERRMEM || status == LUA_ERRERR) {
        vm->traceback[0] = '\0'; /* the handler did not run, or failed */
    }
    return status;
}

int guard_call(struct vm *vm, lua_State *lua, int handler, int arguments, int results) {
    struct call call = {
        .vm = vm, .lua = lua, .arguments = arguments, .results = results, .handler = handler};
    return call_within(&call, vm->pick_budget_us);
}

int guard_callback(struct vm *vm, lua_State *lua, int handler, int arguments, int results) {
    struct call call = {
        .vm = vm, .lua = lua, .arguments = arguments, .results = results, .handler = handler};
    return call_within(&call, vm->budget_us);
}

int guard_resume(struct vm *vm, lua_State *coroutine, int arguments) {
    struct call call = {.vm = vm, .lua = coroutine, .arguments = arguments};
    vm->calls++;
    int status = guarded(&call, vm->budget_us, resume_work);
    if (status > 0 && status != LUA_YIELD) {
        write_traceback(vm, coroutine, 0); /* a dead coroutine keeps its frames */
    }
    return status;
}

int guard_cfunction(struct vm *vm, lua_CFunction function, void *argument) {
    struct call call = {.vm = vm, .lua = vm->lua, .function = function, .argument = argument};
    vm->traceback[0] = '\0';
    return guarded(&call, vm->budget_us, cpcall_work);
}
