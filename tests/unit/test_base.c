/* Slab, text, JSON strings, messages and the guess at a mistyped word. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/messages.h"
#include "base/slab.h"
#include "base/text.h"
#include "suite.h"

START_TEST(slab_objects_are_zeroed_distinct_and_reused) {
    struct slab slab;
    slab_init(&slab, 100);
    unsigned char *objects[2000];
    for (int i = 0; i < 2000; i++) {
        objects[i] = slab_take(&slab);
        ck_assert_ptr_nonnull(objects[i]);
        for (int k = 0; k < 100; k++) {
            ck_assert_uint_eq(objects[i][k], 0);
        }
        memset(objects[i], i & 0xFF, 100);
    }
    for (int i = 0; i < 2000; i++) {
        ck_assert_uint_eq(objects[i][99], i & 0xFF);
    }
    size_t peak = slab.total;
    for (int i = 0; i < 2000; i++) {
        slab_give(&slab, objects[i]);
    }
    ck_assert_uint_eq(slab.used, 0);
    for (int i = 0; i < 2000; i++) {
        unsigned char *again = slab_take(&slab);
        ck_assert_uint_eq(again[0] | again[50] | again[99], 0);
    }
    ck_assert_uint_eq(slab.total, peak);
    slab_destroy(&slab);
}
END_TEST

/* While objects are taken and given: those that stay are met once, in every one of many blocks. */
START_TEST(slab_walk_meets_every_object_once) {
    struct slab slab;
    slab_init(&slab, 100);
    struct slab_walk walk = {0};
    ck_assert_ptr_null(slab_next(&slab, &walk));
    unsigned char *objects[2000];
    for (int i = 0; i < 2000; i++) {
        objects[i] = slab_take(&slab);
        objects[i][50] = 1;
    }
    size_t met = 0, blank = 0, total = slab.total;
    for (unsigned char *object; (object = slab_next(&slab, &walk)) != NULL; met++) {
        blank += object[50] == 0;
        ck_assert_uint_le(object[50], 1);
        object[50] += object[50];
        if (met == 500) { /* a new block, which is not met */
            while (slab.total == total) {
                ck_assert_ptr_nonnull(slab_take(&slab));
            }
            slab_give(&slab, objects[0]);
        }
    }
    ck_assert_ptr_null(slab_next(&slab, &walk));
    ck_assert_uint_eq(met, total);
    ck_assert_uint_eq(blank, total - 2000);
    for (int i = 1; i < 2000; i++) {
        ck_assert_uint_eq(objects[i][50], 2);
    }
    slab_destroy(&slab);
}
END_TEST
START_TEST(slab_takes_objects_larger_than_a_block) {
    struct slab slab;
    slab_init(&slab, 200000);
    char *object = slab_take(&slab);
    ck_assert_ptr_nonnull(object);
    memset(object, 1, 200000);
    slab_give(&slab, object);
    slab_destroy(&slab);
}
END_TEST

START_TEST(text_grows_and_stays_terminated) {
    struct text text = {0};
    text_append(&text, "", 0);
    ck_assert_str_eq(text.bytes, "");
    for (int i = 0; i < 1000; i++) {
        text_format(&text, "%d,", i);
    }
    ck_assert_uint_eq(text.length, 10 * 2 + 90 * 3 + 900 * 4);
    ck_assert_uint_eq(strlen(text.bytes), text.length);
    ck_assert_str_eq(text.bytes + text.length - 8, "998,999,");
    text_clear(&text);
    text_string(&text, "new");
    ck_assert_str_eq(text.bytes, "new");
    ck_assert(!text.failed);
    text_free(&text);
    ck_assert_ptr_null(text.bytes);
}
END_TEST

START_TEST(text_that_cannot_grow_fails_and_keeps_what_it_has) {
    struct text text = {0};
    text_string(&text, "kept");
    text_append(&text, "x", (size_t)1 << 62);
    ck_assert(text.failed);
    text_string(&text, " not");
    text_format(&text, "%d", 1);
    ck_assert_str_eq(text.bytes, "kept");
    text_free(&text);
    ck_assert(!text.failed);
}
END_TEST

static const struct {
    const char *in, *out;
} json_cases[] = {
    {"plain", "\"plain\""},
    {"", "\"\""},
    {"a\"b\\c", "\"a\\\"b\\\\c\""},
    {"\n\r\t\x01\x7f", "\"\\n\\r\\t\\u0001\\u007f\""},
    {"h\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80", "\"h\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80\""},
    {"a\xFFz", "\"a\xEF\xBF\xBDz\""},
    {"\xC0\xAF", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* overlong */
    {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* surrogate */
    {"\xE2\x82", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* cut off */
};

START_TEST(json_strings_are_escaped_and_valid_utf8) {
    struct text text = {0};
    text_json_string(&text, json_cases[_i].in);
    ck_assert_str_eq(text.bytes, json_cases[_i].out);
    text_free(&text);
}
END_TEST

START_TEST(json_bytes_may_contain_nul) {
    struct text text = {0};
    text_json_bytes(&text, "a\0b", 3);
    ck_assert_str_eq(text.bytes, "\"a\\u0000b\"");
    text_free(&text);
}
END_TEST

START_TEST(messages_name_their_place) {
    struct messages messages = {0};
    messages_add(&messages, (struct position){"a.yml", 3, 7}, "bad %s", "port");
    messages_add(&messages, (struct position){"a.yml", 4, 0}, "line only");
    messages_add(&messages, (struct position){"a.yml", 0, 0}, "file only");
    messages_add(&messages, (struct position){NULL, 0, 0}, "two\nlines");
    ck_assert_str_eq(messages.text.bytes, "a.yml:3:7: bad port\na.yml:4: line only\n"
                                          "a.yml: file only\ntwo lines\n");
    ck_assert_uint_eq(messages.count, 4);
    messages_free(&messages);
}
END_TEST

START_TEST(messages_beyond_a_hundred_are_counted) {
    struct messages messages = {0};
    for (int i = 0; i < 1234; i++) {
        messages_add(&messages, (struct position){"a.yml", 1, 1}, "number %d", i);
    }
    ck_assert_uint_eq(messages.count, 1234);
    ck_assert_ptr_nonnull(strstr(messages.text.bytes, "number 99\nand 1134 more\n"));
    ck_assert_ptr_null(strstr(messages.text.bytes, "number 100\n"));
    ck_assert_ptr_null(strstr(messages.text.bytes, "and 1 more"));
    messages_free(&messages);
}
END_TEST

START_TEST(nearest_word_finds_typos_only) {
    static const char *const words[] = {"listeners", "pools", "timeouts", "max_sessions", "log"};
    ck_assert_str_eq(nearest_word("listner", words, 5), "listeners");
    ck_assert_str_eq(nearest_word("pool", words, 5), "pools");
    ck_assert_str_eq(nearest_word("tiemouts", words, 5), "timeouts");
    ck_assert_str_eq(nearest_word("Max-Sessions", words, 5), "max_sessions");
    ck_assert_str_eq(nearest_word("lgo", words, 5), "log");
    ck_assert_ptr_null(nearest_word("banana", words, 5));
    ck_assert_ptr_null(nearest_word("x", words, 5));
    ck_assert_ptr_null(nearest_word("", words, 5));
    ck_assert_ptr_null(nearest_word("pools", words, 0));
    char longest[300];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ck_assert_ptr_null(nearest_word(longest, words, 5));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("base");
    TCase *base = tcase_create("base");
    tcase_add_test(base, slab_objects_are_zeroed_distinct_and_reused);
    tcase_add_test(base, slab_walk_meets_every_object_once);
    tcase_add_test(base, slab_takes_objects_larger_than_a_block);
    tcase_add_test(base, text_grows_and_stays_terminated);
    tcase_add_test(base, text_that_cannot_grow_fails_and_keeps_what_it_has);
    tcase_add_loop_test(base, json_strings_are_escaped_and_valid_utf8, 0,
                        sizeof(json_cases) / sizeof(json_cases[0]));
    tcase_add_test(base, json_bytes_may_contain_nul);
    tcase_add_test(base, messages_name_their_place);
    tcase_add_test(base, messages_beyond_a_hundred_are_counted);
    tcase_add_test(base, nearest_word_finds_typos_only);
    suite_add_tcase(suite, base);
    return run_suite(suite);
}
