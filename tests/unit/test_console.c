/* Consoles: what texts answer, what a console keeps and what it cannot do; without a balancer
 * around it. What must be stopped, and the connections, are in tests/cases/test_console.py. */
#include <check.h>

#include "base/text.h"
#include "lua/library.h"
#include "pool/shared.h"
#include "script_fixture.h"
#include "suite.h"

static struct fixture f;
static struct console *console;

static struct console *open_console(void) {
    char error[256];
    struct console *opened = scripting->console_new(&f.snapshot, f.arena, error, sizeof(error));
    ck_assert_msg(opened != NULL, "%s", error);
    return opened;
}

static void set_up(void) {
    fixture_open(&f, 2, NULL);
    atomic_init(&f.snapshot.references, 1);
    console = open_console();
}

static void tear_down(void) {
    scripting->console_free(console);
    ck_assert_uint_eq(atomic_load(&f.snapshot.references), 1);
    fixture_close(&f);
}

static const char *tell_bytes(struct console *whom, const char *text, size_t length, bool json,
                              enum console_answer expected) {
    static struct text out;
    text_free(&out);
    enum console_answer how = scripting->console_evaluate(whom, text, length, json, &out);
    const char *told = out.bytes != NULL ? out.bytes : "";
    ck_assert_msg(how == expected, "%s: answer %d: %s", text, how, told);
    return told;
}

static const char *tell(const char *text, enum console_answer expected) {
    return tell_bytes(console, text, strlen(text), false, expected);
}

#define assert_told(text, expected) ck_assert_str_eq(tell(text, CONSOLE_OK), expected)
#define assert_refused(text, part)                                                                 \
    do {                                                                                           \
        const char *told_ = tell(text, CONSOLE_ERROR);                                             \
        ck_assert_msg(strstr(told_, part) != NULL, "expected '%s' in: %s", part, told_);           \
    } while (0)

START_TEST(values_are_shown) {
    assert_told("1 + 1", "2\n");
    assert_told("return 1, 'a', nil", "1\n\"a\"\nnil\n");
    assert_told("x = {2, a = {}}", "");
    assert_told("x", "{2, a = {}}\n");
    assert_told("-0.5, 1e300, 2^60", "-0.5\n1e+300\n1.1529215046068e+18\n");
    assert_told("{[true] = 1, [false] = 0, [2] = 'two', z = 1, a = 1}",
                "{[2] = \"two\", a = 1, z = 1, [false] = 0, [true] = 1}\n");
}
END_TEST

START_TEST(deep_and_long_tables_are_bounded) {
    assert_told("local t = {} for i = 1, 12 do t = {t} end return t", "{{{{{{{{{...}}}}}}}}}\n");
    const char *told =
        tell("local t = {} for i = 1, 300 do t['k' .. i] = i end return t", CONSOLE_OK);
    ck_assert_ptr_nonnull(strstr(told, "  ... 100 more\n}\n"));
    assert_told("local t = {('x'):rep(60), ('y'):rep(60)} return #t", "2\n");
}
END_TEST

START_TEST(what_is_incomplete_does_nothing) {
    static const char *const parts[] = {"x = (", "for i = 1, 2 do", "return {", "f(", "x = [[text",
                                        "1 +",   "if x then"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        ck_assert_str_eq(tell(parts[i], CONSOLE_INCOMPLETE), "");
    }
    assert_told("x", "nil\n");
    assert_told("for i = 1, 2 do\n x = i\nend", "");
    assert_told("x", "2\n");
}
END_TEST

START_TEST(errors_name_their_line) {
    assert_refused("x = 1\ny = = 2", "console:2: unexpected symbol near '='");
    assert_refused("\n\nlocal t\nt.x = 1", "console:4: attempt to index local 't'");
    assert_refused("error('mine', 0)", "mine");
    assert_refused("error({code = 7})", "the error is {code = 7}");
    assert_refused("\033LJ\002", "wrong mode");
    ck_assert_ptr_nonnull(
        strstr(tell_bytes(console, "'a\0b", 4, false, CONSOLE_ERROR), "unfinished string"));
    assert_told("1", "1\n");
}
END_TEST

START_TEST(json_is_one_document_a_value) {
    const char *text = "print('x') return 1, {a = {}}, nil";
    ck_assert_str_eq(tell_bytes(console, text, strlen(text), true, CONSOLE_OK),
                     "\"x\"\n1\n{\"a\":{}}\nnull\n");
    text = "return print";
    ck_assert_ptr_nonnull(strstr(tell_bytes(console, text, strlen(text), true, CONSOLE_ERROR),
                                 "cannot write a function"));
}
END_TEST

START_TEST(consoles_know_nothing_of_each_other) {
    struct console *other = open_console();
    assert_told("x = 1 string.rep = nil alacrity.hash = nil table.concat = nil", "");
    const char *text = "return x, string.rep('a', 2), type(alacrity.hash)";
    ck_assert_str_eq(tell_bytes(other, text, strlen(text), false, CONSOLE_OK),
                     "nil\n\"aa\"\n\"function\"\n");
    /* What shows is not theirs, either. */
    assert_told("for _, f in pairs {alacrity.format, string, table, math} do for k in pairs(f) do "
                "f[k] = nil end end",
                "");
    assert_told("{x, {}, '\303\251\\n'}", "{1, {}, \"\303\251\\n\"}\n");
    ck_assert_str_eq(tell_bytes(console, "{'a'}", 5, true, CONSOLE_OK), "[\"a\"]\n");
    scripting->console_free(other);
}
END_TEST

START_TEST(it_only_looks) {
    struct shared *shared = arena_shared(f.arena);
    const struct shared_key key = {.bytes = "k", .length = 1};
    const struct shared_value value = {.type = SHARED_NUMBER, .number = 7};
    ck_assert_int_eq(shared_dictionary(shared, "d", 1), 0);
    shared_set(shared, &key, &value, 0, 0);
    assert_told("d = alacrity.shared('d')", "");
    assert_told("d:get('k'), d:ttl('k'), d:count()", "7\ninf\n1\n");
    assert_refused("d:set('k', 8)", "only looks");
    assert_refused("d:add('x', 8)", "only looks");
    assert_refused("d:incr('k')", "only looks");
    assert_refused("d:delete('k')", "only looks");
    assert_refused("alacrity.shared('other')", "no shared dictionary");
    assert_refused("alacrity.shared('d\\0')", "no shared dictionary");
    assert_told("d:get('k')", "7\n");
    ck_assert_uint_eq(shared_dictionary_count(shared), 1);
    assert_told("local n = {} for k in pairs(alacrity) do n[#n + 1] = k end table.sort(n) return n",
                "{\"facts\", \"format\", \"hash\", \"now\", \"shared\"}\n");
    assert_told("require 'alacrity' ~= nil, require 'alacrity'.every", "true\nnil\n");
}
END_TEST

/* Should the Lua side ever let a change through: C makes none. */
START_TEST(natives_change_nothing_for_who_looks) {
    struct alacrity_library looking = {.stage = ALACRITY_LOOKING, .shared = arena_shared(f.arena)};
    struct alacrity_shared_value out;
    ck_assert_int_eq(shared_natives.open(&looking, "d", 1), -1);
    ck_assert_int_eq(shared_dictionary(arena_shared(f.arena), "d", 1), 0);
    ck_assert_int_eq(shared_natives.open(&looking, "d", 1), 0);
    shared_natives.set(&looking, 0, "k", 1, 0, SHARED_NUMBER, 1, NULL, 0, 0);
    ck_assert_uint_eq(shared_natives.add(&looking, 0, "k", 1, 0, SHARED_NUMBER, 1, NULL, 0, 0), 1);
    shared_natives.incr(&looking, 0, "k", 1, 0, 1, 0, 0, &out);
    ck_assert_uint_eq(shared_natives.delete(&looking, 0, "k", 1, 0), 0);
    ck_assert_uint_eq(shared_count(arena_shared(f.arena), 0), 0);
}
END_TEST

/* A state that holds a lot gives it back with its console. */
START_TEST(many_come_and_go) {
    for (int i = 0; i < 200; i++) {
        struct console *one = open_console();
        const char *text = "x = ('x'):rep(100000)";
        tell_bytes(one, text, strlen(text), false, CONSOLE_OK);
        scripting->console_free(one);
    }
    assert_told("1", "1\n");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("console");
    TCase *cases = tcase_create("console");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, values_are_shown);
    tcase_add_test(cases, deep_and_long_tables_are_bounded);
    tcase_add_test(cases, what_is_incomplete_does_nothing);
    tcase_add_test(cases, errors_name_their_line);
    tcase_add_test(cases, json_is_one_document_a_value);
    tcase_add_test(cases, consoles_know_nothing_of_each_other);
    tcase_add_test(cases, it_only_looks);
    tcase_add_test(cases, natives_change_nothing_for_who_looks);
    tcase_add_test(cases, many_come_and_go);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
