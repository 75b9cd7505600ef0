/* Worker: one thread with a libev loop that accepts, picks, dials and relays (core/session). Takes
 * plans from control by mail, gives retired plans to the builder, beats its heart, ends when told.
 *
 * A worker that a reload made superfluous keeps its thread and its sessions: its plan has no
 * listeners, and policies only to be told how those end. It is used again when the number of
 * workers grows.
 */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/metrics.h"
#include "session/bulk.h"
#include "worker_control.h"

#define HEARTBEAT_SECONDS 0.25
#define LOOKED_AT_A_TURN 64u /* sessions that are listed: tenths of a millisecond */
#define BEATS_OF_TURNS 120u  /* after so many the longest turn is looked for anew */

struct worker {
    uint32_t index;
    pthread_t thread;
    struct ev_loop *loop;
    struct mailbox mailbox;
    struct data_plane plane;
    struct ev_timer heartbeat;
    uint32_t beats;
    _Atomic uint64_t heartbeat_ms;     /* writer: the worker */
    _Atomic uint64_t lua_memory_bytes; /* writer: the worker */
    _Atomic int32_t cpu;               /* it is tied to, -1: none; writer: the worker */
    struct worker_events events;       /* where to report, fixed at start */
    struct mail drain_mail, end_sessions_mail, end_thread_mail; /* control's, until delivered */
    bool draining;
};

void worker_post(struct worker *worker, struct mail *mail) {
    mailbox_post(&worker->mailbox, mail);
}

uint32_t worker_index(const struct worker *worker) {
    return worker->index;
}

uint64_t worker_heartbeat_ms(const struct worker *worker) {
    return atomic_load_explicit(&worker->heartbeat_ms, memory_order_relaxed);
}

uint32_t worker_session_count(const struct worker *worker) {
    return plane_session_count(worker->index);
}

void worker_tell(const struct worker *worker, struct worker_told *out) {
    const struct bulk_counters *bulk = &worker->plane.bulk;
    const struct turn_counters *turns = &worker->plane.turns.counters;
    uint64_t beat_ms = worker_heartbeat_ms(worker), now_ms = clock_monotonic_ms();
    *out = (struct worker_told){
        .index = worker->index,
        .sessions = worker_session_count(worker),
        .cpu = atomic_load_explicit(&worker->cpu, memory_order_relaxed),
        /* It may have beaten since we read the clock. */
        .heartbeat_age_ms = now_ms > beat_ms ? now_ms - beat_ms : 0,
        .lua_memory_bytes = atomic_load_explicit(&worker->lua_memory_bytes, memory_order_relaxed),
        .spliced_bytes = counter_get(&bulk->spliced_bytes),
        .no_pipe = counter_get(&bulk->no_pipe),
        .splice_refused = counter_get(&bulk->refused),
        .pipes = counter_get(&bulk->pipes),
        .turn_max_ns = counter_get(&turns->longest_ns),
        .turn_cpu_max_ns = counter_get(&turns->longest_cpu_ns),
        .long_turns = counter_get(&turns->long_turns),
    };
}

/* The CPU for the worker of that number: they are dealt out in turn. -1: none is known. */
static int32_t cpu_of(uint32_t index, const cpu_set_t *allowed) {
    int32_t count = CPU_COUNT(allowed), left = count > 0 ? (int32_t)index % count : -1;
    for (int32_t cpu = 0; left >= 0 && cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, allowed) && left-- == 0) {
            return cpu;
        }
    }
    return -1;
}

/* Ties this thread to one CPU, or to none. */
static void pin(struct worker *worker, bool wanted) {
    int32_t before = atomic_load_explicit(&worker->cpu, memory_order_relaxed), cpu = -1;
    cpu_set_t cpus;
    if (!wanted && before < 0) {
        return;
    }
    /* The main thread's are never changed here: they are what the process may use, as said by who
     * started it, or by its cgroup. */
    if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0) {
        if (wanted && (cpu = cpu_of(worker->index, &cpus)) >= 0) {
            CPU_ZERO(&cpus);
            CPU_SET(cpu, &cpus);
        }
        if (sched_setaffinity(0, sizeof(cpus), &cpus) == 0) {
            atomic_store_explicit(&worker->cpu, cpu, memory_order_relaxed);
            return;
        }
    }
    log_message(LOG_WARNING, "worker", "its CPUs cannot be chosen: %s", strerror(errno));
}

/* What only this thread can see of its Lua states, put where others can. */
static void show_memory(struct worker *worker) {
    const struct worker_plan *plan = worker->plane.plan;
    uint64_t bytes = 0;
    if (plan != NULL) {
        bytes = scripting->host_memory_bytes(plan->host);
        for (uint32_t i = 0; i < plan->pool_count; i++) {
            counter_set(&plan->pools[i].row->memory_bytes,
                        scripting->policy_memory_bytes(plan->pools[i].current.policy));
        }
        for (uint32_t i = 0; i < plan->listener_count; i++) {
            const struct worker_listener *listener = &plan->listeners[i];
            if (listener->route != NULL) {
                counter_set(&listener->row->route_memory_bytes,
                            scripting->route_memory_bytes(listener->route));
            }
        }
    }
    atomic_store_explicit(&worker->lua_memory_bytes, bytes, memory_order_relaxed);
}

static void beat(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct worker *worker = container_of(timer, struct worker, heartbeat);
    atomic_store_explicit(&worker->heartbeat_ms, clock_monotonic_ms(), memory_order_relaxed);
    show_memory(worker);
    bulk_rest(&worker->plane);
    if (++worker->beats % BEATS_OF_TURNS == 0) {
        turn_forget(&worker->plane.turns);
    }
}

/* ---- what happens on the worker, told to others ---- */

static struct worker *worker_of(struct data_plane *plane) {
    return container_of(plane, struct worker, plane);
}

static void plan_unused(struct data_plane *plane, struct worker_plan *plan) {
    const struct worker_events *events = &worker_of(plane)->events;
    events->plan_unused(events->argument, plan);
}

static void backend_suspect(struct data_plane *plane, struct slot *slot) {
    const struct worker_events *events = &worker_of(plane)->events;
    events->suspect(events->argument, slot);
}

static void last_session_ended(struct data_plane *plane) {
    struct worker *worker = worker_of(plane);
    if (worker->draining) {
        worker->events.drained(worker->events.argument, worker);
    }
}

/* ---- mail from control ---- */

/* What the rows of a plan's pools show of the policies in use. NULL is fine. */
static void forget_gauges(const struct worker_plan *plan) {
    for (uint32_t i = 0; plan != NULL && i < plan->pool_count; i++) {
        counter_set(&plan->pools[i].row->out_now, 0);
        counter_set(&plan->pools[i].row->shadow_out_now, 0);
        counter_set(&plan->pools[i].row->memory_bytes, 0);
    }
    for (uint32_t i = 0; plan != NULL && i < plan->listener_count; i++) {
        counter_set(&plan->listeners[i].row->route_out_now, 0);
        counter_set(&plan->listeners[i].row->route_memory_bytes, 0);
    }
}

/* A worker that does not serve does nothing of itself. */
static void start_host(struct worker *worker, struct script_host *host) {
    scripting->host_start(host, worker->plane.plan->serves ? worker->loop : NULL);
}

static void take_plan(struct mail *mail, void *owner) {
    struct worker *worker = owner;
    struct data_plane *plane = &worker->plane;
    struct worker_plan *plan = container_of(mail, struct worker_plan, mail);
    struct worker_plan *previous = plane->plan;
    if (previous != NULL) {
        listener_accept_leftovers(plane, plan);
        listener_close_all(plane);
    }
    if (previous != NULL) {
        plane_stop_scripts(previous);
    }
    forget_gauges(previous); /* pools that this worker serves no more would show them for ever */
    plan->references = 1;
    plane->plan = plan;
    pin(worker, plan->snapshot->pin_workers);
    plan_find_hearing(plan);
    forget_gauges(plan); /* a new version of the policy */
    show_memory(worker);
    start_host(worker, plan->host);
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        if (plan->pools[i].current.host != NULL) {
            start_host(worker, plan->pools[i].current.host);
        }
    }
    if (!plan->serves) {
        metrics_clear_gauges(plane->arena, worker->index);
    }
    if (!worker->draining) {
        listener_open_all(plane);
    }
    if (previous != NULL) {
        plane_release_plan(plane, previous);
    }
    worker->events.plan_taken(worker->events.argument, worker);
}

void worker_give_plan(struct worker *worker, struct worker_plan *plan) {
    plan->mail.deliver = take_plan;
    worker_post(worker, &plan->mail);
}

/* ---- policies that are replaced while the plan stays ---- */

/* The policy of a place is asked no more; the one who asked for it frees it. */
static void retire_place(struct policy_place *place) {
    if (place->host != NULL) {
        scripting->host_retire(place->host);
    } else if (place->policy != NULL) {
        scripting->policy_stop(place->policy);
    }
}

static void forget_shadow_counts(struct worker *worker, const struct worker_pool *pool) {
    struct pool_row *row = pool->row;
    counter *counts[] = {&row->shadow_asked, &row->shadow_agreed,  &row->shadow_failed,
                         &row->shadow_nil,   &row->shadow_stopped, &row->shadow_out_now,
                         &row->shadow_ns,    &row->current_ns};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        counter_set(counts[i], 0);
    }
    for (uint32_t i = 0; i < pool->view.script.all_count; i++) {
        counter_set(&arena_slot_row(worker->plane.arena, pool->view.members[i], worker->index)
                         ->shadow_picked,
                    0);
    }
}

static void install(struct mail *mail, void *owner) {
    struct worker *worker = owner;
    struct policy_install *install = container_of(mail, struct policy_install, mail);
    if (worker->plane.plan == NULL) { /* it has stopped: nothing is taken, nothing replaced */
        install->done(install);
        return;
    }
    struct worker_pool *pool = &worker->plane.plan->pools[install->pool];
    struct policy_place *place = install->action == INSTALL_SHADOW ? &pool->shadow : &pool->current;
    struct policy_place replaced = *place;
    if (install->action == INSTALL_PROMOTE) {
        *place = pool->shadow;
        pool->shadow = (struct policy_place){0};
    } else {
        *place = install->place;
    }
    if (install->action == INSTALL_SHADOW) {
        pool->shadow_sample = install->sample;
        forget_shadow_counts(worker, pool);
    } else {
        counter_set(&pool->row->out_now, 0);
    }
    if (install->action != INSTALL_SHADOW && place->host != NULL) {
        start_host(worker, place->host); /* not a shadow's: it changes nothing */
    }
    plan_find_hearing(worker->plane.plan);
    retire_place(&replaced);
    install->place = replaced;
    install->done(install);
}

void worker_install(struct worker *worker, struct policy_install *policy_install) {
    policy_install->mail.deliver = install;
    worker_post(worker, &policy_install->mail);
}

struct carry *worker_take_snapshots(struct worker *worker) {
    const struct worker_plan *plan = worker->plane.plan;
    struct carry *taken = NULL;
    for (uint32_t i = 0; plan != NULL && i < plan->pool_count; i++) {
        struct carry *carry = scripting->policy_snapshot(plan->pools[i].current.policy);
        if (carry == NULL) {
            continue;
        }
        carry->pool = strdup(plan->pools[i].config->name);
        if (carry->pool == NULL) {
            log_limited(LOG_ERROR, "memory", "out of memory: a policy's snapshot is lost");
            free(carry->script);
            free(carry);
            continue;
        }
        carry->next = taken;
        taken = carry;
    }
    return taken;
}

static void start_drain(struct mail *mail, void *owner) {
    (void)mail;
    struct worker *worker = owner;
    listener_accept_leftovers(&worker->plane, NULL);
    listener_stop_all(&worker->plane);
    /* From here on no session begins, so that "drained" is said once: now, or when the last ends.
     */
    worker->draining = true;
    if (worker_session_count(worker) == 0) {
        worker->events.drained(worker->events.argument, worker);
    }
}

static void end_sessions(struct mail *mail, void *owner) {
    (void)mail;
    plane_end_sessions(&((struct worker *)owner)->plane, REASON_DRAIN);
}

static void end_thread(struct mail *mail, void *owner) {
    (void)mail;
    ev_break(((struct worker *)owner)->loop, EVBREAK_ALL);
}

/* Each of the three is said at most once in a worker's life, so its mail is part of the worker. */
static void say_once(struct worker *worker, struct mail *mail,
                     void (*deliver)(struct mail *, void *)) {
    if (mail->deliver == NULL) {
        mail->deliver = deliver;
        worker_post(worker, mail);
    }
}

void worker_drain(struct worker *worker) {
    say_once(worker, &worker->drain_mail, start_drain);
}

void worker_end_sessions(struct worker *worker) {
    say_once(worker, &worker->end_sessions_mail, end_sessions);
}

/* ---- thread ---- */

static void *run(void *argument) {
    struct worker *worker = argument;
    char name[32];
    snprintf(name, sizeof(name), "worker %u", worker->index);
    pthread_setname_np(pthread_self(), name);
    log_thread(name);
    ev_run(worker->loop, 0);
    /* The thread ends: nobody posts any more. */
    struct worker_plan *plan = worker->plane.plan;
    plane_close(&worker->plane);
    worker->plane.plan = NULL;
    if (plan != NULL) {
        plane_release_plan(&worker->plane, plan);
    }
    log_thread_end();
    return NULL;
}

struct worker *worker_start(uint32_t index, struct arena *arena,
                            const struct worker_events *events) {
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return NULL;
    }
    worker->index = index;
    worker->cpu = -1;
    worker->events = *events;
    worker->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (worker->loop == NULL) {
        free(worker);
        return NULL;
    }
    if (!plane_open(&worker->plane, worker->loop, arena, index)) {
        ev_loop_destroy(worker->loop);
        free(worker);
        return NULL;
    }
    if (!mailbox_init(&worker->mailbox, worker->loop, worker)) {
        plane_close(&worker->plane);
        ev_loop_destroy(worker->loop);
        free(worker);
        return NULL;
    }
    worker->plane.on_plan_unused = plan_unused;
    worker->plane.on_suspect = backend_suspect;
    worker->plane.on_empty = last_session_ended;
    ev_timer_init(&worker->heartbeat, beat, 0, HEARTBEAT_SECONDS);
    ev_timer_start(worker->loop, &worker->heartbeat);
    beat(worker->loop, &worker->heartbeat, 0);
    int error = scripting->thread_start(&worker->thread, run, worker);
    if (error != 0) {
        errno = error;
        mailbox_close(&worker->mailbox);
        plane_close(&worker->plane);
        ev_loop_destroy(worker->loop);
        free(worker);
        return NULL;
    }
    return worker;
}

void worker_stop(struct worker *worker) {
    say_once(worker, &worker->end_thread_mail, end_thread);
    pthread_join(worker->thread, NULL);
    mailbox_close(&worker->mailbox);
    ev_loop_destroy(worker->loop);
    free(worker);
}

/* ---- sessions, for mail delivered on the worker ---- */

static const char *const state_words[] = {"routing", "routing", "dialling", "relaying", "closed"};

static void describe(const struct session *session, struct session_info *out) {
    struct address client;
    session_client_address(session, &client);
    ev_tstamp now = session->plane->now;
    memset(out, 0, sizeof(*out));
    out->id = session->id;
    address_format(&client, out->client, sizeof(out->client));
    snprintf(out->listener, sizeof(out->listener), "%s", session->listener->name);
    snprintf(out->pool, sizeof(out->pool), "%s", session->pool != NULL ? session->pool->name : "");
    snprintf(out->backend, sizeof(out->backend), "%s",
             session->slot != NULL ? session->slot->script.name : "");
    snprintf(out->state, sizeof(out->state), "%s", state_words[session->state]);
    out->age_ms = (uint64_t)((now - session->opened) * 1000);
    out->idle_ms = (uint64_t)((now - session->last_activity) * 1000);
    out->bytes_in = session->client.received_bytes;
    out->bytes_out = session->backend.received_bytes;
}

uint32_t worker_list_most(const struct worker *worker) {
    return (uint32_t)worker->plane.session_slab.total;
}

uint32_t worker_list_sessions(struct worker *worker, struct slab_walk *walk,
                              struct session_info *out, uint32_t max, bool *ended) {
    uint32_t written = 0;
    for (uint32_t looked = 0; looked < LOOKED_AT_A_TURN && written < max; looked++) {
        const struct session *session = slab_next(&worker->plane.session_slab, walk);
        if (session == NULL) {
            *ended = true;
            return written;
        }
        if (session->plane != NULL && session->state != SESSION_CLOSED) {
            describe(session, &out[written++]);
        }
    }
    *ended = written == max;
    return written;
}

bool worker_kill_session(struct worker *worker, uint64_t id) {
    for (int state = 0; state < SESSION_CLOSED; state++) {
        list_each(node, &worker->plane.sessions[state]) {
            struct session *session = container_of(node, struct session, node);
            if (session->id == id) {
                session_close(session, REASON_KILLED);
                return true;
            }
        }
    }
    return false;
}
