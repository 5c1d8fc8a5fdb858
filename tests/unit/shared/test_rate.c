#include "lb4/shared/rate.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../seed.h"

static const uint64_t S = 1000000000;

static void test_a_burst_then_the_rate(void **state)
{
    struct rate rate = rate_from(&(struct conf_rate){10, 1000, 5});
    rate_debt debt = 0;
    uint64_t now = 77 * S;
    uint32_t n = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        n += rate_take(&rate, &debt, now, 1);
    assert_int_equal(n, 5);
    assert_int_equal(rate_room(&rate, &debt, now), 0);
    for (int i = 0; i < 10000; i++)
        n += rate_take(&rate, &debt, now += S / 1000, 1);
    assert_int_equal(n, 5 + 100);
    /* Long silence is worth one burst. */
    assert_int_equal(rate_room(&rate, &debt, now + 900000000ull * S), 5);
    assert_int_equal(rate_take(&rate, &debt, now + 900000000ull * S, 9), 5);
}

static void test_all_units_and_extremes(void **state)
{
    static const struct conf_rate rates[] = {
        {1, 1000, 1},  {1, 3600000, 1000000},       {1000000, 1000, 1},
        {7, 60000, 3}, {1000000, 3600000, 1000000}, {999999, 60000, 999999},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct rate rate = rate_from(&rates[i]);
        rate_debt debt = 0;
        uint64_t now = 365ull * 24 * 3600 * S;

        assert_int_equal(rate_take(&rate, &debt, now, 2000000), rates[i].burst);
        assert_int_equal(rate_take(&rate, &debt, now, 1), 0);
        assert_int_equal(rate_take(&rate, &debt, now + rate.interval_ns, 9), 1);
    }
}

static void test_no_rate_lets_all_in(void **state)
{
    struct rate rate = rate_from(&(struct conf_rate){0});
    rate_debt debt = 0;

    (void)state;
    assert_int_equal(rate_take(&rate, &debt, S, 64), 64);
    assert_int_equal(rate_room(&rate, &debt, S), UINT32_MAX);
}

static void test_a_slower_rate_s_debt_is_cut(void **state)
{
    struct rate slow = rate_from(&(struct conf_rate){1, 3600000, 10});
    struct rate fast = rate_from(&(struct conf_rate){100, 1000, 10});
    rate_debt debt = 0;

    (void)state;
    assert_int_equal(rate_take(&slow, &debt, S, 10), 10);
    /* Who asks before he takes, is told that there is room, or the debt would stay. */
    assert_int_equal(rate_room(&fast, &debt, S), 1);
    assert_int_equal(rate_take(&fast, &debt, S, 2), 1);
    assert_int_equal(rate_room(&fast, &debt, S), 0);
    assert_int_equal(rate_take(&fast, &debt, S + S / 10, 20), 10);
}

static void test_a_charge_is_owed_up_to_the_burst(void **state)
{
    struct rate rate = rate_from(&(struct conf_rate){10, 1000, 10});
    rate_debt debt = 0;

    (void)state;
    rate_charge(&rate, &debt, S, 4);
    assert_int_equal(rate_room(&rate, &debt, S), 6);
    rate_charge(&rate, &debt, S, 63);
    assert_int_equal(rate_room(&rate, &debt, S), 0);
    assert_int_equal(rate_room(&rate, &debt, S + S / 10), 1);
}

/* A bucket of whole intervals, filled by the clock: what the word must be equal to. */
static void test_as_a_bucket(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct conf_rate conf = {1 + (uint32_t)seed_next(&seed, 1000), 1000,
                                 1 + (uint32_t)seed_next(&seed, 50)};
        struct rate rate = rate_from(&conf);
        uint64_t level = rate.burst_ns;
        uint64_t now = S + seed_next(&seed, S);
        rate_debt debt = 0;

        for (int i = 0; i < 300; i++) {
            uint64_t pause = seed_next(&seed, 3 * rate.interval_ns);
            uint32_t n = 1 + (uint32_t)seed_next(&seed, 4);
            uint64_t n_in;

            now += pause;
            level = level + pause < rate.burst_ns ? level + pause : rate.burst_ns;
            n_in = level / rate.interval_ns < n ? level / rate.interval_ns : n;
            assert_int_equal(rate_room(&rate, &debt, now), level / rate.interval_ns);
            assert_int_equal(rate_take(&rate, &debt, now, n), n_in);
            level -= n_in * rate.interval_ns;
        }
    }
}

enum { THREADS = 8, TRIES = 20000 };

static struct {
    struct rate rate;
    rate_debt debt;
    _Atomic uint32_t n_in;
} crowd;

static void *ask(void *arg)
{
    (void)arg;
    for (int i = 0; i < TRIES; i++)
        atomic_fetch_add(&crowd.n_in, rate_take(&crowd.rate, &crowd.debt, S, 1));
    return NULL;
}

static void test_exact_over_threads(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    crowd.rate = rate_from(&(struct conf_rate){10, 1000, 12345});
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.n_in, 12345);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_then_the_rate),
        cmocka_unit_test(test_all_units_and_extremes),
        cmocka_unit_test(test_no_rate_lets_all_in),
        cmocka_unit_test(test_a_slower_rate_s_debt_is_cut),
        cmocka_unit_test(test_a_charge_is_owed_up_to_the_burst),
        cmocka_unit_test(test_as_a_bucket),
        cmocka_unit_test(test_exact_over_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
