/* Routes: which pool gets this session? An instance per listener and worker, a run per session.
 * Instances are made on the builder, asked on their worker.
 *
 * A script may keep the ctx it was given. So what a ctx refers to is not the run's, which ends, but
 * a place that lives as long as the host, and is used again: then such a script sees another
 * session's facts, or none, as with a policy's ctx. The methods compare addresses and follow none.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lua/guard.h"
#include "lua/library.h"
#include "lua/run.h"
#include "lua/runtime.h"

struct route {
    struct instance instance; /* nothing more */
};

struct route_ctx {
    struct route_ctx *next; /* of the runtime's free ones */
    struct alacrity_ctx_private ctx;
    char client[ALACRITY_ADDRESS_BYTES], listener[ALACRITY_NAME_BYTES];
};

struct route_run {
    struct run run; /* first */
    const struct route *route;
    struct route_order order; /* its ctx: not any more, see below */
    struct route_ctx *ctx;
    uint32_t wanted;          /* of a peek */
    enum route_answer answer; /* so far: ROUTE_NONE, ROUTE_POOL or ROUTE_REJECT */
    char why[64];
};

struct route *runtime_route_new(struct script_host *host, const struct listener_config *listener,
                                struct messages *messages) {
    return (struct route *)instance_new(host, &listener->route, SCRIPT_ROUTE, messages);
}

uint64_t runtime_route_memory_bytes(const struct route *route) {
    return vm_memory_bytes(route->instance.script->vm);
}

/* ---- what a ctx refers to ---- */

static void forget(struct route_ctx *ctx) {
    ctx->ctx = (struct alacrity_ctx_private){.client = ctx->client, .listener = ctx->listener};
    ctx->client[0] = ctx->listener[0] = '\0';
}

/* NULL: out of memory. */
static struct route_ctx *take_ctx(struct runtime *runtime, const struct alacrity_ctx_private *of) {
    struct route_ctx *ctx = runtime->free_contexts;
    if (ctx != NULL) {
        runtime->free_contexts = ctx->next;
    } else {
        ctx = calloc(1, sizeof(*ctx));
        if (ctx == NULL) {
            return NULL;
        }
    }
    ctx->next = NULL;
    snprintf(ctx->client, sizeof(ctx->client), "%s", of->client);
    snprintf(ctx->listener, sizeof(ctx->listener), "%s", of->listener);
    ctx->ctx = *of;
    ctx->ctx.client = ctx->client;
    ctx->ctx.listener = ctx->listener;
    return ctx;
}

static void give_ctx(struct route_run *run) {
    struct runtime *runtime = run->run.runtime;
    forget(run->ctx);
    run->ctx->next = runtime->free_contexts;
    runtime->free_contexts = run->ctx;
    run->ctx = NULL;
}

void route_contexts_free(struct runtime *runtime) {
    while (runtime->free_contexts != NULL) {
        struct route_ctx *ctx = runtime->free_contexts;
        runtime->free_contexts = ctx->next;
        free(ctx);
    }
}

/* ---- a run ---- */

/* Under guard_cfunction; argument: the run. Pushes route, instance, ctx on the run's thread. */
static int push_call(lua_State *lua) {
    struct route_run *run = lua_touserdata(lua, 1);
    instance_push(lua, &run->route->instance, "route");
    vm_push_ctx(run->run.script->vm, lua, &run->ctx->ctx.view);
    lua_xmove(lua, run->run.thread, 3);
    return 0;
}

static enum route_answer answer_of(struct route_run *run, enum run_end how) {
    struct run *base = &run->run;
    switch (how) {
    case RUN_RETURNED:
        if (lua_isnoneornil(base->thread, 1)) {
            return run->answer;
        }
        run_misbehaved(base, "route must return nothing; choose with ctx:use(pool)");
        return ROUTE_ERROR;
    case RUN_TIMED_OUT:
        return ROUTE_TIMEOUT;
    case RUN_FAILED:
        break;
    }
    return base->script->vm->lost ? ROUTE_STOPPED : ROUTE_ERROR;
}

static void end_route(struct run *run, enum run_end how) {
    struct route_run *route_run = (struct route_run *)run;
    enum route_answer answer = answer_of(route_run, how);
    give_ctx(route_run);
    run_release(run);
    route_run->order.done(route_run->order.argument, answer, route_run->why);
    free(route_run);
}

/* It was not begun. */
static struct route_run *refuse(const struct route_order *order, enum route_answer answer) {
    order->done(order->argument, answer, "");
    return NULL;
}

struct route_run *runtime_route_start(struct route *route, const struct route_order *order) {
    struct vm *vm = route->instance.script->vm;
    struct runtime *runtime = vm->host->runtime;
    if (vm->resting) {
        return refuse(order, vm->out ? ROUTE_OUT : ROUTE_RESTING);
    }
    struct route_run *run = calloc(1, sizeof(*run));
    if (run == NULL || (run->ctx = take_ctx(runtime, order->ctx)) == NULL) {
        free(run);
        log_limited(LOG_ERROR, "memory", "out of memory: a route is not asked");
        return refuse(order, ROUTE_ERROR);
    }
    run->run.script = route->instance.script;
    run->run.owner = &route->instance;
    run->run.hook = "route";
    run->run.end = end_route;
    run->route = route;
    run->order = *order;
    run->answer = ROUTE_NONE;
    if (!run_start(&run->run, vm->host, order->timeout_ms, push_call)) {
        give_ctx(run);
        free(run);
        return refuse(order, vm->lost ? ROUTE_STOPPED : ROUTE_ERROR);
    }
    return run; /* it may have ended already; then `done` was called and this is only a number */
}

void runtime_route_ready(struct route_run *run) {
    run_ready(&run->run);
}

void runtime_route_cancel(struct route_run *run) {
    give_ctx(run);
    run_release(&run->run);
    free(run);
}

/* ---- what scripts call: methods of ctx ---- */

/* The run whose ctx argument 1 is, if that one runs right now. Raises. */
static struct route_run *asked_run(lua_State *lua, const char *method) {
    const struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    const struct runtime *runtime = vm->resting ? NULL : vm->host->runtime;
    struct run *run = runtime != NULL ? runtime->current : NULL;
    if (run == NULL || run->end != end_route || run->thread != lua) {
        luaL_error(lua, "ctx:%s() works only while a route is asked", method);
        return NULL;
    }
    struct route_run *route_run = (struct route_run *)run;
    const void *candidate = NULL;
    if (lua_type(lua, 1) == LUA_TCDATA) { /* as in policy.c: compared, never followed */
        memcpy(&candidate, lua_topointer(lua, 1), sizeof(candidate));
    }
    if (candidate != &route_run->ctx->ctx.view) {
        luaL_error(lua, "call it with a colon, as in ctx:%s(), on the ctx of this session", method);
    }
    return route_run;
}

/* Enough, or all that there will be: pushes it; else -1. */
static int push_peeked(lua_State *lua, struct route_run *run, bool limit_passed) {
    struct peeked peeked = run->order.look(run->order.argument);
    bool enough = peeked.length >= run->wanted;
    if (!enough && !peeked.ended && !limit_passed) {
        return -1;
    }
    lua_pushlstring(lua, peeked.bytes, enough ? run->wanted : peeked.length);
    if (enough) {
        return 1;
    }
    lua_pushstring(lua, peeked.ended ? "closed" : "timeout");
    return 2;
}

/* Of WAIT_ANSWER. */
static int answer_peek(lua_State *lua, struct run *run) {
    struct route_run *route_run = (struct route_run *)run;
    route_run->order.want(route_run->order.argument, 0);
    return push_peeked(lua, route_run, run->limit_passed);
}

int route_peek(lua_State *lua) {
    struct route_run *run = asked_run(lua, "peek");
    double bytes = luaL_checknumber(lua, 2);
    double limit = luaL_optnumber(lua, 3, 0);
    luaL_argcheck(lua, bytes >= 1 && bytes <= PEEK_BYTES_MAX && floor(bytes) == bytes, 2,
                  "a whole number of bytes, 1 to 16384");
    luaL_argcheck(lua, limit >= 0 && limit <= 86400, 3, "seconds, 0 to 86400");
    if (!lua_isyieldable(lua)) {
        return luaL_error(lua, "ctx:peek() cannot wait inside a function that another one calls "
                               "back");
    }
    run->wanted = (uint32_t)bytes;
    int results = push_peeked(lua, run, false);
    if (results >= 0) {
        return results;
    }
    run->run.answer = answer_peek;
    run_wait(&run->run, WAIT_ANSWER, NULL, limit);
    run->order.want(run->order.argument, run->wanted);
    return lua_yield(lua, 0);
}

int route_use(lua_State *lua) {
    struct route_run *run = asked_run(lua, "use");
    const char *name = luaL_checkstring(lua, 2);
    if (!run->order.choose(run->order.argument, name)) {
        return luaL_error(lua, "there is no pool '%s'", name);
    }
    run->answer = ROUTE_POOL;
    return 0;
}

int route_reject(lua_State *lua) {
    struct route_run *run = asked_run(lua, "reject");
    const char *why = luaL_optstring(lua, 2, "");
    run->answer = ROUTE_REJECT;
    snprintf(run->why, sizeof(run->why), "%s", why);
    return 0;
}
