/* Sessions that are routed, with the script's part played by the test: every way out of it lets go
 * of the run, of the plan and of what was peeked, once. The scripts' side is in
 * tests/cases/test_routes.py. */
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "relay_stage.h"
#include "scripting.h"

static struct route_order order; /* of the run that is under way */
static bool answers_at_once;
static uint32_t started, ready, cancelled;
static struct listener_config listener_config;
static struct worker_listener worker_listener;
static bool watch_fails; /* epoll_ctl() finds no memory */

int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event) {
    if (watch_fails) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, descriptor, event);
}

/* ---- the script ---- */

static struct route_run *the_run(void) {
    return (struct route_run *)(void *)&order;
}

static struct route_run *start(struct route *route, const struct route_order *wanted) {
    (void)route;
    started++;
    order = *wanted;
    if (answers_at_once) {
        order.done(order.argument, ROUTE_REJECT, "at once");
    }
    return the_run();
}

static void on_ready(struct route_run *run) {
    ck_assert_ptr_eq(run, the_run());
    ready++;
}

static void cancel(struct route_run *run) {
    ck_assert_ptr_eq(run, the_run());
    cancelled++;
}

static void ignore_host(struct script_host *host) {
    (void)host;
}

static const struct scripting fake_scripting = {
    .route_start = start,
    .route_ready = on_ready,
    .route_cancel = cancel,
    .host_retire = ignore_host,
};

/* ---- the stage ---- */

static void setup_route(void) {
    setup();
    scripting = &fake_scripting;
    answers_at_once = watch_fails = false;
    started = ready = cancelled = 0;
    listener_config = (struct listener_config){.name = "web", .pool = -1};
    worker_listener = (struct worker_listener){.config = &listener_config,
                                               .facts = listener,
                                               .row = arena_listener_row(arena, listener, 0),
                                               .route = (struct route *)(void *)&order};
    plane.plan = &plan;
}

static struct session *only_session(enum session_state state) {
    ck_assert(!list_is_empty(&plane.sessions[state]));
    return container_of(plane.sessions[state].next, struct session, node);
}

static void open_routed(void) {
    int inner;
    struct address peer = {.length = sizeof(peer.local.sun_family)};
    peer.any.sa_family = AF_UNIX;
    socket_pair(&client, &inner);
    session_open(&plane, &worker_listener, inner, &peer);
    ck_assert_uint_eq(started, 1);
}

/* Nothing is held any more, by anybody. */
static void expect_end(enum session_reason reason, uint32_t cancels) {
    turn();
    ck_assert_uint_eq(ended(reason), 1);
    ck_assert_uint_eq(cancelled, cancels);
    ck_assert_uint_eq(plan.references, 1);
    ck_assert_uint_eq(plane_session_count(0), 0);
    for (int state = 0; state < SESSION_STATE_COUNT; state++) {
        ck_assert(list_is_empty(&plane.sessions[state]));
    }
    ck_assert_uint_eq(plane.dial_slab.used + plane.session_slab.used, 0);
}

/* ---- cases ---- */

START_TEST(an_answer_is_carried_out_at_the_end_of_the_turn) {
    answers_at_once = true;
    open_routed();
    ck_assert_uint_eq(ended(REASON_REJECTED), 0); /* the script is still on the stack */
    ck_assert_str_eq(route_why(only_session(SESSION_ROUTED)), "at once");
    expect_end(REASON_REJECTED, 0);
    expect_bytes(client, "");
}
END_TEST

START_TEST(without_a_pool_it_ends_for_a_reason_of_its_own) {
    open_routed();
    static const struct {
        enum route_answer answer;
        enum session_reason reason;
    } ends[] = {
        {ROUTE_NONE, REASON_NO_ROUTE},        {ROUTE_ERROR, REASON_ROUTE_FAILED},
        {ROUTE_TIMEOUT, REASON_ROUTE_FAILED}, {ROUTE_STOPPED, REASON_ROUTE_FAILED},
        {ROUTE_RESTING, REASON_ROUTE_FAILED}, {ROUTE_OUT, REASON_ROUTE_FAILED},
        {ROUTE_REJECT, REASON_REJECTED},
    };
    order.done(order.argument, ends[_i].answer, "");
    expect_end(ends[_i].reason, 0);
    struct listener_row row = arena_listener_sum(arena, listener);
    ck_assert_uint_eq(counter_get(&row.routes), ends[_i].answer < ROUTE_RESTING);
    ck_assert_uint_eq(counter_get(&row.route_errors), ends[_i].answer == ROUTE_ERROR);
    ck_assert_uint_eq(counter_get(&row.route_timeouts), ends[_i].answer == ROUTE_TIMEOUT);
    ck_assert_uint_eq(counter_get(&row.route_overruns), ends[_i].answer == ROUTE_STOPPED);
    ck_assert_uint_eq(counter_get(&row.route_resting), ends[_i].answer == ROUTE_RESTING);
    ck_assert_uint_eq(counter_get(&row.route_out), ends[_i].answer == ROUTE_OUT);
    ck_assert_uint_eq(counter_get(&row.route_out_now), ends[_i].answer == ROUTE_OUT);
}
END_TEST

START_TEST(it_reads_no_further_than_was_asked) {
    open_routed();
    ck_assert_int_eq(send(client, "hello, world", 12, 0), 12);
    turn();
    ck_assert_uint_eq(order.look(order.argument).length, 0); /* nobody asked yet */
    order.want(order.argument, 5);
    turn();
    ck_assert_uint_eq(ready, 1);
    struct peeked peeked = order.look(order.argument);
    ck_assert_uint_eq(peeked.length, 5);
    ck_assert(memcmp(peeked.bytes, "hello", 5) == 0 && !peeked.ended);
    turn();
    ck_assert_uint_eq(ready, 1); /* once */
    order.want(order.argument, 100);
    turn();
    ck_assert_uint_eq(ready, 1); /* not enough */
    order.want(order.argument, 0);
    ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
    turn();
    ck_assert(!order.look(order.argument).ended); /* nobody waits any more */
    order.want(order.argument, 100);
    turn();
    peeked = order.look(order.argument);
    ck_assert_uint_eq(ready, 2);
    ck_assert(peeked.ended && peeked.length == 12);
    session_close(order.argument, REASON_KILLED);
    expect_end(REASON_KILLED, 1);
}
END_TEST

START_TEST(a_client_that_resets_ends_the_run) {
    open_routed();
    order.want(order.argument, 5);
    turn();
    int theirs = ((struct session *)order.argument)->client.descriptor;
    ck_assert_int_eq(send(theirs, "x", 1, MSG_NOSIGNAL), 1);
    close(client); /* with unread bytes: a reset */
    client = -1;
    expect_end(REASON_CLIENT_RESET, 1);
    ck_assert_uint_eq(ready, 0);
}
END_TEST

START_TEST(a_kernel_that_will_not_watch_ends_the_run) {
    open_routed();
    watch_fails = true;
    order.want(order.argument, 5);
    watch_fails = false;
    turn();
    expect_end(REASON_OUT_OF_MEMORY, 1);
}
END_TEST

START_TEST(it_ends_with_the_worker) {
    open_routed();
    plane_end_sessions(&plane, REASON_DRAIN);
    expect_end(REASON_DRAIN, 1);
}
END_TEST

/* As when a state is lost: others get their turn in between, and nobody is forgotten. */
START_TEST(many_answers_are_carried_out_a_part_at_a_time) {
    static struct session *all[200];
    static int outer[200];
    struct address peer = {.length = sizeof(peer.local.sun_family)};
    peer.any.sa_family = AF_UNIX;
    for (int i = 0; i < 200; i++) {
        int inner;
        socket_pair(&outer[i], &inner);
        session_open(&plane, &worker_listener, inner, &peer);
        all[i] = order.argument;
    }
    for (int i = 0; i < 200; i++) {
        order.done(all[i], ROUTE_NONE, "");
    }
    ev_run(loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(ended(REASON_NO_ROUTE), 64);
    for (int turns = 0; ended(REASON_NO_ROUTE) < 200; turns++) {
        ev_run(loop, EVRUN_ONCE); /* does not wait */
        ck_assert_int_lt(turns, 5);
    }
    ev_run(loop, EVRUN_NOWAIT);
    ck_assert(!ev_is_active(&plane.more_to_do));
    ck_assert_uint_eq(plane.dial_slab.used, 0);
    for (int i = 0; i < 200; i++) {
        close(outer[i]);
    }
}
END_TEST

START_TEST(one_that_has_answered_may_still_be_ended) {
    open_routed();
    order.done(order.argument, ROUTE_NONE, "");
    session_close(order.argument, REASON_KILLED);
    expect_end(REASON_KILLED, 0);
    ck_assert_uint_eq(ended(REASON_NO_ROUTE), 0);
}
END_TEST

START_TEST(the_session_timeout_holds) {
    listener_config.timeouts.session_ms = 30;
    listener_config.timeouts.idle_ms = 1; /* not while it is routed */
    open_routed();
    while (ended(REASON_SESSION_TIMEOUT) == 0) {
        ev_run(loop, EVRUN_ONCE);
    }
    expect_end(REASON_SESSION_TIMEOUT, 1);
}
END_TEST

START_TEST(only_pools_of_its_plan_can_be_chosen) {
    struct pool_config config = {.name = "app", .fallback = "reject"};
    struct worker_pool pools[] = {
        {.config = &config, .facts = pool, .row = arena_pool_row(arena, pool, 0)}};
    ck_assert(view_init(&pools[0].view, pool, "app", NULL, 0));
    pools[0].current.view = &pools[0].view;
    plan.pools = pools;
    plan.pool_count = 1;
    open_routed();
    ck_assert(!order.choose(order.argument, "nowhere"));
    ck_assert(order.choose(order.argument, "app"));
    order.done(order.argument, ROUTE_POOL, "");
    expect_end(REASON_NO_BACKEND, 0); /* it has none */
    ck_assert_uint_eq(counter_get(&pools[0].row->no_backend), 1);
    view_free(&pools[0].view);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("route");
    TCase *cases = tcase_create("route");
    tcase_add_checked_fixture(cases, setup_route, teardown);
    tcase_add_test(cases, an_answer_is_carried_out_at_the_end_of_the_turn);
    tcase_add_loop_test(cases, without_a_pool_it_ends_for_a_reason_of_its_own, 0, 7);
    tcase_add_test(cases, it_reads_no_further_than_was_asked);
    tcase_add_test(cases, a_client_that_resets_ends_the_run);
    tcase_add_test(cases, a_kernel_that_will_not_watch_ends_the_run);
    tcase_add_test(cases, it_ends_with_the_worker);
    tcase_add_test(cases, many_answers_are_carried_out_a_part_at_a_time);
    tcase_add_test(cases, one_that_has_answered_may_still_be_ended);
    tcase_add_test(cases, the_session_timeout_holds);
    tcase_add_test(cases, only_pools_of_its_plan_can_be_chosen);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
