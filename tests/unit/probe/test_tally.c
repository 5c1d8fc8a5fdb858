#include "lb4/probe/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../seed.h"

static void test_within_and_beyond(void **state)
{
    struct tally tally = {0};

    (void)state;
    assert_int_equal(tally_add(&tally, 16000, 1, 1000000), 1);
    assert_int_equal(tally_add(&tally, 16000, 2, 1000000), 3);
    assert_int_equal(tally_add(&tally, 16000, 1, 1014999), 4);
    assert_int_equal(tally_add(&tally, 16000, 1, 1016000), 2);
    assert_int_equal(tally_add(&tally, 16000, 1, 9000000), 1);
}

/* A reload may bring another time, longer or shorter; and one below a part's grain. */
static void test_another_time(void **state)
{
    struct tally tally = {0};

    (void)state;
    assert_int_equal(tally_add(&tally, 16000, 5, 1000000), 5);
    assert_int_equal(tally_add(&tally, 1600000, 1, 1000000), 1);
    assert_int_equal(tally_add(&tally, 16, 1, 1000001), 1);
    assert_int_equal(tally_add(&tally, 1, 1, 1000002), 2);
    assert_int_equal(tally_add(&tally, 1, 1, 1000020), 1);
}

/* Never more than there were within the time, never fewer than within 15/16 of it. */
static void test_against_a_list(void **state)
{
    enum { N = 500, WITHIN = 1600 };
    struct seed seed = seed_new();
    struct tally tally = {0};
    uint64_t at[N];
    uint64_t now = 12345;

    (void)state;
    for (size_t i = 0; i < N; i++) {
        uint64_t n;
        uint64_t n_most = 0;
        uint64_t n_least = 0;

        at[i] = now += seed_next(&seed, seed_next(&seed, 9) ? 100 : 2 * WITHIN);
        n = tally_add(&tally, WITHIN, 1, now);
        for (size_t k = 0; k <= i; k++) {
            n_most += now - at[k] < WITHIN;
            n_least += now - at[k] < WITHIN / TALLY_PARTS * (TALLY_PARTS - 1);
        }
        assert_true(n >= n_least && n <= n_most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_within_and_beyond),
        cmocka_unit_test(test_another_time),
        cmocka_unit_test(test_against_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
