/* States and scripts: what is wrong with a script or its options is said at its place, and nothing
 * in a script reaches beyond its environment. */
#include <check.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "script_fixture.h"
#include "suite.h"

static struct fixture f;

static void setup(void) {
    fixture_open(&f, 3, NULL);
}

static void teardown(void) {
    fixture_close(&f);
}

/* What is said when the text is used as a policy; "" = it was taken. */
static const char *said_of(const char *text) {
    messages_free(&f.messages);
    struct policy *policy = fixture_policy(&f, fixture_script(&f, text));
    ck_assert(policy != NULL ? f.messages.count == 0 : f.messages.count > 0);
    return fixture_said(&f);
}

#define MODULE(fields) "return {api = 1, kind = 'policy', name = 'mine', " fields "}"
#define NEW "new = function(cfg) return {pick = function() end} end"
#define FOR " (loaded for app.yaml:4:13)\n"

/* ---- the table of functions ---- */

START_TEST(the_self_test_finds_the_layouts_equal) {
    char error[256] = "";
    ck_assert_msg(scripting->self_test(error, sizeof(error)), "%s", error);
}
END_TEST

START_TEST(stock_policies_are_listed_by_name) {
    static const char *const expected[] = {
        "canary",         "first",      "least-conn", "p2c",         "peak-ewma",
        "primary-backup", "random",     "ring-hash",  "round-robin", "source-hash",
        "sticky-source",  "zone-aware", NULL};
    const char *const *names = scripting_stock_names("policies");
    for (uint32_t i = 0; expected[i] != NULL; i++) {
        ck_assert_str_eq(names[i], expected[i]);
    }
    ck_assert_ptr_nonnull(scripting_stock_names("checks"));
    ck_assert_ptr_null(scripting_stock_names("nonsense"));
}
END_TEST

/* ---- what may be wrong with a script ---- */

static const struct {
    const char *text, *said;
} wrong_scripts[] = {
    {"local x = 1\n\nlocal = 2", "./mine.lua:3: '<name>' expected near '='" FOR},
    {"return {", "./mine.lua:1: unexpected symbol near '<eof>'" FOR},
    {"\nerror('not today')", "./mine.lua:2: not today" FOR},
    {"local x\nx.y = 1", "./mine.lua:2: attempt to index local 'x' (a nil value)" FOR},
    {"", "./mine.lua: a script must return a table; write return {api = 1, kind = \"policy\", "
         "name = ..., new = function(cfg) ... end}" FOR},
    {"return {api = 2}", "./mine.lua: api must be 1" FOR},
    {"return {api = 1}", "./mine.lua: new must be a function(cfg) that returns the instance" FOR},
    {"return {api = 1, " NEW "}", "./mine.lua: this is a script without a kind, but it is used as "
                                  "a policy; kind must be \"policy\"" FOR},
    {"return {api = 1, kind = 'check', name = 'x', " NEW "}",
     "./mine.lua: this is a check, but it is used as a policy; kind must be \"policy\"" FOR},
    {"return {api = 1, kind = 'policy', " NEW "}", "./mine.lua: name must be a string" FOR},
    {MODULE("new = function() return 5 end"),
     "./mine.lua: new must return a table with the method pick, not a number value "
     "(constructed for app.yaml:4:13)\n"},
    {MODULE("new = function() return {} end"),
     "./mine.lua: what new returned has no method pick (constructed for app.yaml:4:13)\n"},
    {MODULE("\nnew = function() error('boom') end"),
     "./mine.lua:2: boom (constructed for app.yaml:4:13)\n"},
    {"\n\n\033LJ", "./mine.lua:3: unexpected symbol near 'char(27)'" FOR},
};

START_TEST(a_wrong_script_is_refused_with_its_line) {
    ck_assert_str_eq(said_of(wrong_scripts[_i].text), wrong_scripts[_i].said);
}
END_TEST

START_TEST(bytecode_is_refused) {
    ck_assert_str_eq(said_of("\033LJ\002"), "app.yaml:4:13: cannot read the script ./mine.lua: it "
                                            "is compiled; write the path of the source text\n");
}
END_TEST

START_TEST(files_that_are_no_scripts_are_refused_at_their_use) {
    struct script_use use = fixture_stock("./none.lua");
    use.path = (char *)(uintptr_t) "/nonexistent/none.lua";
    ck_assert_ptr_null(fixture_policy(&f, use));
    fixture_assert_said(&f, "app.yaml:4:13: cannot read the script ./none.lua: No such file or "
                            "directory\n");
    messages_free(&f.messages);
    use.path = f.folder;
    ck_assert_ptr_null(fixture_policy(&f, use));
    fixture_assert_said(&f, "app.yaml:4:13: cannot read the script ./none.lua: Is a directory\n");
    messages_free(&f.messages);
    ck_assert_ptr_null(fixture_policy(&f, fixture_stock("robin-round")));
    fixture_assert_said(&f, "app.yaml:4:13: there is no stock policy 'robin-round'\n");
    messages_free(&f.messages);
    ck_assert_ptr_null(fixture_policy(&f, fixture_stock("../policies/first")));
    ck_assert_uint_eq(f.messages.count, 1);
}
END_TEST

START_TEST(a_long_path_is_shown_whole) {
    struct script_use use = fixture_script(&f, "\nerror('boom')");
    use.name = (char *)(uintptr_t) "./a/very/long/path/that/lua/would/cut/because/it/has/more/than/"
                                   "sixty/characters/mine.lua";
    ck_assert_ptr_null(fixture_policy(&f, use));
    fixture_assert_says(&f, "./a/very/long/path/that/lua/would/cut/because/it/has/more/than/sixty/"
                            "characters/mine.lua:2: boom (loaded for");
}
END_TEST

/* ---- options ---- */

#define AT(line_, column_)                                                                         \
    { "app.yaml", line_, column_ }
#define WORD(text, l, c)                                                                           \
    { .kind = VALUE_STRING, .string = (char *)(uintptr_t)text, .at = AT(l, c) }
#define NUMBER(n, text, l, c)                                                                      \
    { .kind = VALUE_NUMBER, .number = n, .string = (char *)(uintptr_t)text, .at = AT(l, c) }

/* Uses the script with up to four options and says what was said. */
static const char *said_with(const char *options, const char *assertion, const char *const *keys,
                             struct value *items, uint32_t count) {
    char text[2048], *key_copies[4];
    struct position key_at[4];
    for (uint32_t i = 0; i < count; i++) {
        key_copies[i] = (char *)(uintptr_t)keys[i];
        key_at[i] = (struct position)AT(20 + i, 5);
    }
    struct value with = {.kind = VALUE_MAP,
                         .at = AT(19, 3),
                         .count = count,
                         .items = items,
                         .keys = key_copies,
                         .key_at = key_at};
    snprintf(text, sizeof(text),
             MODULE("options = {%s},\nnew = function(cfg) %s return {pick = function() end} end"),
             options, assertion);
    struct script_use use = fixture_script(&f, text);
    use.with = &with;
    messages_free(&f.messages);
    (void)fixture_policy(&f, use);
    return fixture_said(&f);
}

START_TEST(options_reach_new_with_their_defaults) {
    const char *const keys[] = {"path", "expect", "every", "tags"};
    struct value tags[] = {WORD("a", 24, 1), NUMBER(8, "8", 24, 3)};
    struct value items[] = {NUMBER(8080, "8080", 20, 9),
                            NUMBER(204, "204", 21, 9),
                            WORD("250ms", 22, 9),
                            {.kind = VALUE_LIST, .count = 2, .items = tags, .at = AT(23, 9)}};
    ck_assert_str_eq(
        said_with("path = {type = 'string'}, expect = {type = 'integer', min = 100, max = 599},"
                  "every = {type = 'duration'}, tags = {type = 'list', of = 'string'},"
                  "pause = {type = 'duration', default = '2s'}, on = {type = 'boolean'},"
                  "deep = {type = 'map', default = {a = {1, 2}}}",
                  "assert(cfg.path == '8080' and cfg.expect == 204 and cfg.every == 250)\n"
                  "assert(#cfg.tags == 2 and cfg.tags[2] == '8' and cfg.pause == 2000)\n"
                  "assert(cfg.on == nil and cfg.deep.a[2] == 2) cfg.deep.a = nil",
                  keys, items, 4),
        "");
    ck_assert_ptr_nonnull(fixture_policy(&f, fixture_script(&f, MODULE(NEW)))); /* none at all */
}
END_TEST

START_TEST(every_wrong_option_is_said_at_its_place) {
    const char *const keys[] = {"pth", "expect", "mode", "zzzzzzzz"};
    struct value items[] = {WORD("/", 20, 9), NUMBER(5, "5", 21, 9), WORD("fast", 22, 9),
                            WORD("x", 23, 9)};
    ck_assert_str_eq(
        said_with(
            "path = {type = 'string', required = true}, expect = {type = 'number', min = 100},"
            "mode = {type = 'string', choices = {'strict', 'lax'}}",
            "", keys, items, 4),
        "app.yaml:20:5: unknown option 'pth' of script ./mine.lua; did you mean 'path'?\n"
        "app.yaml:23:5: unknown option 'zzzzzzzz' of script ./mine.lua; it has: expect, mode, "
        "path\n"
        "app.yaml:21:9: option 'expect' of script ./mine.lua is 5; write at least 100\n"
        "app.yaml:22:9: option 'mode' of script ./mine.lua cannot be 'fast'; write one of: strict, "
        "lax\n"
        "app.yaml:4:13: script ./mine.lua needs the option 'path'; write with: {path: ...}\n");
}
END_TEST

START_TEST(limits_and_choices_of_a_list_are_those_of_its_elements) {
    const char *const keys[] = {"words", "counts", "one"};
    struct value good_words[] = {WORD("a", 20, 9), WORD("b", 20, 12)};
    struct value good_counts[] = {NUMBER(1, "1", 21, 9), NUMBER(3, "3", 21, 12)};
    struct value good[] = {{.kind = VALUE_LIST, .at = AT(20, 8), .count = 2, .items = good_words},
                           {.kind = VALUE_LIST, .at = AT(21, 8), .count = 2, .items = good_counts},
                           NUMBER(5, "5", 22, 9)};
    const char *options = "words = {type = 'list', of = 'string', choices = {'a', 'b'}}, "
                          "counts = {type = 'list', of = 'number', min = 1, max = 4}, "
                          "one = {type = 'any', choices = {5, true}}";
    ck_assert_str_eq(
        said_with(options, "assert(cfg.words[2] == 'b' and cfg.counts[2] == 3)", keys, good, 3),
        "");
    struct value bad_words[] = {WORD("a", 20, 9), WORD("c", 20, 12)};
    struct value bad_counts[] = {NUMBER(5, "5", 21, 9), NUMBER(0, "0", 21, 12)};
    struct value bad[] = {{.kind = VALUE_LIST, .at = AT(20, 8), .count = 2, .items = bad_words},
                          {.kind = VALUE_LIST, .at = AT(21, 8), .count = 2, .items = bad_counts},
                          {.kind = VALUE_LIST, .at = AT(22, 8), .count = 2, .items = bad_words}};
    ck_assert_str_eq(
        said_with(options, "", keys, bad, 3),
        "app.yaml:21:9: option 'counts' of script ./mine.lua is 5; write at most 4\n"
        "app.yaml:21:12: option 'counts' of script ./mine.lua is 0; write at least 1\n"
        "app.yaml:22:8: option 'one' of script ./mine.lua cannot be '[a, c]'; write one of: 5, "
        "true\n"
        "app.yaml:20:12: option 'words' of script ./mine.lua cannot be 'c'; write one of: a, b\n");
}
END_TEST

START_TEST(values_of_the_wrong_type_are_said) {
    const char *const keys[] = {"a", "b", "c", "d"};
    struct value items[] = {WORD("5", 20, 9),
                            NUMBER(1.5, "1.5", 21, 9),
                            NUMBER(5, "5", 22, 9),
                            {.kind = VALUE_MAP, .at = AT(23, 9)}};
    ck_assert_str_eq(
        said_with("a = {type = 'number'}, b = {type = 'integer'}, c = {type = 'duration'},"
                  "d = {type = 'list'}",
                  "", keys, items, 4),
        "app.yaml:20:9: option 'a' of script ./mine.lua must be a number\n"
        "app.yaml:21:9: option 'b' of script ./mine.lua must be a whole number\n"
        "app.yaml:22:9: option 'c' of script ./mine.lua must be a duration such as 250ms\n"
        "app.yaml:23:9: option 'd' of script ./mine.lua must be a list such as [a, b]\n");
}
END_TEST

START_TEST(a_mistake_in_the_schema_is_the_scripts) {
    ck_assert_str_eq(said_with("a = {type = 'string', defualt = 1}", "", NULL, NULL, 0),
                     "./mine.lua: options.a: unknown key 'defualt'; did you mean 'default'? "
                     "(constructed for app.yaml:4:13)\n");
    ck_assert_str_eq(said_with("a = {type = 'strng'}", "", NULL, NULL, 0),
                     "./mine.lua: options.a: type must be \"string\", \"number\", \"integer\", "
                     "\"boolean\", \"duration\", \"pool\", \"list\", \"map\" or \"any\" "
                     "(constructed for app.yaml:4:13)\n");
    ck_assert_str_eq(said_with("'path'", "", NULL, NULL, 0),
                     "./mine.lua: options: write NAME = {type = ...} for every option "
                     "(constructed for app.yaml:4:13)\n");
}
END_TEST

START_TEST(options_for_a_script_that_has_none_are_refused) {
    const char *const keys[] = {"a"};
    struct value items[] = {WORD("5", 20, 9)};
    ck_assert_str_eq(
        said_with("", "", keys, items, 1),
        "app.yaml:20:5: unknown option 'a' of script ./mine.lua; it has: no options\n");
}
END_TEST

/* While C reads them, no code of the script may run: it could drop what is being read. */
START_TEST(a_schema_with_metatables_is_read_as_it_stands) {
    const char *text =
        "local touched\n"
        "local spy = {__index = function() touched = true end}\n"
        "local options = {a = setmetatable({type = 'string'}, spy)}\n"
        "return {api = 1, kind = 'policy', name = 'mine', options = setmetatable(options, spy),\n"
        "new = function(cfg) assert(not touched, 'the script ran') return {pick = function() end} "
        "end}";
    ck_assert_str_eq(said_of(text), "");
}
END_TEST

START_TEST(a_module_may_make_its_fields_when_asked) {
    const char *text =
        "local values = {api = 1, name = 'mine', new = function() return {pick = function() end} "
        "end}\n"
        "return setmetatable({}, {__index = function(_, key)\n"
        "if key == 'kind' then return ('pol'):rep(1) .. 'icy' end return values[key] end})";
    ck_assert_str_eq(said_of(text), "");
}
END_TEST

/* ---- the environment ---- */

/* Lua that must hold, in a script's body and again in its picks, interpreted and compiled. */
static const char *const truths[] = {
    /* what is not there */
    "for _, name in ipairs{'ffi', 'io', 'debug', 'package', 'jit', 'getfenv', 'setfenv', 'dofile', "
    "'loadfile', 'newproxy', 'collectgarbage', 'gcinfo', 'module', 'coroutine'} do "
    "assert(_G[name] == nil, name) end",
    "for k in pairs(os) do assert(k == 'time' or k == 'clock' or k == 'date', k) end",
    "assert(string.dump == nil and ('').dump == nil)",
    "for _, name in ipairs{'ffi', 'jit', 'jit.util', 'debug', 'io', 'package', 'string.buffer', "
    "'alacrity.prelude', 'alacrity.../x', '../mine', '/etc/passwd', 'a..b', '.', '', 'a/b', "
    "'table.new', 'a\\0b'} do assert(not pcall(require, name), name) end",
    "assert(not pcall(require) and not pcall(require, {}))",
    /* loading code */
    "assert(_G._G == _G and load('return _G')() == _G and loadstring('return _G')() == _G)",
    "assert(load('\\27LJ\\2\\0\\0') == nil and loadstring('\\27LJ') == nil)",
    "assert(load('return x', 'n', 'bt', {x = 7})() == 7)",
    "for _, env in ipairs{5, 'x', true, print} do "
    "assert(not pcall(load, 'return _G', 'n', 't', env)) end",
    "assert(load(function() return nil end)() == nil)",
    /* metatables */
    "assert(getmetatable('') == false and not pcall(setmetatable, '', {}))",
    "for _, x in ipairs{pool[1], pool, pool.all, ctx} do "
    "assert(type(getmetatable(x)) ~= 'table' and not pcall(setmetatable, x, {})) end",
    /* bounds */
    "for _, i in ipairs{0, -1, 4, 1.5, 2^31, 2^32, 2^32 + 1, 2^53, 1e300, -1e300, 1/0, -1/0, 0/0, "
    "-2^31} do assert(pool[i] == nil and pool.all[i] == nil, i) end",
    "assert(pool['1'] == nil and pool.all['1'] == nil and pool[true] == nil and pool[{}] == nil)",
    "assert(pool[1LL] == nil and pool[2ULL^63] == nil and pool.all[1LL] == nil and pool[pool] == "
    "nil)",
    "assert(ctx[1] == nil and pool[1][1] == nil and pool[1][-1] == nil and ctx[1LL] == nil)",
    "assert(pool[1].name == 'b1' and pool[3].name == 'b3' and pool.all[3] == pool[3])",
    /* writing */
    "for _, write in ipairs{function() pool[1].weight = 5 end, function() pool[1].x = 5 end, "
    "function() pool[1] = pool[2] end, function() pool.count = 9 end, function() pool.all[1] = 1 "
    "end, function() ctx.attempt = 9 end, function() pool[1][1] = 1 end, function() pool.least = 1 "
    "end, function() pool.all.eligible_count = 9 end} do assert(not pcall(write)) end "
    "assert(#pool == 3 and pool[1].weight == 1)",
    /* arithmetic and conversions */
    "for _, x in ipairs{pool, pool[1], pool.all, ctx} do for _, f in ipairs{function() return x + "
    "1 "
    "end, function() return x - x end, function() return x < x end, function() return -x end, "
    "function() return x .. '' end, function() return x() end, function() return x[x] + 1 end, "
    "function() return x + 1LL end, function() return 1 + x end, "
    "function() return bit.tobit(x) end, function() return bit.bor(x, 1) end, "
    "function() return math.floor(x) end, function() return string.rep('x', x) end, "
    "function() for i = x, 5 do end end} do assert(not pcall(f)) end "
    "assert(tonumber(x) == nil and not tostring(x):find('0x')) end",
    /* methods called wrongly */
    "for _, x in ipairs{5, 'x', {}, pool[1], ctx, pool.all, 0LL, print} do "
    "for _, m in ipairs{'least', 'maglev', 'ring', 'min', 'p2c'} do "
    "assert(not pcall(pool[m], x, 1)) end end "
    "assert(not pcall(pool.least))",
    "for _, h in ipairs{-1, 2^32, 0/0, 1/0, 'x', {}, true, 1LL} do "
    "assert(not pcall(pool.maglev, pool, h) and not pcall(pool.ring, pool, h)) end",
    "for _, s in ipairs{5, 'x', {}, true} do "
    "assert(not pcall(pool.min, pool, s) and not pcall(pool.p2c, pool, s)) end",
    "assert(pool:maglev(0) and pool:ring(4294967295) and pool:least() and pool:maglev(1.5))",
    "assert(not pcall(pool.min, pool, function() return 'x' end) or true)",
    /* the library */
    "local a = require 'alacrity' assert(a == require 'alacrity')",
    "local a = require 'alacrity' local t = a.now() assert(t > 0 and a.now() >= t)",
    "local a = require 'alacrity' assert(a.hash('abc') == 0x32D153FF and not pcall(a.hash, 5))",
    "local a = require 'alacrity' for _, level in ipairs{'debug', 'info', 'warning', 'error'} do "
    "assert(a.log[level]) end",
    "assert(type(require('alacrity.format').json) == 'function')",
    /* what scripts use every day */
    "assert(bit.band(7, 3) == 3 and math.floor(2.5) == 2 and table.concat{'a', 'b'} == 'ab')",
    "assert(('x'):rep(3) == 'xxx' and select('#', unpack{1, 2}) == 2 and type(os.time()) == "
    "'number')",
    "local t = {} rawset(t, 'a', 1) assert(rawget(t, 'a') == 1 and next(t) == 'a')",
};

START_TEST(what_a_script_can_and_cannot_reach) {
    char body[4096];
    snprintf(body, sizeof(body), "%s return pool[1]", truths[_i]);
    struct policy *policy = fixture_pick(&f, body);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    struct alacrity_ctx_private ctx = {.view = {.attempt = 1}, .client = "c", .listener = "l"};
    struct slot *slot = NULL;
    for (int i = 0; i < 150; i++) {
        ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_BACKEND);
    }
}
END_TEST

START_TEST(scripts_of_one_state_do_not_share_globals) {
    /* Two stock scripts share a state; two modules of one file share an environment. */
    struct script *one, *two;
    struct script_use use = fixture_stock("first");
    one = vm_script(f.host, &use, SCRIPT_POLICY, &f.messages);
    use = fixture_stock("random");
    two = vm_script(f.host, &use, SCRIPT_POLICY, &f.messages);
    ck_assert_ptr_nonnull(one);
    ck_assert_ptr_nonnull(two);
    ck_assert_ptr_eq(one->vm, two->vm);
    use = fixture_script(&f, MODULE(NEW));
    struct script *own = vm_script(f.host, &use, SCRIPT_POLICY, &f.messages);
    ck_assert_ptr_nonnull(own);
    ck_assert_ptr_ne(own->vm, one->vm);
    lua_State *lua = one->vm->lua;
    int new_refs[] = {one->module_ref, two->module_ref};
    for (int i = 0; i < 2; i++) {
        lua_rawgeti(lua, LUA_REGISTRYINDEX, new_refs[i]);
        lua_getfield(lua, -1, "new");
        lua_getfenv(lua, -1);
        lua_getfield(lua, -1, "string");
    }
    ck_assert(!lua_rawequal(lua, 3, 7)); /* environments */
    ck_assert(!lua_rawequal(lua, 4, 8)); /* their string libraries */
    lua_settop(lua, 0);
}
END_TEST

/* ---- require ---- */

START_TEST(require_finds_modules_in_lua_path) {
    char path[128];
    snprintf(path, sizeof(path), "%s/lib", f.folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    const char *module = "loaded = (loaded or 0) + 1 return {answer = 42, n = ...}";
    fixture_write(&f, "lib/deep.lua", module, strlen(module));
    ck_assert_str_eq(
        said_of(
            "local deep = require 'lib.deep' assert(deep.answer == 42 and deep.n == 'lib.deep')\n"
            "assert(require 'lib.deep' == deep and loaded == 1)\n" MODULE(NEW)),
        "");
}
END_TEST

START_TEST(what_is_wrong_with_a_module_is_said) {
    const char *broken = "\nlocal = 5", *circular = "return require 'circular'";
    fixture_write(&f, "broken.lua", broken, strlen(broken));
    fixture_write(&f, "circular.lua", circular, strlen(circular));
    fixture_write(&f, "bytes.lua", "\033LJ", 3);
    said_of("require 'broken'");
    fixture_assert_says(&f, "broken.lua:2: '<name>' expected near '='");
    said_of("require 'circular'");
    fixture_assert_says(&f, "module 'circular' requires itself");
    said_of("require 'bytes'");
    fixture_assert_says(&f, "it is compiled; write the path of the source text");
    ck_assert_str_eq(said_of("\nlocal x = require 'nowhere'"),
                     "./mine.lua:2: there is no module 'nowhere' in lua.path" FOR);
}
END_TEST

START_TEST(a_pick_does_not_read_files) {
    fixture_write(&f, "late.lua", "return {}", 9);
    struct policy *policy = fixture_pick(
        &f, "if ctx.listener ~= 'trial' then "
            "local ok, why = pcall(require, 'late') assert(not ok and why:find('at the top'), why) "
            "end return pool[1]");
    struct alacrity_ctx_private ctx = {.view = {.attempt = 1}, .client = "c", .listener = "l"};
    struct slot *slot = NULL;
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_BACKEND);
}
END_TEST

/* ---- the JIT ---- */

/* How many traces of the state are loops; -1 when the JIT is off. */
static int compiled_loops(lua_State *lua) {
    const char *code = "local util = ... local loops, n = 0, 1\n"
                       "while true do local t = util.traceinfo(n)\n"
                       "if not t then return loops end\n"
                       "if t.linktype == 'loop' then loops = loops + 1 end n = n + 1 end";
    lua_settop(lua, 0);
    ck_assert_int_eq(luaL_loadstring(lua, code), 0);
    lua_getfield(lua, LUA_REGISTRYINDEX, "_PRELOAD");
    lua_getfield(lua, -1, "jit.util");
    ck_assert_int_eq(lua_pcall(lua, 0, 1, 0), 0);
    lua_remove(lua, -2);
    ck_assert_int_eq(lua_pcall(lua, 1, 1, 0), 0);
    int loops = (int)lua_tointeger(lua, -1);
    lua_settop(lua, 0);
    return loops;
}

START_TEST(a_numeric_loop_over_the_pool_is_compiled) {
    f.snapshot.lua.jit = _i == 0;
    struct policy *policy =
        fixture_pick(&f, "local best, lowest for i = 1, #pool do local b = pool[i]\n"
                         "local score = b.active / b.weight + (b.state == 'up' and 0 or 1)\n"
                         "if not best or score < lowest then best, lowest = i, score end end\n"
                         "return pool[best]");
    struct alacrity_ctx_private ctx = {.view = {.attempt = 1}, .client = "c", .listener = "l"};
    struct slot *slot = NULL;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_BACKEND);
    }
    int loops = compiled_loops(f.host->states->lua);
    if (_i == 0) {
        ck_assert_int_ge(loops, 1);
    } else {
        ck_assert_int_eq(loops, 0);
    }
}
END_TEST

/* ---- memory ---- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static size_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(running_out_of_memory_while_a_state_is_made_is_a_message) {
    bool refused = false, made = false;
    for (size_t room = 0; room < (2u << 20); room += 20480) {
        struct rlimit old, limit;
        getrlimit(RLIMIT_AS, &old);
        limit = old;
        limit.rlim_cur = address_space() + room;
        setrlimit(RLIMIT_AS, &limit);
        struct policy *policy = fixture_policy(&f, fixture_stock("least-conn"));
        setrlimit(RLIMIT_AS, &old);
        refused = refused || policy == NULL;
        made = made || policy != NULL;
        ck_assert(policy != NULL || f.messages.count > 0 || f.messages.text.failed);
        messages_free(&f.messages);
        scripting->host_free(f.host);
        f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
    }
    ck_assert(refused && made);
}
END_TEST
#endif

START_TEST(states_are_freed_with_their_host) {
    struct rusage before, after;
    for (int i = 0; i < 400; i++) {
        if (i == 100) {
            getrusage(RUSAGE_SELF, &before);
        }
        ck_assert_ptr_nonnull(fixture_policy(&f, fixture_stock("round-robin")));
        ck_assert_ptr_nonnull(fixture_policy(&f, fixture_script(&f, MODULE(NEW))));
        scripting->host_free(f.host);
        f.host = scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 0, &f.messages);
    }
    getrusage(RUSAGE_SELF, &after);
#if !defined(__SANITIZE_ADDRESS__)
    ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 2048); /* KiB; a state is about 100 */
#endif
}
END_TEST

int main(void) {
    Suite *suite = suite_create("vm");
    TCase *cases = tcase_create("vm");
    tcase_set_timeout(cases, 60);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, the_self_test_finds_the_layouts_equal);
    tcase_add_test(cases, stock_policies_are_listed_by_name);
    tcase_add_loop_test(cases, a_wrong_script_is_refused_with_its_line, 0,
                        sizeof(wrong_scripts) / sizeof(wrong_scripts[0]));
    tcase_add_test(cases, bytecode_is_refused);
    tcase_add_test(cases, files_that_are_no_scripts_are_refused_at_their_use);
    tcase_add_test(cases, a_long_path_is_shown_whole);
    tcase_add_test(cases, options_reach_new_with_their_defaults);
    tcase_add_test(cases, every_wrong_option_is_said_at_its_place);
    tcase_add_test(cases, values_of_the_wrong_type_are_said);
    tcase_add_test(cases, a_mistake_in_the_schema_is_the_scripts);
    tcase_add_test(cases, limits_and_choices_of_a_list_are_those_of_its_elements);
    tcase_add_test(cases, options_for_a_script_that_has_none_are_refused);
    tcase_add_test(cases, a_schema_with_metatables_is_read_as_it_stands);
    tcase_add_test(cases, a_module_may_make_its_fields_when_asked);
    tcase_add_loop_test(cases, what_a_script_can_and_cannot_reach, 0,
                        sizeof(truths) / sizeof(truths[0]));
    tcase_add_test(cases, scripts_of_one_state_do_not_share_globals);
    tcase_add_test(cases, require_finds_modules_in_lua_path);
    tcase_add_test(cases, what_is_wrong_with_a_module_is_said);
    tcase_add_test(cases, a_pick_does_not_read_files);
    tcase_add_loop_test(cases, a_numeric_loop_over_the_pool_is_compiled, 0, 2);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    tcase_add_test(cases, running_out_of_memory_while_a_state_is_made_is_a_message);
#endif
    tcase_add_test(cases, states_are_freed_with_their_host);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
