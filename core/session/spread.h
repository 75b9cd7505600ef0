/* Spread: keeps each worker's share of the open sessions near the others'. The kernel deals
 * connections out by chance, over listening sockets that need not be one for each worker; a worker
 * that has clearly more than the mean hands a newcomer over to the one that has least. */
#ifndef SESSION_SPREAD_H
#define SESSION_SPREAD_H

#include "session/session.h"

/* Any thread: sessions open on that worker. */
uint32_t spread_open(uint32_t worker);
/* The worker: it has so many more. Returns how many it has now. */
uint32_t spread_count(uint32_t worker, int32_t change);
/* The worker: a session ended that lived so long. */
void spread_note_end(struct data_plane *plane, ev_tstamp lived);

/* The worker, while it is made: others may not hand it anything yet. */
void spread_init(struct data_plane *plane);
/* The worker: it takes newcomers of the listeners of its plan from now on. */
void spread_start(struct data_plane *plane);
/* The worker: it does not any more. What was handed over until now becomes sessions of the plan
 * that it still has. Doing it twice is fine. */
void spread_stop(struct data_plane *plane);
/* The worker, in place of session_open: hands the newcomer over, if that pays. False: it is still
 * the caller's. */
bool spread_hand_over(struct data_plane *plane, const struct worker_listener *listener,
                      int descriptor, const struct address *peer);

#endif
