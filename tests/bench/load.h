/* What the parts of the load generator share. One thread, one epoll set. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdint.h>
#include <stdio.h>

#define STALL_MS 20000 /* when nothing moves for so long the run has failed */

/* A new non-blocking socket that connects to the target, watched for `events`; ends the program
 * when there is none to be had. */
int load_connect(uint32_t events, void *data);
int load_set(void);
double load_now(void); /* seconds */

/* Prints what is wrong with a connection (with errno when it is not 0) and ends the program with 1:
 * a number that was measured among errors is worth nothing. */
_Noreturn void load_fail(uint64_t number, const char *what);

/* Exchanges of a question and an answer; load_exchange.c */
struct exchange_plan {
    uint64_t connections;
    uint64_t at_once;   /* open at the same time, at most */
    uint64_t exchanges; /* on each; 0: one, then the server closes */
    double rate;        /* connections a second, whatever the answers take; 0: as fast as can be */
    int hold;           /* after the first exchange, all wait until standard input ends */
};
void load_exchange(const struct exchange_plan *plan);

/* `bytes` over `connections`; load_bulk.c */
void load_bulk(uint64_t bytes, uint64_t connections, int up);

#endif
