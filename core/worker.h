/* Worker: one thread with a libev loop that accepts, picks, dials and relays. See worker.c. */
#ifndef WORKER_H
#define WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "session/plan.h"

struct worker;

/* ---- for other threads ---- */
void worker_post(struct worker *worker, struct mail *mail); /* deliver's owner = struct worker * */
uint32_t worker_index(const struct worker *worker);
uint64_t worker_heartbeat_ms(const struct worker *worker);     /* monotonic time of the last turn */
uint32_t worker_session_count(const struct worker *worker);    /* open now */
int32_t worker_cpu(const struct worker *worker);               /* it is tied to; -1: to none */
uint64_t worker_lua_memory_bytes(const struct worker *worker); /* of its Lua states, lately */

/* ---- for mail delivered on the worker ---- */
/* One open session as `session list` shows it. */
struct session_info {
    uint64_t id; /* worker index << 48 | running number */
    char client[64], listener[ALACRITY_NAME_BYTES], pool[ALACRITY_NAME_BYTES],
        backend[ALACRITY_NAME_BYTES], state[16];
    uint64_t age_ms, idle_ms, bytes_in, bytes_out;
};
/* Copies up to `max` sessions; returns how many were written; *total = how many there are. */
uint32_t worker_list_sessions(struct worker *worker, struct session_info *out, uint32_t max,
                              uint32_t *total);
/* Ends the session with that id, reason "killed". False: no such session. */
bool worker_kill_session(struct worker *worker, uint64_t id);

#endif
