/* What the load generator and the responder agree on: a short session is a question of
 * QUESTION_BYTES, an answer of ANSWER_BYTES that depends on the question, and an end. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define QUESTION_BYTES 32u
#define ANSWER_BYTES 64u

/* The question carries a number that the answer must repeat, so a mix-up of sessions is seen. */
static inline void wire_question(uint64_t number, unsigned char *out) {
    for (size_t i = 0; i < QUESTION_BYTES; i += 8) {
        uint64_t word = (number + i) * 0x9E3779B97F4A7C15u;
        memcpy(out + i, &word, 8);
    }
}

static inline void wire_answer(const unsigned char *question, unsigned char *out) {
    for (size_t i = 0; i < ANSWER_BYTES; i++) {
        out[i] = (unsigned char)(question[i % QUESTION_BYTES] ^ (unsigned char)(i * 7u + 1u));
    }
}

#endif
