/* Checks for tests: made and run the way the balancer does it, against servers that are functions
 * of the test. A server is a run of its own in the test's state, and holds the far end of the
 * connection the check made. All of it happens in virtual time, moved on by the driver. */
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "lua/guard.h"
#include "lua/rebuild.h"
#include "lua/runtime.h"
#include "lua/test.h"

/* ---- what the test calls ---- */

/* native.check(script, options) -> id; by the driver */
static int check_new_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    return test_use(lua, file, &file->memory, 1, &file->request.use)
               ? test_ask(lua, file, REQUEST_CHECK)
               : 2;
}

static bool set_fate(struct test_file *file, const char *word) {
    static const struct {
        const char *word;
        enum fake_fate fate;
    } fates[] = {{"refused", FATE_REFUSED},       {"unreachable", FATE_UNREACHABLE},
                 {"unanswered", FATE_UNANSWERED}, {"closed", FATE_CLOSED},
                 {"reset", FATE_RESET},           {"silent", FATE_SILENT}};
    for (size_t i = 0; i < sizeof(fates) / sizeof(fates[0]); i++) {
        if (strcmp(fates[i].word, word) == 0) {
            file->fake.fate = fates[i].fate;
            return true;
        }
    }
    return false;
}

bool test_server(lua_State *lua, struct test_file *file, int connect, int server) {
    file->fake.connect_seconds = luaL_checknumber(lua, connect);
    if (!(file->fake.connect_seconds >= 0 && file->fake.connect_seconds <= 86400)) {
        (void)test_refuse(lua, "connect must be seconds, 0 to 86400");
        return false;
    }
    if (lua_isfunction(lua, server)) {
        file->fake.fate = FATE_SERVED;
        lua_pushvalue(lua, server);
        file->server_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    } else if (lua_type(lua, server) != LUA_TSTRING || !set_fate(file, lua_tostring(lua, server))) {
        (void)test_refuse(lua, "server must be a function(conversation), a list of steps, or "
                               "\"refused\", \"unreachable\", \"unanswered\", \"closed\", "
                               "\"reset\" or \"silent\"");
        return false;
    }
    return true;
}

/* native.run(check, pool, backend, timeout, connect, server); the driver answers a word and text */
static int check_run_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_request *request = &file->request;
    double id = luaL_checknumber(lua, 1), timeout = luaL_checknumber(lua, 4);
    request->check = NULL;
    for (struct test_check *check = file->checks; check != NULL; check = check->next) {
        request->check = check->id == id ? check : request->check;
    }
    request->slot = test_pool_slot(test_pool_find(file, lua, 2), luaL_checkstring(lua, 3));
    if (request->check == NULL || request->slot == NULL) {
        return test_refuse(lua, "this check or its backend is another case's");
    }
    if (!(timeout >= 0.001 && timeout <= 86400)) {
        return test_refuse(lua, "timeout must be seconds, 0.001 to 86400");
    }
    request->timeout_ms = (uint32_t)(timeout * 1000);
    return test_server(lua, file, 5, 6) ? test_ask(lua, file, REQUEST_RUN) : 2;
}

/* native.served(reset, message): a server has come to its end */
static int served(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct runtime *runtime = file->host->runtime;
    struct run *run = runtime->current;
    if (lua_type(lua, 2) == LUA_TSTRING && file->server_error.length == 0) {
        text_string(&file->server_error, lua_tostring(lua, 2));
    }
    if (lua_toboolean(lua, 1) && run != NULL && run->sockets[0] != NULL) {
        fake_reset(&file->fake, run->sockets[0]);
    }
    return 0;
}

void test_check_functions(lua_State *lua, struct test_file *file) {
    static const luaL_Reg functions[] = {
        {"check", check_new_call}, {"run", check_run_call}, {"served", served}, {NULL, NULL}};
    lua_pushlightuserdata(lua, file);
    luaL_setfuncs(lua, functions, 1);
}

/* ---- servers ---- */

static void forget_server(struct test_run *server) {
    for (struct test_run **link = &server->file->servers; *link != NULL;
         link = &(*link)->next_server) {
        if (*link == server) {
            *link = server->next_server;
            return;
        }
    }
}

static void end_server(struct run *run, enum run_end how) {
    struct test_run *server = (struct test_run *)run;
    struct test_file *file = server->file;
    file->lost = file->lost || run->script->vm->lost;
    if (how != RUN_RETURNED && file->server_error.length == 0) {
        text_format(&file->server_error, "the server failed: %s", run->script->last_error);
    }
    forget_server(server);
    run_release(run);
    free(server);
}

/* Under guard_cfunction; argument: the run. Pushes function, conversation, number. */
static int push_server(lua_State *lua) {
    struct test_run *server = lua_touserdata(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, server->function_ref);
    net_push_socket(lua, &server->run, 0);
    lua_pushnumber(lua, server->number);
    lua_xmove(lua, server->run.thread, 3);
    return 0;
}

/* fake_step: the check has connected, and the far end waits for somebody. */
static void accept_connection(void *argument, struct fake_end *end) {
    struct test_file *file = argument;
    struct test_run *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        file->fake.failed = true;
        return;
    }
    server->file = file;
    server->number = ++file->connections;
    server->function_ref = file->server_ref;
    server->run.script = file->script;
    server->run.hook = "server";
    server->run.end = end_server;
    server->run.runtime = file->host->runtime;
    struct socket *socket = net_socket_new(&server->run, 0);
    if (socket == NULL) {
        free(server);
        file->fake.failed = true;
        return;
    }
    fake_adopt(&file->fake, end, socket);
    server->next_server = file->servers;
    file->servers = server;
    if (!run_start(&server->run, file->host, 0, push_server)) {
        file->fake.failed = true; /* it has no thread: only its socket is to be closed */
        forget_server(server);
        socket_close(socket);
        free(server);
    }
}

static void stop_servers(struct test_file *file) {
    while (file->servers != NULL) {
        struct test_run *server = file->servers;
        file->servers = server->next_server;
        run_release(&server->run);
        free(server);
    }
}

void test_servers_begin(struct test_file *file) {
    file->connections = 0;
    text_clear(&file->server_error);
    file->fake.accept = accept_connection;
    file->fake.argument = file;
}

bool test_servers_end(struct test_file *file) {
    while (file->servers != NULL && fake_due(&file->fake) <= file->fake.now &&
           fake_step(&file->fake)) {
    }
    stop_servers(file);
    if (file->server_error.length > 0) {
        file->answer.ok = false;
        file->answer.fatal = true;
        test_fail(file, "%s", file->server_error.bytes);
    }
    return file->server_error.length == 0;
}

/* ---- the driver's side ---- */

static void serve_check(struct test_file *file) {
    struct messages messages = {0};
    struct test_check *check = calloc(1, sizeof(*check));
    if (check == NULL) {
        test_fail(file, "out of memory");
        return;
    }
    check->id = ++file->next_id;
    check->of_case = file->case_number;
    check->config.name = (char *)(uintptr_t) "test";
    check->config.check.script = file->request.use;
    check->check = scripting->check_new(file->host, &check->config, &messages);
    scripting->host_start(file->host, file->loop); /* the state of the check may be new */
    check->next = file->checks;
    file->checks = check;
    file->answer.ok = check->check != NULL;
    file->answer.id = check->id;
    if (check->check == NULL) {
        test_fail_messages(file, &messages);
    }
    messages_free(&messages);
}

static void check_is_done(void *argument, enum check_answer answer, const char *info) {
    static const char *const words[] = {"up", "down", "drain"};
    struct test_file *file = argument;
    file->check_done = true;
    file->check_run = NULL;
    if (answer == CHECK_ERROR) {
        file->answer.fatal = true;
        test_fail(file, "check %s: %s", file->request.check->config.check.script.name, info);
        return;
    }
    file->answer.ok = true;
    text_string(&file->answer.text, words[answer]);
    text_string(&file->answer.info, info);
}

/* Where the backend stands, for what connect(backend) means; nothing ever connects there. */
static struct address address_of(const struct slot *slot) {
    struct address address;
    char error[160];
    if (address_parse(slot->script.address, &address, error, sizeof(error)) != ADDRESS_NUMERIC) {
        address = (struct address){.length = sizeof(address.v4), .v4.sin_family = AF_INET};
    }
    return address;
}

static void start_run(struct test_file *file) {
    const struct test_request *request = &file->request;
    struct address address = address_of(request->slot);
    file->check_done = false;
    test_servers_begin(file);
    struct check_run *run = scripting->check_start(request->check->check, request->slot, &address,
                                                   request->timeout_ms, check_is_done, file);
    if (!file->check_done) {
        file->check_run = run;
    }
    if (run == NULL && !file->check_done) {
        file->check_done = true;
        file->answer.fatal = true;
        test_fail(file, "check %s could not be started: it was stopped before, or memory is out",
                  request->check->config.check.script.name);
    }
}

bool test_check_serve(struct test_file *file) {
    if (file->request.kind == REQUEST_CHECK) {
        serve_check(file);
        return true;
    }
    if (file->check_run == NULL && !file->check_done) {
        start_run(file);
    }
    if (!file->check_done) {
        return false;
    }
    (void)test_servers_end(file);
    test_check_stop(file);
    return true;
}

void test_check_stop(struct test_file *file) {
    if (file->check_run != NULL) {
        scripting->check_cancel(file->check_run);
        file->check_run = NULL;
    }
    stop_servers(file);
    file->check_done = false;
    file->fake.fate = FATE_REFUSED; /* should the test itself connect: there is nobody */
    if (file->server_ref != LUA_NOREF && !file->lost) {
        luaL_unref(file->script->vm->lua, LUA_REGISTRYINDEX, file->server_ref);
    }
    file->server_ref = LUA_NOREF;
}

void test_checks_stop_timers(const struct test_file *file, uint32_t of_case) {
    for (const struct test_check *check = file->checks; check != NULL; check = check->next) {
        if (check->of_case == of_case) {
            test_stop_timers(check->check);
        }
    }
}

void test_checks_free(struct test_file *file) {
    while (file->checks != NULL) {
        struct test_check *check = file->checks;
        file->checks = check->next;
        free(check);
    }
}
