/* The console as people see it: lines from stdin, with a prompt when that is a terminal; what is
 * not complete yet is continued by the next line (docs/console.md). Runs in a process of its own,
 * without threads or loop. */
#include "client_console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/console.h"

#define PATIENCE_MS 30000 /* for an answer */
#define HEAD_MAX 32u

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_UNREACHABLE = 3 };

enum verdict { VERDICT_OK, VERDICT_ERROR, VERDICT_MORE, VERDICT_GONE };

struct talk {
    int descriptor;
    struct text heard; /* not yet taken */
};

static bool send_all(int descriptor, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(descriptor, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        bytes += sent > 0 ? sent : 0;
        length -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* False: errno, or 0 at the end. */
static bool hear_some(struct talk *talk) {
    char bytes[16384];
    for (;;) {
        struct pollfd ready = {.fd = talk->descriptor, .events = POLLIN};
        int count = poll(&ready, 1, PATIENCE_MS);
        if (count == 0) {
            errno = ETIMEDOUT;
            return false;
        }
        ssize_t got = count < 0 ? -1 : recv(talk->descriptor, bytes, sizeof(bytes), 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got > 0) {
            text_append(&talk->heard, bytes, (size_t)got);
        }
        errno = got == 0 ? 0 : talk->heard.failed ? ENOMEM : errno;
        return got > 0 && !talk->heard.failed;
    }
}

static void take(struct talk *talk, size_t length) {
    talk->heard.length -= length;
    memmove(talk->heard.bytes, talk->heard.bytes + length, talk->heard.length + 1);
}

/* The next line, without its end, into `line`. False: errno as hear_some. */
static bool hear_line(struct talk *talk, char line[HEAD_MAX]) {
    for (;;) {
        const char *newline =
            talk->heard.length == 0 ? NULL : memchr(talk->heard.bytes, '\n', talk->heard.length);
        size_t length = newline != NULL ? (size_t)(newline - talk->heard.bytes) : 0;
        if (newline != NULL && length < HEAD_MAX) {
            memcpy(line, talk->heard.bytes, length);
            line[length] = '\0';
            take(talk, length + 1);
            return true;
        }
        if (newline != NULL || talk->heard.length >= HEAD_MAX) {
            errno = EPROTO;
            return false;
        }
        if (!hear_some(talk)) {
            return false;
        }
    }
}

static enum verdict gone(void) {
    fprintf(stderr, "alacrity: the console has ended: %s\n",
            errno == 0 ? "the balancer closed it" : strerror(errno));
    return VERDICT_GONE;
}

/* Prints the answer. One that was no error is for stdout, and with JSON all are. */
static enum verdict hear_answer(struct talk *talk, bool json) {
    static const char *const words[] = {
        [VERDICT_OK] = "ok ", [VERDICT_ERROR] = "error ", [VERDICT_MORE] = "more "};
    char line[HEAD_MAX];
    if (!hear_line(talk, line)) {
        return gone();
    }
    for (int verdict = VERDICT_OK; verdict <= VERDICT_MORE; verdict++) {
        size_t length = strlen(words[verdict]);
        if (strncmp(line, words[verdict], length) != 0) {
            continue;
        }
        size_t bytes = strtoul(line + length, NULL, 10);
        while (talk->heard.length < bytes) {
            if (!hear_some(talk)) {
                return gone();
            }
        }
        FILE *out = verdict == VERDICT_ERROR && !json ? stderr : stdout;
        if (bytes > 0) {
            (void)fwrite(talk->heard.bytes, 1, bytes, out);
            take(talk, bytes);
        }
        if (fflush(out) != 0) {
            fprintf(stderr, "alacrity: cannot write the answer: %s\n", strerror(errno));
            return VERDICT_GONE;
        }
        return (enum verdict)verdict;
    }
    errno = EPROTO;
    return gone();
}

static enum verdict evaluate(struct talk *talk, const struct text *text, bool json) {
    char head[HEAD_MAX];
    if (text->length > CONSOLE_TEXT_BYTES) {
        fprintf(stderr, "alacrity: a text has at most %u bytes\n", CONSOLE_TEXT_BYTES);
        return VERDICT_ERROR;
    }
    int length = snprintf(head, sizeof(head), "%zu\n", text->length);
    /* If it cannot be sent: what it has said meanwhile is worth more than that error. */
    (void)(send_all(talk->descriptor, head, (size_t)length) &&
           send_all(talk->descriptor, text->bytes, text->length));
    return hear_answer(talk, json);
}

/* Nothing more will come to complete the text. */
static enum verdict end_incomplete(void) {
    fputs("alacrity: the text is not complete\n", stderr);
    return VERDICT_ERROR;
}

static enum verdict run_expression(struct talk *talk, const char *expression, bool json) {
    struct text text = {0};
    text_string(&text, expression);
    enum verdict verdict = VERDICT_ERROR;
    if (text.failed || text.bytes == NULL) {
        fputs(text.failed ? "alacrity: out of memory\n" : "alacrity: -e takes a text\n", stderr);
    } else {
        verdict = evaluate(talk, &text, json);
        verdict = verdict == VERDICT_MORE ? end_incomplete() : verdict;
    }
    text_free(&text);
    return verdict;
}

static void prompt(bool terminal, bool continued) {
    if (terminal) {
        fputs(continued ? ">> " : "> ", stdout);
        fflush(stdout);
    }
}

/* Words for the console itself, where a text begins. As Lua they would only be nil. */
static bool is_word(const char *line, const char *word) {
    size_t length = strlen(word);
    return strncmp(line, word, length) == 0 &&
           line[length + strspn(line + length, " \t\r\n")] == '\0';
}

static const char help[] =
    "facts                      everything the stats page shows, as it is now\n"
    "pools.app.backends.a       parts of it by name; listeners.web\n"
    "for n, p in pairs(pools) do print(n, p.sessions_total) end\n"
    "alacrity.shared('name')    dictionaries: get, ttl, count\n"
    "exit, quit, Ctrl-D         end; what else there is: docs/console.md\n";

/* Returns the worst that happened. */
static enum verdict run_lines(struct talk *talk, bool json) {
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    struct text text = {0};
    enum verdict worst = VERDICT_OK, verdict = VERDICT_OK;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    if (terminal) {
        puts("facts, pools, listeners and alacrity are there to look at; help tells more");
    }
    prompt(terminal, false);
    while (worst != VERDICT_GONE && (length = getline(&line, &capacity, stdin)) >= 0) {
        if (text.length == 0 && (is_word(line, "exit") || is_word(line, "quit"))) {
            break;
        }
        if (text.length == 0 && is_word(line, "help")) {
            fputs(help, stdout);
            prompt(terminal, false);
            continue;
        }
        if (strchr(line, '\033') != NULL) {
            fputs(
                "alacrity: there is no line editing here; it comes with: rlwrap alacrity console\n",
                stderr);
            worst = worst > VERDICT_ERROR ? worst : VERDICT_ERROR;
            prompt(terminal, text.length > 0);
            continue;
        }
        text_append(&text, line, (size_t)length);
        if (text.length > 0 && text.bytes[text.length - 1] == '\n') {
            text.bytes[--text.length] = '\0';
        }
        if (text.failed) {
            fputs("alacrity: out of memory\n", stderr);
            worst = VERDICT_GONE;
            break;
        }
        verdict = evaluate(talk, &text, json);
        if (verdict == VERDICT_MORE) {
            text_append(&text, "\n", 1);
        } else {
            text_clear(&text);
            worst = verdict > worst ? verdict : worst;
        }
        prompt(terminal && worst != VERDICT_GONE, verdict == VERDICT_MORE);
    }
    if (terminal) {
        putchar('\n');
    }
    if (worst != VERDICT_GONE && verdict == VERDICT_MORE && text.length > 0) {
        worst = end_incomplete();
    }
    free(line);
    text_free(&text);
    return worst;
}

/* What it said instead of beginning. */
static int show_refusal(struct talk *talk, bool json) {
    while (hear_some(talk)) {
    }
    (void)fwrite(talk->heard.bytes, 1, talk->heard.length, json ? stdout : stderr);
    return EXIT_REFUSED;
}

int client_console(int descriptor, const struct text *request, const char *expression) {
    struct talk talk = {.descriptor = descriptor};
    char line[HEAD_MAX];
    bool json = strncmp(request->bytes, "--json ", 7) == 0;
    int code = EXIT_UNREACHABLE;
    /* If it cannot take the request, it has said why. */
    (void)send_all(descriptor, request->bytes, request->length);
    if (!hear_line(&talk, line)) {
        gone();
    } else if (strcmp(line, "error") == 0) {
        code = show_refusal(&talk, json);
    } else if (strcmp(line, "ok") != 0) {
        fputs("alacrity: what answers at the admin socket is no balancer\n", stderr);
    } else {
        enum verdict worst =
            expression != NULL ? run_expression(&talk, expression, json) : run_lines(&talk, json);
        code = worst == VERDICT_GONE    ? EXIT_UNREACHABLE
               : worst == VERDICT_ERROR ? EXIT_REFUSED
                                        : EXIT_OK;
    }
    text_free(&talk.heard);
    return code;
}
