/* One file of tests: loading it, its cases one after the other, and the driver that serves what
 * they ask for. See test.h. The thread `alacrity test` runs on, which is watched. */
#include "lua/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "lua/guard.h"
#include "lua/runtime.h"
#include "lua/timers.h"

struct region *test_memory(struct test_file *file) {
    return file->case_number == 0 ? &file->memory : &file->case_memory;
}

struct test_file *test_file_of(lua_State *lua) {
    return lua_touserdata(lua, lua_upvalueindex(1));
}

/* Level 0 is our function, 1 the library's, 2 the test's. */
struct position test_position(lua_State *lua, const struct test_file *file) {
    struct position at = {.file = file->settings->path, .column = 1};
    lua_Debug frame;
    if (lua_getstack(lua, 2, &frame) && lua_getinfo(lua, "l", &frame) && frame.currentline > 0) {
        at.line = (uint32_t)frame.currentline;
    }
    return at;
}

int test_refuse(lua_State *lua, const char *format, ...) {
    va_list arguments;
    lua_pushnil(lua);
    va_start(arguments, format);
    lua_pushvfstring(lua, format, arguments);
    va_end(arguments);
    return 2;
}

void test_fail(struct test_file *file, const char *format, ...) {
    va_list arguments;
    file->answer.ok = false;
    text_clear(&file->answer.text);
    va_start(arguments, format);
    text_vformat(&file->answer.text, format, arguments);
    va_end(arguments);
}

void test_fail_messages(struct test_file *file, struct messages *messages) {
    size_t length = messages->text.length;
    while (length > 0 && messages->text.bytes[length - 1] == '\n') {
        length--;
    }
    test_fail(file, "%.*s", (int)length, length > 0 ? messages->text.bytes : "");
    if (length == 0) {
        test_fail(file, "out of memory");
    }
}

/* ---- asking and being answered ---- */

static void push_counts(lua_State *lua, const struct test_file *file) {
    const struct test_pool *pool = file->request.policy->pool;
    lua_createtable(lua, 0, (int)pool->count + 1);
    for (uint32_t i = 0; i < pool->count; i++) {
        lua_pushnumber(lua, file->answer.counts[i]);
        lua_setfield(lua, -2, pool->slots[i]->script.name);
    }
    lua_pushnumber(lua, file->answer.nobody);
}

/* What the waiting function answers: `false` and a message when something is to be raised, else
 * true and what was asked for. */
static int push_answer(lua_State *lua, struct run *run) {
    struct test_file *file = ((struct test_run *)run)->file;
    const struct test_answer *answer = &file->answer;
    const char *text = answer->text.bytes != NULL ? answer->text.bytes : "";
    enum request_kind kind = file->request.kind;
    bool made = kind == REQUEST_POLICY || kind == REQUEST_CHECK || kind == REQUEST_ROUTE;
    luaL_checkstack(lua, 8, NULL);
    lua_pushboolean(lua, !answer->fatal && (answer->ok || !made));
    if (answer->fatal || (!answer->ok && made)) {
        lua_pushstring(lua, text);
        return 2;
    }
    if (made) {
        lua_pushnumber(lua, answer->id);
        return 2;
    }
    if (kind == REQUEST_PICK && file->request.times > 0) {
        push_counts(lua, file);
        return 3;
    }
    if (kind == REQUEST_CLOSE || kind == REQUEST_ADVANCE) {
        return 1;
    }
    if (kind == REQUEST_PICK) {
        if (answer->ok) {
            lua_pushstring(lua, text);
            lua_pushnil(lua);
        } else {
            lua_pushnil(lua);
            lua_pushstring(lua, text);
        }
        test_push_values(lua, file);
        return 4;
    }
    lua_pushstring(lua, text);
    lua_pushstring(lua, answer->info.bytes != NULL ? answer->info.bytes : "");
    if (kind == REQUEST_ROUTED) {
        test_push_values(lua, file);
        return 4;
    }
    return 3;
}

int test_ask(lua_State *lua, struct test_file *file, enum request_kind kind) {
    const struct runtime *runtime = file->host->runtime;
    struct test_run *run = file->current;
    if (run == NULL || runtime->current != &run->run || run->run.thread != lua) {
        return test_refuse(lua, "only the case itself can do that, not a server, a coroutine or a "
                                "function that outlived its case");
    }
    file->request.kind = kind;
    file->answer.ok = file->answer.fatal = false;
    text_clear(&file->answer.text);
    text_clear(&file->answer.info);
    run->run.wait = WAIT_ANSWER;
    run->run.answer = push_answer;
    return lua_yield(lua, 0);
}

/* ---- what is due ---- */

/* A timer of a script under test failed, if one did: the case is to be told. */
static void note_trouble(struct test_file *file, struct script_host *host) {
    const struct script *script = host->timer_trouble;
    host->timer_trouble = NULL;
    if (script != NULL && script->kind != SCRIPT_TEST && file->timer_error.length == 0) {
        text_format(&file->timer_error, "a timer of %s failed: %s", script->name,
                    script->last_error);
    }
}

bool test_step(struct test_file *file) {
    double due, world_due = fake_due(&file->fake);
    const struct test_policy *policy = test_policy_due(file, &due);
    if (policy == NULL || due > world_due) {
        bool stepped = fake_step(&file->fake);
        note_trouble(file, file->host);
        return stepped;
    }
    file->fake.now = due > file->fake.now ? due : file->fake.now;
    (void)scripting->host_turn(policy->host);
    note_trouble(file, policy->host);
    return true;
}

/* True: the time is there. What failed on the way is told. */
static bool serve_advance(struct test_file *file) {
    double due, world_due = fake_due(&file->fake);
    (void)test_policy_due(file, &due);
    if (due <= file->request.until || world_due <= file->request.until) {
        return false;
    }
    file->fake.now = file->request.until;
    file->answer.ok = file->timer_error.length == 0;
    file->answer.fatal = !file->answer.ok;
    if (file->answer.fatal) {
        test_fail(file, "%s", file->timer_error.bytes);
        text_clear(&file->timer_error);
    }
    return true;
}

void test_stop_timers(const void *instance) {
    const struct instance *owner = instance;
    if (owner != NULL && !owner->script->vm->resting) {
        timers_stop_of(owner->script->vm, owner);
    }
}

/* ---- what test.lua is handed ---- */

/* native.case(name, function) */
static int add_case(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    size_t length;
    const char *name = luaL_checklstring(lua, 1, &length);
    luaL_checktype(lua, 2, LUA_TFUNCTION);
    if (file->case_number != 0) {
        return test_refuse(lua, "a case cannot be made inside another");
    }
    struct test_case *added = region_take(&file->memory, sizeof(*added));
    char *copy = region_copy(&file->memory, name, length);
    if (added == NULL || copy == NULL) {
        return test_refuse(lua, "out of memory");
    }
    lua_settop(lua, 2);
    added->function_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    added->name = copy;
    if (file->last_case != NULL) {
        file->last_case->next = added;
    } else {
        file->cases = added;
    }
    file->last_case = added;
    lua_pushboolean(lua, 1);
    return 1;
}

/* native.advance(seconds); by the driver */
static int advance(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    file->request.until = clock_round(file->fake.now + luaL_checknumber(lua, 1));
    return test_ask(lua, file, REQUEST_ADVANCE);
}

/* native.finish(passed, message): of the case that runs */
static int finish(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    file->passed = lua_toboolean(lua, 1);
    text_clear(&file->message);
    if (lua_type(lua, 2) == LUA_TSTRING) {
        text_string(&file->message, lua_tostring(lua, 2));
    }
    return 0;
}

/* print(...) of the test. Upvalues: the file, tostring. */
static int print(lua_State *lua) {
    const struct test_file *file = test_file_of(lua);
    int count = lua_gettop(lua);
    luaL_Buffer line;
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(lua, lua_upvalueindex(2));
        lua_pushvalue(lua, i);
        lua_call(lua, 1, 1);
        lua_replace(lua, i);
    }
    luaL_buffinit(lua, &line);
    for (int i = 1; i <= count; i++) {
        luaL_addstring(&line, i > 1 ? "\t" : "");
        lua_pushvalue(lua, i);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    file->settings->comment(file->settings->argument, lua_tostring(lua, -1));
    return 0;
}

/* native.callers() -> "my_test.lua:12, my_test.lua:30": where the functions of test files that are
 * being called stand, innermost first */
static int callers(lua_State *lua) {
    luaL_Buffer buffer;
    lua_Debug frame;
    int found = 0;
    luaL_buffinit(lua, &buffer);
    for (int level = 1; found < 12 && lua_getstack(lua, level, &frame); level++) {
        char line[LUA_IDSIZE + 32];
        if (!lua_getinfo(lua, "Sl", &frame) || frame.currentline <= 0 ||
            strcmp(frame.source, "@alacrity.test") == 0) {
            continue;
        }
        snprintf(line, sizeof(line), "%s%s:%d", found++ > 0 ? ", " : "", frame.short_src,
                 frame.currentline);
        luaL_addstring(&buffer, line);
    }
    luaL_pushresult(&buffer);
    return 1;
}

/* Under guard_cfunction; argument: the file. */
static int open_natives(lua_State *lua) {
    static const luaL_Reg functions[] = {{"case", add_case},
                                         {"finish", finish},
                                         {"callers", callers},
                                         {"advance", advance},
                                         {NULL, NULL}};
    struct test_file *file = lua_touserdata(lua, 1);
    lua_newtable(lua);
    lua_pushlightuserdata(lua, file);
    luaL_setfuncs(lua, functions, 1);
    test_pool_functions(lua, file);
    test_policy_functions(lua, file);
    test_check_functions(lua, file);
    test_route_functions(lua, file);
    vm_set_module(file->script->vm, "alacrity.test_native");

    lua_rawgeti(lua, LUA_REGISTRYINDEX, file->script->module_ref);
    lua_getfenv(lua, -1);
    lua_pushlightuserdata(lua, file);
    lua_getfield(lua, -2, "tostring");
    lua_pushcclosure(lua, print, 2);
    lua_setfield(lua, -2, "print");
    return 0;
}

/* ---- runs ---- */

static void end_run(struct run *run, enum run_end how) {
    struct test_run *test_run = (struct test_run *)run;
    struct test_file *file = test_run->file;
    const struct vm *vm = run->script->vm;
    file->returned_table = how == RUN_RETURNED && lua_istable(run->thread, 1);
    if (how != RUN_RETURNED) {
        file->passed = false;
        file->lost = file->lost || vm->lost;
        text_clear(&file->message);
        if (vm->lost && vm->stop.cause == STOP_BUDGET) {
            text_format(&file->message, "it was stopped: it ran for %u ms without an end",
                        vm->stop.cpu_us / 1000);
        } else {
            text_string(&file->message, run->script->last_error);
        }
    }
    file->current = NULL;
    run_release(run);
    free(test_run);
}

/* Under guard_cfunction; argument: the run. */
static int push_function(lua_State *lua) {
    struct test_run *run = lua_touserdata(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, run->function_ref);
    lua_xmove(lua, run->run.thread, 1);
    return 0;
}

static void serve_request(struct test_file *file) {
    bool done = true;
    switch (file->request.kind) {
    case REQUEST_NONE:
        return;
    case REQUEST_ADVANCE:
        done = serve_advance(file);
        break;
    case REQUEST_POLICY:
    case REQUEST_PICK:
    case REQUEST_CLOSE:
        test_policy_serve(file);
        break;
    case REQUEST_CHECK:
    case REQUEST_RUN:
        done = test_check_serve(file);
        break;
    case REQUEST_ROUTE:
    case REQUEST_ROUTED:
        done = test_route_serve(file);
        break;
    }
    if (done) {
        run_ready(&file->current->run); /* it may be gone afterwards */
    } else if (!test_step(file)) {
        file->fake.failed = true; /* a check that runs has a deadline: this cannot be */
    }
}

/* Ends what runs from outside. */
static void give_up(struct test_file *file, const char *why) {
    struct test_run *run = file->current;
    file->passed = false;
    text_clear(&file->message);
    text_string(&file->message, why);
    file->current = NULL;
    run_release(&run->run);
    free(run);
}

/* Runs the function to its end, in virtual time; file->passed and message say how it went. */
static void drive(struct test_file *file, int function_ref, const char *hook) {
    char late[80];
    uint64_t until_ms = clock_monotonic_ms() + file->settings->timeout_ms;
    struct test_run *run = calloc(1, sizeof(*run));
    file->passed = false;
    text_clear(&file->message);
    snprintf(late, sizeof(late), "it did not end within %g s", file->settings->timeout_ms / 1000.0);
    if (run == NULL) {
        text_string(&file->message, "out of memory");
        return;
    }
    run->file = file;
    run->function_ref = function_ref;
    run->run.script = file->script;
    run->run.hook = hook;
    run->run.end = end_run;
    file->current = run;
    if (!run_start(&run->run, file->host, 0, push_function)) {
        free(run);
        file->current = NULL;
        text_string(&file->message, "it could not be started: memory is out");
        return;
    }
    while (file->current != NULL) {
        if (file->fake.failed) {
            give_up(file, "memory is out");
        } else if (clock_monotonic_ms() > until_ms) {
            give_up(file, late);
        } else if (file->current->run.wait == WAIT_ANSWER) {
            serve_request(file);
        } else if (!test_step(file)) {
            give_up(file, "it waits for something that never happens");
        }
    }
    if (file->passed && file->timer_error.length > 0) {
        file->passed = false;
        text_string(&file->message, file->timer_error.bytes);
    }
    text_clear(&file->timer_error);
    test_check_stop(file);
    test_route_stop(file);
    file->request.kind = REQUEST_NONE;
}

static void tell(const struct test_file *file, const char *name, bool passed, const char *message) {
    const struct test_outcome outcome = {.name = name, .passed = passed, .message = message};
    file->settings->tell(file->settings->argument, &outcome);
}

static const char *message_of(const struct test_file *file) {
    return file->message.bytes != NULL && file->message.length > 0 ? file->message.bytes
                                                                   : "it failed";
}

static void run_cases(struct test_file *file) {
    const char *only = file->settings->only;
    uint32_t count = 0;
    for (const struct test_case *each = file->cases; each != NULL; each = each->next) {
        if (only != NULL && strstr(each->name, only) == NULL) {
            continue;
        }
        count++;
        if (file->lost) {
            tell(file, each->name, false, "not run: a case before it had to be stopped");
            continue;
        }
        file->case_number++;
        drive(file, each->function_ref, "case");
        tell(file, each->name, file->passed, file->passed ? "" : message_of(file));
        test_pools_free(file, file->case_number);
        test_checks_stop_timers(file, file->case_number);
        test_routes_stop_timers(file, file->case_number);
        region_free(&file->case_memory);
    }
    if (count == 0 && only == NULL) {
        tell(file, "has cases", false,
             file->returned_table
                 ? "this file is no test, but a script: it returns a table and makes no case; give "
                   "me the test of it, a file such as mine_test.lua"
                 : "there is no case in this file; write test.case(name, function)");
    }
}

/* ---- the file ---- */

/* Reads and compiles it. False: message. */
static bool load(struct test_file *file, const struct script_use *use) {
    struct messages messages = {0};
    file->host = scripting->host_new(&file->snapshot, file->arena, file->loop, &test_post,
                                     ARENA_CONTROL_ROW, &messages);
    if (file->host != NULL) {
        scripting->host_virtual(file->host, fake_now, file->settings->seed);
        file->host->machine = &machine_fake;
        file->host->world = &file->fake;
        file->script = vm_script(file->host, use, SCRIPT_TEST, &messages);
    }
    if (file->script != NULL && guard_cfunction(file->script->vm, open_natives, file) != 0) {
        vm_add_error(file->script, file->script->vm->lua, "prepared", use, &messages);
        file->script = NULL;
    }
    if (file->script == NULL) {
        test_fail_messages(file, &messages);
        text_string(&file->message, file->answer.text.bytes);
    } else {
        scripting->host_start(file->host, file->loop);
        file->script->vm->reads_files = true;
        file->script->vm->budget_us = file->settings->timeout_ms * 1000;
    }
    messages_free(&messages);
    return file->script != NULL;
}

/* It failed before it made a case: maybe because it is none. */
static void doubt(struct test_file *file) {
    static const char ending[] = "_test.lua";
    const char *path = file->settings->path;
    size_t length = strlen(path), end = sizeof(ending) - 1;
    bool named = length >= end && strcmp(path + length - end, ending) == 0;
    if (file->script != NULL && file->cases == NULL && !named) {
        text_string(&file->message,
                    "\nis this file a test? it made no case until then, and its name "
                    "does not end in _test.lua");
    }
}

static void file_free(struct test_file *file) {
    test_pools_free(file, 0);
    if (file->host != NULL) {
        scripting->host_free(file->host);
    }
    test_checks_free(file);
    test_routes_free(file);
    values_free(&file->request.values);
    fake_set_clock(NULL);
    fake_free(&file->fake);
    if (file->arena != NULL) {
        arena_free(file->arena);
    }
    if (file->loop != NULL) {
        ev_loop_destroy(file->loop);
    }
    text_free(&file->message);
    text_free(&file->answer.text);
    text_free(&file->answer.info);
    text_free(&file->server_error);
    text_free(&file->timer_error);
    region_free(&file->case_memory);
    region_free(&file->memory);
    free(file);
}

void test_file_run(const struct snapshot *snapshot, const struct test_settings *settings) {
    char error[256] = "out of memory";
    struct test_file *file = calloc(1, sizeof(*file));
    struct script_use use = {.name = (char *)(uintptr_t)settings->path,
                             .path = (char *)(uintptr_t)settings->path};
    if (file == NULL) {
        settings->tell(settings->argument, &(struct test_outcome){"is loaded", false, error});
        return;
    }
    file->settings = settings;
    file->snapshot = *snapshot;
    file->snapshot.zones = file->zones;
    file->snapshot.tags = file->tags;
    file->snapshot.zone_count = file->snapshot.tag_count = 0;
    file->snapshot.workers = 1;
    file->snapshot.pool_count = 0; /* options may name any */
    file->server_ref = LUA_NOREF;
    file->fake.fate = FATE_REFUSED;
    file->fake.now = 1000; /* not 0, as no clock of a machine that runs says 0 */
    fake_set_clock(&file->fake);
    file->loop = ev_loop_new(EVFLAG_AUTO);
    file->arena = arena_new(error, sizeof(error));
    if (file->loop == NULL || file->arena == NULL) {
        text_string(&file->message, error);
    } else if (load(file, &use)) {
        drive(file, file->script->module_ref, "file");
        file->passed = file->passed || file->message.length == 0;
    }
    if (file->passed) {
        run_cases(file);
    } else {
        doubt(file);
        tell(file, "is loaded", false, message_of(file));
    }
    file_free(file);
}
