/* Checks: is this backend well? An instance per pool, a run per backend asked. Instances are made
 * on the builder, asked on control. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/guard.h"
#include "lua/run.h"
#include "lua/runtime.h"

#define INFO_BYTES 256

struct check {
    struct instance instance; /* nothing more */
};

struct check_run {
    struct run run; /* first */
    const struct check *check;
    const struct slot *slot;
    check_done *done;
    void *argument;
};

struct check *runtime_check_new(struct script_host *host, const struct pool_config *pool,
                                struct messages *messages) {
    return (struct check *)instance_new(host, &pool->check.script, SCRIPT_CHECK, messages);
}

/* Under guard_cfunction; argument: the run. Pushes check, instance, backend on the run's thread. */
static int push_call(lua_State *lua) {
    struct check_run *run = lua_touserdata(lua, 1);
    instance_push(lua, &run->check->instance, "check");
    vm_push_backend(run->check->instance.script->vm, lua, &run->slot->script.view);
    lua_xmove(lua, run->run.thread, 3);
    return 0;
}

static enum check_answer read_answer(lua_State *lua, char *info) {
    static const struct {
        const char *word;
        enum check_answer answer;
    } answers[] = {{"up", CHECK_UP}, {"down", CHECK_DOWN}, {"drain", CHECK_DRAIN}};
    const char *text = lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : "";
    snprintf(info, INFO_BYTES, "%s", text);
    if (lua_type(lua, 1) == LUA_TSTRING) {
        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
            if (strcmp(lua_tostring(lua, 1), answers[i].word) == 0) {
                return answers[i].answer;
            }
        }
    }
    snprintf(info, INFO_BYTES, "it must answer \"up\", \"down\" or \"drain\", not a %s",
             luaL_typename(lua, 1));
    return CHECK_ERROR;
}

static void end_check(struct run *run, enum run_end how) {
    struct check_run *check_run = (struct check_run *)run;
    char info[INFO_BYTES] = "timeout";
    enum check_answer answer = CHECK_DOWN;
    if (how == RUN_RETURNED) {
        answer = read_answer(run->thread, info);
        if (answer == CHECK_ERROR) {
            run_misbehaved(run, info);
        }
    } else if (how == RUN_FAILED) {
        answer = CHECK_ERROR;
        snprintf(info, sizeof(info), "%s", run->script->last_error);
    }
    check_done *done = check_run->done;
    void *argument = check_run->argument;
    run_release(run);
    free(check_run);
    done(argument, answer, info);
}

struct check_run *runtime_check_start(struct check *check, const struct slot *slot,
                                      const struct address *address, uint32_t timeout_ms,
                                      check_done *done, void *argument) {
    struct check_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return NULL;
    }
    run->run.script = check->instance.script;
    run->run.owner = &check->instance;
    run->run.hook = "check";
    run->run.address = *address;
    run->run.end = end_check;
    run->check = check;
    run->slot = slot;
    run->done = done;
    run->argument = argument;
    if (!run_start(&run->run, check->instance.script->vm->host, timeout_ms, push_call)) {
        free(run);
        return NULL;
    }
    return run; /* it may have ended already; then `done` was called and this is only a number */
}

void runtime_check_cancel(struct check_run *run) {
    run_release(&run->run);
    free(run);
}

bool runtime_check_is_out(const struct check *check) {
    return check->instance.script->vm->out;
}
