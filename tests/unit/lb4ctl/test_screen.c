#include "lb4/lb4ctl/screen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <locale.h>

static struct screen screen;

static void check_update(const char *expected)
{
    size_t n;
    char *bytes = screen_update(&screen, &n);

    assert_int_equal(n, strlen(expected));
    if (n > 0)
        assert_memory_equal(bytes, expected, n);
    free(bytes);
}

static void check_line(size_t width, const char *text, const char *expected)
{
    char *printed = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&printed, &n_bytes);

    assert_int_equal(screen_begin(&screen, 200, 3), 0);
    screen_left(&screen, SCREEN_PLAIN, text, width);
    screen_left(&screen, SCREEN_PLAIN, "|", 1);
    screen_print(&screen, stream);
    fclose(stream);
    assert_string_equal(printed, expected);
    free(printed);
}

static int finish(void **state)
{
    (void)state;
    screen_fini(&screen);
    screen = (struct screen){0};
    return 0;
}

static void test_cells(void **state)
{
    (void)state;
    check_line(5, "abc", "abc  |\n");
    check_line(5, "abcde", "abcde|\n");
    check_line(5, "abcdef", "abcd~|\n");
    check_line(1, "abc", "~|\n");
    check_line(0, "abc", "|\n");
    screen_begin(&screen, 4, 1);
    screen_right(&screen, SCREEN_PLAIN, "12", 3);
    screen_right(&screen, SCREEN_PLAIN, "345", 3); /* beyond the end */
    assert_int_equal(screen.lines[0].n_columns, 4);
    assert_memory_equal(screen.lines[0].bytes, " 12~", 4);
    assert_false(screen_next(&screen));
}

/* What lb4 heard from servers and clients must not move the cursor. */
static void test_control_bytes(void **state)
{
    (void)state;
    check_line(12, "a\033[2Jb\007\x7f\n", "a[2Jb       |\n");
    check_line(4, "\x9b\xc3\xa9", "??? |\n"); /* no UTF-8 here */
    screen.is_utf8 = true;
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        skip();
    check_line(4, "\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9 |\n");
    check_line(4,
               "\xc2\x9b"
               "2J",
               "2J  |\n"); /* CSI in two bytes */
    check_line(4, "\x9b\xff!",
               "?"
               "?! |\n");
    check_line(4, "abcdef", "abc\xe2\x80\xa6|\n");
    check_line(3, "\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe2\x80\xa6|\n"); /* two columns each */
    check_line(4, "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\xe6\x97\xa5\xe2\x80\xa6 |\n");
    setlocale(LC_CTYPE, "C");
}

static void test_only_what_has_changed(void **state)
{
    (void)state;
    screen.is_styled = true;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(screen_begin(&screen, 3, 2), 0);
        screen_left(&screen, SCREEN_REVERSE, "abc", 3);
        assert_true(screen_next(&screen));
        screen_left(&screen, SCREEN_PLAIN, i ? "y" : "x", 2);
        check_update(i ? "\033[2;1Hy \033[K"
                       : "\033[0m\033[H\033[2J\033[1;1H\033[7mabc\033[0m\033[2;1Hx \033[K");
    }
    screen_begin(&screen, 3, 2);
    check_update("\033[1;1H\033[K\033[2;1H\033[K");
    screen_begin(&screen, 4, 1); /* resized: all of it */
    check_update("\033[0m\033[H\033[2J\033[1;1H\033[K");
}

static void test_colours(void **state)
{
    (void)state;
    screen.is_styled = true;
    for (int i = 0; i < 2; i++) {
        screen.is_coloured = i;
        screen.is_fresh = false;
        screen_begin(&screen, 2, 1);
        screen.is_fresh = false;
        screen_left(&screen, SCREEN_RED, "a", 1);
        screen_left(&screen, SCREEN_YELLOW, "b", 1);
        check_update(i ? "\033[1;1H\033[31ma\033[0m\033[33mb\033[0m" : "\033[1;1Hab");
    }
}

#define CLEAN(test) cmocka_unit_test_setup_teardown(test, finish, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEAN(test_cells),
        CLEAN(test_control_bytes),
        CLEAN(test_only_what_has_changed),
        CLEAN(test_colours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
