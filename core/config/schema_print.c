/* The schema table for others: as JSON Schema (draft 7) for editors, as Markdown for people.
 * Command line tools; any thread. */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "config/schema.h"
#include "config/snapshot.h"

/* ---- JSON Schema ---- */

struct printer {
    struct text *out;
    uint32_t depth;
    bool filled; /* the object or array being written has a member already */
};

static void next_line(struct printer *printer) {
    text_format(printer->out, "\n%*s", (int)printer->depth * 2, "");
}

/* Begins a member; `name` NULL in an array. */
static void member(struct printer *printer, const char *name) {
    if (printer->filled) {
        text_string(printer->out, ",");
    }
    next_line(printer);
    if (name != NULL) {
        text_json_string(printer->out, name);
        text_string(printer->out, ": ");
    }
    printer->filled = true;
}

static void begin(struct printer *printer, const char *bracket) {
    text_string(printer->out, bracket);
    printer->depth++;
    printer->filled = false;
}

static void end(struct printer *printer, const char *bracket) {
    printer->depth--;
    next_line(printer);
    text_string(printer->out, bracket);
    printer->filled = true;
}

static void member_string(struct printer *printer, const char *name, const char *value) {
    member(printer, name);
    text_json_string(printer->out, value);
}

static void member_raw(struct printer *printer, const char *name, const char *json) {
    member(printer, name);
    text_string(printer->out, json);
}

static void print_shape(struct printer *printer, const struct shape *shape);
static void print_type(struct printer *printer, const struct key *key);

static void print_required(struct printer *printer, const char *key) {
    text_string(printer->out, "{\"required\": [");
    text_json_string(printer->out, key);
    text_string(printer->out, "]}");
}

static void print_object(struct printer *printer, const struct shape *shape) {
    member_string(printer, "type", "object");
    member_raw(printer, "additionalProperties", "false");
    member(printer, "properties");
    begin(printer, "{");
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];

        member(printer, key->name);
        begin(printer, "{");
        member_string(printer, "description", key->summary);
        if (key->initial != NULL) {
            const bool plain = key->type == KEY_BOOLEAN || key->type == KEY_INTEGER;

            (plain ? member_raw : member_string)(printer, "default", key->initial);
        }
        print_type(printer, key);
        end(printer, "}");
    }
    end(printer, "}");
    for (uint32_t i = 0, printed = 0; i < shape->key_count; i++) {
        if (shape->keys[i].required) {
            if (printed++ == 0) {
                member(printer, "required");
                begin(printer, "[");
            }
            member_string(printer, NULL, shape->keys[i].name);
        }
        if (printed > 0 && i + 1 == shape->key_count) {
            end(printer, "]");
        }
    }
    if (shape->either[0] != NULL) {
        member(printer, "oneOf");
        begin(printer, "[");
        for (uint32_t i = 0; i < 2; i++) {
            const bool two = i == 0 && shape->beside != NULL;

            member(printer, NULL);
            text_string(printer->out, two ? "{\"anyOf\": [" : "");
            print_required(printer, shape->either[i]);
            text_string(printer->out, two ? ", " : "");
            if (two) {
                print_required(printer, shape->beside);
            }
            text_string(printer->out, two ? "]}" : "");
        }
        end(printer, "]");
    }
}

/* Readers of YAML 1.2 see on, off, yes and no as strings. */
#define BOOLEANS "[true, false, \"on\", \"off\", \"yes\", \"no\"]"

/* A map, and what may stand in its place. */
static void print_shape(struct printer *printer, const struct shape *shape) {
    if (shape->shorthand == NULL && !shape->may_be_off) {
        print_object(printer, shape);
        return;
    }
    member(printer, "anyOf");
    begin(printer, "[");
    if (shape->may_be_on) {
        member_raw(printer, NULL, "{\"enum\": " BOOLEANS "}");
    } else if (shape->may_be_off) {
        member_raw(printer, NULL, "{\"const\": false}");
    }
    if (shape->shorthand != NULL) {
        member(printer, NULL);
        begin(printer, "{");
        print_type(printer, schema_find(shape, shape->shorthand));
        end(printer, "}");
    }
    member(printer, NULL);
    begin(printer, "{");
    print_object(printer, shape);
    end(printer, "}");
    end(printer, "]");
}

static void print_range(struct printer *printer, const struct key *key) {
    member(printer, "minimum");
    text_format(printer->out, "%" PRIu64, key->minimum);
    member(printer, "maximum");
    text_format(printer->out, "%" PRIu64, key->maximum);
}

static void print_choices(struct printer *printer, const char *const *choices) {
    member(printer, "enum");
    begin(printer, "[");
    for (uint32_t i = 0; choices[i] != NULL; i++) {
        member_string(printer, NULL, choices[i]);
    }
    end(printer, "]");
}

#define NAME_PATTERN "\"pattern\": \"^[A-Za-z0-9][A-Za-z0-9._-]*$\", \"maxLength\": 63"

static void print_one_or_list(struct printer *printer, bool at_least_one) {
    member_raw(printer, "anyOf", "[");
    printer->depth++;
    printer->filled = false;
    member_raw(printer, NULL, "{\"type\": \"string\"}");
    member_raw(printer, NULL, "{\"type\": \"array\", \"items\": {\"type\": \"string\"}");
    text_string(printer->out, at_least_one ? ", \"minItems\": 1}" : "}");
    end(printer, "]");
}

static void print_words(struct printer *printer, const struct key *key) {
    member_raw(printer, "anyOf", "[");
    printer->depth++;
    printer->filled = false;
    member_raw(printer, NULL, "{\"type\": \"string\", " NAME_PATTERN "}");
    member(printer, NULL);
    text_format(printer->out,
                "{\"type\": \"array\", \"uniqueItems\": true, \"maxItems\": %" PRIu64
                ", \"items\": {\"type\": \"string\", " NAME_PATTERN "}}",
                key->maximum);
    end(printer, "]");
}

static void print_named(struct printer *printer, const struct key *key) {
    member_string(printer, "type", "object");
    if (key->required) {
        member_raw(printer, "minProperties", "1");
    }
    member_raw(printer, "propertyNames", "{" NAME_PATTERN "}");
    member(printer, "additionalProperties");
    begin(printer, "{");
    print_shape(printer, key->shape);
    end(printer, "}");
}

static void print_type(struct printer *printer, const struct key *key) {
    switch (key->type) {
    case KEY_BOOLEAN:
        member_raw(printer, "enum", BOOLEANS);
        break;
    case KEY_INTEGER:
        member_string(printer, "type", "integer");
        print_range(printer, key);
        break;
    case KEY_DURATION:
        member_raw(printer, "anyOf",
                   key->minimum == 0 ? "[{\"type\": \"string\", \"pattern\": "
                                       "\"^([0-9]+(ms|s|m|h|d)|0)$\"}, {\"const\": 0}]"
                                     : "[{\"type\": \"string\", \"pattern\": "
                                       "\"^[0-9]+(ms|s|m|h|d)$\"}]");
        break;
    case KEY_SIZE:
        member_raw(printer, "anyOf",
                   "[{\"type\": \"string\", \"pattern\": \"^[0-9]+(KiB|MiB|GiB)?$\"}, "
                   "{\"type\": \"integer\", \"minimum\": 0}]");
        break;
    case KEY_SOCKET:
        member_raw(printer, "anyOf", "[{\"type\": \"string\"}, {\"const\": false}]");
        break;
    case KEY_DIRECTORIES:
    case KEY_BINDS:
        print_one_or_list(printer, key->type == KEY_BINDS);
        break;
    case KEY_WORD:
        member_raw(printer, "type", "\"string\", " NAME_PATTERN);
        break;
    case KEY_WORDS:
        print_words(printer, key);
        break;
    case KEY_OPTIONS:
        member_raw(printer, "type", "[\"object\", \"null\"]");
        break;
    case KEY_MAP:
        print_shape(printer, key->shape);
        break;
    case KEY_NAMED:
        print_named(printer, key);
        break;
    default: {
        const char *const *choices = key->type == KEY_STOCK && config_stock_names != NULL
                                         ? config_stock_names(key->folder)
                                         : key->choices;

        if (choices != NULL) {
            print_choices(printer, choices);
        } else {
            member_string(printer, "type", "string");
        }
        break;
    }
    }
}

void schema_print(struct text *out) {
    struct printer printer = {.out = out};

    begin(&printer, "{");
    member_string(&printer, "$schema", "http://json-schema.org/draft-07/schema#");
    member_string(&printer, "title", "Alacrity configuration");
    print_object(&printer, &schema_root);
    end(&printer, "}");
    text_string(out, "\n");
}

/* ---- Markdown ---- */

static void cell_default(const struct key *key, struct text *out) {
    if (key->required) {
        text_string(out, "*required*");
    } else if (key->initial != NULL) {
        text_format(out, "`%s`", key->initial);
    } else {
        text_string(out, key->otherwise != NULL ? key->otherwise : "–");
    }
}

/* `path` is how the map is reached: "pools.NAME.check"; NULL at the top. */
static void reference_shape(const struct shape *shape, const char *path, struct text *out) {
    text_string(out, "\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];

        text_format(out, "| `%s` | ", key->name);
        schema_describe(key, out);
        text_string(out, " | ");
        cell_default(key, out);
        text_format(out, " | %s Example: `%s: %s` |\n", key->summary, key->name, key->example);
    }
    if (shape->either[0] != NULL) {
        text_format(out, "\nExactly one of `%s` and `%s` must be written", shape->either[0],
                    shape->either[1]);
        if (shape->beside != NULL) {
            text_format(out, "; `%s` may stand beside `%s`, or in its place", shape->beside,
                        shape->either[0]);
        }
        text_string(out, ".\n");
    }
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const struct key *key = &shape->keys[i];
        struct text below = {0};

        if (key->shape != NULL) {
            text_format(&below, "%s%s%s%s", path != NULL ? path : "", path != NULL ? "." : "",
                        key->name, key->type == KEY_NAMED ? ".NAME" : "");
            out->failed |= below.failed;
            if (!below.failed) {
                text_format(out, "\n## `%s`\n\n%s\n", below.bytes, key->summary);
                reference_shape(key->shape, below.bytes, out);
            }
            text_free(&below);
        }
    }
}

void schema_print_reference(struct text *out) {
    text_string(out,
                "# Configuration reference\n\n"
                "The configuration is one YAML file of at most 16 MiB. `alacrity check -f FILE` "
                "reports every mistake in it as `file:line:column: what is wrong; what to write`.\n"
                "\n"
                "- **Durations** have a unit: `250ms`, `2s`, `5m`, `1h`, `1d`; `0` needs none.\n"
                "- **Sizes** are bytes, or have a unit: `64KiB`, `1MiB`, `2GiB`.\n"
                "- **true or false** may also be written on/off or yes/no.\n"
                "- **Names** of listeners, pools, backends, zones and tags have 1 to 63 of `A-Z "
                "a-z 0-9 . _ -` "
                "and begin with a letter or digit.\n"
                "- **Addresses** that begin with `*` or `[` need quotes, as YAML has it.\n"
                "- **Anchors and aliases** (`&name`, `*name`) may be used for whole values; merge "
                "keys (`<<`) may not.\n"
                "- Files are named relative to the configuration file.\n");
    text_string(out, "\n## At the top of the file\n");
    reference_shape(&schema_root, NULL, out);
}
