#include "lb4/conf/rules.h"

#include "conf_text.h"

enum { ARGS_MAX = 32 };

/* A command line of words that are separated by '|', up to the checked configuration. */
static int read_command(const char *text, struct conf *conf, struct conf_report *report)
{
    static char copy[512];
    char *argv[ARGS_MAX];
    char *rest = copy;
    char *word;
    int argc = 0;
    struct flags flags;
    int error;

    snprintf(copy, sizeof(copy), "%s", text);
    while ((word = strsep(&rest, "|")))
        argv[argc++] = word;
    argv[argc] = NULL;
    flags_parse(argc, argv, &flags);
    assert_int_equal(flags.action, FLAGS_RUN);
    conf_init(conf);
    conf_report_init(report);
    error = flags_read_conf(&flags, conf, report);
    flags_fini(&flags);
    return error;
}

static void accept_command(const char *text, struct conf *conf)
{
    static struct conf_report report;

    if (read_command(text, conf, &report) != 0)
        fail_msg("\"%s\": %u:%u: %s", text, report.errors[0].place.line,
                 report.errors[0].place.column, report.errors[0].text);
}

static void check_server(const struct conf_service *service, size_t i, const char *name,
                         const char *addr)
{
    char text[ADDR_TEXT_MAX];

    assert_true(i < service->n_servers);
    assert_string_equal(service->servers[i].name, name);
    assert_string_equal(addr_format(&service->servers[i].addr, text), addr);
}

static void test_rules(void **state)
{
    struct conf conf;

    (void)state;
    accept_command("lb4|-l|:2222|-s|198.51.100.5:22|-s|x=198.51.100.6:22|-s|198.51.100.7:22|"
                   "-l|tcp/[::1]:80-90|-s|a=198.51.100.8 weight 5|-s|198.51.100.9:1|-b|roundrobin",
                   &conf);
    assert_int_equal(conf.n_services, 2);
    assert_string_equal(conf.services[0].name, "rule1");
    assert_true(conf.services[0].listens[0].is_any);
    check_server(&conf.services[0], 0, "s1", "198.51.100.5:22");
    check_server(&conf.services[0], 1, "x", "198.51.100.6:22");
    check_server(&conf.services[0], 2, "s2", "198.51.100.7:22");
    assert_string_equal(conf.services[1].name, "rule2");
    assert_int_equal(conf.services[1].listens[0].last_port, 90);
    check_server(&conf.services[1], 0, "a", "198.51.100.8:0");
    assert_int_equal(conf.services[1].servers[0].weight, 5);
    check_server(&conf.services[1], 1, "s1", "198.51.100.9:1");
    assert_int_equal(conf.services[0].balance, CONF_BALANCE_LEASTCONN);
    assert_int_equal(conf.services[1].balance, CONF_BALANCE_ROUNDROBIN);
    conf_free(&conf);
}

static void test_options(void **state)
{
    struct conf conf;

    (void)state;
    accept_command("lb4|-o|timeout idle 5m|-o|maxconn 9|-l|:1|-s|198.51.100.5:22|-o|tries 9|"
                   "-o|timeout connect 1s|-w|3|-u|a:b|--no-splice|-o|server z 198.51.100.6:1",
                   &conf);
    assert_int_equal(conf.maxconn, 9);
    assert_int_equal(conf.workers, 3);
    assert_false(conf.splice);
    assert_string_equal(conf.group, "b");
    assert_int_equal(conf.services[0].tries, 9);
    assert_int_equal(conf.services[0].timeouts.idle_ms, 300000);
    assert_int_equal(conf.services[0].timeouts.connect_ms, 1000);
    check_server(&conf.services[0], 1, "z", "198.51.100.6:1");
    conf_free(&conf);
}

static void test_names_and_checks(void **state)
{
    const struct conf_service *service;
    struct conf conf;

    (void)state;
    accept_command("lb4|-l|:1|-s|db.example:5432|-s|db1=db_1.example backup|-s|198.51.100.6|"
                   "-b|source|-o|check tcp interval 1s",
                   &conf);
    service = &conf.services[0];
    assert_int_equal(service->balance, CONF_BALANCE_SOURCE);
    assert_int_equal(service->check.interval_ms, 1000);
    assert_int_equal(service->check.fast_ms, 250);
    assert_string_equal(service->servers[0].name, "s1");
    assert_string_equal(service->servers[0].host, "db.example");
    assert_int_equal(addr_port(&service->servers[0].addr), 5432);
    assert_string_equal(service->servers[1].name, "db1");
    assert_string_equal(service->servers[1].host, "db_1.example");
    assert_int_equal(addr_port(&service->servers[1].addr), 0);
    assert_true(service->servers[1].is_backup);
    assert_null(service->servers[2].host);
    assert_false(service->servers[2].is_backup);
    conf_free(&conf);
}

/* Flags given with a file win over it. ctest runs in the top level directory. */
static void test_over_file(void **state)
{
    struct conf conf;

    (void)state;
    accept_command("lb4|-c|lb4.conf.example|-w|9|-o|timeout idle 7s", &conf);
    assert_int_equal(conf.workers, 9);
    assert_int_equal(conf.services[0].timeouts.idle_ms, 7000);
    conf_free(&conf);
}

static void test_transports(void **state)
{
    struct conf conf;

    (void)state;
    accept_command("lb4|-l|udp/:53|-s|198.51.100.1:1|-o|check dns a.b|-o|udp-responses 1|"
                   "-l|:53|-s|198.51.100.1|-l|both/[::1]:54-60|-s|198.51.100.1|-o|udp-sessions 9",
                   &conf);
    assert_int_equal(conf.n_services, 3);
    assert_int_equal(conf.services[0].listens[0].transport, CONF_UDP);
    assert_true(conf.services[0].listens[0].is_any);
    assert_int_equal(conf.services[0].udp.responses, 1);
    assert_string_equal(conf.services[0].check.send, "a.b");
    assert_int_equal(conf.services[1].listens[0].transport, CONF_TCP);
    assert_int_equal(conf.services[2].listens[0].transport, CONF_TCP_AND_UDP);
    assert_int_equal(conf.services[2].listens[0].last_port, 60);
    assert_int_equal(conf.services[2].udp.max_sessions, 9);
    conf_free(&conf);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        const char *place;
        const char *fragment;
    } cases[] = {
        {"lb4|-l|:0|-s|198.51.100.1:1", "2:1", "port 0 is outside 1..65535"},
        {"lb4|-l:0|-s|198.51.100.1:1", "1:3", "port 0 is outside 1..65535"},
        {"lb4|-l|tcp/:0|-s|198.51.100.1:1", "2:5", "port 0 is outside 1..65535"},
        {"lb4|-l|udp/:0|-s|198.51.100.1:1", "2:5", "port 0 is outside 1..65535"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-o|udp-sessions 1", "6:1", "has no UDP listener"},
        {"lb4|-l|sctp/:1|-s|198.51.100.1:1", "2:1", "one of: tcp, udp, both"},
        {"lb4|-l|udp/unix:/x|-s|198.51.100.1:1", "2:1", "tcp only"},
        {"lb4|-l|unix:x|-s|198.51.100.1:1", "2:1", "absolute path"},
        {"lb4|-l||-s|198.51.100.1:1", "2:1", "empty argument"},
        {"lb4|-l|:1", "2:1", "service 'rule1' has no server"},
        {"lb4|-l|:1|-s|a=198.51.100.1:1|-s|a=10.0.0.2:1", "6:1", "server 'a' is defined already"},
        {"lb4|-l|:1|-s|=10.0.0.1:1", "4:1", "1..64 of A-Z"},
        {"lb4|-l|:1|-s|a=198.51.100.1:x", "4:3", "not a number in 1..65535"},
        {"lb4|-l|:1|-s|a=b..example:5", "4:3", "accepted: 10.0.0.5:5432, [2001:db8::1]:5432, db"},
        {"lb4|-l|b.example:5|-s|198.51.100.1:1", "2:1", "not in this version: give an IP address"},
        {"lb4|-l|:1|-s|127.0.0.1:1", "4:1", "our own listener of command line:2:1"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-l|:1|-s|198.51.100.1:1", "6:1", "at command line:2:1"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-b|rr", "6:1", "one of: leastconn, roundrobin"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-b|random|-b|random", "8:1", "'balance' is given twice"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-o|maxconn 0", "6:9", "outside 1..10000000"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-o|check exec /x", "6:12", "No such file or directory"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-o|check tcp fast 3s", "6:16", "outside 1ms..2s"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-o|tries 0", "6:7", "outside 1..100"},
        {"lb4|-l|:1|-s|198.51.100.1:1|-o|workers 1", "6:1", "it belongs at the top level"},
        {"lb4|-o|tries 1|-l|:1|-s|198.51.100.1:1", "2:1", "it belongs in a service"},
        {"lb4|-o|service x {|-l|:1|-s|198.51.100.1:1", "2:11", "blocks are for the file only"},
        {"lb4|-o|service x|-l|:1|-s|198.51.100.1:1", "2:1", "'service' opens a block"},
        {"lb4|-o|}|-l|:1|-s|198.51.100.1:1", "2:1", "blocks are for the file only"},
        {"lb4|-o|drain 1s\ndrain 2s|-l|:1|-s|198.51.100.1:1", "2:1", "one line is accepted"},
        {"lb4|-o|# x|-l|:1|-s|198.51.100.1:1", "2:1", "empty argument"},
        {"lb4|-o|user \"a|-l|:1|-s|198.51.100.1:1", "2:6", "has no end"},
        {"lb4|-w|0|-l|:1|-s|198.51.100.1:1", "2:1", "outside 1..256"},
        {"lb4|-w|1|-w|2|-l|:1|-s|198.51.100.1:1", "4:1", "'workers' is given twice"},
        {"lb4|-u|a b|-l|:1|-s|198.51.100.1:1", "2:3", "one argument too many"},
        {"lb4|-w|4 \xff|-l|:1|-s|198.51.100.1:1", "2:3", "not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct conf_report report;
        struct conf conf;
        char place[32];

        if (read_command(cases[i].text, &conf, &report) == 0)
            fail_msg("\"%s\" is accepted", cases[i].text);
        snprintf(place, sizeof(place), "%u:%u", report.errors[0].place.line,
                 report.errors[0].place.column);
        if (strcmp(place, cases[i].place) != 0 || !strstr(report.errors[0].text, cases[i].fragment))
            fail_msg("\"%s\": %s: %s", cases[i].text, place, report.errors[0].text);
        assert_string_equal(report.errors[0].place.file, "command line");
        conf_free(&conf);
    }
}

/* What follows a broken -l is still read as belonging to it. */
static void test_broken_rule(void **state)
{
    static struct conf_report report;
    struct conf conf;

    (void)state;
    read_command("lb4|-l|\"|-s|198.51.100.1:1|-b|rr|-l|:1", &conf, &report);
    assert_int_equal(report.n_errors, 3);
    assert_int_equal(report.errors[1].place.line, 6);
    assert_non_null(strstr(report.errors[2].text, "service 'rule2' has no server"));
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),       cmocka_unit_test(test_options),
        cmocka_unit_test(test_over_file),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken_rule), cmocka_unit_test(test_names_and_checks),
        cmocka_unit_test(test_transports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
