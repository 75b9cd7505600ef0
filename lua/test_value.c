/* What a test writes as a script and its options, in the form a configuration would give them. Runs
 * under the guard, inside functions the test calls; whatever is made here lives in a region, so
 * that an error may leave at any point. */
#include <stdio.h>
#include <string.h>

#include "lua/test.h"

#define DEPTH_MAX 32

struct making {
    lua_State *lua;
    struct region *memory;
    struct position at;
};

static bool to_value(struct making *making, struct value *out, int depth);

static bool scalar(struct region *memory, struct value *out, const char *text, size_t length) {
    out->string = region_copy(memory, text, length);
    return out->string != NULL;
}

/* The table is on top of the stack. False: there is no memory, or it is not a list or map. */
static bool table_items(struct making *making, struct value *out, int depth) {
    lua_State *lua = making->lua;
    struct region *memory = making->memory;
    int table = lua_gettop(lua);
    uint32_t count = 0;
    luaL_checkstack(lua, 8, "options");
    for (lua_pushnil(lua); lua_next(lua, table) != 0; lua_pop(lua, 1)) {
        count++;
    }
    size_t length = lua_objlen(lua, table);
    out->kind = count > length ? VALUE_MAP : VALUE_LIST;
    out->items = region_take_array(memory, count, sizeof(*out->items));
    if (count > 0 && out->items == NULL) {
        return false;
    }
    if (out->kind == VALUE_LIST) {
        for (uint32_t i = 0; i < count; i++) {
            lua_rawgeti(lua, table, (int)i + 1);
            bool ok = to_value(making, &out->items[i], depth + 1);
            lua_pop(lua, 1);
            if (!ok) {
                return false;
            }
        }
        out->count = count;
        return true;
    }
    out->keys = region_take_array(memory, count, sizeof(*out->keys));
    out->key_at = region_take_array(memory, count, sizeof(*out->key_at));
    if (out->keys == NULL || out->key_at == NULL) {
        return false;
    }
    for (lua_pushnil(lua); lua_next(lua, table) != 0; lua_pop(lua, 1)) {
        uint32_t i = out->count;
        size_t bytes;
        if (lua_type(lua, -2) != LUA_TSTRING) {
            return false;
        }
        const char *key = lua_tolstring(lua, -2, &bytes);
        out->keys[i] = region_copy(memory, key, bytes);
        out->key_at[i] = out->at;
        if (out->keys[i] == NULL || !to_value(making, &out->items[i], depth + 1)) {
            return false;
        }
        out->count++;
    }
    return true;
}

/* The value is on top of the stack and stays there. */
static bool to_value(struct making *making, struct value *out, int depth) {
    lua_State *lua = making->lua;
    struct region *memory = making->memory;
    char digits[40];
    size_t length;
    const char *text;
    *out = (struct value){.kind = VALUE_NULL, .at = making->at};
    if (depth > DEPTH_MAX) {
        return false;
    }
    switch (lua_type(lua, -1)) {
    case LUA_TBOOLEAN:
        out->kind = VALUE_BOOLEAN;
        out->boolean = lua_toboolean(lua, -1);
        return scalar(memory, out, out->boolean ? "true" : "false", out->boolean ? 4 : 5);
    case LUA_TNUMBER:
        out->kind = VALUE_NUMBER;
        out->number = lua_tonumber(lua, -1);
        snprintf(digits, sizeof(digits), "%.14g", out->number);
        return scalar(memory, out, digits, strlen(digits));
    case LUA_TSTRING:
        out->kind = VALUE_STRING;
        text = lua_tolstring(lua, -1, &length);
        return scalar(memory, out, text, length);
    case LUA_TTABLE:
        return table_items(making, out, depth);
    default:
        return false;
    }
}

/* The name, in the folder of the test's file. NULL: no memory. */
static char *beside(const struct test_file *file, struct region *memory, const char *name) {
    const char *slash = strrchr(file->settings->path, '/');
    int folder = slash != NULL ? (int)(slash - file->settings->path) + 1 : 0;
    folder = name[0] == '/' ? 0 : folder;
    size_t bytes = (size_t)folder + strlen(name) + 1;
    char *path = region_take(memory, bytes);
    if (path != NULL) {
        snprintf(path, bytes, "%.*s%s", folder, file->settings->path, name);
    }
    return path;
}

bool test_use(lua_State *lua, struct test_file *file, struct region *memory, int at,
              struct script_use *out) {
    size_t length;
    const char *name = luaL_checklstring(lua, at, &length);
    bool is_file =
        strchr(name, '/') != NULL || (length > 4 && strcmp(name + length - 4, ".lua") == 0);
    *out = (struct script_use){.at = test_position(lua, file)};
    out->name = region_copy(memory, name, length);
    out->path = is_file ? beside(file, memory, name) : NULL;
    if (out->name == NULL || (is_file && out->path == NULL)) {
        (void)test_refuse(lua, "out of memory");
        return false;
    }
    if (lua_isnoneornil(lua, at + 1)) {
        return true;
    }
    luaL_checktype(lua, at + 1, LUA_TTABLE);
    struct making making = {.lua = lua, .memory = memory, .at = out->at};
    out->with = region_take(memory, sizeof(*out->with));
    lua_pushvalue(lua, at + 1);
    bool ok = out->with != NULL && to_value(&making, out->with, 0);
    lua_pop(lua, 1);
    if (!ok) {
        (void)test_refuse(lua,
                          "options are a table of names with strings, numbers, booleans, lists "
                          "and tables of these");
        return false;
    }
    if (out->with->count == 0) {
        out->with->kind = VALUE_MAP; /* {}: no options */
    }
    return true;
}
