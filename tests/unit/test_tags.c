/* Tags: who has which bit, and for how long. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "pool/tags.h"
#include "suite.h"

static struct tags tags;

static void set_up(void) {
    memset(&tags, 0, sizeof(tags));
}

START_TEST(a_tag_keeps_its_bit_while_anyone_speaks_of_it) {
    ck_assert_int_eq(tags_take(&tags, "canary"), 0);
    ck_assert_int_eq(tags_take(&tags, "ssd"), 1);
    tags_hold(&tags, 1u << 1);                    /* a worker's plan */
    tags_give(&tags, 1u << 0 | 1u << 1);          /* the first plan is freed */
    ck_assert_int_eq(tags_take(&tags, "new"), 0); /* nobody speaks of canary any more */
    ck_assert_int_eq(tags_take(&tags, "ssd"), 1);
    ck_assert_int_eq(tags_take(&tags, "canary"), 2);
    tags_give(&tags, 1u << 1);
    tags_give(&tags, 1u << 1);
    ck_assert_int_eq(tags_take(&tags, "other"), 1);
}
END_TEST

START_TEST(there_are_as_many_as_bits) {
    char name[ALACRITY_NAME_BYTES + 1];
    for (int i = 0; i < TAG_BITS; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        ck_assert_int_eq(tags_take(&tags, name), i);
    }
    ck_assert_int_eq(tags_take(&tags, "more"), -1);
    ck_assert_int_eq(tags_take(&tags, "t31"), 31);
    tags_give(&tags, 1u << 17);
    ck_assert_int_eq(tags_take(&tags, "more"), 17);
    memset(name, 'x', ALACRITY_NAME_BYTES);
    name[ALACRITY_NAME_BYTES] = '\0';
    tags_give(&tags, 1u << 17);
    ck_assert_int_eq(tags_take(&tags, name), -1); /* the configuration has none so long */
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tags");
    TCase *tests = tcase_create("tags");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, a_tag_keeps_its_bit_while_anyone_speaks_of_it);
    tcase_add_test(tests, there_are_as_many_as_bits);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
