/* Names of servers into servers with addresses. The resolver is a table of this test. */
#include "lb4/control/names.h"

#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../conf/conf_text.h"
#include "lb4/conf/check.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/read.h"
#include "lb4/probe/resolver.h"

static struct {
    int result;
    size_t n_calls;
    size_t n_names;
    uint64_t timeout_ms;
} asked;

static const struct {
    const char *host;
    const char *addrs[RESOLVER_ADDRS_MAX];
    int error;
} known[] = {
    {"one.example", {"198.51.100.1"}, 0},
    {"two.example", {"2001:db8::1", "198.51.100.2"}, 0},
    {"three.example", {"198.51.100.1", "198.51.100.2", "198.51.100.3"}, 0},
    {"own.example", {"198.51.100.9", "127.0.0.1"}, 0},
    {"blocked.example", {"0.0.0.0"}, 0},
    {"silent.example", {NULL}, EAI_INPROGRESS},
    {"unknown.example", {NULL}, EAI_NONAME},
};

/* Stands in for probe/resolver.c, which the linker then leaves out. */
int resolver_resolve_by_threads(struct resolver_name *names, size_t n_names, uint64_t timeout_ms)
{
    return resolver_resolve(names, n_names, timeout_ms);
}

int resolver_resolve(struct resolver_name *names, size_t n_names, uint64_t timeout_ms)
{
    asked.n_calls++;
    asked.n_names = n_names;
    asked.timeout_ms = timeout_ms;
    for (size_t i = 0; i < n_names; i++) {
        size_t k = 0;

        while (strcmp(known[k].host, names[i].host) != 0)
            assert_true(++k < sizeof(known) / sizeof(known[0]));
        for (; known[k].addrs[names[i].n_addrs]; names[i].n_addrs++)
            assert_int_equal(
                addr_parse(known[k].addrs[names[i].n_addrs], &names[i].addrs[names[i].n_addrs]), 0);
        names[i].error = known[k].error;
    }
    return asked.result;
}

static struct conf conf;
static struct conf_report report;
static struct name_sets sets;

static int resolve(void)
{
    name_sets_fini(&sets);
    return names_resolve(&conf, &sets, &report);
}

static void read_text(const char *text)
{
    memset(&asked, 0, sizeof(asked));
    conf_init(&conf);
    conf_report_init(&report);
    conf_read_text("t", text, strlen(text), &conf, &report);
    if (conf_check(&conf, &report) != 0)
        fail_msg("%u:%u: %s", report.errors[0].place.line, report.errors[0].place.column,
                 report.errors[0].text);
    conf_report_init(&report);
}

/* A service with these lines, from line 3 on. */
static void read_servers(const char *lines)
{
    static char text[4096];

    snprintf(text, sizeof(text), "service a {\nlisten tcp :80\n%s\n}\n", lines);
    read_text(text);
}

static void check_server(size_t service, size_t i, const char *name, const char *addr)
{
    const struct conf_server *server = &conf.services[service].servers[i];
    char text[ADDR_TEXT_MAX];

    assert_true(i < conf.services[service].n_servers);
    assert_string_equal(server->name, name);
    assert_null(server->host);
    assert_string_equal(addr_format(&server->addr, text), addr);
}

static void check_failed(const char *place, const char *text)
{
    char found[32];

    assert_int_equal(resolve(), -EINVAL);
    snprintf(found, sizeof(found), "%u:%u", report.errors[0].place.line,
             report.errors[0].place.column);
    assert_string_equal(found, place);
    assert_string_equal(report.errors[0].text, text);
    conf_free(&conf);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    read_servers("server x 198.51.100.1:1\nserver y 198.51.100.2:1");
    assert_int_equal(resolve(), 0);
    assert_int_equal(asked.n_calls, 0);
    check_server(0, 1, "y", "198.51.100.2:1");
    conf_free(&conf);
}

static void test_expanded(void **state)
{
    (void)state;
    read_servers("server x two.example:5432 weight 7 backup\nserver y 198.51.100.9\n"
                 "server z three.example");
    assert_int_equal(resolve(), 0);
    assert_int_equal(asked.n_names, 2);
    assert_int_equal(asked.timeout_ms, 2000);
    assert_int_equal(conf.services[0].n_servers, 6);
    check_server(0, 0, "x", "[2001:db8::1]:5432");
    check_server(0, 1, "x-2", "198.51.100.2:5432");
    check_server(0, 2, "y", "198.51.100.9:0");
    check_server(0, 3, "z", "198.51.100.1:0");
    check_server(0, 5, "z-3", "198.51.100.3:0");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(conf.services[0].servers[i].weight, 7);
        assert_true(conf.services[0].servers[i].is_backup);
        assert_int_equal(conf.services[0].servers[i].place.line, 3);
    }
    assert_false(conf.services[0].servers[3].is_backup);
    conf_free(&conf);
}

/* A name is looked up once, whoever has it; a single server becomes one that is probed. */
static void test_shared_name(void **state)
{
    (void)state;
    read_text("service a {\nlisten tcp :1\nserver x two.example:1\n}\n"
              "service b {\nlisten tcp :2\nserver x two.example:2\nserver y one.example:2\n}\n"
              "service c {\nlisten tcp :3\nserver x 198.51.100.7:3\n}\n");
    assert_false(conf_is_checked(&conf.services[0]));
    assert_int_equal(resolve(), 0);
    assert_int_equal(asked.n_calls, 1);
    assert_int_equal(asked.n_names, 2);
    check_server(0, 1, "x-2", "198.51.100.2:1");
    check_server(1, 1, "x-2", "198.51.100.2:2");
    check_server(1, 2, "y", "198.51.100.1:2");
    check_server(2, 0, "x", "198.51.100.7:3");
    assert_true(conf_is_checked(&conf.services[0]));
    assert_false(conf_is_checked(&conf.services[2]));
    conf_free(&conf);
}

/* At the start they have no server until they are found. */
static void test_failed_at_the_start(void **state)
{
    (void)state;
    read_servers("server x unknown.example:1\nserver y silent.example:1\nserver z one.example:1");
    assert_int_equal(resolve(), 0);
    assert_int_equal(report.n_errors, 0);
    assert_int_equal(conf.services[0].n_servers, 1);
    check_server(0, 0, "z", "198.51.100.1:1");
    assert_string_equal(name_set_state(name_sets_find(&sets, "silent.example", false)),
                        "unresolved");
    assert_int_equal(name_sets_find(&sets, "unknown.example", false)->error, EAI_NONAME);
    conf_free(&conf);
}

static int settle(const struct conf *present)
{
    struct names_found found;
    int error = names_look_up(&conf, NAMES_BY_THREADS, &found, &report);

    if (!error)
        error = names_settle(&conf, present, &found, &sets, &report);
    names_found_fini(&found);
    return error;
}

/* At a reload that is an error, with the place, but for names that are used already. */
static void test_failed_at_a_reload(void **state)
{
    struct conf present;
    struct name_set *set;

    (void)state;
    name_sets_fini(&sets);
    conf_text_accept("service a {\nlisten tcp :1\nserver q unknown.example:1\n}\n", &present);
    read_servers("server x unknown.example:1\nserver y silent.example:1\nserver z one.example:1");
    assert_int_equal(settle(&present), -EINVAL);
    assert_int_equal(asked.timeout_ms, 5000);
    assert_int_equal(report.n_errors, 2);
    assert_int_equal(report.errors[0].place.line, 3);
    assert_int_equal(report.errors[0].place.column, 8);
    assert_string_equal(report.errors[0].text,
                        "server 'x': unknown.example: Name or service not known");
    assert_string_equal(report.errors[1].text, "server 'y': silent.example: no answer within 5s");
    assert_string_equal(conf.services[0].servers[2].host, "one.example");

    conf_report_init(&report);
    name_sets_add(&sets, "unknown.example", false)->is_used = true;
    set = name_sets_add(&sets, "silent.example", false);
    set->is_used = true;
    set->good.n_addrs = 1;
    assert_int_equal(addr_parse("198.51.100.77", &set->good.addrs[0]), 0);
    assert_int_equal(settle(&present), 0);
    assert_int_equal(conf.services[0].n_servers, 2);
    check_server(0, 0, "y", "198.51.100.77:1");
    check_server(0, 1, "z", "198.51.100.1:1");
    conf_free(&conf);
    conf_free(&present);
}

/* What came while the file was read is newer. */
static void test_older_answers(void **state)
{
    struct names_found found;
    struct name_set *set;

    (void)state;
    name_sets_fini(&sets);
    read_servers("server z one.example:1");
    assert_int_equal(names_look_up(&conf, NAMES_BY_THREADS, &found, &report), 0);
    set = name_sets_add(&sets, "one.example", false);
    set->good.n_addrs = 1;
    set->good_ns = UINT64_MAX;
    assert_int_equal(addr_parse("198.51.100.77", &set->good.addrs[0]), 0);
    assert_int_equal(names_settle(&conf, &conf, &found, &sets, &report), 0);
    check_server(0, 0, "z", "198.51.100.77:1");
    names_found_fini(&found);
    conf_free(&conf);
}

static void test_no_child(void **state)
{
    (void)state;
    read_servers("server v 198.51.100.1:1\nserver x one.example:1");
    asked.result = -EAGAIN;
    assert_int_equal(resolve(), -EAGAIN);
    assert_int_equal(report.n_errors, 1);
    assert_int_equal(report.errors[0].place.line, 4);
    assert_string_equal(report.errors[0].text, "server 'x': one.example cannot be looked up: "
                                               "Resource temporarily unavailable");
    conf_free(&conf);
}

static void test_addresses_refused(void **state)
{
    (void)state;
    read_servers("server x blocked.example:80");
    check_failed("3:8",
                 "server 'x': blocked.example is 0.0.0.0: a wildcard is no server's address");
    read_servers("server x own.example:80");
    check_failed("3:8", "server 'x-2' is our own listener of t:2:12: connections would go round in "
                        "a circle");
}

/* conf_check() has given its warnings before, when it was called for the names. */
static void test_no_warning_twice(void **state)
{
    (void)state;
    read_servers("server x one.example:1 backup");
    assert_int_equal(resolve(), 0);
    assert_int_equal(report.n_warnings, 0);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_do),      cmocka_unit_test(test_expanded),
        cmocka_unit_test(test_shared_name),        cmocka_unit_test(test_failed_at_the_start),
        cmocka_unit_test(test_failed_at_a_reload), cmocka_unit_test(test_older_answers),
        cmocka_unit_test(test_no_child),           cmocka_unit_test(test_addresses_refused),
        cmocka_unit_test(test_no_warning_twice),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);

    name_sets_fini(&sets);
    return n_failed;
}
