/* Preloaded into the balancer by test_splice.py: splice() fails as SPLICE_FAILS says,
 * "read 3 22": the half that reads from a socket works 3 times, then fails with errno 22. Also
 * "pipe 3 24": so many pipes can be made; and "size 0 1": none can be given more room, and all are
 * tiny. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char what[8];
static int good_calls, error;
static atomic_int calls;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SPLICE_FAILS");
    if (text == NULL || sscanf(text, "%7s %d %d", what, &good_calls, &error) != 3) {
        abort();
    }
}

static int fails(const char *kind) {
    return strcmp(what, kind) == 0 && atomic_fetch_add(&calls, 1) >= good_calls;
}

static long say_no(void) {
    errno = error;
    return -1;
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t bytes, unsigned flags) {
    int reads = syscall(SYS_fcntl, to, F_GETPIPE_SZ) > 0;
    return fails(reads ? "read" : "write")
               ? say_no()
               : syscall(SYS_splice, from, from_at, to, to_at, bytes, flags);
}

int pipe2(int ends[2], int flags) {
    return (int)(fails("pipe") ? say_no() : syscall(SYS_pipe2, ends, flags));
}

int fcntl(int descriptor, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (strcmp(what, "size") == 0 && command == F_SETPIPE_SZ) {
        return (int)say_no();
    }
    if (strcmp(what, "size") == 0 && command == F_GETPIPE_SZ) {
        return 8192;
    }
    return (int)syscall(SYS_fcntl, descriptor, command, argument);
}
