/* Fill: turns the nodes of a document into the structs of a snapshot, as the schema table says.
 * Builder thread and command line tools. */
#ifndef CONFIG_FILL_H
#define CONFIG_FILL_H

#include "config/document.h"
#include "config/findings.h"
#include "config/region.h"
#include "config/schema.h"
#include "config/snapshot.h"

struct fill {
    struct snapshot *snapshot;
    struct region *memory; /* the snapshot's */
    struct findings *findings;
    const char *directory;   /* of the configuration file, with its final '/'; "" = working one */
    uint32_t *pools_by_name; /* indices of snapshot->pools, sorted; made on first use */
};

/* Reads the whole document. Mistakes are findings; out of memory is memory->failed. */
void fill_snapshot(struct fill *fill, const struct node *root);

/* One field that holds an address, a list of them, a path, a script: what needs more than its
 * text. `name` is the key's node, NULL when the value is a default. (fill_field.c) */
void fill_field(struct fill *fill, const struct key *key, const struct node *name,
                const struct node *node, void *target);
/* The values that depend on what the kernel offers and allows. (fill_socket.c) */
void fill_congestion(struct fill *fill, const struct key *key, const struct node *node,
                     char *field);
void fill_source(struct fill *fill, const struct key *key, const struct node *node,
                 struct source *source);
/* 1 to 63 of A-Z a-z 0-9 . _ -, beginning with a letter or digit. */
bool name_is_valid(const char *name);
/* "'KEY' needs DESCRIPTION, not WHAT IS WRITTEN; write KEY: EXAMPLE" */
void fill_mismatch(struct fill *fill, const struct key *key, const struct node *node);

/* What to do about a file that cannot be read: `otherwise`, unless only permission is missing. */
const char *fill_file_advice(int error, const char *otherwise);

/* A tree of values for a script's options (value.c). NULL: out of memory. */
struct value *value_from_node(struct region *memory, const char *file, const struct node *node)
    __attribute__((warn_unused_result));

#endif
