/* TCP options: what a configuration wants of its TCP sockets, and setting it. Listening sockets
 * are set by the builder, and what they accept inherits it; connections to backends by the worker
 * that dials. What the kernel refuses is logged and counted, and the socket serves without it. */
#ifndef BASE_TCP_OPTIONS_H
#define BASE_TCP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define CONGESTION_BYTES 16 /* the kernel's TCP_CA_NAME_MAX */

struct keepalive {
    bool on;
    uint32_t idle_ms, interval_ms, probes;
};

/* All zero is what a new socket has. */
struct tcp_options {
    uint32_t defer_accept_ms; /* listening */
    uint32_t fast_open_queue; /* listening */
    bool fast_open;           /* connecting */
    uint32_t user_timeout_ms; /* 0: the kernel's */
    struct keepalive keepalive;
    char congestion[CONGESTION_BYTES];    /* "": the kernel's */
    uint64_t receive_buffer, send_buffer; /* bytes; 0: the kernel's */
};

/* Any thread. Takes the socket from one set of options to another; costs a system call for each
 * that differs. */
void tcp_options_set(int descriptor, const struct tcp_options *before,
                     const struct tcp_options *wanted);
/* Any thread: an option that the caller set was refused (errno). */
void tcp_option_refused(const char *name);
uint64_t tcp_options_refused_total(void);

#endif
