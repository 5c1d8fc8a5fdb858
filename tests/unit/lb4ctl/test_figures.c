#include "lb4/lb4ctl/figures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct figure {
    uint64_t n;
    const char *text;
};

typedef const char *writer(uint64_t n, char text[static FIGURES_MAX]);

static void check(writer *write, const struct figure *cases, size_t n)
{
    char text[FIGURES_MAX];

    for (size_t i = 0; i < n; i++)
        assert_string_equal(write(cases[i].n, text), cases[i].text);
}

#define CHECK(write, ...)                                      \
    do {                                                       \
        const struct figure cases[] = {__VA_ARGS__};           \
        check(write, cases, sizeof(cases) / sizeof(cases[0])); \
    } while (0)

static void test_short(void **state)
{
    (void)state;
    CHECK(figures_short, {0, "0"}, {999, "999"}, {1000, "1.00k"}, {1234, "1.23k"}, {9994, "9.99k"},
          {9996, "10.0k"}, {99949, "99.9k"}, {99951, "100k"}, {999499, "999k"}, {999500, "1.00M"},
          {1500000000, "1.50G"}, {UINT64_MAX, "18.4E"});
    CHECK(figures_count, {0, "0"}, {99999, "99999"}, {100000, "100k"});
}

/* None is wider than the column that it stands in. */
static void test_never_wider(void **state)
{
    char text[FIGURES_MAX];

    (void)state;
    for (uint64_t n = 1; n < UINT64_MAX / 3; n = n * 3 / 2 + 1) {
        assert_in_range(strlen(figures_short(n, text)), 1, 5);
        assert_in_range(strlen(figures_count(n, text)), 1, 5);
        assert_in_range(strlen(figures_rate((double)n / 100, text)), 1, 5);
        if (n < UINT32_MAX)
            assert_in_range(strlen(figures_us(n, text)), 1, 5);
    }
}

static void test_times(void **state)
{
    (void)state;
    CHECK(figures_span, {0, "0s"}, {59, "59s"}, {60, "1m"}, {3599, "59m"}, {3600, "1h"},
          {86399, "23h"}, {86400, "1d"}, {86400000, "1000d"});
    CHECK(figures_us, {1, "1us"}, {999, "999us"}, {1000, "1.0ms"}, {9949, "9.9ms"}, {9950, "10ms"},
          {20123, "20ms"}, {999499, "999ms"}, {999500, "1.0s"}, {9950000, "10s"});
}

static void test_rate(void **state)
{
    static const struct {
        double per_s;
        const char *text;
    } cases[] = {{0, "0"}, {0.5, "0.5"}, {9.94, "9.9"}, {9.96, "10"}, {1234.4, "1.23k"}, {-1, "0"}};
    char text[FIGURES_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(figures_rate(cases[i].per_s, text), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_never_wider),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
