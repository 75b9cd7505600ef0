/* Rebuilding a lost state while its host is retired: whoever comes last, nothing is used after it
 * was freed (which AddressSanitizer sees), and an idle rebuild is freed with its state. And making
 * a state, which is our own work, does not fail for the budget that scripts have. */
#include <check.h>
#include <pthread.h>

#include "lua/rebuild.h"
#include "lua/state.h"
#include "lua/watchdog.h"
#include "script_fixture.h"

static struct script_mail *posted;

static void post(void *argument, struct script_mail *mail) {
    (void)argument;
    ck_assert_ptr_null(posted);
    posted = mail;
}

/* A policy whose state was lost and is on its way to the builder. */
static struct policy *lose(struct fixture *f, const struct script_post *way) {
    f->snapshot.lua.overruns = 3;
    f->snapshot.lua.overrun_window_ms = 60000;
    f->host->post = way;
    struct policy *policy = fixture_policy(f, fixture_stock("round-robin"));
    ck_assert_ptr_nonnull(policy);
    posted = NULL;
    f->host->states->lost = true;
    rebuild_begin(f->host->scripts, "pick", true);
    ck_assert(posted != NULL && f->host->states->resting);
    return policy;
}

static void close_without_host(struct fixture *f) {
    f->host = scripting->host_new(&f->snapshot, f->arena, NULL, NULL, 0, &f->messages);
    fixture_must(f->host != NULL);
    fixture_close(f);
}

/* 0: not retired; 1: retired, and back before the host is freed; 2: back after that. */
START_TEST(a_rebuild_meets_the_end_of_its_host) {
    struct fixture f;
    const struct script_post way = {.post = post};
    fixture_open(&f, 2, NULL);
    (void)lose(&f, &way);
    if (_i > 0) {
        scripting->host_retire(f.host);
    }
    posted->at_builder(posted);
    if (_i == 2) {
        scripting->host_free(f.host);
        posted->at_owner(posted);
        close_without_host(&f);
    } else {
        posted->at_owner(posted);
        ck_assert_int_eq(f.host->states->resting, _i == 1);
        fixture_close(&f);
    }
}
END_TEST

static void *make_states(void *argument) {
    struct fixture *f = argument;
    char error[256];
    for (int i = 0; i < 1000; i++) {
        struct script_host *host =
            scripting->host_new(&f->snapshot, f->arena, NULL, NULL, 0, &f->messages);
        ck_assert_ptr_nonnull(host);
        ck_assert_msg(state_new(host, NULL, NULL, NULL, error, sizeof(error)) != NULL, "%s", error);
        scripting->host_free(host);
    }
    return NULL;
}

/* It takes a third of a millisecond, but now and then more than one. */
START_TEST(the_smallest_budget_of_scripts_is_enough_for_a_state) {
    struct fixture f;
    pthread_t thread;
    fixture_open(&f, 2, NULL);
    f.snapshot.lua.budget_ms = f.snapshot.lua.pick_budget_ms = 1;
    ck_assert_int_eq(watchdog_thread_start(&thread, make_states, &f), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    fixture_close(&f);
}
END_TEST

int main(void) {
    char reason[256];
    if (!watchdog_open(reason, sizeof(reason))) {
        printf("the watchdog cannot be proven here: %s\n", reason);
    }
    Suite *suite = suite_create("rebuild");
    TCase *cases = tcase_create("all");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, the_smallest_budget_of_scripts_is_enough_for_a_state);
    tcase_add_loop_test(cases, a_rebuild_meets_the_end_of_its_host, 0, 3);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
