/* Nanoseconds per operation on shared dictionaries, called from C and from a policy's Lua, by one
 * thread and by two: on one key, on keys of their own, and on many keys (16 MiB of them). Linked
 * like a unit test, with all objects but main.o. */
#include <pthread.h>

#include "base/clock.h"
#include "pool/shared.h"
#include "tests/unit/script_fixture.h"

#define TIMES 2000000u

enum operation { GET, INCR };
enum keys { ONE, OWN, MANY };

struct job {
    struct fixture f;
    enum operation operation;
    enum keys keys;
    bool lua;
    uint32_t number;
    double ns;
};

static void run_c(struct job *job) {
    struct shared *shared = arena_shared(job->f.arena);
    static struct alacrity_shared_value outs[2];
    uint32_t dictionary = (uint32_t)shared_dictionary(shared, "bench", 5);
    char text[32];
    uint32_t length =
        (uint32_t)snprintf(text, sizeof(text), "192.0.2.%u", job->keys == OWN ? job->number : 9);
    double sum;
    for (uint32_t i = 0; i < TIMES; i++) {
        struct shared_key key = {.dictionary = dictionary, .bytes = text, .length = length};
        if (job->keys == MANY) {
            key.bytes = NULL;
            key.number = (i * 2654435761u) % 200000;
        }
        if (job->operation == GET) {
            shared_get(shared, &key, clock_coarse_ms(), &outs[job->number]);
        } else {
            (void)shared_incr(shared, &key, 1, 0, clock_coarse_ms(), 0, &sum);
        }
    }
}

static void run_lua(struct job *job) {
    char body[512];
    const char *key = job->keys == MANY ? "(i * 40503) % 200000" : "key";
    snprintf(body, sizeof(body),
             "if ctx.listener == 'trial' then return pool[1] end\n"
             "local d = require('alacrity').shared('bench') local key = '192.0.2.%u'\n"
             "for i = 1, %u do %s end return pool[1]",
             job->keys == OWN ? job->number : 9, TIMES,
             job->operation == GET ? "d:get(KEY)" : "d:incr(KEY, 1)");
    char *at = strstr(body, "KEY");
    char full[600];
    snprintf(full, sizeof(full), "%.*s%s%s", (int)(at - body), body, key, at + 3);
    struct policy *policy = fixture_pick(&job->f, full);
    struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1}, .client = "192.0.2.1", .listener = "web"};
    struct slot *slot;
    scripting->host_start(job->f.host, NULL);
    if (policy == NULL || scripting->policy_pick(policy, &ctx, &slot) != PICK_BACKEND) {
        fputs("the script failed\n", stderr);
        exit(1);
    }
}

static void *run(void *argument) {
    struct job *job = argument;
    uint64_t start = clock_monotonic_us();
    (job->lua ? run_lua : run_c)(job);
    job->ns = (double)(clock_monotonic_us() - start) * 1000 / TIMES;
    return NULL;
}

static double measure(uint32_t threads, bool lua, enum operation operation, enum keys keys) {
    static struct job jobs[2];
    pthread_t ids[2];
    double worst = 0;
    fixture_open(&jobs[0].f, 2, NULL);
    struct shared *shared = arena_shared(jobs[0].f.arena);
    struct shared_key key = {.dictionary = (uint32_t)shared_dictionary(shared, "bench", 5)};
    for (uint32_t i = 0; keys == MANY && i < 200000; i++) {
        key.number = i;
        shared_set(shared, &key, &(struct shared_value){.type = SHARED_NUMBER}, 0, 0);
    }
    for (uint32_t i = 0; i < threads; i++) {
        struct fixture *f = &jobs[i].f;
        if (i > 0) {
            *f = jobs[0].f;
            f->scripts = 100;
            f->host = scripting->host_new(&f->snapshot, f->arena, NULL, NULL, 1, &f->messages);
        }
        jobs[i].operation = operation;
        jobs[i].keys = keys;
        jobs[i].lua = lua;
        jobs[i].number = i;
    }
    for (uint32_t i = 0; i < threads; i++) {
        fixture_must(pthread_create(&ids[i], NULL, run, &jobs[i]) == 0);
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        worst = jobs[i].ns > worst ? jobs[i].ns : worst;
    }
    if (threads > 1) {
        scripting->host_free(jobs[1].f.host);
    }
    fixture_close(&jobs[0].f);
    return worst;
}

int main(void) {
    static const char *const keys[] = {"one key", "own keys", "200000 keys"};
    printf("%-14s %-6s %10s %10s %10s %10s\n", "ns", "", "C, 1", "C, 2", "Lua, 1", "Lua, 2");
    for (int k = ONE; k <= MANY; k++) {
        for (int operation = GET; operation <= INCR; operation++) {
            printf("%-14s %-6s", keys[k], operation == GET ? "get" : "incr");
            for (int lua = 0; lua < 2; lua++) {
                for (uint32_t threads = 1; threads <= 2; threads++) {
                    double best = 1e9;
                    for (int i = 0; i < 3; i++) {
                        double ns =
                            measure(threads, lua == 1, (enum operation)operation, (enum keys)k);
                        best = ns < best ? ns : best;
                    }
                    printf(" %10.0f", best);
                    fflush(stdout);
                }
            }
            putchar('\n');
        }
    }
    return 0;
}
