/* The command line of `alacrity simulate`. See scenario.h. */
#include "offline/scenario.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/given.h"
#include "config/scalar.h"
#include "offline/offline.h"
#include "offline/words.h"
#include "pool/arena.h"

static const char usage[] =
    "Usage: alacrity simulate [OPTIONS]\n"
    "Plays sessions through policies, in virtual time, and compares what comes of it.\n"
    "\n"
    "The policies:\n"
    "  -p, --policy NAME         a stock policy or a script's file; may be given often\n"
    "      --with KEY=VALUE      an option of the policy before it; may be given often; a list is\n"
    "                            written [a,b]\n"
    "\n"
    "The pool:\n"
    "  -b, --backends N|LIST     so many, or names with weights such as a,b,big=3; 10\n"
    "      --pool FILE:POOL      names, weights, caps and policy from a configuration\n"
    "      --slow NAME=FACTOR    sessions and connects there take that many times as long\n"
    "      --capacity [NAME=]N   sessions a backend serves at once, the others queue; any number\n"
    "      --connect TIME        to connect to an idle backend; 1ms\n"
    "      --fail NAME@FROM[-TO]    it refuses connections then, and its sessions are cut\n"
    "      --remove NAME@FROM[-TO]  it is drained then\n"
    "      --reset NAME=SHARE    it accepts, then resets such a share of its sessions, as 5% or "
    "0.05\n"
    "      --notice TIME         until its health check sees a failure, or its end; 5s\n"
    "\n"
    "The sessions:\n"
    "      --rate N/s|m|h        how many arrive, at random; 100/s\n"
    "      --duration TIME       for how long; 10m\n"
    "      --session KIND:MEAN   how long each lasts: const:2s, exp:2s or pareto:2s[:SHAPE]; "
    "exp:1s\n"
    "      --clients N           among so many addresses; 10000\n"
    "      --trace FILE          those of a session log (JSON lines) instead of all that\n"
    "\n"
    "      --workers N           each with its own instance of the policy; 2\n"
    "      --seed N              the same number, the same result; 1\n"
    "      --json                print one JSON document\n"
    "      --chart FILE          write a chart (SVG)\n"
    "\n"
    "Exit codes: 0 done, 1 a policy failed (an error, nonsense, a stop; the numbers are printed) "
    "or\n"
    "it or the trace cannot be used, 2 wrong command line.\n";

struct reading {
    struct scenario *scenario;
    struct later *later;
    uint32_t later_count, later_capacity;
    const char *backends, *pool;
    bool synthetic; /* an option was given that a trace makes meaningless */
};

static bool read_rate(struct scenario *scenario, const char *text, double *out) {
    const char *unit;
    char *number = words_split(scenario, text, "/", &unit);
    double count;
    if (number == NULL || unit == NULL || scalar_number(number, &count) != SCALAR_OK ||
        !(count > 0)) {
        return false;
    }
    double seconds = strcmp(unit, "s") == 0   ? 1
                     : strcmp(unit, "m") == 0 ? 60
                     : strcmp(unit, "h") == 0 ? 3600
                                              : 0;
    *out = seconds > 0 ? count / seconds : 0;
    return seconds > 0 && *out <= 1e9;
}

static bool read_distribution(struct scenario *scenario, const char *text,
                              struct distribution *out) {
    const char *mean_text, *shape_text;
    char *kind = words_split(scenario, text, ":", &mean_text);
    if (kind == NULL || mean_text == NULL) {
        return false;
    }
    char *mean = words_split(scenario, mean_text, ":", &shape_text);
    out->shape = 1.5;
    if (mean == NULL || !words_seconds(mean, &out->mean)) {
        return false;
    }
    if (strcmp(kind, "pareto") == 0) {
        out->kind = DISTRIBUTION_PARETO;
        return shape_text == NULL || (scalar_number(shape_text, &out->shape) == SCALAR_OK &&
                                      out->shape > 1 && out->shape <= 100);
    }
    out->kind = strcmp(kind, "exp") == 0 ? DISTRIBUTION_EXP : DISTRIBUTION_CONST;
    return shape_text == NULL && (strcmp(kind, "exp") == 0 || strcmp(kind, "const") == 0);
}

/* ---- policies ---- */

static int add_policy(struct scenario *scenario, char *text) {
    if (scenario->policy_count == SCENARIO_POLICIES) {
        return words_mistake("at most %u policies can be compared", SCENARIO_POLICIES);
    }
    size_t length = strlen(text);
    bool is_file =
        strchr(text, '/') != NULL || (length > 4 && strcmp(text + length - 4, ".lua") == 0);
    scenario->policies[scenario->policy_count++] = (struct script_use){
        .name = text, .path = is_file ? text : NULL, .at = {.file = "command line"}};
    return OFFLINE_OK;
}

/* KEY=VALUE for the policy named last. */
static int add_option(struct scenario *scenario, const char *text) {
    if (scenario->policy_count == 0 || !given_is_option(text)) {
        return words_mistake("--with follows a --policy, and is written KEY=VALUE, not %s", text);
    }
    struct script_use *use = &scenario->policies[scenario->policy_count - 1];
    use->with = given_add(&scenario->memory, use->with, use->at, text);
    return use->with != NULL ? OFFLINE_OK : words_no_memory();
}

/* The file's or stock name, and the options. */
static bool label_policies(struct scenario *scenario) {
    for (uint32_t i = 0; i < scenario->policy_count; i++) {
        const struct script_use *use = &scenario->policies[i];
        const char *slash = strrchr(use->name, '/');
        struct text label = {0};
        text_string(&label, slash != NULL && slash[1] != '\0' ? slash + 1 : use->name);
        for (uint32_t k = 0; use->with != NULL && k < use->with->count; k++) {
            const char *value = use->with->items[k].string;
            text_format(&label, " %s=%s", use->with->keys[k], value != NULL ? value : "...");
        }
        scenario->labels[i] =
            label.failed ? NULL : region_copy(&scenario->memory, label.bytes, label.length);
        text_free(&label);
        if (scenario->labels[i] == NULL) {
            return false;
        }
    }
    return true;
}

/* ---- all of it ---- */

static int remember(struct reading *reading, int option, const char *text) {
    if (reading->later_count == reading->later_capacity) {
        uint32_t capacity = reading->later_capacity == 0 ? 16 : reading->later_capacity * 2;
        struct later *grown = realloc(reading->later, capacity * sizeof(*grown));
        if (grown == NULL) {
            return words_no_memory();
        }
        reading->later = grown;
        reading->later_capacity = capacity;
    }
    reading->later[reading->later_count++] = (struct later){option, text};
    return OFFLINE_OK;
}

static int wanted(bool good, const char *what) {
    return good ? OFFLINE_OK : words_mistake("%s, not %s", what, optarg);
}

static int take_option(struct reading *reading, int option) {
    struct scenario *scenario = reading->scenario;
    double seconds = 0;
    switch (option) {
    case 'p':
        return add_policy(scenario, optarg);
    case 'w':
        return add_option(scenario, optarg);
    case 'b':
        reading->backends = optarg;
        return OFFLINE_OK;
    case 'o':
        reading->pool = optarg;
        return OFFLINE_OK;
    case BACKEND_SLOW:
    case BACKEND_CAPACITY:
    case BACKEND_FAIL:
    case BACKEND_REMOVE:
    case BACKEND_RESET:
        return remember(reading, option, optarg);
    case 'c': {
        bool good = words_seconds(optarg, &seconds);
        scenario->connect_ms = seconds * 1000;
        return wanted(good, "--connect must be a time such as 1ms");
    }
    case 'n':
        return wanted(words_seconds(optarg, &scenario->notice),
                      "--notice must be a time such as 5s");
    case 'r':
        reading->synthetic = true;
        return wanted(read_rate(scenario, optarg, &scenario->rate),
                      "--rate must be such as 200/s, 5/m or 100/h");
    case 'd':
        reading->synthetic = true;
        return wanted(words_seconds(optarg, &scenario->duration) && scenario->duration > 0,
                      "--duration must be a time such as 1h");
    case 's':
        reading->synthetic = true;
        return wanted(
            read_distribution(scenario, optarg, &scenario->session),
            "--session must be const:TIME, exp:TIME or pareto:TIME[:SHAPE], SHAPE above 1");
    case 'i':
        reading->synthetic = true;
        return wanted(words_count(optarg, 1, SCENARIO_CLIENTS, &scenario->clients),
                      "--clients must be 1 to 1000000");
    case 't':
        scenario->trace = optarg;
        return OFFLINE_OK;
    case 'W':
        return wanted(words_count(optarg, 1, ARENA_CONTROL_ROW, &scenario->workers),
                      "--workers must be 1 to 63");
    case 'S':
        return wanted(scalar_integer(optarg, &scenario->seed) == SCALAR_OK && scenario->seed > 0 &&
                          scenario->seed < 1ull << 52,
                      "--seed must be a whole number from 1 to 2^52");
    case 'j':
        scenario->json = true;
        return OFFLINE_OK;
    case 'C':
        scenario->chart = optarg;
        return OFFLINE_OK;
    case 'h':
        fputs(usage, stdout);
        return OFFLINE_DONE;
    default:
        return OFFLINE_USAGE; /* getopt has said what is wrong */
    }
}

static int finish(struct reading *reading) {
    struct scenario *scenario = reading->scenario;
    static char round_robin[] = "round-robin", least_conn[] = "least-conn";
    int code = backends_make(scenario, reading->backends, reading->pool);
    if (code == OFFLINE_OK) {
        code = backends_understand(scenario, reading->later, reading->later_count);
    }
    if (code != OFFLINE_OK) {
        return code;
    }
    if (scenario->trace != NULL && reading->synthetic) {
        return words_mistake(
            "--trace brings the sessions; --rate, --duration, --session and --clients "
            "cannot be given, too");
    }
    if (scenario->policy_count == 0) {
        (void)add_policy(scenario, round_robin); /* there is room for two */
        (void)add_policy(scenario, least_conn);
    }
    if (scenario->snapshot == NULL) {
        scenario->snapshot = offline_snapshot();
    }
    if (scenario->snapshot == NULL) {
        return OFFLINE_FAILED;
    }
    scenario->snapshot->workers = scenario->workers; /* what alacrity.worker() says */
    return label_policies(scenario) ? OFFLINE_OK : words_no_memory();
}

int scenario_read(struct scenario *scenario, int argc, char **argv) {
    static const struct option known[] = {{"policy", required_argument, NULL, 'p'},
                                          {"with", required_argument, NULL, 'w'},
                                          {"backends", required_argument, NULL, 'b'},
                                          {"pool", required_argument, NULL, 'o'},
                                          {"slow", required_argument, NULL, BACKEND_SLOW},
                                          {"capacity", required_argument, NULL, BACKEND_CAPACITY},
                                          {"connect", required_argument, NULL, 'c'},
                                          {"fail", required_argument, NULL, BACKEND_FAIL},
                                          {"remove", required_argument, NULL, BACKEND_REMOVE},
                                          {"reset", required_argument, NULL, BACKEND_RESET},
                                          {"notice", required_argument, NULL, 'n'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {"duration", required_argument, NULL, 'd'},
                                          {"session", required_argument, NULL, 's'},
                                          {"clients", required_argument, NULL, 'i'},
                                          {"trace", required_argument, NULL, 't'},
                                          {"workers", required_argument, NULL, 'W'},
                                          {"seed", required_argument, NULL, 'S'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"chart", required_argument, NULL, 'C'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct reading reading = {.scenario = scenario};
    int option, code = OFFLINE_OK;
    *scenario = (struct scenario){.rate = 100,
                                  .duration = 600,
                                  .session = {.kind = DISTRIBUTION_EXP, .mean = 1},
                                  .connect_ms = 1,
                                  .notice = 5,
                                  .clients = 10000,
                                  .workers = 2,
                                  .seed = 1,
                                  .pool_name = "app"};
    optind = 0;
    while (code == OFFLINE_OK && (option = getopt_long(argc, argv, "p:b:h", known, NULL)) != -1) {
        code = take_option(&reading, option);
    }
    if (code == OFFLINE_OK && optind < argc) {
        code = words_mistake("there is no use for '%s'", argv[optind]);
    }
    if (code == OFFLINE_OK) {
        code = finish(&reading);
    }
    free(reading.later);
    return code;
}

void scenario_free(struct scenario *scenario) {
    if (scenario->snapshot != NULL) {
        snapshot_release(scenario->snapshot);
    }
    region_free(&scenario->memory);
}
