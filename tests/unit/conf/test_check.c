#include "lb4/conf/check.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <time.h>

#include "conf_text.h"

static const char *with(const char *listen, const char *server)
{
    static char text[512];

    snprintf(text, sizeof(text), "service a {\nlisten tcp %s\nserver s %s\n}\n", listen, server);
    return text;
}

static void conf_text_accept_and_free(const char *text)
{
    struct conf conf;

    conf_text_accept(text, &conf);
    conf_free(&conf);
}

static void test_own_listener(void **state)
{
    static const struct {
        const char *listen;
        const char *server;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1:80"},
        {"127.0.0.1:80", "[::ffff:127.0.0.1]:80"},
        {":80", "127.0.0.1:80"},
        {":80", "127.99.0.1:80"},
        {":80", "[::1]:80"},
        {"0.0.0.0:80", "127.0.0.1:80"},
        {"[::]:80", "[::1]:80"},
        {":80-90", "127.0.0.1:85"},
        {"10.0.0.1:80", "10.0.0.1"},
        {":80-90", "127.0.0.1"},
        {"127.0.0.1:80-90", "127.0.0.1:90"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        conf_text_refuse(with(cases[i].listen, cases[i].server), "3:8",
                         "server 's' is our own listener of t:2:12");
}

static void test_foreign_servers(void **state)
{
    static const struct {
        const char *listen;
        const char *server;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1:81"}, {"127.0.0.1:80", "127.0.0.2:80"},
        {":80", "198.51.100.1:80"},       {":80", "[2001:db8::77]:80"},
        {"0.0.0.0:80", "[::1]:80"},       {"[::]:80", "127.0.0.1:80"},
        {":80-90", "127.0.0.1:91"},       {"127.0.0.1:80", "198.51.100.1"},
    };
    struct conf conf;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        conf_text_accept(with(cases[i].listen, cases[i].server), &conf);
        conf_free(&conf);
    }
}

static void test_transports(void **state)
{
    static const struct {
        const char *a; /* listens */
        const char *b;
        bool is_own; /* a's server, at 81, where b listens */
    } cases[] = {
        {"tcp :80", "udp :81", false},  {"udp :80", "tcp :81", false},
        {"udp :80", "udp :81", true},   {"udp :80", "both :81", true},
        {"both :80", "udp :81", true},  {"both :80", "tcp :81", true},
        {"both :80", "both :81", true}, {"tcp :80", "both :81", true},
    };
    static struct conf_report report;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        struct conf conf;

        snprintf(text, sizeof(text),
                 "service a {\nlisten %s\nserver s 127.0.0.1:81\n}\n"
                 "service b {\nlisten %s\nserver s 198.51.100.1:1\n}\n",
                 cases[i].a, cases[i].b);
        conf_text_read(text, &conf, &report);
        assert_int_equal(report.n_errors, cases[i].is_own);
        conf_free(&conf);
    }
    /* without a port: those of the listeners on that transport */
    conf_text_accept_and_free("service a {\nlisten tcp :80\nlisten udp :81\nserver s 10.9.9.9\n}\n"
                              "service b {\nlisten udp 127.0.0.1:80\nserver s 10.9.9.9:1\n}\n");
    conf_text_refuse("service a {\nlisten udp :80\nserver s 127.0.0.1\n}\n", "3:8", "our own");
}

/* a -> b -> a: each server is judged against the listeners of all services. */
static void test_chain(void **state)
{
    static struct conf_report report;
    struct conf conf;

    (void)state;
    conf_text_read("service a {\nlisten tcp 127.0.0.1:80\nserver s 127.0.0.1:81\n}\n"
                   "service b {\nlisten tcp :81\nserver s 127.0.0.1:80\n}\n",
                   &conf, &report);
    assert_int_equal(report.n_errors, 2);
    assert_int_equal(report.errors[0].place.line, 3);
    assert_int_equal(report.errors[1].place.line, 7);
    conf_free(&conf);
}

/* Any address of this machine, not only loopback. */
static void test_own_addresses(void **state)
{
    struct ifaddrs *list;

    (void)state;
    assert_int_equal(getifaddrs(&list), 0);
    for (const struct ifaddrs *at = list; at; at = at->ifa_next) {
        char text[ADDR_TEXT_MAX];
        struct addr addr = {0};

        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&addr.in4, at->ifa_addr, sizeof(addr.in4));
        addr_set_port(&addr, 80);
        conf_text_refuse(with(":80", addr_format(&addr, text)), "3:8", "our own listener");
    }
    freeifaddrs(list);
}

static void test_names(void **state)
{
    struct conf conf;

    (void)state;
    conf_text_refuse(
        "service a {\nlisten tcp :1\nserver s 198.51.100.1:1\nserver t 198.51.100.1:2\n"
        "server s 198.51.100.1:3\n}\n",
        "5:8", "server 's' is defined already, at t:3:8");
    conf_text_refuse("service a {\nlisten tcp :1\nserver s 198.51.100.1:1\n}\n"
                     "service a {\nlisten tcp :2\nserver s 198.51.100.1:1\n}\n",
                     "5:9", "service 'a' is defined already, at t:1:9");
    conf_text_accept("service a {\nlisten tcp :1\nserver s 198.51.100.1:1\n}\n"
                     "service A {\nlisten tcp :2\nserver s 198.51.100.1:1\n}\n",
                     &conf);
    conf_free(&conf);
}

static void test_hidden_listener(void **state)
{
    static struct conf_report report;
    struct conf conf;

    (void)state;
    assert_int_equal(conf_text_read("service a {\nlisten tcp :80\nlisten tcp 127.0.0.1:80\n"
                                    "listen tcp 127.0.0.1:81\nserver s 198.51.100.1:1\n}\n",
                                    &conf, &report),
                     0);
    assert_int_equal(report.n_warnings, 1);
    assert_int_equal(report.warnings[0].place.line, 3);
    conf_free(&conf);
}

static void test_backups_only(void **state)
{
    static const char text[] = "service a {\nlisten tcp :1\nserver s 198.51.100.1:1 backup\n"
                               "server t 198.51.100.2:1%s\n}\n";
    static struct conf_report report;
    char line[128];
    struct conf conf;

    (void)state;
    snprintf(line, sizeof(line), text, " backup");
    assert_int_equal(conf_text_read(line, &conf, &report), 0);
    assert_int_equal(report.n_warnings, 1);
    assert_int_equal(report.warnings[0].place.line, 1);
    conf_free(&conf);
    snprintf(line, sizeof(line), text, "");
    assert_int_equal(conf_text_read(line, &conf, &report), 0);
    assert_int_equal(report.n_warnings, 0);
    conf_free(&conf);
}

/* A name is nobody's listener until it has an address; then a second check finds out. */
static void test_again(void **state)
{
    static struct conf_report report;
    struct conf_server *server;
    struct conf conf;

    (void)state;
    assert_int_equal(conf_text_read(with(":80", "localhost:80"), &conf, &report), 0);
    server = &conf.services[0].servers[0];
    conf.services[0].check.fall = 77;
    conf.services[0].timeouts.idle_ms = 5;
    assert_int_equal(conf_check(&conf, &report), 0);
    assert_int_equal(conf.services[0].check.fall, 77);
    assert_int_equal(conf.services[0].check.rise, 2);
    assert_int_equal(conf.services[0].timeouts.idle_ms, 5);
    assert_int_equal(addr_parse("127.0.0.1", &server->addr), 0);
    addr_set_port(&server->addr, 80);
    free(server->host);
    server->host = NULL;
    assert_int_equal(conf_check(&conf, &report), -EINVAL);
    assert_int_equal(report.n_errors, 1);
    assert_non_null(strstr(report.errors[0].text, "our own listener"));
    conf_free(&conf);
}

/* Only where a server of the other family would really be asked, and known by its address. */
static void test_source_of_the_check(void **state)
{
    static const struct {
        const char *check;
        size_t n_warnings;
    } cases[] = {
        {"tcp source 10.0.0.9", 1},
        {"tcp source 2001:db8::9", 1},
        {"tcp source 10.0.0.9 address 10.0.0.8", 0},
        {"tcp address 10.0.0.8", 0},
        {"tcp", 0},
    };
    static struct conf_report report;
    struct conf conf;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];

        snprintf(text, sizeof(text),
                 "service a {\nlisten tcp :1\nserver s 198.51.100.1:1\nserver t [2001:db8::1]:1\n"
                 "server u db.example:1\ncheck %s\n}\n",
                 cases[i].check);
        assert_int_equal(conf_text_read(text, &conf, &report), 0);
        assert_int_equal(report.n_warnings, cases[i].n_warnings);
        if (report.n_warnings > 0)
            assert_non_null(strstr(report.warnings[0].text, "cannot be probed: the source"));
        conf_free(&conf);
    }
}

static const char *with_http(const char *http, const char *listen)
{
    static char text[512];

    snprintf(text, sizeof(text), "http %s\nservice a {\nlisten %s\nserver s 198.51.100.1:1\n}\n",
             http, listen);
    return text;
}

static void test_http(void **state)
{
    (void)state;
    conf_text_refuse(with_http(":80", "tcp 127.0.0.1:80"), "1:6", "on already, at t:3:12");
    conf_text_refuse(with_http(":80", "tcp :79-81"), "1:6", "port 80 of this address");
    conf_text_refuse(with_http("0.0.0.0:80", "both 127.0.0.1:80"), "1:6", "on already");
    conf_text_refuse(with_http("[::1]:80", "tcp :80"), "1:6", "on already");
    conf_text_accept_and_free(with_http(":80", "udp 127.0.0.1:80"));
    conf_text_accept_and_free(with_http(":80", "tcp 127.0.0.2:80"));
    conf_text_accept_and_free(with_http("[::]:80", "tcp 127.0.0.1:80"));
    conf_text_accept_and_free(with_http(":80", "tcp :81-90"));
}

/* 100,000 servers; the bound is far above what it takes, and far below anything quadratic. */
static void test_many(void **state)
{
    static struct conf_report report;
    struct timespec begin;
    struct timespec end;
    struct conf conf;
    char *text;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    (void)state;
    assert_non_null(stream);
    for (int i = 0; i < 100000; i++) {
        if (i % 25 == 0)
            fprintf(stream, "%sservice s%d {\nlisten tcp :%d\n", i > 0 ? "}\n" : "", i, 1 + i / 25);
        fprintf(stream, "server n%d 198.51.100.1:%d weight 3\n", i, 1 + i % 4000);
    }
    fputs("}\n", stream);
    fclose(stream);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(conf_text_read(text, &conf, &report), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(conf.n_services, 4000);
    assert_true(end.tv_sec - begin.tv_sec < 10);
    conf_free(&conf);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_listener), cmocka_unit_test(test_foreign_servers),
        cmocka_unit_test(test_chain),        cmocka_unit_test(test_own_addresses),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_hidden_listener),
        cmocka_unit_test(test_many),         cmocka_unit_test(test_backups_only),
        cmocka_unit_test(test_again),        cmocka_unit_test(test_transports),
        cmocka_unit_test(test_http),         cmocka_unit_test(test_source_of_the_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
