#include "lb4/lb4ctl/sheet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sheet rows_of(const char *text)
{
    struct sheet rows;

    assert_int_equal(sheet_init(&rows, strdup(text)), 0);
    return rows;
}

static void test_by_name(void **state)
{
    struct sheet rows = rows_of("a\tb\tc\n1\tx\t-\n22\t\tz\n");
    uint64_t n = 5;

    (void)state;
    assert_int_equal(rows.n_rows, 2);
    assert_string_equal(sheet_text(&rows, 0, "b"), "x");
    assert_string_equal(sheet_text(&rows, 1, "b"), "");
    assert_string_equal(sheet_text(&rows, 1, "c"), "z");
    assert_string_equal(sheet_text(&rows, 2, "c"), "");
    assert_string_equal(sheet_text(&rows, 0, "nosuch"), "");
    assert_true(sheet_number(&rows, 1, "a", &n));
    assert_int_equal(n, 22);
    assert_false(sheet_number(&rows, 0, "c", &n));
    assert_int_equal(n, 0);
    assert_false(sheet_number(&rows, 0, "b", &n));
    sheet_fini(&rows);
    sheet_fini(&rows);
}

/* Another lb4 may say less, or more, or nothing. */
static void test_odd(void **state)
{
    struct sheet rows = rows_of("a\tb\n1\n1\t2\t3\n\n");

    (void)state;
    assert_int_equal(rows.n_rows, 2);
    assert_string_equal(sheet_text(&rows, 0, "b"), "");
    assert_string_equal(sheet_text(&rows, 1, "b"), "2");
    sheet_fini(&rows);
    rows = rows_of("");
    assert_int_equal(rows.n_rows, 0);
    assert_string_equal(sheet_text(&rows, 0, ""), "");
    sheet_fini(&rows);
    rows = rows_of("no end");
    assert_int_equal(rows.n_rows, 0);
    sheet_fini(&rows);
}

static void test_values(void **state)
{
    struct sheet rows = rows_of("name\tvalue\nuptime\t7\nstate\trunning\n");

    (void)state;
    assert_string_equal(sheet_value(&rows, "state"), "running");
    assert_string_equal(sheet_value(&rows, "nosuch"), "");
    sheet_fini(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_odd),
        cmocka_unit_test(test_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
