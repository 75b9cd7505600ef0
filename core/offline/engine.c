/* The simulation of one policy. See engine.h.
 *
 * A session's end is known when it begins, so it is one event: a backend of a limited capacity
 * keeps the times at which its places become free, and a session takes the first of them (first
 * come, first served). What is simplified: connecting takes effect at once, the average connect
 * time included; and there is no network between. */
#include "offline/engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "offline/events.h"
#include "offline/offline.h"
#include "pool/arena.h"
#include "pool/view.h"
#include "scripting.h"

#define CLOCK_START 1000.0 /* as `alacrity test`: no clock of a machine that runs says 0 */
#define LISTENER "simulate"
#define NOBODY UINT32_MAX /* a session without a backend */
#define SAMPLE 64u        /* every so manieth pick is timed */
#define LUCK_SEED 0x5851F42D4C957F2Du

struct worker {
    struct script_host *host;
    struct policy *policy;
    struct pool_view view;
    bool hears; /* it is to be told of sessions' ends */
};

struct backend {
    struct slot *slot;
    const struct scenario_backend *config;
    uint32_t active, epoch; /* endings of an earlier epoch were cut */
    uint32_t failing;       /* outages that go on */
    bool removed;           /* failed or drained, for counting who moved */
    double *places;         /* config->capacity of them, a heap: when each becomes free */
    double since, area;     /* when `active` changed last; sessions times seconds before that */
};

/* Where a client was last. */
struct visit {
    uint16_t backend; /* + 1; 0 = nowhere yet */
    uint16_t removals;
};

struct engine {
    const struct scenario *scenario;
    struct load *load;
    struct result *result;
    struct arena *arena;
    struct pool_facts *facts;
    struct pool_config pool;
    struct worker workers[ARENA_WORKERS];
    struct backend *backends;
    struct slot **slots;
    struct endings endings;
    struct changes changes;
    double turn_at; /* no timer of a worker's policy is due before */
    struct visit *visits;
    uint16_t removals;   /* so far */
    bool someone_is_out; /* since the last of them nobody came back */
    struct random luck;  /* of connects: not the load's, which is the same for every policy */
    uint32_t to_sample;
    uint32_t point; /* of the series */
    double point_end;
    bool failed; /* memory is out */
};

/* What alacrity.now() answers. */
static _Thread_local double virtual_now;

static uint64_t virtual_ms(void) {
    return (uint64_t)(virtual_now * 1000);
}

static double now(void) {
    return virtual_now;
}

/* ---- what the policy does wrong ---- */

/* `what` NULL: as the script's last error says. Only the first is kept. */
static void failed_call(struct engine *engine, const struct worker *worker, uint64_t *count,
                        const char *what) {
    struct result *result = engine->result;
    struct script_info info;
    (*count)++;
    if (result->first_error[0] != '\0') {
        return;
    }
    if (what != NULL) {
        snprintf(result->first_error, sizeof(result->first_error), "%s: pick answered %s",
                 engine->pool.policy.name, what);
    } else if (scripting->host_script(worker->host, 0, &info)) {
        snprintf(result->first_error, sizeof(result->first_error), "%s", info.last_error);
    }
}

/* What came of a call that has no answer. */
static void note(struct engine *engine, const struct worker *worker, enum policy_told told) {
    if (told == TOLD_ERROR) {
        failed_call(engine, worker, &engine->result->errors, NULL);
    } else if (told == TOLD_STOPPED) {
        failed_call(engine, worker, &engine->result->overruns, NULL);
    }
}

/* ---- sessions of a backend ---- */

static uint32_t index_of(const struct engine *engine, const struct slot *slot) {
    return (uint32_t)view_position(&engine->workers[0].view, slot);
}

static void set_active(struct backend *backend, uint32_t active, double at) {
    backend->area += backend->active * (at - backend->since);
    backend->since = at;
    backend->active = active;
    atomic_store_explicit(&backend->slot->script.view.active, active, memory_order_relaxed);
}

static void take_point(struct engine *engine, double end) {
    uint32_t count = engine->scenario->backend_count;
    for (uint32_t i = 0; i < count; i++) {
        struct backend *backend = &engine->backends[i];
        set_active(backend, backend->active, end);
        engine->result->backends[i].session_seconds += backend->area;
        if (engine->point < SERIES_POINTS) {
            engine->result->series[engine->point * count + i] =
                (float)(backend->area / engine->result->interval);
        }
        backend->area = 0;
    }
    engine->point++;
    engine->point_end += engine->result->interval;
}

/* Moves time on. */
static void advance(struct engine *engine, double at) {
    while (at >= engine->point_end) {
        take_point(engine, engine->point_end);
    }
    virtual_now = CLOCK_START + at;
}

/* A place of a backend becomes free when a session of this length, begun at `at`, has ended; the
 * time it begins to be served. */
static double take_place(struct backend *backend, double at, double length) {
    double *places = backend->places;
    uint32_t count = backend->config->capacity, hole = 0;
    double begins = places[0] > at ? places[0] : at, ends = begins + length;
    for (;;) {
        uint32_t child = 2 * hole + 1;
        if (child >= count) {
            break;
        }
        child += child + 1 < count && places[child + 1] < places[child];
        if (places[child] >= ends) {
            break;
        }
        places[hole] = places[child];
        hole = child;
    }
    places[hole] = ends;
    return begins;
}

/* Connects, waits its turn, is served. */
static void serve(struct engine *engine, const struct arrival *arrival, struct ending *ending) {
    uint32_t index = ending->backend;
    struct backend *backend = &engine->backends[index];
    const struct scenario_backend *config = backend->config;
    struct result *result = engine->result;
    uint32_t active = backend->active + 1;
    double crowd =
        config->capacity > 0 && active > config->capacity ? (double)active / config->capacity : 1;
    double connect_ms = engine->scenario->connect_ms * config->slow * crowd *
                        (0.8 + 0.4 * random_unit(&engine->luck));
    double reached = arrival->at + connect_ms / 1000, length = arrival->duration * config->slow;
    double begins = reached;
    ending->reset = config->resets > 0 && random_unit(&engine->luck) < config->resets;
    set_active(backend, active, arrival->at);
    slot_connected(backend->slot, (float)connect_ms, (uint64_t)((CLOCK_START + reached) * 1000));
    if (ending->reset) {
        length = 0; /* it never gets a place */
    } else if (backend->places != NULL) {
        begins = take_place(backend, reached, length);
        double wait = begins - reached;
        histogram_add(&result->waits, (uint64_t)(wait * 1e6));
        result->waited += wait > 0;
        result->wait_seconds += wait;
        result->wait_most = wait > result->wait_most ? wait : result->wait_most;
    }
    result->backends[index].sessions++;
    if (active > result->backends[index].peak) {
        result->backends[index].peak = active;
    }
    ending->at = begins + length;
    ending->epoch = backend->epoch;
    if (!endings_add(&engine->endings, *ending)) {
        values_free(&ending->values);
        engine->failed = true;
    }
}

/* The worker's policy was called, and may have timers that are due earlier. */
static void look_at_timers(struct engine *engine, const struct worker *worker) {
    double at = scripting->host_due(worker->host) - CLOCK_START;
    engine->turn_at = at < engine->turn_at ? at : engine->turn_at;
}

/* The timer that is due first, if one is due at turn_at (it may have been cancelled). */
static void take_turn(struct engine *engine) {
    struct worker *first = NULL;
    double at = (double)INFINITY;
    for (uint32_t i = 0; i < engine->scenario->workers; i++) {
        struct worker *worker = &engine->workers[i];
        double own = scripting->host_due(worker->host) - CLOCK_START;
        if (own < at) {
            at = own;
            first = worker;
        }
    }
    if (first != NULL && at <= engine->turn_at) {
        note(engine, first, scripting->host_turn(first->host)); /* others may be due now, too */
    }
    engine->turn_at = at;
}

/* Tells the policy, if it wants to hear, that a session ended at `at`. */
static void tell(struct engine *engine, struct ending *ending, double at,
                 enum session_reason reason) {
    const struct client *client = &engine->load->clients[ending->client];
    struct worker *worker = &engine->workers[ending->worker];
    if (!worker->hears) {
        return;
    }
    const struct alacrity_closed_private closed = {
        .view = {.attempts = ending->attempts,
                 .client_hash = client->hash,
                 .client_port = ending->port,
                 .reason_code = reason,
                 .duration_ms = (at - ending->began) * 1000},
        .client = client->text,
        .listener = LISTENER,
        .reason = session_reason_word(reason),
        .backend =
            ending->backend == NOBODY ? NULL : &engine->backends[ending->backend].slot->script.view,
        .values = &ending->values,
    };
    note(engine, worker, scripting->policy_closed(worker->policy, &closed));
    look_at_timers(engine, worker);
}

static void end_session(struct engine *engine, struct ending *ending) {
    struct backend *backend = &engine->backends[ending->backend];
    if (backend->epoch == ending->epoch) {
        set_active(backend, backend->active - 1, ending->at);
        engine->result->cut += ending->reset;
        engine->result->backends[ending->backend].cut += ending->reset;
        tell(engine, ending, ending->at, ending->reset ? REASON_BACKEND_RESET : REASON_DONE);
    }
    values_free(&ending->values);
}

/* ---- backends that go and come ---- */

static void cut_sessions(struct engine *engine, uint32_t index, double at) {
    struct backend *backend = &engine->backends[index];
    engine->result->cut += backend->active;
    engine->result->backends[index].cut += backend->active;
    set_active(backend, 0, at);
    for (size_t i = 0; i < engine->endings.count; i++) {
        struct ending *ending = &engine->endings.heap[i];
        if (ending->backend == index && ending->epoch == backend->epoch) {
            tell(engine, ending, at, REASON_BACKEND_RESET);
        }
    }
    backend->epoch++;
    for (uint32_t i = 0; backend->places != NULL && i < backend->config->capacity; i++) {
        backend->places[i] = 0;
    }
}

static void has_gone(struct engine *engine, struct backend *backend) {
    backend->removed = true;
    engine->removals++;
    engine->someone_is_out = true;
}

static void has_come(struct engine *engine, struct backend *backend) {
    backend->removed = false;
    engine->someone_is_out = false;
}

static void apply(struct engine *engine, const struct change *change) {
    struct backend *backend = &engine->backends[change->backend];
    struct slot *slot = backend->slot;
    switch (change->kind) {
    case CHANGE_FAILS:
        backend->failing++;
        cut_sessions(engine, change->backend, change->at);
        has_gone(engine, backend);
        return;
    case CHANGE_RECOVERS:
        backend->failing--;
        return;
    case CHANGE_CHECKED:
        atomic_store(&slot->health, backend->failing > 0 ? HEALTH_DOWN : HEALTH_UP);
        if (backend->failing == 0) {
            has_come(engine, backend);
        }
        break;
    case CHANGE_DRAINED:
        atomic_store(&slot->admin, ADMIN_DRAIN);
        has_gone(engine, backend);
        break;
    case CHANGE_READY:
        atomic_store(&slot->admin, ADMIN_READY);
        has_come(engine, backend);
        break;
    }
    slot_changed_at(slot, engine->facts, virtual_ms());
}

/* ---- picking ---- */

/* As dial.c asks: anything but an eligible backend goes to the fallback. NULL: nobody. */
static struct slot *ask(struct engine *engine, struct worker *worker,
                        const struct alacrity_ctx_private *ctx) {
    struct result *result = engine->result;
    struct slot *slot = NULL;
    result->picks++;
    switch (scripting->policy_pick(worker->policy, ctx, &slot)) {
    case PICK_BACKEND:
        return slot;
    case PICK_NIL:
        result->nil++;
        break;
    case PICK_ERROR:
        failed_call(engine, worker, &result->errors, NULL);
        break;
    case PICK_BAD:
        failed_call(engine, worker, &result->bad_answers, scripting->policy_reason(worker->policy));
        break;
    case PICK_STOPPED:
        failed_call(engine, worker, &result->overruns, NULL);
        break;
    case PICK_RESTING:
    case PICK_OUT:
        result->picks--;
        result->not_asked++;
        break;
    }
    result->fallbacks++;
    int32_t position =
        strcmp(engine->pool.fallback, "reject") == 0 ? -1 : view_pick_round_robin(&worker->view);
    return position < 0 ? NULL : (struct slot *)(uintptr_t)worker->view.script.eligible[position];
}

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct slot *pick(struct engine *engine, struct worker *worker,
                         const struct alacrity_ctx_private *ctx, const uint32_t *tried,
                         uint32_t tried_count) {
    if (--engine->to_sample == 0) {
        engine->to_sample = SAMPLE;
        uint64_t before = nanoseconds(CLOCK_MONOTONIC), between = nanoseconds(CLOCK_MONOTONIC);
        view_prepare(&worker->view, tried, tried_count);
        struct slot *slot = worker->view.script.view.count > 0 ? ask(engine, worker, ctx) : NULL;
        uint64_t took = nanoseconds(CLOCK_MONOTONIC) - between, reading = between - before;
        histogram_add(&engine->result->picks_ns, took > reading ? took - reading : 0);
        return slot;
    }
    view_prepare(&worker->view, tried, tried_count);
    return worker->view.script.view.count > 0 ? ask(engine, worker, ctx) : NULL;
}

/* Who was with another backend than a removed one should still be there. */
static void remember(struct engine *engine, uint32_t client, uint32_t index) {
    struct visit *visit = &engine->visits[client];
    if (engine->someone_is_out && visit->removals != engine->removals && visit->backend > 0 &&
        !engine->backends[visit->backend - 1].removed) {
        engine->result->stayed++;
        engine->result->moved += visit->backend != index + 1;
    }
    visit->backend = (uint16_t)(index + 1);
    visit->removals = engine->removals;
}

static void arrive(struct engine *engine, const struct arrival *arrival) {
    const struct client *client = &engine->load->clients[arrival->client];
    struct worker *worker = &engine->workers[arrival->worker];
    struct result *result = engine->result;
    struct ending ending = {.began = arrival->at,
                            .backend = NOBODY,
                            .client = arrival->client,
                            .port = (uint16_t)arrival->port,
                            .worker = (uint8_t)arrival->worker};
    struct alacrity_ctx_private ctx = {
        .view = {.client_hash = client->hash, .client_port = arrival->port},
        .client = client->text,
        .listener = LISTENER,
        .values = &ending.values,
    };
    uint32_t tried[VIEW_TRIED_MAX], attempts = 0;
    result->arrivals++;
    while (attempts <= engine->pool.retries && attempts < VIEW_TRIED_MAX) {
        ctx.view.attempt = attempts + 1;
        struct slot *slot = pick(engine, worker, &ctx, tried, attempts);
        look_at_timers(engine, worker);
        if (slot == NULL) {
            break;
        }
        result->retries += attempts > 0;
        uint32_t index = index_of(engine, slot);
        if (engine->backends[index].failing == 0) {
            result->sessions++;
            remember(engine, arrival->client, index);
            ending.backend = index;
            ending.attempts = (uint8_t)(attempts + 1);
            serve(engine, arrival, &ending);
            return;
        }
        tried[attempts++] = slot->script.view.id;
        ctx.view.last_failure_code = ECONNREFUSED;
        result->backends[index].connect_failures++;
        (void)slot_connect_failed(slot, engine->facts, engine->pool.suspect_after);
    }
    result->lost++;
    ending.attempts = (uint8_t)attempts;
    tell(engine, &ending, arrival->at, attempts > 0 ? REASON_CONNECT_FAILED : REASON_NO_BACKEND);
    values_free(&ending.values);
}

/* ---- playing ---- */

/* Everything that is due before or at `until`, in order; timers before changes before endings. */
static void catch_up(struct engine *engine, double until) {
    for (;;) {
        const struct ending *ending = endings_first(&engine->endings);
        const struct change *change = changes_first(&engine->changes);
        double turn_at = engine->turn_at;
        if (turn_at <= until && (change == NULL || turn_at <= change->at) &&
            (ending == NULL || turn_at <= ending->at)) {
            advance(engine, turn_at);
            take_turn(engine);
        } else if (change != NULL && change->at <= until &&
                   (ending == NULL || change->at <= ending->at)) {
            advance(engine, change->at);
            apply(engine, change);
            changes_drop(&engine->changes);
        } else if (ending != NULL && ending->at <= until) {
            struct ending ended = *ending;
            advance(engine, ended.at);
            endings_drop(&engine->endings);
            end_session(engine, &ended);
        } else {
            return;
        }
    }
}

static void play(struct engine *engine) {
    struct arrival arrival;
    uint64_t before = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    load_rewind(engine->load);
    while (!engine->failed && load_next(engine->load, &arrival)) {
        catch_up(engine, arrival.at);
        advance(engine, arrival.at);
        arrive(engine, &arrival);
    }
    catch_up(engine, engine->load->duration);
    while (engine->point < SERIES_POINTS) {
        take_point(engine, engine->point_end);
    }
    engine->result->cpu_seconds = (double)(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before) / 1e9;
}

/* ---- setting up ---- */

static bool make_backends(struct engine *engine) {
    const struct scenario *scenario = engine->scenario;
    engine->facts = arena_take_pool(engine->arena, scenario->pool_name);
    for (uint32_t i = 0; i < scenario->backend_count && engine->facts != NULL; i++) {
        const struct scenario_backend *config = &scenario->backends[i];
        struct backend *backend = &engine->backends[i];
        char address[32];
        bool changed;
        snprintf(address, sizeof(address), "192.0.2.%u:%u", i % 254 + 1, 80 + i / 254);
        backend->config = config;
        backend->slot =
            arena_take_slot(engine->arena, engine->facts, config->name, address, &changed);
        if (backend->slot == NULL) {
            return false;
        }
        if (config->capacity > 0) {
            backend->places = calloc(config->capacity, sizeof(*backend->places));
            if (backend->places == NULL) {
                return false;
            }
        }
        engine->slots[i] = backend->slot;
        backend->slot->configured_weight = config->weight;
        atomic_store(&backend->slot->script.view.weight, config->weight);
        atomic_store(&backend->slot->script.view.max_sessions, config->max_sessions);
        atomic_store(&backend->slot->script.view.zone_code, config->zone_code);
        atomic_store(&backend->slot->script.view.tag_bits, config->tag_bits);
        atomic_store(&backend->slot->presence, PRESENCE_PRESENT);
        atomic_store(&backend->slot->health, HEALTH_UP);
        slot_changed_at(backend->slot, engine->facts, virtual_ms());
    }
    return engine->facts != NULL;
}

/* A stopped script is made anew at once, on the same thread. */
static void post_at_once(void *argument, struct script_mail *mail) {
    (void)argument;
    mail->at_builder(mail);
    mail->at_owner(mail);
}

static bool make_workers(struct engine *engine, struct messages *messages) {
    static const struct script_post post = {.post = post_at_once};
    const struct scenario *scenario = engine->scenario;
    for (uint32_t i = 0; i < scenario->workers; i++) {
        struct worker *worker = &engine->workers[i];
        if (!view_init(&worker->view, engine->facts, scenario->pool_name, engine->slots,
                       scenario->backend_count)) {
            messages_add(messages, (struct position){0}, "out of memory");
            return false;
        }
        worker->view.script.view.zone_code = scenario->zone_code;
        worker->host =
            scripting->host_new(scenario->snapshot, engine->arena, NULL, &post, i, messages);
        if (worker->host == NULL) {
            return false;
        }
        scripting->host_virtual(worker->host, now,
                                (double)(scenario->seed * ARENA_WORKERS + i + 1));
        const struct policy_order order = {.use = &engine->pool.policy, .view = &worker->view};
        worker->policy = scripting->policy_new(worker->host, &order, messages);
        if (worker->policy == NULL) {
            return false;
        }
        worker->hears = scripting->policy_hears(worker->policy);
        scripting->host_start(worker->host, NULL);
        look_at_timers(engine, worker);
    }
    return true;
}

static void engine_close(struct engine *engine) {
    for (uint32_t i = 0; i < engine->scenario->workers; i++) {
        if (engine->workers[i].host != NULL) {
            scripting->host_free(engine->workers[i].host);
        }
        view_free(&engine->workers[i].view);
    }
    for (uint32_t i = 0; engine->backends != NULL && i < engine->scenario->backend_count; i++) {
        free(engine->backends[i].places);
    }
    free(engine->backends);
    free(engine->slots);
    free(engine->visits);
    endings_free(&engine->endings);
    changes_free(&engine->changes);
    arena_free(engine->arena);
    free(engine);
}

static int out_of_memory(void) {
    fputs("alacrity simulate: out of memory\n", stderr);
    return OFFLINE_FAILED;
}

/* Everything that needs no script. False: no memory, or as `error` says. */
static bool engine_open(struct engine *engine, char *error, size_t error_bytes) {
    const struct scenario *scenario = engine->scenario;
    uint32_t count = scenario->backend_count;
    engine->arena = arena_new(error, error_bytes);
    engine->backends = calloc(count, sizeof(*engine->backends));
    engine->slots = calloc(count, sizeof(struct slot *));
    engine->visits = calloc(engine->load->client_count, sizeof(*engine->visits));
    engine->result->backends = calloc(count, sizeof(*engine->result->backends));
    engine->result->series = calloc((size_t)SERIES_POINTS * count, sizeof(*engine->result->series));
    return engine->arena != NULL && engine->backends != NULL && engine->slots != NULL &&
           engine->visits != NULL && engine->result->backends != NULL &&
           engine->result->series != NULL && changes_make(&engine->changes, scenario) &&
           make_backends(engine);
}

int engine_run(const struct scenario *scenario, struct load *load, const struct script_use *policy,
               struct result *result) {
    static char fallback[] = "round-robin";
    char error[256] = "out of memory";
    struct messages messages = {0};
    struct engine *engine = calloc(1, sizeof(*engine));
    *result = (struct result){.policy = policy, .interval = load->duration / SERIES_POINTS};
    if (engine == NULL) {
        return out_of_memory();
    }
    engine->scenario = scenario;
    engine->load = load;
    engine->result = result;
    engine->to_sample = 1;
    engine->turn_at = (double)INFINITY;
    engine->point_end = result->interval;
    engine->pool = (struct pool_config){.fallback = fallback, .retries = 3, .suspect_after = 3};
    for (uint32_t i = 0; scenario->pool_given && i < scenario->snapshot->pool_count; i++) {
        const struct pool_config *pool = &scenario->snapshot->pools[i];
        engine->pool = pool->name == scenario->pool_name ? *pool : engine->pool;
    }
    engine->pool.name = (char *)(uintptr_t)scenario->pool_name;
    engine->pool.policy = *policy;
    random_seed(&engine->luck, scenario->seed ^ LUCK_SEED);
    virtual_now = CLOCK_START;
    int code = OFFLINE_OK;
    if (!engine_open(engine, error, sizeof(error))) {
        fprintf(stderr, "alacrity simulate: %s\n", error);
        code = OFFLINE_FAILED;
    } else if (!make_workers(engine, &messages)) {
        fputs(messages.text.bytes != NULL ? messages.text.bytes : "out of memory\n", stderr);
        code = OFFLINE_FAILED;
    } else {
        play(engine);
        code = engine->failed ? out_of_memory() : OFFLINE_OK;
    }
    messages_free(&messages);
    engine_close(engine);
    return code;
}
