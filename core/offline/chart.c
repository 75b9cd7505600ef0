/* A chart of a comparison, as SVG: one panel a policy, with the sessions open on each backend over
 * time, and beside it how many each got for its fair share. Readable on light and dark grounds. */
#include "offline/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alacrity/script.h"

#define WIDTH 1000.0
#define LEFT 64.0
#define PLOT_RIGHT 700.0 /* with bars beside it; else the margin */
#define MARGIN 24.0
#define BARS_LEFT 780.0
#define BARS_RIGHT 944.0
#define TOP 100.0
#define PANEL 214.0 /* one policy, with its title and axis */
#define PLOT 150.0  /* height of its plot */
#define BARS_MOST 16u
#define COLOURS 8u

/* Middling ones, so that they stand out from white and from black. */
static const char *const colours[COLOURS] = {"#e0533d", "#2f8fd8", "#2ba36b", "#c58a14",
                                             "#9561c9", "#d4569b", "#1ba3a3", "#7d8f1f"};
#define GREY "#8a8f98"

struct chart {
    const struct comparison *comparison;
    const struct scenario *scenario;
    struct text *out;
    double duration, plot_right;
    bool has_bars;
    const char *colour[SCENARIO_BACKENDS];
};

static void put_escaped(struct text *out, const char *string) {
    for (; *string != '\0'; string++) {
        switch (*string) {
        case '<':
            text_string(out, "&lt;");
            break;
        case '>':
            text_string(out, "&gt;");
            break;
        case '&':
            text_string(out, "&amp;");
            break;
        default:
            text_append(out, (unsigned char)*string >= ' ' ? string : " ", 1);
        }
    }
}

static void put_label(const struct chart *chart, double x, double y, const char *classes,
                      const char *label) {
    text_format(chart->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, classes);
    put_escaped(chart->out, label);
    text_string(chart->out, "</text>\n");
}

static double at_x(const struct chart *chart, double seconds) {
    double share = seconds / chart->duration;
    return LEFT + (chart->plot_right - LEFT) * (share > 1 ? 1 : share);
}

/* ---- colours: first for the backends something happens to ---- */

static bool is_special(const struct scenario *scenario, uint32_t backend) {
    bool special = scenario->backends[backend].slow != 1;
    for (uint32_t i = 0; i < scenario->outage_count; i++) {
        special = special || scenario->outages[i].backend == backend;
    }
    return special;
}

static void choose_colours(struct chart *chart) {
    const struct scenario *scenario = chart->scenario;
    uint32_t used = 0;
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        bool coloured = is_special(scenario, i) && used < COLOURS;
        chart->colour[i] = coloured ? colours[used++] : GREY;
    }
    for (uint32_t i = 0; scenario->backend_count <= COLOURS && i < scenario->backend_count; i++) {
        if (!is_special(scenario, i)) {
            chart->colour[i] = colours[used++];
        }
    }
}

static void put_legend(const struct chart *chart, double y) {
    const struct scenario *scenario = chart->scenario;
    double x = LEFT;
    bool others = false;
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        if (strcmp(chart->colour[i], GREY) == 0) {
            others = true;
            continue;
        }
        text_format(
            chart->out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"4\" rx=\"2\" fill=\"%s\"/>\n", x,
            y - 6, chart->colour[i]);
        put_label(chart, x + 18, y, "t", scenario->backends[i].name);
        x += 38 + 7.5 * (double)strlen(scenario->backends[i].name);
    }
    if (others) {
        text_format(chart->out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"4\" rx=\"2\" fill=\"" GREY
                    "\"/>\n",
                    x, y - 6);
        put_label(chart, x + 18, y, "t", x > LEFT ? "the others" : "all backends");
    }
}

/* ---- axes ---- */

/* The least of 1, 2, 5 times a power of ten that is no smaller. */
static double round_up(double number) {
    double power = pow(10, floor(log10(number > 1e-9 ? number : 1e-9)));
    double digit = number / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static double time_step(double duration) {
    static const double steps[] = {0.001, 0.01,  0.1,    0.2,    0.5,     1,       2,
                                   5,     10,    15,     30,     60,      120,     300,
                                   600,   900,   1800,   3600,   7200,    10800,   21600,
                                   43200, 86400, 172800, 604800, 1209600, 2592000, 7776000};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (duration / steps[i] <= 8) {
            return steps[i];
        }
    }
    return duration / 4;
}

static void put_time_axis(const struct chart *chart, double bottom) {
    double step = time_step(chart->duration);
    double unit = step < 60 ? 1 : step < 3600 ? 60 : step < 86400 ? 3600 : 86400;
    const char *word = unit < 60 ? "s" : unit < 3600 ? "min" : unit < 86400 ? "h" : "d";
    for (double at = 0; at <= chart->duration * 1.0001; at += step) {
        char label[48];
        double x = at_x(chart, at);
        snprintf(label, sizeof(label), "%g %s", at / unit, word);
        text_format(chart->out, "<path d=\"M%.1f %.1fv4\" class=\"g\"/>\n", x, bottom);
        put_label(chart, x, bottom + 17, "s m", label);
    }
}

static void put_value_axis(const struct chart *chart, double bottom, double top_value) {
    double step = round_up(top_value / 4);
    for (double value = 0; value <= top_value * 1.0001; value += step) {
        char label[48];
        double y = bottom - PLOT * value / top_value;
        snprintf(label, sizeof(label), "%g", value);
        text_format(chart->out, "<path d=\"M%.1f %.1fH%.1f\" class=\"g\"/>\n", LEFT, y,
                    chart->plot_right);
        put_label(chart, LEFT - 8, y + 4, "s e", label);
    }
}

/* ---- a panel ---- */

static double highest(const struct chart *chart, const struct result *result) {
    double most = 0;
    for (uint32_t i = 0; i < SERIES_POINTS * chart->scenario->backend_count; i++) {
        most = result->series[i] > most ? result->series[i] : most;
    }
    return most > 0 ? most : 1;
}

static void put_outages(const struct chart *chart, double bottom) {
    const struct scenario *scenario = chart->scenario;
    for (uint32_t i = 0; i < scenario->outage_count; i++) {
        const struct scenario_outage *outage = &scenario->outages[i];
        double from = at_x(chart, outage->from), to = at_x(chart, outage->to);
        char label[ALACRITY_NAME_BYTES + 16];
        if (outage->from >= chart->duration) {
            continue;
        }
        snprintf(label, sizeof(label), "%s %s", scenario->backends[outage->backend].name,
                 outage->drained ? "drained" : "fails");
        text_format(chart->out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" "
                    "fill-opacity=\"0.12\"/>\n",
                    from, bottom - PLOT, to - from > 1 ? to - from : 1, PLOT,
                    chart->colour[outage->backend]);
        put_label(chart, from + 4, bottom - PLOT + 13, "s", label);
    }
}

static void put_line(const struct chart *chart, const struct result *result, uint32_t backend,
                     double bottom, double top_value) {
    uint32_t count = chart->scenario->backend_count;
    bool grey = strcmp(chart->colour[backend], GREY) == 0;
    text_format(chart->out,
                "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-opacity=\"%s\" "
                "stroke-linejoin=\"round\" d=\"",
                chart->colour[backend], grey ? "1" : "1.8", grey ? "0.55" : "1");
    for (uint32_t i = 0; i < SERIES_POINTS; i++) {
        double value = result->series[i * count + backend];
        text_format(chart->out, "%s%.1f %.1f", i == 0 ? "M" : "L",
                    at_x(chart, (i + 0.5) * result->interval), bottom - PLOT * value / top_value);
    }
    text_string(chart->out, "\"/>\n");
}

/* Specials last, so that they lie on top. */
static void put_lines(const struct chart *chart, const struct result *result, double bottom,
                      double top_value) {
    for (int special = 0; special <= 1; special++) {
        for (uint32_t i = 0; i < chart->scenario->backend_count; i++) {
            if (is_special(chart->scenario, i) == (special == 1)) {
                put_line(chart, result, i, bottom, top_value);
            }
        }
    }
}

static void put_bars(const struct chart *chart, const struct result *result, double bottom) {
    const struct scenario *scenario = chart->scenario;
    double most = result_spread(scenario, result).most;
    double room = PLOT / scenario->backend_count, thickness = room * 0.7 < 12 ? room * 0.7 : 12;
    most = most > 1.2 ? most : 1.2;
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        double fair = fair_share(scenario, i) * (double)result->sessions;
        double ratio = fair > 0 ? (double)result->backends[i].sessions / fair : 0;
        double y = bottom - PLOT + room * (i + 0.5),
               width = (BARS_RIGHT - BARS_LEFT) * ratio / most;
        char label[32], name[16];
        text_format(chart->out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\" "
                    "fill=\"%s\" fill-opacity=\"0.8\"/>\n",
                    BARS_LEFT, y - thickness / 2, width, thickness, chart->colour[i]);
        snprintf(label, sizeof(label), "%.2f", ratio);
        snprintf(name, sizeof(name), "%.8s", scenario->backends[i].name);
        put_label(chart, BARS_LEFT + width + 5, y + 3.5, "s", label);
        put_label(chart, BARS_LEFT - 6, y + 3.5, "s e", name);
    }
    double fair_x = BARS_LEFT + (BARS_RIGHT - BARS_LEFT) / most;
    text_format(chart->out, "<path d=\"M%.1f %.1fv%.1f\" class=\"d\"/>\n", fair_x,
                bottom - PLOT - 4, PLOT + 8);
    put_label(chart, fair_x, bottom + 17, "s m", "fair share");
}

static void put_panel(const struct chart *chart, uint32_t policy, double top_value) {
    const struct result *result = &chart->comparison->results[policy];
    double bottom = TOP + PANEL * policy + 24 + PLOT;
    char facts[160];
    struct spread spread = result_spread(chart->scenario, result);
    put_label(chart, LEFT, bottom - PLOT - 9, "p", chart->scenario->labels[policy]);
    snprintf(facts, sizeof(facts), "spread %.2f, at most %u open on one%s", spread.most,
             result->backends[spread.fullest].peak, result->lost > 0 ? ", sessions were lost" : "");
    put_label(chart, chart->plot_right, bottom - PLOT - 9, "s e", facts);
    put_value_axis(chart, bottom, top_value);
    put_outages(chart, bottom);
    put_lines(chart, result, bottom, top_value);
    put_time_axis(chart, bottom);
    if (chart->has_bars) {
        put_bars(chart, result, bottom);
    }
}

/* One scale for all, unless the lines of one policy would be flat beside another's. */
static void put_panels(const struct chart *chart) {
    double most = 0, least = INFINITY;
    for (uint32_t i = 0; i < chart->scenario->policy_count; i++) {
        double high = highest(chart, &chart->comparison->results[i]);
        most = high > most ? high : most;
        least = high < least ? high : least;
    }
    bool shared = most <= 4 * least;
    put_label(chart, LEFT, 54, "s",
              shared
                  ? "Sessions open on each backend, over time"
                  : "Sessions open on each backend, over time; each policy has a scale of its own");
    if (chart->has_bars) {
        put_label(chart, BARS_LEFT - 40, 54, "s", "Sessions, in fair shares");
    }
    for (uint32_t i = 0; i < chart->scenario->policy_count; i++) {
        double high = shared ? most : highest(chart, &chart->comparison->results[i]);
        double step = round_up(high / 4);
        put_panel(chart, i, ceil(high / step) * step);
    }
}

void report_chart(const struct comparison *comparison, struct text *out) {
    const struct scenario *scenario = comparison->scenario;
    struct chart chart = {.comparison = comparison,
                          .scenario = scenario,
                          .out = out,
                          .duration = comparison->load->duration,
                          .has_bars = scenario->backend_count <= BARS_MOST};
    char title[200], duration[64], count[64];
    double height = TOP + PANEL * scenario->policy_count + 10;
    chart.plot_right = chart.has_bars ? PLOT_RIGHT : WIDTH - MARGIN;
    choose_colours(&chart);
    text_format(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
        "height=\"%.0f\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n"
        "<style>text{fill:#3a3f47}.s{font-size:11px;fill:#6b727c}.p{font-weight:600;"
        "font-size:14px}.h{font-weight:600;font-size:17px}.m{text-anchor:middle}"
        ".e{text-anchor:end}.g{stroke:#8a8f98;stroke-opacity:.25;fill:none}"
        ".d{stroke:#8a8f98;stroke-dasharray:3 3;fill:none}"
        "@media(prefers-color-scheme:dark){text{fill:#d5d9df}.s{fill:#9aa1ab}}</style>\n",
        WIDTH, height, WIDTH, height);
    format_seconds(chart.duration, duration, sizeof(duration));
    format_count(comparison->results[0].arrivals, count, sizeof(count));
    snprintf(title, sizeof(title), "%s sessions in %s on %u backends", count, duration,
             scenario->backend_count);
    put_label(&chart, LEFT, 32, "h", title);
    put_legend(&chart, 78);
    put_panels(&chart);
    text_string(out, "</svg>\n");
}
