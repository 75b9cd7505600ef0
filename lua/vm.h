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

#include "base/messages.h"
#include "config/snapshot.h"
#include "scripting.h"

enum script_kind { SCRIPT_POLICY, SCRIPT_CHECK, SCRIPT_SERVICE, SCRIPT_KIND_COUNT };

/* One Lua state: of one user script, or shared by all stock scripts of its host. */
struct vm {
    lua_State *lua;
    struct script_host *host;
    struct vm *next;
    const char *path; /* NULL: the stock scripts' state; else owned copy of the script's path */
    uint64_t calls, errors;
    char last_error[256];
};

struct script_host {
    struct vm *states;          /* list */
    const struct snapshot *snapshot;
    struct arena *arena;
    struct ev_loop *loop;       /* control's; NULL for workers */
    struct script *scripts;     /* loaded scripts, list; see vm.c */
    void *runtime;              /* coroutine runtime of control's host (lua/runtime.c) */
};

/* A loaded script: its module table, for making instances. */
struct script {
    struct script *next;
    struct vm *vm;
    enum script_kind kind;
    char *name, *path; /* path NULL = stock */
    int module_ref;    /* registry reference of the table it returned */
    uint64_t calls, errors;
    char last_error[256];
};

/* Finds (loading it on first use) the script `use` names, in the right state of the host. NULL:
 * messages (file:line of the script, or the position of `use` when it is missing or of the wrong
 * kind). Text only, never bytecode. */
struct script *vm_script(struct script_host *host, const struct script_use *use,
                         enum script_kind kind, struct messages *messages);

/* Validates use->with against the script's `options` schema, calls module.new(cfg, nil) guarded.
 * Returns a registry reference of the instance in script->vm, or LUA_NOREF with messages. */
int vm_instance(struct script *script, const struct script_use *use, struct messages *messages);

/* The text of a stock script or library module built into the binary: kind folder "policies",
 * "checks", "services" or "alacrity" (the library). NULL: there is none of that name. */
const char *vm_builtin(const char *folder, const char *name, size_t *length);

/* Finishes an error: counts it in the script, logs script:line, hook and message (rate-limited; the
 * traceback once per distinct message), pops the error value. */
void vm_report_error(struct script *script, lua_State *thread, const char *hook);

#endif
