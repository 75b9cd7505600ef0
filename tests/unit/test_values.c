/* What a session keeps: set, replaced, removed, bounded. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/values.h"
#include "suite.h"

static struct values values;

static void empty(void) {
    values_free(&values);
}

static enum values_fault set_number(const char *key, double number) {
    const struct alacrity_value value = {.type = ALACRITY_SHARED_NUMBER, .number = number};
    return values_set(&values, key, (uint32_t)strlen(key), &value);
}

static enum values_fault set_text(const char *key, const char *bytes, uint32_t length) {
    const struct alacrity_value value = {
        .type = ALACRITY_SHARED_STRING, .bytes = bytes, .length = length};
    return values_set(&values, key, (uint32_t)strlen(key), &value);
}

static void drop(const char *key) {
    const struct alacrity_value value = {.type = ALACRITY_SHARED_NOTHING};
    ck_assert_int_eq(values_set(&values, key, (uint32_t)strlen(key), &value), VALUES_DONE);
}

static struct alacrity_value get(const char *key) {
    struct alacrity_value value;
    values_get(&values, key, (uint32_t)strlen(key), &value);
    return value;
}

START_TEST(what_was_set_is_there_until_it_is_replaced_or_removed) {
    ck_assert_uint_eq(get("tenant").type, ALACRITY_SHARED_NOTHING);
    ck_assert_int_eq(set_text("tenant", "a\0b", 3), VALUES_DONE);
    ck_assert_int_eq(set_number("n", 1.5), VALUES_DONE);
    ck_assert_int_eq(set_number("tenants", -0.25), VALUES_DONE);
    ck_assert_uint_eq(get("tenant").length, 3);
    ck_assert_mem_eq(get("tenant").bytes, "a\0b", 4);
    ck_assert(get("tenants").number == -0.25);
    ck_assert_int_eq(set_number("tenant", 7), VALUES_DONE);
    ck_assert_uint_eq(get("tenant").type, ALACRITY_SHARED_NUMBER);
    ck_assert(get("tenant").number == 7 && get("n").number == 1.5);
    drop("tenant");
    drop("tenant");
    ck_assert_uint_eq(get("tenant").type, ALACRITY_SHARED_NOTHING);
    ck_assert(get("n").number == 1.5 && get("tenants").number == -0.25);
}
END_TEST

START_TEST(it_is_bounded) {
    char long_text[VALUES_STRING_MAX + 1], key[VALUES_KEY_MAX + 2], other[16];
    memset(long_text, 'x', sizeof(long_text));
    ck_assert_int_eq(set_text("a", long_text, VALUES_STRING_MAX + 1), VALUES_TOO_LONG);
    for (int i = 0; i < VALUES_COUNT_MAX; i++) {
        snprintf(key, sizeof(key), "key_%02d_of_the_longest_there_can_b", i);
        key[VALUES_KEY_MAX] = '\0';
        ck_assert_uint_eq(strlen(key), VALUES_KEY_MAX);
        ck_assert_int_eq(set_text(key, long_text, VALUES_STRING_MAX), VALUES_DONE);
    }
    ck_assert_int_eq(set_number("one_more", 1), VALUES_TOO_MANY);
    ck_assert_int_eq(set_text(key, long_text, VALUES_STRING_MAX), VALUES_DONE);
    drop(key);
    ck_assert_int_eq(set_number("one_more", 1), VALUES_DONE);
    for (int i = 0; i < 100000; i++) {
        snprintf(other, sizeof(other), "%d", i);
        ck_assert_int_eq(set_text("one_more", other, (uint32_t)strlen(other)), VALUES_DONE);
    }
    ck_assert_uint_eq(values.count, VALUES_COUNT_MAX);
    ck_assert_uint_le(values.room, 8192);
}
END_TEST

static const char *const bad_keys[] = {
    "", "1a", "a b", "a.b", "a-b", "\xc3\xa4", "a_name_of_more_than_32_characters"};

START_TEST(a_key_is_a_name) {
    ck_assert_int_eq(set_number(bad_keys[_i], 1), VALUES_BAD_KEY);
    ck_assert_uint_eq(values.count, 0);
}
END_TEST

START_TEST(all_can_be_listed) {
    struct alacrity_value value;
    const char *key;
    ck_assert(!values_each(&values, 0, &key, &value));
    set_number("a", 1);
    set_text("b", "two", 3);
    ck_assert(values_each(&values, 0, &key, &value) && strcmp(key, "a") == 0 && value.number == 1);
    ck_assert(values_each(&values, 1, &key, &value));
    ck_assert_str_eq(key, "b");
    ck_assert_str_eq(value.bytes, "two");
    ck_assert(!values_each(&values, 2, &key, &value));
}
END_TEST

START_TEST(nothing_can_be_kept_for_nobody) {
    const struct alacrity_value value = {.type = ALACRITY_SHARED_NUMBER};
    struct alacrity_value out;
    ck_assert_int_eq(values_set(NULL, "a", 1, &value), VALUES_GONE);
    values_get(NULL, "a", 1, &out);
    ck_assert_uint_eq(out.type, ALACRITY_SHARED_NOTHING);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("values");
    TCase *cases = tcase_create("values");
    tcase_add_checked_fixture(cases, empty, empty);
    tcase_add_test(cases, what_was_set_is_there_until_it_is_replaced_or_removed);
    tcase_add_test(cases, it_is_bounded);
    tcase_add_loop_test(cases, a_key_is_a_name, 0, sizeof(bad_keys) / sizeof(bad_keys[0]));
    tcase_add_test(cases, all_can_be_listed);
    tcase_add_test(cases, nothing_can_be_kept_for_nobody);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
