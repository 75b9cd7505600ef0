/* Routes for tests: made and run the way a worker does it, for a client that is made up. What it
 * sends comes in virtual time, moved on by the driver. */
#include <stdlib.h>
#include <string.h>

#include "lua/runtime.h"
#include "lua/test.h"

static struct test_file *file_of(struct ev_timer *timer) {
    return container_of(container_of(timer, struct test_client, timer), struct test_file, client);
}

/* ---- what the test calls ---- */

/* native.route(script, options) -> id; by the driver */
static int route_new_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    return test_use(lua, file, &file->memory, 1, &file->request.use)
               ? test_ask(lua, file, REQUEST_ROUTE)
               : 2;
}

/* What the client sends: the bytes at `at`, then seconds before each, or 0, and whether it ends. */
static bool read_client(lua_State *lua, struct test_file *file, int at) {
    struct test_client *client = &file->client;
    size_t length;
    const char *bytes = luaL_checklstring(lua, at, &length);
    double pause = luaL_checknumber(lua, at + 1);
    if (length > PEEK_BYTES_MAX) {
        (void)test_refuse(lua, "bytes are 16384 at most: a route cannot look at more");
        return false;
    }
    if (!(pause >= 0 && pause <= 86400)) {
        (void)test_refuse(lua, "pause must be seconds, 0 to 86400");
        return false;
    }
    free(client->bytes);
    *client = (struct test_client){.bytes = malloc(length + 1),
                                   .length = (uint32_t)length,
                                   .pause = pause,
                                   .ends = lua_toboolean(lua, at + 2)};
    if (client->bytes == NULL) {
        (void)test_refuse(lua, "out of memory");
        return false;
    }
    memcpy(client->bytes, bytes, length);
    return true;
}

/* native.routed(route, client, port, listener, bytes, pause, ended, timeout, connect, server,
 * values); the driver answers a word, the pool or why, and the values */
static int route_run_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_request *request = &file->request;
    double id = luaL_checknumber(lua, 1), timeout = luaL_checknumber(lua, 8);
    request->route = NULL;
    for (struct test_route *route = file->routes; route != NULL; route = route->next) {
        request->route = route->id == id ? route : request->route;
    }
    if (request->route == NULL) {
        return test_refuse(lua, "this is no route");
    }
    if (!(timeout >= 0.001 && timeout <= 86400)) {
        return test_refuse(lua, "timeout must be seconds, 0.001 to 86400");
    }
    request->timeout_ms = (uint32_t)(timeout * 1000);
    request->ctx.view = (struct alacrity_ctx){0};
    bool ok = test_read_session(lua, request, 2) && read_client(lua, file, 5) &&
              test_read_values(lua, request, 11) && test_server(lua, file, 9, 10);
    return ok ? test_ask(lua, file, REQUEST_ROUTED) : 2;
}

void test_route_functions(lua_State *lua, struct test_file *file) {
    static const luaL_Reg functions[] = {
        {"route", route_new_call}, {"routed", route_run_call}, {NULL, NULL}};
    lua_pushlightuserdata(lua, file);
    luaL_setfuncs(lua, functions, 1);
}

/* ---- the client ---- */

static struct peeked look(void *argument) {
    const struct test_client *client = &((struct test_file *)argument)->client;
    return (struct peeked){
        .bytes = client->bytes, .length = client->arrived, .ended = client->ended};
}

static void start_timer(struct test_file *file, double seconds) {
    struct runtime *runtime = file->host->runtime;
    runtime->machine->timer_stop(runtime, &file->client.timer);
    runtime->machine->timer_start(runtime, &file->client.timer, seconds);
}

static void on_timer(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct test_file *file = file_of(timer);
    struct test_client *client = &file->client;
    if (client->arrived < client->length) {
        client->arrived = client->pause > 0 ? client->arrived + 1 : client->length;
    }
    client->ended = client->ends && client->arrived == client->length;
    if (client->arrived < client->length) {
        start_timer(file, client->pause);
    }
    if (client->wanted > 0 && (client->arrived >= client->wanted || client->ended)) {
        client->wanted = 0;
        scripting->route_ready(client->run);
    }
}

/* What is there already was looked at before: only what comes can be enough. */
static void want(void *argument, uint32_t bytes) {
    ((struct test_file *)argument)->client.wanted = bytes;
}

/* A test knows of no configuration: any pool will do. */
static bool choose(void *argument, const char *pool) {
    struct test_file *file = argument;
    text_clear(&file->answer.info);
    text_string(&file->answer.info, pool);
    return true;
}

static void on_done(void *argument, enum route_answer answer, const char *why) {
    struct test_file *file = argument;
    struct test_answer *out = &file->answer;
    file->client.done = true;
    file->client.run = NULL;
    out->ok = true;
    text_clear(&out->text);
    switch (answer) {
    case ROUTE_POOL:
        text_string(&out->text, "pool");
        return;
    case ROUTE_NONE:
        text_string(&out->text, "default");
        break;
    case ROUTE_REJECT:
        text_string(&out->text, "rejected");
        break;
    case ROUTE_TIMEOUT:
        text_string(&out->text, "timeout");
        break;
    default: {
        const struct test_route *route = file->request.route;
        const struct script *script = ((struct instance *)(void *)route->route)->script;
        out->fatal = true;
        test_fail(file, "route %s: %s", route->config.route.name,
                  answer == ROUTE_RESTING || answer == ROUTE_OUT ? "it was stopped before"
                                                                 : script->last_error);
        break;
    }
    }
    text_clear(&out->info);
    text_string(&out->info, why);
}

/* ---- the driver's side ---- */

static void serve_route(struct test_file *file) {
    struct messages messages = {0};
    struct test_route *route = calloc(1, sizeof(*route));
    if (route == NULL) {
        test_fail(file, "out of memory");
        return;
    }
    route->id = ++file->next_id;
    route->of_case = file->case_number;
    route->config.name = (char *)(uintptr_t) "test";
    route->config.pool = -1;
    route->config.route = file->request.use;
    route->route = scripting->route_new(file->host, &route->config, &messages);
    scripting->host_start(file->host, file->loop); /* the state of the route may be new */
    route->next = file->routes;
    file->routes = route;
    file->answer.ok = route->route != NULL;
    file->answer.id = route->id;
    if (route->route == NULL) {
        test_fail_messages(file, &messages);
    }
    messages_free(&messages);
}

static void start_run(struct test_file *file) {
    struct test_client *client = &file->client;
    const struct route_order order = {.ctx = &file->request.ctx,
                                      .timeout_ms = file->request.timeout_ms,
                                      .argument = file,
                                      .look = look,
                                      .want = want,
                                      .choose = choose,
                                      .done = on_done};
    ev_init(&client->timer, on_timer);
    test_servers_begin(file);
    start_timer(file, client->pause);
    struct route_run *run = scripting->route_start(file->request.route->route, &order);
    if (!client->done) {
        client->run = run;
    }
}

bool test_route_serve(struct test_file *file) {
    if (file->request.kind == REQUEST_ROUTE) {
        serve_route(file);
        return true;
    }
    if (file->client.run == NULL && !file->client.done) {
        start_run(file);
    }
    if (!file->client.done) {
        return false;
    }
    (void)test_servers_end(file);
    test_check_stop(file);
    test_route_stop(file);
    return true;
}

void test_route_stop(struct test_file *file) {
    struct test_client *client = &file->client;
    struct runtime *runtime = file->host->runtime;
    if (client->bytes == NULL) {
        return;
    }
    runtime->machine->timer_stop(runtime, &client->timer);
    if (client->run != NULL) {
        scripting->route_cancel(client->run);
    }
    free(client->bytes);
    *client = (struct test_client){0};
}

void test_routes_stop_timers(const struct test_file *file, uint32_t of_case) {
    for (const struct test_route *route = file->routes; route != NULL; route = route->next) {
        if (route->of_case == of_case) {
            test_stop_timers(route->route);
        }
    }
}

void test_routes_free(struct test_file *file) {
    while (file->routes != NULL) {
        struct test_route *route = file->routes;
        file->routes = route->next;
        free(route);
    }
    free(file->client.bytes);
}
