#include "lb4/lb4ctl/columns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, bool is_coloured, const char *expected)
{
    char *copy = strdup(text);
    char *written = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&written, &n_bytes);

    assert_int_equal(columns_write(copy, is_coloured, stream), 0);
    fclose(stream);
    assert_string_equal(written, expected);
    free(written);
    free(copy);
}

static void test_alignment(void **state)
{
    (void)state;
    check("name\tn\twhy\nlonger name\t5\tx\na\t1234\tlong text\n", false,
          "NAME            N  WHY\n"
          "longer name     5  x\n"
          "a            1234  long text\n");
    check("name\tn\tlast\n", false, "NAME  N  LAST\n");
    check("a\tn\tb\nx\t-\ty\nx\t10\ty\n", false, "A   N  B\nx   -  y\nx  10  y\n");
}

static void test_odd_rows(void **state)
{
    (void)state;
    check("a\tb\tc\n1\n1\t2\t3\t4\n", false, "A  B  C\n1     \n1  2  3\n");
}

static void test_durations_and_records(void **state)
{
    (void)state;
    check("server\tsince\nx\t245\ny\t7\n", false, "SERVER  SINCE\nx        4m5s\ny          7s\n");
    check("name\tvalue\nuptime\t3725\nmaxconn\t3725\n", false, "uptime   1h2m\nmaxconn  3725\n");
}

static void test_colours(void **state)
{
    (void)state;
    check("s\tstate\tn\na\tdown\t1\nb\tdrain\t2\nc\tup\t3\n", true,
          "S  STATE  N\n"
          "a  \033[31mdown\033[0m   1\n"
          "b  \033[33mdrain\033[0m  2\n"
          "c  up     3\n");
}

static void test_what_is_a_table(void **state)
{
    (void)state;
    assert_true(columns_are_in("a\tb\n"));
    assert_false(columns_are_in("workers auto\nx\ty\n"));
    assert_false(columns_are_in(""));
}

static void test_duration(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } cases[] = {{0, "0s"},      {59, "59s"},       {60, "1m0s"},    {3599, "59m59s"},
                 {3600, "1h0m"}, {86399, "23h59m"}, {86400, "1d0h"}, {1094400, "12d16h"}};
    char text[COLUMNS_DURATION_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(columns_duration(cases[i].seconds, text), cases[i].text);
    columns_duration(UINT64_MAX, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_odd_rows),
        cmocka_unit_test(test_durations_and_records),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_what_is_a_table),
        cmocka_unit_test(test_duration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
