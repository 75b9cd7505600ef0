/* Random numbers for simulations: xoshiro256++ by Blackman and Vigna. The same seed gives the same
 * numbers on every machine. Belongs to one thread. */
#ifndef OFFLINE_RANDOM_H
#define OFFLINE_RANDOM_H

#include <math.h>
#include <stdint.h>

struct random {
    uint64_t words[4];
};

static inline uint64_t random_word(struct random *random) {
    uint64_t *s = random->words, sum = s[0] + s[3];
    uint64_t result = (sum << 23 | sum >> 41) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* Any seed will do: splitmix64 spreads it. */
static inline void random_seed(struct random *random, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t word = seed += 0x9E3779B97F4A7C15u;
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9u;
        word = (word ^ word >> 27) * 0x94D049BB133111EBu;
        random->words[i] = word ^ word >> 31;
    }
}

/* In (0, 1]: never 0, whose logarithm there is not. */
static inline double random_unit(struct random *random) {
    return (double)((random_word(random) >> 11) + 1) * 0x1p-53;
}

/* In [0, count). The bias is below count / 2^32. */
static inline uint32_t random_below(struct random *random, uint32_t count) {
    return (uint32_t)((random_word(random) >> 32) * count >> 32);
}

static inline double random_exponential(struct random *random, double mean) {
    return -log(random_unit(random)) * mean;
}

#endif
