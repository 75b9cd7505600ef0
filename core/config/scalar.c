/* Scalars: see scalar.h. Pure functions, any thread. */
#include "config/scalar.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first, for printing. */
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {
    {"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"", 1}};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

enum scalar_result scalar_boolean(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "off", "on", "no", "yes"};

    for (uint32_t i = 0; i < COUNT(words); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return SCALAR_OK;
        }
    }
    return SCALAR_BAD;
}

/* Reads the digits a text begins with; `rest` is what follows them. */
static enum scalar_result read_digits(const char *text, uint64_t *out, const char **rest) {
    uint64_t number = 0;
    bool overflow = false;

    if (!is_digit(*text)) {
        return SCALAR_BAD;
    }
    for (; is_digit(*text); text++) {
        overflow |= __builtin_mul_overflow(number, 10u, &number);
        overflow |= __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number);
    }
    *out = number;
    *rest = text;
    return overflow ? SCALAR_RANGE : SCALAR_OK;
}

enum scalar_result scalar_integer(const char *text, uint64_t *out) {
    const char *rest;
    const enum scalar_result result = read_digits(text, out, &rest);

    return result != SCALAR_BAD && *rest != '\0' ? SCALAR_BAD : result;
}

enum scalar_result scalar_number(const char *text, double *out) {
    const char *at = text;

    /* strtod alone would also take "inf", "nan" and hexadecimal. */
    at += *at == '-' || *at == '+';
    if (!is_digit(*at)) {
        return SCALAR_BAD;
    }
    while (is_digit(*at)) {
        at++;
    }
    if (*at == '.') {
        do {
            at++;
        } while (is_digit(*at));
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        if (!is_digit(*at)) {
            return SCALAR_BAD;
        }
        while (is_digit(*at)) {
            at++;
        }
    }
    if (*at != '\0') {
        return SCALAR_BAD;
    }
    *out = strtod(text, NULL);
    return isfinite(*out) ? SCALAR_OK : SCALAR_RANGE;
}

static enum scalar_result read_with_unit(const char *text, const struct unit *units, size_t count,
                                         uint64_t *out) {
    const char *rest;
    uint64_t number;
    enum scalar_result result = read_digits(text, &number, &rest);

    if (result == SCALAR_BAD) {
        return SCALAR_BAD;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rest, units[i].name) == 0) {
            return __builtin_mul_overflow(number, units[i].factor, out) ? SCALAR_RANGE : result;
        }
    }
    if (*rest != '\0') {
        return SCALAR_BAD;
    }
    *out = number;
    return number == 0 ? result : SCALAR_NO_UNIT;
}

enum scalar_result scalar_duration(const char *text, uint64_t *out) {
    return read_with_unit(text, duration_units, COUNT(duration_units), out);
}

enum scalar_result scalar_size(const char *text, uint64_t *out) {
    return read_with_unit(text, size_units, COUNT(size_units), out);
}

bool scalar_is_null(const char *text) {
    return *text == '\0' || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0;
}

static void format_with_unit(uint64_t number, const struct unit *units, size_t count, char *out) {
    size_t i = 0;

    while (i + 1 < count && number % units[i].factor != 0) {
        i++;
    }
    if (number == 0) {
        (void)snprintf(out, SCALAR_FORMAT_BYTES, "0");
    } else {
        (void)snprintf(out, SCALAR_FORMAT_BYTES, "%" PRIu64 "%s", number / units[i].factor,
                       units[i].name);
    }
}

void scalar_format_duration(uint64_t ms, char out[SCALAR_FORMAT_BYTES]) {
    format_with_unit(ms, duration_units, COUNT(duration_units), out);
}

void scalar_format_size(uint64_t bytes, char out[SCALAR_FORMAT_BYTES]) {
    format_with_unit(bytes, size_units, COUNT(size_units), out);
}
