#include "lb4/conf/lex.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Words joined by '|', braces as they were found. */
static const char *lexed(const char *text, size_t n_bytes)
{
    static char out[16384];
    struct lex_line line;
    struct lex lex;
    size_t at = 0;

    lex_init(&lex, text, n_bytes);
    switch (lex_next(&lex, &line)) {
    case LEX_END:
        return "END";
    case LEX_BAD:
        snprintf(out, sizeof(out), "BAD %u %s", line.error_column, line.error);
        return out;
    case LEX_LINE:
        break;
    }
    out[0] = '\0';
    for (size_t i = 0; i < line.n_words; i++)
        at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s@%u", i > 0 ? "|" : "",
                               line.words[i].text, line.words[i].column);
    snprintf(out + at, sizeof(out) - at, "%s%s", line.opens_block ? "{" : "",
             line.closes_block ? "}" : "");
    return out;
}

static void test_words(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "END"},
        {"\n", ""},
        {"   \t ", ""},
        {"# all comment { } \"", ""},
        {"workers 4", "workers@1|4@9"},
        {"\tworkers\t4\r\n", "workers@2|4@10"},
        {"a b# # c", "a@1|b#@3"},
        {"service x {", "service@1|x@9{"},
        {"service x { # why", "service@1|x@9{"},
        {"  }  ", "}"},
        {"} # end", "}"},
        {"x{ y}", "x{@1|y}@4"},
        {"a \"b c\" d", "a@1|b c@3|d@9"},
        {"\"\" \"{\"", "@1|{@4"},
        {"\"\\\\\\\"\\r\\n\\x41\"", "\\\"\r\nA@1"},
        {"\xef\xbb\xbfworkers 4", "workers@1|4@9"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f@1"},
        {"\xf0\x9f\x90\x98 x", "\xf0\x9f\x90\x98@1|x@6"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(lexed(cases[i].text, strlen(cases[i].text)), cases[i].words);
}

static void test_bad(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"a \"b", "BAD 3 the quote that begins here has no end"},
        {"a \"b\\", "BAD 5 unknown escape, accepted: \\\" \\\\ \\r \\n \\xHH"},
        {"a \"b\\q\"", "BAD 5 unknown escape, accepted: \\\" \\\\ \\r \\n \\xHH"},
        {"\"\\x4\"", "BAD 2 unknown escape, accepted: \\\" \\\\ \\r \\n \\xHH"},
        {"\"\\", "BAD 2 unknown escape, accepted: \\\" \\\\ \\r \\n \\xHH"},
        {"a\"b\"", "BAD 2 a quote inside a word, quote the whole word"},
        {"\"a\"b", "BAD 4 a blank must follow the quote"},
        {"a } ", "BAD 3 '}' must stand on a line of its own"},
        {"} a", "BAD 3 '}' must stand on a line of its own"},
        {"a { b", "BAD 5 '{' must be the last word of its line"},
        {"a\x01", "BAD 2 control byte \\x01, write it in quotes as \"\\x01\""},
        {"a\rb", "BAD 2 control byte \\x0d, write it in quotes as \"\\x0d\""},
        {"a \xff", "BAD 3 byte \\xff is not UTF-8"},
        {"# \xc0\x80", "BAD 3 byte \\xc0 is not UTF-8"},
        {"\xe0\x80\x80", "BAD 1 byte \\xe0 is not UTF-8"},
        {"\xed\xa0\x80", "BAD 1 byte \\xed is not UTF-8"},
        {"\xf4\x90\x80\x80", "BAD 1 byte \\xf4 is not UTF-8"},
        {"\xe2\x82", "BAD 1 byte \\xe2 is not UTF-8"},
        {"\x80", "BAD 1 byte \\x80 is not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(lexed(cases[i].text, strlen(cases[i].text)), cases[i].error);
    assert_string_equal(lexed("a\0b", 3), "BAD 2 NUL byte, the configuration is text");
}

static void test_limits(void **state)
{
    char text[LEX_LINE_MAX + 8];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(strlen(lexed(text, LEX_LINE_MAX)), LEX_LINE_MAX + 2);
    assert_string_equal(lexed(text, LEX_LINE_MAX + 1), "BAD 4097 line of 4097 bytes, at most 4096");
    for (size_t i = 1; i < sizeof(text); i += 2)
        text[i] = ' ';
    assert_string_equal(lexed(text, 2 * LEX_WORDS_MAX + 1), "BAD 129 more than 64 words");
    memset(text, '"', sizeof(text)); /* quotes side by side: never more bytes out than in */
    assert_string_equal(lexed(text, LEX_LINE_MAX), "BAD 3 a blank must follow the quote");
}

static void test_lines_and_recovery(void **state)
{
    static const char text[] = "one\n\"bad {\ntwo {\r\nthree";
    struct lex_line line;
    struct lex lex;

    (void)state;
    lex_init(&lex, text, sizeof(text) - 1);
    assert_int_equal(lex_next(&lex, &line), LEX_LINE);
    assert_int_equal(line.number, 1);
    assert_int_equal(lex_next(&lex, &line), LEX_BAD);
    assert_true(line.opens_block);
    assert_int_equal(lex_next(&lex, &line), LEX_LINE);
    assert_true(line.opens_block);
    assert_int_equal(line.brace_column, 5);
    assert_int_equal(lex_next(&lex, &line), LEX_LINE);
    assert_int_equal(line.number, 4);
    assert_false(line.opens_block);
    assert_int_equal(lex_next(&lex, &line), LEX_END);
}

static void test_nul_from_escape(void **state)
{
    static const char text[] = "\"a\\x00b\"";
    struct lex_line line;
    struct lex lex;

    (void)state;
    lex_init(&lex, text, sizeof(text) - 1);
    assert_int_equal(lex_next(&lex, &line), LEX_LINE);
    assert_int_equal(line.words[0].n_bytes, 3);
    assert_memory_equal(line.words[0].text, "a\0b", 4);
}

static void test_insert_and_split(void **state)
{
    static const char text[] = "db1=10.0.0.5:80 weight";
    struct lex_line line;
    struct lex lex;

    (void)state;
    lex_init(&lex, text, sizeof(text) - 1);
    assert_int_equal(lex_next(&lex, &line), LEX_LINE);
    lex_split_word(&line, 0, 3);
    lex_insert_word(&line, 0, "server", 1);
    assert_int_equal(line.n_words, 4);
    assert_string_equal(line.words[0].text, "server");
    assert_string_equal(line.words[1].text, "db1");
    assert_int_equal(line.words[1].n_bytes, 3);
    assert_string_equal(line.words[2].text, "10.0.0.5:80");
    assert_int_equal(line.words[2].column, 5);
    assert_int_equal(line.words[2].n_bytes, 11);
    assert_string_equal(line.words[3].text, "weight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),           cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_lines_and_recovery),
        cmocka_unit_test(test_nul_from_escape), cmocka_unit_test(test_insert_and_split),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
