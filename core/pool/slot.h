/* Slot: the facts and counters of one backend, outliving every configuration and script.
 *
 * Slots live in the arena (core/pool/arena.h). Identity is `pool/name`. Threads: identity is
 * written by the builder when it takes a free slot, before anybody else knows it; health, admin,
 * presence and weight by control; `active`, the latency average and the failure run by workers;
 * a worker may also turn health from up to suspect (slot_mark_suspect). Everything else reads. */
#ifndef POOL_SLOT_H
#define POOL_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "alacrity/script.h"
#include "base/counter.h"

enum backend_health { HEALTH_STARTING, HEALTH_UP, HEALTH_SUSPECT, HEALTH_DOWN };
enum backend_admin { ADMIN_READY, ADMIN_DRAIN, ADMIN_MAINT };
enum backend_presence { PRESENCE_GONE, PRESENCE_PRESENT };

/* The one word derived from the three above (slot_state): what people and scripts read. */
enum backend_state {
    STATE_STARTING, /* no check result yet; takes sessions */
    STATE_UP,       /* takes sessions */
    STATE_SUSPECT,  /* connects failed in a row; no new sessions until a check says up */
    STATE_DOWN,     /* its check failed `fall` times */
    STATE_DRAIN,    /* admin: no new sessions, open ones go on */
    STATE_MAINT,    /* admin: no new sessions, not checked */
    STATE_GONE,     /* not in the current configuration */
    STATE_COUNT
};

#define SLOT_REASON_BYTES 160u

struct slot {
    _Alignas(64) struct alacrity_backend_private script; /* first: scripts see its head */
    _Atomic uint32_t health, admin, presence;
    _Atomic uint32_t failures_in_row;  /* connect failures since the last success; workers */
    _Atomic uint32_t references;       /* plans that name it; builder */
    _Atomic uint32_t pool_facts;       /* index of its pool's facts; builder */
    uint32_t configured_weight;        /* control */
    uint32_t next_free;                /* arena's own; builder */
    _Atomic int64_t changed_wall_ms;   /* time of the last transition; control */
    _Atomic uint32_t transitions_down; /* falls since the slot was taken; control */
    _Atomic uint32_t checks_total, checks_failed; /* control */
    /* Why the state is what it is, for people; control alone reads and writes. */
    char reason[SLOT_REASON_BYTES];
};

/* A worker's counters of one backend. Single writer: that worker. */
struct slot_row {
    counter sessions_total;      /* connected */
    counter connect_failures;    /* refused, unreachable, timed out */
    counter connect_timeouts;    /* those of the above that timed out */
    counter resets;              /* sessions the backend reset */
    counter bytes_in, bytes_out; /* in = from clients, out = to clients */
    counter picked;              /* times a policy (or fallback) chose it */
    counter shadow_picked;       /* times the shadow policy would have */
};

/* Facts and counters of a pool or listener live the same way. */
struct pool_facts {
    _Alignas(64) char name[ALACRITY_NAME_BYTES];
    /* Raised by whoever changes a member's state or weight (control, workers on suspect); a worker
     * rebuilds its eligible view when it sees another number. Release on write, acquire on read. */
    _Atomic uint32_t generation;
    _Atomic uint32_t references; /* plans that name it; builder */
    uint32_t next_free;
};

struct pool_row {
    counter sessions_total, bytes_in, bytes_out;
    counter retries;               /* further picks after a failed dial */
    counter picks;                 /* times the policy was asked */
    counter policy_errors;         /* it raised an error, also in on_close or a timer */
    counter policy_bad_answers;    /* it answered something that is not an eligible backend */
    counter policy_nil;            /* it answered nil */
    counter fallbacks;             /* sessions the fallback answered for any of these */
    counter no_backend;            /* sessions ended because no backend was eligible */
    counter policy_overruns;       /* it used up its budget and was stopped */
    counter policy_resting;        /* not asked, for its state was being made anew */
    counter policy_out;            /* not asked, for it was stopped too often */
    counter out_now;               /* gauge: 1 while it is out on this worker, else 0 */
    counter memory_bytes;          /* gauge: of the policy's Lua state on this worker */
    counter shadow_asked;          /* times the shadow policy was asked too ... */
    counter shadow_agreed;         /* ... and answered the same ... */
    counter shadow_failed;         /* ... or no backend, for whatever reason */
    counter shadow_ns, current_ns; /* time both took for those picks */
    counter troubles; /* errors, bad answers, overruns of the plan's policies while it is current */
    counter shadow_nil;     /* of shadow_failed: it answered nil */
    counter shadow_stopped; /* of shadow_failed: it was stopped, or not asked as it had been */
    counter shadow_out_now; /* gauge: 1 while the shadow is out on this worker, else 0 */
};

/* Why a session ended: counter index, log word and metrics label at once (session_reason_word). */
enum session_reason {
    REASON_DONE, /* both sides finished */
    REASON_CLIENT_RESET,
    REASON_BACKEND_RESET,
    REASON_IDLE_TIMEOUT,
    REASON_SESSION_TIMEOUT,
    REASON_CONNECT_FAILED, /* retries used up */
    REASON_NO_BACKEND,     /* no eligible backend */
    REASON_LIMIT,          /* max_sessions or limits.sessions reached */
    REASON_OUT_OF_DESCRIPTORS,
    REASON_OUT_OF_MEMORY,
    REASON_DRAIN,        /* cut by the drain timeout or a second TERM */
    REASON_KILLED,       /* by an administrator */
    REASON_REJECTED,     /* the route script said so */
    REASON_NO_ROUTE,     /* the route script chose no pool, and the listener names none */
    REASON_ROUTE_FAILED, /* the route script failed, and the listener names no pool */
    REASON_COUNT
};
const char *session_reason_word(enum session_reason reason); /* "done", "client_reset", ... */

struct listener_facts {
    _Alignas(64) char name[ALACRITY_NAME_BYTES];
    _Atomic uint32_t active;     /* only kept when max_sessions is set: an exact cap; workers */
    _Atomic uint32_t references; /* builder */
    uint32_t next_free;
};

struct listener_row {
    counter sessions_total;  /* accepted and admitted */
    counter sessions_closed; /* sum over rows of total - closed = active */
    counter bytes_in, bytes_out;
    counter ended[REASON_COUNT]; /* by reason; includes the refused */
    counter routes;              /* times the route script was asked */
    counter route_errors;        /* it raised an error, or answered nonsense */
    counter route_timeouts;      /* it took longer than timeouts.route */
    counter route_overruns;      /* it, or another in its state, was stopped for using too much */
    counter route_resting;       /* not asked, for its state was being made anew */
    counter route_out;           /* not asked, for it was stopped too often */
    counter route_out_now;       /* gauge: 1 while it is out on this worker, else 0 */
    counter route_memory_bytes;  /* gauge: of the route's Lua state on this worker */
    counter handed_over;         /* accepted, and handed over to another worker */
    counter spare[19 - REASON_COUNT];
};

/* The derived state; any thread. */
enum backend_state slot_state(const struct slot *slot);
const char *state_word(enum backend_state state); /* "up", "down", ... */
/* Recomputes view.state_code and raises the pool's generation; after any change of a part. May run
 * on several threads at once. */
void slot_changed(struct slot *slot, struct pool_facts *pool);
/* The same, for who makes time up: `now_ms` is what alacrity.now() says there. */
void slot_changed_at(struct slot *slot, struct pool_facts *pool, uint64_t now_ms);
/* May it get a new session now? Present, ready, up or starting, weight above 0, below its cap. */
bool slot_is_eligible(const struct slot *slot);

/* The same without the cap: what the eligible view lists (see view.h for where the cap counts). */
bool slot_is_listed(const struct slot *slot);

/* Worker: counts a connect failure; true exactly once, when `limit` in a row made it suspect.
 * limit 0 = never (a pool without a check has nobody to say up again). */
bool slot_connect_failed(struct slot *slot, struct pool_facts *pool, uint32_t limit);
/* Worker: a connect took this long, and ended now (clock_monotonic_ms). Resets the run of failures,
 * feeds the average: with 1/8 weight, or more the longer nothing was measured. */
void slot_connected(struct slot *slot, float connect_ms, uint64_t now_ms);

#endif
