/* The watchdog: every kind of runaway is stopped, within its budget and two ticks, and nothing is
 * left of it: no mapping, no frame, no signal. */
#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lua/memory.h"
#include "lua/vm.h"
#include "lua/watchdog.h"
#include "runaways.h"
#include "suite.h"

#define BUDGET_US 3000u
#define CAP_BYTES (48u << 20)

#ifdef __SANITIZE_ADDRESS__
#define IS_ASAN true /* its own mappings grow */
#else
#define IS_ASAN false
#endif

/* Check's assertions end a process by longjmp, which must not happen on our threads: each thread
 * says what it found. */
static char found[256];

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition) && found[0] == '\0') {                                                    \
            snprintf(found, sizeof(found), "line %d: not so: %s", __LINE__, #condition);           \
        }                                                                                          \
    } while (0)

static uint64_t cpu_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

static uint32_t count_mappings(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    uint32_t lines = 0;
    int c;
    while (file != NULL && (c = getc(file)) != EOF) {
        lines += c == '\n';
    }
    if (file != NULL) {
        fclose(file);
    }
    return lines;
}

/* ---- one state ---- */

struct script_call {
    lua_State *lua;
    const char *source;
    int status;
};

static void load_and_call(void *argument) {
    struct script_call *call = argument;
    call->status = luaL_loadstring(call->lua, call->source);
    if (call->status == 0) {
        call->status = lua_pcall(call->lua, 0, 1, 0);
    }
    if (call->status == 0 && lua_isfunction(call->lua, -1)) {
        call->status = lua_pcall(call->lua, 0, 1, 0);
    }
}

static lua_State *open_state(struct memory *memory) {
    memory_bound = memory;
    lua_State *lua = luaL_newstate();
    if (lua != NULL) {
        luaL_openlibs(lua);
    }
    memory_bound = NULL;
    return lua;
}

static void close_state(struct memory *memory, lua_State *lua) {
    memory_bound = memory;
    lua_close(lua);
    memory_bound = NULL;
    must(memory->region_count == 0 && memory->frame_count == 0 && memory->mapped_bytes == 0);
    memory_abandon(memory);
}

/* A well-behaved script must find everything as it was. */
static void run_good(void) {
    struct memory memory = {.cap_bytes = CAP_BYTES};
    struct script_call call = {.lua = open_state(&memory),
                               .source =
                                   "local n = 0 for i = 1, 300 do local ok, e = pcall(error, 'x') "
                                   "if ok or e ~= 'x' then error('bad') end "
                                   "n = n + #(('%d-%s'):format(i, tostring(i))) end return n"};
    struct stop stop = watchdog_run(&memory, 1000000, load_and_call, &call);
    must(stop.cause == STOP_NONE && call.status == 0);
    close_state(&memory, call.lua);
}

/* CPU time beyond the budget, of every stop. */
static uint32_t over_us[16384];
static _Atomic uint32_t over_count;

/* True: it was stopped; false: it came to an error by itself. */
static bool run_runaway(const char *source) {
    struct memory memory = {.cap_bytes = CAP_BYTES};
    struct script_call call = {.lua = open_state(&memory), .source = source};
    uint64_t before = cpu_us();
    struct stop stop = watchdog_run(&memory, BUDGET_US, load_and_call, &call);
    uint64_t used = cpu_us() - before;
    if (stop.cause == STOP_NONE) {
        must(call.status != 0);
        close_state(&memory, call.lua);
        return false;
    }
    uint32_t over = used > BUDGET_US ? (uint32_t)used - BUDGET_US : 0;
    over_us[atomic_fetch_add(&over_count, 1) % 16384] = over;
    must(memory.region_count > 0);
    memory_abandon(&memory);
    return true;
}

static void *run_on_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    void *result = NULL;
    found[0] = '\0';
    ck_assert_int_eq(watchdog_thread_start(&thread, run, argument), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_msg(found[0] == '\0', "%s", found);
    return result;
}

/* ---- tests ---- */

static void *stop_thrice(void *argument) {
    const struct runaway *runaway = argument;
    for (int i = 0; i < 3; i++) {
        (void)run_runaway(runaway->source);
        run_good();
    }
    return NULL;
}

START_TEST(every_runaway_is_stopped) {
    ck_assert(watchdog_is_proven());
    (void)run_on_thread(stop_thrice, (void *)(uintptr_t)&runaways[_i]);
}
END_TEST

static void *stop_many(void *argument) {
    (void)argument;
    uint32_t mappings = 0, stopped = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < RUNAWAY_COUNT; i++) {
            stopped += run_runaway(runaways[i].source);
        }
        if (round == 0) {
            mappings = count_mappings();
        }
    }
    must(stopped > 100);
    must(IS_ASAN || count_mappings() <= mappings + 4); /* malloc may take another arena's heap */
    run_good();
    return NULL;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

START_TEST(nothing_is_left_of_the_stopped) {
    (void)run_on_thread(stop_many, NULL);
    qsort(over_us, over_count, sizeof(over_us[0]), by_size);
    printf("%u stops, CPU time beyond the budget: p50 %u us, p99 %u us, most %u us\n", over_count,
           over_us[over_count / 2], over_us[over_count * 99 / 100], over_us[over_count - 1]);
}
END_TEST

START_TEST(two_threads_do_not_disturb_each_other) {
    pthread_t threads[2];
    found[0] = '\0';
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(watchdog_thread_start(&threads[i], stop_many, NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    ck_assert_msg(found[0] == '\0', "%s", found);
}
END_TEST

static int hold_for_long(lua_State *lua) {
    uint64_t until = cpu_us() + 300000;
    watchdog_hold();
    while (cpu_us() < until) {
    }
    *(bool *)lua_touserdata(lua, lua_upvalueindex(1)) = true;
    watchdog_release();
    *(bool *)lua_touserdata(lua, lua_upvalueindex(1)) = false; /* never reached */
    return 0;
}

struct hold {
    lua_State *lua;
    bool *done;
};

static void call_holder(void *argument) {
    struct hold *hold = argument;
    lua_pushlightuserdata(hold->lua, hold->done);
    lua_pushcclosure(hold->lua, hold_for_long, 1);
    (void)lua_pcall(hold->lua, 0, 0, 0);
}

static void *stop_the_holder(void *argument) {
    struct memory memory = {0};
    bool done = false;
    struct hold hold = {.lua = open_state(&memory), .done = &done};
    struct stop stop = watchdog_run(&memory, BUDGET_US, call_holder, &hold);
    must(stop.cause == STOP_BUDGET && done);
    memory_abandon(&memory);
    run_good();
    return argument;
}

START_TEST(a_held_thread_is_left_when_it_lets_go) {
    (void)run_on_thread(stop_the_holder, NULL);
}
END_TEST

static void sleep_and_work(void *argument) {
    (void)argument;
    const struct timespec nap = {.tv_nsec = 100000000};
    nanosleep(&nap, NULL); /* waiting costs no CPU time */
}

static void *wait_in_a_call(void *argument) {
    struct memory memory = {0};
    struct stop stop = watchdog_run(&memory, 1000, sleep_and_work, NULL);
    must(stop.cause == STOP_NONE);
    memory_abandon(&memory);
    return argument;
}

START_TEST(who_waits_is_not_stopped) {
    (void)run_on_thread(wait_in_a_call, NULL);
}
END_TEST

static void *many_short_calls(void *argument) {
    struct memory memory = {0};
    struct script_call call = {.lua = open_state(&memory), .source = "local x = 1"};
    uint64_t until = cpu_us() + 200000;
    while (cpu_us() < until) {
        call.status = 0;
        struct stop stop = watchdog_run(&memory, 1000, load_and_call, &call);
        must(stop.cause == STOP_NONE);
        lua_settop(call.lua, 0);
    }
    close_state(&memory, call.lua);
    return argument;
}

START_TEST(short_calls_do_not_add_up) {
    (void)run_on_thread(many_short_calls, NULL);
}
END_TEST

/* Compiled code, which is where LuaJIT's own error would follow a stale stack. */
static void *fill_and_catch(void *argument) {
    struct memory memory = {.cap_bytes = 8u << 20};
    struct script_call call = {.lua = open_state(&memory),
                               .source =
                                   "while true do pcall(function() "
                                   "local t = {} while true do t = {t, tostring(t)} end end) end"};
    struct stop stop = watchdog_run(&memory, 10000000, load_and_call, &call);
    must(stop.cause == STOP_MEMORY && memory.mapped_bytes <= memory.cap_bytes);
    memory_abandon(&memory);
    return argument;
}

START_TEST(who_fills_its_memory_is_stopped) {
    (void)run_on_thread(fill_and_catch, NULL);
}
END_TEST

/* The program's own calls are nobody's memory. */
static void *map_beside(void *argument) {
    struct memory memory = {0};
    memory_bound = &memory;
    void *page = mmap64(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page = page == MAP_FAILED ? page : mremap(page, 4096, 8192, MREMAP_MAYMOVE);
    must(page != MAP_FAILED && memory.region_count == 0);
    must(mprotect(page, 8192, PROT_READ) == 0 && munmap(page, 8192) == 0);
    memory_bound = NULL;
    return argument;
}

START_TEST(calls_of_others_are_not_booked) {
    (void)run_on_thread(map_beside, NULL);
}
END_TEST

int main(void) {
    char reason[256];
    if (!watchdog_open(reason, sizeof(reason))) {
        printf("the watchdog cannot be proven here, its tests are left out: %s\n", reason);
    }
    Suite *suite = suite_create("watchdog");
    TCase *cases = tcase_create("watchdog");
    tcase_set_timeout(cases, 60);
    if (watchdog_is_proven()) {
        tcase_add_loop_test(cases, every_runaway_is_stopped, 0, (int)RUNAWAY_COUNT);
        tcase_add_test(cases, nothing_is_left_of_the_stopped);
        tcase_add_test(cases, two_threads_do_not_disturb_each_other);
        tcase_add_test(cases, a_held_thread_is_left_when_it_lets_go);
        tcase_add_test(cases, who_fills_its_memory_is_stopped);
        tcase_add_test(cases, calls_of_others_are_not_booked);
    }
    tcase_add_test(cases, who_waits_is_not_stopped);
    tcase_add_test(cases, short_calls_do_not_add_up);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
