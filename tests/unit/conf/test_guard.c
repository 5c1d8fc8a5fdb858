#include "lb4/conf/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_printed(const struct conf_guard *guard, const char *expected)
{
    size_t n_bytes;
    char *text = NULL;
    FILE *stream = open_memstream(&text, &n_bytes);

    assert_non_null(stream);
    conf_print_guard(guard, stream);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void test_each_word_has_its_line(void **state)
{
    const struct conf_guard all = {
        .per_source = 20,
        .prefix4 = 24,
        .prefix6 = 56,
        .maxconn = 500,
        .rate_source = {10, 1000, 30},
        .rate_datagrams = {1000, 1000, 2000},
        .rate = {90, 3600000, 90},
        .ban = {20, 60000, 600000},
    };
    const struct conf_guard usual = {.per_source = 1, .prefix4 = 32, .prefix6 = 64};

    (void)state;
    check_printed(&(struct conf_guard){0}, "");
    check_printed(&usual, "    limit per-source 1\n");
    check_printed(&all, "    maxconn 500\n"
                        "    limit per-source 20 prefix4 24 prefix6 56\n"
                        "    rate per-source 10/s burst 30\n"
                        "    rate datagrams per-source 1000/s burst 2000\n"
                        "    rate 90/h burst 90\n"
                        "    ban after 20 refused in 1m for 10m\n");
}

static void test_what_needs_to_know_of_sources(void **state)
{
    (void)state;
    assert_false(conf_guards_sources(&(struct conf_guard){.maxconn = 1, .rate = {1, 1000, 1}}));
    assert_true(conf_guards_sources(&(struct conf_guard){.per_source = 1}));
    assert_true(conf_guards_sources(&(struct conf_guard){.rate_source = {1, 1000, 1}}));
    assert_true(conf_guards_sources(&(struct conf_guard){.rate_datagrams = {1, 1000, 1}}));
    assert_true(conf_guards_sources(&(struct conf_guard){.ban = {1, 1, 1}}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_word_has_its_line),
        cmocka_unit_test(test_what_needs_to_know_of_sources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
