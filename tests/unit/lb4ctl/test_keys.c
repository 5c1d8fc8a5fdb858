#include "lb4/lb4ctl/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All keys of the bytes, up to 8. */
static void check(const char *bytes, const int expected[8])
{
    struct keys keys = {0};
    int found[8] = {0};
    size_t n = 0;

    for (; *bytes; bytes++) {
        int key = keys_take(&keys, (unsigned char)*bytes);

        if (key != KEY_NONE && n < 8)
            found[n++] = key;
    }
    assert_memory_equal(found, expected, sizeof(found));
}

#define CHECK(bytes, ...) check(bytes, (const int[8]){__VA_ARGS__})

static void test_characters(void **state)
{
    (void)state;
    CHECK("qs1?", 'q', 's', '1', '?');
    CHECK("\003\t\r\032\f", KEY_INTERRUPT, KEY_TAB, KEY_ENTER, KEY_SUSPEND, KEY_REDRAW);
}

static void test_sequences(void **state)
{
    (void)state;
    CHECK("\033[A\033[B\033[C\033[D", KEY_UP, KEY_DOWN, KEY_RIGHT, KEY_LEFT);
    CHECK("\033OA\033OB\033OC\033OD", KEY_UP, KEY_DOWN, KEY_RIGHT, KEY_LEFT);
    CHECK("\033[5~\033[6~\033[1~\033[4~", KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END);
    CHECK("\033[7~\033[8~\033[H\033OF\033[Z", KEY_HOME, KEY_END, KEY_HOME, KEY_END, KEY_BACK_TAB);
    CHECK("\033[1;5Cq", KEY_RIGHT, 'q'); /* with Ctrl */
}

/* What is not known is swallowed whole: no letter of it is taken for a key. */
static void test_unknown(void **state)
{
    (void)state;
    CHECK("\033[15~q", 'q');
    CHECK("\033[?1;2cq", 'q');
    CHECK("\033[99999999999999999~q", 'q');
    CHECK("\033OPq", 'q');
    CHECK("\033\033[Aq", KEY_UP, 'q');
    CHECK("\033q", 'q');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
