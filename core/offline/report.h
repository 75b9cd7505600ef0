/* Report: results of simulations side by side, as text, JSON or a chart. Any thread. */
#ifndef OFFLINE_REPORT_H
#define OFFLINE_REPORT_H

#include "base/text.h"
#include "offline/engine.h"

struct comparison {
    const struct scenario *scenario;
    const struct load *load;
    const struct result *results; /* of scenario->policy_count policies */
};

/* Measures of one result. Shares of backends are compared with their weights' shares. */
struct spread {
    double most;      /* the largest: 1 = exactly its share, 2 = twice that */
    double deviation; /* standard deviation of all of them */
    uint32_t fullest; /* the backend with the most sessions open at once */
};
struct spread result_spread(const struct scenario *scenario, const struct result *result);
double fair_share(const struct scenario *scenario, uint32_t backend);
double picks_per_second(const struct result *result);

void report_text(const struct comparison *comparison, struct text *out);
void report_json(const struct comparison *comparison, struct text *out);
void report_chart(const struct comparison *comparison, struct text *out); /* chart.c: SVG */

void format_count(uint64_t count, char *out, size_t bytes); /* "1,234,567" */
/* "250 ms", "1.5 s", "12 min", "3.0 h". */
void format_seconds(double seconds, char *out, size_t bytes);

#endif
