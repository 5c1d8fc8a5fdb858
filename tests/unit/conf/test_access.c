#include "lb4/conf/access.h"

#include <stdlib.h>

#include "conf_text.h"

#define SERVICE(name, port, lines) \
    "service " name " {\n listen tcp :" port "\n server s 10.0.0.2:80\n" lines "}\n"

static bool allows(const struct conf_access_rules *rules, const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return !rules->map || prefix_map_allows(rules->map, &addr);
}

static void test_the_first_rule_decides(void **state)
{
    struct conf conf;
    const struct conf_access_rules *rules;

    (void)state;
    conf_text_accept(SERVICE("a", "1", "deny 10.1.0.0/16\nallow 10.0.0.0/8\n")
                         SERVICE("b", "2", "deny 10.1.0.0/16\n") SERVICE("c", "3", ""),
                     &conf);
    rules = &conf.services[0].rules;
    assert_false(allows(rules, "10.1.0.1"));
    assert_true(allows(rules, "10.2.0.1"));
    assert_false(allows(rules, "11.0.0.1")); /* there is an allow */
    assert_false(allows(rules, "::1"));
    rules = &conf.services[1].rules;
    assert_false(allows(rules, "10.1.0.1"));
    assert_true(allows(rules, "11.0.0.1"));
    assert_null(conf.services[2].rules.map);
    assert_int_equal(conf.services[2].rules.refuse, CONF_REFUSE_RESET);
    conf_free(&conf);
}

static void test_defaults(void **state)
{
    struct conf conf;

    (void)state;
    conf_text_accept("defaults {\n allow 10.0.0.0/8\n refuse silent\n}\n" SERVICE("a", "1", "")
                         SERVICE("b", "2", "allow all\n") SERVICE("c", "3", "refuse close\n"),
                     &conf);
    assert_false(allows(&conf.services[0].rules, "11.0.0.1"));
    assert_true(allows(&conf.services[1].rules, "11.0.0.1"));
    assert_false(allows(&conf.services[2].rules, "11.0.0.1"));
    assert_int_equal(conf.services[0].rules.refuse, CONF_REFUSE_SILENT);
    assert_int_equal(conf.services[1].rules.refuse, CONF_REFUSE_SILENT);
    assert_int_equal(conf.services[2].rules.refuse, CONF_REFUSE_CLOSE);
    assert_ptr_equal(conf.services[0].rules.map, conf.default_rules.map);
    conf_free(&conf);
}

static void test_the_rule_that_decides(void **state)
{
    struct conf conf;
    const struct conf_access_rules *rules;
    const struct conf_access_rule *rule;
    char text[ACCESS_RULE_TEXT_MAX];
    uint32_t line;
    struct addr addr;

    (void)state;
    conf_text_accept(SERVICE("a", "1", "allow 10.1.2.3/16\ndeny ::/0\ndeny all\n"), &conf);
    rules = &conf.services[0].rules;
    assert_int_equal(conf_access_count(rules), 3);
    assert_false(conf_access_allows_others(rules));
    assert_int_equal(addr_parse("10.1.9.9", &addr), 0);
    rule = conf_access_find(rules, &addr, &line);
    assert_true(rule && rule->allows && line == 0);
    assert_int_equal(rule->place.line, 4);
    assert_string_equal(conf_access_text(rule, text), "10.1.0.0/16");
    assert_int_equal(addr_parse("10.2.0.0", &addr), 0);
    rule = conf_access_find(rules, &addr, &line);
    assert_string_equal(conf_access_text(rule, text), "all");
    conf_free(&conf);
}

static void check_warning(const char *lines, const char *fragment)
{
    struct conf_report report;
    struct conf conf;

    assert_int_equal(conf_text_read(lines, &conf, &report), 0);
    if (fragment && (report.n_warnings != 1 || !strstr(report.warnings[0].text, fragment)))
        fail_msg("%s: no warning \"%s\"", lines, fragment);
    if (!fragment)
        assert_int_equal(report.n_warnings, 0);
    conf_free(&conf);
}

static void test_what_is_odd(void **state)
{
    (void)state;
    check_warning(SERVICE("a", "1", "deny all\n"), "let nobody in");
    check_warning(SERVICE("a", "1", "deny 0.0.0.0/0\ndeny ::/0\n"), "let nobody in");
    check_warning(SERVICE("a", "1", "allow all\ndeny ::1\n"), "deny ::1: never looked at");
    check_warning(SERVICE("a", "1", "allow 10.0.0.9/8\n"), "'10.0.0.9/8' is taken for 10.0.0.0/8");
    check_warning(SERVICE("a", "1", "allow 10.0.0.0/8\ndeny all\n"), NULL);
}

static void test_too_many_lines(void **state)
{
    enum { N = CONF_RULES_MAX + 1 };
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    struct conf conf;

    (void)state;
    fputs("service a {\n listen tcp :1\n server s 10.0.0.2:80\n", stream);
    for (int i = 0; i < N - 1; i++)
        fprintf(stream, "deny 10.0.%d.%d\n", i / 256, i % 256);
    fclose(stream);
    text = realloc(text, n_bytes + 32);
    assert_non_null(text);
    strcpy(text + n_bytes, "}\n");
    conf_text_accept(text, &conf);
    assert_int_equal(conf_access_count(&conf.services[0].rules), N - 1);
    conf_free(&conf);
    strcpy(text + n_bytes, "allow ::1\n}\n");
    conf_text_refuse(text, "1004:1", "more than 1000 lines of allow and deny");
    free(text);
}

static void check_diff(const char *before, const char *after, const char *expected)
{
    struct conf confs[2];
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    conf_text_accept(before, &confs[0]);
    conf_text_accept(after, &confs[1]);
    conf_access_diff(&confs[0].services[0].rules, &confs[1].services[0].rules, "a", stream);
    fclose(stream);
    assert_string_equal(text, expected);
    free(text);
    conf_free(&confs[0]);
    conf_free(&confs[1]);
}

static void test_differences(void **state)
{
    (void)state;
    check_diff(SERVICE("a", "1", "deny 10.0.0.0/8\n"),
               "defaults {\ndeny 10.0.0.0/8\n}\n" SERVICE("a", "1", ""), "");
    check_diff(SERVICE("a", "1", ""), SERVICE("a", "1", "allow ::1\ndeny all\n"),
               "+ allow ::1 of a\n+ deny all of a\n");
    check_diff(SERVICE("a", "1", "allow ::1\ndeny ::/8\n"),
               SERVICE("a", "1", "deny ::/8\nallow ::1\n"), "~ order of allow and deny of a\n");
    check_diff(SERVICE("a", "1", "allow ::1\n"), SERVICE("a", "1", "deny ::1\n"),
               "- allow ::1 of a\n+ deny ::1 of a\n");
}

static void test_print(void **state)
{
    struct conf conf;
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    (void)state;
    conf_text_accept(SERVICE("a", "1", "allow ::ffff:10.0.0.0/104\ndeny all\n"), &conf);
    conf_access_print(&conf.services[0].rules, stream);
    fclose(stream);
    assert_string_equal(text, "    allow 10.0.0.0/8\n    deny all\n");
    assert_string_equal(conf_refuse_word(CONF_REFUSE_SILENT), "silent");
    assert_string_equal(conf_refuse_word(CONF_REFUSE_CLOSE), "close");
    free(text);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_rule_decides),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_the_rule_that_decides),
        cmocka_unit_test(test_what_is_odd),
        cmocka_unit_test(test_too_many_lines),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_print),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
