#include "lb4/conf/value.h"

#include "lb4/conf/read.h"

#include "conf_text.h"

/* One line with a reader that only reports. */
struct fixture {
    struct conf conf;
    struct conf_report report;
    struct reader reader;
    struct lex_line line;
};

static void fixture_init(struct fixture *fixture, const char *text)
{
    struct lex lex;

    conf_init(&fixture->conf);
    conf_report_init(&fixture->report);
    reader_init(&fixture->reader, &fixture->conf, &fixture->report, "t");
    lex_init(&lex, text, strlen(text));
    assert_int_equal(lex_next(&lex, &fixture->line), LEX_LINE);
}

static void check_error(const struct fixture *fixture, uint32_t column, const char *text)
{
    assert_int_equal(fixture->report.n_errors, 1);
    assert_int_equal(fixture->report.errors[0].place.column, column);
    assert_string_equal(fixture->report.errors[0].text, text);
}

static void test_number(void **state)
{
    const struct value_range range = {2, 9};
    struct fixture fixture;
    uint64_t n = 77;

    (void)state;
    fixture_init(&fixture, "tries 9");
    assert_true(value_number(&fixture.reader, &fixture.line, 1, range, &n));
    assert_int_equal(n, 9);
    fixture_init(&fixture, "tries 10");
    assert_false(value_number(&fixture.reader, &fixture.line, 1, range, &n));
    check_error(&fixture, 7, "tries: 10 is outside 2..9");
    fixture_init(&fixture, "tries \"3\\n\"");
    assert_false(value_number(&fixture.reader, &fixture.line, 1, range, &n));
    check_error(&fixture, 7, "tries: '3\\x0a' is not a number in 2..9");
    fixture_init(&fixture, "limit per-source x");
    assert_false(value_number(&fixture.reader, &fixture.line, 2, range, &n));
    check_error(&fixture, 18, "limit per-source: 'x' is not a number in 2..9");
    assert_int_equal(n, 9);
}

static void test_auto(void **state)
{
    const struct value_range range = {2, 9};
    struct fixture fixture;
    uint64_t n = 77;

    (void)state;
    fixture_init(&fixture, "w auto 5 1 Auto");
    assert_true(value_auto(&fixture.reader, &fixture.line, 1, range, &n));
    assert_int_equal(n, 0);
    assert_true(value_auto(&fixture.reader, &fixture.line, 2, range, &n));
    assert_int_equal(n, 5);
    assert_false(value_auto(&fixture.reader, &fixture.line, 3, range, &n));
    check_error(&fixture, 10, "5: 1 is outside 2..9");
    assert_false(value_auto(&fixture.reader, &fixture.line, 4, range, &n));
    assert_int_equal(fixture.report.n_errors, 2);
}

static void test_duration(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms; /* 0 = refused */
    } cases[] = {
        {"d 1ms", 1},     {"d 3s", 3000}, {"d 365d", CONF_DURATION_MAX_MS},
        {"d 366d", 0},    {"d 0ms", 0},   {"d 5", 0},
        {"d 5S", 0},      {"d -5s", 0},   {"d 1.5s", 0},
        {"d 5us", 0},     {"d 5s5s", 0},  {"d 99999999999999999999999d", 0},
        {"d \"5 s\"", 0}, {"d \"\"", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture fixture;
        uint64_t ms = 0;

        fixture_init(&fixture, cases[i].text);
        value_duration(&fixture.reader, &fixture.line, 1, &ms);
        assert_int_equal(ms, cases[i].ms);
        assert_int_equal(fixture.report.n_errors, cases[i].ms ? 0 : 1);
    }
}

static void test_choice_and_name(void **state)
{
    static const char *const choices[] = {"on", "off", NULL};
    char name[CONF_NAME_MAX + 1] = "";
    char longest[CONF_NAME_MAX + 4];
    struct fixture fixture;
    size_t choice = 9;

    (void)state;
    fixture_init(&fixture, "splice off of");
    assert_true(value_choice(&fixture.reader, &fixture.line, 1, choices, &choice));
    assert_int_equal(choice, 1);
    assert_false(value_choice(&fixture.reader, &fixture.line, 2, choices, &choice));
    check_error(&fixture, 12, "splice off: 'of' is not one of: on, off");

    memset(longest, 'n', sizeof(longest));
    longest[1] = ' ';
    longest[2 + CONF_NAME_MAX] = '\0';
    fixture_init(&fixture, longest);
    assert_true(value_name(&fixture.reader, &fixture.line, 1, name));
    assert_int_equal(strlen(name), CONF_NAME_MAX);
    longest[2 + CONF_NAME_MAX] = 'n';
    longest[3 + CONF_NAME_MAX] = '\0';
    fixture_init(&fixture, longest);
    assert_false(value_name(&fixture.reader, &fixture.line, 1, name));
}

static void test_options(void **state)
{
    static const struct value_option options[] = {
        {.word = "weight", .kind = VALUE_NUMBER, .range = {1, 9}},
        {.word = "backup", .kind = VALUE_FLAG},
        {.word = "hold", .kind = VALUE_DURATION},
        {.word = "later", .kind = VALUE_FLAG, .is_later = true},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {1, 0, 3};
    struct fixture fixture;

    (void)state;
    fixture_init(&fixture, "server backup hold 2s");
    assert_true(value_options(&fixture.reader, &fixture.line, 1, options, values));
    assert_int_equal(values[0], 1);
    assert_int_equal(values[1], 1);
    assert_int_equal(values[2], 2000);
    fixture_init(&fixture, "server later weight 4");
    assert_false(value_options(&fixture.reader, &fixture.line, 1, options, values));
    check_error(&fixture, 8, "server: 'later' is not in this version");
    fixture_init(&fixture, "server later weight 0");
    assert_false(value_options(&fixture.reader, &fixture.line, 1, options, values));
    check_error(&fixture, 21, "weight: 0 is outside 1..9");
    fixture_init(&fixture, "server what");
    assert_false(value_options(&fixture.reader, &fixture.line, 1, options, values));
    check_error(&fixture, 8, "server: unknown word 'what', accepted here: weight, backup, hold");
}

static void test_endpoint(void **state)
{
    struct fixture fixture;
    struct endpoint at;

    (void)state;
    fixture_init(&fixture, "http :80");
    assert_true(value_endpoint(&fixture.reader, &fixture.line, 1, "a form", &at));
    fixture_init(&fixture, "http 10.0.0.256:80");
    assert_false(value_endpoint(&fixture.reader, &fixture.line, 1, "a form", &at));
    check_error(&fixture, 6, "http: '10.0.0.256:80': not an address; accepted: a form");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number),   cmocka_unit_test(test_auto),
        cmocka_unit_test(test_duration), cmocka_unit_test(test_choice_and_name),
        cmocka_unit_test(test_options),  cmocka_unit_test(test_endpoint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
