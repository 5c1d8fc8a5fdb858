#include "lb4/conf/help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *help_text(void)
{
    char *text = NULL;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    assert_non_null(stream);
    help_write(stream);
    fclose(stream);
    return text;
}

static void test_names_every_option(void **state)
{
    static const char *const options[] = {
        "-c, --config",  "-t, --check",  "-T, --print",   "-l, --listen", "-s, --server",
        "-b, --balance", "-o, --option", "-w, --workers", "-u, --user",   "-p, --pidfile",
        "-v, --verbose", "-q, --quiet",  "-V, --version", "-h, --help",   "--no-splice",
    };
    char *text = help_text();

    (void)state;
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (!strstr(text, options[i]))
            fail_msg("%s is not in the help", options[i]);
    free(text);
}

static void test_fits_a_terminal(void **state)
{
    char *text = help_text();

    (void)state;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_every_option),
        cmocka_unit_test(test_fits_a_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
