/* Consoles: each is a Lua state of its own for one administrator, in which texts are evaluated over
 * the facts. It can look and not touch: its stage is ALACRITY_LOOKING, it has neither loop nor
 * network, no pool, no instance, nothing of any other state. Control thread, all of it: a state
 * takes a fraction of a millisecond to make.
 *
 * A text that uses up its budget or memory loses the state, as any script; a new one is made in its
 * place, without the variables. */
#include "lua/console.h"

#include <stdio.h>
#include <stdlib.h>

#include "lua/facts.h"
#include "lua/guard.h"
#include "lua/state.h"

struct console {
    struct snapshot *snapshot; /* whose limits hold */
    struct arena *arena;
    struct script_host *host; /* NULL: it could not be made anew, which is tried again */
    struct vm *vm;            /* its only state */
    int evaluate_ref;         /* registry: what inner/console.lua returned */
};

/* Under guard_cfunction; argument: the console. */
static int open_console(lua_State *lua) {
    struct console *console = lua_touserdata(lua, 1);
    size_t length = 0;
    const char *text = vm_builtin("alacrity", "inner/console", &length);
    vm_push_module(console->vm, lua, "alacrity");
    facts_open(lua); /* sets the field `facts`, and leaves the function */
    lua_pop(lua, 2);
    if (text == NULL) {
        return luaL_error(lua, "the console is not built in");
    }
    if (luaL_loadbufferx(lua, text, length, "@alacrity.console", "t") != 0) {
        return lua_error(lua);
    }
    state_push_prelude(console->vm, lua, "sandbox");
    lua_call(lua, 0, 1);
    lua_setfenv(lua, -2);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, console->vm->prelude_ref);
    lua_call(lua, 1, 1);
    console->evaluate_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    return 0;
}

static void close_state(struct console *console) {
    if (console->host != NULL) {
        vm_host_free(console->host);
    }
    console->host = NULL;
    console->vm = NULL;
}

/* False: error, and there is no state. */
static bool open_state(struct console *console, char *error, size_t error_bytes) {
    struct messages messages = {0};
    console->host =
        vm_host_new(console->snapshot, console->arena, NULL, NULL, ARENA_CONTROL_ROW, &messages);
    messages_free(&messages);
    snprintf(error, error_bytes, "out of memory");
    if (console->host == NULL) {
        return false;
    }
    console->vm = state_new(console->host, NULL, NULL, NULL, error, error_bytes);
    if (console->vm == NULL) {
        close_state(console);
        return false;
    }
    console->vm->library.stage = ALACRITY_LOOKING;
    int status = guard_cfunction(console->vm, open_console, console);
    if (status == GUARD_STOPPED) {
        vm_describe_stop(console->vm, false, error, error_bytes);
    } else if (status != 0) {
        snprintf(error, error_bytes, "%s", guard_error_text(console->vm->lua, -1));
    }
    if (status != 0) {
        close_state(console);
    }
    return status == 0;
}

struct console *console_new(struct snapshot *snapshot, struct arena *arena, char *error,
                            size_t error_bytes) {
    struct console *console = calloc(1, sizeof(*console));
    snprintf(error, error_bytes, "out of memory");
    if (console == NULL) {
        return NULL;
    }
    console->snapshot = snapshot_hold(snapshot);
    console->arena = arena;
    if (!open_state(console, error, error_bytes)) {
        console_free(console);
        return NULL;
    }
    return console;
}

void console_free(struct console *console) {
    close_state(console);
    snapshot_release(console->snapshot);
    free(console);
}

/* One text on its way. */
struct evaluation {
    const struct console *console;
    const char *text;
    size_t length;
    bool json;
    enum console_answer answer;
    struct text said;
};

/* Under guard_cfunction; argument: struct evaluation. */
static int evaluate(lua_State *lua) {
    struct evaluation *evaluation = lua_touserdata(lua, 1);
    size_t length;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, evaluation->console->evaluate_ref);
    lua_pushlstring(lua, evaluation->text, evaluation->length);
    lua_pushboolean(lua, evaluation->json);
    lua_call(lua, 2, 2);
    const char *said = lua_tolstring(lua, -1, &length);
    evaluation->answer = (enum console_answer)lua_tonumber(lua, -2);
    text_append(&evaluation->said, said, length);
    return 0;
}

/* The state is lost. */
static void begin_anew(struct console *console, struct text *out) {
    char how[160], error[256];
    vm_describe_stop(console->vm, false, how, sizeof(how));
    close_state(console);
    text_format(out, "%s; your variables are gone", how);
    if (!open_state(console, error, sizeof(error))) {
        text_format(out, "; and there is no new state: %s", error);
    }
}

enum console_answer console_evaluate(struct console *console, const char *text, size_t length,
                                     bool json, struct text *out) {
    struct evaluation evaluation = {
        .console = console, .text = text, .length = length, .json = json};
    char error[256];
    if (console->host == NULL && !open_state(console, error, sizeof(error))) {
        text_string(out, error);
        return CONSOLE_ERROR;
    }
    struct vm *vm = console->vm;
    int status = guard_cfunction(vm, evaluate, &evaluation);
    if (status == 0) {
        text_append(out, evaluation.said.bytes != NULL ? evaluation.said.bytes : "",
                    evaluation.said.length);
        out->failed = out->failed || evaluation.said.failed;
    } else if (status == GUARD_STOPPED) {
        begin_anew(console, out);
    } else {
        text_string(out, guard_error_text(vm->lua, -1));
        lua_pop(vm->lua, 1);
    }
    text_free(&evaluation.said);
    return status == 0 ? evaluation.answer : CONSOLE_ERROR;
}
