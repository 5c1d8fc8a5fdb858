#include "lb4/lb4ctl/top_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct top_options options;
static char message[TOP_MESSAGE_MAX];

static bool take(const char *const words[8])
{
    char copies[8][80];
    char *list[9] = {0};

    message[0] = '\0';
    for (size_t i = 0; i < 8 && words[i]; i++) {
        snprintf(copies[i], sizeof(copies[i]), "%s", words[i]);
        list[i] = copies[i];
    }
    return top_options_read(&options, list, message);
}

#define TAKE(...) take((const char *const[8]){__VA_ARGS__})

static void test_good(void **state)
{
    (void)state;
    assert_true(TAKE(NULL));
    assert_string_equal(options.service, "");
    assert_int_equal(options.interval_ms, 1000);
    assert_int_equal(options.n_readings, 0);
    assert_null(options.sort);
    assert_true(TAKE("--interval", "200ms", "web", "--sort", "new/s", "-n", "3"));
    assert_int_equal(options.interval_ms, 200);
    assert_int_equal(options.n_readings, 3);
    assert_true(TAKE("--interval", "1h"));
}

static void test_bad(void **state)
{
    (void)state;
    assert_false(TAKE("--interval"));
    assert_false(TAKE("--interval", "199ms"));
    assert_non_null(strstr(message, "200ms..1h"));
    assert_false(TAKE("--interval", "2h"));
    assert_false(TAKE("--interval", "5"));
    assert_false(TAKE("-n", "0"));
    assert_false(TAKE("-n"));
    assert_false(TAKE("--sort"));
    assert_false(TAKE("--nosuch", "1"));
    assert_non_null(strstr(message, "'--nosuch' is no option"));
    assert_false(TAKE("web", "db"));
    assert_false(TAKE("web/s1"));
    assert_false(TAKE("web\nkill"));
    assert_false(TAKE(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
