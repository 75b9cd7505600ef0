/* What the admin socket says: facts as reports, and the administrator's changes to backends.
 * Control thread. */
#include "control/answers.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/health_words.h"
#include "control/report.h"
#include "control/script_answers.h"
#include "worker.h"

#define WEIGHT_MAX 1000000u /* as in the schema */
#define SUGGEST_AMONG 1000u /* among more names a near one is not searched: it would take long */

void answer_message(bool ok, const char *message, bool json, struct text *out) {
    if (json) {
        size_t length = strlen(message);
        while (length > 0 && message[length - 1] == '\n') {
            length--;
        }
        text_string(out, ok ? "{\"message\": " : "{\"error\": ");
        text_json_bytes(out, message, length);
        text_string(out, "}\n");
        return;
    }
    struct text line = {0};
    while (*message != '\0' && !out->failed) {
        size_t length = strcspn(message, "\n");
        text_clear(&line);
        text_append(&line, message, length);
        if (line.failed) {
            out->failed = true;
            break;
        }
        report_line(out, line.bytes);
        message += length + (message[length] == '\n');
    }
    text_free(&line);
}

static void number(struct report *report, const counter *value) {
    report_number(report, counter_get(value));
}

/* ---- status ---- */

static void report_process(struct report *report, const struct control *control,
                           const struct facts *facts) {
    static const struct report_column columns[] = {
        {"version", "version", REPORT_PLAIN},
        {"pid", "pid", REPORT_PLAIN},
        {"configuration", "configuration", REPORT_PLAIN},
        {"file", "file", REPORT_PLAIN},
        {"uptime_ms", "uptime", REPORT_MILLISECONDS},
        {"draining", "draining", REPORT_PLAIN},
        {"watchdog", "watchdog", REPORT_PLAIN},
        {"reloads_total", "reloads", REPORT_PLAIN},
        {"reloads_failed", "reloads failed", REPORT_PLAIN},
        {"log_dropped", "log lines dropped", REPORT_PLAIN},
        {"log_suppressed", "log lines limited", REPORT_PLAIN},
        {"socket_options_refused", "options refused", REPORT_PLAIN},
    };
    report_fields(report, REPORT_COLUMNS(columns));
    report_string(report, ALACRITY_VERSION);
    report_number(report, (uint64_t)getpid());
    report_number(report, facts->configuration);
    report_string(report, control->plan != NULL ? control->plan->snapshot->file : NULL);
    report_number(report, facts->uptime_ms);
    report_boolean(report, facts->draining);
    report_string(report, scripting->watchdog_is_proven() ? "proven" : "count hook, no JIT");
    report_number(report, facts->reloads_total);
    report_number(report, facts->reloads_failed);
    report_number(report, facts->log_dropped);
    report_number(report, facts->log_suppressed);
    report_number(report, facts->options_refused);
}

static void report_workers(struct report *report, const struct facts *facts) {
    static const struct report_column columns[] = {
        {"index", "worker", REPORT_PLAIN},
        {"sessions", "sessions", REPORT_PLAIN},
        {"heartbeat_age_ms", "heartbeat", REPORT_MILLISECONDS},
        {"lua_memory_bytes", "lua memory", REPORT_BYTES},
        {"turn_max_ms", "longest turn ms", REPORT_PLAIN},
        {"turn_cpu_max_ms", "of it CPU", REPORT_PLAIN},
        {"long_turns_total", "turns over 1 ms", REPORT_PLAIN},
        {"spliced_bytes_total", "spliced", REPORT_BYTES},
        {"pipes", "pipes", REPORT_PLAIN},
        {"no_pipe_total", "moves without pipe", REPORT_PLAIN},
        {"splice_refused_total", "splice refused", REPORT_PLAIN},
        {"cpu", "cpu", REPORT_PLAIN},
    };
    report_table(report, "workers", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->worker_count; i++) {
        const struct worker_told *worker = &facts->workers[i];
        report_number(report, worker->index);
        report_number(report, worker->sessions);
        report_number(report, worker->heartbeat_age_ms);
        report_number(report, worker->lua_memory_bytes);
        report_real(report, (double)worker->turn_max_ns / 1e6);
        report_real(report, (double)worker->turn_cpu_max_ns / 1e6);
        report_number(report, worker->long_turns);
        report_number(report, worker->spliced_bytes);
        report_number(report, worker->pipes);
        report_number(report, worker->no_pipe);
        report_number(report, worker->splice_refused);
        if (worker->cpu >= 0) {
            report_number(report, (uint64_t)worker->cpu);
        } else {
            report_string(report, NULL);
        }
    }
}

/* The cell "a, b, c". */
static void list_add(struct text *list, const char *word) {
    text_string(list, list->length > 0 ? ", " : "");
    text_string(list, word);
}

static void report_list(struct report *report, struct text *list) {
    if (list->failed) {
        report->text.failed = true;
    }
    report_string(report, list->bytes);
    text_free(list);
}

static void report_binds(struct report *report, const struct listener_config *config) {
    struct text binds = {0};
    for (uint32_t i = 0; i < config->bind_count; i++) {
        list_add(&binds, config->binds[i].text);
    }
    report_list(report, &binds);
}

static void report_tags(struct report *report, const struct backend_config *config) {
    struct text tags = {0};
    for (uint32_t i = 0; i < config->tag_count; i++) {
        list_add(&tags, config->tags[i]);
    }
    report_list(report, &tags);
}

static void report_listeners(struct report *report, const struct control *control,
                             const struct facts *facts) {
    static const struct report_column columns[] = {
        {"name", "listener", REPORT_PLAIN},
        {"bind", "bind", REPORT_PLAIN},
        {"pool", "pool", REPORT_PLAIN},
        {"route", "route", REPORT_PLAIN},
        {"service", "service", REPORT_PLAIN},
        {"sessions_active", "sessions", REPORT_PLAIN},
        {"sessions_total", "total", REPORT_PLAIN},
    };
    report_table(report, "listeners", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->listener_count; i++) {
        const struct facts_listener *listener = &facts->listeners[i];
        const struct listener_config *config = listener->listener->config;
        report_string(report, config->name);
        report_binds(report, config);
        report_string(report,
                      config->pool >= 0 ? control->plan->pools[config->pool].config->name : NULL);
        report_string(report, config->route.name);
        report_string(report, config->service.name);
        report_number(report, listener->active);
        number(report, &listener->sum.sessions_total);
    }
}

static uint64_t pool_active(const struct facts_pool *pool) {
    uint64_t active = 0;
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        active += pool->backends[i].active;
    }
    return active;
}

static void report_pools(struct report *report, const struct facts *facts) {
    static const struct report_column columns[] = {
        {"name", "pool", REPORT_PLAIN},
        {"policy", "policy", REPORT_PLAIN},
        {"backends", "backends", REPORT_PLAIN},
        {"backends_eligible", "eligible", REPORT_PLAIN},
        {"sessions_active", "sessions", REPORT_PLAIN},
        {"sessions_total", "total", REPORT_PLAIN},
    };
    report_table(report, "pools", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        const struct facts_pool *pool = &facts->pools[i];
        report_string(report, pool->pool->config->name);
        report_string(report, facts->scripts[i].name); /* the policy that is current */
        report_number(report, pool->backend_count);
        report_number(report, pool->eligible_count);
        report_number(report, pool_active(pool));
        number(report, &pool->sum.sessions_total);
    }
}

static void report_scripts(struct report *report, const struct facts *facts) {
    static const struct report_column columns[] = {
        {"kind", "script", REPORT_PLAIN},
        {"name", "name", REPORT_PLAIN},
        {"path", NULL, REPORT_PLAIN},
        {"pool", "pool", REPORT_PLAIN},
        {"listener", "listener", REPORT_PLAIN},
        {"version", "version", REPORT_PLAIN},
        {"state", "state", REPORT_PLAIN},
        {"calls", "calls", REPORT_PLAIN},
        {"errors", "errors", REPORT_PLAIN},
        {"overruns", "overruns", REPORT_PLAIN},
        {"memory_bytes", "memory", REPORT_BYTES},
        {"last_error", "last error", REPORT_PLAIN},
    };
    report_table(report, "scripts", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->script_count; i++) {
        const struct script_info *script = &facts->scripts[i];
        report_string(report, script->kind);
        report_string(report, script->name);
        report_string(report, script->path);
        report_string(report, i < facts->pool_count ? facts->pools[i].pool->config->name : NULL);
        report_string(report, script->listener);
        report_number(report, script->version);
        report_string(report, script->state);
        report_number(report, script->calls);
        report_number(report, script->errors);
        report_number(report, script->overruns);
        report_number(report, script->memory_bytes);
        report_string(report, script->last_error);
    }
}

static void report_status(struct report *report, const struct control *control,
                          const struct facts *facts) {
    report_process(report, control, facts);
    report_workers(report, facts);
    report_listeners(report, control, facts);
    report_pools(report, facts);
    report_scripts(report, facts);
}

/* ---- stats ---- */

static void report_listener_totals(struct report *report, const struct facts *facts) {
    static const struct report_column columns[] = {
        {"name", "listener", REPORT_PLAIN},        {"sessions_active", "sessions", REPORT_PLAIN},
        {"sessions_total", "total", REPORT_PLAIN}, {"bytes_in_total", "in", REPORT_BYTES},
        {"bytes_out_total", "out", REPORT_BYTES},
    };
    report_table(report, "listeners", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->listener_count; i++) {
        const struct facts_listener *listener = &facts->listeners[i];
        report_string(report, listener->listener->config->name);
        report_number(report, listener->active);
        number(report, &listener->sum.sessions_total);
        number(report, &listener->sum.bytes_in);
        number(report, &listener->sum.bytes_out);
    }
}

static void report_ended(struct report *report, const struct facts *facts) {
    static const struct report_column columns[] = {
        {"listener", "listener", REPORT_PLAIN},
        {"reason", "ended", REPORT_PLAIN},
        {"sessions", "sessions", REPORT_PLAIN},
    };
    report_table(report, "ended", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->listener_count; i++) {
        const struct facts_listener *listener = &facts->listeners[i];
        for (int reason = 0; reason < REASON_COUNT; reason++) {
            if (counter_get(&listener->sum.ended[reason]) > 0) {
                report_string(report, listener->listener->config->name);
                report_string(report, session_reason_word((enum session_reason)reason));
                number(report, &listener->sum.ended[reason]);
            }
        }
    }
}

static void report_pool_totals(struct report *report, const struct facts *facts) {
    static const struct report_column columns[] = {
        {"name", "pool", REPORT_PLAIN},
        {"sessions_active", "sessions", REPORT_PLAIN},
        {"sessions_total", "total", REPORT_PLAIN},
        {"bytes_in_total", "in", REPORT_BYTES},
        {"bytes_out_total", "out", REPORT_BYTES},
        {"retries_total", "retries", REPORT_PLAIN},
        {"picks_total", "picks", REPORT_PLAIN},
        {"policy_errors_total", "errors", REPORT_PLAIN},
        {"policy_bad_answers_total", "bad", REPORT_PLAIN},
        {"policy_nil_total", "nil", REPORT_PLAIN},
        {"policy_overruns_total", "overruns", REPORT_PLAIN},
        {"policy_resting_total", "resting", REPORT_PLAIN},
        {"policy_out_total", "out", REPORT_PLAIN},
        {"fallbacks_total", "fallbacks", REPORT_PLAIN},
        {"no_backend_total", "no backend", REPORT_PLAIN},
    };
    report_table(report, "pools", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        const struct facts_pool *pool = &facts->pools[i];
        report_string(report, pool->pool->config->name);
        report_number(report, pool_active(pool));
        number(report, &pool->sum.sessions_total);
        number(report, &pool->sum.bytes_in);
        number(report, &pool->sum.bytes_out);
        number(report, &pool->sum.retries);
        number(report, &pool->sum.picks);
        number(report, &pool->sum.policy_errors);
        number(report, &pool->sum.policy_bad_answers);
        number(report, &pool->sum.policy_nil);
        number(report, &pool->sum.policy_overruns);
        number(report, &pool->sum.policy_resting);
        number(report, &pool->sum.policy_out);
        number(report, &pool->sum.fallbacks);
        number(report, &pool->sum.no_backend);
    }
}

static void report_stats(struct report *report, const struct control *control,
                         const struct facts *facts) {
    (void)control;
    report_listener_totals(report, facts);
    report_ended(report, facts);
    report_pool_totals(report, facts);
}

/* One pass over the facts, shown by `show`. */
static bool answer_facts(struct control *control, bool json, struct text *out,
                         void (*show)(struct report *report, const struct control *control,
                                      const struct facts *facts)) {
    struct facts *facts = facts_collect(control);
    struct report report;
    if (facts == NULL) {
        out->failed = true;
        return false;
    }
    report_open(&report, json);
    show(&report, control, facts);
    report_take(&report, out);
    facts_free(facts);
    return true;
}

/* ---- backends ---- */

static void report_backend(struct report *report, const struct facts *facts,
                           const struct facts_backend *backend) {
    const struct slot *slot = backend->slot;
    uint64_t changed_ms = backend->changed_wall_ms > 0 ? (uint64_t)backend->changed_wall_ms : 0;
    report_string(report, slot->script.pool);
    report_string(report, backend->config->name);
    report_string(report, slot->script.address);
    report_string(report, state_word(backend->state));
    report_string(report, admin_word(backend->admin));
    report_boolean(report, slot_is_eligible(slot));
    report_number(report, backend->weight);
    report_number(report, backend->config->weight);
    report_number(report, backend->active);
    report_number(report, backend->config->max_sessions);
    report_string(report, backend->config->zone);
    report_tags(report, backend->config);
    number(report, &backend->sum.sessions_total);
    number(report, &backend->sum.bytes_in);
    number(report, &backend->sum.bytes_out);
    number(report, &backend->sum.connect_failures);
    number(report, &backend->sum.connect_timeouts);
    number(report, &backend->sum.resets);
    report_real(report, (double)backend->connect_ewma_ms);
    report_number(report, atomic_load_explicit(&slot->checks_total, memory_order_relaxed));
    report_number(report, atomic_load_explicit(&slot->checks_failed, memory_order_relaxed));
    report_number(report, atomic_load_explicit(&slot->transitions_down, memory_order_relaxed));
    report_number(report, changed_ms);
    report_number(report, facts->now_wall_ms > changed_ms ? facts->now_wall_ms - changed_ms : 0);
    report_string(report, backend->reason);
}

static void report_backends(struct report *report, const struct facts *facts, const char *pool) {
    static const struct report_column columns[] = {
        {"pool", "pool", REPORT_PLAIN},
        {"name", "backend", REPORT_PLAIN},
        {"address", "address", REPORT_PLAIN},
        {"state", "state", REPORT_PLAIN},
        {"admin", NULL, REPORT_PLAIN},
        {"eligible", "eligible", REPORT_PLAIN},
        {"weight", "weight", REPORT_PLAIN},
        {"configured_weight", NULL, REPORT_PLAIN},
        {"active", "active", REPORT_PLAIN},
        {"max_sessions", NULL, REPORT_PLAIN},
        {"zone", "zone", REPORT_PLAIN},
        {"tags", "tags", REPORT_PLAIN},
        {"sessions_total", "total", REPORT_PLAIN},
        {"bytes_in_total", NULL, REPORT_BYTES},
        {"bytes_out_total", NULL, REPORT_BYTES},
        {"connect_failures_total", "failed", REPORT_PLAIN},
        {"connect_timeouts_total", NULL, REPORT_PLAIN},
        {"resets_total", "resets", REPORT_PLAIN},
        {"connect_ms", "connect ms", REPORT_PLAIN},
        {"checks_total", NULL, REPORT_PLAIN},
        {"checks_failed_total", "bad checks", REPORT_PLAIN},
        {"downs_total", "downs", REPORT_PLAIN},
        {"changed_ms", NULL, REPORT_PLAIN},
        {"state_age_ms", "since", REPORT_MILLISECONDS},
        {"reason", "reason", REPORT_PLAIN},
    };
    report_table(report, "backends", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        const struct facts_pool *shown = &facts->pools[i];
        if (pool == NULL || strcmp(shown->pool->config->name, pool) == 0) {
            for (uint32_t k = 0; k < shown->backend_count; k++) {
                report_backend(report, facts, &shown->backends[k]);
            }
        }
    }
}

static void refuse(bool json, struct text *out, const char *what, const char *name,
                   const char *const *known, uint32_t known_count) {
    char suggestion[128], message[256];
    command_suggest(name, known, known_count < SUGGEST_AMONG ? known_count : 0, suggestion,
                    sizeof(suggestion));
    snprintf(message, sizeof(message), "there is no %s '%.*s'%s", what, ALACRITY_NAME_BYTES, name,
             suggestion);
    answer_message(false, message, json, out);
}

/* NULL: refused. */
static const struct control_pool *find_pool(const struct control_plan *plan, const char *name,
                                            bool json, struct text *out) {
    const char **known = calloc(plan->pool_count + 1u, sizeof(*known));
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        if (strcmp(plan->pools[i].config->name, name) == 0) {
            free(known);
            return &plan->pools[i];
        }
        if (known != NULL) {
            known[i] = plan->pools[i].config->name;
        }
    }
    refuse(json, out, "pool", name, known, known != NULL ? plan->pool_count : 0);
    free(known);
    return NULL;
}

static struct slot *find_backend(const struct control_pool *pool, const char *name, bool json,
                                 struct text *out) {
    uint32_t count = pool->config->backend_count;
    const char **known = calloc(count + 1u, sizeof(*known));
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(pool->config->backends[i].name, name) == 0) {
            free(known);
            return pool->slots[i];
        }
        if (known != NULL) {
            known[i] = pool->config->backends[i].name;
        }
    }
    refuse(json, out, "backend", name, known, known != NULL ? count : 0);
    free(known);
    return NULL;
}

/* The slot of POOL/NAME. NULL: refused. */
static struct slot *find_slot(const struct control_plan *plan, const char *identity, bool json,
                              struct text *out) {
    char pool_name[ALACRITY_NAME_BYTES];
    const char *slash = strchr(identity, '/');
    size_t length = slash != NULL ? (size_t)(slash - identity) : 0;
    if (length == 0 || length >= sizeof(pool_name) || slash[1] == '\0') {
        answer_message(false, "a backend is written POOL/NAME", json, out);
        return NULL;
    }
    memcpy(pool_name, identity, length);
    pool_name[length] = '\0';
    const struct control_pool *pool = find_pool(plan, pool_name, json, out);
    return pool != NULL ? find_backend(pool, slash + 1, json, out) : NULL;
}

static bool answer_backend_list(struct control *control, const struct request *request, bool json,
                                struct text *out) {
    const char *pool = request->argument_count > 0 ? request->arguments[0] : NULL;
    struct report report;
    if (pool != NULL && find_pool(control->plan, pool, json, out) == NULL) {
        return false;
    }
    struct facts *facts = facts_collect(control);
    if (facts == NULL) {
        out->failed = true;
        return false;
    }
    report_open(&report, json);
    report_backends(&report, facts, pool);
    report_take(&report, out);
    facts_free(facts);
    return true;
}

static bool answer_backend_admin(struct control *control, const struct request *request,
                                 enum backend_admin admin, bool json, struct text *out) {
    struct slot *slot = find_slot(control->plan, request->arguments[0], json, out);
    if (slot == NULL) {
        return false;
    }
    health_set_admin(control->health, slot, admin);
    char message[2 * ALACRITY_NAME_BYTES + 96];
    snprintf(message, sizeof(message), "%s/%s: %s; %u sessions open", slot->script.pool,
             slot->script.name, state_word(slot_state(slot)),
             atomic_load_explicit(&slot->script.view.active, memory_order_relaxed));
    answer_message(true, message, json, out);
    return true;
}

static bool answer_backend_weight(struct control *control, const struct request *request, bool json,
                                  struct text *out) {
    const char *word = request->arguments[1];
    char *end;
    errno = 0;
    unsigned long weight = strtoul(word, &end, 10);
    if (!isdigit((unsigned char)word[0]) || *end != '\0' || errno != 0 || weight > WEIGHT_MAX) {
        answer_message(false, "a weight is a whole number from 0 to 1000000", json, out);
        return false;
    }
    struct slot *slot = find_slot(control->plan, request->arguments[0], json, out);
    if (slot == NULL) {
        return false;
    }
    health_set_weight(control->health, slot, (uint32_t)weight);
    char message[2 * ALACRITY_NAME_BYTES + 96];
    snprintf(message, sizeof(message), "%s/%s: weight %lu (configured: %u)", slot->script.pool,
             slot->script.name, weight, slot->configured_weight);
    answer_message(true, message, json, out);
    return true;
}

/* ---- sessions ---- */

void answer_sessions(const struct inquiry *inquiry, bool json, struct text *out) {
    static const struct report_column summary[] = {
        {"sessions_active", "sessions", REPORT_PLAIN},
        {"sessions_listed", "listed", REPORT_PLAIN},
    };
    static const struct report_column columns[] = {
        {"id", "id", REPORT_PLAIN},
        {"client", "client", REPORT_PLAIN},
        {"listener", "listener", REPORT_PLAIN},
        {"pool", "pool", REPORT_PLAIN},
        {"backend", "backend", REPORT_PLAIN},
        {"state", "state", REPORT_PLAIN},
        {"age_ms", "age", REPORT_MILLISECONDS},
        {"idle_ms", "idle", REPORT_MILLISECONDS},
        {"bytes_in", "in", REPORT_BYTES},
        {"bytes_out", "out", REPORT_BYTES},
    };
    struct report report;
    uint64_t total = 0, listed = 0;
    for (uint32_t i = 0; i < inquiry->mail_count; i++) {
        total += inquiry->mails[i].total;
        listed += inquiry->mails[i].count;
    }
    report_open(&report, json);
    report_fields(&report, REPORT_COLUMNS(summary));
    report_number(&report, total);
    report_number(&report, listed);
    report_table(&report, "sessions", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < inquiry->mail_count; i++) {
        for (uint32_t k = 0; k < inquiry->mails[i].count; k++) {
            const struct session_info *session = &inquiry->mails[i].sessions[k];
            char id[32]; /* a text also in JSON, where numbers are exact only below 2^53 */
            snprintf(id, sizeof(id), "%llu", (unsigned long long)session->id);
            report_string(&report, id);
            report_string(&report, session->client);
            report_string(&report, session->listener);
            report_string(&report, session->pool);
            report_string(&report, session->backend[0] != '\0' ? session->backend : NULL);
            report_string(&report, session->state);
            report_number(&report, session->age_ms);
            report_number(&report, session->idle_ms);
            report_number(&report, session->bytes_in);
            report_number(&report, session->bytes_out);
        }
    }
    report_take(&report, out);
}

/* ---- help ---- */

static bool answer_help(bool json, struct text *out) {
    static const struct report_column columns[] = {
        {"command", "command", REPORT_PLAIN},
        {"summary", "what it does", REPORT_PLAIN},
    };
    struct report report;
    report_open(&report, json);
    report_table(&report, "commands", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &commands[i];
        char line[96];
        snprintf(line, sizeof(line), "%s%s%s%s%s", command->verb, command->action ? " " : "",
                 command->action ? command->action : "", command->arguments[0] ? " " : "",
                 command->arguments);
        report_string(&report, line);
        report_string(&report, command->summary);
    }
    report_take(&report, out);
    return true;
}

bool answer_now(struct control *control, const struct request *request, bool json,
                struct text *out) {
    if (control->plan == NULL && request->kind != COMMAND_STATUS && request->kind != COMMAND_HELP) {
        answer_message(false, "no configuration is live yet", json, out);
        return false;
    }
    switch (request->kind) {
    case COMMAND_STATUS:
        return answer_facts(control, json, out, report_status);
    case COMMAND_STATS:
        return answer_facts(control, json, out, report_stats);
    case COMMAND_SCRIPT_LIST:
        return answer_script_list(control, request, json, out);
    case COMMAND_SCRIPT_SHOW:
        return answer_script_show(control, request, json, out);
    case COMMAND_SCRIPT_DIFF:
        answer_message(false, "ask with 'script show' for both versions, and compare them", json,
                       out);
        return false;
    case COMMAND_BACKEND_LIST:
        return answer_backend_list(control, request, json, out);
    case COMMAND_BACKEND_DRAIN:
        return answer_backend_admin(control, request, ADMIN_DRAIN, json, out);
    case COMMAND_BACKEND_READY:
        return answer_backend_admin(control, request, ADMIN_READY, json, out);
    case COMMAND_BACKEND_MAINT:
        return answer_backend_admin(control, request, ADMIN_MAINT, json, out);
    case COMMAND_BACKEND_WEIGHT:
        return answer_backend_weight(control, request, json, out);
    default:
        return answer_help(json, out);
    }
}
