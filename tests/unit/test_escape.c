/* Attempts of tests/lua/escapes*.lua to get out of the sandbox, each made as a policy, compiled and
 * with the JIT off, as a check, and as a text in a console. An attempt shares its Lua state with a
 * witness, which is harder than what users get: a state of their own. A second witness lives in
 * another state. Neither may find anything changed, and neither may C. */
#include <dirent.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "base/address.h"
#include "pool/metrics.h"
#include "pool/shared.h"
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
    scripting->host_start(f.host, NULL);
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

/* ---- in a console ---- */

/* The console's answer to a text must be this. */
static void assert_told(struct console *console, const char *text, const char *expected,
                        const char *who) {
    struct text out = {0};
    enum console_answer how = scripting->console_evaluate(console, text, strlen(text), false, &out);
    const char *told = out.bytes != NULL ? out.bytes : "";
    ck_assert_msg(how == CONSOLE_OK && strcmp(told, expected) == 0, "%s, in a console: %s, not %s",
                  who, told, expected);
    text_free(&out);
}

START_TEST(nothing_gets_out_of_a_console) {
    const struct escape *escape = &escapes[_i];
    char error[256];
    if (escape->way != POLICY) {
        return; /* each attempt once; those that only a check can make are about sockets */
    }
    stage_open(POLICY);
    atomic_init(&f.snapshot.references, 1);
    struct shared *shared = arena_shared(f.arena);
    ck_assert_int_eq(shared_dictionary(shared, "known", 5), 0);
    char *text = make_text("console_text", escape->attempt, POLICY, marker);
    struct console *apart = scripting->console_new(&f.snapshot, f.arena, error, sizeof(error));
    struct console *tried = scripting->console_new(&f.snapshot, f.arena, error, sizeof(error));
    ck_assert_ptr_nonnull(apart);
    ck_assert_ptr_nonnull(tried);
    uint32_t descriptors = count_descriptors();
    for (int i = 0; i < CALLS; i++) {
        struct text out = {0}; /* what it prints comes before; it may spoil its own globals */
        (void)scripting->console_evaluate(tried, text, strlen(text), false, &out);
        ck_assert_msg(out.bytes == NULL || strstr(out.bytes, "escaped") == NULL, "%s: %s",
                      escape->name, out.bytes);
        text_free(&out);
    }
    ck_assert_uint_eq(count_descriptors(), descriptors);
    /* What evaluates and shows is not theirs to change. */
    assert_told(tried, "{1, 'a\\n', b = {true}, [3.5] = {}}",
                "{1, \"a\\n\", [3.5] = {}, b = {true}}\n", escape->name);
    assert_told(apart, "type(load) == 'function' and #string.rep('x', 3)", "3\n", escape->name);
    ck_assert_uint_eq(shared_dictionary_count(shared), 1);
    ck_assert_uint_eq(shared_count(shared, 0), 0);
    ck_assert_uint_eq(metrics_count(f.arena), 0);
    assert_unharmed();
    scripting->console_free(apart);
    scripting->console_free(tried);
    ck_assert_uint_eq(atomic_load(&f.snapshot.references), 1);
    stage_close(POLICY);
    free(text);
}
END_TEST

int main(void) {
    read_escapes();
    Suite *suite = suite_create("escape");
    TCase *cases = tcase_create("escape");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, nothing_gets_out, 0, escape_count);
    tcase_add_loop_test(cases, nothing_gets_out_of_a_console, 0, escape_count);
    suite_add_tcase(suite, cases);
    int result = run_suite(suite);
    for (int i = 0; i < escape_count; i++) {
        free(escapes[i].name);
    }
    lua_close(escapes_lua);
    return result;
}
