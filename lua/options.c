/* Checks the options of a script and makes them a Lua table. Runs on the builder, under a protected
 * call: whatever is allocated here belongs to Lua, so that an error may leave at any point.
 *
 * The schema is the module's `options` table, one entry an option:
 *     path = { type = "string", default = "/" }
 * described for users in lua/types/scripts.lua. Every mistake in `with:` is reported, each at its
 * place; a mistake in the schema is the script's error and raised. The schema is read raw: with
 * metatables the script would run in between, and could drop the very strings that are being looked
 * at. */
#include "lua/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/scalar.h"

#define DEPTH_MAX 32 /* of nested maps and lists */

enum option_type {
    OPTION_STRING,
    OPTION_NUMBER,
    OPTION_INTEGER,
    OPTION_BOOLEAN,
    OPTION_DURATION, /* 250ms; the script gets milliseconds */
    OPTION_POOL,     /* the name of a pool of the configuration */
    OPTION_LIST,
    OPTION_MAP,
    OPTION_ANY,
    OPTION_TYPE_COUNT
};

static const char *const type_words[OPTION_TYPE_COUNT + 1] = {
    "string", "number", "integer", "boolean", "duration", "pool", "list", "map", "any", NULL};
static const char *const type_articles[OPTION_TYPE_COUNT] = {"a string",
                                                             "a number",
                                                             "a whole number",
                                                             "true or false",
                                                             "a duration such as 250ms",
                                                             "the name of a pool",
                                                             "a list such as [a, b]",
                                                             "a map",
                                                             "a value"};

struct option {
    const char *name;
    enum option_type type;
    int of; /* type of the elements of a list or map; -1 = any */
    bool required, has_minimum, has_maximum;
    double minimum, maximum;
};

struct checking {
    lua_State *lua;
    const struct script *script;
    const struct script_use *use;
    struct messages *messages;
    const char *option;
    bool ok;
};

/* ---- the schema ---- */

/* `table` counts from the bottom of the stack. */
static void push_field(lua_State *lua, int table, const char *field) {
    lua_pushstring(lua, field);
    lua_rawget(lua, table);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of the options, sorted so that messages come in the same order every time. Pushes the
 * userdata that owns the array; the strings are the schema's. */
static const char **push_names(lua_State *lua, int schema, uint32_t *count) {
    *count = 0;
    for (lua_pushnil(lua); lua_next(lua, schema) != 0; lua_pop(lua, 1)) {
        if (lua_type(lua, -2) != LUA_TSTRING || !lua_istable(lua, -1)) {
            luaL_error(lua, "options: write NAME = {type = ...} for every option");
        }
        (*count)++;
    }
    const char **names = lua_newuserdata(lua, (*count + 1) * sizeof(*names));
    uint32_t i = 0;
    for (lua_pushnil(lua); lua_next(lua, schema) != 0; lua_pop(lua, 1)) {
        names[i++] = lua_tostring(lua, -2);
    }
    qsort(names, *count, sizeof(*names), by_name);
    return names;
}

static int type_of(lua_State *lua, const char *word) {
    for (int i = 0; word != NULL && i < OPTION_TYPE_COUNT; i++) {
        if (strcmp(type_words[i], word) == 0) {
            return i;
        }
    }
    (void)lua;
    return -1;
}

static void check_schema_keys(lua_State *lua, int entry, const char *name) {
    static const char *const keys[] = {"type", "default", "required", "min",
                                       "max",  "choices", "of",       "help"};
    uint32_t count = sizeof(keys) / sizeof(keys[0]);
    for (lua_pushnil(lua); lua_next(lua, entry) != 0; lua_pop(lua, 1)) {
        const char *key = lua_type(lua, -2) == LUA_TSTRING ? lua_tostring(lua, -2) : "?";
        bool known = false;
        for (uint32_t i = 0; i < count; i++) {
            known = known || strcmp(keys[i], key) == 0;
        }
        if (!known) {
            const char *near = nearest_word(key, keys, count);
            luaL_error(lua, "options.%s: unknown key '%s'; %s%s%s", name, key,
                       near != NULL ? "did you mean '"
                                    : "write type, default, required, min, max, "
                                      "choices or of",
                       near != NULL ? near : "", near != NULL ? "'?" : "");
        }
    }
}

static bool limit(lua_State *lua, int entry, const char *key, const char *name, double *out) {
    push_field(lua, entry, key);
    bool present = !lua_isnil(lua, -1);
    if (present && lua_type(lua, -1) != LUA_TNUMBER) {
        luaL_error(lua, "options.%s: %s must be a number", name, key);
    }
    *out = lua_tonumber(lua, -1);
    lua_pop(lua, 1);
    return present;
}

/* The entry is on top of the stack. */
static struct option read_option(lua_State *lua, const char *name) {
    int entry = lua_gettop(lua);
    struct option option = {.name = name, .of = -1};
    check_schema_keys(lua, entry, name);
    push_field(lua, entry, "type");
    int type = type_of(lua, lua_tostring(lua, -1));
    if (type < 0) {
        luaL_error(lua,
                   "options.%s: type must be \"string\", \"number\", \"integer\", \"boolean\", "
                   "\"duration\", \"pool\", \"list\", \"map\" or \"any\"",
                   name);
    }
    option.type = (enum option_type)type;
    push_field(lua, entry, "of");
    if (!lua_isnil(lua, -1)) {
        option.of = type_of(lua, lua_tostring(lua, -1));
        if (option.of < 0 || (type != OPTION_LIST && type != OPTION_MAP)) {
            luaL_error(lua, "options.%s: `of` names the type of the elements of a list or map",
                       name);
        }
    }
    push_field(lua, entry, "required");
    option.required = lua_toboolean(lua, -1);
    push_field(lua, entry, "choices");
    if (!lua_isnil(lua, -1) && !lua_istable(lua, -1)) {
        luaL_error(lua, "options.%s: choices must be a list", name);
    }
    lua_pop(lua, 4);
    option.has_minimum = limit(lua, entry, "min", name, &option.minimum);
    option.has_maximum = limit(lua, entry, "max", name, &option.maximum);
    return option;
}

/* ---- values ---- */

/* The key of element i of a list (its number, from 1) or map (its name). */
static void push_key(lua_State *lua, const struct value *value, uint32_t i) {
    if (value->kind == VALUE_MAP) {
        lua_pushstring(lua, value->keys[i]);
    } else {
        lua_pushnumber(lua, i + 1);
    }
}

static void push_plain(struct checking *checking, const struct value *value, int depth) {
    lua_State *lua = checking->lua;
    luaL_checkstack(lua, 4, "options");
    if (depth > DEPTH_MAX) {
        luaL_error(lua, "option '%s' is nested too deeply", checking->option);
    }
    switch (value->kind) {
    case VALUE_NULL:
        lua_pushnil(lua);
        return;
    case VALUE_BOOLEAN:
        lua_pushboolean(lua, value->boolean);
        return;
    case VALUE_NUMBER:
        lua_pushnumber(lua, value->number);
        return;
    case VALUE_STRING:
        lua_pushstring(lua, value->string);
        return;
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    lua_newtable(lua);
    for (uint32_t i = 0; i < value->count; i++) {
        push_key(lua, value, i);
        push_plain(checking, &value->items[i], depth + 1);
        lua_rawset(lua, -3);
    }
}

static bool mismatch(struct checking *checking, const struct value *value, enum option_type type) {
    messages_add(checking->messages, value->at, "option '%s' of script %s must be %s",
                 checking->option, checking->script->name, type_articles[type]);
    checking->ok = false;
    lua_pushnil(checking->lua);
    return false;
}

/* Tests of scripts have no configuration: there any name will do. */
static bool check_pool(struct checking *checking, const struct value *value) {
    const struct snapshot *snapshot = checking->script->vm->host->snapshot;
    uint32_t count = snapshot != NULL ? snapshot->pool_count : 0;
    bool found = count == 0;
    for (uint32_t i = 0; i < count && !found; i++) {
        found = strcmp(snapshot->pools[i].name, value->string) == 0;
    }
    if (!found) {
        messages_add(checking->messages, value->at,
                     "option '%s' of script %s names the pool '%s', which there is not",
                     checking->option, checking->script->name, value->string);
        checking->ok = false;
    }
    return found;
}

static bool push_as(struct checking *checking, const struct value *value, enum option_type type,
                    int of);

static bool push_elements(struct checking *checking, const struct value *value, int of) {
    lua_State *lua = checking->lua;
    bool ok = true;
    lua_newtable(lua);
    for (uint32_t i = 0; i < value->count; i++) {
        push_key(lua, value, i);
        ok = push_as(checking, &value->items[i], (enum option_type)of, -1) && ok;
        lua_rawset(lua, -3);
    }
    return ok;
}

/* Pushes one value in any case; false: it does not fit, and that was said. */
static bool push_as(struct checking *checking, const struct value *value, enum option_type type,
                    int of) {
    lua_State *lua = checking->lua;
    uint64_t milliseconds;
    bool scalar =
        value->kind == VALUE_STRING || value->kind == VALUE_NUMBER || value->kind == VALUE_BOOLEAN;
    switch (type) {
    case OPTION_STRING: /* `path: 8080` and `mode: on` mean the words as written */
        if (!scalar || value->string == NULL) {
            return mismatch(checking, value, type);
        }
        lua_pushstring(lua, value->string);
        return true;
    case OPTION_NUMBER:
    case OPTION_INTEGER:
        if (value->kind != VALUE_NUMBER ||
            (type == OPTION_INTEGER && floor(value->number) != value->number)) {
            return mismatch(checking, value, type);
        }
        lua_pushnumber(lua, value->number);
        return true;
    case OPTION_BOOLEAN:
        if (value->kind != VALUE_BOOLEAN) {
            return mismatch(checking, value, type);
        }
        lua_pushboolean(lua, value->boolean);
        return true;
    case OPTION_DURATION:
        if (!scalar || value->string == NULL ||
            scalar_duration(value->string, &milliseconds) != SCALAR_OK) {
            return mismatch(checking, value, type);
        }
        lua_pushnumber(lua, (double)milliseconds);
        return true;
    case OPTION_POOL:
        if (value->kind != VALUE_STRING) {
            return mismatch(checking, value, type);
        }
        lua_pushstring(lua, value->string);
        return check_pool(checking, value);
    case OPTION_LIST:
    case OPTION_MAP:
        if (value->kind != (type == OPTION_LIST ? VALUE_LIST : VALUE_MAP)) {
            return mismatch(checking, value, type);
        }
        if (of >= 0) {
            return push_elements(checking, value, of);
        }
        break;
    case OPTION_ANY:
    case OPTION_TYPE_COUNT:
        break;
    }
    push_plain(checking, value, 0);
    return true;
}

/* The value is on top of the stack and is a number if the option has limits. */
static void check_limits(struct checking *checking, const struct option *option,
                         const struct value *value) {
    double number = lua_tonumber(checking->lua, -1);
    if (lua_type(checking->lua, -1) != LUA_TNUMBER) {
        return;
    }
    if (option->has_minimum && !(number >= option->minimum)) {
        messages_add(checking->messages, value->at,
                     "option '%s' of script %s is %.14g; write at least %.14g", option->name,
                     checking->script->name, number, option->minimum);
        checking->ok = false;
    } else if (option->has_maximum && !(number <= option->maximum)) {
        messages_add(checking->messages, value->at,
                     "option '%s' of script %s is %.14g; write at most %.14g", option->name,
                     checking->script->name, number, option->maximum);
        checking->ok = false;
    }
}

/* As it would be written. */
static void put_value(struct text *out, const struct value *value, int depth) {
    if (value->kind != VALUE_LIST && value->kind != VALUE_MAP) {
        text_string(out, value->string != NULL ? value->string : "null");
        return;
    }
    text_string(out, value->kind == VALUE_LIST ? "[" : "{");
    for (uint32_t i = 0; i < value->count; i++) {
        text_string(out, i > 0 ? ", " : "");
        if (depth == DEPTH_MAX || out->length > 200) {
            text_string(out, "...");
            break;
        }
        if (value->kind == VALUE_MAP) {
            text_format(out, "%s: ", value->keys[i]);
        }
        put_value(out, &value->items[i], depth + 1);
    }
    text_string(out, value->kind == VALUE_LIST ? "]" : "}");
}

/* The list of choices is on top of the stack. All Lua calls below work on values that stand there
 * already: none allocates. */
static void put_choices(lua_State *lua, struct text *out) {
    size_t count = lua_objlen(lua, -1);
    for (size_t i = 1; i <= count; i++) {
        const char *separator = out->length > 0 ? ", " : "";
        lua_rawgeti(lua, -1, (int)i);
        if (lua_type(lua, -1) == LUA_TSTRING) {
            text_format(out, "%s%s", separator, lua_tostring(lua, -1));
        } else if (lua_type(lua, -1) == LUA_TNUMBER) {
            text_format(out, "%s%.14g", separator, lua_tonumber(lua, -1));
        } else if (lua_type(lua, -1) == LUA_TBOOLEAN) {
            text_format(out, "%s%s", separator, lua_toboolean(lua, -1) ? "true" : "false");
        }
        lua_pop(lua, 1);
    }
}

/* The value is on top of the stack, the schema's entry at `entry`. */
static void check_choices(struct checking *checking, int entry, const struct value *value) {
    lua_State *lua = checking->lua;
    int given = lua_gettop(lua);
    bool found = false;
    push_field(lua, entry, "choices");
    if (lua_istable(lua, -1)) {
        size_t count = lua_objlen(lua, -1);
        for (size_t i = 1; i <= count && !found; i++) {
            lua_rawgeti(lua, -1, (int)i);
            found = lua_rawequal(lua, -1, given);
            lua_pop(lua, 1);
        }
        if (!found) {
            struct text known = {0}, written = {0};
            put_choices(lua, &known);
            put_value(&written, value, 0);
            messages_add(checking->messages, value->at,
                         "option '%s' of script %s cannot be '%s'; write one of: %s",
                         checking->option, checking->script->name,
                         written.bytes != NULL ? written.bytes : "?",
                         known.bytes != NULL ? known.bytes : "");
            text_free(&known);
            text_free(&written);
            checking->ok = false;
        }
    }
    lua_settop(lua, given);
}

/* Limits and choices of the value on top of the stack; of a list or map, those of its elements. */
static void check_value(struct checking *checking, const struct option *option, int entry,
                        const struct value *value) {
    lua_State *lua = checking->lua;
    if (option->type != OPTION_LIST && option->type != OPTION_MAP) {
        check_limits(checking, option, value);
        check_choices(checking, entry, value);
        return;
    }
    int given = lua_gettop(lua);
    for (uint32_t i = 0; i < value->count; i++) {
        push_key(lua, value, i);
        lua_rawget(lua, given);
        check_limits(checking, option, &value->items[i]);
        check_choices(checking, entry, &value->items[i]);
        lua_settop(lua, given);
    }
}

/* ---- defaults ---- */

/* A copy of its own for every instance, as a script may write into its options. */
static void push_copy(lua_State *lua, int source, int depth) {
    if (!lua_istable(lua, source)) {
        lua_pushvalue(lua, source);
        return;
    }
    luaL_checkstack(lua, 6, "options");
    if (depth > DEPTH_MAX) {
        luaL_error(lua, "options: a default is nested too deeply");
    }
    lua_newtable(lua);
    int copy = lua_gettop(lua);
    for (lua_pushnil(lua); lua_next(lua, source) != 0; lua_pop(lua, 1)) {
        lua_pushvalue(lua, -2);
        push_copy(lua, lua_gettop(lua) - 1, depth + 1);
        lua_rawset(lua, copy);
    }
}

/* The entry is at `entry`. Pushes the default, or nil. */
static void push_default(lua_State *lua, int entry, const struct option *option) {
    uint64_t milliseconds;
    push_field(lua, entry, "default");
    if (option->type == OPTION_DURATION && lua_type(lua, -1) == LUA_TSTRING) {
        if (scalar_duration(lua_tostring(lua, -1), &milliseconds) != SCALAR_OK) {
            luaL_error(lua, "options.%s: the default is no duration such as \"250ms\"",
                       option->name);
        }
        lua_pop(lua, 1);
        lua_pushnumber(lua, (double)milliseconds);
        return;
    }
    push_copy(lua, lua_gettop(lua), 0);
    lua_remove(lua, -2);
}

/* ---- all of it ---- */

static const struct value *given_value(const struct script_use *use, const char *name) {
    for (uint32_t i = 0; use->with != NULL && i < use->with->count; i++) {
        if (strcmp(use->with->keys[i], name) == 0) {
            return &use->with->items[i];
        }
    }
    return NULL;
}

static void report_unknown(struct checking *checking, const char *const *names, uint32_t count) {
    const struct value *with = checking->use->with;
    for (uint32_t i = 0; with != NULL && i < with->count; i++) {
        bool known = false;
        for (uint32_t k = 0; k < count; k++) {
            known = known || strcmp(names[k], with->keys[i]) == 0;
        }
        if (known) {
            continue;
        }
        const char *near = nearest_word(with->keys[i], names, count);
        if (near != NULL) {
            messages_add(checking->messages, with->key_at[i],
                         "unknown option '%s' of script %s; did you mean '%s'?", with->keys[i],
                         checking->script->name, near);
        } else {
            struct text known_names = {0};
            for (uint32_t k = 0; k < count; k++) {
                text_format(&known_names, "%s%s", k > 0 ? ", " : "", names[k]);
            }
            messages_add(checking->messages, with->key_at[i],
                         "unknown option '%s' of script %s; it has: %s", with->keys[i],
                         checking->script->name,
                         known_names.bytes != NULL ? known_names.bytes : "no options");
            text_free(&known_names);
        }
        checking->ok = false;
    }
}

/* Sets one field of the table at `options` from what is given or the default. */
static void set_option(struct checking *checking, int schema, int options, const char *name) {
    lua_State *lua = checking->lua;
    push_field(lua, schema, name);
    int entry = lua_gettop(lua);
    struct option option = read_option(lua, name);
    const struct value *value = given_value(checking->use, name);
    checking->option = name;
    if (value != NULL && value->kind != VALUE_NULL) {
        if (push_as(checking, value, option.type, option.of)) {
            check_value(checking, &option, entry, value);
        }
    } else if (option.required) {
        messages_add(checking->messages, checking->use->at,
                     "script %s needs the option '%s'; write with: {%s: ...}",
                     checking->script->name, name, name);
        checking->ok = false;
        lua_pushnil(lua);
    } else {
        push_default(lua, entry, &option);
    }
    lua_setfield(lua, options, name);
    lua_settop(lua, entry - 1);
}

bool options_push(lua_State *lua, const struct script *script, const struct script_use *use,
                  struct messages *messages) {
    struct checking checking = {
        .lua = lua, .script = script, .use = use, .messages = messages, .ok = true};
    int top = lua_gettop(lua);
    if (use->with != NULL && use->with->kind != VALUE_MAP) {
        messages_add(messages, use->with->at, "`with` of script %s must be a map of options",
                     script->name);
        return false;
    }
    lua_newtable(lua);
    int options = lua_gettop(lua);
    lua_getfield(lua, top, "options");
    if (lua_isnil(lua, -1)) {
        lua_pop(lua, 1);
        lua_newtable(lua);
    } else if (!lua_istable(lua, -1)) {
        luaL_error(lua, "options must be a table, NAME = {type = ...}");
    }
    int schema = lua_gettop(lua);
    uint32_t count;
    const char **names = push_names(lua, schema, &count);
    report_unknown(&checking, names, count);
    for (uint32_t i = 0; i < count; i++) {
        set_option(&checking, schema, options, names[i]);
    }
    lua_settop(lua, checking.ok ? options : top);
    return checking.ok;
}
