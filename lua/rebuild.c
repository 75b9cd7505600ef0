/* Rebuilding lost states; see rebuild.h. The walk:
 *
 *   rebuild_begin (owner) -> at_builder (builder: the state is given back and made anew)
 *                         -> at_owner (owner: it may be asked again)
 *
 * A rebuild outlives its state when the configuration is replaced meanwhile: the owner retires it,
 * and whoever gets it last frees it. */
#include "lua/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "lua/policy.h"
#include "lua/runtime.h"
#include "lua/timers.h"

struct rebuild {
    struct script_mail mail;
    struct vm *vm;
    bool under_way; /* owner: handed to the builder, and not back yet */
    bool retired;   /* owner: `vm` is gone */
    bool ok;        /* builder, while under way: a new state stands */
};

void rebuild_free(struct vm *vm) {
    free(vm->rebuild); /* one that was under way when it was retired is no more the state's */
    vm->rebuild = NULL;
}

void rebuild_retire(struct script_host *host) {
    for (struct vm *vm = host->states; vm != NULL; vm = vm->next) {
        if (vm->rebuild != NULL && vm->rebuild->under_way) {
            vm->rebuild->retired = true;
            vm->rebuild = NULL; /* at_owner frees it, maybe before the state is freed */
        }
    }
}

/* Every script of the state, and everything made of it, again. False: messages. */
static bool make_again(struct vm *vm, struct messages *messages) {
    char error[256];
    if (!vm_renew(vm, error, sizeof(error))) {
        messages_add(messages, (struct position){0}, "%s", error);
        return false;
    }
    for (struct script *script = vm->host->scripts; script != NULL; script = script->next) {
        if (script->vm == vm && !vm_reload(script, messages)) {
            return false;
        }
    }
    return policy_rebuild(vm, messages) && runtime_rebuild(vm, messages);
}

static void at_builder(struct script_mail *mail) {
    struct rebuild *rebuild = container_of(mail, struct rebuild, mail);
    struct vm *vm = rebuild->vm;
    struct messages messages = {0};
    if (vm->out) {
        vm_give_back(vm);
        rebuild->ok = false;
        return;
    }
    if (vm->source != NULL) {
        vm->source->sealed = true;
    }
    rebuild->ok = make_again(vm, &messages);
    if (!rebuild->ok) {
        log_message(LOG_ERROR, "script", "script %s cannot be rebuilt and is taken out: %s",
                    vm_name(vm),
                    messages.text.bytes != NULL ? messages.text.bytes : "out of memory");
        vm_give_back(vm);
    }
    messages_free(&messages);
}

static void at_owner(struct script_mail *mail) {
    struct rebuild *rebuild = container_of(mail, struct rebuild, mail);
    if (rebuild->retired) {
        free(rebuild);
        return;
    }
    rebuild->under_way = false;
    rebuild->vm->resting = !rebuild->ok;
    rebuild->vm->out = rebuild->vm->out || !rebuild->ok;
    policy_stop_again(rebuild->vm);
    if (rebuild->ok && rebuild->vm->host->started) { /* else it is a shadow's, or of the past */
        rebuild->vm->library.stage = ALACRITY_LIVE;
        timers_start(rebuild->vm);
    }
}

static void hand_over(struct vm *vm) {
    const struct script_host *host = vm->host;
    if (host->post == NULL) {
        vm->out = true; /* nobody to make it anew: the tools of the command line */
        return;
    }
    if (vm->rebuild == NULL) {
        vm->rebuild = calloc(1, sizeof(*vm->rebuild));
    }
    if (vm->rebuild == NULL) {
        vm->out = true;
        log_limited(LOG_ERROR, "memory", "out of memory: script %s is taken out", vm_name(vm));
        return;
    }
    vm->rebuild->vm = vm;
    vm->rebuild->under_way = true;
    vm->rebuild->mail =
        (struct script_mail){.owner = host->owner, .at_builder = at_builder, .at_owner = at_owner};
    host->post->post(host->post->argument, &vm->rebuild->mail);
}

/* One more overrun. True: it was one too many within the window. */
static bool trips_breaker(struct vm *vm) {
    const struct snapshot *snapshot = vm->host->snapshot;
    uint64_t now_ms = clock_monotonic_ms();
    uint32_t most = snapshot != NULL ? snapshot->lua.overruns : 0;
    if (snapshot == NULL || now_ms - vm->window_started_ms > snapshot->lua.overrun_window_ms) {
        vm->window_started_ms = now_ms;
        vm->overruns_in_window = 0;
    }
    vm->overruns_in_window++;
    return most > 0 && vm->overruns_in_window >= most;
}

static void log_stop_of(const struct script *script, const char *hook, const char *how) {
    static const char *const causes[] = {"", "budget", "stack", "memory"};
    const struct vm *vm = script->vm;
    const struct log_field fields[] = {LOG_STRING("script", script->name), LOG_STRING("hook", hook),
                                       LOG_STRING("cause", causes[vm->stop.cause]),
                                       LOG_NUMBER("cpu_us", vm->stop.cpu_us)};
    char role[SCRIPT_ROLE_BYTES];
    vm_describe_role(vm, role);
    log_fields(LOG_ERROR, "script", fields, "%s of %s%s: %s%s%s; %s", hook, script->name, role, how,
               vm->near[0] != '\0' ? ", in or below the function at " : "", vm->near,
               vm->out ? "stopped too often: it is taken out until a new version is published"
                       : "its state is made anew");
}

void rebuild_begin(struct script *script, const char *hook, bool picking) {
    struct vm *vm = script->vm;
    char how[160];
    vm_describe_stop(vm, picking, how, sizeof(how));
    script->overruns++;
    vm->resting = true;
    vm->out = trips_breaker(vm);
    log_stop_of(script, hook, how);
    const char *where = vm->near[0] != '\0' ? ", in or below the function at " : "";
    int length = snprintf(script->last_error, sizeof(script->last_error), "%s: %s", hook, how);
    if (length > 0 && length + strlen(where) + strlen(vm->near) < sizeof(script->last_error)) {
        strcat(strcat(script->last_error, where), vm->near); /* else the log alone tells */
    }
    runtime_state_lost(vm);
    timers_state_lost(vm);
    hand_over(vm);
}
