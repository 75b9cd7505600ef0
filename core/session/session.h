/* Session: one accepted connection and, once dialled, its backend connection: two equal sides.
 * All of core/session runs on the worker that accepted; nothing here is shared but what
 * core/pool/slot.h marks as atomic.
 *
 * The walk: listener_on_accept -> session_open -> (route_begin ... route_settle)
 *           -> dial_next (policy pick) -> dial_on_ready
 *           -> relay_on_ready -> session_close(reason)
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/list.h"
#include "base/slab.h"
#include "base/values.h"
#include "session/plan.h"
#include "session/turn.h"

enum session_state {
    SESSION_ROUTING,  /* the listener's route script is asked for a pool */
    SESSION_ROUTED,   /* it has answered: carried out at the end of the loop turn */
    SESSION_DIALLING, /* a backend was picked, its connect is under way */
    SESSION_RELAYING, /* bytes flow; no reference to plan or script any more */
    SESSION_CLOSED,   /* memory waits for the end of the loop turn */
    SESSION_STATE_COUNT
};

/* What others may read of splicing. Writer: the worker. */
struct bulk_counters {
    counter spliced_bytes; /* that were written by splice */
    counter no_pipe;       /* moves that were copied, as there was no pipe to be had */
    counter refused;       /* sessions for which the kernel would not splice */
    counter pipes;         /* gauge: open now, with bytes in them or at rest */
};

/* What all sessions of one worker share. Part of the worker; only its thread touches it. */
struct data_plane {
    struct ev_loop *loop;
    struct arena *arena;
    uint32_t worker;          /* index of its counter rows */
    struct worker_plan *plan; /* current; NULL only before the first */
    struct list listeners;    /* struct listener, open sockets of the current plan */
    struct ev_timer accept_pause;
    struct ev_check begin_turn;
    ev_tstamp now; /* monotonic time of this turn: ev_now follows the wall clock and may jump */
    struct turns turns;
    struct ev_async newcomers; /* handed over by other workers; spread.c */
    ev_tstamp brief_since; /* spread.c: sessions that ended since then after a short life, ... */
    uint32_t brief, brief_before; /* ... and in the period before */
    int reserve_descriptor; /* given up to close a newcomer politely when descriptors run out */
    struct list sessions[SESSION_STATE_COUNT]; /* a state is the list a session is on */
    struct ev_io ready_io;         /* the epoll set of the sessions' sockets (ready.c) */
    struct list runnable;          /* sessions that can go on ... */
    struct list streaming;         /* ... and those of them that send a lot */
    struct ev_idle more_to_do;     /* active while some wait for the next turn */
    struct ev_prepare end_of_turn; /* dials the routed, frees the closed ones */
    struct slab session_slab, dial_slab;
    struct list farewells; /* refused connections being closed in order */
    uint32_t farewell_count;
    struct bulk_counters bulk;    /* all of it bulk.c's */
    struct bulk_pipe *free_pipes; /* at rest */
    uint32_t pipe_count, free_pipe_count;
    uint32_t pipes_spare;       /* at rest all the time since the last bulk_rest */
    ev_tstamp pipes_wait_until; /* before that no pipe is made: there was none to be had */
    size_t bulk_least_bytes;    /* a move of fewer is the last that is spliced */
    char *scratch;              /* RELAY_SCRATCH_BYTES, shared by all sessions between two calls */
    uint64_t next_session;

    /* Set by the worker. */
    void (*on_plan_unused)(struct data_plane *plane, struct worker_plan *plan);
    void (*on_suspect)(struct data_plane *plane, struct slot *slot);
    void (*on_empty)(struct data_plane *plane); /* the last session ended */
};

/* What is known of a socket (ready.c). All of it may be out of date: system calls find out. */
struct readiness {
    bool watched;        /* it is in the set */
    bool readable;       /* there may be something to read, an end or an error */
    bool writable;       /* it may take something */
    bool end_arrived;    /* nothing comes after what can be read now */
    bool failed;         /* it has an error */
    bool urgent;         /* it had urgent data */
    bool short_is_empty; /* a read that got less than it asked for has left nothing behind */
};

/* One of the two halves of a session. */
struct side {
    struct side *peer;
    struct session *session;
    char *pending;          /* bytes still to be written to this side; NULL = none */
    struct bulk_pipe *pipe; /* with bytes still to be written to this side, too; NULL = none */
    uint64_t received_bytes;
    uint32_t pending_start, pending_end;
    uint32_t piped; /* bytes in `pipe` */
    int descriptor; /* the socket, -1 = none */
    struct readiness ready;
    bool streams;     /* it sends a lot: its bytes are spliced */
    bool read_closed; /* its end of stream was read */
    bool broken;      /* writing to it failed: what it sent before is still delivered */
    bool cut;       /* it was reset before its end of stream: what comes looks like one, is none */
    bool held_back; /* TCP_NODELAY is still to be set, before anything is sent a second time */
    bool sent;      /* something was */
};

/* Lives until connected: what a further attempt needs to know. */
struct dial {
    uint32_t tried[VIEW_TRIED_MAX];
    uint32_t attempts;        /* dials begun */
    int last_error;           /* errno of the attempt before */
    ev_tstamp started;        /* of this attempt */
    struct worker_pool *pool; /* NULL until it is routed */
    struct routing *routing;  /* route.c's: ROUTING and ROUTED; NULL where there is no route */
};

struct session {
    struct side client, backend;
    struct list node;       /* in data_plane.sessions[state] */
    struct list ready_node; /* in data_plane.runnable or streaming, or nowhere */
    struct ev_timer timer;  /* earliest deadline; re-armed lazily when it fires */
    struct data_plane *plane;
    struct worker_plan *plan; /* until connected, then NULL */
    struct dial *dial;        /* until connected, then NULL */
    struct listener_facts *listener;
    struct listener_row *listener_row;
    struct pool_facts *pool; /* NULL until it is routed, as its row */
    struct pool_row *pool_row;
    struct slot *slot; /* dialled or connected backend; its `active` counts us */
    struct slot_row *slot_row;
    struct values values; /* what scripts keep with it */
    uint64_t id;
    ev_tstamp opened, last_activity;
    uint32_t idle_ms, session_ms; /* 0 = none */
    uint8_t state;                /* enum session_state */
    uint8_t attempts;             /* dials it took */
    bool logged;                  /* one log line at its end */
    bool capped;                  /* counted in listener->active */
    bool copies;                  /* nothing is spliced: switched off, or the kernel would not */
    bool asked;                   /* a policy was, and may want to hear of its end */
    uint8_t client_family;
    uint16_t client_port;
    uint8_t client_ip[16];
};

/* session.c */
bool plane_open(struct data_plane *plane, struct ev_loop *loop, struct arena *arena,
                uint32_t worker) __attribute__((warn_unused_result));
void plane_close(struct data_plane *plane); /* every session ends, reason drain */
void plane_note_time(struct data_plane *plane);
uint32_t plane_session_count(uint32_t worker); /* any thread: sessions open on that worker */
/* Another plan took over: scripts of this one do nothing of themselves any more. */
void plane_stop_scripts(const struct worker_plan *plan);
void plane_release_plan(struct data_plane *plane, struct worker_plan *plan);
/* Ends all sessions, as at the end of a drain. */
void plane_end_sessions(struct data_plane *plane, enum session_reason reason);

/* Takes the accepted descriptor over, whatever happens. */
void session_open(struct data_plane *plane, struct worker_listener *listener, int descriptor,
                  const struct address *peer);
/* A session in state DIALLING without descriptors or pool, holding the plan. NULL: out of memory.
 */
struct session *session_new(struct data_plane *plane, struct worker_plan *plan);
/* Dials a backend of the pool. */
void session_dial(struct session *session, struct worker_pool *pool);
/* The only mover between states. */
void session_move(struct session *session, enum session_state state);
/* The only closer. The memory stays valid until the end of the loop turn. */
void session_close(struct session *session, enum session_reason reason);
/* Arms the timer for the earliest deadline of the session's state. */
void session_arm_timer(struct session *session);
void session_client_address(const struct session *session, struct address *out);

/* What scripts see of the session; `client` (ALACRITY_ADDRESS_BYTES) is written, and referred to.
 */
struct alacrity_ctx_private session_ctx(struct session *session, char *client);

/* ready.c */
bool ready_open(struct data_plane *plane) __attribute__((warn_unused_result));
void ready_close(struct data_plane *plane);
/* Sessions left over from the turn before go on. */
void ready_begin_turn(struct data_plane *plane);
/* A new socket of the side: nothing is known of it yet. */
void ready_reset(struct side *side, int family);
/* From now on the session gets its turn when the side's socket can do something. False: errno. */
bool ready_watch(struct side *side) __attribute__((warn_unused_result));
/* A read said EAGAIN. False: it is worth another one. */
bool ready_is_empty(struct side *side);
/* For a socket that is handed on. One that is closed needs nothing. */
void ready_forget(struct side *side);
/* The session can go on by itself: it gets its turn soon. */
void ready_later(struct session *session);
bool ready_has_more(const struct data_plane *plane); /* for the next turn */

/* route.c */
void route_on_ready(struct session *session); /* the client's socket can do something */
/* Asks the listener's route; the session is ROUTING, without a pool. */
void route_begin(struct session *session, struct worker_listener *listener);
/* The end of the loop turn: carries out what was answered, so many at a time. */
void route_settle(struct data_plane *plane);
/* Lets everything go that routing needed, but for the bytes peeked: they wait as the backend's
 * `pending`. Nothing to do is fine. */
void route_release(struct session *session);
/* What the script gave as reason to reject it; "" = nothing. */
const char *route_why(const struct session *session);

/* closed.c */
/* After a policy of the plan, which is the current one, was put in its place. */
void plan_find_hearing(struct worker_plan *plan);
/* Tells the current policy of the session's pool how it ended, if that wants to hear. */
void session_tell_policy(struct session *session, enum session_reason reason);

/* dial.c */
void dial_next(struct session *session);     /* picks a backend and starts to connect */
void dial_on_ready(struct session *session); /* the backend's socket can do something */
void dial_timed_out(struct session *session);

/* dial_socket.c */
/* Makes the socket of a connection to the backend's address what the configuration wants. 0, or
 * errno: it cannot be used. */
int dial_prepare(const struct session *session, int descriptor, const struct address *to)
    __attribute__((warn_unused_result));

/* farewell.c */
void farewell_begin(struct data_plane *plane, int descriptor); /* takes the descriptor over */
void farewell_end_all(struct data_plane *plane);

/* relay.c */
#define RELAY_SCRATCH_BYTES 65536u
/* Are there bytes for the side that it has not taken yet? */
static inline bool side_has_pending(const struct side *side) {
    return side->pending != NULL || side->pipe != NULL;
}
void relay_start(struct session *session);    /* the backend is connected */
void relay_on_ready(struct session *session); /* one of the sockets can do something */
/* Does it only wait for one side to acknowledge what it was sent? Then relay_try_to_end wants to be
 * called about every second. False: session closed. */
bool relay_is_ending(const struct session *session);
bool relay_try_to_end(struct session *session);

/* listener.c */
void listener_open_all(struct data_plane *plane); /* those of plane->plan */
void listener_close_all(struct data_plane *plane);
/* For good: newcomers are refused by the kernel from now on, instead of waiting in a queue. */
void listener_stop_all(struct data_plane *plane);
/* Takes what still waits in the queues of sockets that the next plan does not have. */
void listener_accept_leftovers(struct data_plane *plane, const struct worker_plan *next);

#endif
