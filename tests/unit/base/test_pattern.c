#include "lb4/base/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_accepted(void **state)
{
    static const struct {
        const char *pattern;
        const char *text;
        bool is_match;
    } cases[] = {
        {"^[0-9]{1,3}(\\.[0-9]{1,3}){3}$", "10.0.0.255", true},
        {"^[0-9]{1,3}(\\.[0-9]{1,3}){3}$", "10.0.0", false},
        {"a{4096}", "aaa", false},
        {"[]{9999}]", "{", true}, /* in brackets nothing repeats */
        {"[^]{9999}]", "x", true},
        {"[{9999}", "", false}, /* judged by regcomp(3) below */
        {"\\{9999}", "{9999}", true},
        {"\\\\9", "\\9", true},
        {"[\\9]", "9", true},
        {"(a|b)+", "xxb", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[PATTERN_ERROR_MAX] = "";
        regex_t regex;

        if (strcmp(cases[i].pattern, "[{9999}") == 0) {
            assert_false(pattern_compile(&regex, cases[i].pattern, error));
            continue;
        }
        assert_true(pattern_compile(&regex, cases[i].pattern, error));
        assert_int_equal(regexec(&regex, cases[i].text, 0, NULL, 0) == 0, cases[i].is_match);
        regfree(&regex);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *pattern;
        const char *error;
    } cases[] = {
        {"(a)\\1", "\\1 refers back to a group: not accepted, it can take very long"},
        {"[]](a)\\9", "\\9 refers back to a group: not accepted, it can take very long"},
        {"a{4097}", "its repetitions {n} multiply to more than 4096"},
        {"a{1,4097}", "its repetitions {n} multiply to more than 4096"},
        {"(a{65}){64}", "its repetitions {n} multiply to more than 4096"},
        {"a{64}{65,}", "its repetitions {n} multiply to more than 4096"},
        {"a{99999999999999999999999}", "its repetitions {n} multiply to more than 4096"},
        {"a{4096}b{18446744073709551615}", "its repetitions {n} multiply to more than 4096"},
        {"(((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+",
         "its repetitions {n} multiply to more than 4096"},
        {"(", "Unmatched ( or \\("},
        {"[a", "Unmatched [, [^, [:, [., or [="},
        {"a\\", "Trailing backslash"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[PATTERN_ERROR_MAX] = "";
        regex_t regex;

        assert_false(pattern_compile(&regex, cases[i].pattern, error));
        assert_string_equal(error, cases[i].error);
    }
}

/* Bytes with NULs in them, without one behind: what the dialogues rely on (glibc). */
static void test_startend(void **state)
{
    char error[PATTERN_ERROR_MAX];
    regmatch_t whole = {.rm_so = 0, .rm_eo = 4};
    regex_t regex;

    (void)state;
    assert_true(pattern_compile(&regex, "c$", error));
    assert_int_equal(regexec(&regex, "a\0bcd", 1, &whole, REG_STARTEND), 0);
    whole = (regmatch_t){.rm_so = 0, .rm_eo = 5};
    assert_int_equal(regexec(&regex, "a\0bcd", 1, &whole, REG_STARTEND), REG_NOMATCH);
    regfree(&regex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_startend),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
