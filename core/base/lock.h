/* A lock for critical sections of some hundred instructions of C, in memory that threads or
 * processes share. One word, all zero = free. Any thread.
 *
 * Nothing that waits, raises a Lua error or calls Lua may happen while it is held: then a thread
 * that has it is running, or will be soon, and is not left by the watchdog before it gives it
 * back (lua/watchdog.h). */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef _Atomic uint32_t lock_word; /* 0 free, 1 taken, 2 taken and somebody may sleep */

#define LOCK_SPINS 100 /* about as long as a short section takes; then its holder lost the CPU */

static inline void lock_take(lock_word *lock) {
    for (int spin = 0; spin < LOCK_SPINS; spin++) {
        uint32_t expected = 0;
        /* Acquire: what the holder before wrote is seen. */
        if (atomic_load_explicit(lock, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(lock, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return;
        }
    }
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0) {
        /* Not FUTEX_PRIVATE: the word may lie in memory of several processes. Woken too early or
         * not at all (EINTR, EAGAIN), the loop looks again. */
        (void)syscall(SYS_futex, lock, FUTEX_WAIT, 2, NULL, NULL, 0);
    }
}

static inline void lock_give(lock_word *lock) {
    if (atomic_exchange_explicit(lock, 0, memory_order_release) == 2) {
        (void)syscall(SYS_futex, lock, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

#endif
