/* Fill: see fill.h. Walks the schema table and the document side by side; plain values here, values
 * that need more than their text in fill_field.c. Builder thread and command line tools. */
#include "config/fill.h"

#include <string.h>

#include "alacrity/script.h"
#include "base/text.h"
#include "config/scalar.h"

static void fill_shape(struct fill *fill, const struct shape *shape, const struct node *name,
                       const struct node *node, void *target);

static void fill_named(struct fill *fill, const struct key *key, const struct node *name,
                       const struct node *node, void *target);

static void *field_at(void *target, size_t offset) {
    return (char *)target + offset;
}

static const char *written(const struct fill *fill, const struct node *node) {
    return node->kind == NODE_MAP    ? "a map"
           : node->kind == NODE_LIST ? "a list"
           : node_is_null(node)      ? "nothing"
                                     : findings_excerpt(fill->findings, node->text);
}

void fill_mismatch(struct fill *fill, const struct key *key, const struct node *node) {
    struct text need = {0};

    schema_describe(key, &need);
    text_append(&need, "", 0);
    findings_add(fill->findings, node->line, node->column,
                 "'%s' needs %s, not %s%s%s; write %s: %s", key->name,
                 need.bytes != NULL ? need.bytes : "something else",
                 node->quoted ? "the text \"" : "", written(fill, node), node->quoted ? "\"" : "",
                 key->name, key->example);
    text_free(&need);
}

static void out_of_range(struct fill *fill, const struct key *key, const struct node *node) {
    struct text need = {0};

    schema_describe(key, &need);
    findings_add(fill->findings, node->line, node->column,
                 "'%s' is %s, which is out of range; write %s", key->name, written(fill, node),
                 need.bytes != NULL ? need.bytes : "another");
    text_free(&need);
}

static void missing_unit(struct fill *fill, const struct key *key, const struct node *node) {
    const char *number = written(fill, node);

    findings_add(fill->findings, node->line, node->column,
                 "'%s' is %s without a unit; write %s: %ss or %s: %sms", key->name, number,
                 key->name, number, key->name, number);
}

/* A number in any of its forms. Sizes may be plain, durations may not. */
static bool read_number(struct fill *fill, const struct key *key, const struct node *node,
                        uint64_t *out) {
    enum scalar_result result = SCALAR_BAD;

    if (node->kind == NODE_SCALAR && (!node->quoted || key->type != KEY_INTEGER)) {
        result = key->type == KEY_INTEGER    ? scalar_integer(node->text, out)
                 : key->type == KEY_DURATION ? scalar_duration(node->text, out)
                                             : scalar_size(node->text, out);
    }
    if (result == SCALAR_NO_UNIT) {
        missing_unit(fill, key, node);
        return false;
    }
    /* A negative number is a number all the same. */
    const bool negative = node->kind == NODE_SCALAR && !node->quoted && node->text[0] == '-' &&
                          node->text[1] >= '0' && node->text[1] <= '9';
    if (result == SCALAR_BAD && !negative) {
        fill_mismatch(fill, key, node);
        return false;
    }
    if (result != SCALAR_OK || *out < key->minimum || *out > key->maximum) {
        out_of_range(fill, key, node);
        return false;
    }
    return true;
}

/* Which of the key's choices is written; false and a finding if none. */
static bool read_choice(struct fill *fill, const struct key *key, const struct node *node,
                        uint32_t *out) {
    uint32_t count = 0;

    if (node->kind != NODE_SCALAR || node_is_null(node)) {
        fill_mismatch(fill, key, node);
        return false;
    }
    for (; key->choices[count] != NULL; count++) {
        if (strcmp(node->text, key->choices[count]) == 0) {
            *out = count;
            return true;
        }
    }
    const char *near = nearest_word(node->text, key->choices, count);
    if (near != NULL) {
        findings_add(fill->findings, node->line, node->column,
                     "'%s' cannot be %s; did you mean %s: %s?", key->name, written(fill, node),
                     key->name, near);
    } else {
        fill_mismatch(fill, key, node);
    }
    return false;
}

static void fill_text(struct fill *fill, const struct key *key, const struct node *node,
                      void *field) {
    uint32_t choice;

    if (key->choices != NULL) {
        if (!read_choice(fill, key, node, &choice)) {
            return;
        }
    } else if (node->kind != NODE_SCALAR || node->text[0] == '\0' || node_is_null(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    if (key->offset != KEY_NOT_STORED) {
        *(char **)field = region_copy(fill->memory, node->text, strlen(node->text));
    }
}

bool name_is_valid(const char *name) {
    size_t length = 0;

    for (; name[length] != '\0'; length++) {
        const char c = name[length];
        const bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (length == ALACRITY_NAME_BYTES - 1 ||
            !(alphanumeric || (length > 0 && strchr("._-", c) != NULL))) {
            return false;
        }
    }
    return length > 0;
}

static void fill_key(struct fill *fill, const struct key *key, const struct node *name,
                     const struct node *node, void *target) {
    void *field = key->offset == KEY_NOT_STORED ? NULL : field_at(target, key->offset);
    uint64_t number;
    uint32_t choice;

    switch (key->type) {
    case KEY_BOOLEAN:
        if (node->kind != NODE_SCALAR || node->quoted ||
            scalar_boolean(node->text, field) != SCALAR_OK) {
            fill_mismatch(fill, key, node);
        }
        break;
    case KEY_INTEGER:
    case KEY_DURATION:
        if (read_number(fill, key, node, &number)) {
            *(uint32_t *)field = (uint32_t)number; /* maximum fits */
        }
        break;
    case KEY_SIZE:
        if (read_number(fill, key, node, &number)) {
            *(uint64_t *)field = number;
        }
        break;
    case KEY_TEXT:
        fill_text(fill, key, node, field);
        break;
    case KEY_CHOICE:
        if (read_choice(fill, key, node, &choice)) {
            memcpy(field, &choice, sizeof(choice));
        }
        break;
    case KEY_MAP:
        fill_shape(fill, key->shape, name, node, field);
        break;
    case KEY_NAMED:
        fill_named(fill, key, name, node, target);
        break;
    default:
        fill_field(fill, key, name, node, target);
        break;
    }
}

/* The defaults of all keys of a shape, and of the maps in it. */
static void fill_defaults(struct fill *fill, const struct shape *shape, void *target) {
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];

        if (key->type == KEY_MAP) {
            fill_defaults(fill, key->shape, field_at(target, key->offset));
        } else if (key->type == KEY_POOL) {
            *(int32_t *)field_at(target, key->offset) = -1;
        } else if (key->type == KEY_DURATION && key->initial == NULL) {
            *(uint32_t *)field_at(target, key->offset) = DURATION_INHERITED;
        }
        if (key->initial != NULL) {
            const struct node node = {.kind = NODE_SCALAR, .text = key->initial, .size = 1};

            fill_key(fill, key, NULL, &node, target);
        }
    }
}

/* A map of names: one struct of the shape for each. */
static void fill_named(struct fill *fill, const struct key *key, const struct node *name,
                       const struct node *node, void *target) {
    const struct shape *shape = key->shape;
    const struct node *at = name != NULL ? name : node;
    char *items;

    if (node->kind != NODE_MAP && !node_is_null(node)) {
        fill_mismatch(fill, key, node);
        return;
    }
    if (node->count == 0) {
        if (key->required) {
            findings_add(fill->findings, at->line, at->column, "'%s' is empty; write %s: %s",
                         key->name, key->name, key->example);
        }
        return;
    }
    items = region_take_array(fill->memory, node->count, shape->bytes);
    if (items == NULL) {
        return;
    }
    *(void **)field_at(target, key->offset) = items;
    *(uint32_t *)field_at(target, key->count_offset) = node->count;
    for (uint32_t i = 0; i < node->count; i++) {
        const struct node *item_name = &node->items[2 * i];
        char *item = items + i * shape->bytes;

        if (!name_is_valid(item_name->text)) {
            findings_add(fill->findings, item_name->line, item_name->column,
                         "'%s' cannot be the name of %s; write 1 to 63 of A-Z a-z 0-9 . _ -, "
                         "beginning with a letter or digit",
                         findings_excerpt(fill->findings, item_name->text), shape->what);
        }
        *(char **)item = region_copy(fill->memory, item_name->text, strlen(item_name->text));
        *(struct position *)field_at(item, shape->at_offset) =
            (struct position){fill->snapshot->file, item_name->line, item_name->column};
        fill_defaults(fill, shape, item);
        fill_shape(fill, shape, item_name, &node->items[2 * i + 1], item);
    }
}

/* Returns the key that was probably meant, so that it is not reported as missing too. */
static const struct key *unknown_key(struct fill *fill, const struct shape *shape,
                                     const struct node *name) {
    const char *candidates[SCHEMA_KEYS_MAX];
    struct text known = {0};

    for (uint32_t i = 0; i < shape->key_count; i++) {
        candidates[i] = shape->keys[i].name;
        text_format(&known, "%s%s", i == 0 ? "" : ", ", candidates[i]);
    }
    const char *near = nearest_word(name->text, candidates, shape->key_count);
    const char *excerpt = findings_excerpt(fill->findings, name->text);
    if (near != NULL) {
        findings_add(fill->findings, name->line, name->column,
                     "'%s' is not a key of %s; did you mean '%s'?", excerpt, shape->what, near);
    } else {
        findings_add(fill->findings, name->line, name->column,
                     "'%s' is not a key of %s; write one of: %s", excerpt, shape->what,
                     known.bytes != NULL ? known.bytes : "?");
    }
    text_free(&known);
    return near != NULL ? schema_find(shape, near) : NULL;
}

/* Exactly one of two keys must stand there; a third may in place of the first, or beside it. */
static void check_either(struct fill *fill, const struct shape *shape, const struct node *name,
                         const struct node *const *names) {
    const struct key *first = schema_find(shape, shape->either[0]);
    const struct key *second = schema_find(shape, shape->either[1]);
    const struct node *a = names[first - shape->keys], *b = names[second - shape->keys];

    if (a == NULL && shape->beside != NULL) {
        first = schema_find(shape, shape->beside);
        a = names[first - shape->keys];
        first = a == NULL ? schema_find(shape, shape->either[0]) : first;
    }
    if (a == NULL && b == NULL) {
        findings_add(fill->findings, name->line, name->column,
                     "%s needs '%s' or '%s'; write %s: %s", shape->what, first->name, second->name,
                     first->name, first->example);
    } else if (a != NULL && b != NULL) {
        const struct node *later =
            a->line > b->line || (a->line == b->line && a->column > b->column) ? a : b;

        findings_add(fill->findings, later->line, later->column,
                     "%s has both '%s' and '%s'; write only one of them", shape->what, first->name,
                     second->name);
    }
}

/* A plain value where a map could stand: the map with only its shorthand key, or on or off. */
static void fill_shorthand(struct fill *fill, const struct shape *shape, const struct key *key,
                           const struct node *name, const struct node *node, void *target) {
    bool on;

    if (shape->may_be_off && !node->quoted && scalar_boolean(node->text, &on) == SCALAR_OK) {
        if (shape->may_be_on) {
            *(bool *)target = on;
        } else if (on) {
            findings_add(fill->findings, node->line, node->column,
                         "%s cannot be just %s; write %s: %s, or false", shape->what,
                         written(fill, node), key->name, key->example);
        }
        return;
    }
    if (key == NULL) {
        findings_add(fill->findings, node->line, node->column,
                     "%s is on, off or a map, not %s; write for example %s: %s", shape->what,
                     written(fill, node), shape->keys[0].name, shape->keys[0].example);
        return;
    }
    if (shape->may_be_off) {
        *(bool *)target = true;
    }
    fill_key(fill, key, name, node, target);
}

static void fill_map(struct fill *fill, const struct shape *shape, const struct node *name,
                     const struct node *node, void *target) {
    const struct node *names[SCHEMA_KEYS_MAX] = {NULL}, *values[SCHEMA_KEYS_MAX] = {NULL};

    for (uint32_t i = 0; i < node->count; i++) {
        const struct node *item = &node->items[2 * i];
        const struct key *known = schema_find(shape, item->text);
        const struct key *meant = known != NULL ? known : unknown_key(fill, shape, item);

        if (meant == NULL || names[meant - shape->keys] != NULL) {
            continue; /* written twice: the document said so */
        }
        names[meant - shape->keys] = item;
        values[meant - shape->keys] = known != NULL ? item + 1 : NULL;
    }
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];

        if (values[i] != NULL) {
            fill_key(fill, key, names[i], values[i], target);
        } else if (key->required && names[i] == NULL) {
            findings_add(fill->findings, name->line, name->column, "%s needs '%s'; write %s: %s",
                         shape->what, key->name, key->name, key->example);
        }
    }
    if (shape->either[0] != NULL) {
        check_either(fill, shape, name, names);
    }
}

/* `name` is the node of the key whose value `node` is (for what is missing), NULL for a default. */
static void fill_shape(struct fill *fill, const struct shape *shape, const struct node *name,
                       const struct node *node, void *target) {
    if (node->kind == NODE_SCALAR && (shape->shorthand != NULL || shape->may_be_on) &&
        !node_is_null(node)) {
        const struct key *key =
            shape->shorthand != NULL ? schema_find(shape, shape->shorthand) : NULL;

        fill_shorthand(fill, shape, key, name, node, target);
    } else if (node->kind == NODE_MAP || node_is_null(node)) {
        if (shape->may_be_off) {
            *(bool *)target = true;
        }
        fill_map(fill, shape, name, node, target);
    } else {
        findings_add(fill->findings, node->line, node->column,
                     "%s must be a map, not %s; write for example %s: %s", shape->what,
                     written(fill, node), shape->keys[0].name, shape->keys[0].example);
    }
}

void fill_snapshot(struct fill *fill, const struct node *root) {
    fill_defaults(fill, &schema_root, fill->snapshot);
    fill_shape(fill, &schema_root, root, root, fill->snapshot);
}
