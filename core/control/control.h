/* Control: the control thread's loop and what its parts share: health checks, services (stats
 * page), admin socket, reloads, signals, stopping. Everything here runs on the control thread
 * (which is the process's main thread) unless it says otherwise. */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "config/snapshot.h"
#include "pool/arena.h"
#include "pool/metrics.h"
#include "pool/shared.h"
#include "scripting.h"

struct worker;
struct admin;    /* control/admin.c */
struct health;   /* control/health.c */
struct services; /* control/services.c */
struct builder;  /* control/build.c */
struct scripts;  /* control/scripts.c */
struct worker_plan;
struct script_version;

/* What control itself runs of one configuration; built on the builder, replaced whole. */
struct control_pool {
    const struct pool_config *config;
    struct pool_facts *facts;
    struct slot **slots; /* config->backend_count, same order */
    struct check *check; /* NULL when the pool has none */
    /* What is configured, as it stands, is the version that failed: the other one, which is in
     * force, stays. References; NULL: what is configured comes into force. */
    struct script_version *failed, *stays;
};
struct control_listener {
    const struct listener_config *config;
    struct listener_facts *facts;
    struct service *service; /* NULL: workers relay to a pool */
    uint32_t socket_count;
    int *sockets; /* all of the listener's sockets for services, none for relays; not owned */
};
struct control_plan {
    struct snapshot *snapshot;
    struct script_host *host;
    uint32_t tags; /* bits of the tags it speaks of; the builder's */
    uint32_t pool_count, listener_count;
    struct control_pool *pools;         /* same order as in the snapshot */
    struct control_listener *listeners; /* same order as in the snapshot */
};

struct control {
    struct ev_loop *loop;
    struct mailbox mailbox;
    struct arena *arena;
    struct control_plan *plan; /* current; NULL before the first */
    uint32_t worker_count;     /* running now */
    struct worker **workers;
    struct worker_plan *worker_plans[ARENA_WORKERS]; /* those of the current plan, by worker */
    struct builder *builder;
    struct health *health;
    struct services *services;
    struct admin *admin;
    struct scripts *scripts;
    bool draining; /* TERM came: /healthz says 503 */
    uint64_t started_wall_ms;
    uint64_t reloads_total, reloads_failed;
};

/* Asks for a reload of the file the process was started with. `done` is called later, on control,
 * with the outcome; `text` is what to tell the one who asked: on failure every message, a line
 * each. Reloads asked for while one runs wait their turn. */
typedef void reload_done(void *argument, bool ok, const char *text);
void control_reload(struct control *control, reload_done *done, void *argument);
/* First call drains, second stops at once (as TERM). */
void control_stop(struct control *control);

/* ---- health.c: the check schedule and every change of a slot's health, admin and weight ---- */
struct health *health_new(struct control *control);
void health_free(struct health *health);
/* The new plan is current: stop checks of the old, start those of the new (spread by jitter; the
 * first at once), health of slots whose address changed is forgotten. `old` may be NULL. */
void health_switch(struct health *health, struct control_plan *old, struct control_plan *new_plan);
/* Every worker has taken the plan switched to last: backends of `old` that it lacks are gone. Not
 * before, or workers still on the old plan would find nobody to send a session to. */
void health_part(struct health *health, struct control_plan *old);
/* A worker saw a backend turn suspect (delivered by mail): check it now. */
void health_suspect(struct health *health, struct slot *slot);
/* Administrator's wishes. Logged, counted, generation raised. */
void health_set_admin(struct health *health, struct slot *slot, enum backend_admin admin);
void health_set_weight(struct health *health, struct slot *slot, uint32_t weight);

/* ---- services.c: listeners answered on control over HTTP/1.1 ---- */
struct services *services_new(struct control *control);
void services_free(struct services *services);
/* The new plan is current: accept on its service sockets, stop on those that are gone; running
 * requests of old services are cancelled with 503. */
void services_switch(struct services *services, struct control_plan *old,
                     struct control_plan *new_plan);

/* ---- admin.c: the unix socket (mode 0600) ---- */
struct admin *admin_new(struct control *control);
void admin_free(struct admin *admin);
/* Binds `path` beside the socket in use (a stale one is replaced, a live one refused); NULL = there
 * shall be none. The file, and its folder if that was missing, are the owner's. False: error, and
 * nothing is prepared. */
bool admin_prepare(struct admin *admin, const char *path, const struct owner *owner, char *error,
                   size_t error_bytes) __attribute__((warn_unused_result));
/* What is prepared takes the place of the socket in use, or is undone. Nothing prepared is fine. */
void admin_commit(struct admin *admin);
void admin_abort(struct admin *admin);

/* ---- facts.c: one pass over the facts for status, stats and lists ---- */
struct facts_backend {
    const struct backend_config *config;
    const struct slot *slot;
    struct slot_row sum;
    enum backend_state state;
    enum backend_admin admin;
    uint32_t weight, active;
    float connect_ewma_ms;
    int64_t changed_wall_ms;
    const char *reason;
};
struct facts_pool {
    const struct control_pool *pool;
    const struct pool_scripts *scripts; /* its versions; NULL: not known */
    struct pool_row sum;
    uint32_t backend_count, eligible_count;
    struct facts_backend *backends;
};
struct facts_listener {
    const struct control_listener *listener;
    struct listener_row sum;
    uint64_t active;
};
struct facts_dictionary {
    const char *name;
    uint32_t entries;
};
struct facts {
    uint64_t configuration, now_wall_ms, uptime_ms;
    uint64_t reloads_total, reloads_failed, log_dropped, log_suppressed, options_refused;
    bool draining;
    uint32_t pool_count, listener_count, worker_count, script_count;
    struct facts_pool *pools;
    struct facts_listener *listeners;
    struct worker_told *workers;
    /* [0, pool_count): the policy of pools[i], told from its pool's counters (no last error:
     * workers own the instances); then in the same way the routes of listeners, each with its
     * listener's name; then the checks and services control runs itself. */
    struct script_info *scripts;
    uint32_t arena_slots, arena_pools, arena_listeners;
    struct shared_usage shared; /* of all dictionaries */
    uint32_t dictionary_count;
    struct facts_dictionary *dictionaries;
    uint32_t metric_count; /* of scripts */
    struct metric_sum *metrics;
};
/* NULL: out of memory. Freed by facts_free. */
struct facts *facts_collect(struct control *control) __attribute__((warn_unused_result));
void facts_free(struct facts *facts);
/* Up to `count` backends of the pool of that name, from number `first` (0) on. How many there were;
 * *configuration: of which one. */
uint32_t facts_backends(struct control *control, const char *pool, uint32_t first, uint32_t count,
                        struct facts_backend *out, uint64_t *configuration);

/* The configuration text of `alacrity demo` (control/demo.c). */
extern const char demo_configuration[];

#endif
