/* Reading what a request wishes of a pool's policy; see scripts.h. Control thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/given.h"
#include "control/commands.h"
#include "control/scripts.h"

void script_wish_free(struct script_wish *wish) {
    for (uint32_t i = 0; i < wish->option_count; i++) {
        free(wish->options[i]);
    }
    free(wish->file);
    free(wish);
}

static const char *read_sample(struct script_wish *wish, const char *word) {
    unsigned long one_of = strspn(word, "0123456789") == strlen(word) ? strtoul(word, NULL, 10) : 0;
    if (one_of < 1 || one_of > 1000000) {
        return "of how many sessions one is tried is a number from 1 to 1000000";
    }
    wish->sample = (uint32_t)one_of;
    return NULL;
}

static const char *read_option(struct script_wish *wish, const char *word) {
    if (word == NULL || !given_is_option(word)) {
        return "behind --with stands KEY=VALUE";
    }
    size_t key_length = (size_t)(strchr(word, '=') - word);
    if (wish->option_count == WISH_OPTIONS) {
        return "too many options; at most 24 can be given";
    }
    for (uint32_t i = 0; i < wish->option_count; i++) {
        if (strncmp(wish->options[i], word, key_length + 1) == 0) {
            return "an option is given twice";
        }
    }
    wish->options[wish->option_count] = strdup(word);
    return wish->options[wish->option_count++] != NULL ? NULL : "out of memory";
}

/* What stands behind pool and file. */
static const char *read_rest(struct script_wish *wish, const struct request *request) {
    const char *error = NULL;
    for (uint32_t i = 2; error == NULL && i < request->argument_count; i++) {
        const char *word = request->arguments[i];
        if (strcmp(word, "--with") == 0) {
            i++;
            error = read_option(wish, i < request->argument_count ? request->arguments[i] : NULL);
        } else if (i == 2 && wish->action == SCRIPT_SHADOW) {
            error = read_sample(wish, word);
        } else {
            error = "behind the file only --with KEY=VALUE may stand";
        }
    }
    return error;
}

static const char *read_words(struct script_wish *wish, const struct request *request) {
    const char *second = request->argument_count > 1 ? request->arguments[1] : NULL;
    if (strlen(request->arguments[0]) >= sizeof(wish->pool)) {
        return "there is no such pool: no name is that long";
    }
    strcpy(wish->pool, request->arguments[0]);
    switch (wish->action) {
    case SCRIPT_SWAP:
    case SCRIPT_SHADOW:
        wish->file = strdup(second);
        return wish->file != NULL ? read_rest(wish, request) : "out of memory";
    case SCRIPT_PROMOTE:
        wish->force = second != NULL;
        return second == NULL || strcmp(second, "--force") == 0
                   ? NULL
                   : "behind the pool only --force may stand";
    case SCRIPT_ROLLBACK:
        snprintf(wish->version, sizeof(wish->version), "%s", second != NULL ? second : "");
        return NULL;
    case SCRIPT_DROP:
        return NULL;
    }
    return NULL;
}

struct script_wish *script_wish_read(const struct request *request, const char **error) {
    static const enum script_action actions[COMMAND_COUNT] = {
        [COMMAND_SCRIPT_SWAP] = SCRIPT_SWAP,
        [COMMAND_SCRIPT_SHADOW] = SCRIPT_SHADOW,
        [COMMAND_SCRIPT_PROMOTE] = SCRIPT_PROMOTE,
        [COMMAND_SCRIPT_ROLLBACK] = SCRIPT_ROLLBACK,
        [COMMAND_SCRIPT_DROP] = SCRIPT_DROP};
    struct script_wish *wish = calloc(1, sizeof(*wish));
    if (wish == NULL) {
        *error = "out of memory";
        return NULL;
    }
    wish->action = actions[request->kind];
    wish->sample = 1;
    *error = read_words(wish, request);
    if (*error != NULL) {
        script_wish_free(wish);
        return NULL;
    }
    return wish;
}
