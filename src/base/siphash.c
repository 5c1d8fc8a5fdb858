#include "lb4/base/siphash.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* The four words of the state, as in section 2.2 of the paper: key and constants, then for each
 * eight bytes of input one round, and three rounds at the end. The last word carries the bytes that
 * are left and, on top, the length modulo 256. */
struct state {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static inline uint64_t rotate(uint64_t word, int n_bits)
{
    return word << n_bits | word >> (64 - n_bits);
}

static inline void mix(struct state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    s->v0 ^= word;
}

/* Up to eight bytes as the low end of a little-endian word. */
static inline uint64_t load(const uint8_t *bytes, size_t n_bytes)
{
    uint64_t word = 0;

    memcpy(&word, bytes, n_bytes);
    return le64toh(word);
}

int siphash_key_init(struct siphash_key *key)
{
    struct siphash_key random;

    /* 256 bytes or fewer come whole or not at all, getrandom(2). */
    if (getrandom(&random, sizeof(random), 0) < 0)
        return -errno;
    *key = random;
    return 0;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t n_bytes)
{
    const uint8_t *at = data;
    size_t n_left = n_bytes;
    struct state s = {
        .v0 = key->words[0] ^ 0x736f6d6570736575,
        .v1 = key->words[1] ^ 0x646f72616e646f6d,
        .v2 = key->words[0] ^ 0x6c7967656e657261,
        .v3 = key->words[1] ^ 0x7465646279746573,
    };

    for (; n_left >= 8; at += 8, n_left -= 8)
        absorb(&s, load(at, 8));
    absorb(&s, (n_left > 0 ? load(at, n_left) : 0) | (uint64_t)n_bytes << 56);
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
