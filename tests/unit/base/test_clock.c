#include "lb4/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static void test_never_goes_back(void **state)
{
    uint64_t last = clock_now_ns();

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_now_ns();

        assert_true(now >= last);
        last = now;
    }
}

static void test_counts_nanoseconds(void **state)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    uint64_t start = clock_now_ns();
    uint64_t passed;

    (void)state;
    nanosleep(&pause, NULL);
    passed = clock_now_ns() - start;
    assert_true(passed >= 20 * CLOCK_NS_PER_MS);
    assert_true(passed < 20 * CLOCK_NS_PER_S); /* a loaded machine may oversleep */
}

static void test_is_the_monotonic_clock(void **state)
{
    struct timespec now;
    uint64_t before = clock_now_ns();
    uint64_t middle;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &now);
    middle = (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
    assert_true(before <= middle && middle <= clock_now_ns());
}

static void test_wall(void **state)
{
    time_t before = time(NULL);
    uint64_t now = clock_wall_ns() / CLOCK_NS_PER_S;

    (void)state;
    assert_true((uint64_t)before <= now + 1 && now <= (uint64_t)time(NULL) + 1);
}

static void test_remaining(void **state)
{
    int ms = clock_remaining_ms(clock_now_ns() + 100 * CLOCK_NS_PER_S);

    (void)state;
    assert_int_equal(clock_remaining_ms(clock_now_ns()), 0);
    assert_int_equal(clock_remaining_ms(0), 0);
    assert_in_range(ms, 80000, 100001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_goes_back),
        cmocka_unit_test(test_counts_nanoseconds),
        cmocka_unit_test(test_is_the_monotonic_clock),
        cmocka_unit_test(test_wall),
        cmocka_unit_test(test_remaining),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
