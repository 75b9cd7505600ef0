/* What the load generator and the responder agree on.
 *
 * A connection opens with a question of QUESTION_BYTES that says what is wanted. Every answer of
 * ANSWER_BYTES is a function of its question, and every byte of a bulk transfer one of its position
 * and its connection, so bytes that are changed, lost, doubled or mixed up are noticed. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUESTION_BYTES 32u
#define ANSWER_BYTES 64u
#define BLOCK_BYTES (256u << 10) /* the most of a bulk transfer that one call looks at */

enum wire_kind {
    WIRE_ONCE = 1, /* answer and close */
    WIRE_STAY,     /* answer and wait for the next question */
    WIRE_DOWN,     /* send `amount` bytes and close */
    WIRE_UP,       /* take `amount` bytes, answer if they are right, and close */
};

struct wire_question {
    uint64_t kind, number, amount;
    uint64_t check; /* of the three above */
};

void wire_start(void); /* call once, before anything below */
struct wire_question wire_ask(enum wire_kind kind, uint64_t number, uint64_t amount);
bool wire_question_good(const struct wire_question *question);
void wire_answer(const struct wire_question *question, unsigned char *out);

/* The bulk bytes of a connection from `position` on; BLOCK_BYTES of them can be read there. */
const unsigned char *wire_bulk(uint64_t number, uint64_t position);

#endif
