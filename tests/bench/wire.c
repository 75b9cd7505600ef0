/* The bytes that the load generator and the responder exchange; see wire.h. */
#include "wire.h"

#include <string.h>

/* Bulk bytes repeat after a prime number of them: no buffer of a proxy has a size that fits, so a
 * block that is in the wrong place differs. */
#define PERIOD 65521u

static unsigned char table[PERIOD + BLOCK_BYTES];

static uint64_t mix(uint64_t word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
}

void wire_start(void) {
    for (size_t i = 0; i < sizeof(table); i++) {
        table[i] = (unsigned char)mix(i % PERIOD + 1);
    }
}

static uint64_t check_of(const struct wire_question *question) {
    return mix(mix(mix(question->kind + 1) ^ question->number) ^ question->amount);
}

struct wire_question wire_ask(enum wire_kind kind, uint64_t number, uint64_t amount) {
    struct wire_question question = {.kind = kind, .number = number, .amount = amount};
    question.check = check_of(&question);
    return question;
}

bool wire_question_good(const struct wire_question *question) {
    return question->check == check_of(question);
}

void wire_answer(const struct wire_question *question, unsigned char *out) {
    for (uint64_t i = 0; i < ANSWER_BYTES / 8; i++) {
        uint64_t word = mix(question->check + i);
        memcpy(out + i * 8, &word, 8);
    }
}

const unsigned char *wire_bulk(uint64_t number, uint64_t position) {
    return table + (number * 7919u + position) % PERIOD;
}
