/* Spread: see spread.h. Runs on the workers.
 *
 * A newcomer goes with the number of its listener in the plan, so giver and taker must have plans
 * of one configuration: the taker says which in its inbox, and changes it under the inbox's lock,
 * when it has taken what lies there. So no newcomer meets a plan it does not fit, and none is lost
 * in a reload. Only a hand-over and a change of plans take the lock; whoever keeps its newcomers,
 * as nearly all do, reads one word of each worker. */
#include "session/spread.h"

#include <pthread.h>
#include <string.h>

#define INBOX 64u

/* A worker with more than 9/8 of the mean and one more hands newcomers over. */
#define EXCESS_NUMERATOR 9u
#define EXCESS_DENOMINATOR 8u
/* But not while as many sessions have ended after such a short life, in the time of one, as are
 * open: chance evens those out by itself. Of 64 short connections at a time over two workers 29 %
 * were handed over, for 5 % more CPU. */
#define BRIEF_SECONDS 0.1

struct newcomer {
    int descriptor;
    uint32_t listener; /* in the plan */
    struct address peer;
};

/* A line of its own for each worker: it writes `open` with every session. */
struct share {
    _Alignas(64) _Atomic uint32_t open; /* writer: the worker; read by all others */
    _Atomic uint32_t coming;            /* in its inbox; writers: others, and the worker */
    _Atomic bool takes;                 /* writer: the worker, under the lock of its inbox */
};

struct inbox {
    _Alignas(64) pthread_mutex_t lock; /* guards all of it; held for a copy */
    struct data_plane *plane;
    const struct snapshot *snapshot; /* whose newcomers are taken; NULL: nobody's */
    uint32_t count;
    struct newcomer newcomers[INBOX];
};

static struct share shares[ARENA_WORKERS];
static struct inbox inboxes[ARENA_WORKERS] = {
    [0 ... ARENA_WORKERS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

uint32_t spread_open(uint32_t worker) {
    return atomic_load_explicit(&shares[worker].open, memory_order_relaxed);
}

uint32_t spread_count(uint32_t worker, int32_t change) {
    uint32_t now = spread_open(worker) + (uint32_t)change;
    atomic_store_explicit(&shares[worker].open, now, memory_order_relaxed);
    return now;
}

static void begin_period(struct data_plane *plane) {
    ev_tstamp passed = plane->now - plane->brief_since;
    if (passed >= BRIEF_SECONDS) {
        plane->brief_before = passed < 2 * BRIEF_SECONDS ? plane->brief : 0;
        plane->brief = 0;
        plane->brief_since = plane->now;
    }
}

void spread_note_end(struct data_plane *plane, ev_tstamp lived) {
    if (lived < BRIEF_SECONDS) {
        begin_period(plane);
        plane->brief++;
    }
}

/* Are most of its sessions of the kind that ends in no time? */
static bool turns_over(struct data_plane *plane) {
    begin_period(plane);
    uint32_t brief = plane->brief > plane->brief_before ? plane->brief : plane->brief_before;
    return brief >= spread_open(plane->worker);
}

/* ---- taking ---- */

/* All that lies there, as long as something does. */
static void take_newcomers(struct data_plane *plane, bool stop) {
    struct inbox *inbox = &inboxes[plane->worker];
    struct newcomer taken[INBOX];
    pthread_mutex_lock(&inbox->lock);
    uint32_t count = inbox->count;
    memcpy(taken, inbox->newcomers, count * sizeof(taken[0]));
    inbox->count = 0;
    if (stop) {
        inbox->snapshot = NULL;
        atomic_store_explicit(&shares[plane->worker].takes, false, memory_order_relaxed);
    }
    pthread_mutex_unlock(&inbox->lock);
    for (uint32_t i = 0; i < count; i++) {
        session_open(plane, &plane->plan->listeners[taken[i].listener], taken[i].descriptor,
                     &taken[i].peer);
        atomic_fetch_sub_explicit(&shares[plane->worker].coming, 1, memory_order_relaxed);
    }
}

static void newcomers_are_here(struct ev_loop *loop, struct ev_async *wake, int events) {
    (void)loop;
    (void)events;
    take_newcomers(container_of(wake, struct data_plane, newcomers), false);
}

void spread_init(struct data_plane *plane) {
    ev_async_init(&plane->newcomers, newcomers_are_here);
}

void spread_start(struct data_plane *plane) {
    struct inbox *inbox = &inboxes[plane->worker];
    if (!plane->plan->serves) {
        return;
    }
    ev_async_start(plane->loop, &plane->newcomers);
    pthread_mutex_lock(&inbox->lock);
    inbox->plane = plane;
    inbox->snapshot = plane->plan->snapshot;
    atomic_store_explicit(&shares[plane->worker].takes, true, memory_order_relaxed);
    pthread_mutex_unlock(&inbox->lock);
}

void spread_stop(struct data_plane *plane) {
    if (atomic_load_explicit(&shares[plane->worker].takes, memory_order_relaxed)) {
        take_newcomers(plane, true);
        ev_async_stop(plane->loop, &plane->newcomers);
    }
}

/* ---- giving ---- */

/* With one more: its sessions, and what lies in its inbox. */
static uint32_t load_with(uint32_t worker) {
    return spread_open(worker) +
           atomic_load_explicit(&shares[worker].coming, memory_order_relaxed) + 1;
}

/* Whom to hand a newcomer over to; the worker itself: to nobody. */
static uint32_t choose(const struct data_plane *plane) {
    uint32_t count = arena_workers(plane->arena), self = plane->worker;
    uint32_t mine = load_with(self), takers = 1, least = self, least_load = mine;
    uint64_t total = mine;
    for (uint32_t i = 0; i < count; i++) {
        if (i == self || !atomic_load_explicit(&shares[i].takes, memory_order_relaxed)) {
            continue;
        }
        uint32_t load = load_with(i);
        total += load - 1;
        takers++;
        if (load < least_load) {
            least = i;
            least_load = load;
        }
    }
    bool far = (uint64_t)mine * EXCESS_DENOMINATOR * takers >
               total * EXCESS_NUMERATOR + (uint64_t)takers * EXCESS_DENOMINATOR;
    return far ? least : self;
}

bool spread_hand_over(struct data_plane *plane, const struct worker_listener *listener,
                      int descriptor, const struct address *peer) {
    uint32_t taker = choose(plane);
    if (taker == plane->worker || turns_over(plane)) {
        return false;
    }
    struct inbox *inbox = &inboxes[taker];
    pthread_mutex_lock(&inbox->lock);
    bool fits = inbox->count < INBOX && inbox->snapshot == plane->plan->snapshot;
    if (fits) {
        inbox->newcomers[inbox->count++] =
            (struct newcomer){.descriptor = descriptor,
                              .listener = (uint32_t)(listener - plane->plan->listeners),
                              .peer = *peer};
        atomic_fetch_add_explicit(&shares[taker].coming, 1, memory_order_relaxed);
        /* Under the lock: its loop is there as long as it takes newcomers. */
        ev_async_send(inbox->plane->loop, &inbox->plane->newcomers);
    }
    pthread_mutex_unlock(&inbox->lock);
    if (fits) {
        counter_add(&listener->row->handed_over, 1);
    }
    return fits;
}
