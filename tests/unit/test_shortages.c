/* Accepting and dialling when our own means run out: the backend is not to blame, another one is
 * asked only where that can help, and accepting goes on. The policy takes the first backend that is
 * left. */
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "relay_stage.h"
#include "scripting.h"

static struct slot *slots[2];
static struct backend_config backends[2];
static struct pool_config config;
static struct worker_pool worker_pool;
static int listening; /* both backends' address */
static uint32_t suspects;

/* ---- shortages on demand ---- */

static int socket_error, connect_error; /* what these fail with; 0 = they work */
static int connects_that_fail;          /* so many of the next ones */
static bool watch_fails;                /* epoll_ctl() finds no memory */

int socket(int family, int type, int protocol) {
    if (socket_error != 0) {
        errno = socket_error;
        return -1;
    }
    return (int)syscall(SYS_socket, family, type, protocol);
}

int connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    if (connects_that_fail > 0) {
        connects_that_fail--;
        errno = connect_error;
        return -1;
    }
    return (int)syscall(SYS_connect, descriptor, address, length);
}

int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event) {
    if (watch_fails) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, descriptor, event);
}

/* ---- a pool of two backends ---- */

static enum pick_answer pick_first(struct policy *policy, const struct alacrity_ctx_private *ctx,
                                   struct slot **picked) {
    (void)policy;
    (void)ctx;
    *picked = (struct slot *)(uintptr_t)worker_pool.view.script.eligible[0];
    return PICK_BACKEND;
}
static const struct scripting fake_scripting = {.policy_pick = pick_first};

static void count_suspect(struct data_plane *p, struct slot *suspect) {
    (void)p;
    (void)suspect;
    suspects++;
}

static void setup_pool(void) {
    setup();
    scripting = &fake_scripting;
    plane.on_suspect = count_suspect;
    struct address address = {.length = sizeof(address.v4)};
    address.v4.sin_family = AF_INET;
    address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listening, &address.any, address.length), 0);
    ck_assert_int_eq(getsockname(listening, &address.any, &address.length), 0);
    ck_assert_int_eq(listen(listening, 5), 0);
    static const char *const names[] = {"first", "second"};
    for (int i = 0; i < 2; i++) {
        bool changed;
        slots[i] = arena_take_slot(arena, pool, names[i], "127.0.0.1:1", &changed);
        ck_assert_ptr_nonnull(slots[i]);
        atomic_store(&slots[i]->presence, PRESENCE_PRESENT);
        atomic_store(&slots[i]->health, HEALTH_UP);
        slot_changed(slots[i], pool);
        backends[i].address = address;
    }
    config = (struct pool_config){.name = "app",
                                  .fallback = "reject",
                                  .retries = 1,
                                  .suspect_after = 1,
                                  .backend_count = 2,
                                  .backends = backends};
    worker_pool.config = &config;
    worker_pool.facts = pool;
    worker_pool.row = arena_pool_row(arena, pool, 0);
    ck_assert(view_init(&worker_pool.view, pool, "app", slots, 2));
    worker_pool.current.view = &worker_pool.view;
}

static void teardown_pool(void) {
    teardown();
    view_free(&worker_pool.view);
    close(listening);
}

static struct session *dial(void) {
    struct session *session = dialling_session();
    socket_pair(&client, &session->client.descriptor);
    session->dial->pool = &worker_pool;
    dial_next(session);
    for (int i = 0; i < 50 && session->state == SESSION_DIALLING; i++) {
        turn();
    }
    return session;
}

static uint64_t failures(const struct slot *of) {
    struct slot_row row = arena_slot_sum(arena, of);
    return counter_get(&row.connect_failures);
}

static void expect_blameless(const struct slot *of) {
    ck_assert_uint_eq(failures(of), 0);
    ck_assert_uint_eq(atomic_load(&of->failures_in_row), 0);
    ck_assert_int_eq(slot_state(of), STATE_UP);
    ck_assert_uint_eq(atomic_load(&of->script.view.active), 0);
    ck_assert_uint_eq(suspects, 0);
}

START_TEST(shortage_ends_the_session_and_is_not_the_backends_failure) {
    static const struct {
        int error;
        enum session_reason reason;
    } cases[] = {{EMFILE, REASON_OUT_OF_DESCRIPTORS},
                 {ENFILE, REASON_OUT_OF_DESCRIPTORS},
                 {ENOBUFS, REASON_OUT_OF_MEMORY},
                 {ENOMEM, REASON_OUT_OF_MEMORY}};
    struct session *session = dialling_session();
    tcp_pair(&client, &session->client.descriptor);
    bool in_connect = _i >= 4;
    socket_error = in_connect ? 0 : cases[_i % 4].error;
    connect_error = cases[_i % 4].error;
    connects_that_fail = in_connect ? 1 : 0;
    session->dial->pool = &worker_pool;
    dial_next(session);
    ck_assert_int_eq(session->state, SESSION_CLOSED);
    ck_assert_uint_eq(ended(cases[_i % 4].reason), 1);
    char byte;
    ck_assert_int_eq(recv(client, &byte, 1, 0), 0);
    ck_assert_uint_eq(counter_get(&worker_pool.row->retries), 0);
    expect_blameless(slots[0]);
    expect_blameless(slots[1]);
}
END_TEST

START_TEST(no_local_port_for_one_backend_tries_the_next) {
    connect_error = EADDRNOTAVAIL;
    connects_that_fail = 1;
    struct session *session = dial();
    ck_assert_int_eq(session->state, SESSION_RELAYING);
    ck_assert_ptr_eq(session->slot, slots[1]);
    expect_blameless(slots[0]);
    ck_assert_uint_eq(counter_get(&worker_pool.row->retries), 1);
}
END_TEST

START_TEST(no_local_port_at_all_is_a_failed_connect_of_the_session_alone) {
    connect_error = EADDRNOTAVAIL;
    connects_that_fail = 2;
    struct session *session = dial();
    ck_assert_int_eq(session->state, SESSION_CLOSED);
    ck_assert_uint_eq(ended(REASON_CONNECT_FAILED), 1);
    expect_blameless(slots[0]);
    expect_blameless(slots[1]);
}
END_TEST

START_TEST(a_refused_connect_is_the_backends_failure) {
    connect_error = ECONNREFUSED;
    connects_that_fail = 1;
    struct session *session = dial();
    ck_assert_ptr_eq(session->slot, slots[1]);
    ck_assert_uint_eq(failures(slots[0]), 1);
    ck_assert_int_eq(slot_state(slots[0]), STATE_SUSPECT);
    ck_assert_uint_eq(suspects, 1);
}
END_TEST

START_TEST(a_connect_that_cannot_be_watched_is_our_shortage) {
    watch_fails = true;
    struct session *session = dial();
    watch_fails = false;
    ck_assert_int_eq(session->state, SESSION_CLOSED);
    ck_assert_uint_eq(ended(REASON_OUT_OF_MEMORY), 1);
    expect_blameless(slots[0]);
    expect_blameless(slots[1]);
}
END_TEST

/* A listener on the backends' address, which then serves itself. */
static struct listener_config web = {.name = "web", .backlog = 5};
static struct worker_listener relay;

static void open_listener(void) {
    relay = (struct worker_listener){.config = &web,
                                     .facts = listener,
                                     .row = arena_listener_row(arena, listener, 0),
                                     .pool = &worker_pool,
                                     .socket_count = 1,
                                     .sockets = &listening};
    ck_assert_int_eq(fcntl(listening, F_SETFL, O_NONBLOCK), 0);
    plan.listener_count = 1;
    plan.listeners = &relay;
    plane.plan = &plan;
    listener_open_all(&plane);
}

static int visitor(void) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct address *address = &backends[0].address;
    ck_assert_int_eq(connect(descriptor, &address->any, address->length), 0);
    return descriptor;
}

START_TEST(a_listening_socket_that_cannot_be_watched_is_tried_again) {
    watch_fails = true;
    open_listener();
    turn();
    watch_fails = false;
    client = visitor();
    while (counter_get(&relay.row->sessions_total) == 0) {
        ev_run(loop, EVRUN_ONCE);
    }
    listener_close_all(&plane);
}
END_TEST

START_TEST(everybody_in_a_full_queue_is_accepted_before_it_goes) {
    connect_error = ECONNREFUSED;
    int visitors[6]; /* a queue of 5 has room for 6 */
    for (int i = 0; i < 6; i++) {
        visitors[i] = visitor();
    }
    open_listener();
    connects_that_fail = 100; /* the sessions' own */
    listener_accept_leftovers(&plane, NULL);
    listener_close_all(&plane);
    ck_assert_uint_eq(counter_get(&relay.row->sessions_total), 6);
    for (int i = 0; i < 6; i++) {
        close(visitors[i]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("shortages");
    TCase *cases = tcase_create("shortages");
    tcase_add_checked_fixture(cases, setup_pool, teardown_pool);
    tcase_add_loop_test(cases, shortage_ends_the_session_and_is_not_the_backends_failure, 0, 8);
    tcase_add_test(cases, no_local_port_for_one_backend_tries_the_next);
    tcase_add_test(cases, no_local_port_at_all_is_a_failed_connect_of_the_session_alone);
    tcase_add_test(cases, a_refused_connect_is_the_backends_failure);
    tcase_add_test(cases, a_connect_that_cannot_be_watched_is_our_shortage);
    tcase_add_test(cases, a_listening_socket_that_cannot_be_watched_is_tried_again);
    tcase_add_test(cases, everybody_in_a_full_queue_is_accepted_before_it_goes);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
