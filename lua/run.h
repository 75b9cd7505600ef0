/* Run: one check of one backend, one request to a service, one session to be routed, or a turn of a
 * timer, as a coroutine: of the control thread, or (routes and their timers) of a worker.
 *
 * Everything a run opens (descriptors, watchers, timers) belongs to this object, never to Lua: it
 * is closed when the run ends, also when its Lua code never gets another turn. A script holds
 * sockets only as handles, numbers that are looked up in the run that is being resumed.
 *
 * A run waits for one thing at a time. Its life: run_start -> resume -> (wait -> resume)* -> end,
 * where end is a return, an error, the deadline or a cancel. */
#ifndef LUA_RUN_H
#define LUA_RUN_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/address.h"
#include "base/list.h"
#include "lua/vm.h"

#define RUN_SOCKETS 16                 /* open at once in one run */
#define SOCKET_BUFFER_BYTES (1u << 20) /* kept of what came in, and of what must go out */

struct run;
struct runtime;

/* One connection of a run. */
struct socket {
    struct ev_io io;
    struct run *run;
    uint64_t serial; /* never used again: a handle of another socket does not fit */
    char *in;        /* received, not yet taken by the script */
    size_t in_length, in_capacity;
    char *out; /* not yet sent */
    size_t out_start, out_end;
    bool ended; /* the peer's end of stream was read */
};

/* How runs reach the world: through the loop and the kernel (machine.c), or through what a test
 * makes up (fake.c). `socket->io` carries the callback, and the descriptor or its like. */
struct machine {
    void (*timer_start)(struct runtime *runtime, struct ev_timer *timer, double seconds);
    void (*timer_stop)(struct runtime *runtime, struct ev_timer *timer);
    /* Begins to connect; it can be written to when that is over. 0; or errno, nothing is open. */
    int (*connect)(struct socket *socket, const struct address *address);
    int (*connect_error)(struct socket *socket); /* how that ended: 0 or errno */
    /* As send and recv, without blocking. */
    ssize_t (*send)(struct socket *socket, const char *bytes, size_t length);
    ssize_t (*receive)(struct socket *socket, char *bytes, size_t length);
    void (*watch)(struct socket *socket, int events); /* once, until told; 0 = no more */
    void (*close)(struct socket *socket);
};
extern const struct machine machine_real;

/* What a run waits for. */
enum wait {
    WAIT_NOTHING,
    WAIT_SLEEP,
    WAIT_CONNECT,
    WAIT_SEND,
    WAIT_BYTES,  /* exactly `wanted` */
    WAIT_LINE,   /* up to a line feed, at most `wanted` bytes */
    WAIT_CLOSE,  /* until the peer closes, at most `wanted` bytes */
    WAIT_SOME,   /* whatever comes, at most `wanted` bytes */
    WAIT_ANSWER, /* of whoever started the run: it calls run_ready, `answer` pushes the results */
};

enum run_end { RUN_RETURNED, RUN_FAILED, RUN_TIMED_OUT };

struct run {
    struct list node; /* in runtime.runs */
    struct runtime *runtime;
    struct script *script;
    const void *owner; /* in whose name it runs: see struct acting */
    const char *hook;  /* "check", "serve", "route", "timer" */
    lua_State *thread;
    int thread_ref;
    struct address address; /* what connect(backend) means; length 0 = nothing */
    struct ev_timer deadline, wait_limit;
    enum wait wait;
    struct socket *wait_socket;
    size_t wanted;
    struct socket *sockets[RUN_SOCKETS];
    bool limit_passed;                              /* of the wait; what deliver() is to push */
    int results;                                    /* what it pushed, -1: wait on */
    int (*answer)(lua_State *lua, struct run *run); /* of WAIT_ANSWER; may raise */
    /* The run is over; its thread's stack holds the results (of RUN_RETURNED, from index 1), and
     * an error was reported (script->last_error). Calls nothing in Lua. Reads them, calls
     * run_release, frees the memory, tells the asker. */
    void (*end)(struct run *run, enum run_end how);
};

struct runtime {
    struct script_host *host;
    struct ev_loop *loop; /* NULL: the host is not in use yet */
    const struct machine *machine;
    void *world; /* of the machine */
    struct list runs;
    struct run *current;  /* being resumed */
    uint64_t next_serial; /* of sockets */
    struct instance *instances;
    struct route_ctx *free_contexts; /* route.c's */
};

/* What `new` of a check, service or route made. Freed with the runtime. */
struct instance {
    struct instance *next;
    struct script *script;
    const struct script_use *use;
    int ref; /* registry */
};

/* Builder. Loads the script and makes an instance with the options of `use`. NULL: messages. */
struct instance *instance_new(struct script_host *host, const struct script_use *use,
                              enum script_kind kind, struct messages *messages);
/* Under guard_cfunction: pushes the instance's method and the instance. */
void instance_push(lua_State *lua, const struct instance *instance, const char *method);

/* Begins a zeroed run whose script, hook, address and `end` are set. `push` runs protected with the
 * run as light userdata at index 1 and pushes the function and its arguments on run->thread. `end`
 * may be called before this returns. timeout_ms 0 = none. False: not begun (reported), nothing to
 * release. */
bool run_start(struct run *run, struct script_host *host, uint32_t timeout_ms, lua_CFunction push);
/* Counts and logs what a script did wrong without raising an error. */
void run_misbehaved(struct run *run, const char *how);
/* Closes and stops everything the run has. Its memory is the caller's again. */
void run_release(struct run *run);

/* net.c */
void net_open(struct vm *vm); /* protected: makes `alacrity.net` */
/* An unconnected socket at a free place of the run, whose io has no descriptor. NULL: no memory. */
struct socket *net_socket_new(struct run *run, uint32_t place);
/* What scripts hold of the socket at that place. May raise. */
void net_push_socket(lua_State *lua, const struct run *run, uint32_t place);
void socket_close(struct socket *socket); /* frees it */
/* The awaited thing may have come: pushes the results and returns how many, or -1 to wait on. May
 * raise (out of memory), and owns nothing then. */
int net_try(lua_State *lua, struct run *run);
/* The wait's own limit passed: pushes what the waiting call answers. */
int net_timed_out(lua_State *lua, struct run *run);
/* run.c: the awaited descriptor, or whatever it is, is ready. */
void run_ready(struct run *run);
/* From here on the run waits; `limit` in seconds, 0 = only the deadline of the whole run holds. */
void run_wait(struct run *run, enum wait wait, struct socket *socket, double limit);

/* route.c, when the runtime is freed: no run is left. */
void route_contexts_free(struct runtime *runtime);

#endif
