#include "lb4/conf/flags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 16 };

/* A command line of words that are separated by '|'. */
struct command {
    char text[256];
    char *argv[ARGS_MAX];
    int argc;
    struct flags flags;
};

static void command_parse(struct command *command, const char *text)
{
    char *rest = command->text;
    char *word;

    strncpy(command->text, text, sizeof(command->text) - 1);
    command->text[sizeof(command->text) - 1] = '\0';
    command->argc = 0;
    while ((word = strsep(&rest, "|")))
        command->argv[command->argc++] = word;
    command->argv[command->argc] = NULL;
    flags_parse(command->argc, command->argv, &command->flags);
}

static void test_actions(void **state)
{
    static const struct {
        const char *text;
        enum flags_action action;
        const char *config_file;
    } cases[] = {
        {"lb4", FLAGS_RUN, "/etc/lb4/lb4.conf"},
        {"lb4|-c|x", FLAGS_RUN, "x"},
        {"lb4|-cx", FLAGS_RUN, "x"},
        {"lb4|--config=x", FLAGS_RUN, "x"},
        {"lb4|--config|x|--check", FLAGS_CHECK, "x"},
        {"lb4|-tc|x", FLAGS_CHECK, "x"},
        {"lb4|-T", FLAGS_PRINT, "/etc/lb4/lb4.conf"},
        {"lb4|--print", FLAGS_PRINT, "/etc/lb4/lb4.conf"},
        {"lb4|-l|:1|-s|h", FLAGS_RUN, NULL},
        {"lb4|-w|3", FLAGS_RUN, "/etc/lb4/lb4.conf"},
        {"lb4|-V", FLAGS_VERSION, NULL},
        {"lb4|--version", FLAGS_VERSION, NULL},
        {"lb4|-h", FLAGS_HELP, NULL},
        {"lb4|--help|--nonsense", FLAGS_HELP, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct command command;

        command_parse(&command, cases[i].text);
        assert_int_equal(command.flags.action, cases[i].action);
        if (cases[i].config_file)
            assert_string_equal(command.flags.config_file, cases[i].config_file);
        else
            assert_null(command.flags.config_file);
        flags_fini(&command.flags);
    }
}

static void test_bad_usage(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"lb4|-c", "'-c' needs an argument"},
        {"lb4|--listen", "'--listen' needs an argument"},
        {"lb4|-Z", "unknown option '-Z'"},
        {"lb4|--nonsense", "unknown option '--nonsense'"},
        {"lb4|--check=1", "'--check=1' takes no argument"},
        {"lb4|x", "unexpected argument 'x'"},
        {"lb4|-t|x", "unexpected argument 'x'"},
        {"lb4|-c|a|-c|b", "-c is given twice"},
        {"lb4|-p|a|--pidfile|b", "-p is given twice"},
        {"lb4|-c|a|-l|:1", "-c and -l cannot be given together"},
        {"lb4|-l|:1|-c|a", "-c and -l cannot be given together"},
        {"lb4|-s|h:1", "-s belongs to a rule: give -l before it"},
        {"lb4|-s|h:1|-l|:1", "-s belongs to a rule: give -l before it"},
        {"lb4|-b|random|-l|:1", "-b belongs to a rule: give -l before it"},
        {"lb4|-c|a|-s|h:1", "-s belongs to a rule: give -l before it"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct command command;

        command_parse(&command, cases[i].text);
        assert_int_equal(command.flags.action, FLAGS_BAD_USAGE);
        assert_string_equal(command.flags.error, cases[i].error);
        flags_fini(&command.flags);
    }
}

static void test_details(void **state)
{
    struct command command;
    const struct flags *flags = &command.flags;

    (void)state;
    command_parse(&command, "lb4|-vvqv|-p|/run/x|--verbose|-q|--quiet");
    assert_int_equal(flags->verbosity, 1);
    assert_string_equal(flags->pid_file, "/run/x");
    flags_fini(&command.flags);
}

/* Where an argument stood, in each way to write it. */
static void test_places(void **state)
{
    static const struct {
        char code;
        const char *text;
        uint32_t argument;
        uint32_t column;
    } expected[] = {
        {'w', "4", 2, 1},
        {'l', ":1", 3, 3},
        {'s', "h", 4, 10},
        {'b', "x", 6, 1},
        {'o', "a b", 7, 4},
        {'u', "me", 8, 8},
        {FLAGS_NO_SPLICE, "off", 9, 1},
    };
    struct command command;
    const struct flags *flags = &command.flags;

    (void)state;
    command_parse(&command, "lb4|-w|4|-l:1|--server=h|-b|x|-voa b|--user=me|--no-splice");
    assert_int_equal(flags->n_options, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < flags->n_options; i++) {
        assert_int_equal(flags->options[i].code, expected[i].code);
        assert_string_equal(flags->options[i].text, expected[i].text);
        assert_int_equal(flags->options[i].argument, expected[i].argument);
        assert_int_equal(flags->options[i].column, expected[i].column);
    }
    flags_fini(&command.flags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_bad_usage),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
