/* What the watchdog costs a call: nanoseconds of watchdog_run around work that does nothing, on a
 * thread that is watched, beside the same call without it. Linked as pick.c is. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "lua/memory.h"
#include "lua/watchdog.h"

#define CALLS 20000000
#define ROUNDS 9

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void nothing(void *argument) {
    (*(volatile unsigned *)argument)++;
}

static void *measure(void *argument) {
    struct memory memory = {0};
    unsigned calls = 0;
    double bare = 1e18, guarded = 1e18;
    void (*volatile work)(void *) = nothing;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < CALLS; i++) {
            work(&calls);
        }
        double between = now_ns();
        for (int i = 0; i < CALLS; i++) {
            (void)watchdog_run(&memory, 1000000, work, &calls);
        }
        double end = now_ns();
        bare = between - start < bare ? between - start : bare;
        guarded = end - between < guarded ? end - between : guarded;
    }
    printf("bare call %.1f ns, through the watchdog %.1f ns: it costs %.1f ns\n", bare / CALLS,
           guarded / CALLS, (guarded - bare) / CALLS);
    return argument;
}

int main(void) {
    char reason[256];
    pthread_t thread;
    if (!watchdog_open(reason, sizeof(reason))) {
        printf("not proven: %s\n", reason);
    }
    if (watchdog_thread_start(&thread, measure, NULL) != 0) {
        return 1;
    }
    pthread_join(thread, NULL);
    return 0;
}
