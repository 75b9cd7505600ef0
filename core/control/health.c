/* Health: the check schedule, and every change of a slot's health, admin, presence and weight that
 * does not come from a worker. Runs on the control thread.
 *
 *      STARTING -> UP       the first answer is up
 *      STARTING -> DOWN     the first answer is down
 *      UP       -> DOWN     `fall` answers in a row are down, or one is a drain wish
 *      DOWN     -> UP       `rise` answers in a row are up
 *      UP, STARTING -> SUSPECT   connects failed in a row; a worker does this
 *      SUSPECT  -> UP, DOWN      the next answer decides
 *
 * As workers may change the word at any time (slot_connect_failed), a transition here is a
 * compare-and-swap, decided anew when a worker came between. judge() is the only place that
 * decides, transition() the only one that tells. A script's error is no answer: the state is kept,
 * and the reason says so; only a suspect is given another trial after `fall` errors in a row.
 *
 * A pool without a check: its backends are up at once, and a suspect is tried again after a while.
 * A check that is out (stopped too often, until a new version comes) is as good as none, but it may
 * have put backends down: those are suspects then (abandon()).
 * A backend that leaves the configuration is forgotten: its watch, health, admin and runtime
 * weight.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "control/control.h"
#include "control/health_words.h"

#define CHECKS_AT_ONCE 256u
#define SPREAD_SECONDS 1.0       /* first checks of a plan are begun within this time ... */
#define SPREAD_GAP_SECONDS 0.001 /* ... and no further apart than this */
#define SETTLING_SECONDS 1.0     /* between checks that may soon change a state */
#define SUSPECT_GAP_SECONDS 0.1  /* after the check before, however often workers complain */
#define NEXT_GAP_SECONDS 0.001   /* when a check took longer than the interval */
#define TRIAL_SECONDS 2.0        /* a suspect nobody checks is tried again after this time */
#define TRIAL_TURN_SECONDS 0.5   /* how often we look for those */

enum watch_phase {
    WATCH_OFF,       /* no check, or in maintenance */
    WATCH_SCHEDULED, /* the timer runs */
    WATCH_WAITING,   /* in health.waiting, as too many checks are running */
    WATCH_RUNNING,   /* check_start was called, its answer has not come */
};

/* What we know of one backend beyond its slot. Its place is the slot's number. */
struct watch {
    struct health *health;
    struct slot *slot;               /* NULL: not in the current plan */
    const struct control_pool *pool; /* of the current plan */
    struct address address;          /* as published last */
    struct ev_timer timer;
    struct list node;             /* in health.waiting */
    struct check_run *run;        /* NULL while check_start itself runs */
    ev_tstamp started;            /* of the last check */
    ev_tstamp suspect_since;      /* 0: not known to be suspect */
    uint32_t successes, failures; /* in a row since the last transition; one of them is 0 */
    uint32_t errors; /* of the check, in a row since its last answer or the last transition ... */
    char was[SLOT_REASON_BYTES]; /* ... which the reason tells of; what it was without them */
    uint32_t round;              /* of the health_switch that saw it last */
    enum watch_phase phase;
    bool first_decides; /* what we know is old: one answer is enough, either way */
    bool abandoned;     /* by its check, which is out */
};

struct health {
    struct control *control;
    struct watch *watches; /* ARENA_SLOTS; untouched ones cost no memory */
    struct list waiting;
    struct ev_timer trials; /* active from the first plan on */
    uint32_t running;
    uint32_t round;
    uint32_t random;
    bool held; /* begin_waiting() is running, or must not run now */
};

/* NULL: not in the current plan. By place: a slot that left it may be the builder's by now, and
 * nothing in it is ours to read. */
static struct watch *watch_of(struct health *health, const struct slot *slot) {
    struct watch *watch = &health->watches[slot - arena_slot(health->control->arena, 0)];
    return watch->slot == slot ? watch : NULL;
}

static enum backend_health health_of(const struct slot *slot) {
    return (enum backend_health)atomic_load_explicit(&slot->health, memory_order_relaxed);
}

static enum backend_admin admin_of(const struct slot *slot) {
    return (enum backend_admin)atomic_load_explicit(&slot->admin, memory_order_relaxed);
}

static bool is_checked(const struct watch *watch) {
    return watch->pool->check != NULL && !watch->abandoned && admin_of(watch->slot) != ADMIN_MAINT;
}

static void count_one(_Atomic uint32_t *count) {
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

/* ---- telling ---- */

/* The reason of a state that is not the administrator's. */
static void explain(const struct watch *watch, const char *reason) {
    const struct check_config *check = &watch->pool->config->check;
    char text[3 * SLOT_REASON_BYTES]; /* more than fit, so that slot_reason notices */
    bool out = watch->abandoned;
    snprintf(text, sizeof(text), "%s%s%s%s", out ? "check " : "", out ? check->script.name : "",
             out ? " is out: " : "", reason);
    slot_reason(watch->slot, text);
}

/* slot->health was changed: everything that follows from it. */
static void transition(struct watch *watch, enum backend_health from, enum backend_health to,
                       const char *reason) {
    struct slot *slot = watch->slot;
    watch->successes = watch->failures = watch->errors = 0;
    watch->suspect_since = to == HEALTH_SUSPECT ? ev_now(watch->health->control->loop) : 0;
    if (to == HEALTH_UP) { /* a whole new run for the workers' connects */
        atomic_store_explicit(&slot->failures_in_row, 0, memory_order_relaxed);
    }
    if (admin_of(slot) == ADMIN_READY) {
        explain(watch, reason);
        slot_stamp(slot);
    }
    slot_changed(slot, watch->pool->facts);
    health_tell(slot, to == HEALTH_UP ? LOG_INFO : LOG_WARNING, health_word(from), health_word(to),
                reason);
}

/* ---- judging ---- */

static enum backend_health verdict(const struct watch *watch, enum backend_health health,
                                   enum check_answer answer) {
    const struct check_config *check = &watch->pool->config->check;
    bool up = answer == CHECK_UP;
    bool at_once = watch->first_decides || answer == CHECK_DRAIN;
    switch (health) {
    case HEALTH_UP:
        return up || (watch->failures < check->fall && !at_once) ? HEALTH_UP : HEALTH_DOWN;
    case HEALTH_DOWN:
        return up && (watch->successes >= check->rise || at_once) ? HEALTH_UP : HEALTH_DOWN;
    default:
        return up ? HEALTH_UP : HEALTH_DOWN;
    }
}

/* A CAS, as a worker may come between. */
static bool moved(struct watch *watch, enum backend_health from, enum backend_health to) {
    uint32_t expected = (uint32_t)from;
    return atomic_compare_exchange_strong_explicit(&watch->slot->health, &expected, (uint32_t)to,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Nobody knows how it is. But a suspect has nobody else who would say that it is well again. */
static void note_error(struct watch *watch, const char *info) {
    struct slot *slot = watch->slot;
    char reason[2 * SLOT_REASON_BYTES];
    if (watch->errors++ == 0) {
        snprintf(watch->was, sizeof(watch->was), "%s", slot->reason);
    }
    if (admin_of(slot) == ADMIN_READY) {
        snprintf(reason, sizeof(reason), "check fails: %.100s; was: %s", info, watch->was);
        explain(watch, reason);
    }
    if (watch->errors >= watch->pool->config->check.fall &&
        moved(watch, HEALTH_SUSPECT, HEALTH_UP)) {
        snprintf(reason, sizeof(reason), "tried again, as the check fails: %.100s", info);
        transition(watch, HEALTH_SUSPECT, HEALTH_UP, reason);
    }
}

static void judge(struct watch *watch, enum check_answer answer, const char *info) {
    struct slot *slot = watch->slot;
    char reason[SLOT_REASON_BYTES + 1]; /* one more, so that slot_reason notices */
    health_describe(answer, info, reason, sizeof(reason));
    if (answer != CHECK_UP) {
        count_one(&slot->checks_failed);
        log_message(LOG_DEBUG, "check", "backend %s/%s: %s", slot->script.pool, slot->script.name,
                    reason);
    }
    if (answer == CHECK_ERROR) {
        note_error(watch, info != NULL ? info : "");
        return;
    }
    if (watch->errors > 0) {
        watch->errors = 0;
        slot_reason(slot, watch->was);
    }
    watch->successes = answer == CHECK_UP ? watch->successes + 1 : 0;
    watch->failures = answer == CHECK_UP ? 0 : watch->failures + 1;
    uint32_t from = (uint32_t)health_of(slot), to;
    do {
        to = (uint32_t)verdict(watch, (enum backend_health)from, answer);
    } while (to != from &&
             !atomic_compare_exchange_weak_explicit(&slot->health, &from, to, memory_order_relaxed,
                                                    memory_order_relaxed));
    watch->first_decides = false;
    if (to != from) {
        if (to == HEALTH_DOWN && from != HEALTH_STARTING && answer != CHECK_DRAIN) {
            count_one(&slot->transitions_down);
        }
        transition(watch, (enum backend_health)from, (enum backend_health)to, reason);
    } else if (to == HEALTH_DOWN && answer != CHECK_UP && admin_of(slot) == ADMIN_READY) {
        explain(watch, reason); /* another reason to be down than before, perhaps */
    }
}

/* ---- the schedule ---- */

static double at_most(double a, double b) {
    return a < b ? a : b;
}

static double at_least(double a, double b) {
    return a > b ? a : b;
}

static double interval_of(const struct watch *watch) {
    return watch->pool->config->check.interval_ms / 1000.0;
}

/* 0.9 to 1.1 (xorshift32, Marsaglia 2003). */
static double jitter(struct health *health) {
    health->random ^= health->random << 13;
    health->random ^= health->random >> 17;
    health->random ^= health->random << 5;
    return 0.9 + 0.2 * (health->random / 4294967296.0);
}

/* Whatever the watch was doing, it does no more. */
static void rest(struct watch *watch) {
    ev_timer_stop(watch->health->control->loop, &watch->timer);
    list_remove(&watch->node);
    if (watch->phase == WATCH_RUNNING) {
        if (watch->run != NULL) {
            scripting->check_cancel(watch->run);
        }
        watch->run = NULL;
        watch->health->running--;
    }
    watch->phase = WATCH_OFF;
}

static void schedule(struct watch *watch, double delay) {
    rest(watch);
    watch->phase = WATCH_SCHEDULED;
    ev_timer_set(&watch->timer, delay, 0);
    ev_timer_start(watch->health->control->loop, &watch->timer);
}

/* From the beginning of one check to the beginning of the next; sooner while a run goes on that may
 * change the state. */
static void schedule_next(struct watch *watch) {
    struct health *health = watch->health;
    enum backend_health now = health_of(watch->slot);
    bool settling = (now == HEALTH_UP && watch->failures > 0) ||
                    (now == HEALTH_DOWN && watch->successes > 0) ||
                    (now == HEALTH_SUSPECT && watch->errors > 0);
    double delay = interval_of(watch);
    delay = (settling ? at_most(delay, SETTLING_SECONDS) : delay) * jitter(health);
    double elapsed = ev_now(health->control->loop) - watch->started;
    /* The wall clock may have been set back or forth meanwhile. */
    schedule(watch, at_most(at_least(delay - elapsed, NEXT_GAP_SECONDS), delay));
}

static void begin_waiting(struct health *health);

/* May be called from within check_start. */
static void on_check_done(void *argument, enum check_answer answer, const char *info) {
    struct watch *watch = argument;
    watch->run = NULL;
    watch->phase = WATCH_OFF;
    watch->health->running--;
    judge(watch, answer, info);
    schedule_next(watch);
    begin_waiting(watch->health);
}

static void begin_check(struct watch *watch) {
    rest(watch);
    watch->phase = WATCH_RUNNING;
    watch->health->running++;
    watch->started = ev_now(watch->health->control->loop);
    count_one(&watch->slot->checks_total);
    struct check_run *run =
        scripting->check_start(watch->pool->check, watch->slot, &watch->address,
                               watch->pool->config->check.timeout_ms, on_check_done, watch);
    if (watch->phase != WATCH_RUNNING) {
        return; /* answered already: `run` is no more */
    }
    watch->run = run;
    if (run == NULL) {
        on_check_done(watch, CHECK_ERROR, "it cannot be started");
    }
}

static void begin_waiting(struct health *health) {
    if (health->held) {
        return; /* a check that answered at once: our caller's loop goes on */
    }
    health->held = true;
    while (health->running < CHECKS_AT_ONCE && !list_is_empty(&health->waiting)) {
        begin_check(container_of(health->waiting.next, struct watch, node));
    }
    health->held = false;
}

static void on_check_due(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct watch *watch = container_of(timer, struct watch, timer);
    rest(watch);
    watch->phase = WATCH_WAITING;
    list_append(&watch->health->waiting, &watch->node);
    begin_waiting(watch->health);
}

/* ---- suspects ---- */

static void note_suspect(struct watch *watch) {
    transition(watch, HEALTH_UP, HEALTH_SUSPECT, "connects failed in a row");
}

void health_suspect(struct health *health, struct slot *slot) {
    struct watch *watch = watch_of(health, slot);
    if (watch == NULL || health_of(slot) != HEALTH_SUSPECT) {
        return; /* gone, or judged meanwhile */
    }
    note_suspect(watch);
    if (watch->phase == WATCH_SCHEDULED) {
        double elapsed = ev_now(health->control->loop) - watch->started;
        schedule(watch, at_least(at_most(SUSPECT_GAP_SECONDS - elapsed, SUSPECT_GAP_SECONDS), 0));
    }
}

/* Looks at the words themselves: a worker's mail may have been lost for want of memory. */
static void try_suspect(struct watch *watch, ev_tstamp now) {
    if (health_of(watch->slot) != HEALTH_SUSPECT) {
        return;
    }
    if (watch->suspect_since == 0 || watch->suspect_since > now) {
        note_suspect(watch);
    } else if (now - watch->suspect_since >= TRIAL_SECONDS &&
               moved(watch, HEALTH_SUSPECT, HEALTH_UP)) {
        transition(watch, HEALTH_SUSPECT, HEALTH_UP, "not checked: tried again");
    }
}

/* Its check is out, and will not answer until a new version comes. */
static void abandon(struct watch *watch) {
    struct slot *slot = watch->slot;
    rest(watch);
    watch->abandoned = true;
    watch->first_decides = true; /* when a check comes */
    watch->errors = 0;
    if (moved(watch, HEALTH_DOWN, HEALTH_SUSPECT)) {
        transition(watch, HEALTH_DOWN, HEALTH_SUSPECT, "it put this one down");
    } else if (moved(watch, HEALTH_STARTING, HEALTH_UP)) {
        transition(watch, HEALTH_STARTING, HEALTH_UP, "not checked");
    } else if (admin_of(slot) == ADMIN_READY) {
        explain(watch, "not checked");
    }
}

static void try_pool(struct health *health, const struct control_pool *pool) {
    bool known = pool->check == NULL;
    for (uint32_t k = 0; k < pool->config->backend_count; k++) {
        struct watch *watch = watch_of(health, pool->slots[k]);
        if (watch == NULL) {
            continue;
        }
        if (!known && !watch->abandoned) {
            log_message(LOG_WARNING, "health",
                        "pool %s: check %s is out: as if there was none, until a new version is "
                        "published",
                        pool->config->name, pool->config->check.script.name);
        }
        known = true;
        if (pool->check != NULL && !watch->abandoned) {
            abandon(watch);
        }
        try_suspect(watch, ev_now(health->control->loop));
    }
}

static void on_trial_turn(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)events;
    struct health *health = container_of(timer, struct health, trials);
    const struct control_plan *plan = health->control->plan;
    for (uint32_t i = 0; plan != NULL && i < plan->pool_count; i++) {
        const struct control_pool *pool = &plan->pools[i];
        if (pool->check == NULL || scripting->check_is_out(pool->check)) {
            try_pool(health, pool);
        }
    }
}

/* ---- a new plan ---- */

static void begin_anew(struct watch *watch) {
    struct slot *slot = watch->slot;
    rest(watch);
    watch->successes = watch->failures = watch->errors = 0;
    watch->suspect_since = 0;
    watch->first_decides = false;
    atomic_store_explicit(&slot->health, HEALTH_STARTING, memory_order_relaxed);
    atomic_store_explicit(&slot->failures_in_row, 0, memory_order_relaxed);
}

static void forget_health(struct watch *watch, const char *reason) {
    struct slot *slot = watch->slot;
    begin_anew(watch);
    atomic_store_explicit(&slot->script.view.connect_ewma_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->script.view.connect_last_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->script.view.connected_at, 0, memory_order_relaxed);
    slot_reason(slot, reason);
    slot_stamp(slot);
}

static void set_weight(struct slot *slot, uint32_t weight) {
    atomic_store_explicit(&slot->script.view.weight, weight, memory_order_relaxed);
}

static void meet(struct health *health, struct watch *watch, struct slot *slot) {
    *watch = (struct watch){.health = health, .slot = slot};
    list_init(&watch->node);
    ev_timer_init(&watch->timer, on_check_due, 0, 0);
    atomic_store_explicit(&slot->admin, ADMIN_READY, memory_order_relaxed);
}

/* Nobody will say that it is up, so we do. A suspect keeps its trial. */
static void adopt_unchecked(struct watch *watch) {
    struct slot *slot = watch->slot;
    rest(watch);
    watch->first_decides = true; /* should a check come */
    if (health_of(slot) == HEALTH_STARTING || health_of(slot) == HEALTH_DOWN) {
        /* Only control leaves DOWN; a worker may come between STARTING and here, and is mistaken no
         * longer than a trial lasts. */
        atomic_store_explicit(&slot->health, HEALTH_UP, memory_order_relaxed);
        slot_reason(slot, "not checked");
        slot_stamp(slot);
    }
}

/* `delay`: when the first check is due, if none is scheduled yet. */
static void adopt_checked(struct watch *watch, bool known, double delay) {
    if (!is_checked(watch)) {
        rest(watch);
    } else if (!known || watch->phase != WATCH_SCHEDULED ||
               ev_timer_remaining(watch->health->control->loop, &watch->timer) >
                   1.1 * interval_of(watch)) {
        schedule(watch, delay);
    }
}

static void adopt(struct health *health, const struct control_pool *pool, uint32_t index,
                  double delay) {
    const struct backend_config *config = &pool->config->backends[index];
    struct slot *slot = pool->slots[index];
    struct watch *watch = watch_of(health, slot);
    bool known = watch != NULL;
    if (!known) {
        watch = &health->watches[slot - arena_slot(health->control->arena, 0)];
        meet(health, watch, slot);
    }
    watch->pool = pool;
    watch->round = health->round;
    watch->abandoned = false; /* whatever its check was, it is another now */
    if (known && !address_equal(&watch->address, &config->address)) {
        forget_health(watch, "its address changed");
        known = false;
    } else if (!known) {
        forget_health(watch, "new in the configuration");
    }
    if (watch->address.length == 0 || slot->configured_weight != config->weight) {
        slot->configured_weight = config->weight;
        set_weight(slot, config->weight);
    }
    watch->address = config->address;
    if (strcmp(slot->script.address, config->address_text) != 0) {
        snprintf(slot->script.address, sizeof(slot->script.address), "%s", config->address_text);
    }
    if (slot->script.view.max_sessions != config->max_sessions) {
        slot->script.view.max_sessions = config->max_sessions;
    }
    slot->script.view.zone_code = zone_code(config->zone);
    slot->script.view.tag_bits = config->tag_bits;
    atomic_store_explicit(&slot->presence, PRESENCE_PRESENT, memory_order_relaxed);
    if (pool->check == NULL) {
        adopt_unchecked(watch);
    } else {
        adopt_checked(watch, known, delay);
    }
    slot_changed(slot, pool->facts);
}

static void part(struct watch *watch) {
    struct slot *slot = watch->slot;
    rest(watch);
    atomic_store_explicit(&slot->presence, PRESENCE_GONE, memory_order_relaxed);
    slot_reason(slot, "not in the configuration");
    slot_stamp(slot);
    slot_changed(slot, arena_slot_pool(watch->health->control->arena, slot));
    watch->slot = NULL;
}

/* Runs `visit` for every watch of the plan's backends. */
static void each_watch(struct health *health, const struct control_plan *plan,
                       void (*visit)(struct watch *watch)) {
    for (uint32_t i = 0; plan != NULL && i < plan->pool_count; i++) {
        for (uint32_t k = 0; k < plan->pools[i].config->backend_count; k++) {
            struct watch *watch = watch_of(health, plan->pools[i].slots[k]);
            if (watch != NULL) {
                visit(watch);
            }
        }
    }
}

/* The check instances of the old plan are about to be freed. */
static void end_run(struct watch *watch) {
    if (watch->phase == WATCH_RUNNING) {
        rest(watch);
    }
}

static void part_if_left(struct watch *watch) {
    if (watch->round != watch->health->round) {
        part(watch);
    }
}

static void rest_if_left(struct watch *watch) {
    if (watch->round != watch->health->round) {
        rest(watch);
    }
}

void health_part(struct health *health, struct control_plan *old) {
    each_watch(health, old, part_if_left);
}

void health_switch(struct health *health, struct control_plan *old, struct control_plan *new_plan) {
    uint32_t backends = 0, index = 0;
    health->held = true; /* waiting checks know only the old plan */
    health->round++;
    each_watch(health, old, end_run);
    for (uint32_t i = 0; i < new_plan->pool_count; i++) {
        backends += new_plan->pools[i].config->backend_count;
    }
    for (uint32_t i = 0; i < new_plan->pool_count; i++) {
        const struct control_pool *pool = &new_plan->pools[i];
        double window = at_most(pool->config->check.interval_ms / 1000.0, SPREAD_SECONDS);
        double gap = at_most(window / backends, SPREAD_GAP_SECONDS);
        for (uint32_t k = 0; k < pool->config->backend_count; k++) {
            adopt(health, pool, k, gap * index++);
        }
    }
    each_watch(health, old, rest_if_left); /* its check is about to be freed */
    health->held = false;
    if (!ev_is_active(&health->trials)) {
        ev_timer_again(health->control->loop, &health->trials);
    }
}

/* ---- the administrator ---- */

void health_set_admin(struct health *health, struct slot *slot, enum backend_admin admin) {
    struct watch *watch = watch_of(health, slot);
    enum backend_admin before = admin_of(slot);
    if (watch == NULL || before == admin) {
        return;
    }
    enum backend_state from = slot_state(slot);
    atomic_store_explicit(&slot->admin, (uint32_t)admin, memory_order_relaxed);
    if (admin == ADMIN_MAINT) {
        rest(watch);
        begin_waiting(health);          /* it may have been one of those that run */
    } else if (before == ADMIN_MAINT) { /* what we knew is of the time before */
        begin_anew(watch);
        if (is_checked(watch)) {
            schedule(watch, 0);
        } else {
            atomic_store_explicit(&slot->health, HEALTH_UP, memory_order_relaxed);
            watch->first_decides = true; /* should a check come */
        }
    }
    char reason[SLOT_REASON_BYTES];
    snprintf(reason, sizeof(reason), "administrator: %s", admin_word(admin));
    watch->errors = 0;
    if (admin == ADMIN_READY) {
        explain(watch, reason);
    } else {
        slot_reason(slot, reason);
    }
    slot_stamp(slot);
    slot_changed(slot, watch->pool->facts);
    health_tell(slot, LOG_INFO, state_word(from), state_word(slot_state(slot)), slot->reason);
}

void health_set_weight(struct health *health, struct slot *slot, uint32_t weight) {
    struct watch *watch = watch_of(health, slot);
    uint32_t before = atomic_load_explicit(&slot->script.view.weight, memory_order_relaxed);
    if (watch == NULL || before == weight) {
        return;
    }
    set_weight(slot, weight);
    slot_changed(slot, watch->pool->facts);
    const struct log_field fields[] = {LOG_STRING("pool", slot->script.pool),
                                       LOG_STRING("backend", slot->script.name),
                                       LOG_NUMBER("from", before), LOG_NUMBER("to", weight)};
    log_fields(LOG_INFO, "weight", fields, "backend %s/%s: weight %u -> %u by an administrator",
               slot->script.pool, slot->script.name, before, weight);
}

/* ---- life ---- */

struct health *health_new(struct control *control) {
    struct health *health = calloc(1, sizeof(*health));
    if (health == NULL) {
        return NULL;
    }
    health->watches = calloc(ARENA_SLOTS, sizeof(*health->watches));
    if (health->watches == NULL) {
        free(health);
        return NULL;
    }
    health->control = control;
    health->random = (uint32_t)clock_monotonic_us() | 1u; /* anything but 0 */
    list_init(&health->waiting);
    ev_timer_init(&health->trials, on_trial_turn, TRIAL_TURN_SECONDS, TRIAL_TURN_SECONDS);
    return health;
}

void health_free(struct health *health) {
    if (health == NULL) {
        return;
    }
    health->held = true;
    each_watch(health, health->control->plan, rest);
    ev_timer_stop(health->control->loop, &health->trials);
    free(health->watches);
    free(health);
}
