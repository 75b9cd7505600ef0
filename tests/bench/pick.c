/* Nanoseconds per pick through policy_pick, for every stock policy (or the script files named as
 * arguments), at 4, 64 and 1000 backends, with the JIT on and off. Linked like a unit test, with
 * all objects but main.o. */
#include <time.h>

#include "tests/unit/script_fixture.h"

/* CPU time of this thread: others may be at work on the machine. */
static uint64_t cpu_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

static double measure(const struct script_use *use, uint32_t backends, bool jit) {
    static struct fixture f;
    fixture_open(&f, backends, NULL);
    fixture_labels(&f);
    for (uint32_t i = 0; i < backends; i++) { /* half are near by, every fourth has the tags */
        struct alacrity_backend *view = &f.slots[i]->script.view;
        view->zone_code = zone_code(i % 2 == 0 ? "east" : "west");
        view->tag_bits = i % 4 == 0 ? 1u << FIXTURE_CANARY | 1u << FIXTURE_BACKUP : 0;
    }
    f.snapshot.lua.jit = jit;
    struct policy *policy = fixture_policy(&f, *use);
    if (policy == NULL) {
        fputs(fixture_said(&f), stderr);
        exit(1);
    }
    scripting->host_start(f.host, NULL);
    struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1}, .client = "192.0.2.1", .listener = "web"};
    struct slot *slot = NULL;
    double best = 1e18;
    for (int run = 0; run < 7; run++) {    /* the first ones warm the JIT up */
        uint32_t picks = 0, until = 30000; /* us */
        uint64_t start = cpu_us(), elapsed;
        do {
            for (int i = 0; i < 1000; i++) {
                ctx.view.client_hash = ctx.view.client_hash * 1664525u + 1013904223u;
                view_prepare(&f.view, NULL, 0);
                if (scripting->policy_pick(policy, &ctx, &slot) != PICK_BACKEND) {
                    fprintf(stderr, "%s did not answer a backend\n", use->name);
                    exit(1);
                }
            }
            picks += 1000;
            elapsed = cpu_us() - start;
        } while (elapsed < until);
        double each = (double)elapsed * 1000.0 / picks;
        best = each < best ? each : best;
    }
    fixture_close(&f);
    return best;
}

static void print_row(const struct script_use *use) {
    static const uint32_t sizes[] = {4, 64, 1000};
    printf("%-14s", use->name);
    for (int jit = 1; jit >= 0; jit--) {
        for (int i = 0; i < 3; i++) {
            printf(" %8.0f", measure(use, sizes[i], jit));
            fflush(stdout);
        }
    }
    putchar('\n');
}

int main(int argc, char **argv) {
    printf("ns per pick    jit on: 4     64     1000  jit off: 4    64     1000\n");
    for (int i = 1; i < argc; i++) {
        struct script_use use = {.name = argv[i], .path = argv[i], .at = {"bench", 1, 1}};
        print_row(&use);
    }
    const char *const *names = scripting_stock_names("policies");
    for (uint32_t i = 0; argc < 2 && names[i] != NULL; i++) {
        struct script_use use = fixture_stock(names[i]);
        print_row(&use);
    }
    return 0;
}
