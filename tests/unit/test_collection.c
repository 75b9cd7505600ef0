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

static void *collect_without_memory(void *argument) {
    struct vm *vm = argument;
    int status = 0;
    vm->memory.cap_bytes = vm->memory.mapped_bytes + (512u << 10);
    for (int i = 0; i < 500000 && status == 0; i++) {
        status = guard_cfunction(vm, nothing, NULL);
    }
    if (vm->lost) { /* where scripts are watched, the state is given up */
        ck_assert_int_eq(status, GUARD_STOPPED);
        ck_assert_int_eq(vm->stop.cause, STOP_MEMORY);
    } else { /* the calls go on, until there is no memory for them either */
        ck_assert(status == 0 || status == LUA_ERRMEM);
        ck_assert_int_eq(lua_gettop(vm->lua), status == 0 ? 0 : 1);
    }
    return NULL;
}

/* Once most strings are gone, the table of them is moved to a smaller place: when the state may
 * have no more memory, and no free piece is so large, that cannot be. It ends no process. */
START_TEST(a_collection_that_finds_no_memory_harms_nobody) {
    struct vm *vm = state_of("local kept = {}\n"
                             "for i = 1, 2e5 do kept[i] = 'a string of some length, ' .. i end\n"
                             "for i = 1, 2e5 do if i % 4 ~= 0 then kept[i] = false end end\n"
                             "return {api = 1, kind = 'policy', name = 'mine',\n"
                             "new = function() return {kept = kept, pick = function() end} end}");
    bool watched = _i == 1;
    pthread_t thread;
    if (watched) {
        ck_assert_int_eq(watchdog_thread_start(&thread, collect_without_memory, vm), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    } else {
        collect_without_memory(vm);
    }
    ck_assert(!watchdog_is_proven() || vm->lost == watched);
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
    tcase_add_loop_test(cases, a_collection_that_finds_no_memory_harms_nobody, 0, 2);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
