/* Policies: a question asked of a script for every new session, which of these backends? Instances
 * are made and tried on the builder, then asked on their worker.
 *
 * What a pick needs is prepared once and waits at the bottom of the policy's own Lua thread:
 * method, instance, and the views of ctx and pool. A pick copies the session's facts into the
 * structure the ctx view refers to, pushes four values and calls; it allocates nothing itself. The
 * same holds for on_close, which is told of every session's end.
 *
 * The answer is a reference that came out of the script. The address in it is compared with what
 * the view offers and never followed: whatever a script made up is a bad answer, nothing worse. */
#include "lua/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/guard.h"
#include "lua/rebuild.h"
#include "lua/state.h"
#include "lua/timers.h"

struct policy {
    struct policy *next; /* of host->policies */
    struct script *script;
    const struct script_use *use;
    struct pool_view *view;
    bool owns_view; /* it is freed with the policy: the script may have kept it */
    struct pool_view
        *trial_view; /* of the trial pick, kept: the script may have kept it; or NULL */
    const struct arena *arena;
    bool stopped; /* see policy_stop; the owner's */
    lua_State *thread;
    int instance_ref, thread_ref;    /* registry */
    struct alacrity_ctx_private ctx; /* what the script's ctx refers to */
    struct alacrity_closed_private closed;
    bool hears;       /* it has an on_close */
    char reason[128]; /* see policy_reason */
};

/* The session of the trial. */
#define TRIAL_CLIENT "192.0.2.1" /* of the range for documentation */
#define TRIAL_LISTENER "trial"
#define TRIAL_HASH 2166136261u
#define TRIAL_PORT 40000

/* Places in the policy's own thread. */
enum { AT_HANDLER = 1, AT_METHOD, AT_INSTANCE, AT_CTX, AT_POOL, AT_ON_CLOSE, AT_CLOSED };

/* Between calls the strings of a session are gone, but a script may have kept its ctx. */
static void forget_session(struct policy *policy) {
    policy->ctx.client = policy->ctx.listener = "";
    policy->ctx.values = NULL;
    policy->closed.client = policy->closed.listener = policy->closed.reason = "";
    policy->closed.backend = NULL;
    policy->closed.values = NULL;
}

/* From here on the script acts for this policy. */
static void act(const struct policy *policy) {
    policy->script->vm->acting = (struct acting){.script = policy->script, .owner = policy};
}

/* The two results are on top of the thread. */
static enum pick_answer read_answer(struct policy *policy, struct slot **slot) {
    lua_State *lua = policy->thread;
    int type = lua_type(lua, -2);
    if (type == LUA_TNIL) {
        const char *reason = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "";
        snprintf(policy->reason, sizeof(policy->reason), "%s", reason);
        return PICK_NIL;
    }
    if (type == LUA_TCDATA) {
        /* A reference holds an address. Every other cdata a script has (a boxed number, a counter)
         * takes up as much of Lua's memory, if only by its padding, and its bits are only compared.
         */
        const void *candidate;
        memcpy(&candidate, lua_topointer(lua, -2), sizeof(candidate));
        *slot = view_offers(policy->view, policy->arena, candidate);
        if (*slot != NULL) {
            return PICK_BACKEND;
        }
    }
    snprintf(policy->reason, sizeof(policy->reason),
             "a %s value that is none of the backends on offer", luaL_typename(lua, -2));
    return PICK_BAD;
}

/* On PICK_ERROR the error value is on top of the thread, otherwise the answer and its reason. */
static enum pick_answer ask(struct policy *policy, const struct alacrity_ctx_private *ctx,
                            struct slot **slot) {
    lua_State *lua = policy->thread;
    act(policy);
    policy->ctx = *ctx;
    for (int at = AT_METHOD; at <= AT_POOL; at++) {
        lua_pushvalue(lua, at);
    }
    int status = guard_call(policy->script->vm, lua, AT_HANDLER, 3, 2);
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
        lua_pop(policy->thread, 2);
    }
    return answer;
}

bool policy_hears(const struct policy *policy) {
    return policy->hears;
}

/* As guard_call. */
static int tell(struct policy *policy, const struct alacrity_closed_private *closed) {
    lua_State *lua = policy->thread;
    act(policy);
    policy->closed = *closed;
    lua_pushvalue(lua, AT_ON_CLOSE);
    lua_pushvalue(lua, AT_INSTANCE);
    lua_pushvalue(lua, AT_CLOSED);
    int status = guard_call(policy->script->vm, lua, AT_HANDLER, 2, 0);
    forget_session(policy);
    return status;
}

enum policy_told policy_closed(struct policy *policy,
                               const struct alacrity_closed_private *closed) {
    if (policy->script->vm->resting || lua_isnil(policy->thread, AT_ON_CLOSE)) {
        return TOLD_NOBODY;
    }
    policy->script->calls++;
    int status = tell(policy, closed);
    if (status == GUARD_STOPPED) {
        rebuild_begin(policy->script, "on_close", true);
        return TOLD_STOPPED;
    }
    if (status != 0) {
        vm_report_error(policy->script, policy->thread, "on_close"); /* pops the error */
        return TOLD_ERROR;
    }
    return TOLD;
}

/* ---- what the next version shall know ---- */

#define CARRY_BYTES_MAX (1u << 20)

struct taking {
    const struct policy *policy;
    struct carry *carry; /* NULL: the script has no snapshot(), or it answered nil */
};

static struct carry *carry_new(const char *script, const char *bytes, size_t length) {
    struct carry *carry = malloc(sizeof(*carry) + length);
    if (carry == NULL || (carry->script = strdup(script)) == NULL) {
        free(carry);
        return NULL;
    }
    carry->next = NULL;
    carry->pool = NULL;
    carry->length = length;
    memcpy(carry->bytes, bytes, length);
    return carry;
}

/* Under guard_cfunction; argument: struct taking. */
static int take_snapshot(lua_State *lua) {
    struct taking *taking = lua_touserdata(lua, 1);
    const struct policy *policy = taking->policy;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, policy->instance_ref);
    lua_getfield(lua, -1, "snapshot");
    if (lua_isnil(lua, -1)) {
        return 0;
    }
    lua_insert(lua, -2);
    lua_call(lua, 1, 1);
    if (lua_isnil(lua, -1)) {
        return 0;
    }
    if (!lua_istable(lua, -1)) {
        return luaL_error(lua, "snapshot must return a table or nil, not a %s value",
                          luaL_typename(lua, -1));
    }
    state_push_prelude(policy->script->vm, lua, "encode");
    lua_insert(lua, -2);
    lua_call(lua, 1, 1);
    size_t length;
    const char *bytes = lua_tolstring(lua, -1, &length);
    if (length > CARRY_BYTES_MAX) {
        return luaL_error(lua, "snapshot returned %d bytes; at most %d are carried over",
                          (int)length, (int)CARRY_BYTES_MAX);
    }
    lua_rawgeti(lua, LUA_REGISTRYINDEX, policy->script->module_ref);
    lua_getfield(lua, -1, "name");
    const char *name = lua_tostring(lua, -1); /* load_module saw to it */
    taking->carry = carry_new(name != NULL ? name : "", bytes, length);
    return taking->carry != NULL ? 0 : luaL_error(lua, "out of memory");
}

struct carry *policy_snapshot(struct policy *policy) {
    struct vm *vm = policy->script->vm;
    struct taking taking = {.policy = policy};
    if (vm->resting) {
        return NULL;
    }
    act(policy);
    int status = guard_cfunction(vm, take_snapshot, &taking);
    if (status == GUARD_STOPPED) {
        rebuild_begin(policy->script, "snapshot", false);
    } else if (status != 0) {
        vm_report_error(policy->script, vm->lua, "snapshot");
    }
    return taking.carry;
}

const char *policy_reason(const struct policy *policy) {
    return policy->reason;
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
    lua_rawgeti(lua, LUA_REGISTRYINDEX, policy->instance_ref);
    lua_getfield(lua, -1, "on_close");
    lua_remove(lua, -2);
    if (!lua_isnil(lua, -1) && !lua_isfunction(lua, -1)) {
        return luaL_error(lua, "on_close must be a function, or left out");
    }
    policy->hears = lua_isfunction(lua, -1);
    vm_push_closed(vm, lua, &policy->closed.view);
    lua_xmove(lua, thread, AT_CLOSED);
    policy->thread = thread;
    return 0;
}

/* Tells of the end of the session that was asked about in the trial pick. False: messages. */
static bool try_close(struct policy *policy, const struct slot *slot, const struct script_use *use,
                      struct messages *messages) {
    const struct alacrity_closed_private closed = {
        .view = {.attempts = slot != NULL ? 1 : 0,
                 .client_hash = TRIAL_HASH,
                 .client_port = TRIAL_PORT,
                 .reason_code = slot != NULL ? REASON_DONE : REASON_NO_BACKEND,
                 .duration_ms = 1000,
                 .bytes_in = 1000,
                 .bytes_out = 1000},
        .client = TRIAL_CLIENT,
        .listener = TRIAL_LISTENER,
        .reason = session_reason_word(slot != NULL ? REASON_DONE : REASON_NO_BACKEND),
        .backend = slot != NULL ? &slot->script.view : NULL,
    };
    if (policy->hears && tell(policy, &closed) != 0) {
        vm_add_error(policy->script, policy->thread, "trial on_close", use, messages);
        return false;
    }
    return true;
}

/* Asks once, about a made-up client, with every backend offered. False: messages. */
static bool try_pick(struct policy *policy, const struct script_use *use,
                     struct messages *messages) {
    const struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1, .client_hash = TRIAL_HASH, .client_port = TRIAL_PORT},
        .client = TRIAL_CLIENT,
        .listener = TRIAL_LISTENER,
    };
    struct slot *slot = NULL;
    view_prepare_trial(policy->view);
    policy->script->vm->loading = true; /* the last moment to require a file */
    enum pick_answer answer = ask(policy, &ctx, &slot);
    switch (answer) {
    case PICK_STOPPED:
    case PICK_ERROR:
        vm_add_error(policy->script, policy->thread, "trial pick", use, messages);
        return false;
    case PICK_BAD:
        messages_add(messages, use->at,
                     "policy %s answered a %s value in the trial pick; pick must return one of the "
                     "backends of the pool it is given, or nil",
                     policy->script->name, luaL_typename(policy->thread, -2));
        lua_pop(policy->thread, 2);
        return false;
    default:
        break;
    }
    lua_pop(policy->thread, 2);
    return try_close(policy, slot, use, messages);
}

/* Makes the Lua side of a policy: instance and thread. False: messages. */
static bool construct(struct policy *policy, const struct carry *carry, struct messages *messages) {
    struct script *script = policy->script;
    act(policy);
    policy->instance_ref = vm_instance(script, policy->use, carry, messages);
    if (policy->instance_ref == LUA_NOREF) {
        return false;
    }
    if (guard_cfunction(script->vm, prepare, policy) != 0) {
        vm_add_error(script, script->vm->lua, "prepared", policy->use, messages);
        return false;
    }
    return true;
}

static void free_view(struct pool_view *view, bool owned) {
    if (owned) {
        view_free(view);
        free(view);
    }
}

struct naming {
    const struct script *script;
    char *out;
    size_t bytes;
};

/* Under guard_cfunction; argument: struct naming. */
static int copy_name(lua_State *lua) {
    const struct naming *naming = lua_touserdata(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, naming->script->module_ref);
    lua_getfield(lua, -1, "name");
    const char *name = lua_tostring(lua, -1);
    snprintf(naming->out, naming->bytes, "%s", name != NULL ? name : "");
    return 0;
}

bool policy_name(struct script_host *host, const struct script_use *use, char *out, size_t bytes,
                 struct messages *messages) {
    struct script *script = vm_script(host, use, SCRIPT_POLICY, messages);
    struct naming naming = {script, out, bytes};
    if (script == NULL) {
        return false;
    }
    if (guard_cfunction(script->vm, copy_name, &naming) != 0) {
        vm_add_error(script, script->vm->lua, "loaded", use, messages);
        return false;
    }
    return true;
}

struct policy *policy_new(struct script_host *host, const struct policy_order *order,
                          struct messages *messages) {
    struct script *script = vm_script(host, order->use, SCRIPT_POLICY, messages);
    if (script == NULL) {
        free_view(order->view, order->owns_view);
        return NULL;
    }
    struct policy *policy = calloc(1, sizeof(*policy));
    if (policy == NULL) {
        messages_add(messages, order->use->at, "out of memory");
        free_view(order->view, order->owns_view);
        return NULL;
    }
    policy->script = script;
    policy->use = order->use;
    policy->view = order->view;
    policy->owns_view = order->owns_view;
    host->shadow_of = order->shadow ? order->view->facts->name : NULL;
    policy->arena = host->arena;
    forget_session(policy);
    policy->next = host->policies; /* from here on the host frees it */
    host->policies = policy;
    bool ok = construct(policy, order->carry, messages) && try_pick(policy, order->use, messages);
    script->vm->loading = false;
    return ok ? policy : NULL;
}

void policy_stop(struct policy *policy) {
    struct vm *vm = policy->script->vm;
    policy->stopped = true;
    if (!vm->resting) {
        timers_stop_of(vm, policy);
    }
}

void policy_stop_again(struct vm *vm) {
    for (struct policy *policy = vm->host->policies; policy != NULL; policy = policy->next) {
        if (policy->stopped && policy->script->vm == vm) {
            timers_stop_of(vm, policy);
        }
    }
}

void policy_count_trouble(const struct policy *policy, bool stopped) {
    const struct script_host *host = policy->script->vm->host;
    struct pool_row *row = arena_pool_row(host->arena, policy->view->facts, host->owner);
    counter_add(stopped ? &row->policy_overruns : &row->policy_errors, 1);
    counter_add(&row->troubles, 1);
}

bool policy_rebuild(struct vm *vm, struct messages *messages) {
    for (struct policy *policy = vm->host->policies; policy != NULL; policy = policy->next) {
        if (policy->script->vm == vm && !construct(policy, NULL, messages)) {
            return false;
        }
    }
    return true;
}

void policy_free_all(struct script_host *host) {
    while (host->policies != NULL) {
        struct policy *policy = host->policies;
        host->policies = policy->next;
        free_view(policy->view, policy->owns_view);
        free(policy);
    }
}
