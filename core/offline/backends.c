/* The backends of a scenario: from the command line or a configuration, and what happens to single
 * ones. See words.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alacrity/script.h"
#include "offline/offline.h"
#include "offline/words.h"

static int numbered_backends(struct scenario *scenario, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        int length = snprintf(name, sizeof(name), "b%u", i + 1);
        scenario->backends[i].name = region_copy(&scenario->memory, name, (size_t)length);
        if (scenario->backends[i].name == NULL) {
            return words_no_memory();
        }
    }
    scenario->backend_count = count;
    return OFFLINE_OK;
}

static struct scenario_backend *find_backend(const struct scenario *scenario, const char *name) {
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        if (strcmp(scenario->backends[i].name, name) == 0) {
            return &scenario->backends[i];
        }
    }
    return NULL;
}

/* a,b,big=3 */
static int listed_backends(struct scenario *scenario, const char *text) {
    for (const char *next = text; next != NULL;) {
        const char *weight;
        char *item = words_split(scenario, next, ",", &next);
        char *name = item != NULL ? words_split(scenario, item, "=", &weight) : NULL;
        struct scenario_backend *backend = &scenario->backends[scenario->backend_count];
        if (name == NULL) {
            return words_no_memory();
        }
        if (name[0] == '\0' || strlen(name) >= ALACRITY_NAME_BYTES ||
            find_backend(scenario, name) != NULL) {
            return words_mistake("--backends: '%s' is no new name", name);
        }
        if (scenario->backend_count == SCENARIO_BACKENDS) {
            return words_mistake("--backends: at most %u", SCENARIO_BACKENDS);
        }
        if (weight != NULL && !words_count(weight, 0, 1000000, &backend->weight)) {
            return words_mistake("--backends: the weight of %s must be 0 to 1000000, not %s", name,
                                 weight);
        }
        backend->name = name;
        scenario->backend_count++;
    }
    return OFFLINE_OK;
}

/* FILE:POOL */
static int configured_backends(struct scenario *scenario, const char *text) {
    const char *colon = strrchr(text, ':');
    struct messages messages = {0};
    if (colon == NULL) {
        return words_mistake("--pool is written FILE:POOL, not %s", text);
    }
    char *file = region_copy(&scenario->memory, text, (size_t)(colon - text));
    if (file == NULL) {
        return words_no_memory();
    }
    scenario->snapshot = snapshot_load(file, &messages);
    if (scenario->snapshot == NULL) {
        fputs(messages.text.bytes != NULL ? messages.text.bytes : "out of memory\n", stderr);
    }
    messages_free(&messages);
    if (scenario->snapshot == NULL) {
        return OFFLINE_FAILED;
    }
    const struct pool_config *pool = NULL;
    for (uint32_t i = 0; i < scenario->snapshot->pool_count; i++) {
        const struct pool_config *each = &scenario->snapshot->pools[i];
        pool = strcmp(each->name, colon + 1) == 0 ? each : pool;
    }
    if (pool == NULL) {
        return words_mistake("--pool: there is no pool '%s' in %s", colon + 1, file);
    }
    if (pool->backend_count > SCENARIO_BACKENDS) {
        return words_mistake("--pool: at most %u backends", SCENARIO_BACKENDS);
    }
    for (uint32_t i = 0; i < scenario->snapshot->tag_count; i++) {
        scenario->snapshot->tags[i].bit = i; /* else the builder's work */
    }
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        const struct backend_config *config = &pool->backends[i];
        struct scenario_backend *backend = &scenario->backends[i];
        backend->name = config->name;
        backend->weight = config->weight;
        backend->max_sessions = config->max_sessions;
        backend->zone_code = zone_code(config->zone);
        for (uint32_t tag = 0; tag < config->tag_count; tag++) {
            backend->tag_bits |= snapshot_tag_bits(scenario->snapshot, config->tags[tag]);
        }
    }
    scenario->zone_code = zone_code(pool->zone);
    scenario->backend_count = pool->backend_count;
    scenario->pool_name = pool->name;
    scenario->pool_given = true;
    if (scenario->policy_count == 0) {
        scenario->policies[scenario->policy_count++] = pool->policy;
    }
    return OFFLINE_OK;
}

int backends_make(struct scenario *scenario, const char *list, const char *pool) {
    uint32_t count;
    if (pool != NULL && list != NULL) {
        return words_mistake("--pool brings the backends; --backends cannot be given, too");
    }
    scenario->backends =
        region_take_array(&scenario->memory, SCENARIO_BACKENDS + 1, sizeof(*scenario->backends));
    if (scenario->backends == NULL) {
        return words_no_memory();
    }
    for (uint32_t i = 0; i <= SCENARIO_BACKENDS; i++) {
        scenario->backends[i] = (struct scenario_backend){.weight = 1, .slow = 1};
    }
    if (pool != NULL) {
        return configured_backends(scenario, pool);
    }
    if (list == NULL) {
        return numbered_backends(scenario, 10);
    }
    if (strspn(list, "0123456789") < strlen(list)) {
        return listed_backends(scenario, list);
    }
    if (!words_count(list, 1, SCENARIO_BACKENDS, &count)) {
        return words_mistake("--backends: at least 1, at most %u", SCENARIO_BACKENDS);
    }
    return numbered_backends(scenario, count);
}

/* ---- what concerns one of them ---- */

static int no_backend(const char *option, const char *name) {
    return words_mistake("%s: there is no backend '%s'", option, name);
}

/* NAME=FACTOR, as 10 or 10x */
static int set_slow(struct scenario *scenario, const char *text) {
    const char *written;
    char *name = words_split(scenario, text, "=", &written), *rest;
    struct scenario_backend *backend = name != NULL ? find_backend(scenario, name) : NULL;
    if (name == NULL) {
        return words_no_memory();
    }
    if (backend == NULL) {
        return no_backend("--slow", name);
    }
    double factor =
        written != NULL && *written >= '0' && *written <= '9' ? strtod(written, &rest) : 0;
    if (!(factor > 0 && factor <= 1e6) || (strcmp(rest, "") != 0 && strcmp(rest, "x") != 0)) {
        return words_mistake("--slow is written NAME=FACTOR, such as b3=10, not %s", text);
    }
    backend->slow = factor;
    return OFFLINE_OK;
}

/* NAME=SHARE, as 0.05 or 5% */
static int set_resets(struct scenario *scenario, const char *text) {
    const char *written;
    char *name = words_split(scenario, text, "=", &written), *rest = "";
    struct scenario_backend *backend = name != NULL ? find_backend(scenario, name) : NULL;
    if (name == NULL) {
        return words_no_memory();
    }
    if (backend == NULL) {
        return no_backend("--reset", name);
    }
    double share =
        written != NULL && *written >= '0' && *written <= '9' ? strtod(written, &rest) : -1;
    bool percent = strcmp(rest, "%") == 0;
    share = percent ? share / 100 : share;
    if (!(share >= 0 && share <= 1) || (rest[0] != '\0' && !percent)) {
        return words_mistake("--reset is written NAME=SHARE, such as b3=5%% or b3=0.05, not %s",
                             text);
    }
    backend->resets = share;
    return OFFLINE_OK;
}

/* N for all, or NAME=N */
static int set_capacity(struct scenario *scenario, const char *text) {
    const char *written;
    char *name = words_split(scenario, text, "=", &written);
    struct scenario_backend *backend = NULL;
    uint32_t capacity;
    if (name == NULL) {
        return words_no_memory();
    }
    if (written != NULL && (backend = find_backend(scenario, name)) == NULL) {
        return no_backend("--capacity", name);
    }
    if (!words_count(written != NULL ? written : text, 1, 100000, &capacity)) {
        return words_mistake("--capacity must be 1 to 100000, for all or as NAME=N, not %s", text);
    }
    for (uint32_t i = 0; i < scenario->backend_count; i++) {
        if (backend == NULL || backend == &scenario->backends[i]) {
            scenario->backends[i].capacity = capacity;
        }
    }
    return OFFLINE_OK;
}

/* NAME@FROM[-TO] */
static int add_outage(struct scenario *scenario, const char *option, bool drained,
                      const char *text) {
    const char *times, *to;
    char *name = words_split(scenario, text, "@", &times);
    char *from = times != NULL ? words_split(scenario, times, "-", &to) : NULL;
    struct scenario_outage outage = {.drained = drained, .to = 1e18};
    if (name == NULL || (times != NULL && from == NULL)) {
        return words_no_memory();
    }
    const struct scenario_backend *backend = find_backend(scenario, name);
    if (backend == NULL) {
        return no_backend(option, name);
    }
    if (from == NULL || !words_seconds(from, &outage.from) ||
        (to != NULL && (!words_seconds(to, &outage.to) || outage.to <= outage.from))) {
        return words_mistake("%s is written NAME@FROM or NAME@FROM-TO, such as b2@10m-12m, not %s",
                             option, text);
    }
    outage.backend = (uint32_t)(backend - scenario->backends);
    scenario->outages[scenario->outage_count++] = outage;
    return OFFLINE_OK;
}

int backends_understand(struct scenario *scenario, const struct later *later, uint32_t count) {
    int code = OFFLINE_OK;
    scenario->outages =
        region_take_array(&scenario->memory, count + (size_t)1, sizeof(*scenario->outages));
    if (scenario->outages == NULL) {
        return words_no_memory();
    }
    for (uint32_t i = 0; i < count && code == OFFLINE_OK; i++) {
        const char *text = later[i].text;
        switch (later[i].option) {
        case BACKEND_SLOW:
            code = set_slow(scenario, text);
            break;
        case BACKEND_CAPACITY:
            code = set_capacity(scenario, text);
            break;
        case BACKEND_RESET:
            code = set_resets(scenario, text);
            break;
        case BACKEND_FAIL:
            code = add_outage(scenario, "--fail", false, text);
            break;
        default:
            code = add_outage(scenario, "--remove", true, text);
            break;
        }
    }
    return code;
}
