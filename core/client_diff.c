/* Showing what differs between two texts, by diff(1), which every Debian has. Runs in the client's
 * process, which has no threads. */
#include "client_diff.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1 };

/* The text as a file that diff may open by its number. -1: errno. */
static int as_file(const struct text *text) {
    int descriptor = memfd_create("version", 0);
    size_t written = 0;
    while (descriptor >= 0 && written < text->length) {
        ssize_t count = write(descriptor, text->bytes + written, text->length - written);
        if (count < 0 && errno != EINTR) {
            int error = errno;
            close(descriptor);
            errno = error;
            return -1;
        }
        written += count > 0 ? (size_t)count : 0;
    }
    return descriptor;
}

static void run_diff(const char *title_a, int a, const char *title_b, int b) {
    char path_a[32], path_b[32];
    snprintf(path_a, sizeof(path_a), "/dev/fd/%d", a);
    snprintf(path_b, sizeof(path_b), "/dev/fd/%d", b);
    execlp("diff", "diff", "-u", "--label", title_a, "--label", title_b, path_a, path_b,
           (char *)NULL);
    fprintf(stderr, "alacrity: cannot run diff: %s\n", strerror(errno));
    _exit(EXIT_FAILED + 1);
}

int client_diff(const char *title_a, const struct text *a, const char *title_b,
                const struct text *b) {
    int file_a = as_file(a), file_b = as_file(b), status = 0;
    pid_t child = file_a >= 0 && file_b >= 0 ? fork() : -1;
    if (child == 0) {
        run_diff(title_a, file_a, title_b, file_b);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        fprintf(stderr, "alacrity: cannot compare: %s\n", strerror(errno));
        status = -1;
    }
    close(file_a);
    close(file_b);
    if (status == -1) {
        return EXIT_FAILED;
    }
    /* diff: 0 they are equal, 1 they differ, else it failed and has said why */
    return WIFEXITED(status) && WEXITSTATUS(status) <= 1 ? EXIT_OK : EXIT_FAILED;
}
