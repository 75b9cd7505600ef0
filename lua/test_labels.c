/* Zones and tags of a test's backends: their names stand in the file's snapshot, as scripts learn
 * them from there. Runs under the guard, inside functions the test calls. */
#include <string.h>

#include "lua/test.h"

/* The code of the zone named at `at`, 0 = none is. False: nil and a message are pushed. */
bool test_zone(lua_State *lua, struct test_file *file, int at, uint32_t *code) {
    struct snapshot *snapshot = &file->snapshot;
    size_t length;
    *code = 0;
    if (lua_isnoneornil(lua, at)) {
        return true;
    }
    const char *name = luaL_checklstring(lua, at, &length);
    for (uint32_t i = 0; i < snapshot->zone_count; i++) {
        if (strcmp(file->zones[i].name, name) == 0) {
            *code = file->zones[i].code;
            return true;
        }
    }
    char *copy =
        snapshot->zone_count < TEST_ZONES ? region_copy(&file->memory, name, length) : NULL;
    if (copy == NULL) {
        (void)test_refuse(lua, "there are too many zones: at most %d", TEST_ZONES);
        return false;
    }
    *code = zone_code(copy);
    file->zones[snapshot->zone_count++] = (struct zone_config){.name = copy, .code = *code};
    return true;
}

static bool read_tag(lua_State *lua, struct test_file *file, int at, uint32_t *bits) {
    struct snapshot *snapshot = &file->snapshot;
    size_t length;
    const char *name = luaL_checklstring(lua, at, &length);
    uint32_t known = snapshot_tag_bits(snapshot, name);
    if (known == 0) {
        char *copy = snapshot->tag_count < SNAPSHOT_TAGS_MAX
                         ? region_copy(&file->memory, name, length)
                         : NULL;
        if (copy == NULL) {
            (void)test_refuse(lua, "there are too many tags: at most %d", SNAPSHOT_TAGS_MAX);
            return false;
        }
        known = 1u << snapshot->tag_count;
        file->tags[snapshot->tag_count] =
            (struct tag_config){.name = copy, .bit = snapshot->tag_count};
        snapshot->tag_count++;
    }
    *bits |= known;
    return true;
}

/* The bits of the list at `at`. False: nil and a message are pushed. */
bool test_tags(lua_State *lua, struct test_file *file, int at, uint32_t *bits) {
    *bits = 0;
    if (lua_isnoneornil(lua, at)) {
        return true;
    }
    luaL_checktype(lua, at, LUA_TTABLE);
    for (int i = 1; i <= (int)lua_objlen(lua, at); i++) {
        lua_rawgeti(lua, at, i);
        if (!read_tag(lua, file, lua_gettop(lua), bits)) {
            return false;
        }
        lua_pop(lua, 1);
    }
    return true;
}
