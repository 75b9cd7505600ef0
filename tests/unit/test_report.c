/* Reports: one writing of fields and tables, read as aligned text and as JSON; and the words of
 * commands, found or put right. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"
#include "control/report.h"
#include "suite.h"

static const struct report_column summary[] = {
    {"version", "version", REPORT_PLAIN},
    {"pid", NULL, REPORT_PLAIN},
    {"uptime_ms", "up", REPORT_MILLISECONDS},
};
static const struct report_column columns[] = {
    {"name", "pool", REPORT_PLAIN},     {"path", NULL, REPORT_PLAIN},
    {"bytes", "traffic", REPORT_BYTES}, {"eligible", "eligible", REPORT_PLAIN},
    {"reason", "reason", REPORT_PLAIN},
};

static void write_all(struct report *report, bool json) {
    report_open(report, json);
    report_fields(report, REPORT_COLUMNS(summary));
    report_string(report, "0.1");
    report_number(report, 42);
    report_number(report, 90061000);
    report_table(report, "pools", REPORT_COLUMNS(columns));
    report_string(report, "app");
    report_string(report, NULL);
    report_number(report, 1536);
    report_boolean(report, true);
    report_string(report, "he said \"no\"\nand left");
    report_string(report, "übermut");
    report_string(report, "/x");
    report_number(report, 7);
    report_boolean(report, false);
    report_string(report, "");
    report_table(report, "empty", REPORT_COLUMNS(columns));
}

START_TEST(text_is_aligned) {
    struct report report;
    write_all(&report, false);
    ck_assert_str_eq(report_close(&report)->bytes,
                     "version  0.1\n"
                     "up       1d1h\n"
                     "\n"
                     "pool     traffic  eligible  reason\n"
                     "app      1.5 KiB  yes       he said \"no\"?and left\n"
                     "übermut      7 B  no        -\n"
                     "\n"
                     "pool  traffic  eligible  reason\n");
    ck_assert(!report.text.failed);
    report_free(&report);
}
END_TEST

START_TEST(json_has_every_column_and_plain_numbers) {
    struct report report;
    write_all(&report, true);
    ck_assert_str_eq(report_close(&report)->bytes,
                     "{\"version\": \"0.1\", \"pid\": 42, \"uptime_ms\": 90061000, \"pools\": [\n"
                     "{\"name\": \"app\", \"path\": null, \"bytes\": 1536, \"eligible\": true, "
                     "\"reason\": \"he said \\\"no\\\"\\nand left\"},\n"
                     "{\"name\": \"übermut\", \"path\": \"/x\", \"bytes\": 7, \"eligible\": false, "
                     "\"reason\": \"\"}], \"empty\": []}\n");
    report_free(&report);
}
END_TEST

START_TEST(nothing_is_a_document_too) {
    struct report report;
    report_open(&report, true);
    ck_assert_str_eq(report_close(&report)->bytes, "{}\n");
    report_free(&report);
    report_open(&report, false);
    ck_assert_uint_eq(report_close(&report)->length, 0);
    report_free(&report);
}
END_TEST

static void one_cell(uint64_t value, enum report_unit unit, const char *expected) {
    const struct report_column column = {"x", "x", unit};
    char line[64];
    struct report report;
    report_open(&report, false);
    report_fields(&report, &column, 1);
    report_number(&report, value);
    snprintf(line, sizeof(line), "x  %s\n", expected);
    ck_assert_str_eq(report_close(&report)->bytes, line);
    report_free(&report);
}

START_TEST(units_are_for_people) {
    one_cell(1023, REPORT_BYTES, "1023 B");
    one_cell(1024, REPORT_BYTES, "1.0 KiB");
    one_cell(1024 * 1024 - 1, REPORT_BYTES, "1.0 MiB");
    one_cell(UINT64_MAX, REPORT_BYTES, "16.0 EiB");
    one_cell(999, REPORT_MILLISECONDS, "999ms");
    one_cell(59999, REPORT_MILLISECONDS, "59.9s");
    one_cell(60000, REPORT_MILLISECONDS, "1m00s");
    one_cell(3599999, REPORT_MILLISECONDS, "59m59s");
    one_cell(3600000, REPORT_MILLISECONDS, "1h00m");
    one_cell(86400000, REPORT_MILLISECONDS, "1d0h");
    one_cell(UINT64_MAX, REPORT_MILLISECONDS, "213503982334d14h");
    one_cell(UINT64_MAX, REPORT_PLAIN, "18446744073709551615");
}
END_TEST

START_TEST(json_has_no_word_for_what_is_no_number) {
    const struct report_column column = {"x", "x", REPORT_PLAIN};
    const double strange[] = {NAN, INFINITY, -INFINITY, 1e300};
    for (int i = 0; i < 4; i++) {
        struct report report;
        report_open(&report, true);
        report_fields(&report, &column, 1);
        report_real(&report, strange[i]);
        ck_assert_str_eq(report_close(&report)->bytes, "{\"x\": null}\n");
        report_free(&report);
    }
}
END_TEST

/* ---- commands ---- */

static void is_wrong(const char *expected, uint32_t count, const char *const *words) {
    struct request request;
    char error[512];
    ck_assert(!command_parse(words, count, &request, error, sizeof(error)));
    ck_assert_str_eq(error, expected);
}

#define WORDS(...)                                                                                 \
    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[]) {           \
        __VA_ARGS__                                                                                \
    }

START_TEST(commands_are_found) {
    const char *const words[] = {"backend", "weight", "app/a", "3"};
    struct request request;
    char error[512];
    ck_assert(command_parse(words, 4, &request, error, sizeof(error)));
    ck_assert_int_eq(request.kind, COMMAND_BACKEND_WEIGHT);
    ck_assert_uint_eq(request.argument_count, 2);
    ck_assert_str_eq(request.arguments[1], "3");
    ck_assert(command_parse(words, 1, &request, error, sizeof(error)) == false);
    ck_assert(
        command_parse((const char *const[]){"backend", "list"}, 2, &request, error, sizeof(error)));
    ck_assert_uint_eq(request.argument_count, 0);
}
END_TEST

START_TEST(wrong_commands_are_put_right) {
    char longest[3000];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    is_wrong("no command; 'help' lists the commands", 0, NULL);
    is_wrong("unknown command 'stauts'; did you mean 'status'?", WORDS("stauts"));
    is_wrong("unknown command 'frobnicate'; 'help' lists the commands", WORDS("frobnicate"));
    is_wrong("unknown command 'backend dran'; did you mean 'drain'?",
             WORDS("backend", "dran", "a"));
    is_wrong("'backend' needs a second word: list, drain, ready, maint, weight", WORDS("backend"));
    is_wrong("wrong number of words; write: backend weight POOL/NAME N",
             WORDS("backend", "weight", "app/a"));
    is_wrong("wrong number of words; write: status", WORDS("status", "x"));
    is_wrong("unknown command 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'; 'help' lists the "
             "commands",
             WORDS(longest));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("report");
    TCase *cases = tcase_create("report");
    tcase_add_test(cases, text_is_aligned);
    tcase_add_test(cases, json_has_every_column_and_plain_numbers);
    tcase_add_test(cases, nothing_is_a_document_too);
    tcase_add_test(cases, units_are_for_people);
    tcase_add_test(cases, json_has_no_word_for_what_is_no_number);
    tcase_add_test(cases, commands_are_found);
    tcase_add_test(cases, wrong_commands_are_put_right);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
