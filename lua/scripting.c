/* The table through which the core reaches everything in lua/. No logic: each entry names its
 * thread in core/scripting.h. */
#include "lua/scripting.h"

#include <stdio.h>

#include "core/scripting.h"
#include "lua/console.h"
#include "lua/guard.h"
#include "lua/library.h"
#include "lua/policy.h"
#include "lua/rebuild.h"
#include "lua/runtime.h"
#include "lua/state.h"
#include "lua/test.h"
#include "lua/timers.h"
#include "lua/vm.h"

static void host_free(struct script_host *host) {
    library_host_stop(host); /* nothing is left of it, unless host_retire was not called */
    runtime_free(host);      /* what runs there refers to states: it ends first */
    policy_free_all(host);
    vm_host_free(host);
}

static bool host_script(struct script_host *host, uint32_t index, struct script_info *info) {
    static const char *const kind_words[SCRIPT_KIND_COUNT] = {"policy", "check", "service", "route",
                                                              "test"};
    const struct script *script = host->scripts;
    for (; script != NULL && index > 0; index--) {
        script = script->next;
    }
    if (script == NULL) {
        return false;
    }
    const struct vm *vm = script->vm;
    *info = (struct script_info){
        .kind = kind_words[script->kind],
        .name = script->name,
        .path = script->path,
        .version = host->snapshot != NULL ? host->snapshot->number : 0,
        .calls = script->calls,
        .errors = script->errors,
        .overruns = script->overruns,
        .state = vm->out       ? "out"
                 : vm->resting ? "rebuilding"
                               : "running",
        .memory_bytes = vm_memory_bytes(vm),
    };
    snprintf(info->last_error, sizeof(info->last_error), "%s", script->last_error);
    return true;
}

static bool open_watchdog(char *reason, size_t reason_bytes) {
    guard_watch();
    return watchdog_open(reason, reason_bytes);
}

static const char *policy_text(const char *name, size_t *length) {
    return vm_builtin("policies", name, length);
}

static const struct scripting table = {
    .watchdog_open = open_watchdog,
    .watchdog_is_proven = watchdog_is_proven,
    .thread_start = watchdog_thread_start,
    .self_test = state_self_test,
    .host_new = vm_host_new,
    .host_virtual = vm_host_virtual,
    .host_due = timers_due,
    .host_turn = timers_turn,
    .host_start = library_host_start,
    .host_stop = library_host_stop,
    .host_retire = library_host_retire,
    .host_free = host_free,
    .policy_new = policy_new,
    .policy_text = policy_text,
    .policy_name = policy_name,
    .policy_snapshot = policy_snapshot,
    .policy_pick = policy_pick,
    .policy_reason = policy_reason,
    .policy_hears = policy_hears,
    .policy_closed = policy_closed,
    .policy_stop = policy_stop,
    .check_new = runtime_check_new,
    .check_start = runtime_check_start,
    .check_cancel = runtime_check_cancel,
    .check_is_out = runtime_check_is_out,
    .service_new = runtime_service_new,
    .service_start = runtime_service_start,
    .service_cancel = runtime_service_cancel,
    .route_new = runtime_route_new,
    .route_start = runtime_route_start,
    .route_ready = runtime_route_ready,
    .route_cancel = runtime_route_cancel,
    .route_memory_bytes = runtime_route_memory_bytes,
    .policy_memory_bytes = policy_memory_bytes,
    .host_memory_bytes = vm_host_memory_bytes,
    .host_script = host_script,
    .console_new = console_new,
    .console_evaluate = console_evaluate,
    .console_free = console_free,
    .test_file = test_file_run,
};

const struct scripting *scripting_table(void) {
    return &table;
}

const char *const *scripting_stock_names(const char *folder) {
    return vm_stock_names(folder);
}
