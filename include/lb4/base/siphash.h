/* SipHash-1-3 (Aumasson and Bernstein, 2012, with fewer rounds, as hash tables use it): a keyed
 * hash whose collisions nobody can aim at who does not know the key. Pure, and the same on every
 * machine. */
#ifndef LB4_BASE_SIPHASH_H
#define LB4_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t words[2];
};

/* A key of random bits. Returns 0 or -errno of getrandom(2); *key is then untouched. */
int siphash_key_init(struct siphash_key *key);

/* `data` may be NULL when `n_bytes` is 0. */
uint64_t siphash(const struct siphash_key *key, const void *data, size_t n_bytes);

#endif
