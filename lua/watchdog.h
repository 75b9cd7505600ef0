/* Watchdog: runs a piece of work that calls into Lua, and comes back even when the script in it
 * never would. See watchdog.c for how.
 *
 * Only threads begun by watchdog_thread_start are watched. Elsewhere (unit tests, small tools) the
 * work simply runs. */
#ifndef LUA_WATCHDOG_H
#define LUA_WATCHDOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct memory;

#define WATCHDOG_TICK_US 4000u /* how often a busy thread is looked at, in CPU time */

enum stop_cause {
    STOP_NONE,   /* the work came to its end */
    STOP_BUDGET, /* it used more CPU time than its budget */
    STOP_STACK,  /* it ran out of C stack (recursion through C functions) */
    STOP_MEMORY, /* it filled its memory */
};

/* How one call was stopped. */
struct stop {
    enum stop_cause cause;
    uint32_t cpu_us; /* used by then; up to one tick more went unseen */
};

/* Starts a thread that may run scripts: with the stack, the timers and the alternate signal stack
 * that stopping them needs. 0, or an errno. Join it as any other. */
int watchdog_thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
    __attribute__((warn_unused_result));

/* The thread that owns the state whose `memory` is given: runs work(argument). When it was stopped,
 * the state must not be used any more; all that may be done with it is memory_abandon. C code in
 * `work` is left only while it is inside a Lua API function, so what it owns must be in order, and
 * findable by others, whenever it calls one. Where that cannot be: watchdog_hold.
 *
 * Called while it already runs on this thread, it only runs the work. */
struct stop watchdog_run(struct memory *memory, uint32_t budget_us, void (*work)(void *argument),
                         void *argument);

/* Once, before watchdog_open: called with the argument of a call that is about to be left, to find
 * out where it is. Runs in a signal handler on a state in the middle of something: it may only
 * look, and is given up when that faults or takes long. */
void watchdog_on_leaving(void (*look)(void *argument));

/* Inside `work`: between these two it is not left. Neither Lua nor anything that raises may be
 * called in between. They nest. */
void watchdog_hold(void);
void watchdog_release(void);

/* For memory.c: a place where a script that must be stopped may be left. */
void watchdog_stop_point(void);

/* For memory.c: there is no memory for the script. Comes back only when none runs on this thread,
 * or it is not watched. */
void watchdog_stop_for_memory(void);

/* Once, on the main thread, before any other starts: installs the signal handlers and proves, with
 * scripts that would run for long, that they can be stopped here. False: they cannot (`reason` says
 * why): from then on states are made without JIT and with a count hook (watchdog_prepare_state). */
bool watchdog_open(char *reason, size_t reason_bytes);
/* What watchdog_open found out; false before. */
bool watchdog_is_proven(void);
/* Prepares a new state for a watchdog that could not prove itself; else does nothing. */
void watchdog_prepare_state(struct lua_State *lua);

#endif
