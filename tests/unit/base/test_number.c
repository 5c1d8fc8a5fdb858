#include "lb4/base/number.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { UNTOUCHED = 77 };

typedef int parser(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

struct number_case {
    const char *text;
    uint64_t min;
    uint64_t max;
    int rc;
    uint64_t value; /* when rc is 0 */
};

static void check_cases(parser *parse, const struct number_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = UNTOUCHED;
        int rc = parse(cases[i].text, cases[i].min, cases[i].max, &value);
        uint64_t wanted = cases[i].rc == 0 ? cases[i].value : UNTOUCHED;

        if (rc != cases[i].rc || value != wanted)
            fail_msg("\"%s\": %d, %llu", cases[i].text, rc, (unsigned long long)value);
    }
}

#define CHECK(parse, cases) check_cases(parse, cases, sizeof(cases) / sizeof((cases)[0]))

static void test_integers(void **state)
{
    static const struct number_case CASES[] = {
        {"0", 0, 10, 0, 0},
        {"10", 0, 10, 0, 10},
        {"007", 0, 10, 0, 7},
        {"010", 0, 10, 0, 10}, /* never octal */
        {"11", 0, 10, -ERANGE, 0},
        {"0", 1, 10, -ERANGE, 0},
        {"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", 0, UINT64_MAX, -ERANGE, 0},
        {"99999999999999999999999999999999", 0, UINT64_MAX, -ERANGE, 0},
        {"99999999999999999999999999999999x", 0, UINT64_MAX, -EINVAL, 0},
        {"", 0, 10, -EINVAL, 0},
        {" 1", 0, 10, -EINVAL, 0},
        {"1 ", 0, 10, -EINVAL, 0},
        {"+1", 0, 10, -EINVAL, 0},
        {"-1", 0, 10, -EINVAL, 0},
        {"0x1", 0, 10, -EINVAL, 0},
        {"1k", 0, 10000, -EINVAL, 0},
        {"1.5", 0, 10, -EINVAL, 0},
        {"1\n", 0, 10, -EINVAL, 0},
        {"\xd9\xa1", 0, 10, -EINVAL, 0}, /* an Arabic digit */
    };

    (void)state;
    CHECK(number_parse, CASES);
}

static void test_durations(void **state)
{
    static const struct number_case CASES[] = {
        {"200ms", 1, 1000, 0, 200},
        {"3s", 1, UINT64_MAX, 0, 3000},
        {"5m", 1, UINT64_MAX, 0, 300000},
        {"1h", 1, UINT64_MAX, 0, 3600000},
        {"2d", 1, UINT64_MAX, 0, 172800000},
        {"0ms", 1, 1000, -ERANGE, 0},
        {"1001ms", 1, 1000, -ERANGE, 0},
        {"2s", 1, 1000, -ERANGE, 0},
        {"213503982335d", 1, UINT64_MAX, -ERANGE, 0}, /* 2^64 ms and a little */
        {"3", 1, 1000, -EINVAL, 0},
        {"s", 1, 1000, -EINVAL, 0},
        {"1M", 1, UINT64_MAX, -EINVAL, 0},
        {"1 s", 1, UINT64_MAX, -EINVAL, 0},
        {"1s ", 1, UINT64_MAX, -EINVAL, 0},
        {"1sec", 1, UINT64_MAX, -EINVAL, 0},
        {"1h30m", 1, UINT64_MAX, -EINVAL, 0},
        {"-1s", 1, UINT64_MAX, -EINVAL, 0},
    };

    (void)state;
    CHECK(number_parse_duration, CASES);
}

static void test_sizes(void **state)
{
    static const struct number_case CASES[] = {
        {"512", 0, UINT64_MAX, 0, 512},
        {"64k", 0, UINT64_MAX, 0, 65536},
        {"1m", 0, UINT64_MAX, 0, 1048576},
        {"1g", 0, UINT64_MAX, 0, 1073741824},
        {"17179869183g", 0, UINT64_MAX, 0, 17179869183ull << 30},
        {"17179869184g", 0, UINT64_MAX, -ERANGE, 0}, /* 2^64 */
        {"2k", 0, 2047, -ERANGE, 0},
        {"k", 0, UINT64_MAX, -EINVAL, 0},
        {"1kb", 0, UINT64_MAX, -EINVAL, 0},
        {"1t", 0, UINT64_MAX, -EINVAL, 0},
    };

    (void)state;
    CHECK(number_parse_size, CASES);
}

static void test_format_takes_largest_unit(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } CASES[] = {
        {1, "1ms"},       {1500, "1500ms"},  {90000, "90s"},
        {60000, "1m"},    {3600000, "1h"},   {5400000, "90m"},
        {86400000, "1d"}, {90000000, "25h"}, {31536000000, "365d"},
    };
    char text[NUMBER_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        assert_string_equal(number_format_duration(CASES[i].ms, text), CASES[i].text);
}

static void test_format_reads_back(void **state)
{
    char text[NUMBER_TEXT_MAX];
    uint64_t back;

    (void)state;
    srandom(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t ms = ((uint64_t)random() << 33 ^ (uint64_t)random()) >> (random() % 64);

        assert_int_equal(
            number_parse_duration(number_format_duration(ms, text), 0, UINT64_MAX, &back), 0);
        assert_true(back == ms);
    }
    assert_int_equal(
        number_parse_duration(number_format_duration(UINT64_MAX, text), 0, UINT64_MAX, &back), 0);
    assert_true(back == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_format_takes_largest_unit),
        cmocka_unit_test(test_format_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
