/* Random numbers for randomized tests. The seed is printed, and LB4_TEST_SEED=NUMBER repeats a run.
 */
#ifndef TEST_SEED_H
#define TEST_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct seed {
    uint64_t state;
};

static inline struct seed seed_new(void)
{
    const char *text = getenv("LB4_TEST_SEED");
    struct seed seed = {text ? strtoull(text, NULL, 10) : 0};

    if (!text && getrandom(&seed.state, sizeof(seed.state), 0) < 0)
        seed.state = 1;
    printf("LB4_TEST_SEED=%llu\n", (unsigned long long)seed.state);
    return seed;
}

/* 0..below - 1; splitmix64. */
static inline uint64_t seed_next(struct seed *seed, uint64_t below)
{
    uint64_t z = seed->state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

#endif
