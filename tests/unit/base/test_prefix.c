#include "lb4/base/prefix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool parse(const char *text, struct prefix *ret, bool *ret_is_exact)
{
    char error[PREFIX_ERROR_MAX] = "";

    if (prefix_parse(text, strlen(text), ret, ret_is_exact, error))
        return true;
    assert_true(strlen(error) > 10);
    return false;
}

static void test_what_is_a_network(void **state)
{
    static const struct {
        const char *text;
        const char *same; /* as it is written back */
        bool is_exact;
    } cases[] = {
        {"10.0.0.0/8", "10.0.0.0/8", true},
        {"10.1.2.3/8", "10.0.0.0/8", false},
        {"10.0.0.9", "10.0.0.9", true},
        {"10.0.0.9/32", "10.0.0.9", true},
        {"0.0.0.0/0", "0.0.0.0/0", true},
        {"255.255.255.255/1", "128.0.0.0/1", false},
        {"2001:db8::/32", "2001:db8::/32", true},
        {"2001:DB8:0:0::1", "2001:db8::1", true},
        {"2001:db8::1/127", "2001:db8::/127", false},
        {"::/0", "::/0", true},
        {"::ffff:10.0.0.9", "10.0.0.9", true},
        {"::ffff:10.0.0.9/104", "10.0.0.0/8", false},
        {"::ffff:0:0/96", "0.0.0.0/0", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct prefix prefix;
        char text[PREFIX_TEXT_MAX];
        bool is_exact = !cases[i].is_exact;

        assert_true(parse(cases[i].text, &prefix, &is_exact));
        assert_string_equal(prefix_format(&prefix, text), cases[i].same);
        assert_int_equal(is_exact, cases[i].is_exact);
    }
}

static void test_what_is_none(void **state)
{
    static const char *const cases[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8x",
        "10.0.0.0/8/8",
        "10.0.0.0/000000000008",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1.",
        "10.0.0.1:80",
        "[::1]",
        "::/129",
        "fe80::1%lo",
        "::ffff:10.0.0.0/90",
        "all",
        "db.example",
        "2001:db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/32",
    };
    struct prefix prefix;
    char error[PREFIX_ERROR_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (parse(cases[i], &prefix, NULL))
            fail_msg("%s is a network", cases[i]);
    assert_false(prefix_parse("10.0.0.0\0/8", 11, &prefix, NULL, error));
}

/* What stands behind its n bytes does not count. */
static void test_a_part_of_a_text(void **state)
{
    struct prefix prefix;
    char error[PREFIX_ERROR_MAX];
    char text[PREFIX_TEXT_MAX];

    (void)state;
    assert_true(prefix_parse("10.0.0.0/88", 10, &prefix, NULL, error));
    assert_string_equal(prefix_format(&prefix, text), "10.0.0.0/8");
    assert_true(prefix_parse("10.0.0.99", 8, &prefix, NULL, error));
    assert_string_equal(prefix_format(&prefix, text), "10.0.0.9");
}

static void test_what_it_has(void **state)
{
    static const struct {
        const char *prefix;
        const char *addr;
        bool has;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.4/31", "10.0.0.5", true},
        {"10.0.0.4/31", "10.0.0.6", false},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "1.2.3.4", false},
        {"::/0", "ffff::", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct prefix prefix;
        struct addr addr;

        assert_true(parse(cases[i].prefix, &prefix, NULL));
        assert_int_equal(addr_parse(cases[i].addr, &addr), 0);
        assert_int_equal(prefix_has(&prefix, &addr), cases[i].has);
    }
}

static void test_a_unix_client_is_in_none(void **state)
{
    struct prefix prefix;
    const struct addr unnamed = {.sa = {.sa_family = AF_UNIX}};

    (void)state;
    assert_true(parse("0.0.0.0/0", &prefix, NULL));
    assert_false(prefix_has(&prefix, &unnamed));
}

static void test_their_order(void **state)
{
    static const char *const sorted[] = {
        "0.0.0.0/0", "0.0.0.0", "10.0.0.0/8", "10.0.0.0/9",    "10.0.0.0/32",
        "10.0.0.1",  "::/0",    "::",         "2001:db8::/32", "ffff::/16"};
    enum { N = sizeof(sorted) / sizeof(sorted[0]) };

    (void)state;
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < N; k++) {
            struct prefix a;
            struct prefix b;
            int order;

            assert_true(parse(sorted[i], &a, NULL) && parse(sorted[k], &b, NULL));
            order = prefix_compare(&a, &b);
            assert_true(i < k ? order < 0 : i > k ? order > 0 : order == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_a_network),        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_a_part_of_a_text),         cmocka_unit_test(test_what_it_has),
        cmocka_unit_test(test_a_unix_client_is_in_none), cmocka_unit_test(test_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
