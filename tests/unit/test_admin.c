/* Admin: the socket file, the protocol and its bounds, and what the commands do, over a real unix
 * socket in a folder of its own. Server and clients share one loop, a real worker has its own. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "control/admin.h"
#include "lua/scripting.h"
#include "suite.h"
#include "worker_control.h"

static struct control control;
static char folder[64], path[96];

/* ---- a plan of one pool and one listener ---- */

static struct backend_config backends[] = {
    {.name = "alpha", .address_text = "127.0.0.1:1", .weight = 1, .address = {.length = 1}},
    {.name = "beta", .address_text = "127.0.0.1:2", .weight = 3, .address = {.length = 1}},
};
static struct pool_config pool_config = {
    .name = "app", .policy = {.name = "least-conn"}, .backend_count = 2, .backends = backends};
static struct bind_config binds[] = {{.text = "127.0.0.1:80"}, {.text = "[::1]:80"}};
static struct listener_config listener_config = {.name = "web", .bind_count = 2, .binds = binds};
static struct snapshot snapshot = {.number = 3,
                                   .file = "test.yaml",
                                   .pool_count = 1,
                                   .listener_count = 1,
                                   .pools = &pool_config,
                                   .listeners = &listener_config};
static struct slot *slots[2];
static struct control_pool pool;
static struct control_listener listener;
static struct control_plan plan;

static void build_plan(void) {
    bool changed;
    pool = (struct control_pool){
        .config = &pool_config, .facts = arena_take_pool(control.arena, "app"), .slots = slots};
    for (int i = 0; i < 2; i++) {
        backends[i].address.any.sa_family = AF_UNIX;
        slots[i] = arena_take_slot(control.arena, pool.facts, backends[i].name,
                                   backends[i].address_text, &changed);
    }
    listener = (struct control_listener){.config = &listener_config,
                                         .facts = arena_take_listener(control.arena, "web")};
    plan = (struct control_plan){.snapshot = &snapshot,
                                 .pool_count = 1,
                                 .listener_count = 1,
                                 .pools = &pool,
                                 .listeners = &listener};
    control.plan = &plan;
    health_switch(control.health, NULL, &plan);
    struct listener_row *row = arena_listener_row(control.arena, listener.facts, 0);
    counter_add(&row->sessions_total, 5);
    counter_add(&row->sessions_closed, 4);
    counter_add(&row->bytes_in, 2048);
    counter_add(&row->ended[REASON_DONE], 4);
}

/* ---- a fake reload ---- */

static struct {
    reload_done *done;
    void *argument;
    uint32_t asked;
} reload;

static void fake_reload(struct control *of, reload_done *done, void *argument) {
    (void)of;
    reload.done = done;
    reload.argument = argument;
    reload.asked++;
}

/* ---- stage ---- */

static bool admin_listen(struct admin *admin, const char *where, char *error, size_t error_bytes) {
    bool ok = admin_prepare(admin, where, NULL, error, error_bytes);
    admin_commit(admin);
    return ok;
}

static void set_up(void) {
    char error[256];
    control = (struct control){.loop = ev_loop_new(EVFLAG_AUTO)};
    control.arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(control.arena);
    arena_use_workers(control.arena, 1);
    ck_assert(mailbox_init(&control.mailbox, control.loop, &control));
    control.health = health_new(&control);
    control.admin = admin_new(&control);
    control.admin->settings.reload = fake_reload;
    memset(&reload, 0, sizeof(reload));
    build_plan();
    strcpy(folder, "/tmp/admin-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/run/admin.sock", folder);
    ck_assert_msg(admin_listen(control.admin, path, error, sizeof(error)), "%s", error);
}

static void tear_down(void) {
    char command[128];
    admin_free(control.admin);
    ck_assert_int_eq(access(path, F_OK), -1); /* it cleans up behind itself */
    health_free(control.health);
    mailbox_close(&control.mailbox);
    arena_free(control.arena);
    ev_loop_destroy(control.loop);
    snprintf(command, sizeof(command), "%s/run", folder);
    rmdir(command);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void on_tick(struct ev_loop *loop, struct ev_timer *timer, int events) {
    (void)loop;
    (void)timer;
    (void)events;
}

/* Clients are not watched by the loop: a tick lets us look at them. */
static void turn(void) {
    struct ev_timer tick;
    ev_timer_init(&tick, on_tick, 0.002, 0);
    ev_timer_start(control.loop, &tick);
    ev_run(control.loop, EVRUN_ONCE);
    ev_timer_stop(control.loop, &tick);
}

#define await(condition)                                                                           \
    do {                                                                                           \
        ev_tstamp until_ = ev_time() + 5;                                                          \
        while (!(condition)) {                                                                     \
            ck_assert_msg(ev_time() < until_, "never: %s", #condition);                            \
            turn();                                                                                \
        }                                                                                          \
    } while (0)

static int client_at(const char *where) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, where);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    return client;
}

static void say(int client, const char *request) {
    ck_assert_int_eq(send(client, request, strlen(request), MSG_NOSIGNAL), strlen(request));
}

static char answer[1 << 16];
static size_t answer_bytes;

/* One look; true at the end of the answer. */
static bool hear_some(int client) {
    ssize_t got = recv(client, answer + answer_bytes, sizeof(answer) - 1 - answer_bytes, 0);
    if (got > 0) {
        answer_bytes += (size_t)got;
        answer[answer_bytes] = '\0';
    }
    return got == 0 || (got < 0 && errno != EAGAIN);
}

static const char *hear(int client) {
    answer_bytes = 0;
    answer[0] = '\0';
    await(hear_some(client));
    close(client);
    return answer;
}

static const char *ask(const char *request) {
    int client = client_at(path);
    say(client, request);
    return hear(client);
}

static void answers(const char *request, const char *expected) {
    ck_assert_str_eq(ask(request), expected);
}

static void contains(const char *part) {
    ck_assert_msg(strstr(answer, part) != NULL, "no '%s' in:\n%s", part, answer);
}

/* ---- the socket file ---- */

START_TEST(only_the_owner_may_connect) {
    struct stat status;
    mode_t before = umask(0); /* nor does it depend on the umask */
    char other[112], error[256];
    snprintf(other, sizeof(other), "%s/run/other.sock", folder);
    ck_assert(admin_listen(control.admin, other, error, sizeof(error)));
    umask(before);
    ck_assert_int_eq(stat(other, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert_int_eq(access(path, F_OK), -1); /* the previous one is gone */
    close(client_at(other));
}
END_TEST

START_TEST(a_live_socket_is_refused_a_stale_one_replaced) {
    char error[256];
    struct admin *second = admin_new(&control);
    ck_assert(!admin_listen(second, path, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, path));
    ck_assert_ptr_nonnull(strstr(error, "in use by a running process"));
    answers("help\n", ask("help\n")); /* the first still answers */
    char stale[112];
    snprintf(stale, sizeof(stale), "%s/run/stale.sock", folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, stale);
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    ck_assert_msg(admin_listen(second, stale, error, sizeof(error)), "%s", error);
    close(client_at(stale));
    admin_free(second);
    ck_assert_int_eq(access(stale, F_OK), -1);
}
END_TEST

START_TEST(what_is_no_socket_is_left_alone) {
    char file[112], error[256], longest[300];
    snprintf(file, sizeof(file), "%s/run/file", folder);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    ck_assert(!admin_listen(control.admin, file, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "exists and is not a socket"));
    ck_assert_int_eq(unlink(file), 0);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ck_assert(!admin_listen(control.admin, longest, error, sizeof(error)));
    ck_assert(!admin_listen(control.admin, "/nowhere/at/all/a.sock", error, sizeof(error)));
    ck_assert_str_eq(error, "/nowhere/at/all/a.sock: No such file or directory");
    ck_assert_str_eq(ask("--json frob\n"),
                     "error\n{\"error\": \"unknown command 'frob'; 'help' lists the commands\"}\n");
}
END_TEST

START_TEST(it_listens_again_where_its_file_was_removed) {
    char error[256];
    ck_assert(
        admin_listen(control.admin, path, error, sizeof(error))); /* the same: nothing to do */
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_msg(admin_listen(control.admin, path, error, sizeof(error)), "%s", error);
    close(client_at(path));
    ck_assert(admin_listen(control.admin, NULL, error, sizeof(error)));
    ck_assert_int_eq(access(path, F_OK), -1); /* off */
}
END_TEST

START_TEST(what_is_prepared_changes_nothing_until_it_is_committed) {
    char next[112], next_folder[112], error[256];
    snprintf(next_folder, sizeof(next_folder), "%s/next", folder);
    snprintf(next, sizeof(next), "%s/next/admin.sock", folder);
    for (int i = 0; i < 2; i++) { /* the second time, what the first prepared is undone */
        ck_assert_msg(admin_prepare(control.admin, next, NULL, error, sizeof(error)), "%s", error);
        ck_assert_int_eq(access(next, F_OK), 0);
        answers("backend list nix\n", "error\nthere is no pool 'nix'\n");
    }
    admin_abort(control.admin);
    ck_assert_int_eq(access(next_folder, F_OK), -1);
    ck_assert(admin_prepare(control.admin, NULL, NULL, error, sizeof(error)));
    admin_abort(control.admin);
    admin_commit(control.admin); /* nothing is prepared */
    answers("backend list nix\n", "error\nthere is no pool 'nix'\n");
    ck_assert(admin_prepare(control.admin, next, NULL, error, sizeof(error)));
    admin_commit(control.admin);
    ck_assert_int_eq(access(path, F_OK), -1);
    close(client_at(next));
    ck_assert(admin_listen(control.admin, NULL, error, sizeof(error)));
    ck_assert_int_eq(rmdir(next_folder), 0); /* made for a socket that was used: it stays */
}
END_TEST

START_TEST(a_folder_made_in_vain_is_removed) {
    char next[112], error[256];
    snprintf(next, sizeof(next), "%s/next/", folder);
    ck_assert(!admin_prepare(control.admin, next, NULL, error, sizeof(error)));
    ck_assert_int_eq(access(next, F_OK), -1);
    answers("backend list nix\n", "error\nthere is no pool 'nix'\n");
}
END_TEST

/* ---- the protocol ---- */

START_TEST(requests_may_end_with_newline_crlf_or_the_input) {
    const char *const requests[] = {"backend list nix\n", "backend list nix\r\n",
                                    "  backend  list nix \nmore", "backend list nix"};
    for (int i = 0; i < 4; i++) {
        int client = client_at(path);
        say(client, requests[i]);
        if (i == 3) {
            shutdown(client, SHUT_WR);
        }
        ck_assert_str_eq(hear(client), "error\nthere is no pool 'nix'\n");
    }
}
END_TEST

START_TEST(requests_may_come_in_pieces) {
    int client = client_at(path);
    for (const char *c = "--json backend list nix\n"; *c != '\0'; c++) {
        ck_assert_int_eq(send(client, c, 1, 0), 1);
        turn();
    }
    ck_assert_str_eq(hear(client), "error\n{\"error\": \"there is no pool 'nix'\"}\n");
}
END_TEST

START_TEST(garbage_is_refused) {
    answers("\n", "error\nno command; 'help' lists the commands\n");
    answers("--json\n", "error\n{\"error\": \"no command; 'help' lists the commands\"}\n");
    answers("status\x01\n", "error\nthe request holds control characters\n");
    answers("a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q "
            "r s t "
            "u v w x y z a b c d e f\n",
            "error\ntoo many words; 'help' lists the commands\n");
    answers("backend weight app/alpha -1\n",
            "error\na weight is a whole number from 0 to 1000000\n");
    answers("backend weight app/alpha 99999999999999999999\n",
            "error\na weight is a whole number from 0 to 1000000\n");
    answers("backend drain alpha\n", "error\na backend is written POOL/NAME\n");
    answers("backend drain app/\n", "error\na backend is written POOL/NAME\n");
    answers("backend drain app/alpa\n",
            "error\nthere is no backend 'alpa'; did you mean 'alpha'?\n");
    answers("backend drain appp/alpha\n", "error\nthere is no pool 'appp'; did you mean 'app'?\n");
    answers("session kill 1x\n", "error\na session's ID is a number; 'session list' shows it\n");
    int client = client_at(path); /* a NUL does not hide what follows */
    ck_assert_int_eq(send(client, "status\0reload\n", 14, 0), 14);
    ck_assert_str_eq(hear(client), "error\nthe request holds control characters\n");
}
END_TEST

START_TEST(oversize_is_refused) {
    char most[4096];
    memset(most, ' ', sizeof(most));
    memcpy(most, "backend list nix", 16);
    most[4095] = '\n'; /* just fits */
    int client = client_at(path);
    ck_assert_int_eq(send(client, most, sizeof(most), 0), sizeof(most));
    ck_assert_str_eq(hear(client), "error\nthere is no pool 'nix'\n");
    most[4095] = ' ';
    client = client_at(path);
    ck_assert_int_eq(send(client, most, sizeof(most), 0), sizeof(most));
    ck_assert_str_eq(hear(client), "error\nthe request is longer than 4096 bytes\n");
}
END_TEST

START_TEST(slow_and_silent_ones_are_ended) {
    control.admin->settings.request_s = 0.05;
    int client = client_at(path), leaver = client_at(path);
    close(leaver); /* came, said nothing, went */
    say(client, "stat");
    ck_assert_str_eq(hear(client), "error\nthe request was not complete in time\n");
    await(control.admin->connection_count == 0);
}
END_TEST

START_TEST(connections_are_bounded) {
    int clients[3];
    control.admin->settings.max_connections = 2;
    for (int i = 0; i < 3; i++) {
        clients[i] = client_at(path);
    }
    ck_assert_str_eq(hear(clients[2]), "error\ntoo many connections to the admin socket\n");
    ck_assert_uint_eq(control.admin->connection_count, 2);
    close(clients[0]);
    await(control.admin->connection_count == 1);
    say(clients[1], "backend list nix\n");
    ck_assert_str_eq(hear(clients[1]), "error\nthere is no pool 'nix'\n");
}
END_TEST

START_TEST(without_descriptors_it_pauses_and_comes_back) {
    struct rlimit limit, none;
    int client = client_at(path);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    await(ev_is_active(&control.admin->pause));
    ck_assert(!ev_is_active(&control.admin->accept)); /* it does not spin */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    say(client, "backend list nix\n");
    ck_assert_str_eq(hear(client), "error\nthere is no pool 'nix'\n");
}
END_TEST

START_TEST(who_does_not_take_its_answer_is_ended) {
    static char longest[1 << 20];
    char *file = snapshot.file;
    size_t taken = 0;
    ssize_t got;
    memset(longest, 'x', sizeof(longest) - 1);
    snapshot.file = longest; /* a status that no socket's buffer holds */
    for (int patient = 0; patient < 2; patient++) {
        control.admin->settings.answer_s = patient ? 30 : 0.1;
        int client = client_at(path);
        say(client, "--json status\n");
        if (patient) { /* takes all while the server goes on writing */
            for (taken = 0; (got = recv(client, answer, sizeof(answer), 0)) != 0;) {
                taken += got > 0 ? (size_t)got : 0;
                turn();
            }
            ck_assert_uint_gt(taken, sizeof(longest));
        } else {
            await(control.admin->connection_count == 1);
            await(control.admin->connection_count == 0);
            while ((got = recv(client, answer, sizeof(answer), 0)) > 0) {
                taken += (size_t)got;
            }
            ck_assert_uint_gt(taken, 0);
            ck_assert_uint_lt(taken, sizeof(longest));
        }
        close(client);
    }
    snapshot.file = file;
}
END_TEST

/* ---- commands ---- */

START_TEST(status_and_stats) {
    ask("status\n");
    contains("ok\nversion            " ALACRITY_VERSION "\n");
    contains("\nfile               test.yaml\n");
    contains("\nweb       127.0.0.1:80, [::1]:80  app   -      -               1      5\n");
    contains("\napp   least-conn         2         2         0      0\n");
    ask("--json status\n");
    contains("ok\n{\"version\": \"" ALACRITY_VERSION "\", \"pid\": ");
    contains("\"configuration\": 3, \"file\": \"test.yaml\", ");
    contains("\"draining\": false, \"watchdog\": \"count hook, no JIT\", \"reloads_total\": 0, "
             "\"reloads_failed\": 0, \"log_dropped\": ");
    contains("\"workers\": []");
    contains("{\"name\": \"web\", \"bind\": \"127.0.0.1:80, [::1]:80\", \"pool\": \"app\", "
             "\"route\": null, \"service\": null, \"sessions_active\": 1, \"sessions_total\": 5}");
    ask("stats\n");
    contains("\nweb              1      5  2.0 KiB  0 B\n");
    contains("\nweb       done          4\n");
    ask("--json stats\n");
    contains("{\"name\": \"web\", \"sessions_active\": 1, \"sessions_total\": 5, "
             "\"bytes_in_total\": 2048, \"bytes_out_total\": 0}");
    contains("{\"listener\": \"web\", \"reason\": \"done\", \"sessions\": 4}");
}
END_TEST

START_TEST(backends_are_listed_and_changed) {
    answers("backend drain app/alpha\n", "ok\napp/alpha: drain; 0 sessions open\n");
    ck_assert_int_eq(slot_state(slots[0]), STATE_DRAIN);
    answers("backend maint app/beta\n", "ok\napp/beta: maint; 0 sessions open\n");
    answers("--json backend weight app/beta 7\n",
            "ok\n{\"message\": \"app/beta: weight 7 (configured: 3)\"}\n");
    ck_assert_uint_eq(slots[1]->script.view.weight, 7);
    ask("--json backend list app\n");
    contains("ok\n{\"backends\": [\n{\"pool\": \"app\", \"name\": \"alpha\", \"address\": "
             "\"127.0.0.1:1\", \"state\": \"drain\", \"admin\": \"drain\", \"eligible\": false, "
             "\"weight\": 1, \"configured_weight\": 1, \"active\": 0");
    contains("\"reason\": \"administrator: maint\"");
    answers("backend ready app/alpha\n", "ok\napp/alpha: up; 0 sessions open\n");
    ask("backend list\n");
    contains("\napp   alpha    127.0.0.1:1  up ");
}
END_TEST

START_TEST(a_reload_is_answered_when_it_is_done) {
    int first = client_at(path), second = client_at(path);
    say(first, "reload\n");
    await(reload.asked == 1);
    reload.done(reload.argument, false, "a.yaml:1:2: wrong\nb.lua:3: worse\n");
    ck_assert_str_eq(hear(first), "error\na.yaml:1:2: wrong\nb.lua:3: worse\n");
    say(second, "--json reload\n");
    await(reload.asked == 2);
    reload.done(reload.argument, true, "configuration 4 is live");
    ck_assert_str_eq(hear(second), "ok\n{\"message\": \"configuration 4 is live\"}\n");
}
END_TEST

START_TEST(a_reload_outlives_who_asked_for_it) {
    int client = client_at(path);
    say(client, "reload\n");
    await(reload.asked == 1);
    close(client);
    turn();
    reload.done(reload.argument, true, "configuration 4 is live"); /* nobody there: no harm */
    await(control.admin->connection_count == 0);
    client = client_at(path);
    say(client, "reload\n");
    await(reload.asked == 2);
    admin_free(control.admin); /* the balancer stops */
    reload.done(reload.argument, false, "the balancer has stopped");
    control.admin = admin_new(&control);
    close(client);
}
END_TEST

/* ---- sessions, which only workers know ---- */

static void ignore_plan(void *argument, struct worker_plan *unused) {
    (void)argument;
    (void)unused;
}

static void ignore_worker(void *argument, struct worker *unused) {
    (void)argument;
    (void)unused;
}

static void ignore_slot(void *argument, struct slot *unused) {
    (void)argument;
    (void)unused;
}

static struct worker *workers[1];

static void start_worker(void) {
    const struct worker_events events = {.plan_unused = ignore_plan,
                                         .plan_taken = ignore_worker,
                                         .suspect = ignore_slot,
                                         .drained = ignore_worker};
    workers[0] = worker_start(0, control.arena, &events);
    ck_assert_ptr_nonnull(workers[0]);
    control.workers = workers;
    control.worker_count = 1;
}

START_TEST(workers_are_asked_for_sessions) {
    start_worker();
    answers("--json session list\n",
            "ok\n{\"sessions_active\": 0, \"sessions_listed\": 0, \"sessions\": []}\n");
    answers("session kill 5\n", "error\nthere is no such session\n");
    answers("session kill 0\n", "error\nthere is no such session\n");
    answers("session kill 18446744073709551615\n", "error\nthere is no such session\n");
    ask("status\n");
    contains("\n     0         0 ");
    worker_stop(workers[0]);
    control.worker_count = 0;
}
END_TEST

static void stall(struct mail *mail, void *owner) {
    (void)owner;
    int *gate = *(int **)(void *)(mail + 1);
    char byte;
    ck_assert_int_eq(read(gate[0], &byte, 1), 1);
}

START_TEST(a_worker_that_hangs_does_not_hang_the_asker) {
    struct {
        struct mail mail;
        int *gate;
    } blocker = {.mail = {.deliver = stall}};
    int gate[2];
    ck_assert_int_eq(pipe(gate), 0);
    blocker.gate = gate;
    start_worker();
    control.admin->settings.inquiry_s = 0.05;
    worker_post(workers[0], &blocker.mail);
    answers("session list\n", "error\na worker did not answer in time\n");
    ck_assert_int_eq(write(gate[1], "x", 1), 1);
    worker_stop(workers[0]); /* its late answer is delivered, and nobody minds */
    control.worker_count = 0;
    mailbox_close(&control.mailbox);
    ck_assert(mailbox_init(&control.mailbox, control.loop, &control));
    close(gate[0]);
    close(gate[1]);
}
END_TEST

/* ---- consoles ---- */

/* Whatever came until the server ended the connection. */
static void hear_end(int client) {
    ssize_t got;
    do {
        got = recv(client, answer, sizeof(answer), MSG_DONTWAIT);
        turn();
    } while (got > 0 || (got < 0 && errno == EAGAIN));
    close(client);
}

START_TEST(a_console_has_its_bounds) {
    struct consoles *consoles = &control.admin->consoles;
    atomic_init(&snapshot.references, 1);
    consoles->settings.idle_s = 0.1;
    int client = client_at(path);
    say(client, "console\n3\n1+1"); /* and not one text more */
    await(consoles->client_count == 1);
    ck_assert_uint_eq(control.admin->connection_count, 0);
    hear_end(client);
    ck_assert_uint_eq(consoles->client_count, 0);

    consoles->settings.idle_s = 30;
    consoles->settings.answer_s = 0.1;
    client = client_at(path); /* takes no answer: more than a socket's buffer holds */
    say(client, "console\n");
    for (int i = 0; i < 20; i++) {
        say(client, "24\n('x'):rep(200000) -- ...");
    }
    await(consoles->client_count == 1);
    await(consoles->client_count == 0);
    close(client);

    consoles->settings.max_clients = 1;
    client = client_at(path);
    say(client, "console\n");
    await(consoles->client_count == 1);
    answers("console\n", "error\nthere are 1 consoles already: end one\n");
    control.plan = NULL;
    consoles->settings.max_clients = 2;
    answers("--json console\n", "error\n{\"error\": \"there is no configuration yet\"}\n");
    control.plan = &plan;
    /* admin_free ends the one that is left, which gives its snapshot back. */
    consoles_close(consoles);
    ck_assert_uint_eq(atomic_load(&snapshot.references), 1);
    close(client);
}
END_TEST

/* ---- the command line ---- */

START_TEST(the_command_line_says_how_it_went) {
    char *unknown[] = {"alacrity", "backend", "explode", NULL};
    char *option[] = {"alacrity", "status", "--frob", NULL};
    char *nobody[] = {"alacrity", "--socket", "/nowhere/a.sock", "status", NULL};
    char *two_words[] = {"alacrity", "backend", "drain", "a b", "--socket", path, NULL};
    ck_assert_int_eq(client_main(3, unknown), 2);
    ck_assert_int_eq(client_main(3, option), 2);
    ck_assert_int_eq(client_main(4, nobody), 3);
    ck_assert_int_eq(client_main(6, two_words), 2);
    ck_assert_int_eq(setenv("ALACRITY_SOCKET", "/nowhere/b.sock", 1), 0);
    char *by_environment[] = {"alacrity", "status", NULL};
    ck_assert_int_eq(client_main(2, by_environment), 3);
}
END_TEST

int main(void) {
    scripting = scripting_table();
    Suite *suite = suite_create("admin");
    TCase *cases = tcase_create("admin");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, only_the_owner_may_connect);
    tcase_add_test(cases, a_live_socket_is_refused_a_stale_one_replaced);
    tcase_add_test(cases, what_is_no_socket_is_left_alone);
    tcase_add_test(cases, it_listens_again_where_its_file_was_removed);
    tcase_add_test(cases, what_is_prepared_changes_nothing_until_it_is_committed);
    tcase_add_test(cases, a_folder_made_in_vain_is_removed);
    tcase_add_test(cases, requests_may_end_with_newline_crlf_or_the_input);
    tcase_add_test(cases, requests_may_come_in_pieces);
    tcase_add_test(cases, garbage_is_refused);
    tcase_add_test(cases, oversize_is_refused);
    tcase_add_test(cases, slow_and_silent_ones_are_ended);
    tcase_add_test(cases, connections_are_bounded);
    tcase_add_test(cases, without_descriptors_it_pauses_and_comes_back);
    tcase_add_test(cases, who_does_not_take_its_answer_is_ended);
    tcase_add_test(cases, status_and_stats);
    tcase_add_test(cases, backends_are_listed_and_changed);
    tcase_add_test(cases, a_reload_is_answered_when_it_is_done);
    tcase_add_test(cases, a_reload_outlives_who_asked_for_it);
    tcase_add_test(cases, workers_are_asked_for_sessions);
    tcase_add_test(cases, a_worker_that_hangs_does_not_hang_the_asker);
    tcase_add_test(cases, a_console_has_its_bounds);
    tcase_add_test(cases, the_command_line_says_how_it_went);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
