/* Nanoseconds a session costs in what workers share: a pick among four backends, `active` raised,
 * the connect time noted, `active` lowered; by one thread and by two at once, which is how often
 * they meet at worst. Linked like a unit test, with all objects but main.o.
 *
 * Two that truly meet at every turn pay 0.04 to 0.25 us for it, of the 100 us that a connection
 * costs. With `active` and the connect times on a cache line of their own it was no less.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "pool/view.h"

#define TIMES 1000000u
#define BACKENDS 4
#define ROUNDS 15

static struct arena *arena;
static struct pool_facts *pool;
static struct slot *slots[BACKENDS];

static void open_pool(void) {
    char error[200];
    arena = arena_new(error, sizeof(error));
    pool = arena != NULL ? arena_take_pool(arena, "app") : NULL;
    for (uint32_t i = 0; i < BACKENDS; i++) {
        char name[] = {'b', (char)('0' + i), '\0'};
        bool changed;
        slots[i] =
            pool != NULL ? arena_take_slot(arena, pool, name, "127.0.0.1:1", &changed) : NULL;
        if (slots[i] == NULL) {
            exit(1);
        }
        slots[i]->presence = PRESENCE_PRESENT;
        slots[i]->health = HEALTH_UP;
        slot_changed(slots[i], pool);
    }
}

struct job {
    pthread_t thread;
    struct pool_view view; /* each worker has its own */
    bool least;
    uint32_t number;
    double ns;
};

/* Of this thread: what others do on the machine counts less. */
static double cpu_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void *run(void *argument) {
    struct job *job = argument;
    /* Each on a CPU of its own, so that they do meet. */
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(job->number, &cpus);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
    double began = cpu_ns();
    for (uint32_t i = 0; i < TIMES; i++) {
        view_prepare(&job->view, NULL, 0);
        int32_t position = job->least ? view_natives.least(&job->view.script.view)
                                      : view_pick_round_robin(&job->view);
        struct slot *slot = (struct slot *)(uintptr_t)job->view.script.eligible[position];
        atomic_fetch_add_explicit(&slot->script.view.active, 1, memory_order_relaxed);
        slot_connected(slot, 0.5f, 1000);
        atomic_fetch_sub_explicit(&slot->script.view.active, 1, memory_order_release);
    }
    job->ns = (cpu_ns() - began) / TIMES;
    return NULL;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median: in the fastest round the two may not have met. */
static double measure(bool least, uint32_t threads) {
    double ns[ROUNDS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct job jobs[2] = {0};
        ns[round] = 0;
        for (uint32_t i = 0; i < threads; i++) {
            jobs[i].least = least;
            jobs[i].number = i;
            if (!view_init(&jobs[i].view, pool, "app", slots, BACKENDS) ||
                pthread_create(&jobs[i].thread, NULL, run, &jobs[i]) != 0) {
                exit(1);
            }
        }
        for (uint32_t i = 0; i < threads; i++) {
            pthread_join(jobs[i].thread, NULL);
            view_free(&jobs[i].view);
            ns[round] += jobs[i].ns / threads;
        }
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), compare);
    return ns[ROUNDS / 2];
}

int main(void) {
    open_pool();
    printf("ns per session   one thread   two threads\n");
    for (int least = 0; least < 2; least++) {
        printf("%-16s %11.1f %13.1f\n", least ? "least-conn" : "round robin", measure(least, 1),
               measure(least, 2));
    }
    arena_free(arena);
    return 0;
}
