/* The command line's side of the admin socket: one request, one answer (docs/admin.md). Runs in a
 * process of its own, without threads or loop. */
#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"
#include "client_console.h"
#include "client_diff.h"
#include "config/snapshot.h"
#include "control/commands.h"

#define DEFAULT_SOCKET "/run/alacrity/admin.sock"
#define PATIENCE_MS                                                                                \
    10000 /* without a byte from the balancer; a reload may take as long as it likes */

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

static const char usage[] =
    "Usage: alacrity COMMAND\n"
    "\n"
    "Running:\n"
    "  run -f FILE                 run that configuration; `alacrity -f FILE` is the same\n"
    "    --watch                   and reload by itself when the file or a script of it changes\n"
    "  demo                        a demonstration that needs no file; --print shows its own\n"
    "  check -f FILE               tell every mistake in a configuration; exit 0: there is none\n"
    "  test PATH...                run the *_test.lua files below; see docs/testing.md\n"
    "  simulate                    play sessions through policies, compare; --help tells more\n"
    "  schema                      the JSON Schema of configurations; --markdown: a reference\n"
    "  version, help               print the version, this text\n"
    "\n"
    "Asking a running balancer:\n";

static const char usage_options[] =
    "\n"
    "Options of these:\n"
    "  --json                      answer as one JSON document\n"
    "  --socket PATH               the admin socket; default $ALACRITY_SOCKET, else\n"
    "                              " DEFAULT_SOCKET "\n"
    "  -f, --file FILE             take the socket from that configuration\n"
    "\n"
    "Signals: HUP reloads; TERM, QUIT and INT drain, a second one stops at once; USR1 reopens the\n"
    "log. Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 no balancer reached.\n";

void client_usage(FILE *out) {
    fputs(usage, out);
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &commands[i];
        char line[96];
        if (i == COMMAND_HELP) {
            continue; /* the socket's own */
        }
        snprintf(line, sizeof(line), "%s%s%s%s%s", command->verb, command->action ? " " : "",
                 command->action ? command->action : "", command->arguments[0] ? " " : "",
                 command->arguments);
        fprintf(out, "  %-27s %s\n", line, command->summary);
    }
    fputs(usage_options, out);
}

struct options {
    bool json;
    const char *socket, *file;
    const char *expression; /* of console -e; NULL: none */
    bool force;             /* of script promote */
    struct text with;       /* of script swap and shadow: " --with KEY=VALUE", for each */
};

/* "-1" is a word, which its command refuses or not, but getopt takes it for an option: it does not
 * see the first character of such words while it is at work. Done twice, nothing was done. */
static void veil_numbers(int argc, char **argv) {
    static const char plain = '-', veiled = '\001';
    for (int i = 0; i < argc; i++) {
        char *first = &argv[i][0];
        if (isdigit((unsigned char)(*first != '\0' ? first[1] : '\0'))) {
            *first = *first == plain ? veiled : *first == veiled ? plain : *first;
        }
    }
}

/* A word travels between spaces, in one line. */
static bool is_word(const char *word) {
    return word[0] != '\0' && strpbrk(word, " \n\r\t") == NULL;
}

/* Moves options out of the way: optind is then the first word. False: getopt told what is wrong. */
static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option known[] = {
        {"json", no_argument, NULL, 'j'},       {"socket", required_argument, NULL, 's'},
        {"file", required_argument, NULL, 'f'}, {"force", no_argument, NULL, 'F'},
        {"with", required_argument, NULL, 'w'}, {0}};
    int option;
    optind = 0; /* from the start, also when main has used it */
    while ((option = getopt_long(argc, argv, "f:e:", known, NULL)) != -1) {
        switch (option) {
        case 'j':
            options->json = true;
            break;
        case 's':
            options->socket = optarg;
            break;
        case 'f':
            options->file = optarg;
            break;
        case 'e':
            options->expression = optarg;
            break;
        case 'w':
            if (!is_word(optarg)) {
                fprintf(stderr, "alacrity: '%s' is not one word\n", optarg);
                return false;
            }
            text_format(&options->with, " --with %s", optarg);
            break;
        case 'F':
            options->force = true;
            break;
        default:
            return false;
        }
    }
    return true;
}

static bool read_options(int argc, char **argv, struct options *options) {
    veil_numbers(argc, argv);
    bool ok = parse_options(argc, argv, options);
    veil_numbers(argc, argv);
    return ok;
}

/* The socket of that configuration into `path`. Returns an exit code. */
static int socket_of_file(const char *file, char *path, size_t bytes) {
    struct messages messages = {0};
    struct snapshot *snapshot = snapshot_load(file, &messages);
    int code = EXIT_OK;
    if (snapshot == NULL) {
        fputs(messages.text.bytes != NULL ? messages.text.bytes : "out of memory\n", stderr);
        code = EXIT_REFUSED;
    } else if (snapshot->admin_socket == NULL) {
        fprintf(stderr, "alacrity: %s switches the admin socket off\n", file);
        code = EXIT_REFUSED;
    } else if (snprintf(path, bytes, "%s", snapshot->admin_socket) >= (int)bytes) {
        fprintf(stderr, "alacrity: %s: the admin socket's path is too long\n", file);
        code = EXIT_REFUSED;
    }
    if (snapshot != NULL) {
        snapshot_release(snapshot);
    }
    messages_free(&messages);
    return code;
}

static int find_socket(const struct options *options, struct sockaddr_un *address) {
    const char *path = options->socket;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (path == NULL && options->file != NULL) {
        return socket_of_file(options->file, address->sun_path, sizeof(address->sun_path));
    }
    if (path == NULL) {
        path = getenv("ALACRITY_SOCKET");
    }
    if (path == NULL || path[0] == '\0') {
        path = DEFAULT_SOCKET;
    }
    if (strlen(path) >= sizeof(address->sun_path)) {
        fprintf(stderr, "alacrity: the socket's path has more than %zu bytes\n",
                sizeof(address->sun_path) - 1);
        return EXIT_USAGE;
    }
    strcpy(address->sun_path, path);
    return EXIT_OK;
}

static int unreachable(const struct sockaddr_un *address, int error) {
    const char *hint = "";
    if (error == ENOENT || error == ECONNREFUSED) {
        hint = "; is it running, and is this its admin socket? (--socket, -f, ALACRITY_SOCKET)";
    }
    fprintf(stderr, "alacrity: cannot reach a balancer at %s: %s%s\n", address->sun_path,
            strerror(error), hint);
    return EXIT_UNREACHABLE;
}

/* A connected socket, or -1: errno. */
static int reach(const struct sockaddr_un *address) {
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    if (descriptor < 0) {
        return -1;
    }
    /* It bounds connect, when the queue of the socket is full, and send. */
    (void)setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(descriptor, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        int error = errno == EAGAIN ? ETIMEDOUT : errno;
        close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
}

/* The balancer may have answered before it read all (too many connections): what it says is worth
 * more than the error of sending. */
static void say(int descriptor, const struct text *request) {
    size_t sent = 0;
    while (sent < request->length) {
        ssize_t count =
            send(descriptor, request->bytes + sent, request->length - sent, MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR) {
            return;
        }
        sent += count > 0 ? (size_t)count : 0;
    }
}

/* All until the end. False: errno. The answer is taken whole before it is printed, so that a pager
 * does not make the balancer wait. */
static bool hear(int descriptor, int patience_ms, struct text *answer) {
    char bytes[65536];
    for (;;) {
        struct pollfd ready = {.fd = descriptor, .events = POLLIN};
        int count = poll(&ready, 1, patience_ms);
        if (count == 0) {
            errno = ETIMEDOUT;
            return false;
        }
        ssize_t got = count < 0 ? -1 : recv(descriptor, bytes, sizeof(bytes), 0);
        if (got == 0) {
            return true;
        }
        if (got > 0) {
            text_append(answer, bytes, (size_t)got);
        } else if (errno == ECONNRESET && answer->length > 0) {
            return true; /* it did not read our request to its end, but has answered */
        } else if (errno != EINTR) {
            return false;
        }
        if (answer->failed) {
            errno = ENOMEM;
            return false;
        }
    }
}

/* Takes the first line off. Returns an exit code. */
static int read_verdict(struct text *answer) {
    size_t ok = answer->length >= 3 && memcmp(answer->bytes, "ok\n", 3) == 0 ? 3 : 0;
    size_t bad = answer->length >= 6 && memcmp(answer->bytes, "error\n", 6) == 0 ? 6 : 0;
    if (ok + bad == 0) {
        fputs("alacrity: what answers at the admin socket is no balancer\n", stderr);
        return EXIT_UNREACHABLE;
    }
    answer->length -= ok + bad;
    memmove(answer->bytes, answer->bytes + ok + bad, answer->length + 1);
    return ok > 0 ? EXIT_OK : EXIT_REFUSED;
}

/* Prints an answer whose verdict was `code`. Returns an exit code. */
static int show(const struct text *answer, int code, bool json) {
    /* A program that asked for JSON finds its document on stdout, whatever it says. */
    FILE *out = code == EXIT_OK || json ? stdout : stderr;
    if (fwrite(answer->bytes, 1, answer->length, out) != answer->length || fflush(out) != 0) {
        fprintf(stderr, "alacrity: cannot write the answer: %s\n", strerror(errno));
        return EXIT_REFUSED;
    }
    return code;
}

/* Asks; the answer without its first line. Returns an exit code; `heard`: there is an answer. */
static int converse(const struct sockaddr_un *address, const struct text *request, int patience_ms,
                    struct text *answer, bool *heard) {
    int descriptor = reach(address);
    *heard = false;
    if (descriptor < 0) {
        return unreachable(address, errno);
    }
    say(descriptor, request);
    bool whole = hear(descriptor, patience_ms, answer);
    int error = errno;
    close(descriptor);
    if (!whole) {
        return unreachable(address, error);
    }
    int code = read_verdict(answer);
    *heard = code != EXIT_UNREACHABLE;
    return code;
}

/* ---- script diff: questions about two versions, and diff(1) ---- */

struct side {
    const char *word; /* the version as it was asked for */
    char title[320];
    struct text answer; /* its source, or why there is none */
};

static int ask_show(const struct sockaddr_un *address, const char *option, const char *pool,
                    const char *version, struct text *answer, bool *heard) {
    struct text request = {0};
    text_format(&request, "%sscript show %s %s\n", option, pool, version);
    if (request.failed) {
        fputs("alacrity: out of memory\n", stderr);
        text_free(&request);
        *heard = false;
        return EXIT_REFUSED;
    }
    text_free(answer);
    int code = converse(address, &request, PATIENCE_MS, answer, heard);
    text_free(&request);
    return code;
}

/* The number and the name at the beginning of the JSON document of `script show`; a name that JSON
 * escapes is left so. False: it is none. */
static bool read_title(struct side *side, char *number, size_t bytes) {
    static const char first[] = "{\"version\": ", second[] = ", \"name\": \"";
    const char *json = side->answer.length > 0 ? side->answer.bytes : "";
    if (strncmp(json, first, strlen(first)) != 0) {
        return false;
    }
    json += strlen(first);
    size_t digits = strspn(json, "0123456789");
    if (digits == 0 || digits >= bytes || strncmp(json + digits, second, strlen(second)) != 0) {
        return false;
    }
    snprintf(number, bytes, "%.*s", (int)digits, json);
    const char *name = json + digits + strlen(second);
    size_t length = 0;
    while (name[length] != '\0' && name[length] != '"') {
        length += name[length] == '\\' && name[length + 1] != '\0' ? 2 : 1;
    }
    bool by_number = isdigit((unsigned char)side->word[0]);
    snprintf(side->title, sizeof(side->title), "version %s (%.*s)%s%s", number,
             (int)(length < 200 ? length : 200), name, by_number ? "" : ", ",
             by_number ? "" : side->word);
    return true;
}

/* First who it is, then the source of just that one: "current" may be another by then. */
static int ask_side(const struct sockaddr_un *address, const char *pool, const char *word,
                    struct side *side) {
    char number[16];
    bool heard;
    side->word = word;
    int code = ask_show(address, "--json ", pool, word, &side->answer, &heard);
    if (code == EXIT_OK && read_title(side, number, sizeof(number))) {
        return ask_show(address, "", pool, number, &side->answer, &heard);
    }
    /* What is wrong, for people. */
    return heard ? ask_show(address, "", pool, word, &side->answer, &heard) : code;
}

static int tell_missing(const struct side *side) {
    fprintf(stderr, "alacrity: %s: %s", side->word,
            side->answer.length > 0 ? side->answer.bytes : "\n");
    return EXIT_REFUSED;
}

/* `words` are those behind "script diff". */
static int compare_versions(const struct sockaddr_un *address, const char *const *words,
                            uint32_t count) {
    const char *pool = words[0];
    struct side sides[2] = {0};
    struct side *a = &sides[0], *b = &sides[1];
    int code = ask_side(address, pool, count > 1 ? words[1] : "current", a);
    if (code == EXIT_OK) {
        code = ask_side(address, pool, count > 2 ? words[2] : "shadow", b);
        if (code == EXIT_REFUSED && count == 1) { /* no shadow: what changed last, then */
            code = ask_side(address, pool, "current", b);
            struct side failed = {0};
            if (code == EXIT_OK) {
                code = ask_side(address, pool, "previous", a);
            }
            if (code == EXIT_REFUSED && ask_side(address, pool, "failed", &failed) == EXIT_OK) {
                text_free(&a->answer);
                *a = failed;
                code = EXIT_OK;
            } else {
                text_free(&failed.answer);
            }
            if (code == EXIT_REFUSED) {
                code = tell_missing(a);
            }
        } else if (code == EXIT_REFUSED) {
            code = tell_missing(b);
        }
    } else if (code == EXIT_REFUSED) {
        code = tell_missing(a);
    }
    if (code == EXIT_OK) {
        code = client_diff(a->title, &a->answer, b->title, &b->answer);
    }
    text_free(&a->answer);
    text_free(&b->answer);
    return code;
}

static int open_console(const struct sockaddr_un *address, const struct text *request,
                        const char *expression) {
    int descriptor = reach(address);
    if (descriptor < 0) {
        return unreachable(address, errno);
    }
    int code = client_console(descriptor, request, expression);
    close(descriptor);
    return code;
}

/* A script's file is named as seen from here: the balancer may stand elsewhere. A name without a
 * slash or ".lua" is a stock policy's. NULL: told. */
static char *script_word(const char *word) {
    size_t length = strlen(word);
    bool is_file =
        strchr(word, '/') != NULL || (length > 4 && strcmp(word + length - 4, ".lua") == 0);
    char *result = is_file ? realpath(word, NULL) : strdup(word);
    if (result == NULL) {
        fprintf(stderr, "alacrity: %s: %s\n", word, strerror(errno));
    }
    return result;
}

/* What builds something is answered when that is done. */
static bool takes_its_time(enum command_kind kind) {
    return kind == COMMAND_RELOAD || (kind >= COMMAND_SCRIPT_SWAP && kind <= COMMAND_SCRIPT_DROP);
}

static int run(struct options *given, int argc, char **argv) {
    struct sockaddr_un address;
    struct request request;
    char error[512];
    if (!read_options(argc, argv, given)) {
        return EXIT_USAGE;
    }
    const struct options options = *given;
    const char *const *words = (const char *const *)(argv + optind);
    uint32_t count = (uint32_t)(argc - optind);
    if (!command_parse(words, count, &request, error, sizeof(error))) {
        fprintf(stderr, "alacrity: %s\n", error);
        return EXIT_USAGE;
    }
    if (options.expression != NULL && request.kind != COMMAND_CONSOLE) {
        fputs("alacrity: -e is for the console\n", stderr);
        return EXIT_USAGE;
    }
    if (options.force && request.kind != COMMAND_SCRIPT_PROMOTE) {
        fputs("alacrity: --force is for script promote\n", stderr);
        return EXIT_USAGE;
    }
    if (options.with.length > 0 && request.kind != COMMAND_SCRIPT_SWAP &&
        request.kind != COMMAND_SCRIPT_SHADOW) {
        fputs("alacrity: --with is for script swap and script shadow\n", stderr);
        return EXIT_USAGE;
    }
    struct text line = {0};
    line.failed = options.with.failed;
    text_string(&line, options.json ? "--json" : "");
    bool names_script =
        request.kind == COMMAND_SCRIPT_SWAP || request.kind == COMMAND_SCRIPT_SHADOW;
    for (uint32_t i = 0; i < count; i++) {
        bool is_script = names_script && i == 3;
        char *own = is_script ? script_word(words[i]) : NULL;
        const char *word = is_script ? own : words[i];
        bool fits = word != NULL && is_word(word);
        if (word != NULL && !fits) {
            fprintf(stderr, "alacrity: '%s' is not one word\n", word);
        }
        if (fits) {
            text_string(&line, line.length > 0 ? " " : "");
            text_string(&line, word);
        }
        free(own);
        if (!fits) {
            text_free(&line);
            return EXIT_USAGE;
        }
    }
    if (options.with.length > 0) {
        text_string(&line, options.with.bytes);
    }
    text_string(&line, options.force ? " --force\n" : "\n");
    int code = find_socket(&options, &address);
    if (code == EXIT_OK && line.failed) {
        fputs("alacrity: out of memory\n", stderr);
        code = EXIT_REFUSED;
    }
    if (code == EXIT_OK && request.kind == COMMAND_SCRIPT_DIFF) {
        code = compare_versions(&address, request.arguments, request.argument_count);
    } else if (code == EXIT_OK && request.kind == COMMAND_CONSOLE) {
        code = open_console(&address, &line, options.expression);
    } else if (code == EXIT_OK) {
        struct text answer = {0};
        bool heard;
        code = converse(&address, &line, takes_its_time(request.kind) ? -1 : PATIENCE_MS, &answer,
                        &heard);
        if (heard) {
            code = show(&answer, code, options.json);
        }
        text_free(&answer);
    }
    text_free(&line);
    return code;
}

int client_main(int argc, char **argv) {
    struct options options = {0};
    int code = run(&options, argc, argv);
    text_free(&options.with);
    return code;
}
