/* Log line: one line as text or JSON in a buffer of fixed size. Any thread; allocates nothing. */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define LOG_LINE_BYTES                                                                             \
    4096u /* the longest line with its newline; = PIPE_BUF, so it is never torn */

struct log_line {
    size_t length;
    bool shortened; /* something did not fit; the line says so at its end */
    char bytes[LOG_LINE_BYTES];
};

const char *log_level_word(enum log_level level);

/* Always one whole line with its newline: whatever the message or a field contains, control
 * characters are escaped, and JSON stays valid when the line is shortened. */
void log_line_format(struct log_line *line, enum log_format format, enum log_level level,
                     const char *event, const char *thread, const struct log_field *fields,
                     uint32_t field_count, const char *message_format, va_list arguments)
    __attribute__((format(printf, 8, 0)));

#endif
