/* Scalars: what one written word means as a boolean, number, duration or size, and back. Pure
 * functions, any thread. */
#ifndef CONFIG_SCALAR_H
#define CONFIG_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scalar_result {
    SCALAR_OK,
    SCALAR_BAD,     /* not of this type at all */
    SCALAR_NO_UNIT, /* a plain number where a unit is needed */
    SCALAR_RANGE,   /* of the type, but beyond what 64 bits hold */
};

/* true/false, on/off, yes/no, in any case. */
enum scalar_result scalar_boolean(const char *text, bool *out);
/* Decimal digits only. */
enum scalar_result scalar_integer(const char *text, uint64_t *out);
/* Decimal with optional sign, fraction and exponent; finite. */
enum scalar_result scalar_number(const char *text, double *out);
/* 250ms 2s 5m 1h 1d, or 0. In milliseconds. */
enum scalar_result scalar_duration(const char *text, uint64_t *out);
/* 64KiB 1MiB 2GiB, or plain bytes. */
enum scalar_result scalar_size(const char *text, uint64_t *out);
bool scalar_is_null(const char *text); /* nothing, ~ or null */

#define SCALAR_FORMAT_BYTES 32
/* In the largest unit that divides it. */
void scalar_format_duration(uint64_t ms, char out[SCALAR_FORMAT_BYTES]);
void scalar_format_size(uint64_t bytes, char out[SCALAR_FORMAT_BYTES]);

#endif
