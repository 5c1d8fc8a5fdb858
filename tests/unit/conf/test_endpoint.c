#include "lb4/conf/endpoint.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_addr(const char *text, const char *formatted, unsigned last_port)
{
    char reason[ENDPOINT_ERROR_MAX];
    char found[ADDR_TEXT_MAX];
    struct endpoint at;

    if (!endpoint_parse(text, &at, reason))
        fail_msg("\"%s\": %s", text, reason);
    assert_int_equal(at.kind, text[0] == ':' ? ENDPOINT_ANY : ENDPOINT_ADDR);
    assert_string_equal(addr_format(&at.addr, found), formatted);
    assert_int_equal(at.first_port, addr_port(&at.addr));
    assert_int_equal(at.last_port, last_port);
}

static void test_addresses(void **state)
{
    (void)state;
    check_addr("10.0.0.5:5432", "10.0.0.5:5432", 5432);
    check_addr("10.0.0.5", "10.0.0.5:0", 0);
    check_addr("[2001:db8::1]:5432", "[2001:db8::1]:5432", 5432);
    check_addr("[2001:db8::1]", "[2001:db8::1]:0", 0);
    check_addr("[::ffff:10.0.0.5]:80", "10.0.0.5:80", 80);
    check_addr(":5432", "[::]:5432", 5432);
    check_addr(":9000-9100", "[::]:9000", 9100);
    check_addr("127.0.0.1:1-65535", "127.0.0.1:1", 65535);
    check_addr("[::]:7-7", "[::]:7", 7);
}

static void test_other_kinds(void **state)
{
    char reason[ENDPOINT_ERROR_MAX];
    struct endpoint at;

    (void)state;
    assert_true(endpoint_parse("db.example:5432", &at, reason));
    assert_int_equal(at.kind, ENDPOINT_HOST);
    assert_int_equal(at.first_port, 5432);
    assert_true(endpoint_parse("my_db-1", &at, reason));
    assert_int_equal(at.kind, ENDPOINT_HOST);
    assert_true(endpoint_parse("unix:/run/x.sock", &at, reason));
    assert_int_equal(at.kind, ENDPOINT_UNIX);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        const char *fragment;
    } cases[] = {
        {"", "not an address"},
        {":", "not a number in 1..65535"},
        {":0", "port 0 is outside 1..65535"},
        {":65536", "port 65536 is outside 1..65535"},
        {":99999999999999999999999", "is outside 1..65535"},
        {":-1", "not a number in 1..65535"},
        {":+80", "not a number in 1..65535"},
        {":80-", "not a number in 1..65535"},
        {":80-70", "80-70 ends before it begins"},
        {":80-65536", "65536 is outside 1..65535"},
        {":1-2-3", "not a number in 1..65535"},
        {":11111111111111111111-2", "not a number in 1..65535"},
        {"10.0.0.5:http", "not a number in 1..65535"},
        {"10.0.0.256:80", "not an address"},
        {"10.0.0:80", "not an address"},
        {"1234:80", "not an address"},
        {"2001:db8::1", "needs brackets"},
        {"[2001:db8::1", "not an address"},
        {"[2001:db8::1]80", "not an address"},
        {"[10.0.0.5]:80", "no IPv6 address between the brackets"},
        {"[::g]:80", "no IPv6 address between the brackets"},
        {"[]:80", "no IPv6 address between the brackets"},
        {"a..b:80", "not an address"},
        {".a:80", "not an address"},
        {"a.:80", "not an address"},
        {"-a:80", "not an address"},
        {"a b:80", "not an address"},
        {"unix:", "absolute path of at most 107 bytes"},
        {"unix:run/x", "absolute path"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char reason[ENDPOINT_ERROR_MAX] = "";
        struct endpoint at;

        if (endpoint_parse(cases[i].text, &at, reason) || !strstr(reason, cases[i].fragment))
            fail_msg("\"%s\": %s", cases[i].text, reason);
    }
}

static void test_long(void **state)
{
    char reason[ENDPOINT_ERROR_MAX];
    char text[400];
    struct endpoint at;

    (void)state;
    memset(text, 'a', sizeof(text));
    text[63] = '\0';
    assert_true(endpoint_parse(text, &at, reason));
    text[63] = 'a';
    text[64] = '\0';
    assert_false(endpoint_parse(text, &at, reason));
    text[64] = 'a';
    text[sizeof(text) - 1] = '\0';
    assert_false(endpoint_parse(text, &at, reason));
    memcpy(text, "unix:/", 6);
    text[5 + 107] = '\0';
    assert_true(endpoint_parse(text, &at, reason));
    text[5 + 107] = 'a';
    text[5 + 108] = '\0';
    assert_false(endpoint_parse(text, &at, reason));
}

static void test_networks(void **state)
{
    static const char *const good[] = {"10.0.0.0/8", "10.0.0.1",      "0.0.0.0/0",
                                       "::/0",       "2001:db8::/32", "::1/128"};
    static const char *const bad[] = {"10.0.0.0/33", "::/129",       "10.0.0.0/",   "10.0.0.0/x",
                                      "/8",          "db.example/8", "10.0.0.0/-1", ""};
    char reason[ENDPOINT_ERROR_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(endpoint_check_cidr(good[i], reason));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(endpoint_check_cidr(bad[i], reason));
}

static bool can(const char *host, bool (*judge)(const struct addr *, const char **))
{
    const char *reason = NULL;
    struct addr addr;
    bool is_good;

    assert_int_equal(addr_parse(host, &addr), 0);
    is_good = judge(&addr, &reason);
    assert_true(is_good == (reason == NULL));
    return is_good;
}

static void test_roles(void **state)
{
    (void)state;
    assert_true(can("10.0.0.5", endpoint_can_connect));
    assert_true(can("::1", endpoint_can_connect));
    assert_false(can("0.0.0.0", endpoint_can_connect));
    assert_false(can("::", endpoint_can_connect));
    assert_false(can("::ffff:0.0.0.0", endpoint_can_connect));
    assert_false(can("224.0.0.1", endpoint_can_connect));
    assert_false(can("239.255.255.255", endpoint_can_connect));
    assert_false(can("255.255.255.255", endpoint_can_connect));
    assert_false(can("ff02::1", endpoint_can_connect));
    assert_false(can("fe80::1", endpoint_can_connect));
    assert_true(can("0.0.0.0", endpoint_can_listen));
    assert_true(can("::", endpoint_can_listen));
    assert_false(can("224.0.0.1", endpoint_can_listen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_long),
        cmocka_unit_test(test_networks),  cmocka_unit_test(test_roles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
