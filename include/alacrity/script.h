/* The contract between the C core and the scripts: every structure a script can see.
 *
 * C includes this file as it is. The text between the cdef markers, preprocessed with
 * ALACRITY_CDEF defined, becomes LuaJIT's ffi.cdef, so both sides are cut from one text; sizes and
 * offsets are compared at start (lua/vm.c).
 *
 * A script only ever holds a `const struct X &` to one of the *public* structures. They contain no
 * pointer, no array and no 64-bit field: a visible struct field wins over a metatype's __index, so
 * a pointer or array there would be a hole to read memory through. What needs a pointer stands in
 * the *private* structure that begins with the public one; only lua/alacrity/prelude.lua sees it.
 */
#ifndef ALACRITY_SCRIPT_H
#define ALACRITY_SCRIPT_H

#ifdef ALACRITY_CDEF
#define ALACRITY_ATOMIC(type) type
#else
#include <stdatomic.h>
#include <stdint.h>
/* A word that several threads touch. Its writers are named where it is declared. */
#define ALACRITY_ATOMIC(type) _Atomic(type)
#endif

#define ALACRITY_SHARED_BYTES 65536 /* the longest string in a shared dictionary */
#define ALACRITY_NAME_BYTES 64      /* names of listeners, pools, backends, with the final NUL */
#define ALACRITY_ADDRESS_BYTES                                                                     \
    116 /* "unix:" + sun_path (108), or [IPv6]:port, with the final NUL */

/* alacrity_shared_value.type */
enum {
    ALACRITY_SHARED_NOTHING,
    ALACRITY_SHARED_NUMBER,
    ALACRITY_SHARED_BOOLEAN,
    ALACRITY_SHARED_STRING,
};

/* alacrity_library.stage: what the state's scripts may do. */
enum {
    ALACRITY_BUILDING, /* loaded or constructed: to change what outlives them is an error */
    ALACRITY_TRIAL,    /* tried, or a shadow: changes are answered as if, and not made */
    ALACRITY_LIVE,
    ALACRITY_LOOKING, /* a console: to change anything is an error */
};

/* cdef begin */
/* One server of a pool, as a script sees it: the head of its slot (core/pool/slot.h). */
struct alacrity_backend {
    uint32_t id;                          /* slot number; stable while the backend is known */
    ALACRITY_ATOMIC(uint32_t) weight;     /* effective, 0..1000000; writer: control */
    ALACRITY_ATOMIC(uint32_t) active;     /* sessions open or being dialled; writers: workers */
    ALACRITY_ATOMIC(uint32_t) state_code; /* enum backend_state; writers: control, workers */
    ALACRITY_ATOMIC(float)
    connect_ewma_ms; /* average connect time, 0 = none yet; writers: workers */
    ALACRITY_ATOMIC(uint32_t) max_sessions; /* 0 = no limit; writer: control */
    ALACRITY_ATOMIC(float) connect_last_ms; /* the last connect time, 0 = none; writers: workers */
    ALACRITY_ATOMIC(uint32_t) connected_at; /* and when, in seconds of alacrity.now() */
    ALACRITY_ATOMIC(uint32_t)
    recovered_at; /* when it could last take sessions again (as above), 0 = always could;
                     writers: control, workers */
    ALACRITY_ATOMIC(uint32_t) zone_code; /* of its zone's name, 0 = none; writer: control */
    ALACRITY_ATOMIC(uint32_t) tag_bits;  /* one a tag (core/pool/tags.h); writer: control */
};

/* The eligible backends of a pool, as one worker sees them now. */
struct alacrity_pool {
    uint32_t count;      /* eligible backends; `#pool` */
    uint32_t generation; /* another number whenever the state, weight, ... of a backend changed */
    uint32_t zone_code;  /* of the zone this balancer stands in, 0 = not said */
};

/* What is known of the session a backend, or (route scripts) a pool, is picked for. */
struct alacrity_ctx {
    uint32_t attempt;           /* 1 on the first pick, 2 on the first retry, ...; 0 in a route */
    uint32_t client_hash;       /* 32-bit hash of the client's address without its port */
    uint32_t client_port;       /* 0 for unix sockets */
    uint32_t last_failure_code; /* why the attempt before failed (errno), 0 on the first */
};

/* How a session ended that had asked a policy for a backend. */
struct alacrity_closed {
    uint32_t attempts;    /* backends that were dialled */
    uint32_t client_hash; /* as alacrity_ctx's */
    uint32_t client_port;
    uint32_t reason_code; /* enum session_reason */
    double duration_ms;   /* since it was accepted */
    double bytes_in;      /* from the client */
    double bytes_out;     /* to the client */
};

/* ---- private from here on: prelude.lua only ---- */
struct alacrity_backend_private {
    struct alacrity_backend view;
    char name[ALACRITY_NAME_BYTES];
    char pool[ALACRITY_NAME_BYTES];
    char address[ALACRITY_ADDRESS_BYTES];
};

struct alacrity_pool_private {
    struct alacrity_pool view;
    uint32_t all_count;
    const struct alacrity_backend *const *eligible; /* view.count of them, document order */
    const struct alacrity_backend *const *all;      /* all_count of them, document order */
    const char *name;
};

struct alacrity_ctx_private {
    struct alacrity_ctx view;
    const char *client;   /* numeric address without port, or "unix" */
    const char *listener; /* the listener's name */
    void *values;         /* struct values, what the session keeps; NULL: it is over, or made up */
};

struct alacrity_closed_private {
    struct alacrity_closed view;
    const char *client, *listener;
    const char *reason;                     /* session_reason_word */
    const struct alacrity_backend *backend; /* it was connected to; NULL = none */
    void *values;
};

/* What a session keeps under a key. */
struct alacrity_value {
    uint32_t type;   /* ALACRITY_SHARED_... */
    uint32_t length; /* of a string */
    double number;   /* a boolean is 0 or 1 */
    const char *bytes;
};

/* Native selectors: each answers a position in pool->eligible, or -1 when there is none. */
struct alacrity_natives {
    int32_t (*least)(const struct alacrity_pool *pool);
    int32_t (*rotate)(const struct alacrity_pool *pool, int64_t *rotation);
    uint32_t (*rotate_words)(uint32_t all_count); /* of a rotation for pools of so many */
    int32_t (*maglev)(const struct alacrity_pool *pool, uint32_t hash);
    int32_t (*ring)(const struct alacrity_pool *pool, uint32_t hash,
                    double factor);                                 /* 0: no bound */
    int32_t (*find)(const struct alacrity_pool *pool, uint32_t id); /* of a backend */
    const struct alacrity_pool *(*subset)(const struct alacrity_pool *pool, uint32_t kind,
                                          uint32_t tag_bits); /* NULL: see view_subset */
    uint32_t (*hash)(const char *bytes, uint32_t length);
    /* What sessions keep (core/base/values.h). `set` answers an enum values_fault. */
    void (*value_get)(const void *values, const char *key, uint32_t length,
                      struct alacrity_value *out);
    uint32_t (*value_set)(void *values, const char *key, uint32_t length, uint32_t type,
                          double number, const char *bytes, uint32_t value_length);
};

/* ---- the library's own: lua/alacrity/inner/ only ---- */
struct alacrity_library { /* one for each Lua state; lua/library.c */
    uint32_t stage;
    uint32_t row;        /* of the thread's metrics in the arena */
    void *shared;        /* struct shared; NULL: none here */
    void *arena;         /* struct arena; NULL: none here */
    double (*now)(void); /* a clock made up, in seconds; NULL: the real one */
};

/* What a shared dictionary answers (core/pool/shared.h). */
struct alacrity_shared_value {
    uint32_t type;
    uint32_t length; /* of a string */
    double number;   /* a boolean is 0 or 1 */
    char bytes[ALACRITY_SHARED_BYTES];
};
/* A key is `length` bytes at `key`, or `number` where `key` is NULL; so is a string as value. A
 * time to live is seconds, 0 = for good. */
struct alacrity_shared_natives {
    int32_t (*open)(const struct alacrity_library *library, const char *name, uint32_t length);
    void (*get)(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                uint32_t length, double number, struct alacrity_shared_value *out);
    void (*set)(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                uint32_t length, double number, uint32_t type, double value, const char *bytes,
                uint32_t value_length, double ttl);
    uint32_t (*add)(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                    uint32_t length, double number, uint32_t type, double value, const char *bytes,
                    uint32_t value_length, double ttl);
    void (*incr)(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                 uint32_t length, double number, double by, double initial, double ttl,
                 struct alacrity_shared_value *out);
    uint32_t (*delete)(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                       uint32_t length, double number);
    double (*ttl)(const struct alacrity_library *library, uint32_t dictionary, const char *key,
                  uint32_t length, double number); /* infinite: for good; -1: there is none */
    uint32_t (*count)(const struct alacrity_library *library, uint32_t dictionary);
};
struct alacrity_metric_natives {
    void (*add)(const struct alacrity_library *library, uint32_t id, double amount);
    void (*set)(const struct alacrity_library *library, uint32_t id, double value);
    void (*observe)(const struct alacrity_library *library, uint32_t id, double value);
};
/* cdef end */

#endif
