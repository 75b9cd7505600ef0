/* Addresses: text and back, refusals, and the hash that all nodes must share. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "alacrity/script.h"
#include "base/address.h"
#include "suite.h"

static const struct {
    const char *text, *formatted, *host;
    uint16_t port;
} good[] = {
    {"127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", 80},
    {"*:65535", "0.0.0.0:65535", "0.0.0.0", 65535},
    {"[::1]:1", "[::1]:1", "::1", 1},
    {"[2001:DB8:0:0::1]:443", "[2001:db8::1]:443", "2001:db8::1", 443},
    {"[::ffff:10.0.0.1]:443", "10.0.0.1:443", "10.0.0.1", 443},
    {"unix:/run/a.sock", "unix:/run/a.sock", "unix", 0},
    {"unix:@name", "unix:@name", "unix", 0},
};

START_TEST(numeric_addresses_go_there_and_back) {
    struct address address, again;
    char error[200], text[ALACRITY_ADDRESS_BYTES];
    ck_assert_int_eq(address_parse(good[_i].text, &address, error, sizeof(error)), ADDRESS_NUMERIC);
    address_format(&address, text, sizeof(text));
    ck_assert_str_eq(text, good[_i].formatted);
    ck_assert_int_eq(address_parse(text, &again, error, sizeof(error)), ADDRESS_NUMERIC);
    ck_assert_uint_eq(address_port(&address), good[_i].port);
    ck_assert_uint_eq(address_hash_host(&address), address_hash_host(&again));
    address_format_host(&address, text, sizeof(text));
    ck_assert_str_eq(text, good[_i].host);
    ck_assert(address_equal(&address, &address));
}
END_TEST

START_TEST(every_number_is_printed_as_inet_ntop_does) {
    struct address address = {.length = sizeof(address.v4)};
    address.any.sa_family = AF_INET;
    for (uint32_t number = 0; number < 256; number++) {
        char text[ALACRITY_ADDRESS_BYTES], expected[INET_ADDRSTRLEN];
        uint32_t other = number * 37 % 256;
        address.v4.sin_addr.s_addr = htonl(number << 24 | other << 16 | number << 8 | (other ^ 9));
        ck_assert_ptr_nonnull(inet_ntop(AF_INET, &address.v4.sin_addr, expected, sizeof(expected)));
        address_format_host(&address, text, sizeof(text));
        ck_assert_str_eq(text, expected);
    }
}
END_TEST

static const char *const bad[] = {
    "",
    ":",
    ":80",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:-1",
    "127.0.0.1:8x",
    "127.0.0.1: 80",
    "127.0.0.1:99999999999999999999",
    "256.0.0.1:80",
    "1.2.3:80",
    "::1:80",
    "[::1]",
    "[::1]80",
    "[::1",
    "[::g]:80",
    "[127.0.0.1]:80",
    "[]:80",
    "unix:",
    "unix:@",
    "unix:relative",
    "a b:80",
    "a..b:80",
    "-a:80",
    "a/b:80",
    "a\nb:80",
};

START_TEST(bad_addresses_are_refused_with_advice) {
    struct address address;
    char error[200] = "";
    ck_assert_int_eq(address_parse(bad[_i], &address, error, sizeof(error)), ADDRESS_BAD);
    ck_assert_ptr_nonnull(strstr(error, "write"));
    ck_assert_uint_eq(address.length, 0);
}
END_TEST

START_TEST(host_names_are_left_to_the_resolver) {
    struct address address;
    char error[200], text[ALACRITY_ADDRESS_BYTES];
    ck_assert_int_eq(address_parse("db-1.example.org:5432", &address, error, sizeof(error)),
                     ADDRESS_HOST);
    ck_assert_uint_eq(address.length, 0);
    ck_assert(address_resolve("127.0.0.9:7", &address, error, sizeof(error)));
    ck_assert(address_resolve("localhost:5432", &address, error, sizeof(error)));
    ck_assert_uint_eq(address_port(&address), 5432);
    address_format_host(&address, text, sizeof(text));
    ck_assert(strcmp(text, "127.0.0.1") == 0 || strcmp(text, "::1") == 0);
    ck_assert(!address_resolve("nobody.invalid:80", &address, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "nobody.invalid"));
}
END_TEST

START_TEST(the_longest_socket_path_fits_and_one_more_does_not) {
    struct address address;
    char error[200], path[200] = "unix:/", text[ALACRITY_ADDRESS_BYTES];
    memset(path + 6, 'p', 106); /* 107 bytes of path and its NUL fill sun_path */
    path[112] = '\0';
    ck_assert_int_eq(address_parse(path, &address, error, sizeof(error)), ADDRESS_NUMERIC);
    address_format(&address, text, sizeof(text));
    ck_assert_str_eq(text, path);
    strcat(path, "p");
    ck_assert_int_eq(address_parse(path, &address, error, sizeof(error)), ADDRESS_BAD);
}
END_TEST

START_TEST(unnamed_and_unset_addresses_have_a_text) {
    struct address unnamed = {.length = sizeof(sa_family_t)}, unset = {0};
    char text[ALACRITY_ADDRESS_BYTES];
    unnamed.any.sa_family = AF_UNIX;
    address_format(&unnamed, text, sizeof(text));
    ck_assert_str_eq(text, "unix:");
    address_format(&unset, text, sizeof(text));
    ck_assert_str_eq(text, "");
    ck_assert(!address_equal(&unset, &unnamed));
    ck_assert(address_equal(&unset, &unset));
}
END_TEST

START_TEST(equality_looks_at_host_and_port) {
    struct address a, b;
    char error[200];
    ck_assert_int_eq(address_parse("10.0.0.1:80", &a, error, sizeof(error)), ADDRESS_NUMERIC);
    ck_assert_int_eq(address_parse("10.0.0.1:81", &b, error, sizeof(error)), ADDRESS_NUMERIC);
    ck_assert(!address_equal(&a, &b));
    ck_assert_uint_eq(address_hash_host(&a), address_hash_host(&b));
    ck_assert_int_eq(address_parse("10.0.0.2:80", &b, error, sizeof(error)), ADDRESS_NUMERIC);
    ck_assert(!address_equal(&a, &b));
    ck_assert_uint_ne(address_hash_host(&a), address_hash_host(&b));
}
END_TEST

/* Known answers of xxHash32 with seed 0, each taking another path through the algorithm. */
static const struct {
    const char *text;
    uint32_t hash;
} hashes[] = {
    {"", 0x02CC5D05},
    {"a", 0x550D7456},
    {"abc", 0x32D153FF},
    {"Nobody inspects the spammish repetition", 0xE2293B2F},
};

START_TEST(the_hash_is_xxhash32) {
    ck_assert_uint_eq(hash_bytes(hashes[_i].text, strlen(hashes[_i].text)), hashes[_i].hash);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("address");
    TCase *address = tcase_create("address");
    tcase_add_loop_test(address, numeric_addresses_go_there_and_back, 0,
                        sizeof(good) / sizeof(good[0]));
    tcase_add_loop_test(address, bad_addresses_are_refused_with_advice, 0,
                        sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(address, every_number_is_printed_as_inet_ntop_does);
    tcase_add_test(address, host_names_are_left_to_the_resolver);
    tcase_add_test(address, the_longest_socket_path_fits_and_one_more_does_not);
    tcase_add_test(address, unnamed_and_unset_addresses_have_a_text);
    tcase_add_test(address, equality_looks_at_host_and_port);
    tcase_add_loop_test(address, the_hash_is_xxhash32, 0, sizeof(hashes) / sizeof(hashes[0]));
    suite_add_tcase(suite, address);
    return run_suite(suite);
}
