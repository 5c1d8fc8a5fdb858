#include "lb4/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/base/unix_path.h"

static struct addr parsed(const char *host, uint16_t port)
{
    struct addr addr;

    if (addr_parse(host, &addr) != 0)
        fail_msg("\"%s\" does not parse", host);
    addr_set_port(&addr, port);
    return addr;
}

static void check_text(const char *host, uint16_t port, const char *text)
{
    struct addr addr = parsed(host, port);
    char buffer[ADDR_TEXT_MAX];

    assert_string_equal(addr_format(&addr, buffer), text);
    assert_int_equal(addr_port(&addr), port);
}

static void test_parse_and_format(void **state)
{
    (void)state;
    check_text("10.0.0.5", 5432, "10.0.0.5:5432");
    check_text("0.0.0.0", 0, "0.0.0.0:0");
    check_text("255.255.255.255", 65535, "255.255.255.255:65535");
    check_text("2001:db8::1", 5432, "[2001:db8::1]:5432");
    check_text("::", 53, "[::]:53");
    check_text("::1", 53, "[::1]:53");
    check_text("2001:DB8:0:0:0:0:0:1", 1, "[2001:db8::1]:1");
    check_text("fe80::1", 1, "[fe80::1]:1");
}

static void test_parse_refuses(void **state)
{
    static const char *const BAD[] = {
        "",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.05",
        "0x7f.0.0.1",
        "127.1",
        "10.0.0.5 ",
        " 10.0.0.5",
        "1:2:3",
        "::1::",
        "[::1]",
        "::1%lo",
        "fe80::1%",
        "fe80::1%none0",
        "fe80::1%0",
        "10.0.0.5%lo",
        "10.0.0.5:80",
        "db.example",
        "localhost",
        ":",
        "%lo",
        "::ffff:1.2.3",
        "fe80::1%-1",
        "12345::",
        "1::2::3::4",
        "::10.0.0.256",
        "fe80::1%4294967296",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff",
    };
    struct addr addr;
    struct addr before;

    (void)state;
    memset(&addr, 0x5a, sizeof(addr));
    before = addr;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        if (addr_parse(BAD[i], &addr) != -EINVAL)
            fail_msg("\"%s\" was taken", BAD[i]);
        assert_memory_equal(&addr, &before, sizeof(addr));
    }
}

static void test_mapped_becomes_ipv4(void **state)
{
    struct addr mapped = {.in6 = {.sin6_family = AF_INET6}};
    struct addr plain = parsed("10.0.0.5", 99);

    (void)state;
    check_text("::ffff:10.0.0.5", 80, "10.0.0.5:80");
    check_text("::FFFF:a00:5", 80, "10.0.0.5:80");
    assert_int_equal(inet_pton(AF_INET6, "::ffff:10.0.0.5", &mapped.in6.sin6_addr), 1);
    addr_set_port(&mapped, 99);
    addr_normalise(&mapped);
    assert_true(addr_equal(&mapped, &plain));
    assert_int_equal(addr_length(&mapped), sizeof(struct sockaddr_in));
    /* neither of these is mapped */
    check_text("::10.0.0.5", 80, "[::10.0.0.5]:80");
    check_text("64:ff9b::a00:5", 80, "[64:ff9b::a00:5]:80");
}

static void test_scope(void **state)
{
    struct addr by_name;
    struct addr by_number;
    struct addr without = parsed("fe80::1", 22);
    char text[ADDR_TEXT_MAX];

    (void)state;
    if (if_nametoindex("lo") == 0)
        skip();
    by_name = parsed("fe80::1%lo", 22);
    assert_int_equal(by_name.in6.sin6_scope_id, if_nametoindex("lo"));
    assert_string_equal(addr_format(&by_name, text), "[fe80::1%lo]:22");
    assert_false(addr_equal(&by_name, &without));
    by_number = parsed("fe80::1%1234567890", 22);
    assert_string_equal(addr_format(&by_number, text), "[fe80::1%1234567890]:22");
}

static void test_longest_text_fits(void **state)
{
    struct addr addr = parsed("fe80:1111:2222:3333:4444:5555:6666:7777%4294967295", 65535);
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_string_equal(addr_format(&addr, text),
                        "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535");
}

static void test_equal(void **state)
{
    struct addr a = parsed("10.0.0.5", 80);
    struct addr b = parsed("10.0.0.5", 81);
    struct addr c = parsed("10.0.0.6", 80);
    struct addr v6 = parsed("2001:db8::1", 80);
    struct addr noisy = v6;

    (void)state;
    assert_true(addr_equal_host(&a, &b));
    assert_false(addr_equal(&a, &b));
    assert_false(addr_equal_host(&a, &c));
    assert_false(addr_equal_host(&a, &v6));
    /* what the kernel may fill in, and padding, does not count */
    noisy.in6.sin6_flowinfo = 7;
    noisy.in6.sin6_scope_id = 3;
    assert_true(addr_equal(&v6, &noisy));
    memset(a.in4.sin_zero, 1, sizeof(a.in4.sin_zero));
    addr_set_port(&b, 80);
    assert_true(addr_equal(&a, &b));
}

static void test_kinds(void **state)
{
    struct addr any4;
    struct addr any6;
    struct addr loop4 = parsed("127.200.0.1", 1);
    struct addr loop6 = parsed("::1", 1);
    struct addr other4 = parsed("128.0.0.1", 1);
    struct addr other6 = parsed("::2", 1);

    (void)state;
    addr_any(AF_INET, 80, &any4);
    addr_any(AF_INET6, 443, &any6);
    assert_int_equal(addr_port(&any4), 80);
    assert_int_equal(addr_port(&any6), 443);
    assert_int_equal(addr_length(&any4), sizeof(struct sockaddr_in));
    assert_int_equal(addr_length(&any6), sizeof(struct sockaddr_in6));
    assert_true(addr_is_wildcard(&any4) && addr_is_wildcard(&any6));
    assert_false(addr_is_wildcard(&loop4) || addr_is_wildcard(&loop6));
    assert_true(addr_is_loopback(&loop4) && addr_is_loopback(&loop6));
    assert_false(addr_is_loopback(&any4) || addr_is_loopback(&any6));
    assert_false(addr_is_loopback(&other4) || addr_is_loopback(&other6));
}

/* What is written is read back to the same, for any address. */
static void test_random_round_trip(void **state)
{
    (void)state;
    srandom(2);
    for (int i = 0; i < 5000; i++) {
        struct addr addr = {.in6 = {.sin6_family = AF_INET6}};
        struct addr back;
        char text[ADDR_TEXT_MAX];

        for (size_t byte = 0; byte < 16; byte++)
            addr.in6.sin6_addr.s6_addr[byte] = (uint8_t)(random() % 3 == 0 ? random() : 0);
        addr_normalise(&addr);
        addr_format(&addr, text);
        *strrchr(text, ':') = '\0';
        if (text[0] == '[')
            text[strlen(text) - 1] = '\0';
        back = parsed(text[0] == '[' ? text + 1 : text, 0);
        assert_true(addr_equal(&addr, &back));
    }
}

/* By family, scope, address, port; equal exactly where addr_equal() says so. */
static void test_order(void **state)
{
    static const struct {
        const char *host;
        uint16_t port;
    } in_order[] = {{"10.0.0.1", 2},    {"10.0.0.1", 80},      {"10.0.0.2", 1},
                    {"192.168.0.1", 1}, {"255.0.0.1", 65535},  {"::1", 1},
                    {"2001:db8::1", 1}, {"2001:db8::1", 65535}};
    enum { N = sizeof(in_order) / sizeof(in_order[0]) };
    struct addr addrs[N];

    (void)state;
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(addr_parse(in_order[i].host, &addrs[i]), 0);
        addr_set_port(&addrs[i], in_order[i].port);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < N; k++) {
            int order = addr_compare(&addrs[i], &addrs[k]);

            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
            assert_int_equal(order == 0, addr_equal(&addrs[i], &addrs[k]));
            assert_int_equal(addr_compare_host(&addrs[i], &addrs[k]) == 0,
                             addr_equal_host(&addrs[i], &addrs[k]));
        }
    }
}

/* A path and a client that came by it are two; a port is neither there nor set. */
static void test_unix(void **state)
{
    long number = unix_path_number("/run/x");
    char text[ADDR_TEXT_MAX];
    struct addr path;
    struct addr client;
    struct addr other;
    struct addr any;

    (void)state;
    addr_unix((uint32_t)number, &path);
    addr_unix_client((uint32_t)number, &client);
    addr_unix((uint32_t)unix_path_number("@y"), &other);
    addr_any(AF_INET, 0, &any);
    assert_true(addr_is_unix(&path) && addr_is_unix(&client) && !addr_is_unix(&any));
    assert_string_equal(addr_format(&path, text), "unix:/run/x");
    assert_string_equal(addr_format(&other, text), "unix:@y");
    assert_string_equal(addr_format(&client, text), "unix:");
    addr_set_port(&path, 80);
    assert_int_equal(addr_port(&path), 0);
    assert_false(addr_lacks_port(&path));
    assert_true(addr_lacks_port(&any));
    assert_true(addr_equal(&path, &path));
    assert_false(addr_equal(&path, &client) || addr_equal(&path, &other) ||
                 addr_equal(&path, &any));
    assert_int_equal(addr_compare(&path, &path), 0);
    assert_true(addr_compare(&path, &other) < 0 && addr_compare(&other, &path) > 0);
    assert_true(addr_compare(&path, &client) < 0 && addr_compare(&client, &path) > 0);
    assert_false(addr_is_wildcard(&path) || addr_is_loopback(&path));
    addr_unix(0, &path);
    assert_string_equal(addr_format(&path, text), "unix:");
    assert_false(addr_is_wildcard(&path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_mapped_becomes_ipv4),
        cmocka_unit_test(test_scope),
        cmocka_unit_test(test_longest_text_fits),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_random_round_trip),
        cmocka_unit_test(test_unix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
