/* Reading and keeping the texts of scripts; see source.h. */
#include "config/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Thread_local struct source_witness *source_witness;

#define BYTECODE_BEGINS '\x1b' /* LUA_SIGNATURE */

/* Opens a regular file: a pipe would keep the builder waiting for ever. NULL: errno. */
static FILE *open_file(const char *path) {
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return NULL;
    }
    FILE *file = NULL;
    if (fstat(descriptor, &status) == 0) {
        errno = S_ISDIR(status.st_mode) ? EISDIR : ENODEV;
        file = S_ISREG(status.st_mode) ? fdopen(descriptor, "r") : NULL;
    }
    if (file == NULL) {
        int error = errno;
        close(descriptor);
        errno = error;
    }
    return file;
}

/* The whole file in memory of malloc. NULL: errno. */
static char *read_file(const char *path, size_t *length) {
    if (source_witness != NULL) {
        source_witness->tried(source_witness, path);
    }
    FILE *file = open_file(path);
    size_t capacity = 16384;
    char *bytes = NULL;
    *length = 0;
    if (file == NULL) {
        return NULL;
    }
    for (;;) {
        char *grown = capacity <= SOURCE_BYTES_MAX ? realloc(bytes, capacity) : NULL;
        if (grown == NULL) {
            errno = capacity <= SOURCE_BYTES_MAX ? ENOMEM : EFBIG;
            break;
        }
        bytes = grown;
        errno = 0;
        *length += fread(bytes + *length, 1, capacity - *length, file);
        if (ferror(file)) {
            errno = errno != 0 ? errno : EIO;
            break;
        }
        if (*length > 0 && bytes[0] == BYTECODE_BEGINS) {
            errno = ENOEXEC;
            break;
        }
        if (*length < capacity) {
            bytes[*length] = '\0'; /* for those who show it; Lua goes by the length */
            fclose(file);
            return bytes;
        }
        capacity *= 2;
    }
    int error = errno;
    free(bytes);
    fclose(file);
    errno = error;
    return NULL;
}

const char *source_error(int error) {
    switch (error) {
    case ENOEXEC:
        return "it is compiled; write the path of the source text";
    case EFBIG:
        return "it is larger than 4 MiB";
    case ENODEV:
        return "it is no regular file";
    default:
        return strerror(error);
    }
}

struct script_source *source_load(const char *path) {
    struct script_source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        return NULL;
    }
    atomic_init(&source->references, 1);
    source->path = strdup(path);
    source->text = source->path != NULL ? read_file(path, &source->length) : NULL;
    if (source->text == NULL) {
        int error = errno;
        source_release(source);
        errno = error;
        return NULL;
    }
    return source;
}

const struct source_module *source_module(struct script_source *source, const char *path) {
    for (struct source_module *module = source->modules; module != NULL; module = module->next) {
        if (strcmp(module->path, path) == 0) {
            return module;
        }
    }
    size_t length;
    if (source->sealed) {
        errno = ENOENT;
        return NULL;
    }
    char *text = read_file(path, &length);
    if (text == NULL) {
        return NULL;
    }
    struct source_module *module = malloc(sizeof(*module) + length);
    if (module == NULL || (module->path = strdup(path)) == NULL) {
        free(module);
        free(text);
        errno = ENOMEM;
        return NULL;
    }
    module->length = length;
    memcpy(module->text, text, length);
    free(text);
    module->next = source->modules;
    source->modules = module;
    return module;
}

struct script_source *source_hold(struct script_source *source) {
    atomic_fetch_add_explicit(&source->references, 1, memory_order_relaxed);
    return source;
}

void source_release(struct script_source *source) {
    /* Release: our reads come before the free; acquire: the one who frees sees them all. */
    if (source == NULL ||
        atomic_fetch_sub_explicit(&source->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    while (source->modules != NULL) {
        struct source_module *module = source->modules;
        source->modules = module->next;
        free(module->path);
        free(module);
    }
    free(source->path);
    free(source->text);
    free(source);
}

static const struct source_module *find_module(const struct script_source *source,
                                               const char *path) {
    const struct source_module *module = source->modules;
    while (module != NULL && strcmp(module->path, path) != 0) {
        module = module->next;
    }
    return module;
}

/* Is every module of a in b, with the same text? */
static bool modules_within(const struct script_source *a, const struct script_source *b) {
    for (const struct source_module *module = a->modules; module != NULL; module = module->next) {
        const struct source_module *other = find_module(b, module->path);
        if (other == NULL || other->length != module->length ||
            memcmp(other->text, module->text, module->length) != 0) {
            return false;
        }
    }
    return true;
}

static bool own_text_equal(const struct script_source *a, const struct script_source *b) {
    return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

bool source_same_text(const struct script_source *a, const struct script_source *b) {
    return own_text_equal(a, b) && modules_within(a, b) && modules_within(b, a);
}

bool source_equal(const struct script_source *a, const struct script_source *b) {
    return strcmp(a->path, b->path) == 0 && source_same_text(a, b);
}

bool source_unchanged(const struct script_source *before, const struct script_source *now) {
    bool same = own_text_equal(before, now);
    for (const struct source_module *module = before->modules; same && module != NULL;
         module = module->next) {
        size_t length;
        char *text = read_file(module->path, &length);
        same = text != NULL && length == module->length && memcmp(text, module->text, length) == 0;
        free(text);
    }
    return same;
}
