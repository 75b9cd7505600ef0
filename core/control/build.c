/* Build: configuration text -> snapshot -> slots -> plans for control and every worker -> listening
 * sockets; and the freeing of all that. Runs on the builder thread, so that neither a big
 * configuration nor a slow name server delays a byte. Work comes by mail, one piece at a time.
 *
 * Nothing a running configuration uses is changed before control publishes: a build that fails
 * gives everything back and leaves no trace but its messages.
 */
#include "control/build.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/background.h"
#include "base/list.h"
#include "base/log.h"
#include "control/listening.h"
#include "control/plans.h"
#include "control/privileges.h"
#include "control/watch.h"

struct builder {
    pthread_t thread;
    struct ev_loop *loop;
    struct mailbox mailbox;
    struct control *control;
    struct build_source source;
    struct watch *watch; /* NULL: nothing is watched */
    struct plan_maker maker;
    struct listening listening;
    uint64_t next_number;
    struct mail stop_mail;
    struct control_plan *last; /* control's word with stop_mail */
    struct script_post post;   /* what lost states are rebuilt through */
    struct settle_mail {
        struct mail mail;
        struct build *build;
        bool published;
        struct control_plan *old;
    } settle; /* one at a time, as builds are */
};

/* ---- script mail: from a host's owner to here, and back through control ---- */

static void bring_back(struct mail *mail, void *owner) {
    control_bring_back(owner, container_of(mail, struct script_mail, mail));
}

static void at_builder(struct mail *mail, void *owner) {
    struct builder *builder = owner;
    struct script_mail *script_mail = container_of(mail, struct script_mail, mail);
    script_mail->at_builder(script_mail);
    mail->deliver = bring_back;
    mailbox_post(&builder->control->mailbox, mail);
}

static void post_script_mail(void *argument, struct script_mail *mail) {
    mail->mail.deliver = at_builder;
    mailbox_post(&((struct builder *)argument)->mailbox, &mail->mail);
}

const struct script_post *builder_script_post(const struct builder *builder) {
    return &builder->post;
}

struct watch *builder_watch(const struct builder *builder) {
    return builder->watch;
}

void builder_post(struct builder *builder, struct mail *mail) {
    mailbox_post(&builder->mailbox, mail);
}

/* ---- sockets ---- */

static bool add_socket(int **sockets, uint32_t *count, int socket) {
    int *more = reallocarray(*sockets, *count + 1, sizeof(*more));
    if (more == NULL) {
        return false;
    }
    more[(*count)++] = socket;
    *sockets = more;
    return true;
}

/* Gives a bound address's sockets to those who accept on them: a service's to control, a relay's
 * spread over the workers (a unix socket is everybody's). False: out of memory. */
static bool share_sockets(struct build *build, uint32_t listener_index, uint32_t relay_index,
                          const struct bound *bound) {
    struct control_listener *listener = &build->control_plan->listeners[listener_index];
    uint32_t workers = build->control_plan->snapshot->workers;
    bool ok = true;
    for (uint32_t i = 0; i < bound->count && !listener_relays(listener->config); i++) {
        ok = ok && add_socket(&listener->sockets, &listener->socket_count, bound->sockets[i]);
    }
    for (uint32_t worker = 0; worker < workers && listener_relays(listener->config); worker++) {
        struct worker_listener *relay = &build->plans[worker]->listeners[relay_index];
        for (uint32_t i = 0; i < bound->count; i++) {
            if (bound->count == 1 || i % workers == worker) {
                ok = ok && add_socket(&relay->sockets, &relay->socket_count, bound->sockets[i]);
            }
        }
    }
    if (!ok) {
        messages_add(&build->messages,
                     (struct position){.file = build->control_plan->snapshot->file},
                     "out of memory");
    }
    return ok;
}

/* Opens and shares what one listener binds. */
static bool open_binds(struct builder *builder, struct build *build, uint32_t listener_index,
                       uint32_t relay_index) {
    const struct listener_config *config = build->control_plan->listeners[listener_index].config;
    uint32_t sockets = !listener_relays(config) ? 1 : build->control_plan->snapshot->workers;
    bool ok = true;
    for (uint32_t k = 0; k < config->bind_count; k++) {
        struct bound *bound = listening_want(&builder->listening, config, &config->binds[k],
                                             sockets, &build->messages);
        ok = bound != NULL && share_sockets(build, listener_index, relay_index, bound) && ok;
    }
    return ok;
}

/* What was bound before and is covered by a wildcard now goes on as part of it. */
static bool keep_covered(struct builder *builder, struct build *build, uint32_t listener_index,
                         uint32_t relay_index) {
    const struct listener_config *config = build->control_plan->listeners[listener_index].config;
    uint32_t sockets = !listener_relays(config) ? 1 : build->control_plan->snapshot->workers;
    for (uint32_t k = 0; k < config->bind_count; k++) {
        const struct bound *bound;
        while ((bound = listening_keep_covered(&builder->listening, config,
                                               &config->binds[k].address, sockets)) != NULL) {
            if (!share_sockets(build, listener_index, relay_index, bound)) {
                return false;
            }
        }
    }
    return true;
}

#define OTHER_DESCRIPTORS 8u /* loops, files, pipes: at least so many are no listeners */

/* Told once, not by a line for each listener for which there was none left. */
static bool has_descriptors(const struct control_plan *plan, struct messages *messages) {
    struct rlimit limit;
    uint64_t sockets = 0;
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        const struct listener_config *config = plan->listeners[i].config;
        sockets +=
            (uint64_t)config->bind_count * (listener_relays(config) ? plan->snapshot->workers : 1);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        sockets + OTHER_DESCRIPTORS <= limit.rlim_cur) {
        return true;
    }
    messages_add(messages, (struct position){.file = plan->snapshot->file},
                 "the listeners take %" PRIu64
                 " sockets, one for each address and worker, and this "
                 "process may have %" PRIu64 " descriptors: raise that limit (ulimit -n, or "
                 "LimitNOFILE= of the service)",
                 sockets, (uint64_t)limit.rlim_cur);
    return false;
}

static bool bind_sockets(struct builder *builder, struct build *build) {
    struct control_plan *plan = build->control_plan;
    bool ok = has_descriptors(plan, &build->messages);
    if (!ok) {
        return false;
    }
    uint32_t relay_index = 0;
    builder->listening.owner = privileges_owner(plan->snapshot);
    for (uint32_t i = 0; i < plan->listener_count; i++) {
        ok = open_binds(builder, build, i, relay_index) && ok;
        relay_index += listener_relays(plan->listeners[i].config) ? 1 : 0;
    }
    relay_index = 0;
    for (uint32_t i = 0; ok && i < plan->listener_count; i++) {
        ok = keep_covered(builder, build, i, relay_index);
        relay_index += listener_relays(plan->listeners[i].config) ? 1 : 0;
    }
    return ok;
}

/* ---- building ---- */

static void drop_plans(struct builder *builder, struct build *build) {
    for (uint32_t i = 0; i < build->plan_count; i++) {
        worker_plan_free(&builder->maker, build->plans[i]);
        build->plans[i] = NULL;
    }
    control_plan_free(&builder->maker, build->control_plan);
    build->control_plan = NULL;
}

/* A text that has just failed is not tried again because of a reload that may be about something
 * else. */
static void keep_what_is_in_force(struct build *build) {
    struct control_plan *plan = build->control_plan;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        struct control_pool *pool = &plan->pools[i];
        struct pool_past *past;
        struct script_version *failed =
            past_failed(build->pasts, pool->config->name, &pool->config->policy, &past);
        if (failed != NULL) {
            pool->failed = version_hold(failed);
            pool->stays = version_hold(past->current);
        }
    }
}

/* Parses, resolves, and makes the plans of control and of as many workers as shall run. */
static bool build_plans(struct builder *builder, struct build *build) {
    struct messages *messages = &build->messages;
    const struct build_source *source = &builder->source;
    struct snapshot *snapshot =
        source->text != NULL
            ? snapshot_parse(source->text, strlen(source->text), source->file, messages)
            : snapshot_load(source->file, messages);
    if (snapshot == NULL) {
        return false;
    }
    snapshot->number = builder->next_number;
    if (snapshot_read_scripts(snapshot, messages) && snapshot_resolve(snapshot, messages)) {
        build->control_plan = control_plan_make(&builder->maker, snapshot, messages);
    }
    bool ok = build->control_plan != NULL;
    if (ok) {
        keep_what_is_in_force(build);
    }
    uint32_t wanted =
        snapshot->workers > build->workers_running ? snapshot->workers : build->workers_running;
    snapshot_release(snapshot); /* the plans have references of their own */
    for (uint32_t i = 0; ok && i < wanted; i++) {
        build->plans[i] =
            worker_plan_make(&builder->maker, build->control_plan, i, &build->carries, messages);
        build->plan_count = i + 1;
        ok = build->plans[i] != NULL;
    }
    return ok;
}

static bool build_all(struct builder *builder, struct build *build) {
    watch_begin(builder->watch);
    bool ok = build_plans(builder, build) &&
              privileges_allow(build->control_plan->snapshot, builder->next_number == 1,
                               &build->messages);
    watch_end(builder->watch, ok);
    listening_begin(&builder->listening);
    if (ok && !bind_sockets(builder, build)) {
        listening_abort(&builder->listening);
        ok = false;
    }
    if (ok) {
        builder->next_number++;
    } else {
        drop_plans(builder, build);
    }
    return ok;
}

bool build_check(const struct build_source *source, struct messages *messages) {
    char error[256];
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    struct arena *arena = arena_new(error, sizeof(error));
    struct builder builder = {
        .source = *source, .next_number = 1, .maker = {.arena = arena, .control_loop = loop}};
    struct build build = {0};
    bool ok = false;
    if (loop == NULL || arena == NULL) {
        messages_add(messages, (struct position){.file = source->file}, "cannot check: %s",
                     arena == NULL ? error : strerror(errno));
    } else {
        ok = build_plans(&builder, &build);
        drop_plans(&builder, &build);
        *messages = build.messages;
    }
    if (arena != NULL) {
        arena_free(arena);
    }
    if (loop != NULL) {
        ev_loop_destroy(loop);
    }
    return ok;
}

static void hand_back(struct mail *mail, void *owner) {
    build_finished(owner, container_of(mail, struct build, mail));
}

static void do_build(struct mail *mail, void *owner) {
    struct builder *builder = owner;
    struct build *build = container_of(mail, struct build, mail);
    arena_sweep(builder->maker.arena);
    build->ok = build_all(builder, build);
    carry_set_free(&build->carries);
    past_free(build->pasts);
    build->pasts = NULL;
    build->mail.deliver = hand_back;
    mailbox_post(&builder->control->mailbox, &build->mail);
}

bool builder_build(struct builder *builder, uint32_t workers_running, struct carry_set *carries,
                   struct pool_past *pasts) {
    struct build *build = calloc(1, sizeof(*build));
    if (build == NULL) {
        carry_set_free(carries);
        past_free(pasts);
        return false;
    }
    build->pasts = pasts;
    build->workers_running = workers_running;
    build->carries = *carries;
    build->mail.deliver = do_build;
    mailbox_post(&builder->mailbox, &build->mail);
    return true;
}

static bool open_all(struct builder *builder, struct build *build) {
    const struct snapshot *snapshot = build->control_plan->snapshot;
    if (privileges_owner(snapshot) != NULL) {
        build->gave_up_root = privileges_drop(snapshot, &build->messages);
        if (!build->gave_up_root) {
            return false;
        }
    }
    if (!listening_listen(&builder->listening)) {
        messages_add(&build->messages, (struct position){.file = snapshot->file},
                     "cannot listen: %s", strerror(errno));
        return false;
    }
    return true;
}

static void hand_back_opened(struct mail *mail, void *owner) {
    build_opened(owner, container_of(mail, struct build, mail));
}

static void do_open(struct mail *mail, void *owner) {
    struct builder *builder = owner;
    struct build *build = container_of(mail, struct build, mail);
    build->ok = open_all(builder, build);
    build->mail.deliver = hand_back_opened;
    mailbox_post(&builder->control->mailbox, &build->mail);
}

void builder_open(struct builder *builder, struct build *build) {
    build->mail.deliver = do_open;
    mailbox_post(&builder->mailbox, &build->mail);
}

static void answer_settled(struct mail *mail, void *owner) {
    build_settled(owner, container_of(mail, struct settle_mail, mail)->published);
}

static void do_settle(struct mail *mail, void *owner) {
    struct builder *builder = owner;
    struct settle_mail *settle = container_of(mail, struct settle_mail, mail);
    if (settle->published) {
        listening_commit(&builder->listening);
        control_plan_free(&builder->maker, settle->old);
    } else {
        if (settle->build->control_plan != NULL) {
            listening_abort(&builder->listening);
        }
        drop_plans(builder, settle->build);
    }
    messages_free(&settle->build->messages);
    free(settle->build);
    arena_sweep(builder->maker.arena);
    settle->mail.deliver = answer_settled;
    mailbox_post(&builder->control->mailbox, &settle->mail);
}

void builder_settle(struct builder *builder, struct build *build, bool published,
                    struct control_plan *old) {
    builder->settle = (struct settle_mail){
        .mail = {.deliver = do_settle}, .build = build, .published = published, .old = old};
    mailbox_post(&builder->mailbox, &builder->settle.mail);
}

static void do_free_plan(struct mail *mail, void *owner) {
    struct builder *builder = owner;
    worker_plan_free(&builder->maker, container_of(mail, struct worker_plan, mail));
}

void builder_free_plan(struct builder *builder, struct worker_plan *plan) {
    plan->mail.deliver = do_free_plan;
    mailbox_post(&builder->mailbox, &plan->mail);
}

/* ---- thread ---- */

static void do_stop(struct mail *mail, void *owner) {
    (void)mail;
    struct builder *builder = owner;
    control_plan_free(&builder->maker, builder->last);
    listening_close_all(&builder->listening);
    ev_break(builder->loop, EVBREAK_ALL);
}

static void *run(void *argument) {
    struct builder *builder = argument;
    pthread_setname_np(pthread_self(), "builder");
    log_thread("builder");
    background_enter();
    ev_run(builder->loop, 0);
    log_thread_end();
    return NULL;
}

struct builder *builder_start(struct control *control, const struct build_source *source) {
    struct builder *builder = calloc(1, sizeof(*builder));
    if (builder == NULL) {
        return NULL;
    }
    builder->control = control;
    builder->source = *source;
    builder->next_number = 1;
    builder->post = (struct script_post){builder, post_script_mail};
    builder->maker = (struct plan_maker){
        .arena = control->arena, .control_loop = control->loop, .script_post = &builder->post};
    listening_init(&builder->listening);
    builder->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (builder->loop == NULL) {
        free(builder);
        return NULL;
    }
    if (!mailbox_init(&builder->mailbox, builder->loop, builder)) {
        ev_loop_destroy(builder->loop);
        free(builder);
        return NULL;
    }
    int error = 0;
    if (source->watch) {
        builder->watch = watch_new(builder, control, builder->loop, source->file);
        error = builder->watch == NULL ? ENOMEM : 0;
    }
    error = error == 0 ? scripting->thread_start(&builder->thread, run, builder) : error;
    if (error != 0) {
        watch_free(builder->watch);
        mailbox_close(&builder->mailbox);
        ev_loop_destroy(builder->loop);
        free(builder);
        errno = error;
        return NULL;
    }
    return builder;
}

void builder_stop(struct builder *builder, struct control_plan *last) {
    builder->last = last;
    builder->stop_mail.deliver = do_stop;
    mailbox_post(&builder->mailbox, &builder->stop_mail);
    pthread_join(builder->thread, NULL);
    mailbox_close(&builder->control->mailbox); /* a build that came too late: it is dropped */
    mailbox_close(&builder->mailbox);
    mailbox_close(&builder->control->mailbox); /* and what the last of those said */
    watch_free(builder->watch);
    ev_loop_destroy(builder->loop);
    free(builder);
}
