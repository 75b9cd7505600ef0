/* What a simulation found, for people and for programs. See report.h. */
#include "offline/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROWS 24 /* most backends in the text */
#define CELL 64

/* ---- measures ---- */

double fair_share(const struct scenario *scenario, uint32_t backend) {
    double total = 0;
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        total += scenario->backends[i].weight;
    }
    return total > 0 ? scenario->backends[backend].weight / total : 0;
}

struct spread result_spread(const struct scenario *scenario, const struct result *result) {
    struct spread spread = {0};
    double squares = 0, total = 0;
    uint32_t counted = 0;
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        total += scenario->backends[i].weight;
    }
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        double expected = scenario->backends[i].weight / total * (double)result->sessions;
        if (result->backends[i].peak > result->backends[spread.fullest].peak) {
            spread.fullest = i;
        }
        if (expected > 0) {
            double ratio = (double)result->backends[i].sessions / expected;
            spread.most = ratio > spread.most ? ratio : spread.most;
            squares += (ratio - 1) * (ratio - 1);
            counted++;
        }
    }
    spread.deviation = counted > 0 ? sqrt(squares / counted) : 0;
    return spread;
}

double picks_per_second(const struct result *result) {
    return result->cpu_seconds > 0 ? (double)result->picks / result->cpu_seconds : 0;
}

static double wait_mean(const struct result *result) {
    return result->waits.total > 0 ? result->wait_seconds / (double)result->waits.total : 0;
}

static double share(uint64_t part, uint64_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0;
}

/* ---- words ---- */

void format_seconds(double seconds, char *out, size_t bytes) {
    if (seconds < 0.9995) {
        snprintf(out, bytes, seconds < 0.00995 ? "%.1f ms" : "%.0f ms", seconds * 1000);
    } else if (seconds < 120) {
        snprintf(out, bytes, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
    } else if (seconds < 7200) {
        snprintf(out, bytes, "%.0f min", seconds / 60);
    } else {
        snprintf(out, bytes, seconds < 172800 ? "%.1f h" : "%.0f days",
                 seconds < 172800 ? seconds / 3600 : seconds / 86400);
    }
}

void format_count(uint64_t count, char *out, size_t bytes) {
    char digits[24];
    size_t length = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count), at = 0;
    for (size_t i = 0; i < length && at + 2 < bytes; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[at++] = ',';
        }
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

static const char *distribution_word(const struct distribution *session) {
    return session->kind == DISTRIBUTION_EXP      ? "exponential"
           : session->kind == DISTRIBUTION_PARETO ? "Pareto"
                                                  : "constant";
}

static void describe_scenario(const struct comparison *comparison, struct text *out) {
    const struct scenario *scenario = comparison->scenario;
    char count[CELL], duration[CELL], mean[CELL];
    format_count(comparison->results[0].arrivals, count, sizeof(count));
    format_seconds(comparison->load->duration, duration, sizeof(duration));
    format_seconds(scenario->session.mean, mean, sizeof(mean));
    text_format(out, "%s sessions in %s", count, duration);
    if (scenario->trace != NULL) {
        text_format(out, ", from %s", scenario->trace);
    } else {
        text_format(out, ", %g a second, each %s on average (%s)", scenario->rate, mean,
                    distribution_word(&scenario->session));
    }
    format_count(comparison->load->client_count, count, sizeof(count));
    text_format(out, "\n%u backends, %s clients, %u worker%s, seed %" PRIu64 "\n",
                scenario->backend_count, count, scenario->workers,
                scenario->workers == 1 ? "" : "s", scenario->seed);
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        const struct scenario_backend *backend = &scenario->backends[i];
        if (backend->slow != 1) {
            text_format(out, "%s is %g times as slow\n", backend->name, backend->slow);
        }
        if (backend->resets > 0) {
            text_format(out, "%s resets %g %% of its sessions\n", backend->name,
                        backend->resets * 100);
        }
    }
    for (uint32_t i = 0; i < scenario->outage_count; i++) {
        const struct scenario_outage *outage = &scenario->outages[i];
        char from[CELL], to[CELL];
        format_seconds(outage->from, from, sizeof(from));
        format_seconds(outage->to, to, sizeof(to));
        text_format(out, "%s %s at %s", scenario->backends[outage->backend].name,
                    outage->drained ? "is drained" : "fails", from);
        text_format(out, outage->to < comparison->load->duration ? " and is back at %s\n" : "\n",
                    to);
    }
}

/* ---- the table ---- */

struct row {
    const char *name, *help;
    void (*cell)(const struct scenario *scenario, const struct result *result, char *out);
    bool (*applies)(const struct comparison *comparison); /* NULL = always */
};

static void cell_count(uint64_t count, char *out) {
    format_count(count, out, CELL);
}

static void cell_share(double value, char *out) {
    snprintf(out, CELL, "%.1f %%", value * 100);
}

static void row_spread(const struct scenario *scenario, const struct result *result, char *out) {
    snprintf(out, CELL, "%.2f", result_spread(scenario, result).most);
}

static void row_deviation(const struct scenario *scenario, const struct result *result, char *out) {
    snprintf(out, CELL, "%.3f", result_spread(scenario, result).deviation);
}

static void row_peak(const struct scenario *scenario, const struct result *result, char *out) {
    uint32_t fullest = result_spread(scenario, result).fullest;
    char count[CELL / 2];
    format_count(result->backends[fullest].peak, count, sizeof(count));
    snprintf(out, CELL, "%.24s %s", scenario->backends[fullest].name, count);
}

static void row_waited(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_share(share(result->waited, result->sessions), out);
}

static void row_wait(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    format_seconds(wait_mean(result), out, CELL);
}

static void row_wait_99(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    format_seconds(histogram_share(&result->waits, 0.99) / 1e6, out, CELL);
}

static void row_wait_most(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    format_seconds(result->wait_most, out, CELL);
}

static void row_moved(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_share(share(result->moved, result->stayed), out);
}

static void row_retries(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_count(result->retries, out);
}

static void row_cut(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_count(result->cut, out);
}

static void row_lost(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_count(result->lost, out);
}

static void row_nil(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_count(result->nil, out);
}

static void row_errors(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_count(result_failures(result), out);
}

/* Of all picks: those it was asked for, and those it was not, as it had been stopped too often. */
static double fallback_share(const struct result *result) {
    return share(result->fallbacks, result->picks + result->not_asked);
}

static void row_fallback(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_share(fallback_share(result), out);
}

static void row_ns(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    snprintf(out, CELL, "%.0f", histogram_share(&result->picks_ns, 0.5));
}

static void row_speed(const struct scenario *scenario, const struct result *result, char *out) {
    (void)scenario;
    cell_count((uint64_t)picks_per_second(result), out);
}

static bool queues(const struct comparison *comparison) {
    return comparison->results[0].waits.total > 0;
}

static bool has_outages(const struct comparison *comparison) {
    return comparison->scenario->outage_count > 0;
}

static bool anything_cut(const struct comparison *comparison) {
    bool cut = has_outages(comparison);
    for (uint32_t i = 0; i < comparison->scenario->policy_count; i++) {
        cut = cut || comparison->results[i].cut > 0;
    }
    return cut;
}

/* Any pick that the fallback made says that the policy did not; a call can fail beside that. */
static bool anything_failed(const struct comparison *comparison) {
    bool failed = false;
    for (uint32_t i = 0; i < comparison->scenario->policy_count; i++) {
        const struct result *result = &comparison->results[i];
        failed = failed || result_failures(result) + result->fallbacks > 0;
    }
    return failed;
}

static const struct row rows[] = {
    {"spread", "most sessions of a backend, 1 = its fair share", row_spread, NULL},
    {"deviation", "of all backends from their fair shares", row_deviation, NULL},
    {"peak", "most sessions open on one backend, and which", row_peak, NULL},
    {"waited", "sessions that queued at their backend", row_waited, queues},
    {"mean wait", "", row_wait, queues},
    {"99 % wait", "99 of 100 waited no longer", row_wait_99, queues},
    {"longest", "", row_wait_most, queues},
    {"moved", "clients of other backends that changed theirs when one went", row_moved,
     has_outages},
    {"retries", "connects to a backend that had failed", row_retries, has_outages},
    {"cut", "sessions that their backend cut", row_cut, anything_cut},
    {"lost", "sessions that found no backend", row_lost, NULL},
    {"nil", "picks the policy answered with nil", row_nil, anything_failed},
    {"errors", "calls it failed: errors, nonsense, stops", row_errors, anything_failed},
    {"fallback", "picks the fallback made instead of it", row_fallback, anything_failed},
    {"ns a pick", "the policy alone, half of them take no longer", row_ns, NULL},
    {"picks a s", "of the whole simulation, in CPU time", row_speed, NULL},
};

/* The numbers below these lines are not, or not only, what the policy does. */
static void put_failures(const struct comparison *comparison, struct text *out) {
    for (uint32_t i = 0; i < comparison->scenario->policy_count; i++) {
        const struct result *result = &comparison->results[i];
        const char *label = comparison->scenario->labels[i];
        char count[CELL];
        format_count(result_failures(result), count, sizeof(count));
        if (result_failures(result) > 0) {
            text_format(out, "\n%s FAILED %s time%s; the first error:\n  %s\n", label, count,
                        result_failures(result) == 1 ? "" : "s", result->first_error);
        }
        if (result->fallbacks > 0) {
            double percent = fallback_share(result) * 100;
            text_format(out, "%s%s: the fallback made %.*f %% of its picks\n",
                        result_failures(result) > 0 ? "" : "\n", label, percent < 0.1 ? 4 : 1,
                        percent);
        }
    }
}

static size_t column_width(const struct comparison *comparison, uint32_t policy) {
    size_t length = strlen(comparison->scenario->labels[policy]);
    return length < 13 ? 13 : length > 30 ? 30 : length;
}

static void put_head(const struct comparison *comparison, const char *title, struct text *out) {
    text_format(out, "\n%-22s", title);
    for (uint32_t i = 0; i < comparison->scenario->policy_count; i++) {
        text_format(out, "  %*.30s", (int)column_width(comparison, i),
                    comparison->scenario->labels[i]);
    }
    text_string(out, "\n");
}

static void put_rows(const struct comparison *comparison, struct text *out) {
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        if (rows[row].applies != NULL && !rows[row].applies(comparison)) {
            continue;
        }
        text_format(out, "%-22s", rows[row].name);
        for (uint32_t i = 0; i < comparison->scenario->policy_count; i++) {
            char cell[CELL];
            rows[row].cell(comparison->scenario, &comparison->results[i], cell);
            text_format(out, "  %*s", (int)column_width(comparison, i), cell);
        }
        text_format(out, "%s%s\n", rows[row].help[0] != '\0' ? "   " : "", rows[row].help);
    }
}

static void put_backends(const struct comparison *comparison, struct text *out) {
    const struct scenario *scenario = comparison->scenario;
    put_head(comparison, "sessions    fair share", out);
    for (uint32_t i = 0; i < scenario->backend_count && i < ROWS; i++) {
        text_format(out, "%-14.14s%6.1f %%", scenario->backends[i].name,
                    fair_share(scenario, i) * 100);
        for (uint32_t k = 0; k < scenario->policy_count; k++) {
            const struct result *result = &comparison->results[k];
            char cell[CELL];
            cell_share(share(result->backends[i].sessions, result->sessions), cell);
            text_format(out, "  %*s", (int)column_width(comparison, k), cell);
        }
        text_string(out, "\n");
    }
    if (scenario->backend_count > ROWS) {
        text_format(out, "and %u more; --json has them all\n", scenario->backend_count - ROWS);
    }
}

void report_text(const struct comparison *comparison, struct text *out) {
    describe_scenario(comparison, out);
    put_failures(comparison, out);
    put_head(comparison, "", out);
    put_rows(comparison, out);
    put_backends(comparison, out);
}

/* ---- JSON ---- */

static void put_number(struct text *out, const char *name, double number) {
    text_format(out, ",\"%s\":%.9g", name, isfinite(number) ? number : 0);
}

static void put_integer(struct text *out, const char *name, uint64_t number) {
    text_format(out, ",\"%s\":%" PRIu64, name, number);
}

static void json_backends(const struct scenario *scenario, const struct result *result,
                          double duration, struct text *out) {
    text_string(out, ",\"backends\":{");
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        const struct backend_result *backend = &result->backends[i];
        text_string(out, i > 0 ? "," : "");
        text_json_string(out, scenario->backends[i].name);
        text_format(out, ":{\"sessions\":%" PRIu64, backend->sessions);
        put_number(out, "share", share(backend->sessions, result->sessions));
        put_number(out, "fair_share", fair_share(scenario, i));
        put_integer(out, "peak_active", backend->peak);
        put_number(out, "mean_active", backend->session_seconds / duration);
        put_integer(out, "connect_failures", backend->connect_failures);
        put_integer(out, "cut", backend->cut);
        text_string(out, "}");
    }
    text_string(out, "}");
}

static void json_result(const struct comparison *comparison, const struct result *result,
                        struct text *out) {
    const struct scenario *scenario = comparison->scenario;
    struct spread spread = result_spread(scenario, result);
    text_string(out, "{\"policy\":");
    text_json_string(out, result->policy->name);
    put_integer(out, "sessions", result->sessions);
    put_integer(out, "picks", result->picks);
    put_number(out, "spread", spread.most);
    put_number(out, "deviation", spread.deviation);
    text_string(out, ",\"peak\":{\"backend\":");
    text_json_string(out, scenario->backends[spread.fullest].name);
    put_integer(out, "active", result->backends[spread.fullest].peak);
    text_format(out, "},\"wait\":{\"sessions\":%" PRIu64, result->waited);
    put_number(out, "share", share(result->waited, result->sessions));
    put_number(out, "mean_ms", wait_mean(result) * 1000);
    put_number(out, "p99_ms", histogram_share(&result->waits, 0.99) / 1e3);
    put_number(out, "max_ms", result->wait_most * 1000);
    text_format(out, "},\"moves\":{\"clients\":%" PRIu64 ",\"moved\":%" PRIu64, result->stayed,
                result->moved);
    put_number(out, "share", share(result->moved, result->stayed));
    text_string(out, "}");
    put_integer(out, "retries", result->retries);
    put_integer(out, "cut", result->cut);
    put_integer(out, "lost", result->lost);
    put_integer(out, "nil", result->nil);
    put_integer(out, "errors", result->errors);
    put_integer(out, "bad_answers", result->bad_answers);
    put_integer(out, "overruns", result->overruns);
    put_integer(out, "not_asked", result->not_asked);
    put_integer(out, "fallbacks", result->fallbacks);
    text_string(out, ",\"first_error\":");
    if (result->first_error[0] != '\0') {
        text_json_string(out, result->first_error);
    } else {
        text_string(out, "null");
    }
    json_backends(scenario, result, comparison->load->duration, out);
    text_format(out, ",\"speed\":{\"ns_per_pick\":%.1f,\"picks_per_second\":%.0f}}",
                histogram_share(&result->picks_ns, 0.5), picks_per_second(result));
}

void report_json(const struct comparison *comparison, struct text *out) {
    const struct scenario *scenario = comparison->scenario;
    text_format(out, "{\"sessions\":%" PRIu64, comparison->results[0].arrivals);
    put_number(out, "duration_s", comparison->load->duration);
    put_integer(out, "clients", comparison->load->client_count);
    put_integer(out, "workers", scenario->workers);
    put_integer(out, "seed", scenario->seed);
    text_string(out, ",\"policies\":[");
    for (uint32_t i = 0; i < scenario->policy_count; i++) {
        text_string(out, i > 0 ? "," : "");
        json_result(comparison, &comparison->results[i], out);
    }
    text_string(out, "]}\n");
}
