/* What is told of script versions; see script_answers.h. Control thread. */
#include "control/script_answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/answers.h"
#include "control/scripts.h"
#include "scripting.h"

static bool is_asked_for(const struct facts_pool *pool, const struct request *request) {
    return request->argument_count == 0 ||
           strcmp(pool->pool->config->name, request->arguments[0]) == 0;
}

/* ---- list ---- */

static void report_version(struct report *report, const struct facts *facts,
                           const struct pool_scripts *scripts,
                           const struct script_version *version) {
    uint64_t since_ms = version->since_wall_ms > 0 ? (uint64_t)version->since_wall_ms : 0;
    report_string(report, scripts->pool);
    report_string(report, versions_role(scripts, version));
    report_number(report, version->number);
    report_string(report, version->use.name);
    report_string(report, version->use.path);
    report_string(report, version->origin);
    report_number(report, since_ms);
    report_number(report, facts->now_wall_ms > since_ms ? facts->now_wall_ms - since_ms : 0);
}

static void report_versions(struct report *report, const struct facts *facts,
                            const struct request *request) {
    static const struct report_column columns[] = {
        {"pool", "pool", REPORT_PLAIN},       {"role", "role", REPORT_PLAIN},
        {"version", "version", REPORT_PLAIN}, {"name", "script", REPORT_PLAIN},
        {"path", NULL, REPORT_PLAIN},         {"origin", "from", REPORT_PLAIN},
        {"since_ms", NULL, REPORT_PLAIN},     {"age_ms", "since", REPORT_MILLISECONDS},
    };
    report_table(report, "versions", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        const struct facts_pool *pool = &facts->pools[i];
        const struct pool_scripts *scripts = pool->scripts;
        if (scripts == NULL || !is_asked_for(pool, request)) {
            continue;
        }
        report_version(report, facts, scripts, scripts->current);
        for (uint32_t k = 0; k < scripts->kept_count; k++) {
            report_version(report, facts, scripts, scripts->kept[k]);
        }
        if (scripts->shadow != NULL) {
            report_version(report, facts, scripts, scripts->shadow);
        }
    }
}

static double share(uint64_t part, uint64_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0;
}

/* Sessions the shadow would have given to that backend, of all it gave to any. */
static double shadow_share(const struct facts_pool *pool, const struct facts_backend *backend) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        all += counter_get(&pool->backends[i].sum.shadow_picked);
    }
    return share(counter_get(&backend->sum.shadow_picked), all);
}

static double fair_share(const struct facts_pool *pool, const struct facts_backend *backend) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        all += pool->backends[i].weight;
    }
    return share(backend->weight, all);
}

/* The backend that the shadow would load most, beyond its fair share. */
static const struct facts_backend *worst_of(const struct facts_pool *pool, double *times) {
    const struct facts_backend *worst = NULL;
    *times = 0;
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        double fair = fair_share(pool, &pool->backends[i]);
        double load = fair > 0 ? shadow_share(pool, &pool->backends[i]) / fair : 0;
        if (load > *times) {
            *times = load;
            worst = &pool->backends[i];
        }
    }
    return worst;
}

static void report_shadows(struct report *report, const struct facts *facts,
                           const struct request *request) {
    static const struct report_column columns[] = {
        {"pool", "shadow of", REPORT_PLAIN},
        {"asked_total", "asked", REPORT_PLAIN},
        {"agreed_total", "agreed", REPORT_PLAIN},
        {"agreement", "agreement", REPORT_PLAIN},
        {"failed_total", "failed", REPORT_PLAIN},
        {"errors_total", "errors", REPORT_PLAIN},
        {"nil_total", "nil", REPORT_PLAIN},
        {"stopped_total", "stopped", REPORT_PLAIN},
        {"state", "state", REPORT_PLAIN},
        {"current_ns", "current ns", REPORT_PLAIN},
        {"shadow_ns", "shadow ns", REPORT_PLAIN},
        {"worst_backend", "worst backend", REPORT_PLAIN},
        {"worst_times_fair", "times its share", REPORT_PLAIN},
        {"sample", "one of", REPORT_PLAIN},
    };
    report_table(report, "shadows", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        const struct facts_pool *pool = &facts->pools[i];
        if (pool->scripts == NULL || pool->scripts->shadow == NULL ||
            !is_asked_for(pool, request)) {
            continue;
        }
        double times;
        const struct facts_backend *worst = worst_of(pool, &times);
        uint64_t asked = counter_get(&pool->sum.shadow_asked);
        uint64_t nil = counter_get(&pool->sum.shadow_nil);
        uint64_t stopped = counter_get(&pool->sum.shadow_stopped);
        uint64_t failed = counter_get(&pool->sum.shadow_failed);
        failed = failed > nil + stopped ? failed : nil + stopped; /* they are not read at once */
        report_string(report, pool->pool->config->name);
        report_number(report, asked);
        report_number(report, counter_get(&pool->sum.shadow_agreed));
        report_real(report, share(counter_get(&pool->sum.shadow_agreed), asked));
        report_number(report, failed);
        report_number(report, failed - nil - stopped);
        report_number(report, nil);
        report_number(report, stopped);
        report_string(report, counter_get(&pool->sum.shadow_out_now) > 0 ? "out" : "running");
        report_number(report, asked > 0 ? counter_get(&pool->sum.current_ns) / asked : 0);
        report_number(report, asked > 0 ? counter_get(&pool->sum.shadow_ns) / asked : 0);
        report_string(report, worst != NULL ? worst->config->name : NULL);
        report_real(report, times);
        report_number(report, pool->scripts->shadow_sample);
    }
}

static void report_shares(struct report *report, const struct facts *facts,
                          const struct request *request) {
    static const struct report_column columns[] = {
        {"pool", "shadow of", REPORT_PLAIN},           {"backend", "backend", REPORT_PLAIN},
        {"shadow_picks_total", "picks", REPORT_PLAIN}, {"shadow_share", "share", REPORT_PLAIN},
        {"fair_share", "by weight", REPORT_PLAIN},
    };
    report_table(report, "shares", REPORT_COLUMNS(columns));
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        const struct facts_pool *pool = &facts->pools[i];
        if (pool->scripts == NULL || pool->scripts->shadow == NULL ||
            !is_asked_for(pool, request)) {
            continue;
        }
        for (uint32_t k = 0; k < pool->backend_count; k++) {
            const struct facts_backend *backend = &pool->backends[k];
            report_string(report, pool->pool->config->name);
            report_string(report, backend->config->name);
            report_number(report, counter_get(&backend->sum.shadow_picked));
            report_real(report, shadow_share(pool, backend));
            report_real(report, fair_share(pool, backend));
        }
    }
}

static bool any_shadow(const struct facts *facts) {
    for (uint32_t i = 0; i < facts->pool_count; i++) {
        if (facts->pools[i].scripts != NULL && facts->pools[i].scripts->shadow != NULL) {
            return true;
        }
    }
    return false;
}

bool answer_script_list(struct control *control, const struct request *request, bool json,
                        struct text *out) {
    if (request->argument_count > 0 &&
        scripts_of(control->scripts, request->arguments[0]) == NULL) {
        answer_message(false, "there is no such pool; 'script list' shows them", json, out);
        return false;
    }
    struct facts *facts = facts_collect(control);
    struct report report;
    if (facts == NULL) {
        out->failed = true;
        return false;
    }
    report_open(&report, json);
    report_versions(&report, facts, request);
    if (json || any_shadow(facts)) {
        report_shadows(&report, facts, request);
        report_shares(&report, facts, request);
    }
    report_take(&report, out);
    facts_free(facts);
    return true;
}

/* ---- show ---- */

/* Stock scripts are built in: they are shown as they are written. */
static const char *version_text(const struct script_version *version, size_t *length) {
    if (version->use.source != NULL) {
        *length = version->use.source->length;
        return version->use.source->text;
    }
    const char *text = scripting->policy_text(version->use.name, length);
    return text != NULL ? text : ""; /* what could be made has a text */
}

bool answer_script_show(struct control *control, const struct request *request, bool json,
                        struct text *out) {
    const struct pool_scripts *pool = scripts_of(control->scripts, request->arguments[0]);
    const char *word = request->argument_count > 1 ? request->arguments[1] : "current";
    const struct script_version *version = pool != NULL ? versions_named(pool, word) : NULL;
    if (pool == NULL) {
        answer_message(false, "there is no such pool; 'script list' shows them", json, out);
    } else if (version == NULL) {
        answer_message(false,
                       "the pool has no such version; write current, previous, failed, shadow or a "
                       "number that 'script list' shows",
                       json, out);
    } else {
        size_t length = 0;
        const char *text = version_text(version, &length);
        struct report report;
        report_open(&report, json);
        if (json) {
            static const struct report_column columns[] = {{"version", "version", REPORT_PLAIN},
                                                           {"name", "script", REPORT_PLAIN},
                                                           {"text", NULL, REPORT_PLAIN}};
            report_fields(&report, REPORT_COLUMNS(columns));
            report_number(&report, version->number);
            report_string(&report, version->use.name);
            report_string(&report, text);
            report_take(&report, out);
        } else {
            report_free(&report);
            text_append(out, text, length);
        }
        return true;
    }
    return false;
}
