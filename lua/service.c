/* Services: Lua that answers HTTP requests (stats page, demo). An instance per listener, a run per
 * request. Instances are made on the builder, asked on control. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lua/guard.h"
#include "lua/run.h"
#include "lua/runtime.h"

struct service {
    struct instance instance; /* nothing more */
};

struct service_run {
    struct run run; /* first */
    const struct service *service;
    const struct service_request *request;
    service_done *done;
    void *argument;
};

struct service *runtime_service_new(struct script_host *host,
                                    const struct listener_config *listener,
                                    struct messages *messages) {
    return (struct service *)instance_new(host, &listener->service, SCRIPT_SERVICE, messages);
}

static void set_string(lua_State *lua, const char *key, const char *value) {
    lua_pushstring(lua, value);
    lua_setfield(lua, -2, key);
}

static void push_request(lua_State *lua, const struct service_request *request) {
    lua_createtable(lua, 0, 6);
    set_string(lua, "method", request->method);
    set_string(lua, "path", request->path);
    set_string(lua, "query", request->query);
    set_string(lua, "client", request->client);
    lua_pushlstring(lua, request->body, request->body_bytes);
    lua_setfield(lua, -2, "body");
    lua_createtable(lua, 0, (int)request->header_count);
    for (uint32_t i = 0; i < request->header_count; i++) {
        set_string(lua, request->header_names[i], request->header_values[i]);
    }
    lua_setfield(lua, -2, "headers");
}

/* Under guard_cfunction; argument: the run. Pushes serve, instance, request on the run's thread. */
static int push_call(lua_State *lua) {
    struct service_run *run = lua_touserdata(lua, 1);
    instance_push(lua, &run->service->instance, "serve");
    push_request(lua, run->request);
    lua_xmove(lua, run->run.thread, 3);
    return 0;
}

/* Is the body a list of strings, at least one? Their length. Raises nothing: no metamethods, no
 * conversion. */
static bool measure_pieces(lua_State *lua, size_t *length) {
    *length = 0;
    if (lua_type(lua, 3) != LUA_TTABLE) {
        return false;
    }
    size_t count = lua_objlen(lua, 3);
    if (count == 0) {
        return false;
    }
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(lua, 3, (int)i);
        bool is_string = lua_type(lua, -1) == LUA_TSTRING;
        *length += is_string ? lua_objlen(lua, -1) : 0;
        lua_pop(lua, 1);
        if (!is_string) {
            return false;
        }
    }
    return true;
}

/* Outside of Lua's memory: a long answer is there only once. NULL: out of memory. */
static char *join_pieces(lua_State *lua, size_t length) {
    char *body = malloc(length + 1), *end = body;
    size_t count = lua_objlen(lua, 3);
    for (size_t i = 1; body != NULL && i <= count; i++) {
        lua_rawgeti(lua, 3, (int)i);
        size_t bytes;
        const char *piece = lua_tolstring(lua, -1, &bytes);
        memcpy(end, piece, bytes);
        end += bytes;
        lua_pop(lua, 1);
    }
    return body;
}

/* What is wrong with the answer at the bottom of the stack; NULL: nothing. */
static const char *find_mistake(lua_State *lua) {
    size_t ignored;
    if (lua_type(lua, 1) != LUA_TNUMBER || lua_type(lua, 2) != LUA_TSTRING ||
        (lua_type(lua, 3) != LUA_TSTRING && !measure_pieces(lua, &ignored))) {
        return "it must answer status, content type and body";
    }
    lua_Number status = lua_tonumber(lua, 1);
    if (!(status >= 200 && status <= 599 && floor(status) == status)) {
        return "the status must be a whole number from 200 to 599";
    }
    return NULL;
}

/* The answer's strings belong to Lua: they are told before the run is released. */
static void end_service(struct run *run, enum run_end how) {
    struct service_run *service_run = (struct service_run *)run;
    lua_State *lua = run->thread;
    service_done *done = service_run->done;
    void *argument = service_run->argument;
    const char *mistake = how == RUN_RETURNED ? find_mistake(lua) : NULL;
    if (mistake != NULL) {
        run_misbehaved(run, mistake);
    }
    size_t length = 0;
    char *joined = NULL;
    const char *body = NULL;
    if (how == RUN_RETURNED && mistake == NULL) {
        if (measure_pieces(lua, &length)) {
            body = joined = join_pieces(lua, length);
        } else {
            body = lua_tolstring(lua, 3, &length);
        }
    }
    if (body != NULL) {
        done(argument, (uint32_t)lua_tonumber(lua, 1), lua_tostring(lua, 2), body, length);
    } else {
        done(argument, 0, "", "", 0);
    }
    free(joined);
    run_release(run);
    free(service_run);
}

struct service_run *runtime_service_start(struct service *service,
                                          const struct service_request *request,
                                          uint32_t timeout_ms, service_done *done, void *argument) {
    struct service_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return NULL;
    }
    run->run.script = service->instance.script;
    run->run.owner = &service->instance;
    run->run.hook = "serve";
    run->run.end = end_service;
    run->service = service;
    run->request = request;
    run->done = done;
    run->argument = argument;
    if (!run_start(&run->run, service->instance.script->vm->host, timeout_ms, push_call)) {
        free(run);
        return NULL;
    }
    return run; /* it may have ended already; then `done` was called and this is only a number */
}

void runtime_service_cancel(struct service_run *run) {
    run_release(&run->run);
    free(run);
}
