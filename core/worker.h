/* Worker: one thread with a libev loop that accepts, picks, dials and relays. See worker.c. */
#ifndef WORKER_H
#define WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "base/slab.h"
#include "session/plan.h"

struct worker;

/* What a worker tells of itself and its data plane. */
struct worker_told {
    uint32_t index;
    uint32_t sessions; /* open now */
    int32_t cpu;       /* it is tied to; -1: to none */
    uint64_t heartbeat_age_ms;
    uint64_t lua_memory_bytes; /* of its Lua states, lately */
    uint64_t spliced_bytes;    /* written by splice */
    uint64_t no_pipe;          /* moves of a stream copied, as there was no pipe to be had */
    uint64_t splice_refused;   /* sessions for which the kernel would not splice */
    uint64_t pipes;            /* open now */
    uint64_t turn_max_ns, turn_cpu_max_ns; /* its longest turn of the last half to whole minute */
    uint64_t long_turns;                   /* session/turn.h */
};

/* ---- for other threads ---- */
void worker_post(struct worker *worker, struct mail *mail); /* deliver's owner = struct worker * */
uint32_t worker_index(const struct worker *worker);
uint64_t worker_heartbeat_ms(const struct worker *worker);  /* monotonic time of the last turn */
uint32_t worker_session_count(const struct worker *worker); /* open now */
void worker_tell(const struct worker *worker, struct worker_told *out);

/* ---- for mail delivered on the worker ---- */
/* One open session as `session list` shows it. */
struct session_info {
    uint64_t id; /* worker index << 48 | running number */
    char client[64], listener[ALACRITY_NAME_BYTES], pool[ALACRITY_NAME_BYTES],
        backend[ALACRITY_NAME_BYTES], state[16];
    uint64_t age_ms, idle_ms, bytes_in, bytes_out;
};
/* Some sessions more, up to `max`; to be called in one turn after the other, from a zeroed walk on,
 * so that a long list holds nobody up. Those that begin or end meanwhile may be there or not.
 * *ended: that were all. Returns how many were written. */
uint32_t worker_list_most(const struct worker *worker); /* how many a walk that begins may find */
uint32_t worker_list_sessions(struct worker *worker, struct slab_walk *walk,
                              struct session_info *out, uint32_t max, bool *ended);
/* Ends the session with that id, reason "killed". False: no such session. */
bool worker_kill_session(struct worker *worker, uint64_t id);

#endif
