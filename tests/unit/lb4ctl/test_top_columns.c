#include "lb4/lb4ctl/top_columns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct top_table table;
static struct screen screen;
static struct top_widths natural;

/* Titles of the columns that fit. */
static const char *fitting(size_t width)
{
    static char text[200];
    struct top_widths widths;

    text[0] = '\0';
    top_columns_fit(&table, &natural, width, &widths);
    for (size_t i = 0; i < table.n_columns; i++)
        if (widths.n[i])
            sprintf(text + strlen(text), "%s%s", *text ? " " : "", table.columns[i].title);
    if (width >= 17)
        assert_in_range(top_columns_sum(&table, &widths), 1, width);
    return text;
}

static int prepare(void **state)
{
    struct sheet rows;

    (void)state;
    sheet_init(&rows, strdup("client\tservice\tserver\tage\n"
                             "[2001:db8:1111:2222:3333::7]:55555\tpostgres\tprimary-1\t5\n"));
    top_table_init(&table, TOP_CONNECTIONS, &rows, "");
    top_columns_natural(&table, &screen, &natural);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    top_table_fini(&table);
    return 0;
}

static void test_all_at_80(void **state)
{
    (void)state;
    assert_string_equal(fitting(80),
                        "CLIENT SERVER AGE IDLE IN/S OUT/S TOTAL C-RTT C-RX S-RTT S-RX");
    assert_int_equal(natural.n[0], strlen("[2001:db8:1111:2222:3333::7]:55555"));
    assert_int_equal(natural.n[1], strlen("postgres/primary-1"));
}

/* What is left goes to those that would like more, from the left. */
static void test_what_is_left(void **state)
{
    struct top_widths widths;

    (void)state;
    top_columns_fit(&table, &natural, 100, &widths);
    assert_int_equal(widths.n[0], 34);
    assert_in_range(widths.n[1], 10, 17);
    assert_int_equal(top_columns_sum(&table, &widths), 100);
    top_columns_fit(&table, &natural, 1000, &widths);
    assert_int_equal(widths.n[1], 18);
    assert_int_equal(top_columns_sum(&table, &widths), top_columns_sum(&table, &natural));
}

static void test_the_least_goes_first(void **state)
{
    (void)state;
    assert_string_equal(fitting(73), "CLIENT SERVER AGE IN/S OUT/S TOTAL C-RTT C-RX S-RTT S-RX");
    assert_string_equal(fitting(40), "CLIENT SERVER IN/S OUT/S");
    assert_string_equal(fitting(20), "CLIENT");
    assert_string_equal(fitting(1), "CLIENT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_at_80, prepare, finish),
        cmocka_unit_test_setup_teardown(test_what_is_left, prepare, finish),
        cmocka_unit_test_setup_teardown(test_the_least_goes_first, prepare, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
