/* Values: copies what stands under `with:` from the document into the snapshot's memory, with
 * YAML's plain words read as null, booleans and numbers. Builder thread and command line tools. */
#include "config/value.h"

#include <string.h>

#include "config/fill.h"
#include "config/scalar.h"

static bool copy_scalar(struct region *memory, const struct node *node, struct value *value) {
    value->string = region_copy(memory, node->text, strlen(node->text));
    if (value->string == NULL) {
        return false;
    }
    value->kind = VALUE_STRING;
    if (node->quoted) {
        return true;
    }
    if (scalar_is_null(node->text)) {
        value->kind = VALUE_NULL;
    } else if (scalar_boolean(node->text, &value->boolean) == SCALAR_OK) {
        value->kind = VALUE_BOOLEAN;
    } else if (scalar_number(node->text, &value->number) == SCALAR_OK) {
        value->kind = VALUE_NUMBER;
    }
    return true;
}

/* As deep as the document, which is bounded by DOCUMENT_DEPTH_MAX. */
static bool copy(struct region *memory, const char *file, const struct node *node,
                 struct value *value) {
    const bool map = node->kind == NODE_MAP;

    value->at = (struct position){file, node->line, node->column};
    if (node->kind == NODE_SCALAR) {
        return copy_scalar(memory, node, value);
    }
    value->kind = map ? VALUE_MAP : VALUE_LIST;
    value->items = region_take_array(memory, node->count, sizeof(*value->items));
    if (map) {
        value->keys = region_take_array(memory, node->count, sizeof(*value->keys));
        value->key_at = region_take_array(memory, node->count, sizeof(*value->key_at));
    }
    if (value->items == NULL || (map && (value->keys == NULL || value->key_at == NULL))) {
        return false;
    }
    value->count = node->count;
    for (uint32_t i = 0; i < node->count; i++) {
        if (map) {
            const struct node *key = &node->items[2 * i];

            value->keys[i] = region_copy(memory, key->text, strlen(key->text));
            value->key_at[i] = (struct position){file, key->line, key->column};
            if (value->keys[i] == NULL) {
                return false;
            }
        }
        if (!copy(memory, file, &node->items[map ? 2 * i + 1 : i], &value->items[i])) {
            return false;
        }
    }
    return true;
}

struct value *value_from_node(struct region *memory, const char *file, const struct node *node) {
    struct value *value = region_take(memory, sizeof(*value));

    return value != NULL && copy(memory, file, node, value) ? value : NULL;
}

bool value_equal(const struct value *a, const struct value *b) {
    if (a == NULL || b == NULL) {
        return a == b;
    }
    if (a->kind != b->kind || a->count != b->count) {
        return false;
    }
    switch (a->kind) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOLEAN:
        return a->boolean == b->boolean;
    case VALUE_NUMBER:
    case VALUE_STRING:
        return strcmp(a->string, b->string) == 0;
    default:
        break;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->kind == VALUE_MAP && strcmp(a->keys[i], b->keys[i]) != 0) {
            return false; /* another order counts as another content */
        }
        if (!value_equal(&a->items[i], &b->items[i])) {
            return false;
        }
    }
    return true;
}
