/* Watchdog: stops a script that has used its CPU budget, whatever it does: loops that the JIT
 * compiled, pcall that swallows errors, string.find that never ends, recursion through C functions.
 *
 * Each thread that runs scripts has a timer on its own CPU time, so that a thread that waits, or is
 * not scheduled, is never stopped for it. The handler sees by `sequence` whether the same call goes
 * on since an earlier tick. When its budget is used up, and the interrupted instruction lies where
 * the thread may be left (see may_leave), the handler jumps out of the script, to watchdog_run. The
 * state is in the middle of something then, so it is never used again: it is given back whole
 * (memory.h) and made anew from its sources.
 *
 * a. A thread may be left inside LuaJIT, in machine code of the state, in libm, and in the small
 *    string functions of libc when LuaJIT called them directly. Anywhere else somebody may hold a
 *    lock: malloc, the unwinder, our own code. Then a second timer tries again 100 us later, and
 *    calls of LuaJIT to the system are stop points as well.
 * b. C code between two calls of Lua API functions is never left. While such a function runs, it
 *    may be: watchdog.h says what follows for C functions that scripts call.
 * c. The signal mask is not saved by sigsetjmp (a system call each time): the handlers are
 *    installed with SA_NODEFER, so there is nothing to restore.
 * d. Recursion through C functions needs up to 57 MiB of stack before LuaJIT says no. Threads that
 *    run scripts have 64 MiB, of which only what is touched costs memory. Below them lies a zone
 *    that faults: the handler of SIGSEGV, on a stack of its own, leaves the script, or opens the
 *    zone and tries again soon.
 * e. `sequence` only grows, over all states of a thread: a late signal never hits another call.
 *
 * Where this cannot be proven (watchdog_open), a count hook does what it can: it stops Lua code,
 * not C functions, and needs the JIT off. */
#include "lua/watchdog.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "lua/memory.h"
#include "lua/places.h"

#define TICK_SIGNAL SIGURG /* ignored by default: a stray one does no harm */
#define RETRY_US 100
#define STACK_BYTES (64u << 20)
#define ZONE_BYTES (4u << 20)
#define SIGNAL_STACK_BYTES (64u << 10)
#define HOOK_INSTRUCTIONS 10000

#define compiler_barrier() __asm__ volatile("" ::: "memory")

/* What the watchdog knows of one thread. Only that thread, and the signals sent to it, touch it. */
struct watched {
    bool armed;                  /* the timers run */
    volatile uint64_t sequence;  /* odd while a guarded call goes on */
    volatile uint64_t condemned; /* the sequence that is to be stopped */
    volatile int holds;          /* watchdog_hold: not now */
    volatile enum stop_cause cause;
    volatile uint32_t stopped_cpu_us;
    uint64_t seen;        /* the sequence the tick before saw ... */
    uint64_t seen_cpu_us; /* ... and the thread's CPU time then */
    uint64_t budget_us;
    sigjmp_buf leave, looked;
    volatile bool looking; /* in the handler, while `look` runs */
    void *argument;        /* of the call */
    timer_t ticks, again;
    uintptr_t stack_start, zone_end, stack_end; /* the zone is [stack_start, zone_end) */
};

static _Thread_local struct watched self __attribute__((tls_model("initial-exec")));

/* Written by watchdog_open, before a second thread exists. */
static bool proven, needs_hook;
static void (*look)(void *argument);
static uint64_t thread_cpu_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

static bool is_condemned(void) {
    return (self.sequence & 1) != 0 && self.condemned == self.sequence;
}

/* ---- leaving ---- */

static void leave(void) {
    siglongjmp(self.leave, 1);
}

void watchdog_stop_point(void) {
    if (proven && is_condemned() && self.holds == 0) {
        leave();
    }
}

static void condemn(enum stop_cause cause, uint32_t cpu_us) {
    self.cause = cause;
    self.stopped_cpu_us = cpu_us;
    self.condemned = self.sequence;
}

void watchdog_stop_for_memory(void) {
    if (proven && (self.sequence & 1) != 0) {
        condemn(STOP_MEMORY, 0);
        watchdog_stop_point();
    }
}

void watchdog_hold(void) {
    self.holds++;
    compiler_barrier();
}

void watchdog_release(void) {
    compiler_barrier();
    self.holds--;
    watchdog_stop_point();
}

#if PLACES_KNOWN

/* May the thread be left at the interrupted instruction? */
static bool may_leave(const ucontext_t *context) {
    return self.holds == 0 && (memory_bound == NULL || !memory_bound->busy) &&
           places_may_leave((uintptr_t)context->uc_mcontext.gregs[REG_RIP],
                            (uintptr_t)context->uc_mcontext.gregs[REG_RSP]);
}

/* Looks again after that time; if the timer fails, the next tick does. */
static void look_again(uint64_t delay_us) {
    const struct itimerspec soon = {.it_value = {.tv_sec = (time_t)(delay_us / 1000000u),
                                                 .tv_nsec = (long)(delay_us % 1000000u) * 1000}};
    (void)timer_settime(self.again, 0, &soon, NULL);
}

/* What it reads may be half changed: a fault, or another tick (on_fault, on_tick), ends it. */
static void take_a_look(void) {
    if (look != NULL && sigsetjmp(self.looked, 0) == 0) {
        self.looking = true;
        compiler_barrier();
        look(self.argument);
    }
    self.looking = false;
}

static void leave_or_try_again(const ucontext_t *context) {
    if (may_leave(context)) {
        take_a_look();
        leave();
    }
    look_again(RETRY_US);
}

static void on_tick(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    int saved = errno;
    uint64_t sequence = self.sequence;
    if (self.looking) {
        siglongjmp(self.looked, 1);
    }
    if (proven && (sequence & 1) != 0) {
        uint64_t now_us = thread_cpu_us();
        if (self.seen != sequence) {
            self.seen = sequence;
            self.seen_cpu_us = now_us;
        }
        /* A tick inside this one (c) may have set it after `now_us` was read. */
        uint64_t used_us = now_us > self.seen_cpu_us ? now_us - self.seen_cpu_us : 0;
        if (self.condemned != sequence && used_us >= self.budget_us) {
            condemn(STOP_BUDGET, (uint32_t)used_us);
        }
        if (self.condemned == sequence) {
            leave_or_try_again(context);
        } else {
            look_again(self.budget_us - used_us); /* ticks are coarse: this is when it may be due */
        }
    }
    errno = saved;
}

static struct sigaction previous_fault;

static void on_fault(int number, siginfo_t *info, void *context) {
    uintptr_t at = (uintptr_t)info->si_addr;
    if (self.looking) {
        siglongjmp(self.looked, 1);
    }
    if (self.armed && (self.sequence & 1) != 0 && at >= self.stack_start && at < self.zone_end) {
        int saved = errno;
        condemn(STOP_STACK, 0);
        /* Returning runs the instruction again: it needs the zone then. */
        (void)syscall(SYS_mprotect, self.stack_start, self.zone_end - self.stack_start,
                      PROT_READ | PROT_WRITE);
        leave_or_try_again(context);
        errno = saved;
        return;
    }
    if ((previous_fault.sa_flags & SA_SIGINFO) != 0) {
        previous_fault.sa_sigaction(number, info, context);
    } else {
        signal(number, SIG_DFL); /* the instruction runs again, and the process ends as it should */
    }
}

static void stack_reset(void) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t keep = (here - (128u << 10)) & ~(uintptr_t)4095;
    if (keep > self.zone_end) {
        (void)madvise((void *)self.zone_end, keep - self.zone_end, MADV_DONTNEED);
    }
    (void)madvise((void *)self.stack_start, self.zone_end - self.stack_start, MADV_DONTNEED);
    (void)syscall(SYS_mprotect, self.stack_start, self.zone_end - self.stack_start, PROT_NONE);
}
#else
static void stack_reset(void) {
}
#endif

/* ---- running ---- */

/* Not inlined: nothing but `leave` may live in registers over sigsetjmp here. */
static __attribute__((noinline)) struct stop run_armed(struct memory *memory, uint32_t budget_us,
                                                       void (*work)(void *), void *argument) {
    self.budget_us = budget_us;
    self.argument = argument;
    memory_bound = memory;
    if (!proven) { /* on_count looks at these */
        self.seen = self.sequence + 1;
        self.seen_cpu_us = thread_cpu_us();
    }
    if (sigsetjmp(self.leave, 0) == 0) {
        compiler_barrier();
        self.sequence++;
        compiler_barrier();
        work(argument);
        compiler_barrier();
        self.sequence++;
        compiler_barrier();
        memory_bound = NULL;
        if (proven || self.condemned + 1 != self.sequence) {
            return (struct stop){.cause = STOP_NONE};
        }
    } else {
        self.sequence++;
        self.holds = 0;
        memory_bound = NULL;
        stack_reset();
    }
    return (struct stop){.cause = self.cause, .cpu_us = self.stopped_cpu_us};
}

struct stop watchdog_run(struct memory *memory, uint32_t budget_us, void (*work)(void *),
                         void *argument) {
    if (self.armed && (self.sequence & 1) == 0) {
        return run_armed(memory, budget_us, work, argument);
    }
    struct memory *outer = memory_bound;
    memory_bound = memory;
    work(argument);
    memory_bound = outer;
    return (struct stop){.cause = STOP_NONE};
}

/* ---- without proof: a count hook ---- */

static void on_count(lua_State *lua, lua_Debug *activation) {
    (void)activation;
    if (!self.armed || (self.sequence & 1) == 0) {
        return;
    }
    uint64_t used_us = thread_cpu_us() - self.seen_cpu_us;
    if (self.condemned != self.sequence && used_us >= self.budget_us) {
        self.cause = STOP_BUDGET;
        self.stopped_cpu_us = (uint32_t)used_us;
        self.condemned = self.sequence;
        lua_sethook(lua, on_count, LUA_MASKCOUNT, 1); /* pcall will not help it any more */
    }
    if (self.condemned == self.sequence) {
        luaL_error(lua, "the script has used up its CPU budget");
    }
}

void watchdog_prepare_state(lua_State *lua) {
    if (!needs_hook) {
        return;
    }
    luaJIT_setmode(lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_sethook(lua, on_count, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
}

/* ---- threads ---- */

struct thread_start {
    void *(*run)(void *);
    void *argument;
    int error;
    sem_t ready;
};

#if PLACES_KNOWN
/* errno. */
static int make_timer(clockid_t clock, timer_t *timer) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    return timer_create(clock, &event, timer) == 0 ? 0 : errno;
}

static int find_stack(void) {
    pthread_attr_t attributes;
    void *start;
    size_t bytes;
    int error = pthread_getattr_np(pthread_self(), &attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_getstack(&attributes, &start, &bytes);
    pthread_attr_destroy(&attributes);
    self.stack_start = (uintptr_t)start;
    self.zone_end = self.stack_start + ZONE_BYTES;
    self.stack_end = self.stack_start + bytes;
    return error;
}

/* 0, or errno with nothing left behind. */
static int arm(stack_t *signal_stack) {
    const struct itimerspec every = {.it_interval = {.tv_nsec = WATCHDOG_TICK_US * 1000},
                                     .it_value = {.tv_nsec = WATCHDOG_TICK_US * 1000}};
    int error = find_stack();
    if (error != 0) {
        return error;
    }
    signal_stack->ss_size = SIGNAL_STACK_BYTES;
    signal_stack->ss_sp = malloc(SIGNAL_STACK_BYTES);
    if (signal_stack->ss_sp == NULL) {
        return ENOMEM;
    }
    if ((error = make_timer(CLOCK_THREAD_CPUTIME_ID, &self.ticks)) == 0) {
        if ((error = make_timer(CLOCK_MONOTONIC, &self.again)) == 0) {
            if (sigaltstack(signal_stack, NULL) == 0 &&
                timer_settime(self.ticks, 0, &every, NULL) == 0 &&
                syscall(SYS_mprotect, self.stack_start, ZONE_BYTES, PROT_NONE) == 0) {
                /* A huge page would make a stack that was deep once cost 2 MiB at a time. */
                (void)madvise((void *)self.stack_start, self.stack_end - self.stack_start,
                              MADV_NOHUGEPAGE);
                self.armed = true;
                return 0;
            }
            error = errno;
            timer_delete(self.again);
        }
        timer_delete(self.ticks);
    }
    free(signal_stack->ss_sp);
    return error;
}

static void disarm(stack_t *signal_stack) {
    self.armed = false;
    timer_delete(self.ticks);
    timer_delete(self.again);
    (void)syscall(SYS_mprotect, self.stack_start, ZONE_BYTES, PROT_READ | PROT_WRITE);
    const stack_t none = {.ss_flags = SS_DISABLE};
    (void)sigaltstack(&none, NULL); /* no handler runs on this thread now */
    free(signal_stack->ss_sp);
}
#else
static int arm(stack_t *signal_stack) {
    (void)signal_stack;
    self.armed = true;
    return 0;
}

static void disarm(stack_t *signal_stack) {
    (void)signal_stack;
    self.armed = false;
}
#endif

static void *thread_main(void *argument) {
    struct thread_start *start = argument;
    void *(*run)(void *) = start->run;
    void *run_argument = start->argument;
    stack_t signal_stack = {0};
    int error = arm(&signal_stack);
    start->error = error;
    sem_post(&start->ready); /* `start` is gone from here on */
    if (error != 0) {
        return NULL;
    }
    void *result = run(run_argument);
    disarm(&signal_stack);
    return result;
}

int watchdog_thread_start(pthread_t *thread, void *(*run)(void *), void *argument) {
    struct thread_start start = {.run = run, .argument = argument};
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (error == 0 && sem_init(&start.ready, 0, 0) != 0) {
        error = errno;
    }
    if (error == 0) {
        error = pthread_create(thread, &attributes, thread_main, &start);
        if (error == 0) {
            while (sem_wait(&start.ready) != 0) {
            }
            error = start.error;
            if (error != 0) {
                pthread_join(*thread, NULL);
            }
        }
        sem_destroy(&start.ready);
    }
    pthread_attr_destroy(&attributes);
    return error;
}

/* ---- proof ---- */

#if PLACES_KNOWN

/* Each would run for a second or so, and then end by itself: a watchdog that does not work must not
 * hang the start. */
static const char *const proofs[] = {
    "local x = 0 for i = 1, 2e9 do x = x + i % 3 end",
    "('a'):rep(30000):find('a-a-a-b')",
    "local function f() error('x') end for i = 1, 1e7 do pcall(f) end",
};

struct proof {
    lua_State *lua;
    const char *text;
};

static void run_proof(void *argument) {
    const struct proof *proof = argument;
    if (luaL_loadstring(proof->lua, proof->text) == 0) {
        (void)lua_pcall(proof->lua, 0, 0, 0); /* whatever comes of it, it was not stopped */
    }
}

static void *prove(void *argument) {
    bool *all_stopped = argument;
    for (size_t i = 0; i < sizeof(proofs) / sizeof(proofs[0]); i++) {
        struct memory memory = {0};
        memory_bound = &memory;
        struct proof proof = {.lua = luaL_newstate(), .text = proofs[i]};
        if (proof.lua != NULL) {
            luaL_openlibs(proof.lua);
        }
        bool booked = memory.mapped_bytes > 0;
        struct stop stop = {.cause = STOP_NONE};
        if (proof.lua != NULL && booked) {
            stop = watchdog_run(&memory, 1000, run_proof, &proof);
        }
        memory_bound = &memory;
        if (stop.cause == STOP_NONE && proof.lua != NULL) {
            lua_close(proof.lua);
        }
        memory_bound = NULL;
        memory_abandon(&memory);
        if (stop.cause != STOP_BUDGET) {
            return NULL;
        }
    }
    *all_stopped = true;
    return NULL;
}

static bool install(int number, void (*handler)(int, siginfo_t *, void *),
                    struct sigaction *previous) {
    struct sigaction action = {.sa_sigaction = handler,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    return sigaction(number, &action, previous) == 0;
}

static const char *open_or_say_why(void) {
    const char *why = places_open();
    if (why != NULL) {
        return why;
    }
    if (!install(TICK_SIGNAL, on_tick, NULL) || !install(SIGSEGV, on_fault, &previous_fault)) {
        return "the signal handlers cannot be installed";
    }
    bool all_stopped = false;
    pthread_t thread;
    void (*look_later)(void *) = look;
    look = NULL;   /* the proofs are no calls of the guard */
    proven = true; /* the rest runs as everything else will */
    int error = watchdog_thread_start(&thread, prove, &all_stopped);
    if (error != 0) {
        return "a thread that runs scripts cannot be started";
    }
    pthread_join(thread, NULL);
    look = look_later;
    return all_stopped ? NULL : "scripts that run for long were not stopped";
}

#else

static const char *open_or_say_why(void) {
    return "this kind of machine or build has no way to stop compiled code";
}

#endif

bool watchdog_open(char *reason, size_t reason_bytes) {
    const char *why = open_or_say_why();
    proven = why == NULL;
    needs_hook = !proven;
    snprintf(reason, reason_bytes, "%s", proven ? "" : why);
    return proven;
}

void watchdog_on_leaving(void (*function)(void *argument)) {
    look = function;
}

bool watchdog_is_proven(void) {
    return proven;
}
