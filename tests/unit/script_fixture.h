/* For tests of lua/: an arena with one pool of backends that take sessions, a snapshot, a folder
 * for scripts, and a worker's host. Every part may be changed by a test. */
#ifndef SCRIPT_FIXTURE_H
#define SCRIPT_FIXTURE_H

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/scripting.h"
#include "lua/scripting.h"
#include "lua/vm.h"
#include "pool/arena.h"
#include "pool/view.h"

/* The bench uses this too, which is no Check test. */
#define fixture_must(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fixture {
    char folder[64];
    struct arena *arena;
    struct pool_facts *facts;
    uint32_t count;
    struct slot **slots; /* count of them */
    struct pool_view view;
    struct snapshot snapshot;
    char *lua_path[1];
    struct script_host *host;
    struct messages messages;
    struct pool_config pool;
    char script_path[128]; /* of the last fixture_script */
    uint32_t scripts;
    struct script_source *sources[64]; /* read by fixture_read */
    uint32_t source_count;
};

/* Backends b1, b2, ... with the weights, all up. */
static inline void fixture_open(struct fixture *f, uint32_t count, const uint32_t *weights) {
    char error[256];
    memset(f, 0, sizeof(*f));
    strcpy(f->folder, "/tmp/alacrity-test-XXXXXX");
    fixture_must(mkdtemp(f->folder) != NULL);
    scripting = scripting_table();
    f->arena = arena_new(error, sizeof(error));
    fixture_must(f->arena != NULL);
    f->facts = arena_take_pool(f->arena, "app");
    fixture_must(f->facts != NULL);
    f->count = count;
    f->slots = calloc(count + (size_t)1, sizeof(struct slot *));
    fixture_must(f->slots != NULL);
    for (uint32_t i = 0; i < count; i++) {
        char name[16], address[32];
        bool changed;
        snprintf(name, sizeof(name), "b%u", i + 1);
        snprintf(address, sizeof(address), "127.0.0.1:%u", 9001 + i);
        f->slots[i] = arena_take_slot(f->arena, f->facts, name, address, &changed);
        fixture_must(f->slots[i] != NULL);
        atomic_store(&f->slots[i]->presence, PRESENCE_PRESENT);
        atomic_store(&f->slots[i]->health, HEALTH_UP);
        atomic_store(&f->slots[i]->script.view.weight, weights != NULL ? weights[i] : 1);
        slot_changed(f->slots[i], f->facts);
    }
    fixture_must(view_init(&f->view, f->facts, "app", f->slots, count));
    f->lua_path[0] = f->folder;
    f->snapshot.number = 7;
    f->snapshot.lua.jit = true;
    f->snapshot.lua.path = f->lua_path;
    f->snapshot.lua.path_count = 1;
    f->host = scripting->host_new(&f->snapshot, f->arena, NULL, NULL, 0, &f->messages);
    fixture_must(f->host != NULL);
}

/* Bits of the tags in fixture_labels. */
enum { FIXTURE_CANARY = 31, FIXTURE_BACKUP = 2 };

/* Before the first policy: zones east, where we are, and west; tags canary and backup. */
static inline void fixture_labels(struct fixture *f) {
    static struct zone_config zones[] = {{.name = "east"}, {.name = "west"}};
    static struct tag_config tags[] = {{"canary", FIXTURE_CANARY}, {"backup", FIXTURE_BACKUP}};
    for (int i = 0; i < 2; i++) {
        zones[i].code = zone_code(zones[i].name);
    }
    f->snapshot.zones = zones;
    f->snapshot.tags = tags;
    f->snapshot.zone_count = f->snapshot.tag_count = 2;
    f->view.script.view.zone_code = zone_code("east");
}

static inline int fixture_remove(const char *path, const struct stat *status, int kind,
                                 struct FTW *walk) {
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static inline void fixture_close(struct fixture *f) {
    scripting->host_free(f->host);
    view_free(&f->view);
    free(f->slots);
    arena_free(f->arena);
    messages_free(&f->messages);
    while (f->source_count > 0) {
        source_release(f->sources[--f->source_count]);
    }
    nftw(f->folder, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_write(const struct fixture *f, const char *name, const char *text,
                                 size_t length) {
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->folder, name);
    FILE *file = fopen(path, "w");
    fixture_must(file != NULL);
    fixture_must(fwrite(text, 1, length, file) == length);
    fclose(file);
}

static inline struct script_use fixture_stock(const char *name) {
    return (struct script_use){.name = (char *)(uintptr_t)name, .at = {"app.yaml", 4, 13}};
}

/* As snapshot_read_scripts does for a configuration. False: said. */
static inline bool fixture_read(struct fixture *f, struct script_use *use) {
    if (use->path == NULL || use->source != NULL) {
        return true;
    }
    use->source = source_load(use->path);
    if (use->source == NULL) {
        messages_add(&f->messages, use->at, "cannot read the script %s: %s", use->name,
                     source_error(errno));
        return false;
    }
    if (f->source_count == 64) { /* the oldest is in no state any more, or holds its own */
        source_release(f->sources[0]);
        memmove(f->sources, f->sources + 1, 63 * sizeof(f->sources[0]));
        f->source_count--;
    }
    f->sources[f->source_count++] = use->source;
    return true;
}

/* A script of the user's, in a file of its own that goes by the name ./mine.lua in messages. */
static inline struct script_use fixture_script(struct fixture *f, const char *text) {
    char file[32];
    snprintf(file, sizeof(file), "mine%u.lua", f->scripts++);
    fixture_write(f, file, text, strlen(text));
    snprintf(f->script_path, sizeof(f->script_path), "%s/%s", f->folder, file);
    struct script_use use = {.name = (char *)(uintptr_t) "./mine.lua",
                             .path = f->script_path,
                             .at = {"app.yaml", 4, 13}};
    if (!fixture_read(f, &use)) {
        messages_free(&f->messages); /* the one who uses it is told, and says so again */
    }
    return use;
}

static inline struct policy *fixture_policy(struct fixture *f, struct script_use use) {
    f->pool.name = (char *)(uintptr_t) "app";
    f->pool.policy = use;
    if (!fixture_read(f, &f->pool.policy)) {
        return NULL;
    }
    const struct policy_order order = {.use = &f->pool.policy, .view = &f->view};
    struct policy *policy = scripting->policy_new(f->host, &order, &f->messages);
    view_prepare(&f->view, NULL, 0);
    return policy;
}

/* The body of a policy's pick(self, ctx, pool), as a script of the user's. */
static inline struct policy *fixture_pick(struct fixture *f, const char *body) {
    char text[8192];
    snprintf(text, sizeof(text),
             "local M = {api = 1, kind = 'policy', name = 'mine'}\n"
             "function M.new(cfg) local instance = {cfg = cfg}\n"
             "function instance.pick(self, ctx, pool) %s\nend return instance end return M",
             body);
    return fixture_policy(f, fixture_script(f, text));
}

static inline const char *fixture_said(const struct fixture *f) {
    return f->messages.text.bytes != NULL ? f->messages.text.bytes : "";
}

#define fixture_assert_said(f, expected) ck_assert_str_eq(fixture_said(f), expected)
#define fixture_assert_says(f, part)                                                               \
    ck_assert_msg(strstr(fixture_said(f), part) != NULL, "expected '%s' in: %s", part,             \
                  fixture_said(f))

#endif
