/* `alacrity simulate`: reads the scenario, plays it through each policy, prints the comparison. One
 * thread, on which the scripts run, too. */
#include "offline/simulate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "offline/engine.h"
#include "offline/offline.h"
#include "offline/report.h"

static int failed(const char *what, const char *why) {
    fprintf(stderr, "alacrity simulate: %s: %s\n", what, why);
    return OFFLINE_FAILED;
}

static int write_chart(const struct comparison *comparison, const char *file) {
    struct text chart = {0};
    report_chart(comparison, &chart);
    FILE *out = chart.failed ? NULL : fopen(file, "we");
    int code = OFFLINE_OK;
    if (chart.failed) {
        code = failed(file, "out of memory");
    } else if (out == NULL) {
        code = failed(file, strerror(errno));
    } else {
        bool written = fwrite(chart.bytes, 1, chart.length, out) == chart.length;
        if (fclose(out) != 0 || !written) {
            code = failed(file, strerror(errno));
        }
    }
    text_free(&chart);
    return code;
}

static int tell(const struct comparison *comparison) {
    const struct scenario *scenario = comparison->scenario;
    struct text text = {0};
    if (scenario->json) {
        report_json(comparison, &text);
    } else {
        report_text(comparison, &text);
    }
    int code = OFFLINE_OK;
    if (text.failed) {
        code = failed("report", "out of memory");
    } else if (fputs(text.bytes, stdout) < 0 || fflush(stdout) != 0) {
        code = failed("cannot write", strerror(errno));
    }
    text_free(&text);
    if (code == OFFLINE_OK && scenario->chart != NULL) {
        code = write_chart(comparison, scenario->chart);
    }
    return code;
}

/* A name without a slash is that of a stock policy, though a file may have been meant. */
static void hint(const struct script_use *use) {
    char file[256];
    int length = snprintf(file, sizeof(file), "./%s.lua", use->name);
    if (use->path == NULL && length > 0 && (size_t)length < sizeof(file) &&
        access(file, F_OK) == 0) {
        fprintf(stderr, "alacrity simulate: there is a file %s; to mean it, write -p %s\n", file,
                file);
    }
}

static int compare(const struct scenario *scenario, struct load *load) {
    struct result *results = calloc(scenario->policy_count, sizeof(*results));
    int code = results != NULL ? OFFLINE_OK : failed("results", "out of memory");
    for (uint32_t i = 0; i < scenario->policy_count && code == OFFLINE_OK; i++) {
        code = engine_run(scenario, load, &scenario->policies[i], &results[i]);
        if (code != OFFLINE_OK) {
            hint(&scenario->policies[i]);
        }
    }
    if (code == OFFLINE_OK) {
        code = tell(&(struct comparison){scenario, load, results});
    }
    for (uint32_t i = 0; results != NULL && i < scenario->policy_count; i++) {
        if (code == OFFLINE_OK && result_failures(&results[i]) > 0) {
            code = OFFLINE_FAILED; /* the numbers stand, but are not all the policy's */
        }
        result_free(&results[i]);
    }
    free(results);
    return code;
}

int simulate_main(int argc, char **argv) {
    struct scenario scenario;
    struct load load;
    int code = scenario_read(&scenario, argc, argv);
    if (code == OFFLINE_OK) {
        const struct log_settings log = {.target = "stderr", .level = LOG_ERROR};
        code = load_open(&load, &scenario);
        if (code == OFFLINE_OK && !log_prepare(&log, NULL)) {
            code = failed("log", strerror(errno));
        }
        log_commit();
        if (code == OFFLINE_OK) {
            code = compare(&scenario, &load);
        }
        load_free(&load);
    }
    scenario_free(&scenario);
    return code == OFFLINE_DONE ? OFFLINE_OK : code;
}
