/* Commands: what the admin socket understands. The table serves the socket, the command line and
 * the help of both. Pure: any thread. */
#ifndef CONTROL_COMMANDS_H
#define CONTROL_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum command_kind {
    COMMAND_STATUS,
    COMMAND_RELOAD,
    COMMAND_BACKEND_LIST,
    COMMAND_BACKEND_DRAIN,
    COMMAND_BACKEND_READY,
    COMMAND_BACKEND_MAINT,
    COMMAND_BACKEND_WEIGHT,
    COMMAND_SESSION_LIST,
    COMMAND_SESSION_KILL,
    COMMAND_STATS,
    COMMAND_SCRIPT_LIST,
    COMMAND_SCRIPT_SHOW,
    COMMAND_SCRIPT_DIFF, /* the client's: two COMMAND_SCRIPT_SHOW */
    COMMAND_SCRIPT_SWAP,
    COMMAND_SCRIPT_SHADOW,
    COMMAND_SCRIPT_PROMOTE,
    COMMAND_SCRIPT_ROLLBACK,
    COMMAND_SCRIPT_DROP,
    COMMAND_CONSOLE, /* then the connection speaks as console.c says */
    COMMAND_HELP,
    COMMAND_COUNT
};

struct command {
    const char *verb, *action; /* action NULL: the verb stands alone */
    const char *arguments;     /* how to write them; "" when there are none */
    uint32_t minimum, maximum; /* how many */
    const char *summary;
};

extern const struct command commands[COMMAND_COUNT]; /* by enum command_kind */

/* A request in words. */
struct request {
    enum command_kind kind;
    const char *const
        *arguments; /* the words after verb and action; commands[kind] says how many */
    uint32_t argument_count;
};

/* False: `error` says what is wrong and what to write. */
bool command_parse(const char *const *words, uint32_t count, struct request *request, char *error,
                   size_t error_bytes) __attribute__((warn_unused_result));

/* "; did you mean 'X'?" or "" into `out`. */
void command_suggest(const char *word, const char *const *candidates, uint32_t count, char *out,
                     size_t bytes);

#endif
