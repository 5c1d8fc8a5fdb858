#include "lb4/base/unix_path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

static bool is_valid(const char *path)
{
    char error[UNIX_PATH_ERROR_MAX];

    return unix_path_is_valid(path, error);
}

static void paths_that_can_be(void **state)
{
    char longest[UNIX_PATH_MAX + 2];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[0] = '/';
    longest[UNIX_PATH_MAX] = '\0';
    assert_true(is_valid("/run/db/.s.PGSQL.5432"));
    assert_true(is_valid("@name"));
    assert_true(is_valid("/a=b:c,d"));
    assert_true(is_valid(longest));
}

static void paths_that_cannot_be(void **state)
{
    static const char *const wrong[] = {"",       "/",      "@",     "run/x", "/a b",
                                        "/a\tb",  "/a\"b",  "/a\\b", "/a#b",  "/a{",
                                        "/a\x7f", "/a\xc3", "/a\nb", "/a'b"};
    char too_long[UNIX_PATH_MAX + 2];

    (void)state;
    memset(too_long, 'a', sizeof(too_long));
    too_long[0] = '/';
    too_long[UNIX_PATH_MAX + 1] = '\0';
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(is_valid(wrong[i]));
    assert_false(is_valid(too_long));
}

static void a_path_keeps_its_number(void **state)
{
    long a = unix_path_number("/run/a");
    long b = unix_path_number("@b");

    (void)state;
    assert_true(a > 0 && b > 0 && a != b);
    assert_int_equal(unix_path_number("/run/a"), a);
    assert_string_equal(unix_path_text((uint32_t)a), "/run/a");
    assert_string_equal(unix_path_text((uint32_t)b), "@b");
    assert_false(unix_path_is_abstract((uint32_t)a));
    assert_true(unix_path_is_abstract((uint32_t)b));
    assert_string_equal(unix_path_text(0), "");
    assert_string_equal(unix_path_text(UNIX_PATHS_MAX), "");
    assert_string_equal(unix_path_text(UINT32_MAX), "");
}

static void addresses_for_the_kernel(void **state)
{
    struct sockaddr_un at;
    char path[UNIX_PATH_MAX + 1];

    (void)state;
    assert_int_equal(unix_path_sockaddr((uint32_t)unix_path_number("/run/a"), &at), sizeof(at));
    assert_string_equal(at.sun_path, "/run/a");
    assert_int_equal(unix_path_sockaddr((uint32_t)unix_path_number("@b"), &at),
                     offsetof(struct sockaddr_un, sun_path) + 2);
    assert_memory_equal(at.sun_path, "\0b", 3);
    unix_path_of_sockaddr(&at, offsetof(struct sockaddr_un, sun_path) + 2, path);
    assert_string_equal(path, "@b");
}

static void what_the_kernel_tells(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char path[UNIX_PATH_MAX + 1];

    (void)state;
    unix_path_of_sockaddr(&at, offsetof(struct sockaddr_un, sun_path), path);
    assert_string_equal(path, "");
    memset(at.sun_path, 'x', sizeof(at.sun_path));
    at.sun_path[0] = '/';
    unix_path_of_sockaddr(&at, sizeof(at), path); /* all of it, without a NUL */
    assert_int_equal(strlen(path), UNIX_PATH_MAX);
    snprintf(at.sun_path, sizeof(at.sun_path), "/run/a");
    unix_path_of_sockaddr(&at, offsetof(struct sockaddr_un, sun_path) + 7, path);
    assert_string_equal(path, "/run/a");
}

/* The last of all: nothing else fits afterwards. */
static void the_table_has_an_end(void **state)
{
    char path[32];
    long number = 0;
    long last = 0;

    (void)state;
    for (int i = 0; i <= UNIX_PATHS_MAX; i++) {
        snprintf(path, sizeof(path), "/n/%d", i);
        number = unix_path_number(path);
        if (number > 0)
            last = number;
    }
    assert_int_equal(number, -ENOSPC);
    assert_int_equal(last, UNIX_PATHS_MAX);
    assert_true(unix_path_text(UNIX_PATHS_MAX)[0] == '/');
    assert_true(unix_path_number("/run/a") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_that_can_be),       cmocka_unit_test(paths_that_cannot_be),
        cmocka_unit_test(a_path_keeps_its_number), cmocka_unit_test(addresses_for_the_kernel),
        cmocka_unit_test(what_the_kernel_tells),   cmocka_unit_test(the_table_has_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
