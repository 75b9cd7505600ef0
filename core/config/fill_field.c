/* Fill, the values that need more than their text: addresses, files, names of pools and of stock
 * scripts. Builder thread and command line tools. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "config/fill.h"
#include "config/scalar.h"

#define ERROR_BYTES 256
#define LISTED_POOLS 8 /* up to this many a message names them all */

static char *copy(struct fill *fill, const char *text) {
    return region_copy(fill->memory, text, strlen(text));
}

static struct position position_of(const struct fill *fill, const struct node *node) {
    return (struct position){fill->snapshot->file, node->line, node->column};
}

static bool is_text(const struct node *node) {
    return node->kind == NODE_SCALAR && !node_is_null(node) && node->text[0] != '\0';
}

/* The nodes of a value that may be one or a list. */
static const struct node *as_list(const struct node *node, uint32_t *count) {
    *count = node->kind == NODE_LIST ? node->count : 1;
    return node->kind == NODE_LIST ? node->items : node;
}

static void fill_socket(struct fill *fill, const struct key *key, const struct node *name,
                        const struct node *node) {
    bool on = true;

    if (!is_text(node) || (!node->quoted && scalar_boolean(node->text, &on) == SCALAR_OK && on)) {
        fill_mismatch(fill, key, node);
        return;
    }
    if (strlen(node->text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' is longer than a unix socket's path may be; write at most 107 bytes",
                     key->name);
        return;
    }
    fill->snapshot->admin_socket = on ? copy(fill, node->text) : NULL;
    fill->snapshot->admin_socket_explicit = name != NULL;
}

const char *fill_file_advice(int error, const char *otherwise) {
    return error == EACCES ? "let the user this runs as read it and enter its folder" : otherwise;
}

#define USER_BYTES_MAX (1u << 20) /* of one entry in the database of users */

/* 0, ENOENT: there is no such user, or why it cannot be told. */
static int find_user(const char *name, struct owner *owner) {
    for (size_t bytes = 1024;; bytes *= 4) {
        char *buffer = malloc(bytes);
        struct passwd entry, *found = NULL;
        int error = buffer != NULL ? getpwnam_r(name, &entry, buffer, bytes, &found) : ENOMEM;

        if (found != NULL) {
            *owner = (struct owner){.user = found->pw_uid, .group = found->pw_gid};
        }
        free(buffer);
        if (error != ERANGE || bytes >= USER_BYTES_MAX) {
            return error == 0 && found == NULL ? ENOENT : error;
        }
    }
}

static void fill_user(struct fill *fill, const struct key *key, const struct node *node) {
    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    const int error = find_user(node->text, &fill->snapshot->owner);
    if (error == ENOENT) {
        findings_add(fill->findings, node->line, node->column,
                     "there is no user '%s' on this machine; write the name of one there is, or "
                     "add it",
                     findings_excerpt(fill->findings, node->text));
    } else if (error != 0) {
        findings_add(fill->findings, node->line, node->column,
                     "the user '%s' cannot be looked up: %s; try again, or write another",
                     findings_excerpt(fill->findings, node->text), strerror(error));
    }
    fill->snapshot->user = copy(fill, node->text);
    fill->snapshot->user_at = position_of(fill, node);
}

/* A name relative to the configuration file, as seen from the working directory. */
static char *relative_path(struct fill *fill, const char *name) {
    struct text path = {0};
    char *result = NULL;

    if (name[0] != '/') {
        text_string(&path, fill->directory);
    }
    text_string(&path, strncmp(name, "./", 2) == 0 ? name + 2 : name);
    if (path.failed) {
        fill->memory->failed = true;
    } else {
        result = region_copy(fill->memory, path.bytes, path.length);
    }
    text_free(&path);
    return result;
}

static void fill_directories(struct fill *fill, const struct key *key, const struct node *node,
                             void *target) {
    uint32_t count;
    const struct node *items = as_list(node, &count);
    char **paths = region_take_array(fill->memory, count, sizeof(*paths));

    for (uint32_t i = 0; i < count && paths != NULL; i++) {
        const struct node *item = &items[i];
        struct stat status;

        if (!is_text(item)) {
            fill_mismatch(fill, key, item);
            continue;
        }
        const char *path = relative_path(fill, item->text);
        if (path == NULL) {
            return;
        }
        char *absolute = realpath(path, NULL);
        if (absolute == NULL || stat(absolute, &status) != 0) {
            findings_add(fill->findings, item->line, item->column,
                         "the directory '%s' cannot be used: %s; %s", path, strerror(errno),
                         fill_file_advice(errno, "write one that exists, relative to this file"));
        } else if (!S_ISDIR(status.st_mode)) {
            findings_add(fill->findings, item->line, item->column,
                         "'%s' is not a directory; write the directory the modules are in", path);
        } else {
            paths[i] = copy(fill, absolute);
        }
        free(absolute);
    }
    *(char ***)((char *)target + key->offset) = paths;
    *(uint32_t *)((char *)target + key->count_offset) = paths != NULL ? count : 0;
}

/* One name, copied. NULL: a finding, or memory is out. */
static char *read_word(struct fill *fill, const struct key *key, const struct node *node) {
    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return NULL;
    }
    if (!name_is_valid(node->text)) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' cannot be a name in '%s'; write 1 to 63 of A-Z a-z 0-9 . _ -, beginning "
                     "with a letter or digit",
                     findings_excerpt(fill->findings, node->text), key->name);
        return NULL;
    }
    return copy(fill, node->text);
}

static void fill_words(struct fill *fill, const struct key *key, const struct node *node,
                       void *target) {
    uint32_t count, filled = 0;
    const struct node *items = as_list(node, &count);
    char **words = region_take_array(fill->memory, count, sizeof(*words));

    if (count > key->maximum) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' has %u names; write at most %u", key->name, count,
                     (uint32_t)key->maximum);
        return;
    }
    for (uint32_t i = 0; i < count && words != NULL; i++) {
        char *word = read_word(fill, key, &items[i]);

        for (uint32_t k = 0; k < filled && word != NULL; k++) {
            if (strcmp(words[k], word) == 0) {
                findings_add(fill->findings, items[i].line, items[i].column,
                             "'%s' stands twice in '%s'; write it once", word, key->name);
                word = NULL;
            }
        }
        if (word != NULL) {
            words[filled++] = word;
        }
    }
    *(char ***)((char *)target + key->offset) = words;
    *(uint32_t *)((char *)target + key->count_offset) = filled;
}

static void fill_address(struct fill *fill, const struct key *key, const struct node *node,
                         struct backend_config *backend) {
    char error[ERROR_BYTES];

    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    backend->address_text = copy(fill, node->text);
    if (address_parse(node->text, &backend->address, error, sizeof(error)) == ADDRESS_BAD) {
        findings_add(fill->findings, node->line, node->column, "%s", error);
    }
}

static void fill_binds(struct fill *fill, const struct key *key, const struct node *node,
                       void *target) {
    uint32_t count;
    const struct node *items = as_list(node, &count);
    struct bind_config *binds = region_take_array(fill->memory, count, sizeof(*binds));

    if (count == 0) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' is an empty list; write %s: %s", key->name, key->name, key->example);
    }
    for (uint32_t i = 0; i < count && binds != NULL; i++) {
        const struct node *item = &items[i];
        char error[ERROR_BYTES];

        if (!is_text(item)) {
            fill_mismatch(fill, key, item);
            continue;
        }
        binds[i].text = copy(fill, item->text);
        binds[i].at = position_of(fill, item);
        switch (address_parse(item->text, &binds[i].address, error, sizeof(error))) {
        case ADDRESS_NUMERIC:
            break;
        case ADDRESS_HOST:
            findings_add(fill->findings, item->line, item->column,
                         "'%s' is a host name; write the address to listen on, as in "
                         "127.0.0.1:8080, \"*:8080\" or \"[::]:8080\"",
                         findings_excerpt(fill->findings, item->text));
            break;
        case ADDRESS_BAD:
            findings_add(fill->findings, item->line, item->column, "%s", error);
            break;
        }
    }
    *(struct bind_config **)((char *)target + key->offset) = binds;
    *(uint32_t *)((char *)target + key->count_offset) = binds != NULL ? count : 0;
}

static int compare_pools(const void *a, const void *b, void *pools) {
    const struct pool_config *const array = pools;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const int order = strcmp(array[x].name, array[y].name);

    return order != 0 ? order : x < y ? -1 : 1;
}

/* Index of the pool of that name, -1 if there is none. Sorted once: thousands of listeners may
 * refer to thousands of pools. */
static int32_t find_pool(struct fill *fill, const char *name) {
    const struct snapshot *snapshot = fill->snapshot;
    uint32_t low = 0, high = snapshot->pool_count;

    if (fill->pools_by_name == NULL) {
        fill->pools_by_name =
            region_take_array(fill->findings->memory, high, sizeof(*fill->pools_by_name));
        if (fill->pools_by_name == NULL) {
            fill->memory->failed = true;
            return -1;
        }
        for (uint32_t i = 0; i < high; i++) {
            fill->pools_by_name[i] = i;
        }
        qsort_r(fill->pools_by_name, high, sizeof(*fill->pools_by_name), compare_pools,
                snapshot->pools);
    }
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (strcmp(snapshot->pools[fill->pools_by_name[middle]].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const bool found = low < snapshot->pool_count &&
                       strcmp(snapshot->pools[fill->pools_by_name[low]].name, name) == 0;
    return found ? (int32_t)fill->pools_by_name[low] : -1;
}

static void unknown_pool(struct fill *fill, const struct node *node) {
    const struct snapshot *snapshot = fill->snapshot;
    const char *excerpt = findings_excerpt(fill->findings, node->text);
    const char **names =
        findings_are_many(fill->findings)
            ? NULL
            : region_take_array(fill->findings->memory, snapshot->pool_count, sizeof(*names));
    struct text known = {0};
    const char *near = NULL;

    if (names != NULL) {
        for (uint32_t i = 0; i < snapshot->pool_count; i++) {
            names[i] = snapshot->pools[i].name;
            if (snapshot->pool_count <= LISTED_POOLS) {
                text_format(&known, "%s%s", i == 0 ? "" : ", ",
                            findings_excerpt(fill->findings, names[i]));
            }
        }
        near = nearest_word(node->text, names, snapshot->pool_count);
    }
    if (near != NULL) {
        findings_add(fill->findings, node->line, node->column,
                     "there is no pool '%s'; did you mean '%s'?", excerpt, near);
    } else if (known.bytes != NULL) {
        findings_add(fill->findings, node->line, node->column,
                     "there is no pool '%s'; write it under 'pools', or write one of: %s", excerpt,
                     known.bytes);
    } else {
        findings_add(fill->findings, node->line, node->column,
                     "there is no pool '%s'; write it under 'pools', or the name of another",
                     excerpt);
    }
    text_free(&known);
}

static void fill_pool(struct fill *fill, const struct key *key, const struct node *node,
                      int32_t *index) {
    if (fill->memory->failed) {
        return; /* names of pools may be missing */
    }
    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    *index = find_pool(fill, node->text);
    if (*index < 0) {
        unknown_pool(fill, node);
    }
}

static void unknown_stock(struct fill *fill, const struct key *key, const struct node *node,
                          const char *const *names, uint32_t count) {
    const char *near = nearest_word(node->text, names, count);
    const char *excerpt = findings_excerpt(fill->findings, node->text);
    struct text known = {0};

    for (uint32_t i = 0; i < count; i++) {
        text_format(&known, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    if (near != NULL) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' is not among the stock %s; did you mean '%s'?", excerpt, key->folder,
                     near);
    } else if (strchr(node->text, '/') != NULL || strstr(node->text, ".lua") != NULL) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' is not among the stock %s; for a file of yours write {script: %s}",
                     excerpt, key->folder, excerpt);
    } else {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' is not among the stock %s; write one of: %s", excerpt, key->folder,
                     known.bytes != NULL ? known.bytes : "none");
    }
    text_free(&known);
}

static void fill_stock(struct fill *fill, const struct key *key, const struct node *node,
                       struct script_use *use) {
    const char *const *names = config_stock_names != NULL ? config_stock_names(key->folder) : NULL;
    uint32_t count = 0;

    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    use->name = copy(fill, node->text);
    use->path = NULL;
    use->at = position_of(fill, node);
    if (names == NULL) {
        return;
    }
    for (; names[count] != NULL; count++) {
        if (strcmp(names[count], node->text) == 0) {
            return;
        }
    }
    unknown_stock(fill, key, node, names, count);
}

static void fill_script(struct fill *fill, const struct key *key, const struct node *node,
                        struct script_use *use) {
    struct stat status;

    if (!is_text(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    use->name = copy(fill, node->text);
    use->path = relative_path(fill, node->text);
    use->at = position_of(fill, node);
    if (use->path == NULL) {
        return;
    }
    if (stat(use->path, &status) != 0 || faccessat(AT_FDCWD, use->path, R_OK, AT_EACCESS) != 0) {
        findings_add(fill->findings, node->line, node->column,
                     "the script '%s' cannot be read: %s; %s", use->path, strerror(errno),
                     fill_file_advice(errno, "write the name of a file, relative to this one"));
    } else if (!S_ISREG(status.st_mode)) {
        findings_add(fill->findings, node->line, node->column,
                     "the script '%s' is not a file; write the name of a Lua file", use->path);
    }
}

static void fill_options(struct fill *fill, const struct key *key, const struct node *node,
                         struct script_use *use) {
    if (node->kind == NODE_MAP) {
        use->with = value_from_node(fill->memory, fill->snapshot->file, node);
    } else if (!node_is_null(node)) {
        fill_mismatch(fill, key, node);
    }
}

void fill_field(struct fill *fill, const struct key *key, const struct node *name,
                const struct node *node, void *target) {
    void *field = (char *)target + key->offset;

    switch (key->type) {
    case KEY_SOCKET:
        fill_socket(fill, key, name, node);
        break;
    case KEY_USER:
        fill_user(fill, key, node);
        break;
    case KEY_DIRECTORIES:
        fill_directories(fill, key, node, target);
        break;
    case KEY_WORD:
        *(char **)field = read_word(fill, key, node);
        break;
    case KEY_WORDS:
        fill_words(fill, key, node, target);
        break;
    case KEY_ADDRESS:
        fill_address(fill, key, node, field);
        break;
    case KEY_BINDS:
        fill_binds(fill, key, node, target);
        break;
    case KEY_POOL:
        fill_pool(fill, key, node, field);
        break;
    case KEY_STOCK:
        fill_stock(fill, key, node, field);
        break;
    case KEY_SCRIPT:
        fill_script(fill, key, node, field);
        break;
    case KEY_CONGESTION:
        fill_congestion(fill, key, node, field);
        break;
    case KEY_SOURCE:
        fill_source(fill, key, node, field);
        break;
    case KEY_OPTIONS:
        fill_options(fill, key, node, field);
        break;
    default: /* the plain ones are filled in fill.c */
        break;
    }
}
