#include "lb4/probe/nap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

static const uint64_t START_NS = 1000 * 1000000000ull;
static const uint64_t GAP_NS = 4 * 1000000ull;

static struct nap begin(void)
{
    struct nap nap;

    nap_init(&nap);
    nap_heed(&nap, 512 * CLOCK_NS_PER_MS, CLOCK_NS_PER_S);
    assert_int_equal(nap.gap_ns, GAP_NS);
    return nap;
}

static void use_up(struct nap *nap, uint64_t now_ns)
{
    for (size_t i = 0; i < NAP_FREE; i++)
        assert_int_equal(nap_take(nap, now_ns), 0);
}

static void test_some_are_free(void **state)
{
    struct nap nap = begin();

    (void)state;
    use_up(&nap, START_NS);
    assert_int_equal(nap_take(&nap, START_NS), GAP_NS);
}

static void test_one_each_gap(void **state)
{
    struct nap nap = begin();

    (void)state;
    use_up(&nap, START_NS);
    for (uint64_t i = 1; i < 1000; i++) {
        uint64_t awake_ns = i % 3 * CLOCK_NS_PER_MS; /* since the last gap was over */

        assert_int_equal(nap_take(&nap, START_NS + (i - 1) * GAP_NS + awake_ns), GAP_NS - awake_ns);
    }
}

static void test_a_rest_brings_them_back(void **state)
{
    struct nap nap = begin();

    (void)state;
    use_up(&nap, START_NS);
    assert_int_equal(nap_take(&nap, START_NS + GAP_NS), 0);
    assert_int_equal(nap_take(&nap, START_NS + GAP_NS), GAP_NS);
    use_up(&nap, START_NS + CLOCK_NS_PER_S);
    assert_int_equal(nap_take(&nap, START_NS + CLOCK_NS_PER_S), GAP_NS);
}

/* A few servers, a wake-up for each of three steps every second. */
static void test_few_are_never_late(void **state)
{
    struct nap nap = begin();

    (void)state;
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(nap_take(&nap, START_NS + i * CLOCK_NS_PER_S / 250), 0);
}

static void test_the_shortest_check_counts(void **state)
{
    struct nap nap;

    (void)state;
    nap_init(&nap);
    nap_heed(&nap, 3600 * CLOCK_NS_PER_S, 60 * CLOCK_NS_PER_S);
    assert_int_equal(nap.gap_ns, 16 * CLOCK_NS_PER_MS);
    nap_heed(&nap, 3600 * CLOCK_NS_PER_S, 64 * CLOCK_NS_PER_MS);
    assert_int_equal(nap.gap_ns, CLOCK_NS_PER_MS);
    nap_heed(&nap, CLOCK_NS_PER_S, CLOCK_NS_PER_S);
    assert_int_equal(nap.gap_ns, CLOCK_NS_PER_MS);
    nap_heed(&nap, 0, CLOCK_NS_PER_S);
    assert_int_equal(nap_take(&nap, START_NS), 0);
}

/* Shorter naps after longer ones: what was put off is not made up for. */
static void test_never_longer_than_a_gap(void **state)
{
    struct nap nap = begin();

    (void)state;
    use_up(&nap, START_NS);
    nap_heed(&nap, 128 * CLOCK_NS_PER_MS, CLOCK_NS_PER_S);
    assert_int_equal(nap_take(&nap, START_NS), CLOCK_NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_some_are_free),
        cmocka_unit_test(test_one_each_gap),
        cmocka_unit_test(test_a_rest_brings_them_back),
        cmocka_unit_test(test_few_are_never_late),
        cmocka_unit_test(test_the_shortest_check_counts),
        cmocka_unit_test(test_never_longer_than_a_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
