/* A backend's facts: deriving its state, and what workers learn from connects.
 *
 * Memory order: the parts (health, admin, presence, weight) are single words that may be read
 * alone, so most accesses are relaxed. Two orders matter and are explained where they are used: the
 * store of the derived state, and the pool's generation, which publishes both to the workers. */
#include "pool/slot.h"

#include <math.h>
#include <stddef.h>

#include "base/clock.h"

_Static_assert(sizeof(struct slot) % 64 == 0, "slots must not share cache lines");
_Static_assert(sizeof(struct pool_facts) % 64 == 0, "facts must not share cache lines");
_Static_assert(sizeof(struct listener_facts) % 64 == 0, "facts must not share cache lines");
_Static_assert(sizeof(struct slot_row) % 64 == 0, "rows of two workers must not share lines");
_Static_assert(sizeof(struct pool_row) % 64 == 0, "rows of two workers must not share lines");
_Static_assert(sizeof(struct listener_row) % 64 == 0, "rows of two workers must not share lines");
_Static_assert(offsetof(struct slot, script) == 0, "scripts see the head of a slot");

const char *session_reason_word(enum session_reason reason) {
    static const char *const words[REASON_COUNT] = {
        [REASON_DONE] = "done",
        [REASON_CLIENT_RESET] = "client_reset",
        [REASON_BACKEND_RESET] = "backend_reset",
        [REASON_IDLE_TIMEOUT] = "idle_timeout",
        [REASON_SESSION_TIMEOUT] = "session_timeout",
        [REASON_CONNECT_FAILED] = "connect_failed",
        [REASON_NO_BACKEND] = "no_backend",
        [REASON_LIMIT] = "limit",
        [REASON_OUT_OF_DESCRIPTORS] = "out_of_descriptors",
        [REASON_OUT_OF_MEMORY] = "out_of_memory",
        [REASON_DRAIN] = "drain",
        [REASON_KILLED] = "killed",
        [REASON_REJECTED] = "rejected",
        [REASON_NO_ROUTE] = "no_route",
        [REASON_ROUTE_FAILED] = "route_failed",
    };
    return (unsigned)reason < REASON_COUNT ? words[reason] : "unknown";
}

const char *state_word(enum backend_state state) {
    static const char *const words[STATE_COUNT] = {
        [STATE_STARTING] = "starting", [STATE_UP] = "up",       [STATE_SUSPECT] = "suspect",
        [STATE_DOWN] = "down",         [STATE_DRAIN] = "drain", [STATE_MAINT] = "maint",
        [STATE_GONE] = "gone",
    };
    return (unsigned)state < STATE_COUNT ? words[state] : "unknown";
}

enum backend_state slot_state(const struct slot *slot) {
    if (atomic_load_explicit(&slot->presence, memory_order_relaxed) != PRESENCE_PRESENT) {
        return STATE_GONE;
    }
    switch (atomic_load_explicit(&slot->admin, memory_order_relaxed)) {
    case ADMIN_MAINT:
        return STATE_MAINT;
    case ADMIN_DRAIN:
        return STATE_DRAIN;
    default:
        break;
    }
    switch (atomic_load_explicit(&slot->health, memory_order_relaxed)) {
    case HEALTH_STARTING:
        return STATE_STARTING;
    case HEALTH_UP:
        return STATE_UP;
    case HEALTH_SUSPECT:
        return STATE_SUSPECT;
    default:
        return STATE_DOWN;
    }
}

static bool takes_sessions(uint32_t state) {
    return state == STATE_UP || state == STATE_STARTING;
}

void slot_changed(struct slot *slot, struct pool_facts *pool) {
    slot_changed_at(slot, pool, clock_monotonic_ms());
}

void slot_changed_at(struct slot *slot, struct pool_facts *pool, uint64_t now_ms) {
    enum backend_state state;
    uint32_t before;
    /* Control and a worker may come here at once, and the one that computed first may store last: a
     * stale state would then stay. An exchange makes the later storer synchronise with the earlier
     * (acquire and release on one word), so its second look sees the other's parts and corrects. */
    do {
        state = slot_state(slot);
        before = atomic_exchange_explicit(&slot->script.view.state_code, (uint32_t)state,
                                          memory_order_acq_rel);
        if (takes_sessions(state) && !takes_sessions(before)) {
            /* Rounded up, so that nobody counts it as well for longer than it is. */
            uint32_t now = (uint32_t)((now_ms + 999) / 1000);
            atomic_store_explicit(&slot->script.view.recovered_at, before == STATE_GONE ? 0 : now,
                                  memory_order_relaxed);
        }
    } while (slot_state(slot) != state);
    /* Release: a worker that acquires this number sees the state, weight and parts behind it. */
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
}

bool slot_is_listed(const struct slot *slot) {
    uint32_t state = atomic_load_explicit(&slot->script.view.state_code, memory_order_relaxed);
    return takes_sessions(state) &&
           atomic_load_explicit(&slot->script.view.weight, memory_order_relaxed) > 0;
}

bool slot_is_eligible(const struct slot *slot) {
    uint32_t most = atomic_load_explicit(&slot->script.view.max_sessions, memory_order_relaxed);
    return slot_is_listed(slot) && (most == 0 || atomic_load_explicit(&slot->script.view.active,
                                                                      memory_order_relaxed) < most);
}

bool slot_connect_failed(struct slot *slot, struct pool_facts *pool, uint32_t limit) {
    uint32_t failures =
        atomic_fetch_add_explicit(&slot->failures_in_row, 1, memory_order_relaxed) + 1;
    if (limit == 0 || failures < limit) {
        return false;
    }
    /* Compare-and-swap, so that of several workers exactly one reports it, and so that a verdict of
     * control (down) is never overwritten. */
    uint32_t health = atomic_load_explicit(&slot->health, memory_order_relaxed);
    do {
        if (health != HEALTH_UP && health != HEALTH_STARTING) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&slot->health, &health, HEALTH_SUSPECT,
                                                    memory_order_relaxed, memory_order_relaxed));
    /* A check that says up gives it a whole new run. */
    atomic_store_explicit(&slot->failures_in_row, 0, memory_order_relaxed);
    slot_changed(slot, pool);
    return true;
}

/* A measurement is forgotten with time, not only with new ones: after FORGET_SECONDS without any,
 * the next one counts for 63 %. */
#define FORGET_SECONDS 10.0f

static float share_of(uint32_t silent_seconds) {
    float share = 1 - expf(-(float)silent_seconds / FORGET_SECONDS);
    return share > 0.125f ? share : 0.125f;
}

void slot_connected(struct slot *slot, float connect_ms, uint64_t now_ms) {
    /* Looked at first: the line stays shared between workers while all goes well. */
    if (atomic_load_explicit(&slot->failures_in_row, memory_order_relaxed) != 0) {
        atomic_store_explicit(&slot->failures_in_row, 0, memory_order_relaxed);
    }
    if (!(connect_ms >= 0.001f)) { /* also NaN; 0 would mean "none yet" */
        connect_ms = 0.001f;
    }
    /* Two workers may overwrite each other; an average can afford to lose a sample. */
    struct alacrity_backend *view = &slot->script.view;
    float average = atomic_load_explicit(&view->connect_ewma_ms, memory_order_relaxed);
    uint32_t now = (uint32_t)(now_ms / 1000);
    uint32_t before = atomic_load_explicit(&view->connected_at, memory_order_relaxed);
    float share = average > 0 ? share_of(now > before ? now - before : 0) : 1;
    atomic_store_explicit(&view->connect_ewma_ms, average + (connect_ms - average) * share,
                          memory_order_relaxed);
    atomic_store_explicit(&view->connect_last_ms, connect_ms, memory_order_relaxed);
    atomic_store_explicit(&view->connected_at, now, memory_order_relaxed);
}
