/* Control: the main thread. Runs the loop that checks, services, the admin socket and signals live
 * on; publishes what the builder made; drains and stops. See control.h for its parts.
 *
 * A reload: control_reload -> builder_build -> (builder) -> build_finished -> prepare ->
 * builder_open -> (builder) -> build_opened -> publish -> every worker takes its plan -> settled ->
 * the next one that waits.
 */
#include "control/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "control/build.h"
#include "control/carry.h"
#include "control/conductor.h"
#include "control/privileges.h"
#include "control/run.h"
#include "control/scripts.h"
#include "worker_control.h"

#define SWEEP_SECONDS 1.0

/* Somebody who waits for a reload, or for what was wished for a script. */
struct waiter {
    struct list node;
    struct script_wish *wish; /* NULL: a reload */
    reload_done *done;
    void *argument;
};

/* The control thread's own state around what its parts share. */
struct conductor {
    struct control control; /* first */
    struct list asking;     /* waiters, in the order in which they came */
    struct list answering;  /* waiters of what is under way */
    bool building;
    struct messages refusal;       /* why the build under way came to nothing */
    bool finishing;                /* the loop has ended: builds that still come back are dropped */
    struct build *publishing;      /* handed to workers, not yet taken by all */
    struct control_plan *previous; /* the plan before the one being published */
    uint32_t plans_to_take;
    /* What must not be lost has its mail ready: a worker says each at most once at a time. */
    struct mail taken[ARENA_WORKERS], drained[ARENA_WORKERS];
    uint32_t workers_drained;
    bool failed_start;
    struct worker *worker_memory[ARENA_WORKERS];
    struct ev_timer drain_limit, sweep;
    struct ev_signal hup, term, quit, interrupt, usr1;
};

static struct conductor *conductor_of(struct control *control) {
    return container_of(control, struct conductor, control);
}

/* ---- mail from workers ---- */

struct suspect_mail {
    struct mail mail;
    struct slot *slot;
};

static void deliver_suspect(struct mail *mail, void *owner) {
    struct suspect_mail *suspect = container_of(mail, struct suspect_mail, mail);
    health_suspect(((struct control *)owner)->health, suspect->slot);
    free(suspect);
}

/* May be lost for want of memory: the next check finds out as well. */
static void on_suspect(void *argument, struct slot *slot) {
    struct suspect_mail *suspect = calloc(1, sizeof(*suspect));
    if (suspect == NULL) {
        log_limited(LOG_ERROR, "memory", "out of memory: a suspect is checked only when it is due");
        return;
    }
    suspect->mail.deliver = deliver_suspect;
    suspect->slot = slot;
    mailbox_post(&((struct control *)argument)->mailbox, &suspect->mail);
}

static void on_plan_unused(void *argument, struct worker_plan *plan) {
    builder_free_plan(((struct control *)argument)->builder, plan);
}

/* ---- mail between scripts' owners and the builder ---- */

static void at_owner(struct mail *mail, void *owner) {
    (void)owner;
    struct script_mail *script_mail = container_of(mail, struct script_mail, mail);
    script_mail->at_owner(script_mail);
}

void control_bring_back(struct control *control, struct script_mail *mail) {
    if (mail->owner == ARENA_CONTROL_ROW || conductor_of(control)->finishing) {
        mail->at_owner(mail);
    } else {
        mail->mail.deliver = at_owner;
        worker_post(control->workers[mail->owner], &mail->mail);
    }
}

/* ---- reload ---- */

static void begin_next_build(struct conductor *conductor);
static void on_drained(void *argument, struct worker *worker);

static void answer(struct conductor *conductor, bool ok, const char *text) {
    struct list answering;
    list_init(&answering);
    list_each(node, &conductor->answering) {
        list_remove(node);
        list_append(&answering, node);
    }
    list_each(waiting, &answering) {
        struct waiter *waiter = container_of(waiting, struct waiter, node);
        list_remove(waiting);
        if (waiter->wish != NULL) {
            script_wish_free(waiter->wish);
        }
        if (waiter->done != NULL) {
            waiter->done(waiter->argument, ok, text);
        }
        free(waiter);
    }
}

static const char *refusal_text(const struct conductor *conductor) {
    const char *text = conductor->refusal.text.bytes;
    return text != NULL ? text : "out of memory";
}

/* The builder has closed and freed what the build replaced (or, when it failed, made): only now is
 * it said to be live (or refused), so that who asked finds removed addresses refused and memory
 * given back. */
void build_settled(struct control *control, bool published) {
    struct conductor *conductor = conductor_of(control);
    if (conductor->finishing) {
        return; /* plans and those who asked are gone */
    }
    if (published) {
        uint64_t number = control->plan->snapshot->number;
        bool first = conductor->previous == NULL;
        struct text text = {0};
        text_format(&text, "configuration %llu is live", (unsigned long long)number);
        if (first && !scripting->watchdog_is_proven()) {
            log_message(LOG_WARNING, "watchdog",
                        "this machine or build cannot stop every script: they run without JIT, "
                        "under a count hook, which C functions they call escape");
        }
        log_message(LOG_INFO, first ? "ready" : "reload", "configuration %llu is live",
                    (unsigned long long)number);
        control->reloads_total += first ? 0 : 1;
        scripts_tell_what_stays(control->plan, &text);
        answer(conductor, true, text.failed ? "out of memory, but it is live" : text.bytes);
        text_free(&text);
    } else {
        const char *text = refusal_text(conductor);
        log_message(LOG_ERROR, "reload", "configuration refused, the running one goes on: %s",
                    text);
        control->reloads_failed++;
        answer(conductor, false, text);
        messages_free(&conductor->refusal);
    }
    conductor->previous = NULL;
    conductor->building = false;
    begin_next_build(conductor);
}

static void plan_taken(struct mail *mail, void *owner) {
    (void)mail;
    struct conductor *conductor = conductor_of(owner);
    if (--conductor->plans_to_take == 0) {
        if (!conductor->finishing) {
            health_part(conductor->control.health, conductor->previous);
        }
        if (conductor->previous != NULL) {
            scripting->host_retire(conductor->previous->host);
        }
        builder_settle(conductor->control.builder, conductor->publishing, true,
                       conductor->previous);
    }
}

static void on_plan_taken(void *argument, struct worker *worker) {
    struct mail *mail = &conductor_of(argument)->taken[worker_index(worker)];
    mail->deliver = plan_taken;
    mailbox_post(&((struct control *)argument)->mailbox, mail);
}

/* ---- publishing: first all that can fail, beside what runs; then all that cannot ---- */

static bool prepare_admin(struct control *control, struct build *build) {
    const struct snapshot *snapshot = build->control_plan->snapshot;
    char error[256];
    if (admin_prepare(control->admin, snapshot->admin_socket, privileges_owner(snapshot), error,
                      sizeof(error))) {
        return true;
    }
    if (!snapshot->admin_socket_explicit) {
        log_message(LOG_WARNING, "admin", "no admin socket: %s", error);
        return true;
    }
    messages_add(&build->messages, (struct position){.file = snapshot->file}, "admin.socket: %s",
                 error);
    return false;
}

static bool prepare_log(struct build *build) {
    const struct snapshot *snapshot = build->control_plan->snapshot;
    if (log_prepare(&snapshot->log, privileges_owner(snapshot))) {
        return true;
    }
    int error = errno;
    messages_add(&build->messages, (struct position){.file = snapshot->file},
                 "log.target: cannot open %s: %s%s", snapshot->log.target, strerror(error),
                 error == EACCES ? "; let the user this runs as write to it" : "");
    return false;
}

/* Workers that started stay, idle, when another cannot be. */
static bool start_workers(struct control *control, struct build *build) {
    struct worker_events events = {.argument = control,
                                   .plan_unused = on_plan_unused,
                                   .plan_taken = on_plan_taken,
                                   .suspect = on_suspect,
                                   .drained = on_drained};
    while (control->worker_count < build->plan_count) {
        arena_use_workers(control->arena, control->worker_count + 1);
        struct worker *worker = worker_start(control->worker_count, control->arena, &events);
        if (worker == NULL) {
            messages_add(
                &build->messages, (struct position){.file = build->control_plan->snapshot->file},
                "workers: worker %u cannot be started: %s", control->worker_count, strerror(errno));
            return false;
        }
        control->workers[control->worker_count++] = worker;
    }
    return true;
}

/* Whatever fails here, the build is dropped, and refuse() closes what is prepared. */
static bool prepare(struct control *control, struct build *build) {
    return prepare_admin(control, build) && prepare_log(build) && start_workers(control, build);
}

/* Nothing here can fail. */
static void publish(struct conductor *conductor, struct build *build) {
    struct control *control = &conductor->control;
    log_commit();
    admin_commit(control->admin);
    if (build->gave_up_root) {
        log_message(LOG_INFO, "user", "gave up root: this is user %s now",
                    build->control_plan->snapshot->user);
    }
    conductor->previous = control->plan;
    conductor->publishing = build;
    conductor->plans_to_take = build->plan_count;
    control->plan = build->control_plan;
    shared_limit(arena_shared(control->arena), control->plan->snapshot->lua.shared_bytes);
    if (conductor->previous != NULL) {
        scripting->host_stop(conductor->previous->host);
    }
    scripting->host_start(control->plan->host, control->loop);
    health_switch(control->health, conductor->previous, control->plan);
    services_switch(control->services, conductor->previous, control->plan);
    scripts_switch(control->scripts, control->plan);
    for (uint32_t i = 0; i < build->plan_count; i++) {
        control->worker_plans[i] = build->plans[i];
        worker_give_plan(control->workers[i], build->plans[i]);
    }
}

/* Who asked is told when everything is as it was: see build_settled. */
static void refuse(struct conductor *conductor, struct build *build) {
    struct control *control = &conductor->control;
    conductor->refusal = build->messages;
    build->messages = (struct messages){0};
    if (!conductor->finishing) { /* else finish() has closed what was prepared */
        admin_abort(control->admin);
        log_abort();
        if (control->plan == NULL) {
            fputs(refusal_text(conductor), stderr);
            conductor->failed_start = true;
            ev_break(control->loop, EVBREAK_ALL);
        }
    }
    builder_settle(control->builder, build, false, NULL);
}

static bool is_stopping(struct conductor *conductor, struct build *build) {
    if (!conductor->control.draining && !conductor->finishing) {
        return false;
    }
    messages_add(&build->messages, (struct position){0}, "not reloaded: the balancer is stopping");
    return true;
}

void build_finished(struct control *control, struct build *build) {
    struct conductor *conductor = conductor_of(control);
    /* A worker may have been started since the build was asked for, by a publish that then failed:
     * it gets nothing to do until the next reload, which builds for it. */
    if (build->ok && !is_stopping(conductor, build) && prepare(control, build)) {
        builder_open(control->builder, build);
    } else {
        refuse(conductor, build);
    }
}

void build_opened(struct control *control, struct build *build) {
    struct conductor *conductor = conductor_of(control);
    /* Without root, the log is opened once more, by the user that will reopen it: should it not be
     * allowed to, that is found out now, and root has written nowhere for it. */
    if (build->ok && !is_stopping(conductor, build) &&
        (!build->gave_up_root || prepare_log(build))) {
        publish(conductor, build);
    } else {
        refuse(conductor, build);
    }
}

static void build_with(void *argument, struct carry_set *carries) {
    struct conductor *conductor = argument;
    if (conductor->finishing) {
        carry_set_free(carries);
        return; /* finish() answers who asked */
    }
    struct pool_past *pasts = NULL;
    if (scripts_past(conductor->control.scripts, &pasts)) {
        conductor->building = builder_build(conductor->control.builder,
                                            conductor->control.worker_count, carries, pasts);
    } else {
        carry_set_free(carries);
        past_free(pasts);
        conductor->building = false;
    }
    if (!conductor->building) {
        answer(conductor, false, "out of memory");
    }
}

static struct waiter *first_asking(struct conductor *conductor) {
    return list_is_empty(&conductor->asking)
               ? NULL
               : container_of(conductor->asking.next, struct waiter, node);
}

static void move_first_to_answering(struct conductor *conductor) {
    struct list *node = conductor->asking.next;
    list_remove(node);
    list_append(&conductor->answering, node);
}

/* One thing at a time: a build for all who ask for a reload, or one wish for a script. */
static void begin_next_build(struct conductor *conductor) {
    struct waiter *first = first_asking(conductor);
    if (conductor->building || conductor->finishing || first == NULL) {
        return;
    }
    conductor->building = true;
    if (first->wish != NULL) {
        struct script_wish *wish = first->wish;
        first->wish = NULL;
        move_first_to_answering(conductor);
        scripts_begin(conductor->control.scripts, wish);
        return;
    }
    while (first != NULL && first->wish == NULL) {
        move_first_to_answering(conductor);
        first = first_asking(conductor);
    }
    carry_gather(&conductor->control, build_with, conductor);
}

bool conductor_is_finishing(struct control *control) {
    return conductor_of(control)->finishing;
}

bool conductor_is_busy(struct control *control) {
    return conductor_of(control)->building;
}

void conductor_job_done(struct control *control, bool ok, const char *text) {
    struct conductor *conductor = conductor_of(control);
    conductor->building = false;
    answer(conductor, ok, text);
    begin_next_build(conductor);
}

static void ask(struct control *control, struct script_wish *wish, reload_done *done,
                void *argument) {
    struct conductor *conductor = conductor_of(control);
    struct waiter *waiter = calloc(1, sizeof(*waiter));
    if (waiter == NULL) {
        if (wish != NULL) {
            script_wish_free(wish);
        }
        if (done != NULL) {
            done(argument, false, "out of memory");
        }
        return;
    }
    waiter->wish = wish;
    waiter->done = done;
    waiter->argument = argument;
    list_append(&conductor->asking, &waiter->node);
    begin_next_build(conductor);
}

void control_reload(struct control *control, reload_done *done, void *argument) {
    ask(control, NULL, done, argument);
}

void control_script(struct control *control, struct script_wish *wish, reload_done *done,
                    void *argument) {
    ask(control, wish, done, argument);
}

/* ---- stopping ---- */

static void deliver_drained(struct mail *mail, void *owner) {
    (void)mail;
    struct conductor *conductor = conductor_of(owner);
    if (++conductor->workers_drained == conductor->control.worker_count) {
        ev_break(conductor->control.loop, EVBREAK_ALL);
    }
}

static void on_drained(void *argument, struct worker *worker) {
    struct mail *mail = &conductor_of(argument)->drained[worker_index(worker)];
    mail->deliver = deliver_drained;
    mailbox_post(&((struct control *)argument)->mailbox, mail);
}

static void end_all_sessions(struct control *control) {
    for (uint32_t i = 0; i < control->worker_count; i++) {
        worker_end_sessions(control->workers[i]);
    }
}

static void on_drain_limit(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct conductor *conductor = container_of(timer, struct conductor, drain_limit);
    log_message(LOG_WARNING, "stop", "drain limit reached: ending the sessions that are left");
    end_all_sessions(&conductor->control);
}

void control_stop(struct control *control) {
    struct conductor *conductor = conductor_of(control);
    if (control->plan == NULL) {
        ev_break(control->loop, EVBREAK_ALL);
        return;
    }
    if (control->draining) {
        log_message(LOG_INFO, "stop", "stopping at once");
        end_all_sessions(control);
        return;
    }
    control->draining = true;
    uint32_t drain_ms = control->plan->snapshot->timeouts.drain_ms;
    log_message(LOG_INFO, "stop", "draining: no new sessions; open ones have %u ms", drain_ms);
    if (drain_ms > 0) {
        ev_timer_init(&conductor->drain_limit, on_drain_limit, drain_ms / 1000.0, 0);
        ev_timer_start(control->loop, &conductor->drain_limit);
    }
    for (uint32_t i = 0; i < control->worker_count; i++) {
        worker_drain(control->workers[i]);
    }
}

static void on_stop_signal(struct ev_loop *loop, struct ev_signal *signal, int events) {
    (void)loop;
    (void)events;
    control_stop(signal->data);
}

static void on_reload_signal(struct ev_loop *loop, struct ev_signal *signal, int events) {
    (void)loop;
    (void)events;
    control_reload(signal->data, NULL, NULL);
}

static void on_reopen_signal(struct ev_loop *loop, struct ev_signal *signal, int events) {
    (void)loop;
    (void)signal;
    (void)events;
    log_reopen();
}

/* ---- run ---- */

static void on_sweep(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    const struct control *control = timer->data;
    shared_sweep(arena_shared(control->arena), clock_coarse_ms());
}

static void watch_signal(struct control *control, struct ev_signal *watcher,
                         void (*callback)(struct ev_loop *, struct ev_signal *, int), int number) {
    ev_signal_init(watcher, callback, number);
    watcher->data = control;
    ev_signal_start(control->loop, watcher);
}

static bool start(struct conductor *conductor, const struct build_source *source) {
    struct control *control = &conductor->control;
    char error[256];
    list_init(&conductor->asking);
    list_init(&conductor->answering);
    control->workers = conductor->worker_memory;
    control->started_wall_ms = clock_wall_ms();
    control->loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (control->loop == NULL) {
        fprintf(stderr, "alacrity: cannot make an event loop: %s\n", strerror(errno));
        return false;
    }
    control->arena = arena_new(error, sizeof(error));
    if (control->arena == NULL) {
        fprintf(stderr, "alacrity: %s\n", error);
        return false;
    }
    if (!mailbox_init(&control->mailbox, control->loop, control)) {
        fprintf(stderr, "alacrity: cannot start: %s\n", strerror(errno));
        return false;
    }
    control->health = health_new(control);
    control->services = services_new(control);
    control->admin = admin_new(control);
    control->scripts = scripts_new(control);
    control->builder = builder_start(control, source);
    if (control->health == NULL || control->services == NULL || control->admin == NULL ||
        control->scripts == NULL || control->builder == NULL) {
        fprintf(stderr, "alacrity: cannot start: %s\n", strerror(errno));
        return false;
    }
    ev_timer_init(&conductor->sweep, on_sweep, SWEEP_SECONDS, SWEEP_SECONDS);
    conductor->sweep.data = control;
    ev_timer_start(control->loop, &conductor->sweep);
    watch_signal(control, &conductor->hup, on_reload_signal, SIGHUP);
    watch_signal(control, &conductor->usr1, on_reopen_signal, SIGUSR1);
    watch_signal(control, &conductor->term, on_stop_signal, SIGTERM);
    watch_signal(control, &conductor->quit, on_stop_signal, SIGQUIT);
    watch_signal(control, &conductor->interrupt, on_stop_signal, SIGINT);
    return true;
}

static void finish(struct conductor *conductor) {
    struct control *control = &conductor->control;
    conductor->finishing = true;
    if (control->plan != NULL) {
        scripting->host_stop(control->plan->host);
    }
    services_free(control->services);
    health_free(control->health);
    admin_free(control->admin);
    for (uint32_t i = 0; i < control->worker_count; i++) {
        worker_stop(control->workers[i]);
    }
    /* Answers of workers that came in too late to matter. */
    mailbox_close(&control->mailbox);
    list_each(node, &conductor->asking) {
        list_remove(node);
        list_append(&conductor->answering, node);
    }
    answer(conductor, false, "the balancer has stopped");
    if (control->plan != NULL) {
        scripting->host_retire(control->plan->host);
    }
    builder_stop(control->builder, control->plan);
    scripts_free(control->scripts);
    messages_free(&conductor->refusal);
    arena_free(control->arena);
    ev_loop_destroy(control->loop);
}

int control_run(const struct build_source *source, void (*bind)(struct control *control)) {
    static struct conductor conductor; /* one a process */
    if (!start(&conductor, source)) {
        return 1;
    }
    bind(&conductor.control);
    control_reload(&conductor.control, NULL, NULL);
    ev_run(conductor.control.loop, 0);
    finish(&conductor);
    return conductor.failed_start ? 1 : 0;
}
