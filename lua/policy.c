/* Policies: a question asked of a script for every new session, which of these backends? Instances
 * are made and tried on the builder, then asked on their worker.
 *
 * What a pick needs is prepared once and waits at the bottom of the policy's own Lua thread:
 * method, instance, and the views of ctx and pool. A pick copies the session's facts into the
 * structure the ctx view refers to, pushes four values and calls; it allocates nothing itself.
 *
 * The answer is a reference that came out of the script. The address in it is compared with what
 * the view offers and never followed: whatever a script made up is a bad answer, nothing worse. */
#include "lua/policy.h"

#include <stdlib.h>
#include <string.h>

#include "lua/guard.h"
#include "lua/rebuild.h"

struct policy {
    struct policy *next; /* of host->policies */
    struct script *script;
    const struct script_use *use;
    struct pool_view *view;
    const struct arena *arena;
    lua_State *thread;
    int instance_ref, thread_ref;    /* registry */
    struct alacrity_ctx_private ctx; /* what the script's ctx refers to */
};

/* Places in the policy's own thread. */
enum { AT_HANDLER = 1, AT_METHOD, AT_INSTANCE, AT_CTX, AT_POOL };

/* Between picks the strings of a session are gone, but a script may have kept its ctx. */
static void forget_session(struct policy *policy) {
    policy->ctx.client = "";
    policy->ctx.listener = "";
}

static enum pick_answer read_answer(const struct policy *policy, struct slot **slot) {
    lua_State *lua = policy->thread;
    int type = lua_type(lua, -1);
    if (type == LUA_TNIL) {
        return PICK_NIL;
    }
    if (type == LUA_TCDATA) {
        /* A reference holds an address; every other cdata a script can make (boxed 64-bit numbers)
         * is as large, and its bits are only compared. */
        const void *candidate;
        memcpy(&candidate, lua_topointer(lua, -1), sizeof(candidate));
        *slot = view_offers(policy->view, policy->arena, candidate);
        if (*slot != NULL) {
            return PICK_BACKEND;
        }
    }
    return PICK_BAD;
}

/* On PICK_ERROR the error value is on top of the thread, otherwise the answer. */
static enum pick_answer ask(struct policy *policy, const struct alacrity_ctx_private *ctx,
                            struct slot **slot) {
    lua_State *lua = policy->thread;
    policy->ctx = *ctx;
    for (int at = AT_METHOD; at <= AT_POOL; at++) {
        lua_pushvalue(lua, at);
    }
    int status = guard_call(policy->script->vm, lua, AT_HANDLER, 3, 1);
    forget_session(policy);
    if (status == GUARD_STOPPED) {
        return PICK_STOPPED;
    }
    return status == 0 ? read_answer(policy, slot) : PICK_ERROR;
}

enum pick_answer policy_pick(struct policy *policy, const struct alacrity_ctx_private *ctx,
                             struct slot **slot) {
    const struct vm *vm = policy->script->vm;
    if (vm->resting) {
        return vm->out ? PICK_OUT : PICK_RESTING;
    }
    policy->script->calls++;
    enum pick_answer answer = ask(policy, ctx, slot);
    if (answer == PICK_STOPPED) {
        rebuild_begin(policy->script, "pick", true);
    } else if (answer == PICK_ERROR) {
        vm_report_error(policy->script, policy->thread, "pick"); /* pops the error */
    } else {
        lua_pop(policy->thread, 1);
    }
    return answer;
}

uint64_t policy_memory_bytes(const struct policy *policy) {
    return vm_memory_bytes(policy->script->vm);
}

/* ---- making ---- */

/* Under guard_cfunction; argument: the policy. */
static int prepare(lua_State *lua) {
    struct policy *policy = lua_touserdata(lua, 1);
    struct vm *vm = policy->script->vm;
    lua_State *thread = lua_newthread(lua);
    policy->thread_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    guard_push_handler(vm, lua);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, policy->instance_ref);
    lua_getfield(lua, -1, "pick");
    lua_insert(lua, -2);
    vm_push_ctx(vm, lua, &policy->ctx.view);
    vm_push_pool(vm, lua, &policy->view->script.view);
    lua_xmove(lua, thread, AT_POOL);
    policy->thread = thread;
    return 0;
}

/* Asks once, about a made-up client, with every backend offered. False: messages. */
static bool try_pick(struct policy *policy, const struct script_use *use,
                     struct messages *messages) {
    const struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1, .client_hash = 2166136261u, .client_port = 40000},
        .client = "192.0.2.1", /* of the range for documentation */
        .listener = "trial",
    };
    struct slot *slot = NULL;
    view_prepare_trial(policy->view);
    policy->script->vm->loading = true; /* the last moment to require a file */
    enum pick_answer answer = ask(policy, &ctx, &slot);
    policy->script->vm->loading = false;
    switch (answer) {
    case PICK_STOPPED:
    case PICK_ERROR:
        vm_add_error(policy->script, policy->thread, "trial pick", use, messages);
        return false;
    case PICK_BAD:
        messages_add(messages, use->at,
                     "policy %s answered a %s value in the trial pick; pick must return one of the "
                     "backends of the pool it is given, or nil",
                     policy->script->name, luaL_typename(policy->thread, -1));
        lua_pop(policy->thread, 1);
        return false;
    default:
        break;
    }
    lua_pop(policy->thread, 1);
    return true;
}

/* Makes the Lua side of a policy: instance and thread. False: messages. */
static bool construct(struct policy *policy, struct messages *messages) {
    struct script *script = policy->script;
    policy->instance_ref = vm_instance(script, policy->use, messages);
    if (policy->instance_ref == LUA_NOREF) {
        return false;
    }
    if (guard_cfunction(script->vm, prepare, policy) != 0) {
        vm_add_error(script, script->vm->lua, "prepared", policy->use, messages);
        return false;
    }
    return true;
}

struct policy *policy_new(struct script_host *host, const struct pool_config *pool,
                          struct pool_view *view, struct messages *messages) {
    struct script *script = vm_script(host, &pool->policy, SCRIPT_POLICY, messages);
    if (script == NULL) {
        return NULL;
    }
    struct policy *policy = calloc(1, sizeof(*policy));
    if (policy == NULL) {
        messages_add(messages, pool->policy.at, "out of memory");
        return NULL;
    }
    policy->script = script;
    policy->use = &pool->policy;
    policy->view = view;
    policy->arena = host->arena;
    forget_session(policy);
    policy->next = host->policies; /* from here on the host frees it */
    host->policies = policy;
    bool ok = construct(policy, messages) && try_pick(policy, &pool->policy, messages);
    return ok ? policy : NULL;
}

bool policy_rebuild(struct vm *vm, struct messages *messages) {
    for (struct policy *policy = vm->host->policies; policy != NULL; policy = policy->next) {
        if (policy->script->vm == vm && !construct(policy, messages)) {
            return false;
        }
    }
    return true;
}

void policy_free_all(struct script_host *host) {
    while (host->policies != NULL) {
        struct policy *policy = host->policies;
        host->policies = policy->next;
        free(policy);
    }
}
