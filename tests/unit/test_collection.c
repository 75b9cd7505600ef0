/* Garbage collection in parts, between calls (lua/guard.c). */
#include <check.h>
#include <lauxlib.h>

#include "lua/guard.h"
#include "lua/watchdog.h"
#include "script_fixture.h"
#include "suite.h"

static struct fixture f;

static void setup(void) {
    fixture_open(&f, 1, NULL);
}

static void teardown(void) {
    fixture_close(&f);
}

static struct vm *state_of(const char *text) {
    ck_assert_ptr_nonnull(fixture_policy(&f, fixture_script(&f, text)));
    return f.host->states;
}

static int nothing(lua_State *lua) {
    (void)lua;
    return 0;
}

/* Each entry leaves a small wrapper behind, though nothing in Lua allocates. */
START_TEST(entering_a_state_again_and_again_does_not_fill_it) {
    struct vm *vm = state_of("return {api = 1, kind = 'policy', name = 'mine',\n"
                             "new = function() return {pick = function() end} end}");
    for (int i = 0; i < 1000000; i++) {
        ck_assert_int_eq(guard_cfunction(vm, nothing, NULL), 0);
    }
    ck_assert_int_lt(lua_gc(vm->lua, LUA_GCCOUNT, 0), 2048);
}
END_TEST

/* What a collection gives back to the system is no more in the books. */
START_TEST(memory_that_was_collected_is_booked) {
    struct vm *vm = state_of("local t = {}\n"
                             "for i = 1, 1e5 do t[i] = {i} end\n"
                             "t = nil\n"
                             "return {api = 1, kind = 'policy', name = 'mine',\n"
                             "new = function() return {pick = function() end} end}");
    size_t before = vm->memory.mapped_bytes, booked = 0;
    for (int i = 0; i < 200000; i++) {
        ck_assert_int_eq(guard_cfunction(vm, nothing, NULL), 0);
    }
    ck_assert_int_lt(lua_gc(vm->lua, LUA_GCCOUNT, 0), 2048);
    if (watchdog_is_proven()) { /* else nothing is booked */
        ck_assert_uint_lt(vm->memory.mapped_bytes, before);
    }
    for (uint32_t i = 0; i < vm->memory.region_count; i++) {
        booked += vm->memory.regions[i].end - vm->memory.regions[i].start;
    }
    ck_assert_uint_eq(booked, vm->memory.mapped_bytes);
}
END_TEST

int main(void) {
    char reason[256];
    if (!watchdog_open(reason, sizeof(reason))) {
        printf("the watchdog cannot be proven here: %s\n", reason);
    }
    Suite *suite = suite_create("collection");
    TCase *cases = tcase_create("collection");
    tcase_set_timeout(cases, 60);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, entering_a_state_again_and_again_does_not_fill_it);
    tcase_add_test(cases, memory_that_was_collected_is_booked);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
