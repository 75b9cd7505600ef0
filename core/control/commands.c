/* The table of commands, and finding one in it. Pure: any thread. */
#include "control/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/messages.h"

#define WORD_SHOWN 40 /* bytes of a wrong word that are repeated */

const struct command commands[COMMAND_COUNT] = {
    [COMMAND_STATUS] = {"status", NULL, "", 0, 0, "version, workers, listeners, pools, scripts"},
    [COMMAND_RELOAD] = {"reload", NULL, "", 0, 0,
                        "read configuration and scripts again; all or none"},
    [COMMAND_BACKEND_LIST] = {"backend", "list", "[POOL]", 0, 1, "backends, their state and why"},
    [COMMAND_BACKEND_DRAIN] = {"backend", "drain", "POOL/NAME", 1, 1,
                               "no new sessions; open ones go on"},
    [COMMAND_BACKEND_READY] = {"backend", "ready", "POOL/NAME", 1, 1, "take sessions again"},
    [COMMAND_BACKEND_MAINT] = {"backend", "maint", "POOL/NAME", 1, 1,
                               "as drain, and it is not checked"},
    [COMMAND_BACKEND_WEIGHT] = {"backend", "weight", "POOL/NAME N", 2, 2,
                                "its share, 0 to 1000000, until the configured one changes"},
    [COMMAND_SESSION_LIST] = {"session", "list", "", 0, 0, "open sessions"},
    [COMMAND_SESSION_KILL] = {"session", "kill", "ID", 1, 1, "end one session"},
    [COMMAND_STATS] = {"stats", NULL, "", 0, 0, "totals of listeners and pools"},
    [COMMAND_SCRIPT_LIST] = {"script", "list", "[POOL]", 0, 1,
                             "versions of policies, and how shadows compare"},
    [COMMAND_SCRIPT_SHOW] =
        {"script", "show", "POOL [VERSION]", 1, 2,
         "source of a version: current, previous, failed, shadow or its number"},
    [COMMAND_SCRIPT_DIFF] = {"script", "diff", "POOL [A] [B]", 1, 3,
                             "what differs between two versions"},
    [COMMAND_SCRIPT_SWAP] = {"script", "swap", "POOL FILE [--with KEY=VALUE]...", 2, 52,
                             "build, prove and publish another policy"},
    [COMMAND_SCRIPT_SHADOW] = {"script", "shadow", "POOL FILE [N] [--with KEY=VALUE]...", 2, 53,
                               "ask it too, for one session of N, and only count"},
    [COMMAND_SCRIPT_PROMOTE] = {"script", "promote", "POOL [--force]", 1, 2,
                                "the shadow becomes current; --force: also when it failed"},
    [COMMAND_SCRIPT_ROLLBACK] = {"script", "rollback", "POOL [VERSION]", 1, 2,
                                 "return to the version before, or to one by its number"},
    [COMMAND_SCRIPT_DROP] = {"script", "drop", "POOL", 1, 1, "end the shadow"},
    [COMMAND_CONSOLE] = {"console", NULL, "", 0, 0,
                         "evaluate Lua over the facts; -e TEXT: one text, and end"},
    [COMMAND_HELP] = {"help", NULL, "", 0, 0, "this list"},
};

void command_suggest(const char *word, const char *const *candidates, uint32_t count, char *out,
                     size_t bytes) {
    const char *near = nearest_word(word, candidates, count);
    if (near != NULL) {
        snprintf(out, bytes, "; did you mean '%s'?", near);
    } else {
        out[0] = '\0';
    }
}

/* All verbs, or (verb given) all its actions. */
static uint32_t list_words(const char *verb, const char **out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        if (verb != NULL && strcmp(commands[i].verb, verb) == 0) {
            out[count++] = commands[i].action;
        } else if (verb == NULL &&
                   (i == 0 || strcmp(commands[i].verb, commands[i - 1].verb) != 0)) {
            out[count++] = commands[i].verb;
        }
    }
    return count;
}

static void unknown_word(const char *verb, const char *word, char *error, size_t error_bytes) {
    const char *known[COMMAND_COUNT];
    char suggestion[96];
    command_suggest(word, known, list_words(verb, known), suggestion, sizeof(suggestion));
    snprintf(error, error_bytes, "unknown command '%s%s%.*s%s'%s%s", verb != NULL ? verb : "",
             verb != NULL ? " " : "", WORD_SHOWN, word, strlen(word) > WORD_SHOWN ? "..." : "",
             suggestion, suggestion[0] == '\0' ? "; 'help' lists the commands" : "");
}

static void missing_action(const char *verb, char *error, size_t error_bytes) {
    const char *known[COMMAND_COUNT];
    uint32_t count = list_words(verb, known);
    size_t length = (size_t)snprintf(error, error_bytes, "'%s' needs a second word:", verb);
    for (uint32_t i = 0; i < count && length < error_bytes; i++) {
        length += (size_t)snprintf(error + length, error_bytes - length, "%s %s", i > 0 ? "," : "",
                                   known[i]);
    }
}

bool command_parse(const char *const *words, uint32_t count, struct request *request, char *error,
                   size_t error_bytes) {
    bool verb_known = false;
    if (count == 0) {
        snprintf(error, error_bytes, "no command; 'help' lists the commands");
        return false;
    }
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &commands[i];
        uint32_t used = command->action != NULL ? 2 : 1;
        if (strcmp(command->verb, words[0]) != 0) {
            continue;
        }
        verb_known = true;
        if (used == 2 && (count < 2 || strcmp(command->action, words[1]) != 0)) {
            continue;
        }
        if (count - used < command->minimum || count - used > command->maximum) {
            snprintf(error, error_bytes, "wrong number of words; write: %s%s%s%s%s", command->verb,
                     used == 2 ? " " : "", used == 2 ? command->action : "",
                     command->arguments[0] != '\0' ? " " : "", command->arguments);
            return false;
        }
        *request = (struct request){.kind = (enum command_kind)i,
                                    .arguments = words + used,
                                    .argument_count = count - used};
        return true;
    }
    if (!verb_known) {
        unknown_word(NULL, words[0], error, error_bytes);
    } else if (count < 2) {
        missing_action(words[0], error, error_bytes);
    } else {
        unknown_word(words[0], words[1], error, error_bytes);
    }
    return false;
}
