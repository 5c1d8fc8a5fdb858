#include "lb4/conf/origins.h"

#include <stdlib.h>

#include "lb4/conf/diff.h"
#include "lb4/conf/print.h"

#include "conf_text.h"

#define SERVICE(words) "service x {\n listen tcp :7000\n" words "\n}\n"

static void test_effective(void **state)
{
    struct origin origin;
    struct conf conf;

    (void)state;
    conf_text_accept(SERVICE("source 10.0.0.9,10.0.0.10\n"
                             "server a 10.0.0.1:80\n"
                             "server b 10.0.0.2:80 mark 5 interface eth0\n"
                             "server c 10.0.0.3:80 source 10.0.0.11"),
                     &conf);
    conf_origin(conf.services[0].source, conf.services[0].servers[0].origin, &origin);
    assert_int_equal(origin.n_sources, 2);
    conf_origin(conf.services[0].source, conf.services[0].servers[1].origin, &origin);
    assert_int_equal(origin.n_sources, 2);
    assert_int_equal(origin.mark, 5);
    assert_string_equal(origin.interface, "eth0");
    conf_origin(conf.services[0].source, conf.services[0].servers[2].origin, &origin);
    assert_int_equal(origin.n_sources, 1);
    conf_free(&conf);
}

static void test_format(void **state)
{
    char text[CONF_ORIGIN_TEXT_MAX];
    struct conf conf;

    (void)state;
    conf_text_accept(SERVICE("server a [2001:db8::1]:80 mark 4294967295 source "
                             "2001:db8::9,10.0.0.10 interface eth0"),
                     &conf);
    assert_string_equal(conf_format_origin(conf.services[0].servers[0].origin, text),
                        " source 2001:db8::9,10.0.0.10 interface eth0 mark 4294967295");
    assert_string_equal(conf_format_origin(NULL, text), "");
    conf_free(&conf);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        const char *place;
        const char *fragment;
    } cases[] = {
        {"source 10.0.0.9\nserver a [2001:db8::1]:80", "4:8",
         "source: 10.0.0.9 is IPv4, and 2001:db8::1 is IPv6"},
        {"server a 10.0.0.1:80 source ::1", "3:8", "source: ::1 is IPv6, and 10.0.0.1 is IPv4"},
        {"source 10.0.0.9:80\nserver a 10.0.0.1:80", "3:8", "not an address without a port"},
        {"source 10.0.0.9,\nserver a 10.0.0.1:80", "3:8", "accepted: 10.0.0.9, or up to 16"},
        {"source 10.0.0.9,10.0.0.9\nserver a 10.0.0.1:80", "3:8", "it is given twice"},
        {"source 0.0.0.0\nserver a 10.0.0.1:80", "3:8", "wildcard"},
        {"source\nserver a 10.0.0.1:80", "3:1", "source IP[,IP...]"},
        {"server a 10.0.0.1:80 mark 0", "3:27", "mark: 0 is outside 1..4294967295"},
        {"server a 10.0.0.1:80 mark 4294967296", "3:27", "outside 1..4294967295"},
        {"server a 10.0.0.1:80 interface 0123456789abcdef", "3:32", "1..15 bytes"},
        {"server a 10.0.0.1:80 interface eth0/1", "3:32", "no name of an interface"},
        {"server a 10.0.0.1:80 interface", "3:22", "a value is missing: eth0"},
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), SERVICE("%s"), cases[i].text);
        conf_text_refuse(text, cases[i].place, cases[i].fragment);
    }
}

static void expect_difference(const char *before, const char *after, const char *expected)
{
    struct conf confs[2];
    char *text;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    conf_text_accept(before, &confs[0]);
    conf_text_accept(after, &confs[1]);
    assert_int_equal(conf_diff(&confs[0], &confs[1], stream), 1);
    fclose(stream);
    assert_string_equal(text, expected);
    free(text);
    conf_free(&confs[0]);
    conf_free(&confs[1]);
}

static void test_difference(void **state)
{
    (void)state;
    expect_difference(SERVICE("server a 10.0.0.1:80"),
                      SERVICE("server a 10.0.0.1:80 source 10.0.0.9 mark 3"),
                      "~ origin x/a none -> source 10.0.0.9 mark 3\n");
    expect_difference(SERVICE("source 10.0.0.9\nserver a 10.0.0.1:80"),
                      SERVICE("source 10.0.0.9,10.0.0.10\nserver a 10.0.0.1:80"),
                      "~ source of x 10.0.0.9 -> 10.0.0.9,10.0.0.10\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_effective),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_difference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
