/* SipHash-1-3: a hash with a secret key. For tables whose keys strangers choose: without the secret
 * nobody can make up keys that fall into one chain. Any thread. */
#ifndef BASE_KEYED_HASH_H
#define BASE_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t sip_rotate(uint64_t word, int bits) {
    return word << bits | word >> (64 - bits);
}

static inline void sip_round(struct sip *s) {
    s->a += s->b;
    s->c += s->d;
    s->b = sip_rotate(s->b, 13) ^ s->a;
    s->d = sip_rotate(s->d, 16) ^ s->c;
    s->a = sip_rotate(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = sip_rotate(s->b, 17) ^ s->c;
    s->d = sip_rotate(s->d, 21) ^ s->a;
    s->c = sip_rotate(s->c, 32);
}

static inline void sip_take(struct sip *s, uint64_t word) {
    s->d ^= word;
    sip_round(s);
    s->a ^= word;
}

/* `salt` tells keys of different kinds apart. */
static inline uint64_t keyed_hash(const uint64_t secret[2], uint64_t salt, const void *bytes,
                                  size_t length) {
    struct sip s = {secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du,
                    secret[0] ^ 0x6c7967656e657261u, secret[1] ^ 0x7465646279746573u};
    const char *at = bytes;
    uint64_t word;
    sip_take(&s, salt);
    for (size_t left = length; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        sip_take(&s, word);
    }
    word = 0;
    if (length % 8 != 0) { /* else `bytes` may be NULL */
        memcpy(&word, at, length % 8);
    }
    sip_take(&s, word | (uint64_t)length << 56);
    s.c ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}

#endif
