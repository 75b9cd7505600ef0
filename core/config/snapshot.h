/* Snapshot: one immutable, validated configuration. Made on the builder thread from YAML
 * (snapshot_parse), then only read, by any thread; freed when the last reference is given back. */
#ifndef CONFIG_SNAPSHOT_H
#define CONFIG_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/owner.h"
#include "base/tcp_options.h"
#include "config/source.h"
#include "config/value.h"

struct timeouts { /* all ms; 0 = none */
    uint32_t connect_ms, idle_ms, session_ms, drain_ms, route_ms;
};

/* Which script answers, with which options: `least-conn` or {script: ./mine.lua, with: {...}}. */
struct script_use {
    char *name;         /* stock name, or the file's path as written */
    char *path;         /* NULL = stock; else absolute, or relative to the working directory */
    struct value *with; /* a map, or NULL */
    struct script_source *source; /* what `path` held (snapshot_read_scripts); NULL = stock */
    struct position at;
};

#define BACKEND_TAGS_MAX 16
#define SNAPSHOT_TAGS_MAX 32 /* different ones: as many as a slot has bits for */

struct backend_config {
    char *name;
    char *address_text;     /* as written */
    struct address address; /* length 0 until resolved (host names; the builder does it) */
    uint32_t weight;        /* default 1 */
    uint32_t max_sessions;
    char *zone; /* NULL: none */
    uint32_t tag_count;
    char **tags;
    uint32_t tag_bits; /* the bits of its tags; set by the builder */
    struct position at;
};

struct check_config {
    bool enabled;
    struct script_use script; /* kind check; `type: tcp` = stock */
    uint32_t interval_ms, timeout_ms, rise, fall;
};

/* Where connections to backends come from. */
struct source {
    enum source_kind { SOURCE_KERNEL, SOURCE_ADDRESS, SOURCE_CLIENT } kind;
    struct address address; /* of SOURCE_ADDRESS; port 0 */
    struct position at;
};

struct pool_config {
    char *name;
    struct script_use policy;
    char *fallback; /* stock native fallback: "round-robin" or "reject" */
    struct check_config check;
    uint32_t retries;
    uint32_t suspect_after;   /* connect failures in a row; 0 = off */
    char *zone;               /* where the balancer stands; inherited; NULL: not said */
    struct timeouts timeouts; /* inherited values filled in */
    struct tcp_options tcp;
    struct source source;
    uint32_t backend_count;
    struct backend_config *backends; /* document order */
    struct position at;
};

struct bind_config {
    char *text;
    struct address address;
    struct position at;
};

struct listener_config {
    char *name;
    uint32_t bind_count;
    struct bind_config *binds;
    int32_t pool;              /* index in snapshot.pools, or -1: none */
    struct script_use route;   /* kind route; runs on workers; name NULL: `pool` for everybody */
    struct script_use service; /* kind service; runs on control; name NULL: it relays */
    uint32_t max_sessions, backlog;
    struct tcp_options tcp;
    struct timeouts timeouts; /* idle, session, route: listener's, else its pool's, else global */
    struct position at;
};

/* Everything that stands in the file as a zone or a tag, each once. */
struct zone_config {
    const char *name;
    uint32_t code; /* zone_code(name): no two zones of a snapshot have the same */
};
struct tag_config {
    const char *name;
    uint32_t bit; /* of struct alacrity_backend.tag_bits; set by the builder */
};

struct snapshot {
    _Atomic uint32_t references;
    uint64_t number; /* counts configurations; set by the builder */
    char *file;
    uint32_t workers; /* resolved: never 0 */
    bool pin_workers;
    char *user; /* to become after the start; NULL: stay who we are */
    struct owner owner;
    struct position user_at;
    struct timeouts timeouts;
    uint32_t max_sessions;
    char *admin_socket;         /* default /run/alacrity/admin.sock; NULL = off */
    bool admin_socket_explicit; /* written by the user: failing to bind it is an error */
    struct log_settings log;
    bool log_sessions;
    bool splice;
    struct {
        bool jit;
        uint32_t pick_budget_ms, budget_ms;
        uint64_t memory_bytes;
        uint64_t shared_bytes;                /* limit of all shared dictionaries together */
        uint32_t overruns, overrun_window_ms; /* the breaker; overruns 0 = never */
        uint32_t rollback_errors;             /* 0 = never */
        uint32_t path_count;
        char **path; /* directories for require, made absolute against the file's directory */
    } lua;
    char *zone; /* where this balancer stands; NULL: not said */
    uint32_t zone_count, tag_count;
    struct zone_config *zones;
    struct tag_config *tags; /* at most SNAPSHOT_TAGS_MAX */
    uint32_t pool_count, listener_count;
    struct pool_config *pools;
    struct listener_config *listeners;
    void *memory; /* what owns all of the above (config/'s own) */
};

/* Parses and validates text. NULL: `messages` holds every mistake found. `file` is used in messages
 * and to resolve relative paths; copied. Scripts are checked to exist and be readable, not compiled
 * (the builder does that). The caller owns one reference. */
struct snapshot *snapshot_parse(const char *text, size_t length, const char *file,
                                struct messages *messages) __attribute__((warn_unused_result));
/* Reads the file, then the same. */
struct snapshot *snapshot_load(const char *file, struct messages *messages)
    __attribute__((warn_unused_result));
/* Builder: reads the text of every script, each file once. False: messages. */
bool snapshot_read_scripts(struct snapshot *snapshot, struct messages *messages)
    __attribute__((warn_unused_result));
/* Builder: looks every host name up; then it is known whether `source` fits. False: messages. */
bool snapshot_resolve(struct snapshot *snapshot, struct messages *messages)
    __attribute__((warn_unused_result));
struct snapshot *snapshot_hold(struct snapshot *snapshot);
void snapshot_release(struct snapshot *snapshot);

/* What is allowed, but hardly meant: a message each. Names that were not resolved are passed over.
 */
void snapshot_warn(const struct snapshot *snapshot, struct messages *warnings);

/* Does the listener relay to pools (else: a service answers)? */
bool listener_relays(const struct listener_config *listener);
/* Is there a listener with a route? */
bool snapshot_has_routes(const struct snapshot *snapshot);

/* The bit of the tag; 0: it stands nowhere in the snapshot. */
uint32_t snapshot_tag_bits(const struct snapshot *snapshot, const char *tag);
/* What stands for a zone in slots and views: a hash of its name, the same on every node. 0: none.
 */
uint32_t zone_code(const char *name);

/* Prints the JSON Schema (draft 7) cut from the schema table. */
void schema_print(struct text *out);
/* Prints the reference of all keys in Markdown, cut from the same table. */
void schema_print_reference(struct text *out);

#endif
