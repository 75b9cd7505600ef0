/* Log: lines as text or JSON to stderr or a file, written by a thread of its own.
 *
 * A caller formats its line into a ring that belongs to its thread and never waits: when the ring
 * is full (the sink blocks), the line is dropped and counted, and the count is logged as soon as
 * there is room. Errors that repeat are rate-limited per call site (see log_limited). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

/* One further field of a line. Integers carry `text` NULL. Names are lower_case_with_units. */
struct log_field {
    const char *name;
    const char *text;
    int64_t integer;
    bool bare; /* `text` is a number, true or false: it has no quotes */
};
#define LOG_STRING(field, value) ((struct log_field){(field), (value), 0, false})
#define LOG_NUMBER(field, value) ((struct log_field){(field), NULL, (int64_t)(value), false})
#define LOG_BARE(field, value) ((struct log_field){(field), (value), 0, true})

struct log_settings {
    const char *target; /* "stderr", "stdout", "off" or a file name; copied */
    enum log_format format;
    enum log_level level;
};

/* Starts the writer thread with text to stderr at info. Once, before any other thread. */
bool log_start(void) __attribute__((warn_unused_result));
/* Opens the target beside the one in use. False: errno, and nothing is prepared. A file that is
 * made here is the owner's, and stays when it comes to nothing. Control, as the three after it. */
bool log_prepare(const struct log_settings *settings, const struct owner *owner)
    __attribute__((warn_unused_result));
/* Changes target, format and level to what is prepared, or closes it. Nothing prepared is fine. */
void log_commit(void);
void log_abort(void);
/* Reopens the file (after rotation, SIGUSR1). */
void log_reopen(void);
/* Writes what is queued, stops the thread. Later lines go to stderr directly. */
void log_stop(void);
/* Lines dropped because a ring was full, since start. */
uint64_t log_dropped(void);
/* Lines left out by limiters (below) since start. */
uint64_t log_suppressed(void);
bool log_enabled(enum log_level level);

/* Each thread that logs calls this once with its name ("worker 0"); others share a slow path. */
void log_thread(const char *name);
/* Called by a thread that registered, before it ends: its ring may be reused. */
void log_thread_end(void);

/* `event` is a short fixed word (session, check, reload, script, accept...); message is for people.
 */
void log_event(enum log_level level, const char *event, const struct log_field *fields,
               uint32_t field_count, const char *format, ...) __attribute__((format(printf, 5, 6)));

#define log_fields(level, event, fields, ...)                                                      \
    log_event((level), (event), (fields), sizeof(fields) / sizeof((fields)[0]), __VA_ARGS__)
#define log_message(level, event, ...) log_event((level), (event), NULL, 0, __VA_ARGS__)

/* At most `burst` lines a second from one call site; how many were left out is added to the next.
 * The limiter is static at the call site and shared by threads (atomics, approximate). */
struct log_limiter {
    _Atomic uint64_t second;
    _Atomic uint32_t count, suppressed;
};
bool log_limiter_pass(struct log_limiter *limiter, uint32_t burst, uint32_t *suppressed);
#define log_limited(level, event, ...)                                                             \
    do {                                                                                           \
        static struct log_limiter limiter_;                                                        \
        uint32_t suppressed_ = 0;                                                                  \
        if (log_limiter_pass(&limiter_, 10, &suppressed_)) {                                       \
            if (suppressed_ > 0)                                                                   \
                log_message((level), (event), "%u like the next left out", suppressed_);           \
            log_message((level), (event), __VA_ARGS__);                                            \
        }                                                                                          \
    } while (0)

#endif
