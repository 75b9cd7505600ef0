/* Attempts of tests/lua/escapes*.lua to get out of the sandbox, each made as a policy, compiled and
 * with the JIT off, and as a check. An attempt shares its Lua state with a witness, which is harder
 * than what users get: a state of their own. A second witness lives in another state. Neither may
 * find anything changed, and neither may C. */
#include <dirent.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "base/address.h"
#include "lua/run.h"
#include "script_fixture.h"
#include "suite.h"

#define CALLS 90 /* a loop is compiled after some 60 */
#define CASES_MAX 512

/* ---- the cases, made once ---- */

enum way { POLICY, POLICY_WITHOUT_JIT, CHECK, WAYS };
static const char *const way_kinds[WAYS] = {"policy", "policy", "check"};
static const char *const way_words[WAYS] = {"policy", "policy without JIT", "check"};

static struct escape {
    char *name;
    enum way way;
    int attempt; /* its number among all, from 1 */
} escapes[CASES_MAX];
static int escape_count;
static lua_State *escapes_lua; /* what escape_scripts.lua returned, at index 1 */

static void read_escapes(void) {
    escapes_lua = luaL_newstate();
    fixture_must(escapes_lua != NULL);
    luaL_openlibs(escapes_lua);
    if (luaL_dofile(escapes_lua, "tests/lua/escape_scripts.lua") != 0) {
        fprintf(stderr, "%s\n", lua_tostring(escapes_lua, -1));
        exit(EXIT_FAILURE);
    }
    lua_getfield(escapes_lua, 1, "attempts");
    int attempts = (int)lua_objlen(escapes_lua, 2);
    for (int i = 1; i <= attempts; i++) {
        lua_rawgeti(escapes_lua, 2, i);
        lua_rawgeti(escapes_lua, 3, 1);
        lua_getfield(escapes_lua, 3, "only");
        const char *only = lua_tostring(escapes_lua, -1);
        for (int way = 0; way < WAYS; way++) {
            if (only == NULL || strcmp(only, way_kinds[way]) == 0) {
                fixture_must(escape_count < CASES_MAX);
                escapes[escape_count++] = (struct escape){
                    .name = strdup(lua_tostring(escapes_lua, 4)), .way = way, .attempt = i};
            }
        }
        lua_settop(escapes_lua, 2);
    }
}

/* Calls one of the functions that make a script's text. */
static char *make_text(const char *function, int attempt, enum way way, const char *marker) {
    lua_State *lua = escapes_lua;
    lua_settop(lua, 2);
    lua_getfield(lua, 1, function);
    if (attempt > 0) {
        lua_rawgeti(lua, 2, attempt);
    }
    lua_pushstring(lua, way_kinds[way]);
    lua_pushstring(lua, marker);
    if (lua_pcall(lua, attempt > 0 ? 3 : 2, 1, 0) != 0) {
        ck_abort_msg("%s", lua_tostring(lua, -1));
    }
    char *text = strdup(lua_tostring(lua, -1));
    ck_assert_ptr_nonnull(text);
    return text;
}

/* ---- the stage ---- */

static struct fixture f;
static struct ev_loop *loop;
static int listening;
static struct address address; /* of a socket that accepts */
static char marker[160], library[128];

static struct address listen_anywhere(int *descriptor) {
    struct address at = {.length = sizeof(at.v4)};
    at.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(*descriptor, 0);
    ck_assert_int_eq(bind(*descriptor, &at.any, at.length), 0);
    ck_assert_int_eq(listen(*descriptor, 4096), 0); /* the kernel accepts; nobody has to */
    ck_assert_int_eq(getsockname(*descriptor, &at.any, &at.length), 0);
    return at;
}

static void stage_open(enum way way) {
    fixture_open(&f, 3, NULL);
    snprintf(marker, sizeof(marker), "%s/marker", f.folder);
    snprintf(library, sizeof(library), "%s/lib", f.folder);
    ck_assert_int_eq(mkdir(library, 0700), 0);
    fixture_write(&f, "secret.lua", "return {}", 9);
    fixture_write(&f, "lib/good.lua", "return {answer = 42}", 20);
    fixture_write(&f, "lib/circular.lua", "return require 'circular'", 25);
    fixture_write(&f, "lib/bytes.lua", "\033LJ\002", 4);
    fixture_write(&f, "lib/alacrity.lua", "return {}", 9);
    f.lua_path[0] = library;
    f.snapshot.lua.jit = way != POLICY_WITHOUT_JIT;
    if (way == CHECK) {
        scripting->host_free(f.host);
        loop = ev_loop_new(0);
        f.host =
            scripting->host_new(&f.snapshot, f.arena, loop, NULL, ARENA_CONTROL_ROW, &f.messages);
        ck_assert_ptr_nonnull(f.host);
        address = listen_anywhere(&listening);
    }
}

static void stage_close(enum way way) {
    fixture_close(&f);
    if (way == CHECK) {
        ck_assert_msg(!ev_run(loop, EVRUN_NOWAIT), "something is still watched or timed");
        ev_loop_destroy(loop);
        close(listening);
    }
}

/* ---- asking ---- */

/* A policy or a check: whatever the way is about. */
struct asked {
    struct policy *policy;
    struct check *check;
};

struct answer {
    bool given;
    enum check_answer answer;
    char info[512];
};

static void on_answer(void *argument, enum check_answer answer, const char *info) {
    struct answer *to = argument;
    to->given = true;
    to->answer = answer;
    snprintf(to->info, sizeof(to->info), "%s", info);
}

static void await(const struct answer *answer) {
    ev_now_update(loop);
    while (!answer->given) {
        bool more = ev_run(loop, EVRUN_ONCE);
        ck_assert_msg(more || answer->given, "nothing to wait for, and no answer");
    }
}

static struct asked make(enum way way, struct script_use use) {
    struct asked asked = {0};
    if (way == CHECK) {
        f.pool.name = (char *)(uintptr_t) "app";
        f.pool.check.script = use;
        asked.check = scripting->check_new(f.host, &f.pool, &f.messages);
    } else {
        asked.policy = fixture_policy(&f, use);
    }
    ck_assert_msg(asked.policy != NULL || asked.check != NULL, "%s", fixture_said(&f));
    return asked;
}

/* What was wrong with the answer; NULL: it was as it should be. */
static const char *ask(const struct asked *asked) {
    static struct answer answer;
    static struct script_info info;
    if (asked->check != NULL) {
        answer = (struct answer){0};
        struct check_run *run =
            scripting->check_start(asked->check, f.slots[0], &address, 60000, on_answer, &answer);
        ck_assert_ptr_nonnull(run);
        await(&answer);
        return answer.answer == CHECK_UP ? NULL : answer.info;
    }
    const struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1}, .client = "198.51.100.7", .listener = "web"};
    struct slot *slot = NULL;
    view_prepare(&f.view, NULL, 0);
    if (scripting->policy_pick(asked->policy, &ctx, &slot) == PICK_BACKEND) {
        return slot == f.slots[0] ? NULL : "another backend than it should be";
    }
    for (uint32_t i = 0; scripting->host_script(f.host, i, &info); i++) {
        if (strstr(info.last_error, "escaped") != NULL || strstr(info.last_error, "not what") ||
            strstr(info.last_error, "is now")) {
            return info.last_error;
        }
    }
    return "no backend";
}

/* The text in the state of the stock scripts, in the place of one of them, but with files to
 * require.
 */
static struct script_use in_stock_state(enum way way, int which, const char *text) {
    static const char *const names[2][2] = {{"first", "random"}, {"http", "tcp"}};
    struct script_use use = fixture_stock(names[way == CHECK][which]);
    struct script *script =
        vm_script(f.host, &use, way == CHECK ? SCRIPT_CHECK : SCRIPT_POLICY, &f.messages);
    ck_assert_msg(script != NULL, "%s", fixture_said(&f));
    struct script_source *source = fixture_script(&f, text).source;
    script->text = source->text;
    script->length = source->length;
    if (script->vm->source == NULL) {
        script->vm->source = source_hold(source);
    }
    ck_assert_msg(vm_reload(script, &f.messages), "%s", fixture_said(&f));
    return use;
}

static uint32_t count_descriptors(void) {
    uint32_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

/* What C sees of the world. */
static void assert_unharmed(void) {
    ck_assert_int_ne(access(marker, F_OK), 0);
    view_prepare(&f.view, NULL, 0);
    ck_assert_uint_eq(f.view.script.all_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct slot *slot = f.slots[i];
        char name[16];
        snprintf(name, sizeof(name), "b%u", i + 1);
        ck_assert_str_eq(slot->script.name, name);
        ck_assert_str_eq(slot->script.pool, "app");
        ck_assert_uint_eq(atomic_load(&slot->script.view.weight), 1);
        ck_assert_uint_eq(atomic_load(&slot->script.view.active), 0);
        ck_assert_uint_eq(atomic_load(&slot->script.view.max_sessions), 0);
        ck_assert_int_eq(slot_state(slot), STATE_UP);
        ck_assert_ptr_eq(f.view.script.all[i], &slot->script.view);
        ck_assert_ptr_eq(f.view.script.eligible[i], &slot->script.view);
    }
}

#define assert_contained(asked, who)                                                               \
    do {                                                                                           \
        const char *wrong_ = ask(asked);                                                           \
        ck_assert_msg(wrong_ == NULL, "%s (%s), %s: %s", escape->name, way_words[escape->way],     \
                      who, wrong_);                                                                \
    } while (0)

START_TEST(nothing_gets_out) {
    const struct escape *escape = &escapes[_i];
    enum way way = escape->way;
    stage_open(way);
    char *witness = make_text("witness_script", 0, way, NULL);
    char *attempt = make_text("attempt_script", escape->attempt, way, marker);
    struct asked beside = make(way, in_stock_state(way, 0, witness));
    struct asked apart = make(way, fixture_script(&f, witness));
    assert_contained(&beside, "the witness beside it, before");
    assert_contained(&apart, "the witness in another state, before");
    uint32_t descriptors = count_descriptors();

    struct asked tried = make(way, in_stock_state(way, 1, attempt));
    for (int i = 0; i < CALLS; i++) {
        assert_contained(&tried, "the attempt");
    }
    ck_assert_uint_eq(count_descriptors(), descriptors);

    assert_contained(&beside, "the witness beside it");
    assert_contained(&apart, "the witness in another state");
    beside = make(way, in_stock_state(way, 0, witness)); /* in a new environment */
    assert_contained(&beside, "a new witness beside it");
    apart = make(way, fixture_script(&f, witness));
    assert_contained(&apart, "a new witness in another state");
    assert_unharmed();
    stage_close(way);
    free(witness);
    free(attempt);
}
END_TEST

/* ---- what needs more than one script or call ---- */

static const char *const policy_head =
    "local M, kept = {api = 1, kind = 'policy', name = 'mine'}, {}\n"
    "function M.new() return {pick = function(self, ctx, pool)\n"
    "if ctx.listener == 'trial' then kept.trial = true return nil end\n";

static struct script_use policy_script(const char *body) {
    char text[2048];
    snprintf(text, sizeof(text), "%s%s\nend} end\nreturn M", policy_head, body);
    return fixture_script(&f, text);
}

static enum pick_answer pick_of(struct policy *policy, struct slot **slot) {
    const struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1}, .client = "c", .listener = "l"};
    view_prepare(&f.view, NULL, 0);
    return scripting->policy_pick(policy, &ctx, slot);
}

/* A pool beside the fixture's, of one backend. */
struct other {
    struct pool_facts *facts;
    struct slot *slot;
    struct pool_view view;
};

static void other_open(struct other *other) {
    bool changed;
    other->facts = arena_take_pool(f.arena, "other");
    other->slot = arena_take_slot(f.arena, other->facts, "o1", "127.0.0.1:9999", &changed);
    ck_assert_ptr_nonnull(other->slot);
    atomic_store(&other->slot->presence, PRESENCE_PRESENT);
    atomic_store(&other->slot->health, HEALTH_UP);
    slot_changed(other->slot, other->facts);
    ck_assert(view_init(&other->view, other->facts, "other", &other->slot, 1));
}

/* Two pools of one script share its state, so it can answer the one with the other's backend; and
 * go on with it when that backend has left and its slot is another's. */
START_TEST(a_backend_of_another_pool_or_of_none_is_a_bad_answer) {
    struct other other = {0};
    struct slot *slot = NULL;
    bool changed;
    stage_open(POLICY);
    other_open(&other);
    struct script_use use = policy_script(
        "if pool.name == 'other' then kept.b, kept.pool = pool[1], pool return pool[1] "
        "end assert(pool.name == 'app') kept.seen = kept.b and kept.b.name\n"
        "return kept.b");
    struct policy *here = fixture_policy(&f, use);
    const struct policy_order order = {.use = &use, .view = &other.view};
    struct policy *there = scripting->policy_new(f.host, &order, &f.messages);
    ck_assert_msg(here != NULL && there != NULL, "%s", fixture_said(&f));
    view_prepare(&other.view, NULL, 0);
    ck_assert_int_eq(pick_of(there, &slot), PICK_BACKEND);
    ck_assert_ptr_eq(slot, other.slot);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(pick_of(here, &slot), PICK_BAD);
        ck_assert_ptr_null(slot);
    }
    atomic_store(&other.slot->presence, PRESENCE_GONE);
    slot_changed(other.slot, other.facts);
    ck_assert_int_eq(pick_of(here, &slot), PICK_BAD);
    arena_give_slot(f.arena, other.slot);
    arena_sweep(f.arena);
    struct slot *recycled = arena_take_slot(f.arena, f.facts, "late", "127.0.0.1:9998", &changed);
    ck_assert_ptr_eq(recycled, other.slot);
    atomic_store(&recycled->presence, PRESENCE_PRESENT);
    atomic_store(&recycled->health, HEALTH_UP);
    slot_changed(recycled, f.facts);
    for (int i = 0; i < 200; i++) { /* of the pool by now, but not of this configuration of it */
        ck_assert_int_eq(pick_of(here, &slot), PICK_BAD);
    }
    scripting->host_free(f.host);
    f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
    view_free(&other.view);
    stage_close(POLICY);
}
END_TEST

/* A script that guesses where a backend stands has only named that backend. */
START_TEST(a_number_that_looks_like_an_address_is_judged_like_a_backend) {
    struct slot *slot = NULL;
    char body[256];
    stage_open(POLICY);
    snprintf(body, sizeof(body), "return 0x%llxULL", (unsigned long long)(uintptr_t)f.slots[1]);
    struct policy *guess = fixture_policy(&f, policy_script(body));
    snprintf(body, sizeof(body), "return 0x%llxULL", (unsigned long long)(uintptr_t)f.slots[1] + 8);
    struct policy *beside = fixture_policy(&f, policy_script(body));
    ck_assert_msg(guess != NULL && beside != NULL, "%s", fixture_said(&f));
    ck_assert_int_eq(pick_of(guess, &slot), PICK_BACKEND);
    ck_assert_ptr_eq(slot, f.slots[1]);
    ck_assert_int_eq(pick_of(beside, &slot), PICK_BAD);
    atomic_store(&f.slots[1]->health, HEALTH_DOWN);
    slot_changed(f.slots[1], f.facts);
    ck_assert_int_eq(pick_of(guess, &slot), PICK_BAD);
    stage_close(POLICY);
}
END_TEST

/* ---- text that goes out ---- */

static void read_text(int descriptor, char *text, size_t bytes) {
    ssize_t length = pread(descriptor, text, bytes - 1, 0);
    ck_assert_int_gt(length, 0);
    ck_assert_uint_lt((size_t)length, bytes - 1);
    text[length] = '\0';
}

static void assert_plain(const char *text, uint32_t lines) {
    for (; *text != '\0'; text++) {
        ck_assert_msg(*text == '\n' || ((unsigned char)*text >= ' ' && *text != 127),
                      "a control character: %d", *text);
        lines -= *text == '\n';
    }
    ck_assert_uint_eq(lines, 0);
}

/* Before the log runs, lines go straight to stderr. */
START_TEST(what_a_script_logs_is_one_line_each) {
    static char text[16384];
    struct slot *slot = NULL;
    stage_open(POLICY);
    struct policy *policy = fixture_policy(
        &f, policy_script("local a = require 'alacrity' print('a\\nb\\r', '\\27[2J', 'c')\n"
                          "a.log.error('\\0hidden') a.log.info('\\7\\8%s%n') "
                          "a.log.warning(('x'):rep(1e6)) return pool[1]"));
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    char path[] = "/tmp/alacrity-test-log-XXXXXX";
    int file = mkstemp(path), kept = dup(STDERR_FILENO);
    ck_assert(file >= 0 && kept >= 0 && unlink(path) == 0);
    ck_assert_int_eq(dup2(file, STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(pick_of(policy, &slot), PICK_BACKEND);
    ck_assert_int_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    read_text(file, text, sizeof(text));
    assert_plain(text, 4);
    ck_assert_ptr_nonnull(strstr(text, "a\\nb"));
    close(file);
    close(kept);
    stage_close(POLICY);
}
END_TEST

START_TEST(what_is_said_of_a_script_is_one_line_each) {
    stage_open(POLICY);
    ck_assert_ptr_null(fixture_policy(&f, fixture_script(&f, "error('a\\nb\\27[2J\\8\\127c')")));
    assert_plain(fixture_said(&f), 1);
    ck_assert_uint_eq(f.messages.count, 1);
    stage_close(POLICY);
}
END_TEST

/* ---- scripts that look at being looked at ---- */

START_TEST(a_schema_with_metatables_is_read_as_it_stands) {
    stage_open(POLICY);
    const char *text =
        "local touched\n"
        "local spy = {__index = function() touched = true end}\n"
        "local options = {a = setmetatable({type = 'string'}, spy)}\n"
        "return {api = 1, kind = 'policy', name = 'mine', options = setmetatable(options, spy),\n"
        "new = function(cfg) assert(not touched, 'the script ran') return {pick = function() end} "
        "end}";
    ck_assert_msg(fixture_policy(&f, fixture_script(&f, text)) != NULL, "%s", fixture_said(&f));
    stage_close(POLICY);
}
END_TEST

START_TEST(a_module_may_make_its_fields_when_asked) {
    stage_open(POLICY);
    const char *text =
        "local values = {api = 1, name = 'mine', new = function() return {pick = function() end} "
        "end}\n"
        "return setmetatable({}, {__index = function(_, key)\n"
        "if key == 'kind' then return ('pol'):rep(1) .. 'icy' end return values[key] end})";
    ck_assert_msg(fixture_policy(&f, fixture_script(&f, text)) != NULL, "%s", fixture_said(&f));
    stage_close(POLICY);
}
END_TEST

/* ---- the network ---- */

static struct check *check_of(const char *head, const char *body) {
    char text[2048];
    snprintf(
        text, sizeof(text),
        "local net, kept = require 'alacrity.net', {}\nreturn {api = 1, kind = 'check', name = "
        "'mine', new = function() %s return {check = function(self, backend) %s end} end}",
        head, body);
    return make(CHECK, fixture_script(&f, text)).check;
}

static struct check_run *start(struct check *check, struct answer *answer) {
    *answer = (struct answer){0};
    struct check_run *run =
        scripting->check_start(check, f.slots[0], &address, 60000, on_answer, answer);
    ck_assert_ptr_nonnull(run);
    return run;
}

/* The first run waits; the second gets hold of its coroutine and goes on with it. */
START_TEST(a_run_that_another_one_resumed_fails) {
    struct answer first, second;
    stage_open(CHECK);
    struct check *check = check_of("", "if not kept.co then kept.co = coroutine.running() "
                                       "net.sleep(0.01) return 'up', 'first' end "
                                       "return 'up', tostring(coroutine.resume(kept.co))");
    start(check, &first);
    start(check, &second);
    await(&second);
    ck_assert_str_eq(second.info, "true");
    await(&first);
    ck_assert_int_eq(first.answer, CHECK_ERROR);
    ck_assert_str_eq(first.info, "its coroutine was resumed, but not by alacrity.net");
    stage_close(CHECK);
}
END_TEST

static void close_nothing(struct socket *socket) {
    (void)socket;
}

/* A wait that raises an error, for want of memory say, leaves its socket as the awaited one. */
START_TEST(nothing_waits_for_a_closed_socket) {
    const struct machine machine = {.close = close_nothing};
    struct runtime runtime = {.machine = &machine};
    struct run run = {.runtime = &runtime, .wait = WAIT_SEND};
    struct socket *socket = calloc(1, sizeof(*socket));
    ck_assert_ptr_nonnull(socket);
    socket->run = &run;
    run.wait_socket = socket;
    socket_close(socket);
    ck_assert_ptr_null(run.wait_socket);
    ck_assert_int_eq(run.wait, WAIT_NOTHING);
}
END_TEST

/* The builder makes states anew while control goes on asking: what it runs then is not theirs. */
START_TEST(a_script_that_is_constructed_again_does_not_see_what_runs) {
    struct answer answer;
    stage_open(CHECK);
    struct check *made =
        check_of("local _, why = pcall(net.sleep, 1) kept.why = why _, why = pcall(net.connect, "
                 "'127.0.0.1:1') kept.why = kept.why .. why",
                 "return 'up', kept.why");
    struct check *waiting = check_of("", "net.sleep(0.01) return 'up', 'waited'");
    start(waiting, &answer);

    struct instance *instance = (struct instance *)made;
    struct runtime *runtime = f.host->runtime;
    runtime->current = container_of(runtime->runs.next, struct run, node);
    instance->script->vm->resting = true;
    instance->ref = vm_instance(instance->script, instance->use, NULL, &f.messages);
    ck_assert_msg(instance->ref != LUA_NOREF, "%s", fixture_said(&f));
    instance->script->vm->resting = false;
    runtime->current = NULL;

    await(&answer);
    start(made, &answer);
    await(&answer);
    ck_assert_str_eq(answer.info, "alacrity.net works only while a check or a service is asked"
                                  "alacrity.net works only while a check or a service is asked");
    stage_close(CHECK);
}
END_TEST

int main(void) {
    read_escapes();
    Suite *suite = suite_create("escape");
    TCase *cases = tcase_create("escape");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, nothing_gets_out, 0, escape_count);
    tcase_add_test(cases, a_backend_of_another_pool_or_of_none_is_a_bad_answer);
    tcase_add_test(cases, a_number_that_looks_like_an_address_is_judged_like_a_backend);
    tcase_add_test(cases, what_a_script_logs_is_one_line_each);
    tcase_add_test(cases, what_is_said_of_a_script_is_one_line_each);
    tcase_add_test(cases, a_schema_with_metatables_is_read_as_it_stands);
    tcase_add_test(cases, a_module_may_make_its_fields_when_asked);
    tcase_add_test(cases, a_run_that_another_one_resumed_fails);
    tcase_add_test(cases, nothing_waits_for_a_closed_socket);
    tcase_add_test(cases, a_script_that_is_constructed_again_does_not_see_what_runs);
    suite_add_tcase(suite, cases);
    int result = run_suite(suite);
    for (int i = 0; i < escape_count; i++) {
        free(escapes[i].name);
    }
    lua_close(escapes_lua);
    return result;
}
