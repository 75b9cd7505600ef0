/* Scalars of the configuration: what a written word means, and its way back. */
#include <check.h>
#include <stdlib.h>

#include "config/scalar.h"

static const struct {
    const char *text;
    enum scalar_result result;
    uint64_t value;
} durations[] =
    {
        {"0", SCALAR_OK, 0},
        {"250ms", SCALAR_OK, 250},
        {"2s", SCALAR_OK, 2000},
        {"5m", SCALAR_OK, 300000},
        {"1h", SCALAR_OK, 3600000},
        {"1d", SCALAR_OK, 86400000},
        {"007s", SCALAR_OK, 7000},
        {"5", SCALAR_NO_UNIT, 5},
        {"", SCALAR_BAD, 0},
        {"s", SCALAR_BAD, 0},
        {"5 s", SCALAR_BAD, 0},
        {" 5s", SCALAR_BAD, 0},
        {"5S", SCALAR_BAD, 0},
        {"-5s", SCALAR_BAD, 0},
        {"+5s", SCALAR_BAD, 0},
        {"1.5s", SCALAR_BAD, 0},
        {"1h30m", SCALAR_BAD, 0},
        {"5sec", SCALAR_BAD, 0},
        {"0x5s", SCALAR_BAD, 0},
        {"1e3ms", SCALAR_BAD, 0},
        {"00", SCALAR_OK, 0},
        {"18446744073709551615ms", SCALAR_OK, UINT64_MAX},
        {"18446744073709551616ms", SCALAR_RANGE, 0},
        {"18446744073709551615s", SCALAR_RANGE, 0},
        {"184467440737095516150", SCALAR_NO_UNIT, 0},
},
  sizes[] =
      {
          {"0", SCALAR_OK, 0},
          {"64KiB", SCALAR_OK, 65536},
          {"1MiB", SCALAR_OK, 1048576},
          {"2GiB", SCALAR_OK, 2147483648u},
          {"1000", SCALAR_OK, 1000},
          {"64KB", SCALAR_BAD, 0},
          {"64kib", SCALAR_BAD, 0},
          {"1M", SCALAR_BAD, 0},
          {"1 MiB", SCALAR_BAD, 0},
          {"18446744073709551615GiB", SCALAR_RANGE, 0},
          {"18446744073709551616", SCALAR_RANGE, 0},
},
  integers[] = {
      {"0", SCALAR_OK, 0},
      {"42", SCALAR_OK, 42},
      {"4_2", SCALAR_BAD, 0},
      {"-1", SCALAR_BAD, 0},
      {"1.0", SCALAR_BAD, 0},
      {"", SCALAR_BAD, 0},
      {"18446744073709551615", SCALAR_OK, UINT64_MAX},
      {"18446744073709551616", SCALAR_RANGE, 0},
};

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

#define CHECK_ROW(rows, function)                                                                  \
    do {                                                                                           \
        uint64_t value = 0;                                                                        \
        ck_assert_msg(function(rows[_i].text, &value) == rows[_i].result, "%s", rows[_i].text);    \
        if (rows[_i].result == SCALAR_OK) {                                                        \
            ck_assert_uint_eq(value, rows[_i].value);                                              \
        }                                                                                          \
    } while (0)

START_TEST(duration) {
    CHECK_ROW(durations, scalar_duration);
}
END_TEST

START_TEST(size) {
    CHECK_ROW(sizes, scalar_size);
}
END_TEST

START_TEST(integer) {
    CHECK_ROW(integers, scalar_integer);
}
END_TEST

START_TEST(boolean) {
    static const char *const yes[] = {"true", "on", "yes", "True", "ON", "Yes"};
    static const char *const no[] = {"false", "off", "no", "FALSE", "Off", "No"};
    static const char *const neither[] = {"", "1", "0", "y", "n", "truee", "tru"};
    bool value;

    for (int i = 0; i < COUNT(yes); i++) {
        value = false;
        ck_assert(scalar_boolean(yes[i], &value) == SCALAR_OK && value);
    }
    for (int i = 0; i < COUNT(no); i++) {
        value = true;
        ck_assert(scalar_boolean(no[i], &value) == SCALAR_OK && !value);
    }
    for (int i = 0; i < COUNT(neither); i++) {
        ck_assert_int_eq(scalar_boolean(neither[i], &value), SCALAR_BAD);
    }
}
END_TEST

START_TEST(number) {
    static const char *const bad[] = {"",    "-",   ".5",  "1e", "0x10",
                                      "inf", "nan", "1,5", "1 ", "--1"};
    double value;

    ck_assert(scalar_number("-1.5e3", &value) == SCALAR_OK && value < -1499 && value > -1501);
    ck_assert(scalar_number("+7", &value) == SCALAR_OK && value > 6 && value < 8);
    ck_assert(scalar_number("1.", &value) == SCALAR_OK);
    ck_assert_int_eq(scalar_number("1e999", &value), SCALAR_RANGE);
    for (int i = 0; i < COUNT(bad); i++) {
        ck_assert_msg(scalar_number(bad[i], &value) == SCALAR_BAD, "%s", bad[i]);
    }
}
END_TEST

START_TEST(printed_in_the_largest_unit) {
    char text[SCALAR_FORMAT_BYTES];

    scalar_format_duration(0, text);
    ck_assert_str_eq(text, "0");
    scalar_format_duration(90000, text);
    ck_assert_str_eq(text, "90s");
    scalar_format_duration(86400000, text);
    ck_assert_str_eq(text, "1d");
    scalar_format_duration(UINT64_MAX, text);
    ck_assert_str_eq(text, "18446744073709551615ms");
    scalar_format_size(1536, text);
    ck_assert_str_eq(text, "1536");
    scalar_format_size(1u << 30, text);
    ck_assert_str_eq(text, "1GiB");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config scalars");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);

    tcase_add_loop_test(all, duration, 0, COUNT(durations));
    tcase_add_loop_test(all, size, 0, COUNT(sizes));
    tcase_add_loop_test(all, integer, 0, COUNT(integers));
    tcase_add_test(all, boolean);
    tcase_add_test(all, number);
    tcase_add_test(all, printed_in_the_largest_unit);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
