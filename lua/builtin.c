/* What the Makefile builds into the binary: stock scripts and the Lua library. Any thread. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/vm.h"

extern const struct {
    const char *name; /* as "scripts/policies/random.lua" or "lua/alacrity/format.lua"; NULL ends */
    const char *text;
    size_t length;
} builtin_scripts[];

#define SUFFIX ".lua"
#define SUFFIX_BYTES (sizeof(SUFFIX) - 1)

const char *vm_builtin(const char *folder, const char *name, size_t *length) {
    const char *root = strcmp(folder, "alacrity") == 0 ? "lua" : "scripts";
    char path[256];
    int written = snprintf(path, sizeof(path), "%s/%s/%s" SUFFIX, root, folder, name);
    if (written < 0 || (size_t)written >= sizeof(path)) {
        return NULL; /* longer than any name there is */
    }
    for (uint32_t i = 0; builtin_scripts[i].name != NULL; i++) {
        if (strcmp(builtin_scripts[i].name, path) == 0) {
            *length = builtin_scripts[i].length;
            return builtin_scripts[i].text;
        }
    }
    return NULL;
}

/* ---- names by folder, made once ---- */

static const char *const folders[SCRIPT_KIND_COUNT] = {"policies", "checks", "services", "routes",
                                                       "tests"};
static const char *const *stock_names[SCRIPT_KIND_COUNT];
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

/* The name in "scripts/FOLDER/NAME.lua", a copy; NULL: it stands elsewhere, or no memory. */
static char *name_in(const char *path, const char *folder) {
    char prefix[64];
    int length = snprintf(prefix, sizeof(prefix), "scripts/%s/", folder);
    if (strncmp(path, prefix, (size_t)length) != 0 || strlen(path) <= length + SUFFIX_BYTES) {
        return NULL;
    }
    return strndup(path + length, strlen(path) - length - SUFFIX_BYTES);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void make_names(void) {
    uint32_t all = 0;
    while (builtin_scripts[all].name != NULL) {
        all++;
    }
    for (int folder = 0; folder < SCRIPT_KIND_COUNT; folder++) {
        char **names = calloc(all + 1, sizeof(*names));
        uint32_t count = 0;
        if (names == NULL) {
            continue;
        }
        for (uint32_t i = 0; i < all; i++) {
            char *name = name_in(builtin_scripts[i].name, folders[folder]);
            if (name != NULL) {
                names[count++] = name;
            }
        }
        qsort(names, count, sizeof(*names), by_name);
        stock_names[folder] = (const char *const *)names;
    }
}

const char *const *vm_stock_names(const char *folder) {
    pthread_once(&names_once, make_names);
    for (int i = 0; i < SCRIPT_KIND_COUNT; i++) {
        if (strcmp(folders[i], folder) == 0) {
            return stock_names[i];
        }
    }
    return NULL;
}
