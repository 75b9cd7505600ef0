/* Runs: starting, resuming, ending coroutines. See run.h. On the thread that owns the host, but for
 * runtime_open and runtime_free (builder; the host is not in use then). */
#include "lua/run.h"

#include <stdlib.h>
#include <string.h>

#include "lua/facts.h"
#include "lua/guard.h"
#include "lua/rebuild.h"
#include "lua/runtime.h"

bool runtime_open(struct vm *vm) {
    struct script_host *host = vm->host;
    if (host->runtime == NULL) {
        struct runtime *runtime = calloc(1, sizeof(*runtime));
        if (runtime == NULL) {
            return false;
        }
        runtime->host = host;
        runtime->loop = host->loop;
        runtime->machine = host->machine;
        runtime->world = host->world;
        list_init(&runtime->runs);
        host->runtime = runtime;
    }
    if (host->loop != NULL) { /* control's */
        vm_push_module(vm, vm->lua, "alacrity");
        facts_open(vm->lua); /* sets the field `facts`, and leaves the function */
        lua_pop(vm->lua, 2);
    }
    net_open(vm);
    return true;
}

void runtime_free(struct script_host *host) {
    struct runtime *runtime = host->runtime;
    if (runtime == NULL) {
        return;
    }
    list_each(node, &runtime->runs) { /* the owner has cancelled them; this is for certainty */
        struct run *run = container_of(node, struct run, node);
        run_release(run);
        free(run);
    }
    while (runtime->instances != NULL) {
        struct instance *instance = runtime->instances;
        runtime->instances = instance->next;
        free(instance);
    }
    route_contexts_free(runtime);
    free(runtime);
    host->runtime = NULL;
}

/* Calls `new`. False: messages. */
static bool instance_construct(struct instance *instance, struct messages *messages) {
    struct script *script = instance->script;
    script->vm->acting = (struct acting){.script = script, .owner = instance};
    instance->ref = vm_instance(script, instance->use, NULL, messages);
    return instance->ref != LUA_NOREF;
}

struct instance *instance_new(struct script_host *host, const struct script_use *use,
                              enum script_kind kind, struct messages *messages) {
    struct script *script = vm_script(host, use, kind, messages);
    if (script == NULL) {
        return NULL;
    }
    struct runtime *runtime = host->runtime;
    struct instance *instance = calloc(1, sizeof(*instance));
    if (instance == NULL) {
        messages_add(messages, use->at, "out of memory");
        return NULL;
    }
    *instance = (struct instance){.next = runtime->instances, .script = script, .use = use};
    runtime->instances = instance; /* from here on the runtime frees it */
    return instance_construct(instance, messages) ? instance : NULL;
}

bool runtime_rebuild(struct vm *vm, struct messages *messages) {
    const struct runtime *runtime = vm->host->runtime;
    for (struct instance *instance = runtime != NULL ? runtime->instances : NULL; instance != NULL;
         instance = instance->next) {
        if (instance->script->vm == vm) {
            if (!instance_construct(instance, messages)) {
                return false;
            }
        }
    }
    return true;
}

void instance_push(lua_State *lua, const struct instance *instance, const char *method) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, instance->ref);
    lua_getfield(lua, -1, method);
    lua_insert(lua, -2);
}

/* ---- one run ---- */

void run_release(struct run *run) {
    const struct machine *machine = run->runtime->machine;
    machine->timer_stop(run->runtime, &run->deadline);
    machine->timer_stop(run->runtime, &run->wait_limit);
    for (int i = 0; i < RUN_SOCKETS; i++) {
        if (run->sockets[i] != NULL) {
            socket_close(run->sockets[i]);
            run->sockets[i] = NULL;
        }
    }
    list_remove(&run->node);
    if (!run->script->vm->lost) {
        luaL_unref(run->script->vm->lua, LUA_REGISTRYINDEX, run->thread_ref);
    }
}

void run_misbehaved(struct run *run, const char *how) {
    run->script->vm->traceback[0] = '\0';
    vm_report(run->script, run->hook, how);
}

/* Each end may free others of the list, or begin nothing new in the lost state: look from the start
 * again each time. */
void runtime_state_lost(struct vm *vm) {
    const struct runtime *runtime = vm->host->runtime;
    struct run *lost;
    do {
        lost = NULL;
        if (runtime == NULL) {
            return;
        }
        list_each(node, &runtime->runs) {
            struct run *run = container_of(node, struct run, node);
            lost = lost == NULL && run->script->vm == vm ? run : lost;
        }
        if (lost != NULL) {
            lost->end(lost, RUN_FAILED);
        }
    } while (lost != NULL);
}

static void act(const struct run *run) {
    run->script->vm->acting = (struct acting){.script = run->script, .owner = run->owner};
}

/* Gives the coroutine its turn, with `arguments` on its stack. The run may be gone afterwards. */
static void resume(struct run *run, int arguments) {
    struct runtime *runtime = run->runtime;
    run->wait = WAIT_NOTHING;
    run->wait_socket = NULL;
    runtime->machine->timer_stop(runtime, &run->wait_limit);
    struct vm *vm = run->script->vm;
    struct run *outer = runtime->current;
    struct acting outer_acting = vm->acting; /* a test may ask another script of its state */
    runtime->current = run;
    act(run);
    int status = guard_resume(vm, run->thread, arguments);
    runtime->current = outer;
    vm->acting = outer_acting;
    if (status == GUARD_STOPPED) {
        rebuild_begin(run->script, run->hook, false); /* ends this run, and others in the state */
        return;
    }
    if (status == LUA_YIELD && run->wait != WAIT_NOTHING) {
        return;
    }
    if (status == 0) {
        run->end(run, RUN_RETURNED);
        return;
    }
    if (status == LUA_YIELD) {
        run_misbehaved(run, "it yielded, but not to alacrity.net");
    } else {
        vm_report_error(run->script, run->thread, run->hook);
    }
    run->end(run, RUN_FAILED);
}

/* Under guard_cfunction; argument: the run. Pushing may raise, and an error must be raised on the
 * state that is protected: so results are pushed there and then moved. */
static int deliver(lua_State *lua) {
    struct run *run = lua_touserdata(lua, 1);
    run->results = run->wait == WAIT_ANSWER ? run->answer(lua, run)
                   : run->limit_passed      ? net_timed_out(lua, run)
                                            : net_try(lua, run);
    if (run->results > 0) {
        lua_xmove(lua, run->thread, run->results);
    }
    return 0;
}

void run_wait(struct run *run, enum wait wait, struct socket *socket, double limit) {
    run->wait = wait;
    run->wait_socket = socket;
    if (limit > 0) {
        run->runtime->machine->timer_start(run->runtime, &run->wait_limit, limit);
    }
}

static void deliver_and_resume(struct run *run, bool limit_passed) {
    run->limit_passed = limit_passed;
    if (lua_status(run->thread) != LUA_YIELD) { /* a script can pass its own coroutine on */
        run_misbehaved(run, "its coroutine was resumed, but not by alacrity.net");
        run->end(run, RUN_FAILED);
        return;
    }
    int status = guard_cfunction(run->script->vm, deliver, run);
    if (status == GUARD_STOPPED) {
        rebuild_begin(run->script, run->hook, false);
    } else if (status != 0) {
        vm_report_error(run->script, run->script->vm->lua, run->hook);
        run->end(run, RUN_FAILED);
    } else if (run->results >= 0) {
        resume(run, run->results);
    }
}

void run_ready(struct run *run) {
    deliver_and_resume(run, false);
}

static void on_wait_limit(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    deliver_and_resume(container_of(timer, struct run, wait_limit), true);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct run *run = container_of(timer, struct run, deadline);
    run->end(run, RUN_TIMED_OUT);
}

/* Under guard_cfunction; argument: the run. */
static int make_thread(lua_State *lua) {
    struct run *run = lua_touserdata(lua, 1);
    run->thread = lua_newthread(lua);
    run->thread_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    luaL_checkstack(run->thread, LUA_MINSTACK, NULL); /* for whatever deliver() moves there */
    return 0;
}

bool run_start(struct run *run, struct script_host *host, uint32_t timeout_ms, lua_CFunction push) {
    struct runtime *runtime = host->runtime;
    struct vm *vm = run->script->vm;
    run->runtime = runtime;
    run->thread_ref = LUA_NOREF;
    if (vm->resting) {
        return false;
    }
    act(run);
    int status = guard_cfunction(vm, make_thread, run);
    if (status == 0) {
        status = guard_cfunction(vm, push, run);
    }
    if (status == GUARD_STOPPED) {
        rebuild_begin(run->script, run->hook, false);
        return false;
    }
    if (status != 0) {
        vm_report_error(run->script, vm->lua, run->hook);
        luaL_unref(vm->lua, LUA_REGISTRYINDEX, run->thread_ref);
        return false;
    }
    list_append(&runtime->runs, &run->node);
    ev_timer_init(&run->wait_limit, on_wait_limit, 0, 0);
    ev_timer_init(&run->deadline, on_deadline, 0, 0);
    if (timeout_ms > 0) {
        runtime->machine->timer_start(runtime, &run->deadline, timeout_ms / 1000.0);
    }
    run->script->calls++;
    resume(run, lua_gettop(run->thread) - 1);
    return true;
}
