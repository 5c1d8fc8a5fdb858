#include "lb4/shared/source_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void check_text(const char *host, unsigned prefix4, unsigned prefix6, const char *expected)
{
    char text[SOURCE_TEXT_MAX];
    struct source_key key;
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    key = source_key_of(&addr, prefix4, prefix6);
    assert_string_equal(source_format(&key, text), expected);
}

static void test_keys(void **state)
{
    (void)state;
    check_text("10.1.2.3", 32, 64, "10.1.2.3");
    check_text("10.1.2.3", 24, 64, "10.1.2.0/24");
    check_text("255.1.2.3", 1, 64, "128.0.0.0/1");
    check_text("2001:db8:1:2:3:4:5:6", 32, 64, "2001:db8:1:2::/64");
    check_text("2001:db8:1:2:3:4:5:6", 32, 56, "2001:db8:1::/56");
    check_text("2001:db8:1:2:3:4:5:6", 32, 65, "2001:db8:1:2::/65");
    check_text("2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6");
    check_text("ffff:db8::1", 32, 1, "8000::/1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
