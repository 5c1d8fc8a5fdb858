#include "lb4/conf/read.h"

#include <errno.h>
#include <stdlib.h>

#include "conf_text.h"

static const char whole[] = "workers 4\n"
                            "maxconn 1000\n"
                            "pipes 7\n"
                            "splice off\n"
                            "drain 5s\n"
                            "user lb4:nogroup\n"
                            "defaults {\n"
                            "    timeout idle 5m\n"
                            "}\n"
                            "service a {\n"
                            "    listen tcp :5432\n"
                            "    listen tcp 127.0.0.1:9000-9100\n"
                            "    balance roundrobin\n"
                            "    check none\n"
                            "    tries 7\n"
                            "    timeout connect 200ms\n"
                            "    server db1 198.51.100.11:5432 weight 2\n"
                            "    server db2 [2001:db8::1]\n"
                            "}\n";

static void test_whole(void **state)
{
    const struct conf_service *service;
    struct conf conf;

    (void)state;
    conf_text_accept(whole, &conf);
    assert_int_equal(conf.workers, 4);
    assert_int_equal(conf.maxconn, 1000);
    assert_int_equal(conf.pipes, 7);
    assert_false(conf.pipes_auto);
    assert_false(conf.splice);
    assert_int_equal(conf.drain_ms, 5000);
    assert_string_equal(conf.user, "lb4");
    assert_string_equal(conf.group, "nogroup");
    assert_int_equal(conf.n_services, 1);
    service = &conf.services[0];
    assert_string_equal(service->name, "a");
    assert_int_equal(service->place.line, 10);
    assert_int_equal(service->place.column, 9);
    assert_int_equal(service->n_listens, 2);
    assert_true(service->listens[0].is_any);
    assert_int_equal(service->listens[0].last_port, 5432);
    assert_false(service->listens[1].is_any);
    assert_int_equal(addr_port(&service->listens[1].addr), 9000);
    assert_int_equal(service->listens[1].last_port, 9100);
    assert_int_equal(service->balance, CONF_BALANCE_ROUNDROBIN);
    assert_int_equal(service->check.kind, CONF_CHECK_NONE);
    assert_int_equal(service->tries, 7);
    assert_int_equal(service->timeouts.connect_ms, 200);
    assert_int_equal(service->timeouts.idle_ms, 300000);
    assert_int_equal(service->timeouts.half_close_ms, 60000);
    assert_int_equal(service->n_servers, 2);
    assert_string_equal(service->servers[0].name, "db1");
    assert_int_equal(service->servers[0].weight, 2);
    assert_int_equal(service->servers[1].weight, 1);
    assert_int_equal(addr_port(&service->servers[1].addr), 0);
    assert_int_equal(service->servers[1].place.line, 18);
    conf_free(&conf);
}

static void test_defaults(void **state)
{
    struct conf conf;

    (void)state;
    conf_text_accept("service a {\n listen tcp :1\n server s 198.51.100.1:1\n}\n"
                     "defaults {\n timeout udp 9s\n}",
                     &conf);
    assert_int_equal(conf.workers, 0);
    assert_int_equal(conf.maxconn, 0);
    assert_true(conf.pipes_auto);
    assert_true(conf.splice);
    assert_int_equal(conf.drain_ms, 30000);
    assert_string_equal(conf.user, "");
    assert_int_equal(conf.services[0].tries, 3);
    assert_int_equal(conf.services[0].check.kind, CONF_CHECK_AUTO);
    assert_int_equal(conf.services[0].balance, CONF_BALANCE_LEASTCONN);
    assert_int_equal(conf.services[0].timeouts.connect_ms, 3000);
    assert_int_equal(conf.services[0].timeouts.idle_ms, 3600000);
    assert_int_equal(conf.services[0].timeouts.udp_ms, 9000);
    conf_free(&conf);
}

static void test_blocks(void **state)
{
    (void)state;
    conf_text_refuse("service a {\n", "1:11", "never closed");
    conf_text_refuse("service \"a {\nfoo {\n}\n", "1:9", "has no end"); /* fuzz: crash at the end */
    conf_text_refuse("defaults {\nservice a {\n", "2:1", "block of line 1 is not closed");
    conf_text_refuse("}\n", "1:1", "'}' without a block");
    conf_text_refuse("service a\n{\n}\n", "1:1", "'{' must end its line");
    conf_text_refuse("foo {\nbar\n}\n", "1:5", "defaults, service NAME");
    conf_text_refuse("{\n}\n", "1:1", "defaults, service NAME");
    conf_text_refuse("service {\n}\n", "1:1", "service NAME {");
    conf_text_refuse("service a b {\n}\n", "1:11", "one name is enough");
    conf_text_refuse("service a/b {\n}\n", "1:9", "1..64 of A-Z a-z 0-9 . _ -");
    conf_text_refuse("service \"\" {\n}\n", "1:9", "1..64 of A-Z");
    conf_text_refuse("defaults x {\n}\n", "1:10", "no argument");
    conf_text_refuse("defaults {\n}\ndefaults {\n}\n", "3:1", "given twice");
    conf_text_refuse("workers 1 {\nfoo\n}\n", "1:11", "defaults, service NAME");
}

/* The directives in a block that is wrong from its first line are not judged. */
static void test_skip(void **state)
{
    static const uint32_t lines[] = {1, 4, 8, 9, 12};
    static struct conf_report report;
    struct conf conf;

    (void)state;
    conf_text_read("foo {\n bar {\n }\n \"x {\n }\n baz\n}\nworkers 0\n\"y {\nbaz\n}\ntries 1\n",
                   &conf, &report);
    assert_int_equal(report.n_errors, sizeof(lines) / sizeof(lines[0]));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(report.errors[i].place.line, lines[i]);
    conf_free(&conf);
}

static void test_incomplete_services(void **state)
{
    (void)state;
    conf_text_refuse("service a {\n listen tcp :1\n}\n", "1:9", "server NAME HOST:PORT");
    conf_text_refuse("service a {\n server s 198.51.100.1:1\n}\n", "1:9",
                     "listen tcp ADDRESS:PORT");
    conf_text_refuse("", "0:0", "no service");
    conf_text_refuse("# nothing\n", "0:0", "service NAME {");
}

/* A broken service is not also told to lack what stands in its broken lines. */
static void test_one_error_once(void **state)
{
    static struct conf_report report;
    struct conf conf;

    (void)state;
    conf_text_read("service a {\n listen tcp :0\n server s 198.51.100.1:1\n}\n", &conf, &report);
    assert_int_equal(report.n_errors, 1);
    conf_free(&conf);
    conf_text_read("service a/ {\n}\nservice b/ {\n}\n", &conf, &report);
    assert_int_equal(report.n_errors, 2);
    conf_free(&conf);
}

static void test_too_many(void **state)
{
    static struct conf_report report;
    static char text[200 * sizeof("foo\n")];
    struct conf conf;

    (void)state;
    for (size_t i = 0; i < 200; i++)
        memcpy(text + 4 * i, "foo\n", 5);
    assert_int_equal(conf_text_read(text, &conf, &report), -EINVAL);
    assert_int_equal(report.n_errors, CONF_ERRORS_MAX);
    assert_true(report.has_more_errors);
    assert_int_equal(report.errors[19].place.line, 20);
    conf_free(&conf);
}

static void test_endings(void **state)
{
    struct conf conf;

    (void)state;
    conf_text_accept("\xef\xbb\xbfservice a {\r\n\tlisten tcp :1\r\n server s 198.51.100.1:1\r\n}",
                     &conf);
    conf_free(&conf);
}

/* More servers than one service may have: reported, and not stored. */
static void test_limit_of_servers(void **state)
{
    static struct conf_report report;
    struct conf conf;
    char *text;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    (void)state;
    assert_non_null(stream);
    fputs("service a {\nlisten tcp :1\n", stream);
    for (int i = 0; i <= CONF_SERVERS_MAX; i++)
        fprintf(stream, "server s%d 198.51.100.1:1\n", i);
    fputs("}\n", stream);
    fclose(stream);
    assert_int_equal(conf_text_read(text, &conf, &report), -EINVAL);
    assert_int_equal(report.n_errors, 1);
    assert_int_equal(report.errors[0].place.line, 3 + CONF_SERVERS_MAX);
    assert_int_equal(conf.services[0].n_servers, CONF_SERVERS_MAX);
    conf_free(&conf);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_incomplete_services),
        cmocka_unit_test(test_one_error_once),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_endings),
        cmocka_unit_test(test_limit_of_servers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
