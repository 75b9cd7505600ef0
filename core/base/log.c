/* The log's rings and its writer thread. log_event runs on any thread and never waits for the sink;
 * log_prepare, log_commit, log_abort and log_reopen on control; the writer is a thread of its own.
 *
 * A ring is a stream of whole lines with one producer (its thread) and one consumer (the writer).
 * Lines of one thread stay in order; lines of different threads may be some milliseconds out of it.
 * Rings are never freed, so that a thread that logs during or after log_stop cannot be hurt. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_line.h"

#define RING_BYTES (256u * 1024u) /* a power of two: positions wrap by masking */
#define RINGS 128u                /* workers, control, builder and to spare */
#define BATCH_BYTES (64u * 1024u)
#define GATHER_US 2000u /* the writer naps this long between batches instead of being woken */
#define STOP_PATIENCE_MS 1000u /* how long log_stop lets a sink that takes nothing block */

#define SINK_OFF (-1)
#define SINK_UNCHANGED (-2)

struct ring {
    /* Bytes ever written and taken. `head` is the producer's: release publishes the bytes before
     * it. `tail` is the writer's: release gives the room back. */
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t dropped; /* lines; the producer's */
    _Atomic bool taken;                    /* a thread registered for it */
    char bytes[RING_BYTES];
};

static struct ring shared_ring; /* of threads that did not register, in turn under the lock */
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct ring *) rings[RINGS];

static _Atomic bool running;
static _Atomic bool stopping;
static _Atomic uint32_t asleep; /* futex: 1 while the writer waits to be woken */
static pthread_t writer_thread;

static _Atomic uint32_t threshold = LOG_INFO; /* lowest level written */
static _Atomic uint32_t line_format = LOG_TEXT;
static _Atomic int next_sink = SINK_UNCHANGED; /* handed from control to the writer */
static char *file_name;                        /* to reopen; NULL = no file; control's */

/* What log_prepare made for log_commit; control's. */
static struct prepared {
    bool ready;
    int sink;
    char *file_name; /* NULL: the sink is not ours to close */
    uint32_t format, level;
} prepared;

static int sink = STDERR_FILENO;          /* writer's */
static bool sink_is_file;                 /* a regular file: it never blocks for long; writer's */
static _Atomic uint64_t lost;             /* lines a sink did not take; writer's */
static _Atomic uint64_t suppressed_lines; /* by limiters; any thread */
static uint64_t reported;                 /* lost or dropped lines the log told of; writer's */
static uint64_t stop_seen_ms;             /* when a blocked sink first held up the end; writer's */

static _Thread_local struct ring *own_ring;
static _Thread_local char thread_name[32] = "other";

/* ---- rings ---- */

static bool ring_push(struct ring *ring, const char *bytes, size_t length) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (length > RING_BYTES - (head - tail)) {
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
        return false;
    }
    size_t start = head & (RING_BYTES - 1);
    size_t first = length < RING_BYTES - start ? length : RING_BYTES - start;
    memcpy(ring->bytes + start, bytes, first);
    memcpy(ring->bytes, bytes + first, length - first);
    /* Sequentially consistent together with `asleep`: either we see that the writer sleeps, or it
     * sees this line before it does. */
    atomic_store(&ring->head, head + length);
    return true;
}

/* Whole lines, at most BATCH_BYTES. */
static size_t ring_take(struct ring *ring, char *batch) {
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t available = atomic_load(&ring->head) - tail;
    size_t length = available < BATCH_BYTES ? (size_t)available : BATCH_BYTES;
    size_t start = tail & (RING_BYTES - 1);
    size_t first = length < RING_BYTES - start ? length : RING_BYTES - start;
    memcpy(batch, ring->bytes + start, first);
    memcpy(batch + first, ring->bytes, length - first);
    while (length > 0 && batch[length - 1] != '\n') {
        length--;
    }
    atomic_store_explicit(&ring->tail, tail + length, memory_order_release);
    return length;
}

static void wake_writer(void) {
    if (atomic_load(&asleep) != 0 && atomic_exchange(&asleep, 0) != 0) {
        syscall(SYS_futex, &asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

void log_thread(const char *name) {
    snprintf(thread_name, sizeof(thread_name), "%s", name);
    for (uint32_t i = 0; own_ring == NULL && i < RINGS; i++) {
        struct ring *ring = atomic_load_explicit(&rings[i], memory_order_acquire);
        bool free_ring = false;
        if (ring == NULL) {
            struct ring *fresh = aligned_alloc(64, sizeof(*fresh));
            if (fresh == NULL) {
                return; /* the shared ring serves as well, only slower */
            }
            memset(fresh, 0, offsetof(struct ring, bytes));
            atomic_init(&fresh->taken, true);
            /* Release: the writer finds it initialised. */
            if (atomic_compare_exchange_strong_explicit(
                    &rings[i], &ring, fresh, memory_order_release, memory_order_acquire)) {
                own_ring = fresh;
                return;
            }
            free(fresh); /* another thread was first: `ring` is its */
        }
        /* Acquire pairs with log_thread_end: we go on where the last producer stopped. */
        if (atomic_compare_exchange_strong_explicit(&ring->taken, &free_ring, true,
                                                    memory_order_acquire, memory_order_relaxed)) {
            own_ring = ring;
        }
    }
}

void log_thread_end(void) {
    if (own_ring != NULL) {
        atomic_store_explicit(&own_ring->taken, false, memory_order_release);
        own_ring = NULL;
    }
    snprintf(thread_name, sizeof(thread_name), "other");
}

uint64_t log_dropped(void) {
    uint64_t sum = atomic_load_explicit(&lost, memory_order_relaxed) +
                   atomic_load_explicit(&shared_ring.dropped, memory_order_relaxed);
    for (uint32_t i = 0; i < RINGS; i++) {
        struct ring *ring = atomic_load_explicit(&rings[i], memory_order_acquire);
        if (ring != NULL) {
            sum += atomic_load_explicit(&ring->dropped, memory_order_relaxed);
        }
    }
    return sum;
}

/* ---- one line (any thread) ---- */

uint64_t log_suppressed(void) {
    return atomic_load_explicit(&suppressed_lines, memory_order_relaxed);
}

bool log_enabled(enum log_level level) {
    return (uint32_t)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* Before log_start and after log_stop. */
static void write_directly(const struct log_line *line) {
    size_t done = 0;
    while (done < line->length) {
        ssize_t written = write(STDERR_FILENO, line->bytes + done, line->length - done);
        if (written < 0 && errno != EINTR) {
            return; /* nowhere is left to complain */
        }
        done += written > 0 ? (size_t)written : 0;
    }
}

void log_event(enum log_level level, const char *event, const struct log_field *fields,
               uint32_t field_count, const char *format, ...) {
    if (!log_enabled(level)) {
        return;
    }
    int error = errno; /* callers log and then look at errno */
    struct log_line line;
    va_list arguments;
    va_start(arguments, format);
    log_line_format(&line, atomic_load_explicit(&line_format, memory_order_relaxed), level, event,
                    thread_name, fields, field_count, format, arguments);
    va_end(arguments);
    if (!atomic_load_explicit(&running, memory_order_relaxed)) {
        write_directly(&line);
    } else {
        bool queued;
        if (own_ring != NULL) {
            queued = ring_push(own_ring, line.bytes, line.length);
        } else {
            pthread_mutex_lock(&shared_lock);
            queued = ring_push(&shared_ring, line.bytes, line.length);
            pthread_mutex_unlock(&shared_lock);
        }
        if (queued) {
            wake_writer();
        }
    }
    errno = error;
}

bool log_limiter_pass(struct log_limiter *limiter, uint32_t burst, uint32_t *suppressed) {
    uint64_t now = clock_monotonic_ms() / 1000;
    uint64_t second = atomic_load_explicit(&limiter->second, memory_order_relaxed);
    *suppressed = 0;
    if (second != now &&
        atomic_compare_exchange_strong_explicit(&limiter->second, &second, now,
                                                memory_order_relaxed, memory_order_relaxed)) {
        atomic_store_explicit(&limiter->count, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&limiter->count, 1, memory_order_relaxed) < burst) {
        *suppressed = atomic_exchange_explicit(&limiter->suppressed, 0, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add_explicit(&limiter->suppressed, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&suppressed_lines, 1, memory_order_relaxed);
    return false;
}

/* ---- the writer thread ---- */

static void switch_sink(int descriptor) {
    struct stat status;
    if (sink > STDERR_FILENO) {
        close(sink);
    }
    sink = descriptor;
    sink_is_file = sink >= 0 && fstat(sink, &status) == 0 && S_ISREG(status.st_mode);
}

static void take_next_sink(void) {
    int descriptor = atomic_exchange_explicit(&next_sink, SINK_UNCHANGED, memory_order_acquire);
    if (descriptor != SINK_UNCHANGED) {
        switch_sink(descriptor);
    }
}

/* Waits until the sink takes a line. False: give up, there is another sink or an end to come to. */
static bool wait_for_sink(void) {
    struct pollfd ready = {.fd = sink, .events = POLLOUT};
    for (;;) {
        if (poll(&ready, 1, 50) > 0) {
            return true; /* or broken: write() tells */
        }
        if (atomic_load_explicit(&next_sink, memory_order_relaxed) != SINK_UNCHANGED) {
            return false;
        }
        if (atomic_load_explicit(&stopping, memory_order_relaxed)) {
            uint64_t now = clock_monotonic_ms();
            stop_seen_ms = stop_seen_ms == 0 ? now : stop_seen_ms;
            if (now - stop_seen_ms >= STOP_PATIENCE_MS) {
                return false;
            }
        }
    }
}

/* As many whole lines as a pipe that is ready is sure to take without blocking. */
static size_t piece_of(const char *bytes, size_t length) {
    if (length <= LOG_LINE_BYTES) {
        return length;
    }
    size_t piece = LOG_LINE_BYTES;
    while (piece > 0 && bytes[piece - 1] != '\n') {
        piece--;
    }
    return piece > 0 ? piece : LOG_LINE_BYTES; /* the rest of a line after a short write */
}

/* Returns how many bytes the sink took. */
static size_t write_lines(const char *bytes, size_t length) {
    size_t done = 0;
    while (done < length) {
        if (!sink_is_file && !wait_for_sink()) {
            break;
        }
        size_t piece = sink_is_file ? length - done : piece_of(bytes + done, length - done);
        ssize_t written = write(sink, bytes + done, piece);
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            break;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    return done;
}

/* False: some lines were lost. */
static bool write_batch(const char *bytes, size_t length) {
    if (sink == SINK_OFF) {
        return true;
    }
    size_t done = write_lines(bytes, length);
    for (size_t i = done; i < length; i++) {
        if (bytes[i] == '\n') {
            atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
        }
    }
    return done == length;
}

static bool drain_ring(struct ring *ring, char *batch) {
    size_t length = ring_take(ring, batch);
    if (length == 0) {
        return false;
    }
    take_next_sink(); /* what was logged after log_commit goes to the new target */
    return write_batch(batch, length);
}

__attribute__((format(printf, 3, 4))) static void
format_own_line(struct log_line *line, enum log_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_line_format(line, atomic_load_explicit(&line_format, memory_order_relaxed), level, "log",
                    "log", NULL, 0, format, arguments);
    va_end(arguments);
}

static void report_dropped(void) {
    uint64_t dropped = log_dropped();
    if (dropped > reported) {
        struct log_line line;
        format_own_line(&line, LOG_WARNING, "%llu lines dropped, the log was not taken fast enough",
                        (unsigned long long)(dropped - reported));
        if (write_batch(line.bytes, line.length)) {
            reported = dropped;
        } else {
            reported = dropped + 1; /* this one, too, was counted as lost */
        }
    }
}

/* True: something was written. */
static bool drain_all(char *batch) {
    take_next_sink();
    bool written = drain_ring(&shared_ring, batch);
    for (uint32_t i = 0; i < RINGS; i++) {
        struct ring *ring = atomic_load_explicit(&rings[i], memory_order_acquire);
        if (ring != NULL) {
            written = drain_ring(ring, batch) || written;
        }
    }
    if (written) {
        report_dropped();
    }
    return written;
}

static bool has_work(void) {
    if (atomic_load(&stopping) || atomic_load(&next_sink) != SINK_UNCHANGED ||
        atomic_load(&shared_ring.head) != atomic_load(&shared_ring.tail)) {
        return true;
    }
    for (uint32_t i = 0; i < RINGS; i++) {
        struct ring *ring = atomic_load_explicit(&rings[i], memory_order_acquire);
        if (ring != NULL && atomic_load(&ring->head) != atomic_load(&ring->tail)) {
            return true;
        }
    }
    return false;
}

static void *writer_main(void *argument) {
    static char batch[BATCH_BYTES]; /* one writer at a time */
    (void)argument;
    while (!atomic_load(&stopping)) {
        if (drain_all(batch) || has_work()) {
            /* While lines keep coming nobody has to wake us. */
            nanosleep(&(struct timespec){.tv_nsec = GATHER_US * 1000}, NULL);
            continue;
        }
        atomic_store(&asleep, 1);
        if (!has_work()) {
            syscall(SYS_futex, &asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        }
        atomic_store(&asleep, 0);
    }
    for (uint32_t round = 0; round < 2 * RING_BYTES / BATCH_BYTES; round++) {
        drain_all(batch); /* what is there, not what others still add */
    }
    return NULL;
}

/* ---- starting, changing, stopping (control) ---- */

bool log_start(void) {
    sigset_t all, before;
    atomic_store(&stopping, false);
    stop_seen_ms = 0;
    sigfillset(&all);
    /* The writer takes no signals: they are control's, and SIGPIPE is only an error of write(). */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&writer_thread, NULL, writer_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return false;
    }
    atomic_store(&running, true);
    return true;
}

static void hand_over_sink(int descriptor) {
    /* Release: what is known of the descriptor, to the writer. One it has not taken yet is ours. */
    int unused = atomic_exchange_explicit(&next_sink, descriptor, memory_order_acq_rel);
    if (unused > STDERR_FILENO) {
        close(unused);
    }
    wake_writer();
}

/* `create`: O_CREAT, with O_EXCL perhaps, or 0. */
static int open_file(const char *name, int create) {
    /* Non-blocking, so that a FIFO without a reader is an error and not a trap. */
    return open(name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | create, 0640);
}

/* A file that is there stays whose it is; one that is not is made for the owner, and for sure here:
 * a link would be followed. */
static int open_file_for(const char *name, const struct owner *owner) {
    if (owner == NULL) {
        return open_file(name, O_CREAT);
    }
    int descriptor = open_file(name, 0);
    if (descriptor >= 0 || errno != ENOENT) {
        return descriptor;
    }
    descriptor = open_file(name, O_CREAT | O_EXCL);
    if (descriptor >= 0 && !owner_give_file(owner, descriptor)) {
        int error = errno;
        close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
}

bool log_prepare(const struct log_settings *settings, const struct owner *owner) {
    const char *target = settings->target != NULL ? settings->target : "stderr";
    struct prepared opened = {
        .ready = true, .sink = SINK_OFF, .format = settings->format, .level = settings->level};
    log_abort();
    if (strcmp(target, "stderr") == 0) {
        opened.sink = STDERR_FILENO;
    } else if (strcmp(target, "stdout") == 0) {
        opened.sink = STDOUT_FILENO;
    } else if (strcmp(target, "off") == 0) {
        opened.level = LOG_ERROR + 1u;
    } else {
        opened.file_name = strdup(target);
        opened.sink = opened.file_name != NULL ? open_file_for(target, owner) : -1;
        if (opened.sink < 0) {
            int error = errno;
            free(opened.file_name);
            errno = error;
            return false;
        }
    }
    prepared = opened;
    return true;
}

void log_commit(void) {
    if (!prepared.ready) {
        return;
    }
    free(file_name);
    file_name = prepared.file_name;
    atomic_store(&line_format, prepared.format);
    atomic_store(&threshold, prepared.level);
    hand_over_sink(prepared.sink);
    prepared = (struct prepared){0};
}

void log_abort(void) {
    if (prepared.ready && prepared.file_name != NULL) {
        close(prepared.sink);
        free(prepared.file_name);
    }
    prepared = (struct prepared){0};
}

void log_reopen(void) {
    if (file_name == NULL) {
        return;
    }
    int descriptor = open_file(file_name, O_CREAT);
    if (descriptor < 0) {
        log_message(LOG_ERROR, "log", "cannot reopen %s: %s", file_name, strerror(errno));
        return;
    }
    hand_over_sink(descriptor);
}

void log_stop(void) {
    if (!atomic_load(&running)) {
        return;
    }
    atomic_store(&running, false); /* first: later lines are written directly */
    atomic_store(&stopping, true);
    wake_writer();
    pthread_join(writer_thread, NULL);
    take_next_sink();
    switch_sink(STDERR_FILENO);
    log_abort();
    free(file_name);
    file_name = NULL;
}
