/* The versions of policies and what happens to them; see scripts.h. The walk of a swap:
 *
 *   scripts_begin -> carry_gather (workers) -> build_policies (builder: one for every worker,
 * proved)
 *       -> on_built -> worker_install on every worker -> on_installed, when the last has
 *       -> free_replaced (builder) -> finished -> conductor_job_done
 *
 * Publishing is all or nothing: until every worker's policy is built, nothing has changed. */
#include "control/scripts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "control/build.h"
#include "control/carry.h"
#include "control/conductor.h"
#include "control/place.h"
#include "control/watch.h"
#include "worker_control.h"

#define WATCH_SECONDS 0.25 /* between looks at how the current versions do */

struct scripts {
    struct control *control;
    struct list pools;
    struct ev_timer watch;
};

/* One wish on its way. Control's, but for build_policies and free_replaced. */
struct job {
    struct mail mail;
    struct scripts *scripts;
    struct script_wish *wish;
    struct pool_scripts *pool;
    const struct control_pool *control_pool;
    uint32_t pool_index, worker_count;
    struct script_version *version; /* that is built or promoted; a reference */
    struct carry_set carries;
    struct messages messages;
    bool ok;
    struct policy_place places[ARENA_WORKERS]; /* built; then what was replaced */
    struct policy_install installs[ARENA_WORKERS];
    uint32_t awaited;
};

/* ---- the books ---- */

static struct pool_scripts *find(const struct scripts *scripts, const char *pool) {
    list_each(node, &scripts->pools) {
        struct pool_scripts *found = container_of(node, struct pool_scripts, node);
        if (strcmp(found->pool, pool) == 0) {
            return found;
        }
    }
    return NULL;
}

const struct pool_scripts *scripts_of(const struct scripts *scripts, const char *pool) {
    return scripts != NULL ? find(scripts, pool) : NULL;
}

static void forget(struct pool_scripts *pool) {
    list_remove(&pool->node);
    versions_forget(pool);
}

static uint64_t troubles_of(const struct control *control, const struct pool_facts *facts) {
    const struct pool_row sum = arena_pool_sum(control->arena, facts);
    return counter_get(&sum.troubles);
}

static void begin_window(const struct control *control, struct pool_scripts *pool,
                         const struct pool_facts *facts) {
    pool->window_started_ms = clock_monotonic_ms();
    pool->troubles_before = troubles_of(control, facts);
}

/* The version, a reference of the caller's, is asked from now on. */
static void make_current(const struct control *control, struct pool_scripts *pool,
                         struct script_version *version, const struct pool_facts *facts) {
    versions_make_current(pool, version);
    begin_window(control, pool, facts);
}

static struct pool_scripts *pool_scripts_new(struct scripts *scripts, const char *name) {
    struct pool_scripts *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) {
        log_message(LOG_ERROR, "memory", "out of memory: no versions are kept of pool %s", name);
        return NULL;
    }
    snprintf(pool->pool, sizeof(pool->pool), "%s", name);
    list_append(&scripts->pools, &pool->node);
    return pool;
}

static void drop_shadow(struct pool_scripts *pool) {
    version_release(pool->shadow);
    pool->shadow = NULL;
}

/* What the configuration says of one pool. */
static void switch_pool(struct scripts *scripts, const struct control_plan *plan, uint32_t index) {
    const struct control_pool *configured = &plan->pools[index];
    struct pool_scripts *pool = find(scripts, configured->config->name);
    if (pool == NULL) {
        pool = pool_scripts_new(scripts, configured->config->name);
    }
    if (pool != NULL && configured->stays != NULL) {
        pool->seen = true;
        drop_shadow(pool);
        begin_window(scripts->control, pool, configured->facts);
        return;
    }
    struct script_version *version =
        pool == NULL
            ? NULL
            : version_new(plan->snapshot, &configured->config->policy, NULL, NULL, "configuration");
    if (version == NULL) {
        return;
    }
    pool->seen = true;
    drop_shadow(pool);
    if (pool->current != NULL && version_equal(pool->current, version)) {
        version->number = pool->current->number;
        version->since_wall_ms = pool->current->since_wall_ms;
        version_release(pool->current); /* it would keep an old snapshot */
        pool->current = version;
        begin_window(scripts->control, pool, configured->facts);
    } else {
        make_current(scripts->control, pool, version, configured->facts);
    }
}

void scripts_switch(struct scripts *scripts, const struct control_plan *plan) {
    list_each(node, &scripts->pools) {
        container_of(node, struct pool_scripts, node)->seen = false;
    }
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        switch_pool(scripts, plan, i);
    }
    list_each(rest, &scripts->pools) {
        if (!container_of(rest, struct pool_scripts, node)->seen) {
            forget(container_of(rest, struct pool_scripts, node));
        }
    }
}

bool scripts_past(const struct scripts *scripts, struct pool_past **pasts) {
    list_each(node, &scripts->pools) {
        if (!past_add(pasts, container_of(node, struct pool_scripts, node))) {
            return false;
        }
    }
    return true;
}

void scripts_tell_what_stays(const struct control_plan *plan, struct text *out) {
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        const struct control_pool *pool = &plan->pools[i];
        if (pool->stays == NULL) {
            continue;
        }
        char at[32] = "";
        struct tm parts;
        time_t second = (time_t)(pool->failed->failed_wall_ms / 1000);
        if (gmtime_r(&second, &parts) == NULL ||
            strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
            at[0] = '\0';
        }
        struct text line = {0};
        text_format(&line,
                    "pool %s: %s failed at %s, its text has not changed: version %u (%s) stays; "
                    "write `alacrity script swap %s %s` to try it again",
                    pool->config->name, pool->config->policy.name, at, pool->stays->number,
                    pool->stays->use.name, pool->config->name, pool->config->policy.name);
        if (!line.failed) {
            log_message(LOG_WARNING, "reload", "%s", line.bytes);
            text_format(out, "\n%s", line.bytes);
        }
        text_free(&line);
    }
}

/* ---- the end of a job ---- */

static void finish(struct job *job, bool ok, const char *text) {
    struct control *control = job->scripts->control;
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '\n') { /* messages end with one */
        length--;
    }
    log_message(ok ? LOG_INFO : LOG_ERROR, "script", "%.*s", (int)length, text);
    conductor_job_done(control, ok, text);
    version_release(job->version);
    carry_set_free(&job->carries);
    messages_free(&job->messages);
    script_wish_free(job->wish);
    free(job);
}

static void describe_version(const struct script_version *version, char *out, size_t bytes) {
    snprintf(out, bytes, "version %u (%s)", version->number, version->use.name);
}

/* Every worker has it: the books follow. */
static void note_success(struct job *job, char *text, size_t bytes) {
    struct pool_scripts *pool = job->pool;
    const struct control *control = job->scripts->control;
    const struct pool_facts *facts = job->control_pool->facts;
    char version[128] = "";
    switch (job->wish->action) {
    case SCRIPT_SWAP:
        make_current(control, pool, version_hold(job->version), facts);
        describe_version(pool->current, version, sizeof(version));
        snprintf(text, bytes, "pool %s: %s is live", pool->pool, version);
        break;
    case SCRIPT_SHADOW:
        version_release(pool->shadow);
        pool->shadow = version_hold(job->version);
        pool->shadow->number = ++pool->last_number;
        pool->shadow->since_wall_ms = (int64_t)clock_wall_ms();
        pool->shadow_sample = job->wish->sample;
        describe_version(pool->shadow, version, sizeof(version));
        snprintf(text, bytes, "pool %s: %s is asked beside the current one", pool->pool, version);
        break;
    case SCRIPT_PROMOTE:
        make_current(control, pool, pool->shadow, facts);
        pool->shadow = NULL;
        describe_version(pool->current, version, sizeof(version));
        snprintf(text, bytes, "pool %s: %s, the shadow until now, is live", pool->pool, version);
        break;
    case SCRIPT_ROLLBACK:
        if (job->wish->automatic) {
            pool->current->failed_wall_ms = (int64_t)clock_wall_ms();
        }
        make_current(control, pool, version_hold(job->version), facts);
        pool->returned = job->wish->automatic;
        describe_version(pool->current, version, sizeof(version));
        snprintf(text, bytes, "pool %s: back to %s%s", pool->pool, version,
                 job->wish->automatic ? ", as the one after it failed" : "");
        break;
    case SCRIPT_DROP:
        drop_shadow(pool);
        snprintf(text, bytes, "pool %s: no shadow any more", pool->pool);
        break;
    }
}

static void on_freed(struct mail *mail, void *owner) {
    struct job *job = container_of(mail, struct job, mail);
    char text[256];
    if (conductor_is_finishing(owner)) {
        finish(job, false, "the balancer has stopped");
        return;
    }
    note_success(job, text, sizeof(text));
    finish(job, true, text);
}

static void free_replaced(struct mail *mail, void *owner) {
    (void)owner;
    struct job *job = container_of(mail, struct job, mail);
    for (uint32_t i = 0; i < job->worker_count; i++) {
        place_free(&job->installs[i].place);
    }
    mail->deliver = on_freed;
    mailbox_post(&job->scripts->control->mailbox, mail);
}

/* ---- installing ---- */

static void on_installed(struct mail *mail, void *owner) {
    (void)owner;
    struct job *job = container_of(mail, struct policy_install, mail)->argument;
    if (--job->awaited == 0) {
        job->mail.deliver = free_replaced;
        builder_post(job->scripts->control->builder, &job->mail);
    }
}

/* Worker. */
static void installed(struct policy_install *install) {
    const struct job *job = install->argument;
    install->mail.deliver = on_installed;
    mailbox_post(&job->scripts->control->mailbox, &install->mail);
}

static void install_everywhere(struct job *job, enum install_action action) {
    struct control *control = job->scripts->control;
    job->awaited = job->worker_count;
    for (uint32_t i = 0; i < job->worker_count; i++) {
        job->installs[i] = (struct policy_install){.action = action,
                                                   .pool = job->pool_index,
                                                   .sample = job->wish->sample,
                                                   .place = job->places[i],
                                                   .argument = job,
                                                   .done = installed};
        worker_install(control->workers[i], &job->installs[i]);
    }
}

/* ---- building ---- */

static bool build_for(struct job *job, struct builder *builder, uint32_t worker) {
    struct control *control = job->scripts->control;
    const struct place_order order = {.script_post = builder_script_post(builder),
                                      .arena = control->arena,
                                      .snapshot = control->plan->snapshot,
                                      .pool = job->control_pool,
                                      .worker = worker,
                                      .shadow = job->wish->action == SCRIPT_SHADOW,
                                      .version = job->version,
                                      .carry = carry_find(&job->carries, worker, job->pool->pool)};
    return place_build(&job->places[worker], &order, &job->messages);
}

static bool read_source(struct job *job) {
    struct script_use *use = &job->version->use;
    if (use->path == NULL || use->source != NULL) {
        return true;
    }
    use->source = source_load(use->path);
    if (use->source == NULL) {
        messages_add(&job->messages, (struct position){.file = use->path}, "cannot be read: %s",
                     source_error(errno));
    }
    return use->source != NULL;
}

/* Which name does a script give itself? False: messages. */
static bool read_name(struct job *job, const struct script_use *use,
                      char name[ALACRITY_NAME_BYTES]) {
    struct control *control = job->scripts->control;
    struct script_host *host = scripting->host_new(control->plan->snapshot, control->arena, NULL,
                                                   NULL, ARENA_CONTROL_ROW, &job->messages);
    bool ok = host != NULL &&
              scripting->policy_name(host, use, name, ALACRITY_NAME_BYTES, &job->messages);
    if (host != NULL) {
        scripting->host_free(host);
    }
    return ok;
}

/* Options that were written for another script are not for this one. False: messages. */
static bool settle_options(struct job *job) {
    const struct script_wish *wish = job->wish;
    struct script_use *use = &job->version->use;
    char configured[ALACRITY_NAME_BYTES], own[ALACRITY_NAME_BYTES];
    bool is_new = wish->action == SCRIPT_SWAP || wish->action == SCRIPT_SHADOW;
    if (!is_new || wish->again || wish->option_count > 0 || use->with == NULL) {
        return true;
    }
    if (!read_name(job, use, own) ||
        !read_name(job, &job->control_pool->config->policy, configured)) {
        return false;
    }
    if (strcmp(own, configured) != 0) {
        use->with = NULL;
    }
    return true;
}

static void on_built(struct mail *mail, void *owner);

static void build_policies(struct mail *mail, void *owner) {
    struct job *job = container_of(mail, struct job, mail);
    watch_begin_swap(builder_watch(owner));
    job->ok = read_source(job) && settle_options(job);
    for (uint32_t i = 0; job->ok && i < job->worker_count; i++) {
        job->ok = build_for(job, owner, i);
    }
    watch_end_swap(builder_watch(owner));
    for (uint32_t i = 0; !job->ok && i < job->worker_count; i++) {
        place_free(&job->places[i]);
    }
    mail->deliver = on_built;
    mailbox_post(&job->scripts->control->mailbox, mail);
}

static void drop_built(struct mail *mail, void *owner) {
    (void)owner;
    struct job *job = container_of(mail, struct job, mail);
    for (uint32_t i = 0; i < job->worker_count; i++) {
        place_free(&job->places[i]);
    }
    mail->deliver = on_freed;
    mailbox_post(&job->scripts->control->mailbox, mail);
}

static void on_built(struct mail *mail, void *owner) {
    struct job *job = container_of(mail, struct job, mail);
    if (!job->ok) {
        const char *text = job->messages.text.bytes;
        finish(job, false, text != NULL ? text : "out of memory");
    } else if (conductor_is_finishing(owner)) {
        mail->deliver = drop_built;
        builder_post(job->scripts->control->builder, mail);
    } else {
        install_everywhere(job,
                           job->wish->action == SCRIPT_SHADOW ? INSTALL_SHADOW : INSTALL_CURRENT);
    }
}

static void on_gathered(void *argument, struct carry_set *set) {
    struct job *job = argument;
    job->carries = *set;
    if (conductor_is_finishing(job->scripts->control)) {
        finish(job, false, "the balancer has stopped");
        return;
    }
    job->mail.deliver = build_policies;
    builder_post(job->scripts->control->builder, &job->mail);
}

/* ---- beginning ---- */

/* A reference, or NULL and `error`. */
static struct script_version *version_to_return_to(const struct pool_scripts *pool,
                                                   const struct script_wish *wish, char *error,
                                                   size_t error_bytes) {
    if (wish->version[0] == '\0') {
        struct script_version *previous = versions_previous(pool);
        snprintf(error, error_bytes,
                 versions_failed(pool) != NULL
                     ? "pool %s has nothing to return to but a version that failed; write: script "
                       "swap %s FILE, to try it once more"
                     : "pool %s has no version before the current one",
                 wish->pool, wish->pool);
        return previous != NULL ? version_hold(previous) : NULL;
    }
    struct script_version *version = versions_named(pool, wish->version);
    if (version == NULL) {
        snprintf(error, error_bytes,
                 "pool %s keeps no version '%.16s'; 'script list' shows those it keeps", wish->pool,
                 wish->version);
    } else if (version == pool->current || version == pool->shadow) {
        snprintf(error, error_bytes, "version %u of pool %s is %s", version->number, wish->pool,
                 version == pool->current ? "the one in force"
                                          : "the shadow; 'script promote' puts it in force");
        version = NULL;
    }
    return version != NULL ? version_hold(version) : NULL;
}

static bool is_of_file(const struct script_version *version, const char *file) {
    return version->use.path != NULL && strcmp(version->use.path, file) == 0;
}

/* NULL: out of memory. */
static struct script_version *version_of_file(const struct job *job) {
    const struct script_wish *wish = job->wish;
    struct script_version *version = version_new(
        job->scripts->control->plan->snapshot, &job->control_pool->config->policy, wish->file,
        wish->file[0] == '/' ? wish->file : NULL, wish->action == SCRIPT_SWAP ? "swap" : "shadow");
    if (version != NULL && wish->option_count > 0 &&
        !version_set_options(version, wish->options, wish->option_count)) {
        version_release(version);
        version = NULL;
    }
    return version;
}

/* What the wish comes down to. NULL and `error`: it cannot be. */
static struct script_version *wanted_version(const struct job *job, char *error,
                                             size_t error_bytes) {
    const struct pool_scripts *pool = job->pool;
    const struct script_wish *wish = job->wish;
    struct script_version *version = NULL;
    snprintf(error, error_bytes, "out of memory");
    switch (wish->action) {
    case SCRIPT_SWAP:
    case SCRIPT_SHADOW:
        return wish->again && is_of_file(pool->current, wish->file)
                   ? version_again(pool->current, "swap")
                   : version_of_file(job);
    case SCRIPT_ROLLBACK:
        return version_to_return_to(pool, wish, error, error_bytes);
    case SCRIPT_PROMOTE:
    case SCRIPT_DROP:
        version = pool->shadow;
        snprintf(error, error_bytes,
                 "pool %s has no shadow; write: script shadow %s FILE, to begin with one",
                 wish->pool, wish->pool);
        break;
    }
    return version != NULL ? version_hold(version) : NULL;
}

static bool find_target(struct job *job, char *error, size_t error_bytes) {
    const struct control *control = job->scripts->control;
    const struct control_plan *plan = control->plan;
    for (uint32_t i = 0; plan != NULL && i < plan->pool_count; i++) {
        if (strcmp(plan->pools[i].config->name, job->wish->pool) == 0) {
            job->pool_index = i;
            job->control_pool = &plan->pools[i];
            job->worker_count = control->worker_count;
            job->pool = find(job->scripts, job->wish->pool);
        }
    }
    if (job->control_pool == NULL || job->pool == NULL) {
        snprintf(error, error_bytes, "there is no pool '%s'", job->wish->pool);
        return false;
    }
    if (control->draining) {
        snprintf(error, error_bytes, "the balancer is stopping");
        return false;
    }
    job->version = wanted_version(job, error, error_bytes);
    if (job->version == NULL || job->wish->action != SCRIPT_PROMOTE || job->wish->force) {
        return job->version != NULL;
    }
    const struct pool_row sum = arena_pool_sum(control->arena, job->control_pool->facts);
    return !versions_shadow_is_bad(job->pool, &sum, error, error_bytes);
}

void scripts_begin(struct scripts *scripts, struct script_wish *wish) {
    struct job *job = calloc(1, sizeof(*job));
    char error[256];
    if (job == NULL) {
        script_wish_free(wish);
        conductor_job_done(scripts->control, false, "out of memory");
        return;
    }
    job->scripts = scripts;
    job->wish = wish;
    if (!find_target(job, error, sizeof(error))) {
        finish(job, false, error);
    } else if (wish->action == SCRIPT_PROMOTE) {
        install_everywhere(job, INSTALL_PROMOTE);
    } else if (wish->action == SCRIPT_DROP) {
        install_everywhere(job, INSTALL_SHADOW); /* an empty place */
    } else {
        carry_gather(scripts->control, on_gathered, job);
    }
}

/* ---- swapping again ---- */

/* Is the file the script, or one it requires? */
static bool is_made_of(const struct script_version *version, const char *file) {
    const struct script_source *source = version->use.source;
    if (source == NULL) {
        return false;
    }
    const struct source_module *module = source->modules;
    while (module != NULL && strcmp(module->path, file) != 0) {
        module = module->next;
    }
    return module != NULL || strcmp(source->path, file) == 0;
}

void scripts_swap_again(struct scripts *scripts, const char *file, uint32_t *awaited,
                        reload_done *done, void *argument) {
    list_each(node, &scripts->pools) {
        const struct pool_scripts *pool = container_of(node, struct pool_scripts, node);
        const struct script_version *current = pool->current;
        if (strcmp(current->origin, "configuration") == 0 || !is_made_of(current, file)) {
            continue;
        }
        struct script_wish *wish = calloc(1, sizeof(*wish));
        (*awaited)++;
        if (wish != NULL) {
            wish->file = strdup(current->use.path);
        }
        if (wish == NULL || wish->file == NULL) {
            free(wish);
            done(argument, false, "out of memory");
            continue;
        }
        wish->action = SCRIPT_SWAP;
        wish->again = true;
        memcpy(wish->pool, pool->pool, sizeof(wish->pool));
        control_script(scripts->control, wish, done, argument);
    }
}

/* ---- going back by itself ---- */

static void roll_back(struct scripts *scripts, struct pool_scripts *pool, const char *why) {
    struct script_wish *wish = calloc(1, sizeof(*wish));
    char current[128], previous[128];
    if (wish == NULL) {
        return; /* the next look tries again */
    }
    describe_version(pool->current, current, sizeof(current));
    describe_version(versions_previous(pool), previous, sizeof(previous));
    const struct log_field fields[] = {LOG_STRING("pool", pool->pool),
                                       LOG_STRING("from", pool->current->use.name),
                                       LOG_STRING("to", versions_previous(pool)->use.name)};
    log_fields(LOG_ERROR, "rollback", fields, "pool %s: %s %s: going back to %s", pool->pool,
               current, why, previous);
    wish->action = SCRIPT_ROLLBACK;
    wish->automatic = true;
    snprintf(wish->pool, sizeof(wish->pool), "%s", pool->pool);
    control_script(scripts->control, wish, NULL, NULL);
}

static void look_after(struct scripts *scripts, const struct control_pool *control_pool) {
    const struct control *control = scripts->control;
    const struct snapshot *snapshot = control->plan->snapshot;
    struct pool_scripts *pool = find(scripts, control_pool->config->name);
    if (pool == NULL || versions_previous(pool) == NULL || pool->returned ||
        snapshot->lua.rollback_errors == 0) {
        return;
    }
    const struct pool_row sum = arena_pool_sum(control->arena, control_pool->facts);
    uint64_t troubles = troubles_of(control, control_pool->facts) - pool->troubles_before;
    char why[96];
    if (counter_get(&sum.out_now) > 0) {
        roll_back(scripts, pool, "was stopped too often");
    } else if (troubles >= snapshot->lua.rollback_errors) {
        snprintf(why, sizeof(why), "failed %llu times", (unsigned long long)troubles);
        roll_back(scripts, pool, why);
    } else if (clock_monotonic_ms() - pool->window_started_ms > snapshot->lua.overrun_window_ms) {
        begin_window(control, pool, control_pool->facts);
    }
}

/* Looks only while nothing is under way: then a rollback begins at once, from what was seen. */
static void on_watch(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct scripts *scripts = container_of(timer, struct scripts, watch);
    struct control *control = scripts->control;
    if (control->plan == NULL || control->draining) {
        return;
    }
    for (uint32_t i = 0; i < control->plan->pool_count && !conductor_is_busy(control); i++) {
        look_after(scripts, &control->plan->pools[i]);
    }
}

/* ---- life ---- */

struct scripts *scripts_new(struct control *control) {
    struct scripts *scripts = calloc(1, sizeof(*scripts));
    if (scripts == NULL) {
        return NULL;
    }
    scripts->control = control;
    list_init(&scripts->pools);
    ev_timer_init(&scripts->watch, on_watch, WATCH_SECONDS, WATCH_SECONDS);
    ev_timer_start(control->loop, &scripts->watch);
    return scripts;
}

void scripts_free(struct scripts *scripts) {
    ev_timer_stop(scripts->control->loop, &scripts->watch);
    list_each(node, &scripts->pools) {
        forget(container_of(node, struct pool_scripts, node));
    }
    free(scripts);
}
