/* Main: the command line, and what must stand before any thread starts. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.h"
#include "client.h"
#include "config/schema.h"
#include "config/snapshot.h"
#include "control/run.h"
#include "lua/facts.h"
#include "lua/scripting.h"
#include "offline/simulate.h"
#include "offline/testing.h"
#include "scripting.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int usage_error(const char *what, const char *word) {
    fprintf(stderr, "alacrity: %s%s; `alacrity help` lists the commands\n", what, word);
    return EXIT_USAGE;
}

#define DESCRIPTORS_AT_ONCE 65536u /* half a MiB in the kernel */

/* The kernel's table of descriptors doubles when it is full. With several threads that waits until
 * every CPU has let go of the old one: 10 ms and more in which a worker stands. So it is made large
 * while there is one thread. */
static void enlarge_descriptor_table(rlim_t limit) {
    rlim_t most = limit < DESCRIPTORS_AT_ONCE ? limit : DESCRIPTORS_AT_ONCE;
    int highest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, (int)most - 1);
    if (highest >= 0) { /* else it grows as it must */
        close(highest);
    }
}

/* Every session needs two descriptors: take what the hard limit allows. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* the old limit serves, with fewer sessions */
    }
    enlarge_descriptor_table(limit.rlim_cur);
}

static bool prove_scripting(void) {
    char error[256];
    if (!scripting->self_test(error, sizeof(error))) {
        fprintf(stderr, "alacrity: the Lua layer does not fit this build: %s\n", error);
        return false;
    }
    return true;
}

/* Something to do on a thread where scripts may run. */
struct task {
    int (*run)(const void *argument);
    const void *argument;
    int code;
};

static void *run_task(void *argument) {
    struct task *task = argument;
    task->code = task->run(task->argument);
    return NULL;
}

static int run_scripted(int (*run)(const void *argument), const void *argument) {
    struct task task = {.run = run, .argument = argument, .code = EXIT_FAILED};
    pthread_t thread;
    int error = scripting->thread_start(&thread, run_task, &task);
    if (error != 0) {
        fprintf(stderr, "alacrity: cannot start a thread: %s\n", strerror(error));
        return EXIT_FAILED;
    }
    pthread_join(thread, NULL);
    return task.code;
}

static int run_control(const void *source) {
    pthread_setname_np(pthread_self(), "control");
    log_thread("control");
    return control_run(source, facts_bind);
}

static int serve(const struct build_source *source) {
    char weakness[256];
    raise_descriptor_limit();
    /* Nothing this starts can gain privileges; threads inherit it. (Linux has it since 3.5.) */
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    (void)scripting->watchdog_open(weakness, sizeof(weakness)); /* control tells, when it logs */
    if (!prove_scripting()) {
        return EXIT_FAILED;
    }
    if (!log_start()) {
        fprintf(stderr, "alacrity: cannot start the log: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    int code = run_scripted(run_control, source);
    log_stop();
    return code;
}

/* The value of -f FILE / --file FILE; NULL: usage error told. `watch` NULL: the verb has no option
 * --watch. */
static const char *file_option(int argc, char **argv, bool *watch) {
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'}, {"watch", no_argument, NULL, 'w'}, {0}};
    const char *file = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "f:", options, NULL)) != -1) {
        if (option == 'w' && watch != NULL) {
            *watch = true;
        } else if (option == 'f') {
            file = optarg;
        } else {
            if (option == 'w') {
                usage_error("only a running balancer watches: run --watch", "");
            } /* else getopt has said what is wrong */
            return NULL;
        }
    }
    if (file == NULL && optind < argc) {
        file = argv[optind++];
    }
    if (file == NULL || optind < argc) {
        usage_error("write -f FILE", "");
        return NULL;
    }
    return file;
}

static int verb_run(int argc, char **argv) {
    bool watch = false;
    const char *file = file_option(argc, argv, &watch);
    return file == NULL ? EXIT_USAGE : serve(&(struct build_source){.file = file, .watch = watch});
}

/* Of a file that is in order. */
static void warn_of(const char *file) {
    struct messages messages = {0};
    struct snapshot *snapshot = snapshot_load(file, &messages);
    if (snapshot != NULL) { /* else it was changed just now */
        snapshot_warn(snapshot, &messages);
        fputs(messages.text.bytes != NULL ? messages.text.bytes : "", stderr);
        snapshot_release(snapshot);
    }
    messages_free(&messages);
}

static int check(const void *argument) {
    const struct build_source *source = argument;
    struct messages messages = {0};
    bool ok = build_check(source, &messages);
    if (ok) {
        printf("%s: ok\n", source->file);
        warn_of(source->file);
    } else {
        fputs(messages.text.bytes != NULL ? messages.text.bytes : "out of memory\n", stderr);
    }
    messages_free(&messages);
    return ok ? EXIT_OK : EXIT_FAILED;
}

static int verb_check(int argc, char **argv) {
    const char *file = file_option(argc, argv, NULL);
    if (file == NULL) {
        return EXIT_USAGE;
    }
    char weakness[256];
    (void)scripting->watchdog_open(weakness, sizeof(weakness)); /* `status` tells, of who serves */
    if (!prove_scripting()) {
        return EXIT_FAILED;
    }
    return run_scripted(check, &(struct build_source){.file = file});
}

/* The command line of a verb that has to run on a thread where scripts may. */
struct words {
    int (*run)(int argc, char **argv);
    int argc;
    char **argv;
};

static int run_words(const void *argument) {
    const struct words *words = argument;
    return words->run(words->argc, words->argv);
}

static int offline(int (*run)(int argc, char **argv), int argc, char **argv) {
    char weakness[256];
    (void)scripting->watchdog_open(weakness, sizeof(weakness)); /* then a count hook does it */
    if (!prove_scripting()) {
        return EXIT_FAILED;
    }
    return run_scripted(run_words, &(struct words){.run = run, .argc = argc, .argv = argv});
}

static int verb_test(int argc, char **argv) {
    return offline(test_main, argc, argv);
}

static int verb_simulate(int argc, char **argv) {
    return offline(simulate_main, argc, argv);
}

static int verb_demo(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        fputs(demo_configuration, stdout);
        return EXIT_OK;
    }
    if (argc > 1) {
        return usage_error("demo takes only --print, not ", argv[1]);
    }
    puts(
        "Alacrity demo: three backends, one of them of double weight, balanced by round-robin.\n"
        "  the service   http://127.0.0.1:8080/\n"
        "  the stats     http://127.0.0.1:8404/\n"
        "Try: reload the first a few times, then `alacrity backend drain app/a` in another shell,\n"
        "and watch the second. `alacrity demo --print` shows the configuration. Ctrl-C stops.");
    fflush(stdout);
    return serve(&(struct build_source){.file = "demo", .text = demo_configuration});
}

static int verb_schema(int argc, char **argv) {
    struct text text = {0};
    if (argc == 1) {
        schema_print(&text);
    } else if (argc == 2 && strcmp(argv[1], "--markdown") == 0) {
        schema_print_reference(&text);
    } else {
        return usage_error("schema takes only --markdown, not ", argv[1]);
    }
    bool ok = !text.failed && fputs(text.bytes, stdout) >= 0 && fflush(stdout) == 0;
    text_free(&text);
    return ok ? EXIT_OK : EXIT_FAILED;
}

static int verb_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    puts("alacrity " ALACRITY_VERSION);
    return EXIT_OK;
}

static int verb_help(int argc, char **argv) {
    (void)argc;
    (void)argv;
    client_usage(stdout);
    return EXIT_OK;
}

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"run", verb_run},         {"check", verb_check},       {"demo", verb_demo},
    {"test", verb_test},       {"simulate", verb_simulate}, {"schema", verb_schema},
    {"version", verb_version}, {"--version", verb_version}, {"help", verb_help},
    {"--help", verb_help},     {"-h", verb_help},           {"status", client_main},
    {"reload", client_main},   {"backend", client_main},    {"session", client_main},
    {"stats", client_main},    {"script", client_main},     {"console", client_main},
};

int main(int argc, char **argv) {
    scripting = scripting_table();
    config_stock_names = scripting_stock_names;
    if (argc < 2) {
        client_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "-f") == 0 || strcmp(argv[1], "--file") == 0 ||
        strcmp(argv[1], "--watch") == 0) {
        return verb_run(argc, argv); /* plain `alacrity -f FILE` */
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            bool client = verbs[i].run == client_main;
            return client ? client_main(argc, argv) : verbs[i].run(argc - 1, argv + 1);
        }
    }
    return usage_error("unknown command ", argv[1]);
}
