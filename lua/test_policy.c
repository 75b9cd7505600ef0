/* Policies under test: made, asked and told the way the balancer does it. See test.h.
 *
 * The functions of the test only note what they are told, under the guard of its state; the driver
 * makes, asks and frees policies, outside of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/policy.h"
#include "lua/test.h"

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

static struct test_policy *find_policy(const struct test_file *file, double id) {
    struct test_policy *policy = file->policies;
    while (policy != NULL && policy->id != id) {
        policy = policy->next;
    }
    return policy;
}

bool test_read_values(lua_State *lua, struct test_request *request, int at) {
    static const char *const faults[] = {
        [VALUES_BAD_KEY] = "is no name of up to 32 letters, digits and _",
        [VALUES_TOO_LONG] = "is a string of more than 256 bytes",
        [VALUES_TOO_MANY] = "is one too many: a session keeps at most 16",
        [VALUES_OUT_OF_MEMORY] = "is one too many: memory is out",
    };
    values_free(&request->values);
    if (!lua_istable(lua, at)) {
        return true;
    }
    for (lua_pushnil(lua); lua_next(lua, at) != 0; lua_pop(lua, 1)) {
        struct alacrity_value value = {0};
        int type = lua_type(lua, -1);
        size_t length = 0, key_length = 0;
        if (type == LUA_TSTRING) {
            value.type = ALACRITY_SHARED_STRING;
            value.bytes = lua_tolstring(lua, -1, &length);
            value.length = (uint32_t)length;
        } else if (type == LUA_TNUMBER || type == LUA_TBOOLEAN) {
            value.type = type == LUA_TNUMBER ? ALACRITY_SHARED_NUMBER : ALACRITY_SHARED_BOOLEAN;
            value.number = type == LUA_TNUMBER ? lua_tonumber(lua, -1) : lua_toboolean(lua, -1);
        }
        const char *key =
            lua_type(lua, -2) == LUA_TSTRING ? lua_tolstring(lua, -2, &key_length) : "?";
        if (value.type == ALACRITY_SHARED_NOTHING) {
            (void)test_refuse(lua, "values: %s is no number, string or boolean", key);
            return false;
        }
        enum values_fault fault = values_set(&request->values, key, (uint32_t)key_length, &value);
        if (fault != VALUES_DONE) {
            (void)test_refuse(lua, "values: %s %s", key, faults[fault]);
            return false;
        }
    }
    return true;
}

void test_push_values(lua_State *lua, const struct test_file *file) {
    const char *key;
    struct alacrity_value value;
    lua_newtable(lua);
    for (uint32_t i = 0; values_each(&file->request.values, i, &key, &value); i++) {
        if (value.type == ALACRITY_SHARED_STRING) {
            lua_pushlstring(lua, value.bytes, value.length);
        } else if (value.type == ALACRITY_SHARED_BOOLEAN) {
            lua_pushboolean(lua, value.number != 0);
        } else {
            lua_pushnumber(lua, value.number);
        }
        lua_setfield(lua, -2, key);
    }
}

bool test_read_session(lua_State *lua, struct test_request *request, int at) {
    if (!set_client(request, luaL_checkstring(lua, at))) {
        (void)test_refuse(lua, "client must be an address without port, not '%s'",
                          lua_tostring(lua, at));
        return false;
    }
    request->ctx.view.client_port = (uint32_t)luaL_checknumber(lua, at + 1);
    int written =
        snprintf(request->listener, sizeof(request->listener), "%s", luaL_checkstring(lua, at + 2));
    if (written >= (int)sizeof(request->listener)) {
        (void)test_refuse(lua, "the listener's name is too long");
        return false;
    }
    request->ctx.client = request->client;
    request->ctx.listener = request->listener;
    request->ctx.values = &request->values;
    return true;
}

/* native.close(policy, client, port, listener, attempts, backend or nil, reason, duration_ms,
 * bytes_in, bytes_out, values) */
static int policy_close_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_request *request = &file->request;
    request->policy = find_policy(file, luaL_checknumber(lua, 1));
    if (request->policy == NULL) {
        return test_refuse(lua, "this policy is another case's");
    }
    const char *name = lua_tostring(lua, 6), *reason = luaL_checkstring(lua, 7);
    const struct slot *slot = name != NULL ? test_pool_slot(request->policy->pool, name) : NULL;
    if (name != NULL && slot == NULL) {
        return test_refuse(lua, "there is no backend '%s'", name);
    }
    uint32_t code = 0;
    while (code < REASON_COUNT && strcmp(session_reason_word(code), reason) != 0) {
        code++;
    }
    if (code == REASON_COUNT) {
        return test_refuse(lua,
                           "no session ends because of '%s'; done, client_reset, "
                           "backend_reset, idle_timeout, connect_failed are some reasons",
                           reason);
    }
    if (!test_read_session(lua, request, 2) || !test_read_values(lua, request, 11)) {
        return 2;
    }
    request->closed = (struct alacrity_closed_private){
        .view = {.attempts = (uint32_t)luaL_checknumber(lua, 5),
                 .client_hash = request->ctx.view.client_hash,
                 .client_port = request->ctx.view.client_port,
                 .reason_code = code,
                 .duration_ms = luaL_checknumber(lua, 8),
                 .bytes_in = luaL_checknumber(lua, 9),
                 .bytes_out = luaL_checknumber(lua, 10)},
        .client = request->client,
        .listener = request->listener,
        .reason = session_reason_word(code),
        .backend = slot != NULL ? &slot->script.view : NULL,
        .values = &request->values,
    };
    return test_ask(lua, file, REQUEST_CLOSE);
}

/* native.pick(policy, times, client, port, listener, attempt, last_failure, tried, values); the
 * driver answers, with a name or nil and why, and the values; or with a table of counts. */
static int policy_pick_call(lua_State *lua) {
    struct test_file *file = test_file_of(lua);
    struct test_request *request = &file->request;
    request->policy = find_policy(file, luaL_checknumber(lua, 1));
    if (request->policy == NULL) {
        return test_refuse(lua, "this policy is another case's");
    }
    request->times = (uint32_t)luaL_checknumber(lua, 2);
    const char *failure = lua_tostring(lua, 7);
    request->ctx.view =
        (struct alacrity_ctx){.attempt = (uint32_t)luaL_checknumber(lua, 6),
                              .last_failure_code = failure != NULL ? vm_failure_code(failure) : 0};
    if (failure != NULL && request->ctx.view.last_failure_code == 0) {
        return test_refuse(lua, "there is no last_failure '%s', such as refused or timeout",
                           failure);
    }
    if (!test_read_session(lua, request, 3) ||
        !read_tried(lua, request->policy->pool, request, 8) || !test_read_values(lua, request, 9)) {
        return 2;
    }
    return test_ask(lua, file, REQUEST_PICK);
}

void test_policy_functions(lua_State *lua, struct test_file *file) {
    static const luaL_Reg functions[] = {{"policy", policy_new_call},
                                         {"pick", policy_pick_call},
                                         {"close", policy_close_call},
                                         {NULL, NULL}};
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

static void serve_close(struct test_file *file) {
    const struct test_policy *policy = file->request.policy;
    struct script_info info;
    if (!make_ready(file, file->request.policy)) {
        file->answer.fatal = true;
        return;
    }
    switch (scripting->policy_closed(policy->policy, &file->request.closed)) {
    case TOLD:
        file->answer.ok = true;
        return;
    case TOLD_NOBODY:
        file->answer.fatal = true;
        test_fail(file, "policy %s has no on_close", policy->config.policy.name);
        return;
    default:
        file->answer.fatal = true;
        test_fail(file, "%s",
                  scripting->host_script(policy->host, 0, &info) ? info.last_error
                                                                 : "on_close failed");
    }
}

void test_policy_serve(struct test_file *file) {
    if (file->request.kind == REQUEST_POLICY) {
        serve_policy(file);
    } else if (file->request.kind == REQUEST_CLOSE) {
        serve_close(file);
    } else {
        serve_pick(file);
    }
}

struct test_policy *test_policy_due(const struct test_file *file, double *due) {
    struct test_policy *first = NULL;
    *due = (double)INFINITY;
    for (struct test_policy *policy = file->policies; policy != NULL; policy = policy->next) {
        double own = policy->host != NULL ? scripting->host_due(policy->host) : (double)INFINITY;
        if (own < *due) {
            *due = own;
            first = policy;
        }
    }
    return first;
}

void test_policies_free(struct test_file *file, uint32_t of_case) {
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
}
