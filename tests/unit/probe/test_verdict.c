#include "lb4/probe/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t MS = 1000000;

static void check(uint64_t duration_ns, const char *expected)
{
    char text[VERDICT_DURATION_MAX];

    assert_string_equal(verdict_duration(duration_ns, text), expected);
}

static void test_durations(void **state)
{
    (void)state;
    check(0, "0ms");
    check(MS - 1, "0ms");
    check(340 * MS, "340ms");
    check(1000 * MS - 1, "999ms");
    check(1000 * MS, "1s");
    check(1099 * MS, "1s");
    check(1100 * MS, "1.1s");
    check(12399 * MS, "12.3s");
    check(60000 * MS - 1, "59.9s");
    check(60000 * MS, "1m0s");
    check(245000 * MS, "4m5s");
    check(3600000 * MS - 1, "59m59s");
    check(3600000 * MS, "1h0m");
    check((3 * 3600 + 2 * 60 + 59) * 1000 * MS, "3h2m");
    check(24 * 3600000 * MS - 1, "23h59m");
    check(24 * 3600000 * MS, "1d0h");
    check((12 * 24 + 3) * 3600000 * MS, "12d3h");
    check(UINT64_MAX, "213503d23h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
