/* The stock policies with rules of their own: bounded ring, peak EWMA, sticky source, zones,
 * primary and backup, canary. What all policies have in common is in test_policy.c.
 *
 * Time is what the test says: see `timed`. Where chance decides, the bounds are six standard
 * deviations wide. */
#include <math.h>

#include "policy_fixture.h"
#include "suite.h"

#define OPTIONS_MAX 4

static struct value with_items[OPTIONS_MAX], with;
static char *with_keys[OPTIONS_MAX];
static struct position with_at[OPTIONS_MAX];

static void no_options(void) {
    with = (struct value){.kind = VALUE_MAP, .items = with_items, .keys = with_keys};
    with.key_at = with_at;
}

static struct value *option(const char *name) {
    uint32_t i = with.count++;
    with_keys[i] = (char *)(uintptr_t)name;
    with_at[i] = with_items[i].at = (struct position){"app.yaml", 9, 7 + i};
    return &with_items[i];
}

static void option_number(const char *name, double number) {
    *option(name) = (struct value){.kind = VALUE_NUMBER, .number = number, .at = with_at[0]};
}

/* A duration is a text. */
static void option_text(const char *name, const char *text) {
    *option(name) =
        (struct value){.kind = VALUE_STRING, .string = (char *)(uintptr_t)text, .at = with_at[0]};
}

static struct policy *made(struct script_use use) {
    use.with = &with;
    struct policy *policy = fixture_policy(&f, use);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    return policy;
}

/* The stock policy with the options. */
static struct policy *tuned(const char *name) {
    return made(fixture_stock(name));
}

/* The same, in a world where alacrity.now() answers the port of the client last asked about. */
static struct policy *timed(const char *name) {
    static char text[16384];
    size_t length;
    const char *stock_text = vm_builtin("policies", name, &length);
    int written = snprintf(
        text, sizeof(text),
        "local time, real = 0, require\n"
        "local function require(name)\n"
        "  return name == 'alacrity' and {now = function() return time end} or real(name)\n"
        "end\n"
        "local module = (function()\n%.*s\nend)()\n"
        "local new = module.new\n"
        "function module.new(cfg)\n"
        "  local instance = new(cfg)\n"
        "  local pick = instance.pick\n"
        "  function instance.pick(self, ctx, pool)\n"
        "    time = ctx.listener == 'trial' and 0 or ctx.client_port\n"
        "    return pick(self, ctx, pool)\n"
        "  end\n"
        "  return instance\n"
        "end\n"
        "return module\n",
        (int)length, stock_text);
    ck_assert_int_lt(written, (int)sizeof(text));
    return made(fixture_script(&f, text));
}

/* As pick, at a time. */
static uint32_t pick_at(struct policy *policy, uint32_t seconds, uint32_t hash) {
    struct alacrity_ctx_private ctx = a_ctx(hash);
    struct slot *slot = NULL;
    ctx.view.client_port = seconds;
    view_prepare(&f.view, NULL, 0);
    ck_assert_int_eq(scripting->policy_pick(policy, &ctx, &slot), PICK_BACKEND);
    for (uint32_t i = 0; i < f.count; i++) {
        if (f.slots[i] == slot) {
            return i + 1;
        }
    }
    ck_abort_msg("a slot of nobody");
}

static uint32_t hash_of(uint32_t number) {
    return view_natives.hash((const char *)&number, sizeof(number));
}

/* Many picks of clients of all kinds; how many went to each. */
static void spread(struct policy *policy, uint32_t picks, uint32_t *counts) {
    memset(counts, 0, f.count * sizeof(*counts));
    for (uint32_t i = 0; i < picks; i++) {
        counts[pick(policy, hash_of(i), NULL, 0) - 1]++;
    }
}

/* Within six standard deviations of a share of all picks? */
static void check_share(uint32_t count, uint32_t picks, double share) {
    double deviation = sqrt(picks * share * (1 - share));
    ck_assert_msg(fabs(count - picks * share) <= 6 * deviation + 1e-9, "%u of %u, expected %f",
                  count, picks, picks * share);
}

static void set_latency(uint32_t number, float average_ms, float last_ms, uint32_t at) {
    struct alacrity_backend *backend = &f.slots[number - 1]->script.view;
    backend->connect_ewma_ms = average_ms;
    backend->connect_last_ms = last_ms;
    backend->connected_at = at;
}

/* ---- ring hash ---- */

START_TEST(ring_hash_bounds_what_one_busy_client_can_do) {
    static uint32_t first[100];
    open_with(5, NULL);
    option_number("busy", 0);
    struct policy *policy = tuned("ring-hash");
    for (int run = 0; run < 2; run++) {
        uint32_t counts[5] = {0};
        for (uint32_t i = 0; i < 100; i++) {
            uint32_t number = pick(policy, 12345, NULL, 0);
            double bound = ceil(1.25 * (i + 1) / 5);
            set_active(number, ++counts[number - 1]);
            ck_assert_double_le(counts[number - 1], bound);
            if (run == 0) {
                first[i] = number;
            } else {
                ck_assert_uint_eq(number, first[i]); /* the same way each time */
            }
        }
        ck_assert_uint_eq(counts[first[0] - 1], 25); /* its own gets all it may have */
        for (uint32_t i = 1; i <= 5; i++) {
            set_active(i, 0);
        }
    }
    fixture_close(&f);
}
END_TEST

START_TEST(ring_hash_bounds_by_weight) {
    const uint32_t weights[] = {1, 3};
    uint32_t counts[2] = {0};
    open_with(2, weights);
    option_number("factor", 1);
    option_number("busy", 0);
    struct policy *policy = tuned("ring-hash");
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t number = pick(policy, hash_of(i), NULL, 0);
        set_active(number, ++counts[number - 1]);
    }
    ck_assert_uint_eq(counts[0], 100);
    ck_assert_uint_eq(counts[1], 300);
    fixture_close(&f);
}
END_TEST

START_TEST(ring_hash_is_stable_while_nobody_is_too_full) {
    uint32_t before[1000], lost = 0;
    open_with(5, NULL);
    struct policy *policy = stock("ring-hash");
    for (uint32_t i = 1; i <= 5; i++) {
        set_active(i, 100);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        before[i] = pick(policy, hash_of(i), NULL, 0);
    }
    set_active(2, 110); /* a little more than the others is no matter */
    set_health(4, HEALTH_DOWN);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t after = pick(policy, hash_of(i), NULL, 0);
        lost += before[i] == 4;
        ck_assert(before[i] == 4 ? after != 4 : after == before[i]); /* nobody else moves */
    }
    ck_assert_uint_gt(lost, 100);
    set_active(2, 200); /* too full: those it would have had move, no others */
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t after = pick(policy, hash_of(i), NULL, 0);
        ck_assert_uint_ne(after, 2);
        ck_assert(before[i] == 4 || before[i] == 2 || after == before[i]);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(ring_hash_leaves_clients_alone_while_little_goes_on) {
    const uint32_t weights[] = {2, 2, 2};
    open_with(3, weights);
    struct policy *policy = stock("ring-hash");
    uint32_t own = pick(policy, 99, NULL, 0);
    set_active(own, 19); /* ten for each unit of weight are free */
    ck_assert_uint_eq(pick(policy, 99, NULL, 0), own);
    set_active(own, 20);
    ck_assert_uint_ne(pick(policy, 99, NULL, 0), own);
    fixture_close(&f);
}
END_TEST

/* ---- peak EWMA ---- */

START_TEST(peak_ewma_takes_the_quicker_and_the_emptier) {
    const uint32_t weights[] = {1, 1, 4};
    open_with(3, weights);
    struct policy *policy = timed("peak-ewma");
    set_latency(1, 2, 2, 100);
    set_latency(2, 5, 5, 100);
    set_health(3, HEALTH_DOWN);
    ck_assert_uint_eq(pick_at(policy, 100, 0), 1);
    set_active(1, 1); /* 2 * 2 against 5 * 1 */
    ck_assert_uint_eq(pick_at(policy, 100, 0), 1);
    set_active(1, 2); /* 2 * 3 */
    ck_assert_uint_eq(pick_at(policy, 100, 0), 2);
    set_health(1, HEALTH_DOWN);
    set_health(3, HEALTH_UP);
    set_latency(3, 16, 16, 100); /* a quarter of it: 4 against 5 */
    ck_assert_uint_eq(pick_at(policy, 100, 0), 3);
    fixture_close(&f);
}
END_TEST

START_TEST(peak_ewma_sees_a_spike_at_once) {
    open_with(2, NULL);
    struct policy *policy = timed("peak-ewma");
    set_latency(1, 2, 30, 100);
    set_latency(2, 5, 5, 100);
    ck_assert_uint_eq(pick_at(policy, 100, 0), 2);
    set_latency(1, 4, 2, 100); /* and forgives slowly: the average counts again */
    ck_assert_uint_eq(pick_at(policy, 100, 0), 1);
    fixture_close(&f);
}
END_TEST

/* One try, then the old value counts again until there is a new one. */
START_TEST(peak_ewma_gives_nobody_up_for_an_old_value) {
    uint32_t tries = 0;
    open_with(2, NULL);
    struct policy *policy = timed("peak-ewma");
    set_latency(2, 100, 100, 100);
    for (uint32_t second = 100; second < 160; second++) { /* worth a try after 46 seconds */
        set_latency(1, 1, 1, second);                     /* the quick one is measured always */
        for (int i = 0; i < 10; i++) {
            bool tried = pick_at(policy, second, 0) == 2;
            ck_assert(!tried || second == 147);
            tries += tried;
        }
    }
    ck_assert_uint_eq(tries, 1);
    set_latency(1, 1, 1, 160);
    set_latency(2, 1, 1, 160); /* it has become quick */
    set_active(1, 1);
    ck_assert_uint_eq(pick_at(policy, 160, 0), 2);
    fixture_close(&f);
}
END_TEST

START_TEST(peak_ewma_tries_the_unknown_one_at_a_time) {
    open_with(2, NULL);
    struct policy *policy = timed("peak-ewma");
    set_latency(1, 1, 1, 100);
    ck_assert_uint_eq(pick_at(policy, 100, 0), 2);
    for (uint32_t second = 100; second < 110; second++) {
        set_latency(1, 1, 1, second);
        ck_assert_uint_eq(pick_at(policy, second, 0), 1); /* its outcome is awaited ... */
    }
    ck_assert_uint_eq(pick_at(policy, 111, 0), 2); /* ... but not for ever */
    fixture_close(&f);
}
END_TEST

/* ---- sticky source ---- */

static double sticky_now;

static double tell_sticky_now(void) {
    return sticky_now;
}

/* A policy in use, as changes of shared dictionaries are only made then; time is what is said. */
static struct policy *sticky_in(struct script_host *host) {
    scripting->host_virtual(host, tell_sticky_now, 0);
    struct script_use use = fixture_stock("sticky-source");
    use.with = &with;
    f.pool.name = (char *)(uintptr_t) "app";
    f.pool.policy = use;
    const struct policy_order order = {.use = &f.pool.policy, .view = &f.view};
    struct policy *policy = scripting->policy_new(host, &order, &f.messages);
    ck_assert_msg(policy != NULL, "%s", fixture_said(&f));
    scripting->host_start(host, NULL);
    return policy;
}

static uint32_t sticky_pick(struct policy *policy, double seconds, uint32_t hash) {
    sticky_now = seconds;
    return pick(policy, hash, NULL, 0);
}

START_TEST(sticky_source_stays_when_a_better_one_returns) {
    open_with(4, NULL);
    option_text("expire", "100s");
    struct policy *policy = sticky_in(f.host);
    uint32_t own[50], elsewhere[50], moved = 0;
    for (uint32_t i = 0; i < 50; i++) {
        own[i] = sticky_pick(policy, 10, hash_of(i));
    }
    set_health(3, HEALTH_DOWN);
    for (uint32_t i = 0; i < 50; i++) {
        elsewhere[i] = sticky_pick(policy, 20, hash_of(i));
        ck_assert(own[i] == 3 ? elsewhere[i] != 3 : elsewhere[i] == own[i]);
        moved += own[i] == 3;
    }
    ck_assert_uint_gt(moved, 3);
    set_health(3, HEALTH_UP);
    for (uint32_t i = 0; i < 50; i++) { /* each use begins the time anew */
        ck_assert_uint_eq(sticky_pick(policy, 119, hash_of(i)), elsewhere[i]);
        ck_assert_uint_eq(sticky_pick(policy, 218, hash_of(i)), elsewhere[i]);
    }
    for (uint32_t i = 0; i < 50; i++) {
        ck_assert_uint_eq(sticky_pick(policy, 319, hash_of(i)), own[i]); /* too long away */
    }
    fixture_close(&f);
}
END_TEST

START_TEST(sticky_source_begins_where_the_hash_says) {
    open_with(6, NULL);
    struct policy *policy = sticky_in(f.host), *hash = stock("source-hash");
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t first = pick(hash, hash_of(i), NULL, 0);
        ck_assert_uint_eq(sticky_pick(policy, 10, hash_of(i)), first);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(sticky_source_is_the_same_on_all_workers) {
    open_with(4, NULL);
    struct script_host *other =
        scripting->host_new(&f.snapshot, f.arena, NULL, NULL, 1, &f.messages);
    ck_assert_ptr_nonnull(other);
    struct policy *one = sticky_in(f.host), *two = sticky_in(other);
    uint32_t own[50], moved = 0;
    for (uint32_t i = 0; i < 50; i++) {
        own[i] = sticky_pick(one, 10, hash_of(i));
        ck_assert_uint_eq(sticky_pick(two, 10, hash_of(i)), own[i]);
    }
    set_health(2, HEALTH_DOWN);
    uint32_t elsewhere[50];
    for (uint32_t i = 0; i < 50; i++) {
        elsewhere[i] = sticky_pick(one, 20, hash_of(i));
        moved += elsewhere[i] != own[i];
    }
    ck_assert_uint_gt(moved, 3);
    set_health(2, HEALTH_UP);
    for (uint32_t i = 0; i < 50; i++) {
        ck_assert_uint_eq(sticky_pick(two, 30, hash_of(i)), elsewhere[i]);
    }
    scripting->host_free(other);
    fixture_close(&f);
}
END_TEST

START_TEST(sticky_source_moves_on_a_retry_and_stays_there) {
    open_with(4, NULL);
    struct policy *policy = sticky_in(f.host);
    uint32_t first = sticky_pick(policy, 10, 77);
    const uint32_t tried[] = {f.slots[first - 1]->script.view.id};
    uint32_t second = pick(policy, 77, tried, 1);
    ck_assert_uint_ne(second, first);
    ck_assert_uint_eq(pick(policy, 77, NULL, 0), second);
    fixture_close(&f);
}
END_TEST

/* ---- zones ---- */

static struct policy *zones_of(uint32_t here, uint32_t elsewhere) {
    open_with(here + elsewhere, NULL);
    for (uint32_t i = 1; i <= here + elsewhere; i++) {
        set_zone(i, i <= here ? "east" : "west"); /* the balancer stands in the east */
    }
    return tuned("zone-aware");
}

START_TEST(zone_aware_stays_at_home_while_enough_is_up) {
    uint32_t counts[10];
    struct policy *policy = zones_of(10, 0);
    for (uint32_t i = 6; i <= 10; i++) {
        set_zone(i, i == 6 ? NULL : "west"); /* one says nothing of where it stands */
    }
    spread(policy, 500, counts);
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert(i < 5 ? counts[i] > 50 : counts[i] == 0);
    }
    set_health(2, HEALTH_DOWN); /* four of five: 80 percent are up, 70 are enough */
    spread(policy, 500, counts);
    ck_assert_uint_eq(counts[1] + counts[5] + counts[6] + counts[7] + counts[8] + counts[9], 0);
    fixture_close(&f);
}
END_TEST

START_TEST(zone_aware_sends_away_what_the_zone_lacks) {
    uint32_t counts[4];
    struct policy *policy = zones_of(2, 2);
    set_health(1, HEALTH_DOWN); /* 50 percent where 70 are enough */
    spread(policy, 7000, counts);
    ck_assert_uint_eq(counts[0], 0);
    check_share(counts[1], 7000, 5.0 / 7);
    check_share(counts[2], 7000, 1.0 / 7);
    set_health(2, HEALTH_DOWN);
    spread(policy, 100, counts);
    ck_assert_uint_eq(counts[2] + counts[3], 100);
    set_health(1, HEALTH_UP);
    set_health(2, HEALTH_UP);
    spread(policy, 100, counts);
    ck_assert_uint_eq(counts[0] + counts[1], 100); /* all come home */
    set_health(3, HEALTH_DOWN);
    set_health(4, HEALTH_DOWN);
    set_health(1, HEALTH_DOWN);
    spread(policy, 100, counts);
    ck_assert_uint_eq(counts[1], 100); /* it lacks, but nobody else is there */
    fixture_close(&f);
}
END_TEST

START_TEST(zone_aware_counts_weights) {
    uint32_t counts[3];
    const uint32_t weights[] = {9, 1, 1};
    open_with(3, weights);
    set_zone(1, "east");
    set_zone(2, "east");
    set_zone(3, "west");
    option_number("enough", 50);
    struct policy *policy = tuned("zone-aware");
    set_health(2, HEALTH_DOWN); /* a tenth */
    spread(policy, 500, counts);
    ck_assert_uint_eq(counts[2], 0);
    set_health(2, HEALTH_UP);
    set_health(1, HEALTH_DOWN); /* nine tenths: a fifth of what is enough is left */
    spread(policy, 5000, counts);
    check_share(counts[1], 5000, 0.2);
    fixture_close(&f);
}
END_TEST

START_TEST(zone_aware_sends_away_what_is_too_much) {
    uint32_t counts[4];
    option_number("busy", 10);
    option_number("factor", 3);
    struct policy *policy = zones_of(2, 2);
    set_active(1, 9);
    set_active(2, 9);
    spread(policy, 50, counts);
    ck_assert_uint_eq(counts[0] + counts[1], 50); /* full, but not busy */
    set_active(1, 11);
    set_active(2, 11);
    spread(policy, 50, counts);
    ck_assert_uint_eq(counts[2] + counts[3], 50); /* 12 is more than 3 times 1 */
    set_active(3, 3);
    set_active(4, 3);
    spread(policy, 50, counts);
    ck_assert_uint_eq(counts[0] + counts[1], 50); /* 12 is not more than 3 times 4 */
    fixture_close(&f);
}
END_TEST

START_TEST(zone_aware_tries_elsewhere_on_a_retry) {
    struct policy *policy = zones_of(1, 1);
    const uint32_t tried[] = {f.slots[0]->script.view.id};
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
    ck_assert_uint_eq(pick(policy, 0, tried, 1), 2);
    ck_assert_uint_eq(pick(policy, 0, NULL, 0), 1);
    fixture_close(&f);
}
END_TEST

START_TEST(zone_aware_wants_to_know_where_it_stands) {
    open_with(2, NULL);
    f.view.script.view.zone_code = 0;
    ck_assert_ptr_null(fixture_policy(&f, fixture_stock("zone-aware")));
    fixture_assert_says(&f, "zone-aware needs to know where it stands: write zone: NAME");
    fixture_assert_says(&f, "app.yaml:4:13");
    fixture_close(&f);
}
END_TEST

/* ---- primary and backup ---- */

static void open_primaries(uint32_t primaries, uint32_t backups) {
    open_with(primaries + backups, NULL);
    for (uint32_t i = primaries + 1; i <= primaries + backups; i++) {
        set_tags(i, 1u << FIXTURE_BACKUP);
    }
}

/* Which group serves at that time: the first backup's number or less says it. */
static bool serves_backup(struct policy *policy, uint32_t second, uint32_t primaries) {
    bool backup = pick_at(policy, second, 0) > primaries;
    for (uint32_t i = 0; i < 20; i++) { /* never both at once */
        ck_assert_int_eq(pick_at(policy, second, hash_of(i)) > primaries, backup);
    }
    return backup;
}

/* It is well again, since then. */
static void recover(uint32_t number, uint32_t at) {
    set_health(number, HEALTH_UP);
    f.slots[number - 1]->script.view.recovered_at = at;
}

START_TEST(primary_backup_returns_only_after_the_hold) {
    open_primaries(2, 2);
    struct policy *policy = timed("primary-backup");
    ck_assert(!serves_backup(policy, 100, 2));
    set_health(1, HEALTH_DOWN);
    ck_assert(!serves_backup(policy, 110, 2)); /* one is enough */
    set_health(2, HEALTH_SUSPECT);
    ck_assert(serves_backup(policy, 120, 2));
    recover(1, 130);
    ck_assert(serves_backup(policy, 130, 2));
    recover(2, 150); /* more help is no new beginning */
    ck_assert(serves_backup(policy, 159, 2));
    ck_assert(!serves_backup(policy, 160, 2));
    fixture_close(&f);
}
END_TEST

START_TEST(primary_backup_does_not_follow_one_that_flaps) {
    open_primaries(1, 1);
    option_text("hold", "10s");
    struct policy *policy = timed("primary-backup");
    for (uint32_t second = 100; second < 200; second += 5) {
        if (second % 10 == 0) {
            set_health(1, HEALTH_DOWN);
        } else {
            recover(1, second);
        }
        ck_assert(serves_backup(policy, second, 1));
    }
    ck_assert(serves_backup(policy, 204, 1));
    ck_assert(!serves_backup(policy, 205, 1));
    fixture_close(&f);
}
END_TEST

START_TEST(primary_backup_needs_as_many_as_it_says) {
    open_primaries(3, 1);
    option_number("least", 2);
    struct policy *policy = timed("primary-backup");
    set_health(1, HEALTH_DOWN);
    ck_assert(!serves_backup(policy, 100, 3));
    atomic_store(&f.slots[1]->script.view.weight, 0); /* takes no sessions: not one that helps */
    slot_changed(f.slots[1], f.facts);
    ck_assert(serves_backup(policy, 101, 3));
    set_health(4, HEALTH_DOWN); /* no backup: who is left serves */
    ck_assert_uint_eq(pick_at(policy, 102, 0), 3);
    set_health(4, HEALTH_UP);
    ck_assert(serves_backup(policy, 103, 3));
    fixture_close(&f);
}
END_TEST

START_TEST(primary_backup_workers_agree_at_any_time) {
    open_primaries(1, 1);
    struct policy *busy = timed("primary-backup"), *idle = timed("primary-backup");
    ck_assert(!serves_backup(busy, 100, 1));
    set_health(1, HEALTH_DOWN);
    ck_assert(serves_backup(busy, 110, 1));
    recover(1, 120); /* the other worker had nothing to do meanwhile, this one is new */
    struct policy *fresh = timed("primary-backup");
    ck_assert(serves_backup(busy, 140, 1));
    ck_assert(serves_backup(idle, 140, 1));
    ck_assert(serves_backup(fresh, 140, 1));
    ck_assert(!serves_backup(busy, 150, 1));
    ck_assert(!serves_backup(idle, 150, 1));
    ck_assert(!serves_backup(fresh, 150, 1));
    fixture_close(&f);
}
END_TEST

START_TEST(primary_backup_is_not_turned_by_one_sessions_retry) {
    open_primaries(1, 1);
    struct policy *policy = timed("primary-backup");
    const uint32_t tried[] = {f.slots[0]->script.view.id};
    ck_assert_uint_eq(pick_at(policy, 100, 0), 1);
    ck_assert_uint_eq(pick(policy, 0, tried, 1), 2); /* this session has nobody else left */
    ck_assert_uint_eq(pick_at(policy, 100, 0), 1);
    f.slots[0]->script.view.max_sessions = 1; /* the same when it is full */
    set_active(1, 1);
    slot_changed(f.slots[0], f.facts);
    ck_assert_uint_eq(pick_at(policy, 101, 0), 2);
    set_active(1, 0);
    ck_assert_uint_eq(pick_at(policy, 101, 0), 1);
    fixture_close(&f);
}
END_TEST

/* A new configuration is tried before its backends are up: that must not count as a failure. */
START_TEST(primary_backup_begins_with_the_primaries) {
    open_primaries(1, 1);
    atomic_store(&f.slots[0]->presence, PRESENCE_GONE);
    slot_changed(f.slots[0], f.facts);
    struct policy *policy = timed("primary-backup");
    atomic_store(&f.slots[0]->presence, PRESENCE_PRESENT);
    set_health(1, HEALTH_STARTING);
    ck_assert_uint_eq(pick_at(policy, 1, 0), 1);
    set_health(1, HEALTH_UP);
    ck_assert_uint_eq(pick_at(policy, 2, 0), 1);
    fixture_close(&f);
}
END_TEST

/* ---- canary ---- */

static void open_canaries(uint32_t count, uint32_t canaries) {
    open_with(count, NULL);
    for (uint32_t i = 1; i <= canaries; i++) {
        set_tags(i, 1u << FIXTURE_CANARY);
    }
}

START_TEST(canary_gets_its_percentage) {
    uint32_t counts[5];
    open_canaries(5, 2);
    option_number("percent", 10);
    struct policy *policy = tuned("canary");
    spread(policy, 10000, counts);
    check_share(counts[0] + counts[1], 10000, 0.1);
    ck_assert_uint_gt(counts[0], 300);
    ck_assert_uint_gt(counts[1], 300);
    for (uint32_t i = 2; i < 5; i++) {
        check_share(counts[i], 10000, 0.3);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(canary_draws_clients_for_good) {
    uint32_t counts[3], few = 0;
    open_canaries(3, 1);
    option_text("by", "client");
    option_number("percent", 5);
    struct policy *at_5 = tuned("canary");
    no_options();
    option_text("by", "client");
    option_number("percent", 20);
    struct policy *at_20 = tuned("canary");
    for (uint32_t i = 0; i < 4000; i++) {
        bool chosen = pick(at_5, hash_of(i), NULL, 0) == 1;
        ck_assert_int_eq(pick(at_5, hash_of(i), NULL, 0) == 1, chosen);
        ck_assert(!chosen || pick(at_20, hash_of(i), NULL, 0) == 1); /* nobody is sent back */
        few += chosen;
    }
    check_share(few, 4000, 0.05);
    spread(at_20, 4000, counts);
    check_share(counts[0], 4000, 0.2);
    fixture_close(&f);
}
END_TEST

START_TEST(canary_falls_back_to_the_other_group) {
    uint32_t counts[2];
    open_canaries(2, 1);
    option_number("percent", 100);
    struct policy *all = tuned("canary");
    no_options();
    option_number("percent", 0);
    struct policy *none = tuned("canary");
    spread(all, 300, counts);
    ck_assert_uint_eq(counts[0], 300);
    spread(none, 300, counts);
    ck_assert_uint_eq(counts[1], 300);
    set_health(1, HEALTH_DOWN);
    ck_assert_uint_eq(pick(all, 0, NULL, 0), 2);
    set_health(1, HEALTH_UP);
    set_health(2, HEALTH_DOWN);
    ck_assert_uint_eq(pick(none, 0, NULL, 0), 1);
    const uint32_t tried[] = {f.slots[0]->script.view.id};
    set_health(2, HEALTH_UP);
    ck_assert_uint_eq(pick(all, 0, tried, 1), 2);
    fixture_close(&f);
}
END_TEST

/* ---- options ---- */

static const struct {
    const char *policy, *option;
    double number;
    const char *text, *said;
} bad_options[] = {
    {"ring-hash", "factor", 0.5, NULL,
     "option 'factor' of script ring-hash is 0.5; write at least 1"},
    {"peak-ewma", "decay", 0, "10ms",
     "option 'decay' of script peak-ewma is 10; write at least 100"},
    {"sticky-source", "expire", 0, "soon", "option 'expire' of script sticky-source must be a dur"},
    {"zone-aware", "enough", 101, NULL,
     "option 'enough' of script zone-aware is 101; write at most"},
    {"zone-aware", "factor", 0, "much", "option 'factor' of script zone-aware must be a number"},
    {"primary-backup", "least", 1.5, NULL,
     "option 'least' of script primary-backup must be a whole"},
    {"primary-backup", "holds", 0, "1s",
     "unknown option 'holds' of script primary-backup; did you"},
    {"canary", "percent", 101, NULL, "option 'percent' of script canary is 101; write at most 100"},
    {"canary", "by", 0, "clients",
     "option 'by' of script canary cannot be 'clients'; write one of"},
};

START_TEST(bad_options_are_refused_at_their_place) {
    open_with(2, NULL);
    if (bad_options[_i].text != NULL) {
        option_text(bad_options[_i].option, bad_options[_i].text);
    } else {
        option_number(bad_options[_i].option, bad_options[_i].number);
    }
    struct script_use use = fixture_stock(bad_options[_i].policy);
    use.with = &with;
    ck_assert_ptr_null(fixture_policy(&f, use));
    fixture_assert_says(&f, "app.yaml:9:7: ");
    fixture_assert_says(&f, bad_options[_i].said);
    fixture_close(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("stock policies");
    TCase *cases = tcase_create("stock policies");
    tcase_add_checked_fixture(cases, no_options, NULL);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, ring_hash_bounds_what_one_busy_client_can_do);
    tcase_add_test(cases, ring_hash_bounds_by_weight);
    tcase_add_test(cases, ring_hash_leaves_clients_alone_while_little_goes_on);
    tcase_add_test(cases, ring_hash_is_stable_while_nobody_is_too_full);
    tcase_add_test(cases, peak_ewma_takes_the_quicker_and_the_emptier);
    tcase_add_test(cases, peak_ewma_sees_a_spike_at_once);
    tcase_add_test(cases, peak_ewma_gives_nobody_up_for_an_old_value);
    tcase_add_test(cases, peak_ewma_tries_the_unknown_one_at_a_time);
    tcase_add_test(cases, sticky_source_stays_when_a_better_one_returns);
    tcase_add_test(cases, sticky_source_begins_where_the_hash_says);
    tcase_add_test(cases, sticky_source_is_the_same_on_all_workers);
    tcase_add_test(cases, sticky_source_moves_on_a_retry_and_stays_there);
    tcase_add_test(cases, zone_aware_stays_at_home_while_enough_is_up);
    tcase_add_test(cases, zone_aware_sends_away_what_the_zone_lacks);
    tcase_add_test(cases, zone_aware_counts_weights);
    tcase_add_test(cases, zone_aware_sends_away_what_is_too_much);
    tcase_add_test(cases, zone_aware_tries_elsewhere_on_a_retry);
    tcase_add_test(cases, zone_aware_wants_to_know_where_it_stands);
    tcase_add_test(cases, primary_backup_returns_only_after_the_hold);
    tcase_add_test(cases, primary_backup_does_not_follow_one_that_flaps);
    tcase_add_test(cases, primary_backup_needs_as_many_as_it_says);
    tcase_add_test(cases, primary_backup_workers_agree_at_any_time);
    tcase_add_test(cases, primary_backup_is_not_turned_by_one_sessions_retry);
    tcase_add_test(cases, primary_backup_begins_with_the_primaries);
    tcase_add_test(cases, canary_gets_its_percentage);
    tcase_add_test(cases, canary_draws_clients_for_good);
    tcase_add_test(cases, canary_falls_back_to_the_other_group);
    tcase_add_loop_test(cases, bad_options_are_refused_at_their_place, 0,
                        sizeof(bad_options) / sizeof(bad_options[0]));
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
