/* Lua states: making one, loading a script into its own environment, and closing it. The only
 * files that know lua_State are in this folder.
 *
 * Threads: a state is made on the builder, handed over with its host, and used by one thread at a
 * time. Nothing here is per thread. */
#ifndef LUA_VM_H
#define LUA_VM_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "base/messages.h"
#include "config/snapshot.h"
#include "core/scripting.h"
#include "lua/memory.h"
#include "lua/watchdog.h"
#include "pool/metrics.h"

#define LUA_TCDATA 10 /* lua_type() of an ffi object; lua.h has no name for it */

enum script_kind {
    SCRIPT_POLICY,
    SCRIPT_CHECK,
    SCRIPT_SERVICE,
    SCRIPT_ROUTE,
    SCRIPT_TEST, /* only under `alacrity test`; its module is the file itself, as a function */
    SCRIPT_KIND_COUNT
};

/* Who runs in a state: what a script begins is done in its name. `owner` is a struct policy or
 * struct instance; NULL: the script is being loaded, or a test. */
struct acting {
    struct script *script;
    const void *owner;
};

/* Garbage collection in parts, between calls: see guard.c. */
struct collection {
    uint32_t calls;
    int used_kib, next_kib;
    bool under_way;
};

/* One Lua state: of one user script, or shared by all stock scripts of its host. The state may be
 * lost (guard.h) and is then made anew on the builder, in place: while it is `resting`, everything
 * below but what is marked as the owner's is the builder's, and so is the Lua side (references,
 * threads) of everything made in it. */
struct vm {
    lua_State *lua;
    struct memory memory; /* of the state */
    uint32_t pick_budget_us, budget_us;
    bool lost;        /* stopped: nothing of its Lua side may be touched */
    bool resting;     /* owner's: the builder has it, nobody may ask */
    bool out;         /* owner's: resting for good, stopped too often or impossible to rebuild */
    struct stop stop; /* how it was lost ... */
    char near[128];   /* ... and about where: "script:line" of a function; "" = not known */
    uint32_t overruns_in_window;  /* owner's, both */
    uint64_t window_started_ms;   /* monotonic */
    struct rebuild *rebuild;      /* rebuild.c's */
    struct script_source *source; /* of the script the state is for; NULL: stock */
    struct script_host *host;
    struct vm *next;
    char *path;           /* NULL: the stock scripts' state; else owned copy of the script's path */
    char *name;           /* of the script as the configuration writes it; NULL: stock */
    int handler_ref;      /* registry: guard.c's message handler */
    int prelude_ref;      /* registry: the table of functions prelude.lua returned */
    char traceback[1024]; /* of the last error in this state; guard.c writes it */
    bool loading;         /* a script is loaded or constructed: require may read files */
    struct alacrity_library library; /* what the library's functions look at */
    bool reads_files;                /* of a test: it may do so at any time */
    struct log_limiter log_limiter;  /* of what its scripts write */
    struct acting acting;            /* right now, or last */
    struct collection collection;
    struct list timers; /* timers.c's */
    double last_timer;  /* id */
    uint64_t calls, errors;
    char last_error[256];
};

struct script_host {
    struct vm *states; /* list */
    const struct snapshot *snapshot;
    struct arena *arena;
    const struct script_post *post; /* to the builder and back; NULL: nothing is rebuilt */
    uint32_t owner;                 /* whose it is: a worker's index, or ARENA_CONTROL_ROW */
    struct ev_loop *loop;           /* control's; NULL for workers */
    struct ev_loop *owner_loop;     /* of whose it is, while it is in use; NULL: none turns */
    double (*now)(void);            /* what alacrity.now() answers, in seconds */
    bool is_virtual;                /* `now` is made up */
    bool started;                   /* in use; the owner's */
    const char *shadow_of;          /* its only policy is that pool's shadow; NULL: it is not */
    double seed;                    /* of math.random in its states; 0 = the machine's choice */
    struct script *timer_trouble; /* whose timer failed last, for `alacrity test`; NULL: nobody's */
    const struct machine *machine;  /* what its runs reach the world through (run.h), ... */
    void *world;                    /* ... and whose world that is, if it is not the real one */
    struct script *scripts;         /* loaded scripts, list, newest first; see vm.c */
    struct policy *policies;        /* all of the host, list; see policy.c */
    uint64_t metrics[METRICS / 64]; /* which it refers to, a bit each; see metrics.c */
    bool has_runs;                  /* control's, and workers' of configurations with routes */
    void *runtime;                  /* coroutine runtime of such a host (lua/run.c) */
};

#define SCRIPT_SEEN_ERRORS 8

/* A loaded script: its module table, for making instances. */
struct script {
    struct script *next;
    struct vm *vm;
    enum script_kind kind;
    const struct script_use *use; /* the first one */
    char *name, *path;            /* path NULL = stock; name as the configuration writes it */
    const char *text;             /* its source, as long as the host lives */
    size_t length;
    int module_ref; /* registry reference of the table it returned */
    uint64_t calls, errors, overruns;
    char last_error[256];
    uint32_t seen[SCRIPT_SEEN_ERRORS]; /* hashes of messages whose traceback was logged */
    uint32_t seen_next;
};

/* Builder. A host without states; they are made as scripts need them. NULL: messages. */
struct script_host *vm_host_new(const struct snapshot *snapshot, struct arena *arena,
                                struct ev_loop *loop, const struct script_post *post,
                                uint32_t owner, struct messages *messages);
/* As scripting.host_virtual. */
void vm_host_virtual(struct script_host *host, double (*now)(void), double seed);
/* Builder. Closes every state. Runtime and policies must be freed before. */
void vm_host_free(struct script_host *host);

/* Finds (loading it on first use) the script `use` names, in the right state of the host. NULL:
 * messages (file:line of the script, or the position of `use` when it is missing or of the wrong
 * kind). Text only, never bytecode. */
struct script *vm_script(struct script_host *host, const struct script_use *use,
                         enum script_kind kind, struct messages *messages);

/* Validates use->with against the script's `options` schema, calls module.new(cfg, carry) guarded;
 * carry (or NULL) counts only if it comes of a script of that name.
 * Returns a registry reference of the instance in script->vm, or LUA_NOREF with messages. */
int vm_instance(struct script *script, const struct script_use *use, const struct carry *carry,
                struct messages *messages);

/* Builder. Gives a lost state back; the vm stays, without one. */
void vm_give_back(struct vm *vm);
/* For people: the script's name, or "stock scripts". */
const char *vm_name(const struct vm *vm);

/* Builder. A lost state is given back and a new one made in its place, empty. False: `error`. */
bool vm_renew(struct vm *vm, char *error, size_t error_bytes) __attribute__((warn_unused_result));
/* Builder. Loads the script's text, as it was, into its renewed state. False: messages. */
bool vm_reload(struct script *script, struct messages *messages)
    __attribute__((warn_unused_result));

/* The text of a stock script or library module built into the binary: kind folder "policies",
 * "checks", "services", "routes" or "alacrity" (the library). NULL: there is none of that name. */
const char *vm_builtin(const char *folder, const char *name, size_t *length);

/* Names of what is built in, of "policies", "checks" and so on: sorted, NULL-terminated, for
 * the life of the process. Any thread. NULL: no such folder, or out of memory. */
const char *const *vm_stock_names(const char *folder);

/* Owner. Memory in use; 0 while it rests. */
uint64_t vm_memory_bytes(const struct vm *vm);
uint64_t vm_host_memory_bytes(const struct script_host *host);

/* " (shadow of POOL)", or nothing: behind the name of a script in the log. */
#define SCRIPT_ROLE_BYTES (ALACRITY_NAME_BYTES + 16)
void vm_describe_role(const struct vm *vm, char out[SCRIPT_ROLE_BYTES]);
/* Counts an error of the script, and logs it with the traceback (rate-limited). */
void vm_report(struct script *script, const char *hook, const char *message);
/* Finishes an error: counts it in the script, logs script:line, hook and message (rate-limited; the
 * traceback once per distinct message), pops the error value. */
void vm_report_error(struct script *script, lua_State *thread, const char *hook);

/* For what may go wrong on the builder: adds the error value on top of `thread` as a message that
 * begins with script:line, says what was going on and for which use (its position), and pops it.
 * When the state is lost, says how it was. */
void vm_add_error(struct script *script, lua_State *thread, const char *doing,
                  const struct script_use *use, struct messages *messages);

/* The errno that ctx.last_failure calls by this word; 0: there is none. */
uint32_t vm_failure_code(const char *word);

/* "used 12 ms of CPU (budget 10 ms)" and the like: how the state was lost. */
void vm_describe_stop(const struct vm *vm, bool picking, char *out, size_t bytes);

/* ---- for bindings; these raise Lua errors, so only under a guarded call ---- */

/* Pushes the table that `require(name)` answers, e.g. "alacrity"; nil when there is none yet. */
void vm_push_module(struct vm *vm, lua_State *lua, const char *name);
/* Pops a value off vm->lua, which `require(name)` answers from now on, e.g. "alacrity.net". */
void vm_set_module(struct vm *vm, const char *name);

/* Push what scripts see of a thing. The thing must outlive the state (a slot always does). */
void vm_push_backend(struct vm *vm, lua_State *lua, const struct alacrity_backend *backend);
void vm_push_pool(struct vm *vm, lua_State *lua, const struct alacrity_pool *pool);
void vm_push_ctx(struct vm *vm, lua_State *lua, const struct alacrity_ctx *ctx);
void vm_push_closed(struct vm *vm, lua_State *lua, const struct alacrity_closed *closed);

#endif
