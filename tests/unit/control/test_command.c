#include "command_rig.h"

static void test_unknown(void **state)
{
    (void)state;
    rig_expect("frobnicate", "error unknown command 'frobnicate'; help lists them\n");
    assert_int_equal(rig.result, COMMAND_FAILED);
    rig_expect("--json", "error no command; help lists them\n");
    rig_expect(
        "show",
        "error usage: show services|servers|connections|names|sources|bans|affinity|info|config\n");
    rig_expect(
        "show nothing",
        "error usage: show services|servers|connections|names|sources|bans|affinity|info|config\n");
    rig_expect("help me", "error usage: help\n");
    rig_expect("SHOW INFO", "error unknown command 'SHOW'; help lists them\n");
    rig_expect("drain", "error usage: drain SERVICE/SERVER [--wait TIME]\n");
    rig_expect("weight db/a", "error usage: weight SERVICE/SERVER N\n");
}

static void test_too_many_words(void **state)
{
    (void)state;
    rig_expect("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "error more than 16 words\n");
}

static void test_long_words_are_cut_in_errors(void **state)
{
    static char line[LINE_MAX_BYTES + 1];

    (void)state;
    memset(line, 'x', LINE_MAX_BYTES);
    assert_int_equal(strlen(rig_ask(line)),
                     strlen("error unknown command ''; help lists them\n") + 64);
}

static void test_help_lists_all(void **state)
{
    const char *text;

    (void)state;
    text = rig_ask(" \t help\t ");
    assert_int_equal(rig.result, COMMAND_DONE);
    assert_non_null(strstr(text, "show services\t"));
    assert_non_null(strstr(text, "drain SERVICE/SERVER [--wait TIME]\t"));
    assert_string_equal(text + strlen(text) - 4, "\nok\n");
    text = rig_ask("help --json");
    assert_int_equal(strncmp(text, "[{\"command\":\"show services\",", 28), 0);
}

static void test_too_long_a_reply_is_an_error(void **state)
{
    (void)state;
    rig.reply.most = 100;
    assert_non_null(
        strstr(rig_ask("show config"), "error the reply would be longer than 100 bytes"));
    assert_int_equal(rig.result, COMMAND_FAILED);
    assert_int_equal(rig.text[strlen(rig.text) - 1], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_unknown),
        RIGGED(test_too_many_words),
        RIGGED(test_long_words_are_cut_in_errors),
        RIGGED(test_help_lists_all),
        RIGGED(test_too_long_a_reply_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
