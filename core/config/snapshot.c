/* Snapshot: reading a configuration into one immutable whole, and counting who holds it. Made on
 * the builder thread (or by a command line tool), read and released by any. */
#include "config/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alacrity/script.h"
#include "config/document.h"
#include "config/fill.h"
#include "config/findings.h"
#include "config/labels.h"
#include "config/region.h"
#include "config/schema.h"

static uint32_t count_cpus(void) {
    const long most = (long)schema_find(&schema_root, "workers")->maximum;
    cpu_set_t allowed;
    long count;

    /* The CPUs we may run on; with more than cpu_set_t holds, those that are there. */
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
        count = CPU_COUNT(&allowed);
    } else {
        count = sysconf(_SC_NPROCESSORS_ONLN);
    }
    return count < 1 ? 1 : (uint32_t)(count > most ? most : count);
}

static void inherit(uint32_t *ms, uint32_t general) {
    if (*ms == DURATION_INHERITED) {
        *ms = general;
    }
}

/* What is not written in a pool or listener comes from above. */
static void inherit_timeouts(struct snapshot *snapshot) {
    const struct timeouts *general = &snapshot->timeouts;

    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        struct timeouts *timeouts = &snapshot->pools[i].timeouts;

        inherit(&timeouts->connect_ms, general->connect_ms);
        timeouts->idle_ms = general->idle_ms;
        timeouts->session_ms = general->session_ms;
        timeouts->drain_ms = general->drain_ms;
        timeouts->route_ms = general->route_ms;
    }
    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        struct listener_config *listener = &snapshot->listeners[i];
        const struct timeouts *above =
            listener->pool >= 0 ? &snapshot->pools[listener->pool].timeouts : general;

        inherit(&listener->timeouts.idle_ms, above->idle_ms);
        inherit(&listener->timeouts.session_ms, above->session_ms);
        inherit(&listener->timeouts.route_ms, above->route_ms);
        listener->timeouts.connect_ms = above->connect_ms;
        listener->timeouts.drain_ms = above->drain_ms;
    }
}

struct bound { /* one bind, for finding equal ones */
    char address[ALACRITY_ADDRESS_BYTES];
    const struct bind_config *bind;
    const struct listener_config *listener;
};

static int compare_bounds(const void *a, const void *b) {
    const struct bound *x = a, *y = b;
    const int order = strcmp(x->address, y->address);

    if (order != 0) {
        return order;
    }
    if (x->bind->at.line != y->bind->at.line) {
        return x->bind->at.line < y->bind->at.line ? -1 : 1;
    }
    return x->bind->at.column < y->bind->at.column ? -1 : 1;
}

static void check_binds(const struct snapshot *snapshot, struct region *memory,
                        struct findings *findings) {
    uint32_t total = 0, count = 0;

    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        total += snapshot->listeners[i].bind_count;
    }
    struct bound *bounds = region_take_array(memory, total, sizeof(*bounds));
    if (bounds == NULL) {
        findings_add(findings, 0, 0, "memory is out while reading; free some and try again");
        return;
    }
    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        const struct listener_config *listener = &snapshot->listeners[i];

        for (uint32_t j = 0; j < listener->bind_count; j++) {
            if (listener->binds[j].address.length > 0) {
                bounds[count].bind = &listener->binds[j];
                bounds[count].listener = listener;
                address_format(&listener->binds[j].address, bounds[count].address,
                               sizeof(bounds[count].address));
                count++;
            }
        }
    }
    qsort(bounds, count, sizeof(*bounds), compare_bounds);
    for (uint32_t i = 1, first = 0; i < count; i++) {
        if (strcmp(bounds[i].address, bounds[first].address) != 0) {
            first = i;
            continue;
        }
        findings_add(findings, bounds[i].bind->at.line, bounds[i].bind->at.column,
                     "listener '%s' already binds %s (line %u); write another address or port",
                     bounds[first].listener->name, bounds[i].address, bounds[first].bind->at.line);
    }
}

/* `user` gives up what it takes to come from the clients' addresses. */
static void check_sources(const struct snapshot *snapshot, struct findings *findings) {
    const bool gives_up = snapshot->user != NULL && snapshot->owner.user != 0 && geteuid() == 0;

    for (uint32_t i = 0; i < snapshot->pool_count && gives_up; i++) {
        const struct source *source = &snapshot->pools[i].source;

        if (source->kind == SOURCE_CLIENT) {
            findings_add(findings, source->at.line, source->at.column,
                         "'source: client' needs CAP_NET_ADMIN, which is given up with root for "
                         "'user'; leave 'user' out, and start it as that user with the capability "
                         "(systemd: AmbientCapabilities=CAP_NET_ADMIN)");
        }
    }
}

/* Everything that can be said of the document; the snapshot counts only if nothing is found. */
static void read_into(struct snapshot *snapshot, struct region *memory, const struct node *root,
                      struct findings *findings) {
    const char *slash = strrchr(snapshot->file, '/');
    const char *directory = region_copy(findings->memory, snapshot->file,
                                        slash != NULL ? (size_t)(slash - snapshot->file) + 1 : 0);
    struct fill fill = {
        .snapshot = snapshot, .memory = memory, .findings = findings, .directory = directory};

    if (directory == NULL) {
        memory->failed = true;
        return;
    }
    if (root->kind != NODE_MAP && !node_is_null(root)) {
        findings_add(findings, root->line, root->column,
                     "the configuration must be a map of keys; write 'listeners:' and 'pools:', as "
                     "in examples/minimal.yaml");
        return;
    }
    fill_snapshot(&fill, root);
    if (memory->failed) {
        return;
    }
    if (snapshot->pool_count == 0 && snapshot->listener_count == 0 && findings->count == 0) {
        findings_add(findings, root->line, root->column,
                     "there is nothing to do: no listeners and no pools; write listeners: {web: "
                     "{bind: \"127.0.0.1:8080\", pool: app}} and pools: {app: {backends: {a: "
                     "127.0.0.1:9001}}}");
    }
    if (snapshot->workers == 0) {
        snapshot->workers = count_cpus();
    }
    check_binds(snapshot, findings->memory, findings);
    check_sources(snapshot, findings);
    inherit_timeouts(snapshot);
    labels_gather(snapshot, memory, findings);
}

static struct snapshot *snapshot_make(const char *file) {
    struct region *memory = calloc(1, sizeof(*memory));
    struct snapshot *snapshot = memory != NULL ? region_take(memory, sizeof(*snapshot)) : NULL;

    if (snapshot == NULL || (snapshot->file = region_copy(memory, file, strlen(file))) == NULL) {
        if (memory != NULL) {
            region_free(memory);
        }
        free(memory);
        return NULL;
    }
    snapshot->memory = memory;
    atomic_init(&snapshot->references, 1);
    return snapshot;
}

struct snapshot *snapshot_parse(const char *text, size_t length, const char *file,
                                struct messages *messages) {
    struct region scratch = {0};
    struct findings findings = {.file = file, .memory = &scratch};
    struct snapshot *snapshot = snapshot_make(file);

    if (snapshot != NULL) {
        struct region *memory = snapshot->memory;
        const struct node *root = document_read(text, length, &scratch, &findings);

        if (root != NULL) {
            read_into(snapshot, memory, root, &findings);
        }
        if (memory->failed || scratch.failed || findings.count > 0) {
            if (findings.count == 0) {
                findings_add(&findings, 0, 0, "memory is out; free some and try again");
            }
            snapshot_release(snapshot);
            snapshot = NULL;
        }
    } else {
        findings_add(&findings, 0, 0, "memory is out; free some and try again");
    }
    findings_report(&findings, messages);
    region_free(&scratch);
    return snapshot;
}

/* Reads at most DOCUMENT_BYTES_MAX + 1 bytes, so that a larger file is noticed, and from anything
 * that can be read. NULL: errno. */
static char *read_file(const char *file, size_t *length) {
    const int descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat status;
    char *bytes = NULL;
    size_t used = 0, capacity = 0;
    ssize_t got = -1;

    if (descriptor < 0) {
        return NULL;
    }
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= 0 &&
        status.st_size <= DOCUMENT_BYTES_MAX) {
        capacity = (size_t)status.st_size;
    }
    for (;;) {
        if (used == capacity || bytes == NULL) {
            /* One byte more than a regular file has: its end is then seen without growing. */
            capacity = bytes == NULL ? capacity + 1 : capacity * 2 + 4096;
            char *grown = realloc(bytes, capacity);
            if (grown == NULL) {
                got = -1;
                errno = ENOMEM;
                break;
            }
            bytes = grown;
        }
        got = read(descriptor, bytes + used, capacity - used);
        if (got > 0) {
            used += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            break;
        }
        if (used > DOCUMENT_BYTES_MAX) {
            break;
        }
    }
    const int error = errno;
    close(descriptor);
    if (got < 0) {
        free(bytes);
        errno = error;
        return NULL;
    }
    *length = used;
    return bytes;
}

struct snapshot *snapshot_load(const char *file, struct messages *messages) {
    size_t length;
    char *text = read_file(file, &length);
    struct snapshot *snapshot = NULL;

    if (text == NULL) {
        messages_add(messages, (struct position){file, 0, 0}, "cannot be read: %s; %s",
                     strerror(errno),
                     fill_file_advice(errno, "write the name of a configuration file"));
        return NULL;
    }
    snapshot = snapshot_parse(text, length, file, messages);
    free(text);
    return snapshot;
}

/* ---- scripts ---- */

/* Calls visit for every use of a script of the user's. */
static void each_script(struct snapshot *snapshot,
                        void (*visit)(struct snapshot *snapshot, struct script_use *use,
                                      struct messages *messages),
                        struct messages *messages) {
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        struct pool_config *pool = &snapshot->pools[i];
        struct script_use *uses[] = {&pool->policy, &pool->check.script};
        for (size_t k = 0; k < sizeof(uses) / sizeof(uses[0]); k++) {
            if (uses[k]->path != NULL) {
                visit(snapshot, uses[k], messages);
            }
        }
    }
    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        struct listener_config *listener = &snapshot->listeners[i];
        struct script_use *uses[] = {&listener->route, &listener->service};
        for (size_t k = 0; k < sizeof(uses) / sizeof(uses[0]); k++) {
            if (uses[k]->path != NULL) {
                visit(snapshot, uses[k], messages);
            }
        }
    }
}

/* One file may be used in many places. NULL: not read yet. */
static struct script_source *find_source(const struct snapshot *snapshot, const char *path) {
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        const struct pool_config *pool = &snapshot->pools[i];
        if (pool->policy.source != NULL && strcmp(pool->policy.path, path) == 0) {
            return pool->policy.source;
        }
        if (pool->check.script.source != NULL && strcmp(pool->check.script.path, path) == 0) {
            return pool->check.script.source;
        }
    }
    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        const struct listener_config *listener = &snapshot->listeners[i];
        if (listener->route.source != NULL && strcmp(listener->route.path, path) == 0) {
            return listener->route.source;
        }
        if (listener->service.source != NULL && strcmp(listener->service.path, path) == 0) {
            return listener->service.source;
        }
    }
    return NULL;
}

static void read_script(struct snapshot *snapshot, struct script_use *use,
                        struct messages *messages) {
    struct script_source *known = find_source(snapshot, use->path);
    use->source = known != NULL ? source_hold(known) : source_load(use->path);
    if (use->source == NULL) {
        messages_add(messages, use->at, "cannot read the script %s: %s", use->name,
                     source_error(errno));
    }
}

static void release_script(struct snapshot *snapshot, struct script_use *use,
                           struct messages *messages) {
    (void)snapshot;
    (void)messages;
    source_release(use->source);
    use->source = NULL;
}

bool snapshot_read_scripts(struct snapshot *snapshot, struct messages *messages) {
    const uint32_t before = messages->count;
    each_script(snapshot, read_script, messages);
    return messages->count == before;
}

/* A connection has one family at both ends. */
static void check_source(const struct pool_config *pool, const struct backend_config *backend,
                         struct messages *messages) {
    const int from = pool->source.address.any.sa_family, to = backend->address.any.sa_family;

    if (pool->source.kind == SOURCE_ADDRESS && backend->address.length > 0 && from != to &&
        to != AF_UNIX) {
        messages_add(messages, backend->at,
                     "backend '%s' has an %s address, which cannot be reached from the pool's "
                     "'source', an %s one; write backends of one kind, or leave 'source' out",
                     backend->name, to == AF_INET6 ? "IPv6" : "IPv4",
                     from == AF_INET6 ? "IPv6" : "IPv4");
    }
}

bool snapshot_resolve(struct snapshot *snapshot, struct messages *messages) {
    const uint32_t before = messages->count;

    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        for (uint32_t j = 0; j < snapshot->pools[i].backend_count; j++) {
            struct backend_config *backend = &snapshot->pools[i].backends[j];
            char error[256];

            if (backend->address.length == 0 &&
                !address_resolve(backend->address_text, &backend->address, error, sizeof(error))) {
                backend->address.length = 0;
                messages_add(messages, backend->at, "%s; write another name, or an address", error);
            }
            check_source(&snapshot->pools[i], backend, messages);
        }
    }
    return messages->count == before;
}

bool listener_relays(const struct listener_config *listener) {
    return listener->service.name == NULL;
}

bool snapshot_has_routes(const struct snapshot *snapshot) {
    for (uint32_t i = 0; i < snapshot->listener_count; i++) {
        if (snapshot->listeners[i].route.name != NULL) {
            return true;
        }
    }
    return false;
}

struct snapshot *snapshot_hold(struct snapshot *snapshot) {
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_release(struct snapshot *snapshot) {
    /* Release: our reads come before the free; acquire: the one who frees sees them all. */
    if (snapshot != NULL &&
        atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) == 1) {
        struct region *memory = snapshot->memory;

        each_script(snapshot, release_script, NULL);
        region_free(memory);
        free(memory);
    }
}
