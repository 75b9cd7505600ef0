/* Test: runs one file of tests (`alacrity test`). The file is a script in a host of its own, as
 * control has one; each case is a run in it (run.h), in a world made up (fake.h).
 *
 * A case never calls into the scripts it tests: it leaves a request and yields, the driver (test.c)
 * serves the request from outside, guarded like in the balancer, and resumes the case. So a policy
 * has its own state, budget and watchdog here as there. */
#ifndef LUA_TEST_H
#define LUA_TEST_H

#include "base/text.h"
#include "base/values.h"
#include "config/region.h"
#include "core/scripting.h"
#include "lua/fake.h"
#include "offline/testing.h"
#include "pool/view.h"

#define TEST_BACKENDS 1024 /* in one pool */
#define TEST_ZONES 64      /* in one file */

struct test_file;

/* What the case asks the driver for. */
enum request_kind {
    REQUEST_NONE,
    REQUEST_ADVANCE,
    REQUEST_POLICY,
    REQUEST_PICK,
    REQUEST_CLOSE,
    REQUEST_CHECK,
    REQUEST_RUN,
    REQUEST_ROUTE,
    REQUEST_ROUTED
};

/* Written by a function the case called, which then yields. */
struct test_request {
    enum request_kind kind;
    struct script_use use;      /* POLICY, CHECK, ROUTE; its memory is the scope's */
    struct test_pool *pool;     /* POLICY, RUN */
    struct test_policy *policy; /* PICK, CLOSE */
    struct test_check *check;   /* RUN */
    struct test_route *route;   /* ROUTED */
    /* PICK, CLOSE, ROUTED */
    uint32_t times; /* 0: once, and tell which; else count */
    struct alacrity_ctx_private ctx;
    char client[ALACRITY_ADDRESS_BYTES], listener[ALACRITY_NAME_BYTES];
    uint32_t tried[VIEW_TRIED_MAX], tried_count;
    struct values values; /* PICK, CLOSE, ROUTED */
    struct alacrity_closed_private closed;
    double until; /* ADVANCE */
    /* RUN, ROUTED */
    struct slot *slot;
    uint32_t timeout_ms;
};

/* What the driver says to it: `ok`, then what was asked for; else `text` says what is wrong. */
struct test_answer {
    bool ok, fatal;         /* fatal: an error to raise, not an answer of the script */
    uint32_t id;            /* POLICY, CHECK, ROUTE: of what was made */
    struct text text, info; /* ROUTED: a word, and the pool or why */
    uint32_t counts[TEST_BACKENDS], nobody; /* PICK, counted */
};

/* Pools and policies live as long as what made them: a case, or the file (case 0). */
struct test_pool {
    struct test_pool *next;
    uint32_t id, of_case;
    struct pool_facts *facts;
    uint32_t count;
    struct slot *slots[TEST_BACKENDS];
    struct pool_view view;
    uint32_t zone_code; /* where the balancer stands */
    bool dirty;         /* other backends than the view was made for */
};

struct test_policy {
    struct test_policy *next;
    uint32_t id, of_case;
    struct test_pool *pool;
    struct pool_config config;
    struct script_host *host; /* NULL: to be made again */
    struct policy *policy;
};

/* Lives as long as the file, as what the host keeps of it does. */
struct test_check {
    struct test_check *next;
    uint32_t id, of_case;
    struct pool_config config;
    struct check *check;
};

struct test_route {
    struct test_route *next;
    uint32_t id, of_case;
    struct listener_config config;
    struct route *route;
};

/* What the client of a session that is routed sends. */
struct test_client {
    char *bytes; /* PEEK_BYTES_MAX at most */
    uint32_t length, arrived, wanted;
    double pause; /* before each byte; 0: all come at once */
    bool ends, ended;
    struct ev_timer timer; /* the next byte, or what is wanted is there */
    struct route_run *run;
    bool done;
};

/* The file while it loads, a case, or a server a check talks to. */
struct test_run {
    struct run run; /* first */
    struct test_file *file;
    struct test_run *next_server;
    int function_ref; /* registry */
    uint32_t number;  /* of the server's connection */
};

struct test_case {
    struct test_case *next;
    char *name;
    int function_ref;
};

struct test_file {
    const struct test_settings *settings;
    struct snapshot snapshot; /* the caller's, and the zones and tags of this file */
    struct zone_config zones[TEST_ZONES];
    struct tag_config tags[SNAPSHOT_TAGS_MAX];
    struct fake fake;
    struct ev_loop *loop; /* marks the host as control's; never runs */
    struct arena *arena;
    struct script_host *host; /* of the test's state and the checks' */
    struct script *script;
    struct region memory, case_memory; /* of the file; of the case that runs */
    struct test_case *cases, *last_case;
    uint32_t case_number; /* of the one that runs; 0 = the file is loaded */
    uint32_t next_id;
    struct test_pool *pools;
    struct test_policy *policies;
    struct test_check *checks;
    struct test_route *routes;
    struct test_run *current; /* case, or file; NULL = it has ended */
    bool passed;              /* how */
    bool returned_table;      /* the file did, as a policy or a check would */
    bool lost;                /* the test's state was stopped: nothing of it may be touched */
    struct text message;      /* why it did not pass */
    struct test_request request;
    struct test_answer answer;
    /* A check that runs. */
    struct check_run *check_run;
    bool check_done;
    struct test_run *servers;
    int server_ref; /* LUA_NOREF = none */
    uint32_t connections;
    struct text server_error;
    struct test_client client; /* of a route that runs */
    struct text timer_error;   /* the first of timers that the case has not been told of */
};

/* As the member of struct scripting. */
void test_file_run(const struct snapshot *snapshot, const struct test_settings *settings);

/* Has a script that was stopped made anew at once, on the same thread. */
extern const struct script_post test_post;
/* The region of what is made now. */
struct region *test_memory(struct test_file *file);
/* For native functions: their file; the line of the test that called the library. */
struct test_file *test_file_of(lua_State *lua);
struct position test_position(lua_State *lua, const struct test_file *file);
/* nil and what is wrong. */
int test_refuse(lua_State *lua, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Leaves the request to the driver. Fails when it is not the case itself that calls. */
int test_ask(lua_State *lua, struct test_file *file, enum request_kind kind);
/* Driver: writes the answer; `text` formatted. */
void test_fail(struct test_file *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Lets what is due next happen, in the file's world or in a policy. False: nothing ever will. */
bool test_step(struct test_file *file) __attribute__((warn_unused_result));
/* The instance ends what it does later. */
void test_stop_timers(const void *instance);
/* The first message, without its line's end; "out of memory" when there is none. */
void test_fail_messages(struct test_file *file, struct messages *messages);

/* test_value.c: what the test wrote as script and options: path at `at`, table at `at` + 1 or nil.
 * False: nil and a message are pushed. */
bool test_use(lua_State *lua, struct test_file *file, struct region *memory, int at,
              struct script_use *out);

/* test_labels.c: the code of the zone named at `at`, and the bits of the tags listed there; 0 =
 * none. False: nil and a message are pushed. */
bool test_zone(lua_State *lua, struct test_file *file, int at, uint32_t *code);
bool test_tags(lua_State *lua, struct test_file *file, int at, uint32_t *bits);

/* test_pool.c */
void test_pool_functions(lua_State *lua, struct test_file *file); /* into the table on top */
struct test_pool *test_pool_find(struct test_file *file, lua_State *lua, int at);
struct slot *test_pool_slot(const struct test_pool *pool, const char *name);
void test_pools_free(struct test_file *file, uint32_t of_case); /* and their policies */

/* test_policy.c */
void test_policy_functions(lua_State *lua, struct test_file *file);
void test_policy_serve(struct test_file *file); /* POLICY, PICK, CLOSE */
/* What the session keeps now, as a table. */
void test_push_values(lua_State *lua, const struct test_file *file);
/* What the session keeps, from the table at `at`, or nil. False: nil and a message are pushed. */
bool test_read_values(lua_State *lua, struct test_request *request, int at);
/* Who the client is, and where it came in: the address at `at`, then port and listener's name.
 * False: nil and a message are pushed. */
bool test_read_session(lua_State *lua, struct test_request *request, int at);
void test_policies_free(struct test_file *file, uint32_t of_case);
/* The one of them with the timer that is due first, and when; NULL: none has any. */
struct test_policy *test_policy_due(const struct test_file *file, double *due);

/* test_check.c */
void test_check_functions(lua_State *lua, struct test_file *file);
/* CHECK, RUN. False: it is not over, the world must move on. */
bool test_check_serve(struct test_file *file);
void test_checks_free(struct test_file *file);
/* Ends the timers of those the case made. */
void test_checks_stop_timers(const struct test_file *file, uint32_t of_case);
/* The run of a check and its servers, if any still is. */
void test_check_stop(struct test_file *file);
/* What awaits connections, as arguments of the test: seconds, a function or a word. False: nil and
 * a message are pushed. */
bool test_server(lua_State *lua, struct test_file *file, int connect, int server);
void test_servers_begin(struct test_file *file);
/* What they still do at this very moment belongs to it; then they end. True: none failed. */
bool test_servers_end(struct test_file *file);

/* test_route.c */
void test_route_functions(lua_State *lua, struct test_file *file);
bool test_route_serve(struct test_file *file); /* ROUTE, ROUTED; as test_check_serve */
void test_routes_free(struct test_file *file);
void test_routes_stop_timers(const struct test_file *file, uint32_t of_case);
void test_route_stop(struct test_file *file);

#endif
