#include "lb4/base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N_INPUT = 64, N_KEYS = 2 };

static const struct siphash_key KEYS[N_KEYS] = {
    {{0, 0}},
    {{0x65121defe496063e, 0xb30647aa540bb9c8}},
};

/* The hashes of the first `n_bytes` of the test input under both keys, as CPython 3.11 computes
 * hash(bytes): with PYTHONHASHSEED=0 its key is zero, with 4711 its generator makes KEYS[1]. */
static const struct vector {
    size_t n_bytes;
    uint64_t hashes[N_KEYS];
} VECTORS[] = {
    {1, {0x26144e6cff3ac45c, 0xffbd7b378cdf87b2}},  {7, {0xdf736fc88c20792a, 0xf70af89bdafe130e}},
    {8, {0x13c8df4ec019b503, 0x538a67f2c3e03366}},  {9, {0xdfb5eb7cc3223b49, 0x939fcf284d1022f8}},
    {12, {0xe15d7193b9e32b33, 0x6d9ad58725a5c5d7}}, {15, {0xbeba3cf576457485, 0xd18c0655a013ace2}},
    {16, {0x610125500b21b982, 0xf83af50017ce404f}}, {23, {0x531d14b303e627fd, 0x087db7fc7c6fa060}},
    {24, {0xeae603e6e35f8680, 0x125bc3fc763e36b4}}, {40, {0x42b70d836a1c4680, 0x17d8a0d27310a802}},
    {63, {0x539a364b1819300a, 0x75d7dec1cfde169a}}, {64, {0x1e7822224874b116, 0x80579315e4208e6a}},
};

static void fill(uint8_t input[static N_INPUT])
{
    for (size_t i = 0; i < N_INPUT; i++)
        input[i] = (uint8_t)(i * 37 + 11);
}

static void test_vectors(void **state)
{
    uint8_t input[N_INPUT];

    (void)state;
    fill(input);
    for (size_t i = 0; i < sizeof(VECTORS) / sizeof(VECTORS[0]); i++)
        for (size_t k = 0; k < N_KEYS; k++)
            assert_int_equal(siphash(&KEYS[k], input, VECTORS[i].n_bytes), VECTORS[i].hashes[k]);
}

static void test_empty(void **state)
{
    const uint8_t byte = 7;

    (void)state;
    assert_int_equal(siphash(&KEYS[1], NULL, 0), siphash(&KEYS[1], &byte, 0));
    assert_int_not_equal(siphash(&KEYS[0], NULL, 0), siphash(&KEYS[1], NULL, 0));
}

/* Every bit of the input counts, wherever the input lies in memory. */
static void test_bits_and_alignment(void **state)
{
    uint8_t input[N_INPUT];
    uint8_t moved[N_INPUT + 1];

    (void)state;
    fill(input);
    memcpy(moved + 1, input, N_INPUT);
    for (size_t n = 1; n < N_INPUT; n++) {
        uint64_t hash = siphash(&KEYS[1], input, n);

        assert_int_equal(siphash(&KEYS[1], moved + 1, n), hash);
        for (size_t bit = 0; bit < n * 8; bit++) {
            input[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_not_equal(siphash(&KEYS[1], input, n), hash);
            input[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static void test_keys_are_random(void **state)
{
    struct siphash_key a = {{0, 0}};
    struct siphash_key b = {{0, 0}};

    (void)state;
    assert_int_equal(siphash_key_init(&a), 0);
    assert_int_equal(siphash_key_init(&b), 0);
    assert_true(a.words[0] != b.words[0] && a.words[1] != b.words[1]);
    assert_true(a.words[0] != 0 && a.words[1] != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_bits_and_alignment),
        cmocka_unit_test(test_keys_are_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
