/* The one way from the core to scripts: a table of functions that lua/ fills and main.c hands in.
 * No file of core/ includes lua.h. Each function names its thread.
 *
 * A host holds the Lua states of one thread for one configuration. It is built on the builder
 * thread, handed over whole, and returned to the builder to be freed. Nothing a script does makes
 * these functions fail the process: errors come back as values and counters. */
#ifndef SCRIPTING_H
#define SCRIPTING_H

#include <ev.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "alacrity/script.h"
#include "base/mailbox.h"
#include "base/messages.h"
#include "config/snapshot.h"
#include "pool/view.h"

/* A mail of lua/'s that goes from the owner of a host to the builder, and back. Core carries it. */
struct script_mail {
    struct mail mail;                             /* core's */
    uint32_t owner;                               /* a worker's index, or ARENA_CONTROL_ROW */
    void (*at_builder)(struct script_mail *mail); /* builder */
    /* The owner's thread; if that has ended, control, after it gave its host up. */
    void (*at_owner)(struct script_mail *mail);
};
/* How such a mail is posted, by the owner's thread. Cannot fail. */
struct script_post {
    void *argument;
    void (*post)(void *argument, struct script_mail *mail);
};

/* What snapshot() of a policy left for the next version of it: bytes that only lua/ reads. */
struct carry {
    struct carry *next;
    char *pool;   /* whose policy it was; core's */
    char *script; /* name of the module, as the script states it: only a script of that name gets it
                   */
    size_t length;
    char bytes[];
};

struct script_host;
struct policy;        /* one policy instance: one pool on one worker */
struct check;         /* one check instance: one pool, on control */
struct test_settings; /* offline/testing.h */
struct console;       /* one administrator's, on control */
struct service;       /* one service instance: one listener, on control */
struct route;         /* one route instance: one listener on one worker */

enum pick_answer {
    PICK_BACKEND, /* *slot is set */
    PICK_NIL,     /* the policy said: nobody */
    PICK_ERROR,   /* it raised an error (logged and counted by lua/) */
    PICK_BAD,     /* it answered something that is not an eligible backend */
    PICK_STOPPED, /* it used up its budget and was stopped; its state is made anew */
    PICK_RESTING, /* not asked: its state is being made anew */
    PICK_OUT,     /* not asked: it was stopped too often, until a new version is published */
};

enum policy_told {
    TOLD,
    TOLD_ERROR,   /* it raised an error (logged and counted by lua/) */
    TOLD_STOPPED, /* it used up its budget and was stopped; its state is made anew */
    TOLD_NOBODY,  /* not told: its state is being made anew, or it was stopped too often */
};

enum check_answer { CHECK_UP, CHECK_DOWN, CHECK_DRAIN, CHECK_ERROR /* script error, nonsense */ };

/* Control. Called once per started check, unless cancelled. `info` lives during the call. */
typedef void check_done(void *argument, enum check_answer answer, const char *info);

/* One HTTP request as a service script sees it. All strings live until service_done is called. */
struct service_request {
    const char *method, *path, *query; /* path decoded? no: as sent, without the query; "" = none */
    const char *client;                /* peer's address */
    uint32_t header_count;
    const char *const *header_names, *const *header_values; /* names in lower case */
    const char *body;
    size_t body_bytes;
};
/* Control. status 0 = the script failed (answer 500). Strings live during the call. */
typedef void service_done(void *argument, uint32_t status, const char *content_type,
                          const char *body, size_t body_bytes);

enum route_answer {
    ROUTE_POOL,    /* the pool chosen last */
    ROUTE_NONE,    /* it chose nothing */
    ROUTE_REJECT,  /* it wants the session ended; `why` */
    ROUTE_ERROR,   /* it raised an error, or answered nonsense (logged and counted by lua/) */
    ROUTE_TIMEOUT, /* it took too long */
    ROUTE_STOPPED, /* its state was lost, through it or another script in it */
    ROUTE_RESTING, /* not asked: its state is being made anew */
    ROUTE_OUT,     /* not asked: it was stopped too often, until a new version is published */
};
/* Worker. Once for each route_start, unless cancelled. `why` ("" = nothing) lives during the call.
 * Called from the middle of things: it may only take note. */
typedef void route_done(void *argument, enum route_answer answer, const char *why);

#define PEEK_BYTES_MAX 16384u /* a route may look at */
/* What the client has sent so far. */
struct peeked {
    const char *bytes; /* until the next of them come */
    uint32_t length;
    bool ended; /* no more will come */
};

/* What a route is asked about, and how it sees what the client sends. */
struct route_order {
    const struct alacrity_ctx_private *ctx; /* read during route_start; what it refers to copied */
    uint32_t timeout_ms;                    /* 0 = none */
    void *argument;                         /* of the functions */
    struct peeked (*look)(void *argument);
    /* From now on route_ready is due once, when so many bytes are there or the client ended. 0: no
     * more. Calls nothing back. */
    void (*want)(void *argument, uint32_t bytes);
    bool (*choose)(void *argument, const char *pool); /* false: there is none of that name */
    route_done *done;
};

/* What came of a text given to a console. */
enum console_answer {
    CONSOLE_OK,
    CONSOLE_ERROR,
    CONSOLE_INCOMPLETE, /* more of it is needed: nothing was done */
};

/* What a script made of itself, for status and stats. */
struct script_info {
    const char *kind, *name, *path; /* path NULL = stock */
    const char *listener;           /* of a route; else NULL */
    uint64_t version;               /* configuration number it was built for */
    uint64_t calls, errors, overruns;
    const char *state;     /* "running", "rebuilding", "out" */
    uint64_t memory_bytes; /* of its Lua state */
    char last_error[256];
};

/* What a policy is made of. */
struct policy_order {
    const struct script_use *use; /* lives as long as the host */
    /* What it is asked over; nobody else uses it while the policy is made. */
    struct pool_view *view;
    bool shadow;               /* until its host is started: the log says so */
    bool owns_view;            /* it becomes the policy's, with the memory of malloc it stands in */
    const struct carry *carry; /* NULL: there is none */
};

struct scripting {
    /* Main thread, once, before any other starts: proves that a script that never ends can be
     * stopped here. False: it cannot (reason); scripts then run without JIT, under a count hook. */
    bool (*watchdog_open)(char *reason, size_t reason_bytes);
    /* Any thread, afterwards: was it proven? */
    bool (*watchdog_is_proven)(void);
    /* Starts a thread on which scripts may run and can be stopped. 0 or errno. */
    int (*thread_start)(pthread_t *thread, void *(*run)(void *argument), void *argument);

    /* Any thread, once at start: compares struct layouts with the cdef. False: error text. */
    bool (*self_test)(char *error, size_t error_bytes);

    /* Builder. `loop` is the loop of the thread the host is for (control; NULL for workers): it is
     * only stored. `post` lives as long as the process; NULL: a stopped script stays out. `owner`:
     * see script_mail. */
    struct script_host *(*host_new)(const struct snapshot *snapshot, struct arena *arena,
                                    struct ev_loop *loop, const struct script_post *post,
                                    uint32_t owner, struct messages *messages);
    /* Before the first script of the host is made: its alacrity.now() answers now(), and its
     * math.random begins with the seed (0: as ever). For tools that make time up. */
    void (*host_virtual)(struct script_host *host, double (*now)(void), double seed);
    /* The owner's thread, for such tools. When the first of its scripts' timers is due, by now();
     * INFINITY: none is. And that one's turn, once now() is there; TOLD_NOBODY: there was none. */
    double (*host_due)(const struct script_host *host);
    enum policy_told (*host_turn)(struct script_host *host);
    /* The owner's thread: the host is in use from now on. Until then, in trials and as shadows, its
     * scripts may look at what is shared, but what they change is only answered, not done.
     * `loop` is the thread's, for what scripts do later; NULL: that never happens, but in virtual
     * hosts, by host_turn. */
    void (*host_start)(struct script_host *host, struct ev_loop *loop);
    /* The owner's thread: another host took over. It may still be asked, but does nothing of itself
     * any more. */
    void (*host_stop)(struct script_host *host);
    /* The owner's thread, before it hands the host back to be freed. */
    void (*host_retire)(struct script_host *host);
    void (*host_free)(struct script_host *host);

    /* Builder: compile, validate options against the script's schema, construct, and (policy) one
     * trial pick. NULL: messages, each with file:line. */
    struct policy *(*policy_new)(struct script_host *host, const struct policy_order *order,
                                 struct messages *messages);
    /* Any thread. The text of a stock policy, which ends with NUL, too. NULL: there is none. */
    const char *(*policy_text)(const char *name, size_t *length);
    /* Builder: loads the policy for nothing but the name it gives itself. False: messages. */
    bool (*policy_name)(struct script_host *host, const struct script_use *use, char *out,
                        size_t bytes, struct messages *messages);
    struct check *(*check_new)(struct script_host *host, const struct pool_config *pool,
                               struct messages *messages);
    struct service *(*service_new)(struct script_host *host, const struct listener_config *listener,
                                   struct messages *messages);

    /* Worker. What the next version shall know: memory of malloc, `pool` left empty. NULL: nothing
     * (no snapshot(), or it failed: logged and counted). */
    struct carry *(*policy_snapshot)(struct policy *policy);
    /* Worker. The view was prepared. Never yields, never fails the session. */
    enum pick_answer (*policy_pick)(struct policy *policy, const struct alacrity_ctx_private *ctx,
                                    struct slot **slot);

    /* Worker. What the policy said when it last answered nil, or what its last bad answer was; "" =
     * nothing. Until it is asked again. */
    const char *(*policy_reason)(const struct policy *policy);

    /* Builder, of a policy just made: has it an on_close, which is to be told of sessions' ends? */
    bool (*policy_hears)(const struct policy *policy);
    /* Worker. Never yields. */
    enum policy_told (*policy_closed)(struct policy *policy,
                                      const struct alacrity_closed_private *closed);

    /* Control. `done` may be called before check_start returns. Everything the check opened is
     * closed when it ends, by itself, by the deadline (answer CHECK_DOWN, "timeout") or by cancel.
     * The running check is its own object so that a pool's check may run on many backends at once.
     */
    struct check_run *(*check_start)(struct check *check, const struct slot *slot,
                                     const struct address *address, uint32_t timeout_ms,
                                     check_done *done, void *argument);
    void (*check_cancel)(struct check_run *run); /* done will not be called */
    /* Control. It will not answer any more: its script was stopped too often, or could not be made
     * anew. Never taken back. */
    bool (*check_is_out)(const struct check *check);

    /* Control. As check_start; the deadline answers status 0. */
    struct service_run *(*service_start)(struct service *service,
                                         const struct service_request *request, uint32_t timeout_ms,
                                         service_done *done, void *argument);
    void (*service_cancel)(struct service_run *run);

    /* Builder. As the others: nothing is asked for a trial. */
    struct route *(*route_new)(struct script_host *host, const struct listener_config *listener,
                               struct messages *messages);
    /* Worker. Everything the run opened is closed when it ends, by itself, by the deadline or by
     * cancel. `done` may be called before this returns; what it returns is only a number then. */
    struct route_run *(*route_start)(struct route *route, const struct route_order *order);
    void (*route_ready)(struct route_run *run);                /* see `want` */
    void (*route_cancel)(struct route_run *run);               /* done will not be called */
    uint64_t (*route_memory_bytes)(const struct route *route); /* see policy_memory_bytes */

    /* Worker. Another took its place, though its host goes on: it does nothing of itself any more.
     */
    void (*policy_stop)(struct policy *policy);

    /* The thread that owns the host. Memory in use, of one policy's state (stock policies share
     * one) and of all states; 0 while they are being made anew. */
    uint64_t (*policy_memory_bytes)(const struct policy *policy);
    uint64_t (*host_memory_bytes)(const struct script_host *host);

    /* The thread that owns the host. Which-th script; false past the last. */
    bool (*host_script)(struct script_host *host, uint32_t index, struct script_info *info);

    /* Control. A console: evaluates texts in a state of its own, which can look at everything the
     * facts tell and change nothing. The snapshot's limits hold for it; a reference is kept. NULL:
     * error. */
    struct console *(*console_new)(struct snapshot *snapshot, struct arena *arena, char *error,
                                   size_t error_bytes);
    /* Control. Appends values as text or JSON, or what is wrong. One that must be stopped costs the
     * console its variables. */
    enum console_answer (*console_evaluate)(struct console *console, const char *text,
                                            size_t length, bool json, struct text *out);
    void (*console_free)(struct console *console);

    /* Command line, on a thread begun with thread_start: runs one file of tests. */
    void (*test_file)(const struct snapshot *snapshot, const struct test_settings *settings);
};

/* Filled by lua/ (lua/scripting.c), set by main.c before any thread starts; never changes. */
extern const struct scripting *scripting;

#endif
