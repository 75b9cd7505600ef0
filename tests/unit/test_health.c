/* Health: the check schedule and every transition, with checks that answer what the test says, when
 * it says so. Nothing sleeps: the loop runs until what is awaited has happened. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "suite.h"

#define MANY 600

/* ---- a fake check: one run a slot, answered at once or when the test wants ---- */

enum fake_mode { FAKE_LATER, FAKE_UP, FAKE_DOWN, FAKE_ERROR, FAKE_NULL };

struct check_run {
    const struct slot *slot;
    const struct check *check;
    check_done *done; /* NULL: not running */
    void *argument;
    struct address address;
    uint32_t timeout_ms, started;
};

static struct check_run runs[MANY];
static uint32_t running, most_running, started, cancelled;
static enum fake_mode mode;

static struct check_run *fake_start(struct check *check, const struct slot *slot,
                                    const struct address *address, uint32_t timeout_ms,
                                    check_done *done, void *argument) {
    struct check_run *run = &runs[slot->script.view.id];
    ck_assert_uint_lt(slot->script.view.id, MANY);
    ck_assert_ptr_null(run->done); /* never two at once */
    started++;
    *run = (struct check_run){.slot = slot,
                              .check = check,
                              .address = *address,
                              .timeout_ms = timeout_ms,
                              .started = run->started + 1};
    if (mode == FAKE_NULL) {
        return NULL;
    }
    if (mode != FAKE_LATER) {
        done(argument,
             mode == FAKE_UP     ? CHECK_UP
             : mode == FAKE_DOWN ? CHECK_DOWN
                                 : CHECK_ERROR,
             "said at once");
        return run;
    }
    run->done = done;
    run->argument = argument;
    running++;
    most_running = running > most_running ? running : most_running;
    return run;
}

static void fake_cancel(struct check_run *run) {
    ck_assert_ptr_nonnull(run->done);
    run->done = NULL;
    running--;
    cancelled++;
}

static const struct check *out; /* that one is out */

static bool fake_is_out(const struct check *check) {
    return check == out;
}

static const struct scripting fake = {
    .check_start = fake_start, .check_cancel = fake_cancel, .check_is_out = fake_is_out};

static void answer(const struct slot *slot, enum check_answer with, const char *info) {
    struct check_run *run = &runs[slot->script.view.id];
    check_done *done = run->done;
    ck_assert_ptr_nonnull(done);
    run->done = NULL;
    running--;
    done(run->argument, with, info);
}

/* ---- plans ---- */

static struct control control;
static int instances[8]; /* their places stand for check instances */

/* Plans read them until the end of the test. */
static struct pool_config configs[4];
static uint32_t config_count;

static char check_name[] = "./pong.lua";

static struct pool_config *pool_new(uint32_t count) {
    struct pool_config *config = &configs[config_count++];
    *config = (struct pool_config){.name = "app", .backend_count = count};
    config->check = (struct check_config){
        .enabled = true, .interval_ms = 20, .timeout_ms = 700, .rise = 2, .fall = 3};
    config->check.script.name = check_name;
    config->backends = calloc(count, sizeof(*config->backends));
    for (uint32_t i = 0; i < count; i++) {
        struct backend_config *backend = &config->backends[i];
        char error[64], text[32], name[16];
        snprintf(name, sizeof(name), "b%u", i);
        snprintf(text, sizeof(text), "127.0.0.1:%u", 1000 + i);
        backend->name = strdup(name);
        backend->address_text = strdup(text);
        backend->weight = 1;
        ck_assert_int_eq(address_parse(text, &backend->address, error, sizeof(error)),
                         ADDRESS_NUMERIC);
    }
    return config;
}

static void free_pools(void) {
    for (; config_count > 0; config_count--) {
        struct pool_config *config = &configs[config_count - 1];
        for (uint32_t i = 0; i < config->backend_count; i++) {
            free(config->backends[i].name);
            free(config->backends[i].address_text);
        }
        free(config->backends);
    }
}

static void move_backend(struct pool_config *config, uint32_t index, const char *address) {
    char error[64];
    free(config->backends[index].address_text);
    config->backends[index].address_text = strdup(address);
    ck_assert_int_eq(address_parse(address, &config->backends[index].address, error, sizeof(error)),
                     ADDRESS_NUMERIC);
}

/* The plan of one pool, made current. */
static void publish(const struct pool_config *config, int instance) {
    struct control_plan *old = control.plan, *plan = calloc(1, sizeof(*plan));
    struct control_pool *pool = calloc(1, sizeof(*pool));
    pool->config = config;
    pool->facts = arena_take_pool(control.arena, config->name);
    pool->slots = calloc(config->backend_count, sizeof(struct slot *));
    pool->check = config->check.enabled ? (struct check *)(void *)&instances[instance] : NULL;
    for (uint32_t i = 0; i < config->backend_count; i++) {
        bool changed;
        pool->slots[i] = arena_take_slot(control.arena, pool->facts, config->backends[i].name,
                                         config->backends[i].address_text, &changed);
        ck_assert_ptr_nonnull(pool->slots[i]);
    }
    plan->pool_count = 1;
    plan->pools = pool;
    control.plan = plan;
    health_switch(control.health, old, plan);
    health_part(control.health, old); /* as when every worker has taken it */
    if (old != NULL) {
        for (uint32_t i = 0; i < old->pools->config->backend_count; i++) {
            arena_give_slot(control.arena, old->pools->slots[i]);
        }
        free(old->pools->slots);
        free(old->pools);
        free(old);
    }
}

static struct slot *slot_at(uint32_t index) {
    return control.plan->pools->slots[index];
}

static void set_up(void) {
    char error[128];
    memset(runs, 0, sizeof(runs));
    running = most_running = started = cancelled = 0;
    mode = FAKE_LATER;
    out = NULL;
    scripting = &fake;
    control = (struct control){.loop = ev_loop_new(EVFLAG_AUTO)};
    control.arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(control.arena);
    control.health = health_new(&control);
    ck_assert_ptr_nonnull(control.health);
}

static void tear_down(void) {
    health_free(control.health);
    ck_assert_uint_eq(running, 0); /* nothing goes on after us */
    if (control.plan != NULL) {
        free(control.plan->pools->slots);
        free(control.plan->pools);
        free(control.plan);
    }
    free_pools();
    arena_free(control.arena);
    ev_loop_destroy(control.loop);
}

/* ---- waiting ---- */

#define await(condition)                                                                           \
    do {                                                                                           \
        ev_tstamp until_ = ev_time() + 5;                                                          \
        while (!(condition)) {                                                                     \
            ck_assert_msg(ev_time() < until_, "never: %s", #condition);                            \
            ev_run(control.loop, EVRUN_ONCE);                                                      \
        }                                                                                          \
    } while (0)

/* The next check of that slot gets this answer. */
static void check_says(uint32_t index, enum check_answer with, const char *info) {
    await(runs[slot_at(index)->script.view.id].done != NULL);
    answer(slot_at(index), with, info);
}

static void state_is(uint32_t index, enum backend_state state) {
    ck_assert_str_eq(state_word(slot_state(slot_at(index))), state_word(state));
    ck_assert_uint_eq(slot_at(index)->script.view.state_code, state);
}

/* ---- transitions ---- */

START_TEST(first_answer_decides) {
    struct pool_config *config = pool_new(2);
    publish(config, 0);
    state_is(0, STATE_STARTING);
    ck_assert(slot_is_eligible(slot_at(0)));
    check_says(0, CHECK_UP, "fine");
    check_says(1, CHECK_DOWN, "refused");
    state_is(0, STATE_UP);
    state_is(1, STATE_DOWN);
    ck_assert_str_eq(slot_at(0)->reason, "fine");
    ck_assert_str_eq(slot_at(1)->reason, "refused");
    ck_assert_int_gt(slot_at(1)->changed_wall_ms, 0);
    ck_assert_uint_eq(slot_at(1)->transitions_down, 0); /* it never was up */
    ck_assert_uint_eq(runs[slot_at(0)->script.view.id].timeout_ms, 700);
}
END_TEST

START_TEST(fall_failures_in_a_row_bring_it_down_and_rise_successes_up) {
    struct pool_config *config = pool_new(1);
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    check_says(0, CHECK_DOWN, "");
    check_says(0, CHECK_DOWN, "");
    check_says(0, CHECK_UP, ""); /* the run is broken */
    check_says(0, CHECK_DOWN, "");
    check_says(0, CHECK_DOWN, "");
    state_is(0, STATE_UP);
    uint32_t generation = control.plan->pools->facts->generation;
    check_says(0, CHECK_DOWN, "timeout");
    state_is(0, STATE_DOWN);
    ck_assert_uint_gt(control.plan->pools->facts->generation, generation);
    ck_assert_uint_eq(slot_at(0)->transitions_down, 1);
    ck_assert_str_eq(slot_at(0)->reason, "timeout");
    check_says(0, CHECK_UP, "");
    check_says(0, CHECK_DOWN, "refused");
    check_says(0, CHECK_UP, "");
    state_is(0, STATE_DOWN);
    check_says(0, CHECK_UP, "");
    state_is(0, STATE_UP);
    ck_assert_uint_eq(slot_at(0)->checks_total, 11);
    ck_assert_uint_eq(slot_at(0)->checks_failed, 6);
}
END_TEST

START_TEST(an_error_of_the_check_keeps_the_state) {
    struct pool_config *config = pool_new(1);
    config->check.fall = 1;
    publish(config, 0);
    check_says(0, CHECK_ERROR, "no such field");
    state_is(0, STATE_STARTING);
    ck_assert_str_eq(slot_at(0)->reason,
                     "check fails: no such field; was: new in the configuration");
    check_says(0, CHECK_UP, "fine");
    ck_assert_str_eq(slot_at(0)->reason, "fine");
    check_says(0, CHECK_ERROR, "nil");
    check_says(0, CHECK_ERROR, "still nil");
    state_is(0, STATE_UP);
    ck_assert_str_eq(slot_at(0)->reason, "check fails: still nil; was: fine");
    check_says(0, CHECK_UP, "again"); /* it answers, and what was is so still */
    ck_assert_str_eq(slot_at(0)->reason, "fine");
    check_says(0, CHECK_ERROR, "");
    ck_assert_uint_eq(slot_at(0)->checks_failed, 4);
    mode = FAKE_NULL; /* it cannot even be started: the same, and tried again */
    await(slot_at(0)->checks_failed >= 6);
    state_is(0, STATE_UP);
}
END_TEST

START_TEST(a_drain_wish_counts_at_once) {
    struct pool_config *config = pool_new(1);
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    check_says(0, CHECK_DRAIN, "replica lags\nbadly");
    state_is(0, STATE_DOWN);
    ck_assert_str_eq(slot_at(0)->reason, "drain: replica lags badly");
    ck_assert_uint_eq(slot_at(0)->transitions_down, 0); /* it did not fall */
}
END_TEST

START_TEST(long_reasons_are_seen_to_be_cut) {
    struct pool_config *config = pool_new(1);
    char info[300];
    memset(info, 'x', sizeof(info) - 1);
    info[sizeof(info) - 1] = '\0';
    publish(config, 0);
    check_says(0, CHECK_DOWN, info);
    ck_assert_uint_eq(strlen(slot_at(0)->reason), sizeof(slot_at(0)->reason) - 1);
    ck_assert_str_eq(slot_at(0)->reason + sizeof(slot_at(0)->reason) - 5, "x...");
}
END_TEST

/* ---- suspects ---- */

static void fail_connects(struct slot *slot) {
    struct pool_facts *facts = control.plan->pools->facts;
    ck_assert(!slot_connect_failed(slot, facts, 2));
    ck_assert(slot_connect_failed(slot, facts, 2));
}

START_TEST(a_suspect_is_checked_now_and_the_answer_decides) {
    struct pool_config *config = pool_new(2);
    config->check.interval_ms = 3600000;
    config->check.fall = 3;
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    check_says(1, CHECK_UP, "");
    fail_connects(slot_at(0));
    fail_connects(slot_at(1));
    health_suspect(control.health, slot_at(0));
    health_suspect(control.health, slot_at(1));
    state_is(0, STATE_SUSPECT);
    ck_assert_str_eq(slot_at(0)->reason, "connects failed in a row");
    check_says(0, CHECK_UP, "");
    check_says(1, CHECK_DOWN, "refused");
    state_is(0, STATE_UP);
    state_is(1, STATE_DOWN);
    ck_assert_uint_eq(slot_at(1)->transitions_down, 1);
}
END_TEST

START_TEST(late_and_foreign_suspicions_are_nothing) {
    struct pool_config *config = pool_new(2), *less = pool_new(1);
    publish(config, 0);
    check_says(0, CHECK_UP, "fine");
    health_suspect(control.health, slot_at(0)); /* judged meanwhile */
    state_is(0, STATE_UP);
    ck_assert_str_eq(slot_at(0)->reason, "fine");
    struct slot *gone = slot_at(1);
    publish(less, 0);
    arena_sweep(control.arena); /* as the builder would */
    health_suspect(control.health, gone);
    health_set_admin(control.health, gone, ADMIN_DRAIN);
    health_set_weight(control.health, gone, 7);
    ck_assert_uint_eq(gone->admin, ADMIN_READY);
}
END_TEST

START_TEST(without_a_check_all_are_up_and_suspects_tried_again) {
    struct pool_config *config = pool_new(2);
    config->check.enabled = false;
    publish(config, 0);
    state_is(0, STATE_UP);
    ck_assert_str_eq(slot_at(0)->reason, "not checked");
    fail_connects(slot_at(0));
    fail_connects(slot_at(1));
    health_suspect(control.health, slot_at(0)); /* the mail about the other was lost */
    state_is(0, STATE_SUSPECT);
    await(slot_state(slot_at(0)) == STATE_UP && slot_state(slot_at(1)) == STATE_UP);
    ck_assert_uint_eq(started, 0);
}
END_TEST

START_TEST(a_suspect_whose_check_only_fails_is_tried_again) {
    struct pool_config *config = pool_new(1);
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    fail_connects(slot_at(0));
    health_suspect(control.health, slot_at(0));
    check_says(0, CHECK_ERROR, "nil");
    check_says(0, CHECK_ERROR, "nil");
    state_is(0, STATE_SUSPECT);
    ck_assert_str_eq(slot_at(0)->reason, "check fails: nil; was: connects failed in a row");
    check_says(0, CHECK_ERROR, "nil");
    state_is(0, STATE_UP);
    ck_assert_str_eq(slot_at(0)->reason, "tried again, as the check fails: nil");
    for (int i = 0; i < 4; i++) { /* errors alone never put one aside */
        check_says(0, CHECK_ERROR, "nil");
    }
    state_is(0, STATE_UP);
}
END_TEST

START_TEST(when_the_check_is_out_nobody_waits_for_it) {
    struct pool_config *config = pool_new(5);
    publish(config, 0);
    check_says(0, CHECK_UP, "fine");
    check_says(1, CHECK_UP, "");
    check_says(2, CHECK_DOWN, "refused");
    check_says(3, CHECK_UP, "");
    health_set_admin(control.health, slot_at(3), ADMIN_MAINT);
    fail_connects(slot_at(1));
    health_suspect(control.health, slot_at(1));
    state_is(4, STATE_STARTING);
    out = control.plan->pools->check;
    mode = FAKE_NULL;
    await(slot_state(slot_at(1)) == STATE_UP && slot_state(slot_at(2)) == STATE_UP);
    state_is(0, STATE_UP);
    state_is(3, STATE_MAINT);
    state_is(4, STATE_UP);
    ck_assert_str_eq(slot_at(0)->reason, "check ./pong.lua is out: not checked");
    ck_assert_str_eq(slot_at(2)->reason, "check ./pong.lua is out: not checked: tried again");
    ck_assert_str_eq(slot_at(3)->reason, "administrator: maint");
    uint32_t asked = started;
    health_set_admin(control.health, slot_at(3), ADMIN_READY);
    fail_connects(slot_at(0)); /* it is put aside, and comes back, again and again */
    health_suspect(control.health, slot_at(0));
    state_is(0, STATE_SUSPECT);
    ck_assert_str_eq(slot_at(0)->reason, "check ./pong.lua is out: connects failed in a row");
    await(slot_state(slot_at(0)) == STATE_UP);
    ck_assert_uint_eq(started, asked); /* nobody asks it any more */

    mode = FAKE_LATER;
    publish(config, 1); /* another version: one answer decides */
    check_says(0, CHECK_UP, "");
    check_says(2, CHECK_DOWN, "refused");
    state_is(2, STATE_DOWN);
    ck_assert_str_eq(slot_at(2)->reason, "refused");
}
END_TEST

/* ---- the schedule ---- */

START_TEST(checks_are_spread_and_bounded_in_number) {
    struct pool_config *config = pool_new(MANY);
    publish(config, 0);
    ck_assert_uint_eq(started, 0); /* not in the turn of the publishing */
    await(running == 256);
    for (uint32_t i = 0; i < MANY; i++) { /* every place freed is taken by one who waits */
        await(runs[slot_at(i)->script.view.id].started > 0);
        if (runs[slot_at(i)->script.view.id].done != NULL) {
            answer(slot_at(i), CHECK_UP, "");
        }
    }
    for (uint32_t i = 0; i < MANY; i++) {
        state_is(i, STATE_UP);
    }
    ck_assert_uint_eq(most_running, 256);
}
END_TEST

START_TEST(checks_that_answer_at_once_do_not_nest) {
    struct pool_config *config = pool_new(MANY);
    config->check.interval_ms = 10;
    mode = FAKE_DOWN;
    publish(config, 0);
    await(started >= 3 * MANY);
    ck_assert_uint_eq(slot_at(MANY - 1)->checks_failed, slot_at(MANY - 1)->checks_total);
    state_is(MANY - 1, STATE_DOWN);
}
END_TEST

START_TEST(intervals_vary_by_a_tenth_and_settle_faster) {
    struct pool_config *config = pool_new(1);
    config->check.interval_ms = 2000;
    config->check.fall = 2;
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    ev_tstamp before = ev_now(control.loop);
    check_says(0, CHECK_DOWN, "");
    double calm = ev_now(control.loop) - before;
    before = ev_now(control.loop);
    check_says(0, CHECK_DOWN, "");
    double settling = ev_now(control.loop) - before;
    ck_assert_double_ge(calm, 1.79);
    ck_assert_double_le(calm, 2.9); /* a loaded machine may be late, never early */
    ck_assert_double_ge(settling, 0.89);
    ck_assert_double_le(settling, 1.75);
    state_is(0, STATE_DOWN);
}
END_TEST

/* ---- reloads ---- */

START_TEST(a_reload_keeps_health_and_runs) {
    struct pool_config *config = pool_new(2), *again = pool_new(2);
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    check_says(0, CHECK_DOWN, "");
    check_says(0, CHECK_DOWN, ""); /* two of three */
    check_says(1, CHECK_UP, "");
    await(running == 2); /* both running: of the instance that goes */
    publish(again, 1);
    ck_assert_uint_eq(running, 0);
    ck_assert_uint_eq(cancelled, 2);
    state_is(0, STATE_UP);
    await(runs[slot_at(0)->script.view.id].done != NULL);
    ck_assert_ptr_eq(runs[slot_at(0)->script.view.id].check, (struct check *)(void *)&instances[1]);
    check_says(0, CHECK_DOWN, "");
    state_is(0, STATE_DOWN);
    state_is(1, STATE_UP);
}
END_TEST

START_TEST(a_reload_keeps_the_time_of_the_next_check) {
    struct pool_config *config = pool_new(1);
    config->check.interval_ms = 400;
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    ev_tstamp before = ev_time();
    for (int i = 0; i < 20; i++) {
        publish(config, i % 2);
    }
    check_says(0, CHECK_UP, "");
    ck_assert_double_ge(ev_time() - before, 0.3); /* reloads did not bring it forward ... */
    ck_assert_uint_eq(started, 2);                /* ... nor multiply it */
    struct pool_config *sooner = pool_new(1);
    publish(sooner, 0); /* a shorter interval counts at once */
    before = ev_time();
    check_says(0, CHECK_UP, "");
    ck_assert_double_le(ev_time() - before, 0.2);
}
END_TEST

START_TEST(another_address_is_another_server) {
    struct pool_config *config = pool_new(2), *moved = pool_new(2);
    config->check.interval_ms = moved->check.interval_ms = 3600000;
    publish(config, 0);
    check_says(0, CHECK_DOWN, "");
    check_says(1, CHECK_DOWN, "");
    move_backend(moved, 0, "127.0.0.1:2000");
    publish(moved, 0);
    state_is(0, STATE_STARTING);
    state_is(1, STATE_DOWN);
    ck_assert_str_eq(slot_at(0)->script.address, "127.0.0.1:2000");
    check_says(0, CHECK_UP, "");
    ck_assert(
        address_equal(&runs[slot_at(0)->script.view.id].address, &moved->backends[0].address));
    state_is(0, STATE_UP);
}
END_TEST

START_TEST(who_leaves_is_gone_and_forgotten) {
    struct pool_config *both = pool_new(2), *one = pool_new(1);
    publish(both, 0);
    check_says(0, CHECK_UP, "");
    check_says(1, CHECK_DOWN, "");
    struct slot *second = slot_at(1);
    health_set_admin(control.health, second, ADMIN_DRAIN);
    health_set_weight(control.health, second, 9);
    publish(one, 0);
    ck_assert_int_eq(slot_state(second), STATE_GONE);
    ck_assert_uint_eq(second->script.view.state_code, STATE_GONE);
    uint32_t checks = second->checks_total;
    check_says(0, CHECK_UP, "");
    check_says(0, CHECK_UP, "");
    ck_assert_uint_eq(second->checks_total, checks);
    publish(both, 0);
    ck_assert_ptr_eq(slot_at(1), second);
    state_is(1, STATE_STARTING);
    ck_assert_uint_eq(second->script.view.weight, 1);
}
END_TEST

START_TEST(runtime_weight_wins_until_the_configured_changes) {
    struct pool_config *config = pool_new(1), *other = pool_new(1);
    config->backends[0].weight = 5;
    config->backends[0].max_sessions = 10;
    publish(config, 0);
    ck_assert_uint_eq(slot_at(0)->script.view.weight, 5);
    ck_assert_uint_eq(slot_at(0)->script.view.max_sessions, 10);
    health_set_weight(control.health, slot_at(0), 2);
    publish(config, 0);
    ck_assert_uint_eq(slot_at(0)->script.view.weight, 2);
    other->backends[0].weight = 6;
    publish(other, 0);
    ck_assert_uint_eq(slot_at(0)->script.view.weight, 6);
    ck_assert_uint_eq(slot_at(0)->configured_weight, 6);
    ck_assert_uint_eq(slot_at(0)->script.view.max_sessions, 0);
}
END_TEST

START_TEST(zone_and_tags_are_the_configured_ones) {
    struct pool_config *config = pool_new(2), *other = pool_new(2);
    char east[] = "east", west[] = "west";
    config->backends[0].zone = east;
    config->backends[0].tag_bits = 5;
    publish(config, 0);
    ck_assert_uint_eq(slot_at(0)->script.view.zone_code, zone_code("east"));
    ck_assert_uint_eq(slot_at(0)->script.view.tag_bits, 5);
    ck_assert_uint_eq(slot_at(1)->script.view.zone_code, 0);
    ck_assert_uint_eq(slot_at(1)->script.view.tag_bits, 0);
    const struct pool_facts *facts = control.plan->pools->facts;
    uint32_t generation = facts->generation;
    other->backends[1].zone = west;
    other->backends[1].tag_bits = 2;
    publish(other, 0);
    ck_assert_uint_ne(facts->generation, generation); /* workers look again */
    ck_assert_uint_eq(slot_at(0)->script.view.zone_code, 0);
    ck_assert_uint_eq(slot_at(0)->script.view.tag_bits, 0);
    ck_assert_uint_eq(slot_at(1)->script.view.zone_code, zone_code("west"));
    ck_assert_uint_eq(slot_at(1)->script.view.tag_bits, 2);
}
END_TEST

START_TEST(a_check_may_come_and_go) {
    struct pool_config *with = pool_new(1), *without = pool_new(1);
    without->check.enabled = false;
    publish(with, 0);
    check_says(0, CHECK_DOWN, "");
    publish(without, 0);
    state_is(0, STATE_UP);
    publish(with, 0);
    state_is(0, STATE_UP);
    check_says(0, CHECK_DOWN, ""); /* it was only believed to be up: one answer is enough */
    state_is(0, STATE_DOWN);
}
END_TEST

/* ---- the administrator ---- */

START_TEST(drained_ones_are_checked_and_keep_their_reason) {
    struct pool_config *config = pool_new(1);
    config->check.fall = 1;
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    health_set_admin(control.health, slot_at(0), ADMIN_DRAIN);
    state_is(0, STATE_DRAIN);
    check_says(0, CHECK_DOWN, "refused");
    state_is(0, STATE_DRAIN);
    ck_assert_str_eq(slot_at(0)->reason, "administrator: drain");
    health_set_admin(control.health, slot_at(0), ADMIN_READY);
    state_is(0, STATE_DOWN);
}
END_TEST

START_TEST(in_maintenance_nothing_is_checked) {
    struct pool_config *config = pool_new(2);
    publish(config, 0);
    check_says(0, CHECK_UP, "");
    await(runs[slot_at(0)->script.view.id].done != NULL);
    health_set_admin(control.health, slot_at(0), ADMIN_MAINT);
    state_is(0, STATE_MAINT);
    ck_assert_uint_eq(cancelled, 1);
    uint32_t checks = slot_at(0)->checks_total;
    for (int i = 0; i < 4; i++) {
        check_says(1, CHECK_UP, "");
    }
    publish(config, 1); /* nor does a reload change that */
    for (int i = 0; i < 4; i++) {
        check_says(1, CHECK_UP, "");
    }
    ck_assert_uint_eq(slot_at(0)->checks_total, checks);
    state_is(0, STATE_MAINT);
    health_set_admin(control.health, slot_at(0), ADMIN_READY);
    state_is(0, STATE_STARTING); /* what we knew is old */
    ck_assert_str_eq(slot_at(0)->reason, "administrator: ready");
    check_says(0, CHECK_DOWN, "still off");
    state_is(0, STATE_DOWN);
    ck_assert_uint_eq(slot_at(0)->transitions_down, 0);
}
END_TEST

START_TEST(after_maintenance_it_is_checked_at_once) {
    struct pool_config *config = pool_new(1);
    config->check.interval_ms = 3600000;
    publish(config, 0);
    check_says(0, CHECK_DOWN, "");
    health_set_admin(control.health, slot_at(0), ADMIN_MAINT);
    health_set_admin(control.health, slot_at(0), ADMIN_DRAIN);
    state_is(0, STATE_DRAIN);
    check_says(0, CHECK_UP, "");
    health_set_admin(control.health, slot_at(0), ADMIN_READY);
    state_is(0, STATE_UP);
}
END_TEST

START_TEST(after_maintenance_it_is_up_without_a_check) {
    struct pool_config *config = pool_new(1);
    config->check.enabled = false;
    publish(config, 0);
    fail_connects(slot_at(0));
    health_suspect(control.health, slot_at(0));
    health_set_admin(control.health, slot_at(0), ADMIN_MAINT);
    health_set_admin(control.health, slot_at(0), ADMIN_READY);
    state_is(0, STATE_UP);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("health");
    TCase *cases = tcase_create("health");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, first_answer_decides);
    tcase_add_test(cases, fall_failures_in_a_row_bring_it_down_and_rise_successes_up);
    tcase_add_test(cases, an_error_of_the_check_keeps_the_state);
    tcase_add_test(cases, a_drain_wish_counts_at_once);
    tcase_add_test(cases, long_reasons_are_seen_to_be_cut);
    tcase_add_test(cases, a_suspect_is_checked_now_and_the_answer_decides);
    tcase_add_test(cases, late_and_foreign_suspicions_are_nothing);
    tcase_add_test(cases, without_a_check_all_are_up_and_suspects_tried_again);
    tcase_add_test(cases, a_suspect_whose_check_only_fails_is_tried_again);
    tcase_add_test(cases, when_the_check_is_out_nobody_waits_for_it);
    tcase_add_test(cases, checks_are_spread_and_bounded_in_number);
    tcase_add_test(cases, checks_that_answer_at_once_do_not_nest);
    tcase_add_test(cases, intervals_vary_by_a_tenth_and_settle_faster);
    tcase_add_test(cases, a_reload_keeps_health_and_runs);
    tcase_add_test(cases, a_reload_keeps_the_time_of_the_next_check);
    tcase_add_test(cases, another_address_is_another_server);
    tcase_add_test(cases, who_leaves_is_gone_and_forgotten);
    tcase_add_test(cases, runtime_weight_wins_until_the_configured_changes);
    tcase_add_test(cases, a_check_may_come_and_go);
    tcase_add_test(cases, zone_and_tags_are_the_configured_ones);
    tcase_add_test(cases, drained_ones_are_checked_and_keep_their_reason);
    tcase_add_test(cases, in_maintenance_nothing_is_checked);
    tcase_add_test(cases, after_maintenance_it_is_checked_at_once);
    tcase_add_test(cases, after_maintenance_it_is_up_without_a_check);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
