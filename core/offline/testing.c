/* `alacrity test`: the command line, finding the files, and what is printed: TAP version 13 on
 * standard output. One thread, on which the scripts run, too. */
#include "offline/testing.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "config/scalar.h"
#include "offline/offline.h"
#include "scripting.h"

#define SUFFIX "_test.lua"
#define DEPTH_MAX 64 /* of folders: a loop of links ends there */

static const char usage[] =
    "Usage: alacrity test [OPTIONS] PATH...\n"
    "Runs every case of the *_test.lua files named or found below the paths.\n"
    "\n"
    "  -I DIR            `require` looks there, too (after the test's own folder)\n"
    "  --only TEXT       only cases whose names contain it\n"
    "  --timeout TIME    most one case may take; 10s\n"
    "  --seed NUMBER     what math.random begins with; 1\n"
    "  -v, --verbose     show on standard error what scripts log\n"
    "\n"
    "Prints TAP version 13. Exit codes: 0 all passed, 1 not all, 2 wrong command line.\n";

struct names {
    char **items;
    uint32_t count, capacity;
};

struct testing {
    struct names files, includes;
    const char *only;
    uint64_t timeout_ms;
    double seed;
    bool verbose;
    const char *path; /* of the file that runs */
    uint32_t passed, failed;
};

static int usage_error(const char *what, const char *word) {
    fprintf(stderr, "alacrity test: %s%s; `alacrity test --help` tells more\n", what, word);
    return OFFLINE_USAGE;
}

/* Takes `name` over. False: no memory. */
static bool add_name(struct names *names, char *name) {
    if (name != NULL && names->count == names->capacity) {
        uint32_t capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        char **grown = realloc(names->items, capacity * sizeof(*grown));
        if (grown != NULL) {
            names->items = grown;
            names->capacity = capacity;
        }
    }
    if (name == NULL || names->count == names->capacity) {
        free(name);
        fputs("alacrity test: out of memory\n", stderr);
        return false;
    }
    names->items[names->count++] = name;
    return true;
}

static void free_names(struct names *names) {
    for (uint32_t i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free(names->items);
}

/* ---- finding ---- */

static bool is_test(const char *name) {
    size_t length = strlen(name), suffix = strlen(SUFFIX);
    return length > suffix && strcmp(name + length - suffix, SUFFIX) == 0;
}

static int cannot_read(const char *path) {
    fprintf(stderr, "alacrity test: %s: %s\n", path, strerror(errno));
    return OFFLINE_USAGE;
}

static int find_below(struct testing *testing, const char *folder, int depth);

/* A name found in a folder: a test, a folder, or nothing to us. */
static int look_at(struct testing *testing, const char *path, const char *name, int depth) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return errno == ENOENT ? OFFLINE_OK : cannot_read(path); /* a link to nowhere */
    }
    if (S_ISDIR(status.st_mode)) {
        return depth < DEPTH_MAX ? find_below(testing, path, depth + 1) : OFFLINE_OK;
    }
    if (S_ISREG(status.st_mode) && is_test(name)) {
        return add_name(&testing->files, strdup(path)) ? OFFLINE_OK : OFFLINE_FAILED;
    }
    return OFFLINE_OK;
}

/* In the order of names, so that a run can be compared with another. */
static int find_below(struct testing *testing, const char *folder, int depth) {
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    int code = OFFLINE_OK;
    if (count < 0) {
        return cannot_read(folder);
    }
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (code == OFFLINE_OK && name[0] != '.') {
            size_t length = strlen(folder);
            struct text path = {0};
            text_format(&path, "%s%s%s", folder, length > 0 && folder[length - 1] == '/' ? "" : "/",
                        name);
            code = path.failed ? OFFLINE_FAILED : look_at(testing, path.bytes, name, depth);
            text_free(&path);
        }
        free(entries[i]);
    }
    free(entries);
    return code;
}

/* A path of the command line: a file of any name, or a folder. */
static int find(struct testing *testing, const char *path) {
    struct stat status;
    uint32_t before = testing->files.count;
    if (stat(path, &status) != 0) {
        return cannot_read(path);
    }
    if (!S_ISDIR(status.st_mode)) {
        return add_name(&testing->files, strdup(path)) ? OFFLINE_OK : OFFLINE_FAILED;
    }
    int code = find_below(testing, path, 0);
    if (code == OFFLINE_OK && testing->files.count == before) {
        return usage_error("no *" SUFFIX " below ", path);
    }
    return code;
}

/* ---- printing ---- */

/* One line of text for a place where a line end, or what a terminal obeys, would do harm. */
static void print_line(const char *line, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)line[i];
        if (byte < ' ' && byte != '\t') {
            printf("\\x%02x", byte);
        } else {
            putchar(byte);
        }
    }
}

static void print_lines(const char *prefix, const char *lines) {
    while (*lines != '\0') {
        size_t length = strcspn(lines, "\n");
        fputs(prefix, stdout);
        print_line(lines, length);
        putchar('\n');
        lines += length + (lines[length] == '\n');
    }
}

/* `#` begins a directive in TAP. */
static void print_name(const char *name) {
    for (; *name != '\0'; name++) {
        if (*name == '#') {
            putchar('\\');
        }
        print_line(*name == '\n' ? " " : name, 1);
    }
}

static void tell(void *argument, const struct test_outcome *outcome) {
    struct testing *testing = argument;
    uint32_t number = testing->passed + testing->failed + 1;
    printf("%s %u - ", outcome->passed ? "ok" : "not ok", number);
    print_name(testing->path);
    fputs(": ", stdout);
    print_name(outcome->name);
    putchar('\n');
    if (outcome->passed) {
        testing->passed++;
    } else {
        testing->failed++;
        fputs("  ---\n  message: |\n", stdout);
        print_lines("    ", outcome->message);
        fputs("  ...\n", stdout);
    }
    fflush(stdout);
}

static void comment(void *argument, const char *line) {
    (void)argument;
    if (*line == '\0') {
        puts("#");
    }
    print_lines("# ", line);
    fflush(stdout);
}

/* ---- running ---- */

static int run_file(struct testing *testing, struct snapshot *snapshot, char *path) {
    const struct test_settings settings = {
        .path = path,
        .only = testing->only,
        .timeout_ms = (uint32_t)testing->timeout_ms,
        .seed = testing->seed,
        .argument = testing,
        .tell = tell,
        .comment = comment,
    };
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL   ? strdup(".")
                   : slash == path ? strdup("/")
                                   : strndup(path, (size_t)(slash - path));
    char **folders = calloc(testing->includes.count + (size_t)1, sizeof(*folders));
    if (folder == NULL || folders == NULL) {
        free(folder);
        free(folders);
        fputs("alacrity test: out of memory\n", stderr);
        return OFFLINE_FAILED;
    }
    folders[0] = folder;
    for (uint32_t i = 0; i < testing->includes.count; i++) {
        folders[i + 1] = testing->includes.items[i];
    }
    testing->path = path;
    snapshot->lua.path = folders;
    snapshot->lua.path_count = testing->includes.count + 1;
    scripting->test_file(snapshot, &settings);
    snapshot->lua.path = NULL;
    snapshot->lua.path_count = 0;
    free(folder);
    free(folders);
    return OFFLINE_OK;
}

static int run_all(struct testing *testing) {
    const struct log_settings log = {.target = testing->verbose ? "stderr" : "off",
                                     .level = LOG_DEBUG};
    struct snapshot *snapshot = offline_snapshot();
    int code = snapshot != NULL && log_prepare(&log, NULL) ? OFFLINE_OK : OFFLINE_FAILED;
    log_commit();
    puts("TAP version 13");
    for (uint32_t i = 0; i < testing->files.count && code == OFFLINE_OK; i++) {
        code = run_file(testing, snapshot, testing->files.items[i]);
    }
    if (snapshot != NULL) {
        snapshot_release(snapshot);
    }
    if (code != OFFLINE_OK) {
        puts("Bail out! memory is out");
        return code;
    }
    uint32_t count = testing->passed + testing->failed;
    printf("1..%u\n# %u passed, %u failed\n", count, testing->passed, testing->failed);
    if (count == 0) {
        return usage_error("no case has a name with ", testing->only);
    }
    if (fflush(stdout) != 0) {
        fprintf(stderr, "alacrity test: cannot write: %s\n", strerror(errno));
        return OFFLINE_FAILED;
    }
    return testing->failed == 0 ? OFFLINE_OK : OFFLINE_FAILED;
}

/* ---- the command line ---- */

static int take_option(struct testing *testing, int option) {
    uint64_t seed;
    switch (option) {
    case 'I':
        return add_name(&testing->includes, strdup(optarg)) ? OFFLINE_OK : OFFLINE_FAILED;
    case 'o':
        testing->only = optarg;
        return OFFLINE_OK;
    case 't':
        if (scalar_duration(optarg, &testing->timeout_ms) != SCALAR_OK ||
            testing->timeout_ms == 0 || testing->timeout_ms > 3600000) {
            return usage_error("--timeout must be a time such as 10s, at most 1h, not ", optarg);
        }
        return OFFLINE_OK;
    case 's':
        if (scalar_integer(optarg, &seed) != SCALAR_OK || seed == 0 || seed >= 1ull << 53) {
            return usage_error("--seed must be a whole number from 1 to 2^53, not ", optarg);
        }
        testing->seed = (double)seed;
        return OFFLINE_OK;
    case 'v':
        testing->verbose = true;
        return OFFLINE_OK;
    default:
        return OFFLINE_USAGE; /* getopt has said what is wrong */
    }
}

static int read_command_line(struct testing *testing, int argc, char **argv) {
    static const struct option known[] = {
        {"only", required_argument, NULL, 'o'}, {"timeout", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 's'}, {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},       {0}};
    int option, code = OFFLINE_OK;
    optind = 0;
    while (code == OFFLINE_OK && (option = getopt_long(argc, argv, "I:vh", known, NULL)) != -1) {
        code = take_option(testing, option);
    }
    if (code == OFFLINE_OK && optind == argc) {
        code = usage_error("name a file or a folder", "");
    }
    for (int i = optind; i < argc && code == OFFLINE_OK; i++) {
        code = find(testing, argv[i]);
    }
    return code;
}

int test_main(int argc, char **argv) {
    struct testing testing = {.timeout_ms = 10000, .seed = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return OFFLINE_OK;
        }
    }
    int code = read_command_line(&testing, argc, argv);
    if (code == OFFLINE_OK) {
        code = run_all(&testing);
    }
    free_names(&testing.files);
    free_names(&testing.includes);
    return code;
}
