/* Pools and policies for tests: real slots in an arena of the test's own, real views over them, and
 * policies made and asked the way the balancer does it.
 *
 * The functions of the test only note what they are told, under the guard of its state; the driver
 * makes, asks and frees policies, outside of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "lua/policy.h"
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

/* ---- what a policy is asked ---- */

/* native.policy(script, options, pool) -> id; by the driver */
static int policy_new_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_request *request = &file->request;
    request->pool = test_pool_find(file, lua, 3);
    if (request->pool == NULL) {
        return test_refuse(lua, "this pool is another case's");
    }
    return test_use(lua, file, test_memory(file), 1, &request->use)
               ? test_ask(lua, file, REQUEST_POLICY)
               : 2;
}

/* The address without a port, as clients have it. False: it is none. */
static bool set_client(struct test_request *request, const char *client) {
    char text[ALACRITY_ADDRESS_BYTES], error[160];
    struct address address = {.length = sizeof(address.local.sun_family),
                              .local.sun_family = AF_UNIX};
    int written =
        snprintf(text, sizeof(text), strchr(client, ':') != NULL ? "[%s]:1" : "%s:1", client);
    if (strcmp(client, "unix") != 0 &&
        (written >= (int)sizeof(text) ||
         address_parse(text, &address, error, sizeof(error)) != ADDRESS_NUMERIC)) {
        return false;
    }
    address_format_host(&address, request->client, sizeof(request->client));
    request->ctx.view.client_hash = address_hash_host(&address);
    return true;
}

/* The names at `at` become ids. False: nil and a message are pushed. */
static bool read_tried(lua_State *lua, const struct test_pool *pool, struct test_request *request,
                       int at) {
    size_t count = lua_istable(lua, at) ? lua_objlen(lua, at) : 0;
    request->tried_count = 0;
    if (count > VIEW_TRIED_MAX) {
        (void)test_refuse(lua, "at most %d backends can have been tried", VIEW_TRIED_MAX);
        return false;
    }
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(lua, at, (int)i);
        const char *name = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "?";
        const struct slot *slot = test_pool_slot(pool, name);
        if (slot == NULL) {
            (void)test_refuse(lua, "tried: there is no backend '%s'", name);
            return false;
        }
        request->tried[request->tried_count++] = slot->script.view.id;
        lua_pop(lua, 1);
    }
    return true;
}

/* native.pick(policy, times, client, port, attempt, listener, last_failure, tried); the driver
 * answers, with a name or nil and why, or with a table of counts. */
static int policy_pick_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_request *request = &file->request;
    double id = luaL_checknumber(lua, 1);
    request->policy = NULL;
    for (struct test_policy *policy = file->policies; policy != NULL; policy = policy->next) {
        request->policy = policy->id == id ? policy : request->policy;
    }
    if (request->policy == NULL) {
        return test_refuse(lua, "this policy is another case's");
    }
    request->times = (uint32_t)luaL_checknumber(lua, 2);
    const char *failure = lua_tostring(lua, 7);
    request->ctx.view =
        (struct alacrity_ctx){.client_port = (uint32_t)luaL_checknumber(lua, 4),
                              .attempt = (uint32_t)luaL_checknumber(lua, 5),
                              .last_failure_code = failure != NULL ? vm_failure_code(failure) : 0};
    if (failure != NULL && request->ctx.view.last_failure_code == 0) {
        return test_refuse(lua, "there is no last_failure '%s', such as refused or timeout",
                           failure);
    }
    if (!set_client(request, luaL_checkstring(lua, 3))) {
        return test_refuse(lua, "client must be an address without port, not '%s'",
                           lua_tostring(lua, 3));
    }
    int written =
        snprintf(request->listener, sizeof(request->listener), "%s", luaL_checkstring(lua, 6));
    if (written >= (int)sizeof(request->listener)) {
        return test_refuse(lua, "the listener's name is too long");
    }
    request->ctx.client = request->client;
    request->ctx.listener = request->listener;
    if (!read_tried(lua, request->policy->pool, request, 8)) {
        return 2;
    }
    return test_ask(lua, file, REQUEST_PICK);
}

void test_pool_functions(lua_State *lua, struct test_file *file) {
    static const luaL_Reg functions[] = {{"pool", pool_new},         {"add", pool_add},
                                         {"remove", pool_remove},    {"set", pool_set},
                                         {"get", pool_get},          {"policy", policy_new_call},
                                         {"pick", policy_pick_call}, {NULL, NULL}};
    lua_pushlightuserdata(lua, file);
    luaL_setfuncs(lua, functions, 1);
}

/* ---- the driver's side ---- */

/* A stopped script is made anew at once, on the same thread. */
static void post_at_once(void *argument, struct script_mail *mail) {
    (void)argument;
    mail->at_builder(mail);
    mail->at_owner(mail);
}

const struct script_post test_post = {.post = post_at_once};

static void drop_host(struct test_policy *policy) {
    if (policy->host != NULL) {
        scripting->host_free(policy->host);
        policy->host = NULL;
        policy->policy = NULL;
    }
}

/* Other backends mean another configuration: a new view, and policies made anew. */
static bool renew_view(struct test_file *file, struct test_pool *pool) {
    for (struct test_policy *policy = file->policies; policy != NULL; policy = policy->next) {
        if (policy->pool == pool) {
            drop_host(policy);
        }
    }
    view_free(&pool->view);
    arena_sweep(file->arena);
    pool->dirty = !view_init(&pool->view, pool->facts, pool->facts->name, pool->slots, pool->count);
    pool->view.script.view.zone_code = pool->zone_code;
    return !pool->dirty;
}

/* False: the answer says why not. */
static bool make_ready(struct test_file *file, struct test_policy *policy) {
    struct messages messages = {0};
    if (policy->pool->count == 0) {
        test_fail(file, "the pool has no backends");
        return false;
    }
    if (policy->pool->dirty && !renew_view(file, policy->pool)) {
        test_fail(file, "out of memory");
        return false;
    }
    if (policy->host != NULL) {
        return true;
    }
    policy->host =
        scripting->host_new(&file->snapshot, file->arena, NULL, &test_post, 0, &messages);
    if (policy->host != NULL) {
        scripting->host_virtual(policy->host, fake_now, file->settings->seed);
        const struct policy_order order = {.use = &policy->config.policy,
                                           .view = &policy->pool->view};
        policy->policy = scripting->policy_new(policy->host, &order, &messages);
        scripting->host_start(policy->host, NULL);
    }
    if (policy->policy == NULL) {
        test_fail_messages(file, &messages);
        drop_host(policy);
    }
    messages_free(&messages);
    return policy->policy != NULL;
}

static void serve_policy(struct test_file *file) {
    const struct test_request *request = &file->request;
    struct test_policy *policy = calloc(1, sizeof(*policy));
    if (policy == NULL) {
        test_fail(file, "out of memory");
        return;
    }
    policy->id = ++file->next_id;
    policy->of_case = file->case_number;
    policy->pool = request->pool;
    policy->config.name = request->pool->facts->name;
    policy->config.policy = request->use;
    policy->next = file->policies;
    file->policies = policy;
    file->answer.ok = make_ready(file, policy);
    file->answer.id = policy->id;
}

/* One question. True: `*slot` is the answer, NULL = nobody, and the answer's text says why. */
static bool ask_once(struct test_file *file, struct test_policy *policy, struct slot **slot) {
    const struct test_request *request = &file->request;
    struct pool_view *view = &policy->pool->view;
    *slot = NULL;
    view_prepare(view, request->tried, request->tried_count);
    if (view->script.view.count == 0) {
        test_fail(file, "no backend can take it");
        return true;
    }
    const char *name = policy->config.policy.name;
    const char *said;
    switch (scripting->policy_pick(policy->policy, &request->ctx, slot)) {
    case PICK_BACKEND:
        return true;
    case PICK_NIL:
        said = policy_reason(policy->policy);
        test_fail(file, "%s", said[0] != '\0' ? said : "nobody");
        return true;
    case PICK_ERROR: {
        struct script_info info;
        bool known = scripting->host_script(policy->host, 0, &info);
        test_fail(file, "%s", known ? info.last_error : "the policy failed");
        return false;
    }
    case PICK_BAD:
        test_fail(file, "policy %s answered %s", name, policy_reason(policy->policy));
        return false;
    case PICK_STOPPED: {
        struct script_info info;
        bool known = scripting->host_script(policy->host, 0, &info);
        test_fail(file, "policy %s: %s", name, known ? info.last_error : "it was stopped");
        return false;
    }
    default:
        test_fail(file, "policy %s was stopped too often and is not asked any more", name);
        return false;
    }
}

/* Another client each time, all of one /8. */
static void next_client(struct test_request *request, uint32_t number) {
    struct address address = {.length = sizeof(address.v4), .v4.sin_family = AF_INET};
    address.v4.sin_addr.s_addr = htonl(0x0A000000u | (number & 0xFFFFFFu));
    address_format_host(&address, request->client, sizeof(request->client));
    request->ctx.view.client_hash = address_hash_host(&address);
}

static void serve_pick(struct test_file *file) {
    struct test_policy *policy = file->request.policy;
    struct test_answer *answer = &file->answer;
    struct slot *slot;
    if (!make_ready(file, policy)) {
        answer->fatal = true;
        return;
    }
    if (file->request.times == 0) {
        answer->fatal = !ask_once(file, policy, &slot);
        answer->ok = slot != NULL;
        if (answer->ok) {
            text_string(&answer->text, slot->script.name);
        }
        return;
    }
    answer->nobody = 0;
    memset(answer->counts, 0, sizeof(answer->counts));
    for (uint32_t i = 1; i <= file->request.times; i++) {
        next_client(&file->request, i);
        if (!ask_once(file, policy, &slot)) {
            answer->fatal = true;
            return;
        }
        if (slot != NULL) {
            answer->counts[view_position(&policy->pool->view, slot)]++;
        } else {
            answer->nobody++;
        }
    }
    answer->ok = true;
}

void test_policy_serve(struct test_file *file) {
    if (file->request.kind == REQUEST_POLICY) {
        serve_policy(file);
    } else {
        serve_pick(file);
    }
}

void test_pools_free(struct test_file *file, uint32_t of_case) {
    for (struct test_policy **link = &file->policies; *link != NULL;) {
        struct test_policy *policy = *link;
        if (policy->of_case != of_case) {
            link = &policy->next;
            continue;
        }
        *link = policy->next;
        drop_host(policy);
        free(policy);
    }
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
