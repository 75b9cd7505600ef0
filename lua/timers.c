/* What scripts do later: alacrity.every, after and spawn.
 *
 * A timer belongs to the instance that made it (in `new`, in a pick, in another timer), and ends
 * with it: at a reload, a swap, when its state is lost, at the end. Instances are made on the
 * builder: a timer made there waits in the list of its state until the owner begins to use the
 * host. From then on the list is the owner's, but for a state that is being made anew: that one and
 * its list are the builder's.
 *
 * A timer's function runs as a coroutine (run.h), and may use alacrity.net; while it waits there,
 * its next turn is left out. But a policy's, on a worker, is called, and must come to its end like
 * a pick, but with the larger budget.
 *
 * No loop turns in tests and simulations, where time is made up: there a policy's timer only notes
 * when it is due, and whoever moves the time asks for that and calls timers_turn. */
#include "lua/timers.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "lua/guard.h"
#include "lua/policy.h"
#include "lua/rebuild.h"
#include "lua/run.h"

#define SHORTEST 0.01 /* seconds between two turns */
#define LONGEST 31536000.0
/* In time made up, which stands still while scripts run: else what spawns itself again and again
 * would keep it from ever going on. */
#define SHORTEST_VIRTUAL 0.001

struct timer_run {
    struct run run; /* first */
    struct timer *timer;
};

struct timer {
    struct list node; /* in vm->timers */
    struct vm *vm;
    struct acting acting; /* whose it is */
    double id, seconds;
    int function_ref; /* registry */
    bool repeats, armed;
    bool called;           /* right now, a policy's */
    bool cancelled;        /* by the script, while its function runs */
    struct timer_run *run; /* of others, while their function runs */
    struct ev_timer watcher;
    double due; /* of a virtual host, which has no loop */
};

/* ---- one timer ---- */

static void arm(struct timer *timer) {
    const struct script_host *host = timer->vm->host;
    struct runtime *runtime = host->runtime;
    if (runtime != NULL && runtime->loop != NULL) {
        runtime->machine->timer_start(runtime, &timer->watcher, timer->seconds);
    } else if (host->owner_loop != NULL) {
        ev_now_update(host->owner_loop); /* the function has run since this turn began */
        ev_timer_set(&timer->watcher, timer->seconds, 0);
        ev_timer_start(host->owner_loop, &timer->watcher);
    } else {
        double seconds = timer->seconds > SHORTEST_VIRTUAL ? timer->seconds : SHORTEST_VIRTUAL;
        timer->due = clock_round(host->now() + seconds);
    }
    timer->armed = true;
}

static void disarm(struct timer *timer) {
    const struct script_host *host = timer->vm->host;
    struct runtime *runtime = host->runtime;
    if (!timer->armed) {
        return;
    }
    if (runtime != NULL && runtime->loop != NULL) {
        runtime->machine->timer_stop(runtime, &timer->watcher);
    } else if (host->owner_loop != NULL) {
        ev_timer_stop(host->owner_loop, &timer->watcher);
    }
    timer->armed = false;
}

/* Its function does not run. Lua comes last: when the script is stopped there, all else is done. */
static void end(struct timer *timer) {
    const struct vm *vm = timer->vm;
    int function_ref = timer->function_ref;
    disarm(timer);
    list_remove(&timer->node);
    free(timer);
    if (!vm->lost && vm->lua != NULL) {
        luaL_unref(vm->lua, LUA_REGISTRYINDEX, function_ref);
    }
}

/* Its function has come to its end. */
static void go_on(struct timer *timer) {
    if (timer->repeats && !timer->cancelled) {
        arm(timer);
    } else {
        end(timer);
    }
}

/* ---- when it is due ---- */

static enum policy_told call(struct timer *timer) {
    struct vm *vm = timer->vm;
    struct script *script = timer->acting.script;
    const struct policy *policy = timer->acting.owner;
    enum policy_told told = TOLD;
    vm->acting = timer->acting;
    timer->called = true;
    script->calls++;
    guard_push_handler(vm, vm->lua);
    lua_rawgeti(vm->lua, LUA_REGISTRYINDEX, timer->function_ref);
    int status = guard_callback(vm, vm->lua, lua_gettop(vm->lua) - 1, 0, 0);
    if (status != 0) {
        policy_count_trouble(policy, status == GUARD_STOPPED);
        vm->host->timer_trouble = script;
    }
    if (status == GUARD_STOPPED) {
        rebuild_begin(script, "timer", false); /* ends this timer, and others of the state */
        return TOLD_STOPPED;
    }
    if (status != 0) {
        vm_report_error(script, vm->lua, "timer");
        told = TOLD_ERROR;
    }
    lua_pop(vm->lua, 1); /* the handler */
    timer->called = false;
    go_on(timer);
    return told;
}

static void end_run(struct run *run, enum run_end how) {
    struct timer_run *timer_run = (struct timer_run *)run;
    struct timer *timer = timer_run->timer;
    if (how != RUN_RETURNED) { /* it was reported */
        timer->vm->host->timer_trouble = timer->acting.script;
    }
    run_release(run);
    free(timer_run);
    timer->run = NULL;
    go_on(timer);
}

/* Under guard_cfunction; argument: the run. Pushes the function on the run's thread. */
static int push_function(lua_State *lua) {
    struct timer_run *run = lua_touserdata(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, run->timer->function_ref);
    lua_xmove(lua, run->run.thread, 1);
    return 0;
}

static void start_run(struct timer *timer) {
    struct vm *vm = timer->vm;
    struct timer_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        log_limited(LOG_ERROR, "memory", "out of memory: a timer of %s misses a turn",
                    timer->acting.script->name);
        go_on(timer);
        return;
    }
    run->run.script = timer->acting.script;
    run->run.owner = timer->acting.owner;
    run->run.hook = "timer";
    run->run.end = end_run;
    run->timer = timer;
    timer->run = run;
    if (!run_start(&run->run, vm->host, 0, push_function)) {
        vm->host->timer_trouble = run->run.script;
        free(run);
        if (!vm->resting) { /* else the timer has ended with its state */
            timer->run = NULL;
            go_on(timer);
        }
    }
}

static void on_due(struct ev_loop *loop, struct ev_timer *watcher, int events) {
    (void)loop;
    (void)events;
    struct timer *timer = container_of(watcher, struct timer, watcher);
    timer->armed = false;
    if (timer->vm->host->loop != NULL || timer->acting.script->kind == SCRIPT_ROUTE) {
        start_run(timer);
    } else {
        (void)call(timer); /* reported and counted */
    }
}

/* Of a virtual host. NULL: none is armed. */
static struct timer *first_due(const struct script_host *host) {
    struct timer *first = NULL;
    for (const struct vm *vm = host->states; vm != NULL; vm = vm->next) {
        if (vm->resting || list_is_empty(&vm->timers)) {
            continue;
        }
        list_each(node, &vm->timers) {
            struct timer *timer = container_of(node, struct timer, node);
            if (timer->armed && (first == NULL || timer->due < first->due)) {
                first = timer;
            }
        }
    }
    return first;
}

double timers_due(const struct script_host *host) {
    const struct timer *first = first_due(host);
    return first != NULL ? first->due : (double)INFINITY;
}

enum policy_told timers_turn(struct script_host *host) {
    struct timer *first = first_due(host);
    if (first == NULL) {
        return TOLD_NOBODY;
    }
    first->armed = false;
    return call(first);
}

/* ---- what scripts call ---- */

static uint32_t count_of(const struct vm *vm, const void *owner) {
    uint32_t count = 0;
    list_each(node, &vm->timers) {
        count += container_of(node, struct timer, node)->acting.owner == owner;
    }
    return count;
}

/* NULL, or what is wrong. */
static const char *fault_of(lua_State *lua, const struct vm *vm) {
    double seconds = lua_type(lua, 1) == LUA_TNUMBER ? lua_tonumber(lua, 1) : NAN;
    bool repeats = lua_toboolean(lua, 3);
    if (!(seconds >= (repeats ? SHORTEST : 0) && seconds <= LONGEST)) {
        return repeats ? "seconds must be a number from 0.01 to 31536000"
                       : "seconds must be a number from 0 to 31536000";
    }
    if (!lua_isfunction(lua, 2)) {
        return "what to do must be a function";
    }
    if (vm->acting.owner == NULL) {
        return "write it in `new`, or where the script serves, not at the top of the script";
    }
    if (count_of(vm, vm->acting.owner) >= TIMERS_MAX) {
        return "there are too many: an instance has at most 64";
    }
    return NULL;
}

static struct timer *timer_new(struct vm *vm, double seconds, int function_ref, bool repeats) {
    struct timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL) {
        return NULL;
    }
    timer->vm = vm;
    timer->acting = vm->acting;
    timer->id = ++vm->last_timer;
    timer->seconds = seconds;
    timer->function_ref = function_ref;
    timer->repeats = repeats;
    ev_init(&timer->watcher, on_due);
    list_append(&vm->timers, &timer->node);
    if (!vm->resting && vm->host->started) { /* else timers_start does */
        arm(timer);
    }
    return timer;
}

int timers_open(lua_State *lua) {
    struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    const char *fault = fault_of(lua, vm);
    const struct script_host *host = vm->host;
    bool asleep = vm->library.stage == ALACRITY_LIVE && host->owner_loop == NULL &&
                  !(host->is_virtual && host->started);
    if (fault == NULL && (vm->library.stage == ALACRITY_TRIAL || asleep)) {
        lua_pushnumber(lua, 0); /* nothing comes of it */
        return 1;
    }
    if (fault == NULL) {
        lua_pushvalue(lua, 2);
        int function_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
        const struct timer *timer =
            timer_new(vm, lua_tonumber(lua, 1), function_ref, lua_toboolean(lua, 3));
        if (timer != NULL) {
            lua_pushnumber(lua, timer->id);
            return 1;
        }
        luaL_unref(lua, LUA_REGISTRYINDEX, function_ref);
        fault = "out of memory";
    }
    lua_pushnil(lua);
    lua_pushstring(lua, fault);
    return 2;
}

int timers_cancel(lua_State *lua) {
    const struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    double id = lua_tonumber(lua, 1);
    list_each(node, &vm->timers) {
        struct timer *timer = container_of(node, struct timer, node);
        if (timer->id != id) {
            continue;
        }
        if (timer->called || timer->run != NULL) {
            timer->cancelled = true; /* go_on ends it */
        } else {
            end(timer);
        }
        break;
    }
    return 0;
}

/* ---- all of a state ---- */

void timers_start(struct vm *vm) {
    list_each(node, &vm->timers) {
        struct timer *timer = container_of(node, struct timer, node);
        if (!timer->armed && !timer->called && timer->run == NULL) {
            arm(timer);
        }
    }
}

static void stop(struct timer *timer) {
    if (timer->run != NULL) {
        run_release(&timer->run->run);
        free(timer->run);
        timer->run = NULL;
    }
    end(timer);
}

void timers_stop(struct vm *vm) {
    if (vm->resting) {
        return;
    }
    list_each(node, &vm->timers) {
        stop(container_of(node, struct timer, node));
    }
}

void timers_stop_of(struct vm *vm, const void *owner) {
    list_each(node, &vm->timers) {
        struct timer *timer = container_of(node, struct timer, node);
        if (timer->acting.owner == owner) {
            stop(timer);
        }
    }
}

void timers_state_lost(struct vm *vm) {
    list_each(node, &vm->timers) {
        end(container_of(node, struct timer, node));
    }
}

void timers_free(struct vm *vm) {
    list_each(node, &vm->timers) {
        struct timer *timer = container_of(node, struct timer, node);
        list_remove(&timer->node);
        free(timer);
    }
}
