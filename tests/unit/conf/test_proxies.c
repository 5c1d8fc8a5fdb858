#include "lb4/conf/proxies.h"

#include <stdlib.h>

#include "conf_text.h"
#include "lb4/base/prefix_map.h"
#include "lb4/conf/diff.h"

#define SERVICE(listen, server) \
    "service a {\n listen " listen "\n server s1 10.0.0.1:80 " server "\n}\n"

static void check_diff(const char *before_text, const char *after_text, const char *expected)
{
    struct conf before;
    struct conf after;
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    long n;

    conf_text_accept(before_text, &before);
    conf_text_accept(after_text, &after);
    n = conf_diff(&before, &after, stream);
    fclose(stream);
    assert_string_equal(text, expected);
    assert_int_equal(n, *expected ? 1 : 0);
    free(text);
    conf_free(&before);
    conf_free(&after);
}

static void test_diff(void **state)
{
    (void)state;
    check_diff(SERVICE("tcp :80", ""), SERVICE("tcp :80 accept-proxy from 10.0.0.0/8 ::1", ""),
               "~ accept-proxy tcp :80 of a none -> 10.0.0.0/8 ::1\n");
    check_diff(SERVICE("both :80 accept-proxy from ::1", ""), SERVICE("both :80", ""),
               "~ accept-proxy both :80 of a ::1 -> none\n");
    check_diff(SERVICE("tcp :80 accept-proxy from ::1", ""),
               SERVICE("tcp :80 accept-proxy from ::2", ""),
               "~ accept-proxy tcp :80 of a ::1 -> ::2\n");
    check_diff(SERVICE("tcp :80 accept-proxy from 10.1.2.3/8", ""),
               SERVICE("tcp :80 accept-proxy from 10.0.0.0/8", ""), "");
    check_diff(SERVICE("tcp :80", ""), SERVICE("tcp :80", "send-proxy v1"),
               "~ send-proxy a/s1 none -> v1\n");
    check_diff(SERVICE("tcp :80", "send-proxy v1"), SERVICE("tcp :80", "send-proxy v2"),
               "~ send-proxy a/s1 v1 -> v2\n");
}

static void check_allows(const struct conf_listen *listen, const char *host, bool expected)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    assert_int_equal(prefix_map_allows(listen->accept_proxy, &addr), expected);
}

static void test_map(void **state)
{
    struct conf conf;
    const struct conf_listen *listen;

    (void)state;
    conf_text_accept(SERVICE("tcp :80 accept-proxy from 10.0.0.0/8 2001:db8::1 192.0.2.7", ""),
                     &conf);
    listen = &conf.services[0].listens[0];
    assert_int_equal(listen->n_proxies, 3);
    check_allows(listen, "10.255.0.1", true);
    check_allows(listen, "11.0.0.1", false);
    check_allows(listen, "192.0.2.7", true);
    check_allows(listen, "192.0.2.8", false);
    check_allows(listen, "2001:db8::1", true);
    check_allows(listen, "::1", false);
    conf_free(&conf);
    conf_text_accept(SERVICE("tcp :80", ""), &conf);
    assert_null(conf.services[0].listens[0].accept_proxy);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
