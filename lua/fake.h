/* Fake: the world of the scripts of one test file (test.c). Time is virtual: it stands still while
 * scripts run, and fake_step moves it to what is due next. Connections are pairs of ends in memory;
 * what is behind them is a function of the test, or one of a few simple fates. They behave as
 * sockets of Linux on its loopback do: what has arrived can be read whatever comes after it; the
 * first bytes sent to a peer that has closed go out well, and bring a reset; and closing what was
 * not read to its end is a reset, too.
 *
 * The thread that runs the test file owns all of it. */
#ifndef LUA_FAKE_H
#define LUA_FAKE_H

#include "lua/run.h"

#define FAKE_ENDS 128
#define FAKE_BUFFER_BYTES (64u << 10) /* under way in one direction, as a kernel would keep */

/* What becomes of a connection. */
enum fake_fate {
    FATE_SERVED,      /* `accept` is called */
    FATE_SILENT,      /* accepted, and never a byte */
    FATE_CLOSED,      /* accepted, and closed at once */
    FATE_RESET,       /* accepted, and reset at once */
    FATE_REFUSED,     /* the others are not accepted */
    FATE_UNREACHABLE, /* ... but told so */
    FATE_UNANSWERED,  /* ... nor told anything */
};

/* One side of a connection. Its number is `socket->io.fd`. */
struct fake_end {
    bool open;             /* one of its two sides still uses it */
    struct socket *socket; /* who holds it; NULL: nobody (yet) */
    struct fake_end *peer;
    char *in; /* arrived, not yet read; FAKE_BUFFER_BYTES */
    size_t in_length;
    int connect_error;
    bool connecting;
    bool closed; /* by its holder */
    bool ended;  /* by its peer, in order: nothing more comes */
    bool reset;  /* by its peer: nothing can be sent any more ... */
    bool told;   /* ... and its holder, sending or receiving, was told so: once, as a kernel does */
    int watched; /* EV_READ or EV_WRITE; 0 = nothing */
};

enum fake_event_kind { EVENT_TIMER, EVENT_CONNECT, EVENT_READY };

struct fake_event {
    enum fake_event_kind kind;
    double due;
    uint64_t order; /* of two due at once, the one that was made first */
    struct ev_timer *timer;
    struct fake_end *end;
};

struct fake {
    double now; /* seconds */
    struct fake_event *events;
    uint32_t count, capacity;
    uint64_t next_order;
    bool failed; /* memory was out */
    struct fake_end ends[FAKE_ENDS];
    /* What awaits the connections begun now. */
    enum fake_fate fate;
    double connect_seconds;
    /* FATE_SERVED: takes the other end over (fake_adopt), or leaves it. Called by fake_step. */
    void (*accept)(void *argument, struct fake_end *end);
    void *argument;
};

extern const struct machine machine_fake; /* its world is a struct fake */

/* Lets what is due next happen. False: nothing ever will. */
bool fake_step(struct fake *fake) __attribute__((warn_unused_result));
/* When that is; INFINITY: never. */
double fake_due(const struct fake *fake);
void fake_free(struct fake *fake);

/* The end belongs to that zeroed socket of a run from now on. */
void fake_adopt(struct fake *fake, struct fake_end *end, struct socket *socket);
/* The peer of the socket sees a reset instead of an orderly end. */
void fake_reset(struct fake *fake, struct socket *socket);

/* What alacrity.now() answers on this thread: the time of the fake set last. */
void fake_set_clock(const struct fake *fake);
double fake_now(void);

#endif
