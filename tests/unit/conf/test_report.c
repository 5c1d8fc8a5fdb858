#include "lb4/conf/report.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_quote(void **state)
{
    char out[CONF_QUOTE_MAX];
    char text[300];

    (void)state;
    assert_string_equal(conf_quote("abc", 3, out), "'abc'");
    assert_string_equal(conf_quote("", 0, out), "''");
    assert_string_equal(conf_quote("a\n\0\x1b[m\xff", 7, out), "'a\\x0a\\x00\\x1b[m\\xff'");
    memset(text, 'a', sizeof(text));
    conf_quote(text, sizeof(text), out);
    assert_true(strlen(out) < CONF_QUOTE_MAX);
    assert_string_equal(out + strlen(out) - 5, "a...'");
    memset(text, '\xff', sizeof(text));
    conf_quote(text, sizeof(text), out);
    assert_string_equal(out + strlen(out) - 8, "\\xff...'");
}

static char *written(const struct conf_report *report)
{
    char *text = NULL;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    assert_non_null(stream);
    conf_report_write(report, stream);
    fclose(stream);
    return text;
}

static void test_order_and_form(void **state)
{
    static struct conf_report report;
    char *text;

    (void)state;
    conf_report_init(&report);
    conf_report_error(&report, &(struct conf_place){"f", 7, 3}, "third %d", 3);
    conf_report_error(&report, &(struct conf_place){"f", 2, 9}, "second");
    conf_report_error(&report, &(struct conf_place){"f", 2, 1}, "first");
    conf_report_error(&report, &(struct conf_place){"a\nb", 1, 1}, "other file");
    conf_report_error(&report, &(struct conf_place){"g", 0, 0}, "whole file");
    conf_report_warn(&report, &(struct conf_place){"f", 9, 1}, "careful");
    text = written(&report);
    assert_string_equal(text, "f:9:1: warning: careful\n"
                              "f:2:1: first\n"
                              "f:2:9: second\n"
                              "f:7:3: third 3\n"
                              "a\\x0ab:1:1: other file\n"
                              "g: whole file\n");
    free(text);
}

static void test_too_many(void **state)
{
    static struct conf_report report;
    char *text;

    (void)state;
    conf_report_init(&report);
    for (unsigned i = 0; i < CONF_ERRORS_MAX; i++)
        conf_report_error(&report, &(struct conf_place){"f", i + 1, 1}, "x");
    assert_false(report.has_more_errors);
    for (unsigned i = 0; i < 100; i++) {
        conf_report_error(&report, &(struct conf_place){"f", 99, 1}, "y");
        conf_report_warn(&report, &(struct conf_place){"f", 99, 1}, "z");
    }
    assert_true(report.has_more_errors);
    assert_int_equal(report.n_errors, CONF_ERRORS_MAX);
    assert_int_equal(report.n_warnings, CONF_ERRORS_MAX);
    text = written(&report);
    assert_non_null(strstr(text, "f:20:1: x\ntoo many errors"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quote),
        cmocka_unit_test(test_order_and_form),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
