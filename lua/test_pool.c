/* Pools for tests: real slots in an arena of the test's own, real views over them. See test.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "lua/test.h"

/* ---- pools ---- */

struct test_pool *test_pool_find(struct test_file *file, lua_State *lua, int at) {
    double id = luaL_checknumber(lua, at);
    for (struct test_pool *pool = file->pools; pool != NULL; pool = pool->next) {
        if (pool->id == id) {
            return pool;
        }
    }
    return NULL;
}

struct slot *test_pool_slot(const struct test_pool *pool, const char *name) {
    for (uint32_t i = 0; pool != NULL && i < pool->count; i++) {
        if (strcmp(pool->slots[i]->script.name, name) == 0) {
            return pool->slots[i];
        }
    }
    return NULL;
}

/* What the backend has become, in virtual time. */
static void changed(const struct test_file *file, struct test_pool *pool, struct slot *slot) {
    slot_changed_at(slot, pool->facts, (uint64_t)(file->fake.now * 1000));
}

/* native.pool(name, zone) -> id */
static int pool_new(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    const char *name = luaL_checkstring(lua, 1);
    for (const struct test_pool *pool = file->pools; pool != NULL; pool = pool->next) {
        if (strcmp(pool->facts->name, name) == 0) {
            return test_refuse(lua, "there is a pool '%s' already", name);
        }
    }
    uint32_t zone;
    if (!test_zone(lua, file, 2, &zone)) {
        return 2;
    }
    struct test_pool *pool = calloc(1, sizeof(*pool));
    struct pool_facts *facts = pool != NULL ? arena_take_pool(file->arena, name) : NULL;
    if (facts == NULL) {
        free(pool);
        return test_refuse(lua, "cannot make a pool '%s': names have at most %d characters", name,
                           ALACRITY_NAME_BYTES - 1);
    }
    pool->facts = facts;
    pool->zone_code = zone;
    pool->id = ++file->next_id;
    pool->of_case = file->case_number;
    pool->dirty = true;
    pool->next = file->pools;
    file->pools = pool;
    lua_pushnumber(lua, pool->id);
    return 1;
}

/* native.add(pool, name, address, zone, tags) */
static int pool_add(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_pool *pool = test_pool_find(file, lua, 1);
    const char *name = luaL_checkstring(lua, 2), *address = luaL_checkstring(lua, 3);
    uint32_t zone, tags;
    bool readdressed;
    if (pool == NULL) {
        return test_refuse(lua, "this pool is another case's");
    }
    if (test_pool_slot(pool, name) != NULL) {
        return test_refuse(lua, "there is a backend '%s' already", name);
    }
    if (name[0] == '\0' || pool->count == TEST_BACKENDS) {
        return test_refuse(lua, "a pool has at most %d backends, and each has a name",
                           TEST_BACKENDS);
    }
    if (!test_zone(lua, file, 4, &zone) || !test_tags(lua, file, 5, &tags)) {
        return 2;
    }
    struct slot *slot = arena_take_slot(file->arena, pool->facts, name, address, &readdressed);
    if (slot == NULL) {
        return test_refuse(lua, "cannot make a backend '%s' with the address '%s': too long", name,
                           address);
    }
    if (readdressed) {
        strcpy(slot->script.address, address);
    }
    atomic_store(&slot->presence, PRESENCE_PRESENT);
    atomic_store(&slot->health, HEALTH_UP);
    atomic_store(&slot->script.view.zone_code, zone);
    atomic_store(&slot->script.view.tag_bits, tags);
    changed(file, pool, slot);
    pool->slots[pool->count++] = slot;
    pool->dirty = true;
    lua_pushboolean(lua, 1);
    return 1;
}

static void give_slot(struct test_file *file, struct test_pool *pool, struct slot *slot) {
    struct alacrity_backend *view = &slot->script.view;
    atomic_store(&view->active, 0);
    atomic_store(&view->weight, 1);
    atomic_store(&view->max_sessions, 0);
    atomic_store(&view->connect_ewma_ms, 0);
    atomic_store(&view->connect_last_ms, 0);
    atomic_store(&view->connected_at, 0);
    atomic_store(&slot->presence, PRESENCE_GONE);
    atomic_store(&slot->admin, ADMIN_READY);
    changed(file, pool, slot);
    arena_give_slot(file->arena, slot);
}

/* native.remove(pool, name) */
static int pool_remove(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_pool *pool = test_pool_find(file, lua, 1);
    const char *name = luaL_checkstring(lua, 2);
    struct slot *slot = test_pool_slot(pool, name);
    if (slot == NULL) {
        return test_refuse(lua, "there is no backend '%s'", name);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->slots[i] != slot) {
            pool->slots[kept++] = pool->slots[i];
        }
    }
    pool->count = kept;
    give_slot(file, pool, slot);
    pool->dirty = true;
    lua_pushboolean(lua, 1);
    return 1;
}

static bool set_state(struct slot *slot, const char *word) {
    static const struct {
        const char *word;
        uint32_t health, admin;
    } states[] = {{"up", HEALTH_UP, ADMIN_READY},
                  {"down", HEALTH_DOWN, ADMIN_READY},
                  {"starting", HEALTH_STARTING, ADMIN_READY},
                  {"suspect", HEALTH_SUSPECT, ADMIN_READY},
                  {"drain", HEALTH_UP, ADMIN_DRAIN},
                  {"maint", HEALTH_UP, ADMIN_MAINT}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(states[i].word, word) == 0) {
            atomic_store(&slot->health, states[i].health);
            atomic_store(&slot->admin, states[i].admin);
            return true;
        }
    }
    return false;
}

static _Atomic uint32_t *count_of(struct slot *slot, const char *key) {
    struct alacrity_backend *view = &slot->script.view;
    return strcmp(key, "active") == 0         ? &view->active
           : strcmp(key, "weight") == 0       ? &view->weight
           : strcmp(key, "max_sessions") == 0 ? &view->max_sessions
                                              : NULL;
}

/* native.set(pool, name, key, value) */
static int pool_set(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_pool *pool = test_pool_find(file, lua, 1);
    const char *name = luaL_checkstring(lua, 2), *key = luaL_checkstring(lua, 3);
    struct slot *slot = test_pool_slot(pool, name);
    if (slot == NULL) {
        return test_refuse(lua, "there is no backend '%s'", name);
    }
    _Atomic uint32_t *count = count_of(slot, key);
    double number = lua_type(lua, 4) == LUA_TNUMBER ? lua_tonumber(lua, 4) : -1;
    double most = count == &slot->script.view.weight ? 1000000 : UINT32_MAX;
    if (count != NULL) {
        if (!(number >= 0 && number <= most && number == (double)(uint32_t)number)) {
            return test_refuse(lua, "%s must be a whole number from 0 to %.0f", key, most);
        }
        atomic_store(count, (uint32_t)number);
    } else if (strcmp(key, "connect_ms") == 0) {
        if (!(number >= 0 && number < 1e9)) {
            return test_refuse(lua, "connect_ms must be a number of milliseconds, 0 = not known");
        }
        atomic_store(&slot->script.view.connect_ewma_ms, (float)number);
        atomic_store(&slot->script.view.connect_last_ms, (float)number);
        atomic_store(&slot->script.view.connected_at, number > 0 ? (uint32_t)file->fake.now : 0);
    } else if (strcmp(key, "state") == 0) {
        if (lua_type(lua, 4) != LUA_TSTRING || !set_state(slot, lua_tostring(lua, 4))) {
            return test_refuse(
                lua, "state must be \"up\", \"down\", \"starting\", \"suspect\", \"drain\" or "
                     "\"maint\"");
        }
    } else {
        return test_refuse(lua,
                           "a backend has no '%s'; it has active, weight, max_sessions, connect_ms "
                           "and state",
                           key);
    }
    changed(file, pool, slot);
    lua_pushboolean(lua, 1);
    return 1;
}

static void set_field(lua_State *lua, const char *key, double number) {
    lua_pushnumber(lua, number);
    lua_setfield(lua, -2, key);
}

/* native.get(pool, name) -> {active = ...} */
static int pool_get(lua_State *lua) {
    const struct slot *slot =
        test_pool_slot(test_pool_find(test_file_of(lua), lua, 1), luaL_checkstring(lua, 2));
    if (slot == NULL) {
        return test_refuse(lua, "there is no backend '%s'", lua_tostring(lua, 2));
    }
    const struct alacrity_backend *view = &slot->script.view;
    lua_createtable(lua, 0, 7);
    set_field(lua, "active", atomic_load(&view->active));
    set_field(lua, "weight", atomic_load(&view->weight));
    set_field(lua, "max_sessions", atomic_load(&view->max_sessions));
    set_field(lua, "connect_ms", (double)atomic_load(&view->connect_ewma_ms));
    lua_pushstring(lua, state_word(slot_state(slot)));
    lua_setfield(lua, -2, "state");
    lua_pushstring(lua, slot->script.address);
    lua_setfield(lua, -2, "address");
    return 1;
}

void test_pool_functions(lua_State *lua, struct test_file *file) {
    static const luaL_Reg functions[] = {{"pool", pool_new},      {"add", pool_add},
                                         {"remove", pool_remove}, {"set", pool_set},
                                         {"get", pool_get},       {NULL, NULL}};
    lua_pushlightuserdata(lua, file);
    luaL_setfuncs(lua, functions, 1);
}

/* ---- the end ---- */

void test_pools_free(struct test_file *file, uint32_t of_case) {
    test_policies_free(file, of_case);
    for (struct test_pool **link = &file->pools; *link != NULL;) {
        struct test_pool *pool = *link;
        if (pool->of_case != of_case) {
            link = &pool->next;
            continue;
        }
        *link = pool->next;
        for (uint32_t i = 0; i < pool->count; i++) {
            give_slot(file, pool, pool->slots[i]);
        }
        view_free(&pool->view);
        arena_give_pool(file->arena, pool->facts);
        free(pool);
    }
    arena_sweep(file->arena);
}
