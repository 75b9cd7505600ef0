/* Document: YAML text as a tree of nodes with positions, bounded in size, depth and expansion.
 * Knows YAML and nothing of our keys. Builder thread and command line tools. */
#ifndef CONFIG_DOCUMENT_H
#define CONFIG_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/findings.h"
#include "config/region.h"

#define DOCUMENT_BYTES_MAX (16u * 1024u * 1024u)
#define DOCUMENT_DEPTH_MAX 32u
#define DOCUMENT_NODES_MAX 4000000u
#define DOCUMENT_ANCHORS_MAX 1000u
/* Nodes that aliases may stand for, all together: what keeps "a billion laughs" short. */
#define DOCUMENT_ALIAS_NODES_MAX 100000u

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    uint32_t line, column; /* from 1 */
    uint32_t count;        /* of a list: elements; of a map: pairs */
    uint32_t size;         /* nodes of this subtree, aliases expanded */
    uint8_t height;        /* levels below this one */
    bool quoted;           /* scalar in quotes or a block: always text */
    const char *text;      /* scalar, without inner NUL */
    struct node *items;    /* list: count elements; map: key, value, key, value... */
};

/* A scalar that says "nothing here". */
bool node_is_null(const struct node *node);

/* NULL: there is no usable tree, findings say why. A tree may come with findings (a key written
 * twice). An alias stands at its own place; what is below it, where the anchor is. */
struct node *document_read(const char *text, size_t length, struct region *memory,
                           struct findings *findings) __attribute__((warn_unused_result));

#endif
