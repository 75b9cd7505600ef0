/* Document: see document.h. Builder thread and command line tools.
 *
 * libyaml delivers events; complete nodes wait on a stack until their list or map ends, which then
 * takes them as one array. An alias becomes a shallow copy of the node its anchor marks, so the
 * tree shares what is below; `size` counts it as if written out, and that is what is bounded. */
#include "config/document.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/scalar.h"
#include "config/syntax.h"

#define NO_ANCHOR UINT32_MAX
#define SMALL_MAP 8u /* up to here keys are compared pair by pair */

struct open_node { /* a list or map whose end has not come */
    enum node_kind kind;
    size_t first; /* its first child on the stack */
    uint32_t line, column, anchor;
};

struct anchor {
    const char *name;
    struct node node;
    bool complete; /* false inside the node itself */
};

struct reader {
    yaml_parser_t yaml;
    struct region *memory;
    struct findings *findings;
    struct node *stack;
    size_t used, capacity;
    struct open_node open[DOCUMENT_DEPTH_MAX];
    uint32_t depth;
    struct anchor *anchors;
    uint32_t anchor_count;
    uint32_t nodes, alias_nodes;
    bool ended; /* the first document is complete */
};

bool node_is_null(const struct node *node) {
    return node->kind == NODE_SCALAR && !node->quoted && scalar_is_null(node->text);
}

static bool refuse(struct reader *reader, const yaml_event_t *event, const char *message) {
    findings_add(reader->findings, (uint32_t)event->start_mark.line + 1,
                 (uint32_t)event->start_mark.column + 1, "%s", message);
    return false;
}

static bool out_of_memory(struct reader *reader) {
    findings_add(reader->findings, 0, 0, "memory is out while reading; free some and try again");
    return false;
}

static bool push(struct reader *reader, const struct node *node) {
    if (reader->used == reader->capacity) {
        const size_t capacity = reader->capacity == 0 ? 256 : reader->capacity * 2;
        struct node *stack = reallocarray(reader->stack, capacity, sizeof(*stack));

        if (stack == NULL) {
            return out_of_memory(reader);
        }
        reader->stack = stack;
        reader->capacity = capacity;
    }
    reader->stack[reader->used++] = *node;
    return true;
}

static bool count_node(struct reader *reader, const yaml_event_t *event) {
    if (reader->nodes == DOCUMENT_NODES_MAX) {
        return refuse(reader, event,
                      "the configuration is too large; write at most 4 million values");
    }
    reader->nodes++;
    return true;
}

/* Remembers an anchor before its node is complete; `index` is NO_ANCHOR where there is none. */
static bool anchor_begin(struct reader *reader, const yaml_event_t *event, const yaml_char_t *name,
                         uint32_t *index) {
    *index = NO_ANCHOR;
    if (name == NULL) {
        return true;
    }
    if (reader->anchor_count == DOCUMENT_ANCHORS_MAX) {
        return refuse(reader, event, "too many anchors (&name); write at most 1000");
    }
    if (reader->anchors == NULL) {
        reader->anchors =
            region_take_array(reader->memory, DOCUMENT_ANCHORS_MAX, sizeof(struct anchor));
    }
    const char *copy = region_copy(reader->memory, (const char *)name, strlen((const char *)name));
    if (reader->anchors == NULL || copy == NULL) {
        return out_of_memory(reader);
    }
    *index = reader->anchor_count++;
    reader->anchors[*index].name = copy;
    return true;
}

static void anchor_end(struct reader *reader, uint32_t index, const struct node *node) {
    if (index != NO_ANCHOR) {
        reader->anchors[index].node = *node;
        reader->anchors[index].complete = true;
    }
}

static bool tag_is_known(const yaml_char_t *tag, const char *known) {
    return tag == NULL || strcmp((const char *)tag, "!") == 0 ||
           strcmp((const char *)tag, known) == 0;
}

static bool on_scalar(struct reader *reader, const yaml_event_t *event) {
    const char *value = (const char *)event->data.scalar.value;
    const size_t length = event->data.scalar.length;
    struct node node = {.kind = NODE_SCALAR,
                        .line = (uint32_t)event->start_mark.line + 1,
                        .column = (uint32_t)event->start_mark.column + 1,
                        .size = 1};
    uint32_t anchor;

    if (!tag_is_known(event->data.scalar.tag, YAML_STR_TAG)) {
        return refuse(reader, event, "tags (!name) are not supported; remove it");
    }
    if (memchr(value, '\0', length) != NULL) {
        return refuse(reader, event, "a text with a NUL character; remove it");
    }
    if (!count_node(reader, event) ||
        !anchor_begin(reader, event, event->data.scalar.anchor, &anchor)) {
        return false;
    }
    node.quoted =
        event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || event->data.scalar.tag != NULL;
    node.text = region_copy(reader->memory, value, length);
    if (node.text == NULL) {
        return out_of_memory(reader);
    }
    anchor_end(reader, anchor, &node);
    return push(reader, &node);
}

static bool on_alias(struct reader *reader, const yaml_event_t *event) {
    const char *name = (const char *)event->data.alias.anchor;
    uint32_t i = reader->anchor_count;
    struct node node;

    while (i > 0 && strcmp(reader->anchors[i - 1].name, name) != 0) {
        i--;
    }
    if (i == 0) {
        findings_add(reader->findings, (uint32_t)event->start_mark.line + 1,
                     (uint32_t)event->start_mark.column + 1,
                     "no anchor '&%s' stands before this alias; write one, or put a text that "
                     "begins with '*' in quotes",
                     findings_excerpt(reader->findings, name));
        return false;
    }
    if (!reader->anchors[i - 1].complete) {
        return refuse(reader, event, "an alias inside its own anchor; write the value out");
    }
    node = reader->anchors[i - 1].node;
    if (node.height + reader->depth > DOCUMENT_DEPTH_MAX) {
        return refuse(reader, event, "nested too deeply; write at most 32 levels");
    }
    if (node.size > DOCUMENT_ALIAS_NODES_MAX - reader->alias_nodes) {
        return refuse(reader, event,
                      "aliases stand for too much; write at most 100000 values through them");
    }
    reader->alias_nodes += node.size;
    node.line = (uint32_t)event->start_mark.line + 1;
    node.column = (uint32_t)event->start_mark.column + 1;
    return push(reader, &node);
}

static bool on_open(struct reader *reader, const yaml_event_t *event, enum node_kind kind) {
    const bool map = kind == NODE_MAP;
    const yaml_char_t *tag = map ? event->data.mapping_start.tag : event->data.sequence_start.tag;
    const yaml_char_t *name =
        map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
    struct open_node *open = &reader->open[reader->depth];

    if (!tag_is_known(tag, map ? YAML_MAP_TAG : YAML_SEQ_TAG)) {
        return refuse(reader, event, "tags (!name) are not supported; remove it");
    }
    if (reader->depth == DOCUMENT_DEPTH_MAX) {
        return refuse(reader, event, "nested too deeply; write at most 32 levels");
    }
    if (!count_node(reader, event) || !anchor_begin(reader, event, name, &open->anchor)) {
        return false;
    }
    open->kind = kind;
    open->first = reader->used;
    open->line = (uint32_t)event->start_mark.line + 1;
    open->column = (uint32_t)event->start_mark.column + 1;
    reader->depth++;
    return true;
}

static bool is_before(const struct node *a, const struct node *b) {
    return a->line < b->line || (a->line == b->line && a->column < b->column);
}

static int compare_keys(const void *a, const void *b) {
    const struct node *x = *(const struct node *const *)a, *y = *(const struct node *const *)b;
    const int order = strcmp(x->text, y->text);

    return order != 0 ? order : is_before(x, y) ? -1 : 1;
}

static void report_twice(struct reader *reader, const struct node *first,
                         const struct node *second) {
    findings_add(reader->findings, second->line, second->column,
                 "'%s' is written twice (first in line %u); rename or remove one",
                 findings_excerpt(reader->findings, second->text), first->line);
}

/* Keys written twice. A large map is compared through a sorted list: 10 000 backends are usual. */
static bool check_keys(struct reader *reader, const struct node *map) {
    if (map->count <= SMALL_MAP) {
        for (uint32_t i = 1; i < map->count; i++) {
            for (uint32_t j = 0; j < i; j++) {
                if (strcmp(map->items[2 * i].text, map->items[2 * j].text) == 0) {
                    report_twice(reader, &map->items[2 * j], &map->items[2 * i]);
                    break;
                }
            }
        }
        return true;
    }
    const struct node **keys = reallocarray(NULL, map->count, sizeof(*keys));
    if (keys == NULL) {
        return out_of_memory(reader);
    }
    for (uint32_t i = 0; i < map->count; i++) {
        keys[i] = &map->items[2 * i];
    }
    qsort(keys, map->count, sizeof(*keys), compare_keys);
    for (uint32_t i = 1, first = 0; i < map->count; i++) {
        if (strcmp(keys[i]->text, keys[first]->text) == 0) {
            report_twice(reader, keys[first], keys[i]);
        } else {
            first = i;
        }
    }
    free(keys);
    return true;
}

/* Every key must be a plain word; merging maps is refused rather than half supported. */
static bool keys_are_words(struct reader *reader, const struct node *map) {
    bool good = true;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct node *key = &map->items[2 * i];

        if (key->kind != NODE_SCALAR) {
            findings_add(reader->findings, key->line, key->column,
                         "a key must be a word, not a %s; write 'key: value'",
                         key->kind == NODE_MAP ? "map" : "list");
            good = false;
        } else if (!key->quoted && strcmp(key->text, "<<") == 0) {
            findings_add(reader->findings, key->line, key->column,
                         "merge keys (<<) are not supported; write the keys out, or use an alias "
                         "for the whole value");
            good = false;
        }
    }
    return good;
}

static bool on_close(struct reader *reader) {
    const struct open_node *open = &reader->open[--reader->depth];
    const size_t children = reader->used - open->first;
    struct node node = {
        .kind = open->kind, .line = open->line, .column = open->column, .size = 1, .height = 1};

    node.count = (uint32_t)(open->kind == NODE_MAP ? children / 2 : children);
    node.items = region_take_array(reader->memory, children, sizeof(struct node));
    if (node.items == NULL) {
        return out_of_memory(reader);
    }
    for (size_t i = 0; i < children; i++) {
        const struct node *child = &reader->stack[open->first + i];

        node.items[i] = *child;
        node.size += child->size; /* fits: at most NODES_MAX + ALIAS_NODES_MAX */
        node.height = child->height >= node.height ? (uint8_t)(child->height + 1) : node.height;
    }
    reader->used = open->first;
    if (node.kind == NODE_MAP && (!keys_are_words(reader, &node) || !check_keys(reader, &node))) {
        return false;
    }
    anchor_end(reader, open->anchor, &node);
    return push(reader, &node);
}

static bool on_event(struct reader *reader, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (reader->ended) {
            return refuse(reader, event,
                          "a second YAML document begins; write one configuration per file");
        }
        return true;
    case YAML_DOCUMENT_END_EVENT:
        reader->ended = true;
        return true;
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event);
    case YAML_ALIAS_EVENT:
        return on_alias(reader, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(reader, event, NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return on_open(reader, event, NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(reader);
    default:
        return true;
    }
}

static bool read_events(struct reader *reader, const char *text, size_t length) {
    for (;;) {
        yaml_event_t event;

        if (yaml_parser_parse(&reader->yaml, &event) == 0) {
            syntax_explain(&reader->yaml, text, length, reader->findings);
            return false;
        }
        const bool end = event.type == YAML_STREAM_END_EVENT;
        const bool good = on_event(reader, &event);
        yaml_event_delete(&event);
        if (!good || end) {
            return good;
        }
    }
}

struct node *document_read(const char *text, size_t length, struct region *memory,
                           struct findings *findings) {
    struct reader reader = {.memory = memory, .findings = findings};
    struct node *root = NULL;

    if (length > DOCUMENT_BYTES_MAX) {
        findings_add(findings, 0, 0, "the file is larger than 16 MiB; write less into it");
        return NULL;
    }
    if (yaml_parser_initialize(&reader.yaml) == 0) {
        (void)out_of_memory(&reader);
        return NULL;
    }
    yaml_parser_set_encoding(&reader.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.yaml, (const unsigned char *)text, length);
    if (read_events(&reader, text, length)) {
        if (reader.used == 0) {
            findings_add(findings, 1, 1,
                         "the configuration is empty; write listeners and pools, as in "
                         "examples/minimal.yaml");
        } else {
            root = region_take(memory, sizeof(*root));
            if (root == NULL) {
                (void)out_of_memory(&reader);
            } else {
                *root = reader.stack[0];
            }
        }
    }
    free(reader.stack);
    yaml_parser_delete(&reader.yaml);
    return root;
}
