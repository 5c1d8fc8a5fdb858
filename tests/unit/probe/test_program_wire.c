#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/conf/bounds.h"
#include "lb4/probe/program_wire.h"

static const char *env[PROGRAM_ENV_MAX + 1];

static struct program_request request_new(void)
{
    struct program_request request = {.id = 7, .timeout_ns = 1000};

    assert_true(program_request_begin(&request, "/bin/true", 9));
    return request;
}

/* --- requests --------------------------------------------------------------------------------- */

static void test_round_trip(void **state)
{
    struct program_request request = request_new();

    (void)state;
    assert_true(program_request_env(&request, "PATH", "/bin"));
    assert_true(program_request_env(&request, "EMPTY", ""));
    assert_true(program_request_open(&request, program_request_size(&request), env));
    assert_string_equal(request.text, "/bin/true");
    assert_string_equal(env[0], "PATH=/bin");
    assert_string_equal(env[1], "EMPTY=");
    assert_null(env[2]);
}

static void test_without_environment(void **state)
{
    struct program_request request = request_new();

    (void)state;
    assert_true(program_request_open(&request, program_request_size(&request), env));
    assert_null(env[0]);
}

static void test_the_longest_fits(void **state)
{
    struct program_request request = {.timeout_ns = 1};
    char path[CONF_FILE_MAX + 1];
    char value[2 * PROGRAM_TEXT_MAX];

    (void)state;
    memset(path, 'p', sizeof(path));
    memset(value, 'v', sizeof(value));
    value[CONF_NAME_MAX] = '\0';
    assert_true(program_request_begin(&request, path, CONF_FILE_MAX));
    for (size_t i = 0; i < PROGRAM_ENV_MAX; i++)
        assert_true(program_request_env(&request, "A_LONG_NAME", value));
    assert_true(program_request_open(&request, program_request_size(&request), env));
    assert_string_equal(env[PROGRAM_ENV_MAX - 1] + 12, value);
    value[CONF_NAME_MAX] = 'v';
    value[sizeof(value) - 1] = '\0';
    assert_false(program_request_env(&request, "X", value));
    assert_false(program_request_begin(&request, value, PROGRAM_TEXT_MAX));
}

static void test_broken_requests(void **state)
{
    struct program_request request = request_new();
    size_t n = program_request_size(&request);

    (void)state;
    assert_false(program_request_open(&request, 0, env));
    assert_false(program_request_open(&request, n - 1, env));
    assert_false(program_request_open(&request, n + 1, env));
    request.text[request.n_bytes - 1] = 'x';
    assert_false(program_request_open(&request, n, env));
    request.n_bytes = 0;
    assert_false(program_request_open(&request, program_request_size(&request), env));
    request.n_bytes = UINT32_MAX;
    assert_false(program_request_open(&request, program_request_size(&request), env));
    request.n_bytes = PROGRAM_TEXT_MAX + 1;
    assert_false(program_request_open(&request, program_request_size(&request), env));
}

static void test_too_many_variables(void **state)
{
    struct program_request request = request_new();

    (void)state;
    for (size_t i = 0; i <= PROGRAM_ENV_MAX; i++)
        assert_true(program_request_env(&request, "A", "b"));
    assert_false(program_request_open(&request, program_request_size(&request), env));
}

static void test_a_wish_to_kill(void **state)
{
    struct program_request request = {.id = 9};

    (void)state;
    assert_true(program_request_open(&request, program_request_size(&request), env));
}

/* --- output ----------------------------------------------------------------------------------- */

static void test_first_line(void **state)
{
    static const struct {
        const char *said;
        const char *line;
        bool is_whole;
    } cases[] = {
        {"", "", false},
        {"lag", "lag", false},
        {"lag\n", "lag", true},
        {"lag 3 s\nmore\n", "lag 3 s", true},
        {"\n \r\n\tlag\n", "lag", true},
        {"\n\n\n", "", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[PROGRAM_LINE_MAX] = "";
        char bit_by_bit[PROGRAM_LINE_MAX] = "";
        bool is_whole = false;

        assert_int_equal(program_line_take(line, cases[i].said, strlen(cases[i].said)),
                         cases[i].is_whole);
        assert_string_equal(line, cases[i].line);
        for (const char *at = cases[i].said; *at && !is_whole; at++)
            is_whole = program_line_take(bit_by_bit, at, 1);
        assert_string_equal(bit_by_bit, cases[i].line);
    }
}

static void test_a_line_that_is_too_long(void **state)
{
    char said[4096];
    char line[PROGRAM_LINE_MAX] = "";

    (void)state;
    memset(said, 'x', sizeof(said));
    assert_true(program_line_take(line, said, sizeof(said)));
    assert_int_equal(strlen(line), PROGRAM_LINE_MAX - 1);
}

static void test_nul_bytes(void **state)
{
    char line[PROGRAM_LINE_MAX] = "";

    (void)state;
    assert_true(program_line_take(line, "a\0b\n", 4));
    assert_string_equal(line, "a b");
}

/* --- answers ---------------------------------------------------------------------------------- */

static void test_words_and_outcomes(void **state)
{
    static const struct {
        struct program_answer answer;
        enum health_outcome outcome;
        const char *words;
    } cases[] = {
        {{.fate = PROGRAM_EXITED}, HEALTH_OK, "exit 0"},
        {{.fate = PROGRAM_EXITED, .value = 1}, HEALTH_FAILED, "exit 1"},
        {{.fate = PROGRAM_EXITED, .value = 2, .line = "replication lag 340 s \r"},
         HEALTH_FAILED,
         "exit 2: replication lag 340 s"},
        {{.fate = PROGRAM_EXITED, .value = 2, .line = "a\tb\x1b[31m\xff"},
         HEALTH_FAILED,
         "exit 2: a b\\x1b[31m\\xff"},
        {{.fate = PROGRAM_KILLED, .value = 11}, HEALTH_FAILED, "killed by SIGSEGV"},
        {{.fate = PROGRAM_KILLED, .value = 60}, HEALTH_FAILED, "killed by signal 60"},
        {{.fate = PROGRAM_TIMED_OUT}, HEALTH_FAILED, NULL},
        {{.fate = PROGRAM_TIMED_OUT, .line = "asking"}, HEALTH_FAILED, "timed out: asking"},
        {{.fate = PROGRAM_NOT_STARTED, .value = ENOENT},
         HEALTH_FAILED,
         "the program cannot be started: No such file or directory"},
        {{.fate = PROGRAM_NOT_TRIED, .value = EAGAIN},
         HEALTH_UNKNOWN,
         "lb4 cannot start a program: Resource temporarily unavailable"},
        {{.fate = PROGRAM_HOST_BEGINS}, HEALTH_UNKNOWN, "the process that runs programs was lost"},
        {{.fate = 99}, HEALTH_UNKNOWN, "no answer that lb4 understands"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[PROGRAM_WORDS_MAX];
        const char *words = program_words(&cases[i].answer, text);

        assert_int_equal(program_outcome(&cases[i].answer), cases[i].outcome);
        assert_int_equal(!words, !cases[i].words);
        if (words)
            assert_string_equal(words, cases[i].words);
    }
}

static void test_words_are_cut(void **state)
{
    struct program_answer answer = {.fate = PROGRAM_EXITED, .value = 255};
    char text[PROGRAM_WORDS_MAX];

    (void)state;
    memset(answer.line, 0x80, sizeof(answer.line)); /* without a NUL, too */
    program_words(&answer, text);
    assert_true(strlen(text) > PROGRAM_WORDS_MAX - 5);
    assert_string_equal(text + strlen(text) - 4, "\\x80");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),         cmocka_unit_test(test_without_environment),
        cmocka_unit_test(test_the_longest_fits),   cmocka_unit_test(test_broken_requests),
        cmocka_unit_test(test_too_many_variables), cmocka_unit_test(test_a_wish_to_kill),
        cmocka_unit_test(test_first_line),         cmocka_unit_test(test_a_line_that_is_too_long),
        cmocka_unit_test(test_nul_bytes),          cmocka_unit_test(test_words_and_outcomes),
        cmocka_unit_test(test_words_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
