#include "lb4/relay/meter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { BEGAN_MS = 5000 };

static struct meter *meter;
static bool has_no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return has_no_memory ? NULL : __real_malloc(size);
}

static void check(uint64_t at_ms, uint64_t in, uint64_t out, struct meter_rate expected)
{
    const struct meter_count count = {BEGAN_MS * CLOCK_NS_PER_MS, in, out};
    struct meter_rate rate = meter_look(&meter, &count, at_ms * CLOCK_NS_PER_MS);

    assert_int_equal(rate.in_per_s, expected.in_per_s);
    assert_int_equal(rate.out_per_s, expected.out_per_s);
}

static void test_since_the_last_look(void **state)
{
    (void)state;
    check(BEGAN_MS + 2000, 3000, 100, (struct meter_rate){1500, 50}); /* since it began */
    check(BEGAN_MS + 3000, 3000, 300, (struct meter_rate){0, 200});
    check(BEGAN_MS + 3500, 3001, 300, (struct meter_rate){2, 0});
    check(BEGAN_MS + 603500, 6003001, 300, (struct meter_rate){10000, 0});
}

/* Another one who looks just behind is told the same, and takes nothing from the first. */
static void test_two_who_look(void **state)
{
    (void)state;
    check(BEGAN_MS + 1000, 1000, 0, (struct meter_rate){1000, 0});
    check(BEGAN_MS + 1249, 9000, 0, (struct meter_rate){1000, 0});
    check(BEGAN_MS + 2000, 3000, 0, (struct meter_rate){2000, 0});
    check(BEGAN_MS + 2250, 4000, 0, (struct meter_rate){4000, 0});
}

/* One that has just begun is no giant for its first packet. */
static void test_of_the_young(void **state)
{
    (void)state;
    check(BEGAN_MS, 0, 0, (struct meter_rate){0, 0});
    check(BEGAN_MS + 1, 1000, 500, (struct meter_rate){4000, 2000});
    check(BEGAN_MS + 100, 1500, 500, (struct meter_rate){6000, 2000});
    check(BEGAN_MS + 500, 1500, 500, (struct meter_rate){3000, 1000});
    check(BEGAN_MS + 1500, 1600, 500, (struct meter_rate){100, 0});
}

static void test_large_and_odd(void **state)
{
    const uint64_t huge = 1ull << 50;

    (void)state;
    check(BEGAN_MS + 1000, huge, huge, (struct meter_rate){huge, huge});
    check(BEGAN_MS + 500, huge, huge, (struct meter_rate){huge, huge}); /* a clock of before */
    check(BEGAN_MS + 2000, 0, huge, (struct meter_rate){0, 0});         /* never less, but if */
}

/* Each who looks is told what it has moved since it began, until there is memory. */
static void test_without_memory(void **state)
{
    (void)state;
    has_no_memory = true;
    check(BEGAN_MS + 1000, 1000, 0, (struct meter_rate){1000, 0});
    check(BEGAN_MS + 2000, 4000, 0, (struct meter_rate){2000, 0});
    assert_null(meter);
    has_no_memory = false;
    check(BEGAN_MS + 4000, 4000, 400, (struct meter_rate){1000, 100});
    check(BEGAN_MS + 5000, 4000, 500, (struct meter_rate){0, 100});
    assert_non_null(meter);
}

static int forget(void **state)
{
    (void)state;
    meter_free(&meter);
    assert_null(meter);
    return 0;
}

#define METER_TEST(f) cmocka_unit_test_teardown(f, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        METER_TEST(test_since_the_last_look), METER_TEST(test_two_who_look),
        METER_TEST(test_of_the_young),        METER_TEST(test_large_and_odd),
        METER_TEST(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
