/* What a thread in the background asks of the kernel's scheduler (core/base/background.c). Check
 * runs each test in a process of its own, whose only thread it is that enters. */
#include <check.h>
#include <linux/sched/types.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/background.h"
#include "suite.h"

/* Of the calling thread. */
static struct sched_attr asked(void) {
    struct sched_attr attributes = {0};
    ck_assert_int_eq(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0), 0);
    return attributes;
}

START_TEST(it_is_nicer_and_its_slices_are_longer) {
    struct sched_attr before = asked();
    background_enter();
    struct sched_attr after = asked();
    int nice = before.sched_nice + 10;
    ck_assert_int_eq(after.sched_nice, nice < 19 ? nice : 19);
    if (before.sched_runtime != 0) { /* since Linux 6.12 a thread has a slice of its own */
        ck_assert_uint_eq(after.sched_runtime, 100000000);
    }
}
END_TEST

START_TEST(nobody_is_nicer_than_the_kernel_allows) {
    ck_assert_int_eq(setpriority(PRIO_PROCESS, 0, 15), 0);
    background_enter();
    ck_assert_int_eq(asked().sched_nice, 19);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("background");
    TCase *cases = tcase_create("background");
    tcase_add_test(cases, it_is_nicer_and_its_slices_are_longer);
    tcase_add_test(cases, nobody_is_nicer_than_the_kernel_allows);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
