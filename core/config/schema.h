/* Schema: THE table of all keys. Parsing, defaults, ranges, messages, the JSON Schema and the
 * reference are driven by it; a new key is one row here and a field in snapshot.h.
 *
 * Layers above may include this header for config_stock_names only. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The names of the stock scripts of "policies", "checks" and so on, NULL-terminated. Set by
 * main before the first snapshot is parsed, so that this layer need not know Lua. NULL: names are
 * not checked here. */
extern const char *const *(*config_stock_names)(const char *folder);

/* What a key's value may be, and the C type of the field at `offset`. */
enum key_type {
    KEY_BOOLEAN,     /* bool */
    KEY_INTEGER,     /* uint32_t, minimum..maximum */
    KEY_DURATION,    /* uint32_t in ms; without `initial` it starts as DURATION_INHERITED */
    KEY_SIZE,        /* uint64_t in bytes */
    KEY_TEXT,        /* char *; one of `choices` if there are any */
    KEY_WORD,        /* char *: a name like those of pools; NULL when not written */
    KEY_WORDS,       /* char ** and a count: one or a list, at most `maximum` different ones */
    KEY_CHOICE,      /* an enum: the position in `choices` */
    KEY_SOCKET,      /* struct snapshot: admin_socket (`off` = NULL) and whether it was written */
    KEY_USER,        /* struct snapshot: user, owner and user_at */
    KEY_DIRECTORIES, /* char ** and a count: one or a list */
    KEY_ADDRESS,     /* struct backend_config: address_text and address */
    KEY_BINDS,       /* struct bind_config * and a count: one or a list */
    KEY_POOL,        /* int32_t: index in the snapshot's pools, starts as -1 */
    KEY_STOCK,       /* struct script_use: a stock script of `folder` */
    KEY_SCRIPT,      /* struct script_use: a file */
    KEY_CONGESTION,  /* char[CONGESTION_BYTES]: a congestion control of the kernel's */
    KEY_SOURCE,      /* struct source */
    KEY_OPTIONS,     /* struct script_use: what stands under `with` */
    KEY_MAP,         /* the struct of `shape`, in place */
    KEY_NAMED,       /* array of the struct of `shape`, and a count: a map of names */
};

#define DURATION_INHERITED UINT32_MAX
#define KEY_NOT_STORED SIZE_MAX /* `offset` of a key that is checked and then forgotten */

struct key {
    const char *name;
    enum key_type type;
    bool required;
    size_t offset;         /* of the field in the struct of the shape this key stands in */
    size_t count_offset;   /* of the uint32_t beside an array */
    const char *initial;   /* the default as one would write it; NULL: zero */
    const char *otherwise; /* the default in words, where `initial` cannot say it */
    uint64_t minimum, maximum;
    const char *const *choices; /* NULL-terminated */
    const char *folder;         /* of stock scripts: also the kind, in the plural */
    const struct shape *shape;
    const char *example; /* a value one might write */
    const char *summary; /* a sentence for the reference */
};

/* A map with fixed keys. */
struct shape {
    const char *what; /* how messages call it: "a pool" */
    const struct key *keys;
    uint32_t key_count;
    const char *shorthand;   /* a plain value stands for the map with only this key */
    const char *either[2];   /* exactly one of these two keys */
    const char *beside;      /* may stand beside the first of them, or in its place */
    bool may_be_off;         /* `false` is allowed; the struct begins with a bool: it is on */
    bool may_be_on;          /* so is `true`: on, and everything as by default */
    size_t bytes, at_offset; /* in a KEY_NAMED: size, and the struct position; name comes first */
};

#define SCHEMA_KEYS_MAX 16 /* keys in one shape */

/* The whole configuration: struct snapshot. */
extern const struct shape schema_root;
/* Parts of it: struct tcp_options. */
extern const struct shape schema_tcp_listening, schema_tcp_connecting;

const struct key *schema_find(const struct shape *shape, const char *name);

struct text;
/* "a duration from 10ms to 1d, such as 2s": what a message and the reference say of the key. */
void schema_describe(const struct key *key, struct text *out);

#endif
