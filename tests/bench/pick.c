/* Nanoseconds per pick, from view_prepare to the answer of policy_pick, for every stock policy (or
 * the script files named as arguments). Linked like a unit test, with all objects but main.o.
 *
 *   pick [-n 4,64,1000,10000] [-j] [-m] [-g] [-r TRIED] [SCRIPT.lua | STOCK NAME ...]
 *
 *   -n  sizes of the pool
 *   -j  only with the JIT on; else also with it off
 *   -m  sessions come and go: half as many as there are backends are open, and with each pick one
 *       begins at the backend answered and one of the open ones, at random, ends; what that costs
 *       by itself is taken off
 *   -g  before each pick a backend changed, so that what is kept of the pool is made anew
 *   -r  as the last of a session's retries, with so many backends tried before */
#include <time.h>

#include "tests/unit/script_fixture.h"

#define SIZES_MAX 8

struct bench {
    uint32_t sizes[SIZES_MAX], size_count;
    uint32_t tried_count, tried[VIEW_TRIED_MAX];
    bool moving, changing, only_jit;
};

/* CPU time of this thread: others may be at work on the machine. */
static uint64_t cpu_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

static uint32_t random_next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state;
}

/* A session began at `slot`; one of the others ends. */
static void move(struct slot **open, uint32_t count, struct slot *slot, uint32_t random) {
    struct slot **ends = &open[(uint64_t)random * count >> 32];
    atomic_fetch_add_explicit(&slot->script.view.active, 1, memory_order_relaxed);
    if (*ends != NULL) {
        atomic_fetch_sub_explicit(&(*ends)->script.view.active, 1, memory_order_relaxed);
    }
    *ends = slot;
}

/* What the moving costs by itself, ns, with the backends in turn: taken off. */
static double measure_moves(const struct fixture *f, struct slot **open, uint32_t open_count) {
    double best = 1e18;
    uint32_t random = 1;
    for (int run = 0; run < 5; run++) {
        uint64_t start = cpu_us();
        for (uint32_t i = 0; i < 200000; i++) {
            move(open, open_count, f->slots[i % f->count], random_next(&random));
        }
        double each = (double)(cpu_us() - start) / 200.0;
        best = each < best ? each : best;
    }
    return best;
}

static double measure(const struct bench *bench, const struct script_use *use, uint32_t backends,
                      bool jit) {
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
    uint32_t open_count = backends / 2, random = 1;
    struct slot **open = calloc(open_count + (size_t)1, sizeof(struct slot *));
    if (policy == NULL || open == NULL) {
        fputs(fixture_said(&f), stderr);
        exit(1);
    }
    const double moves = bench->moving ? measure_moves(&f, open, open_count) : 0;
    scripting->host_start(f.host, NULL);
    struct alacrity_ctx_private ctx = {
        .view = {.attempt = 1 + bench->tried_count}, .client = "192.0.2.1", .listener = "web"};
    struct slot *slot = NULL;
    double best = 1e18;
    for (int run = 0; run < 7; run++) {    /* the first ones warm the JIT up */
        uint32_t picks = 0, until = 30000; /* us */
        uint64_t start = cpu_us(), elapsed;
        do {
            for (int i = 0; i < 1000; i++) {
                ctx.view.client_hash = random_next(&random);
                if (bench->changing) {
                    slot_changed(f.slots[0], f.facts);
                }
                view_prepare(&f.view, bench->tried, bench->tried_count);
                if (scripting->policy_pick(policy, &ctx, &slot) != PICK_BACKEND) {
                    fprintf(stderr, "%s did not answer a backend\n", use->name);
                    exit(1);
                }
                if (bench->moving) {
                    move(open, open_count, slot, random_next(&random));
                }
            }
            picks += 1000;
            elapsed = cpu_us() - start;
        } while (elapsed < until);
        double each = (double)elapsed * 1000.0 / picks;
        best = each < best ? each : best;
    }
    free(open);
    fixture_close(&f);
    return best - moves;
}

static void print_row(const struct bench *bench, const struct script_use *use) {
    printf("%-14s", use->name);
    for (int jit = 1; jit >= (bench->only_jit ? 1 : 0); jit--) {
        for (uint32_t i = 0; i < bench->size_count; i++) {
            printf(" %8.0f", measure(bench, use, bench->sizes[i], jit));
            fflush(stdout);
        }
    }
    putchar('\n');
}

static void print_head(const struct bench *bench) {
    printf("%-14s", "ns per pick");
    for (int jit = 1; jit >= (bench->only_jit ? 1 : 0); jit--) {
        for (uint32_t i = 0; i < bench->size_count; i++) {
            printf(" %8u", bench->sizes[i]);
        }
    }
    printf(bench->only_jit ? "\n" : "   (JIT on, then JIT off)\n");
}

static bool read_sizes(struct bench *bench, const char *text) {
    char *end;
    bench->size_count = 0;
    do {
        unsigned long size = strtoul(text, &end, 10);
        if (end == text || size < 2 || size > 20000 || bench->size_count == SIZES_MAX) {
            return false;
        }
        bench->sizes[bench->size_count++] = (uint32_t)size;
        text = end + 1;
    } while (*end == ',');
    return *end == '\0';
}

static bool read_options(struct bench *bench, int argc, char **argv) {
    bool ok = true;
    for (int option; (option = getopt(argc, argv, "n:jmgr:")) != -1;) {
        switch (option) {
        case 'n':
            ok = read_sizes(bench, optarg) && ok;
            break;
        case 'j':
            bench->only_jit = true;
            break;
        case 'm':
            bench->moving = true;
            break;
        case 'g':
            bench->changing = true;
            break;
        case 'r':
            bench->tried_count = (uint32_t)strtoul(optarg, NULL, 10);
            ok = bench->tried_count < VIEW_TRIED_MAX && ok;
            break;
        default:
            ok = false;
        }
    }
    for (uint32_t i = 0; ok && i < bench->tried_count; i++) {
        bench->tried[i] = i; /* the first backends have the first ids */
    }
    return ok;
}

int main(int argc, char **argv) {
    struct bench bench = {.sizes = {4, 64, 1000, 10000}, .size_count = 4};
    if (!read_options(&bench, argc, argv)) {
        fputs("usage: pick [-n SIZE,SIZE...] [-j] [-m] [-g] [-r TRIED] [POLICY...]\n", stderr);
        return 2;
    }
    print_head(&bench);
    for (int i = optind; i < argc; i++) {
        struct script_use use = fixture_stock(argv[i]);
        use.path = strchr(argv[i], '/') != NULL ? argv[i] : NULL;
        print_row(&bench, &use);
    }
    const char *const *names = scripting_stock_names("policies");
    for (uint32_t i = 0; optind == argc && names[i] != NULL; i++) {
        struct script_use use = fixture_stock(names[i]);
        print_row(&bench, &use);
    }
    return 0;
}
