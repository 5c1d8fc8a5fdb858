#include "lb4/conf/vain.h"

#include "conf_text.h"

/* What is warned of `lines` in a service with the listener and servers a and b; NULL: nothing. */
static void check(const char *listen, const char *lines, const char *fragment)
{
    static struct conf_report report;
    struct conf conf;
    char text[512];

    snprintf(text, sizeof(text), "service x {\n listen %s :7100\n server a 10.0.0.1:1%s\n}\n",
             listen, lines);
    if (conf_text_read(text, &conf, &report) != 0)
        fail_msg("\"%s\": %s", text, report.errors[0].text);
    if (report.n_warnings != (fragment ? 1 : 0))
        fail_msg("\"%s\": %zu warnings", text, report.n_warnings);
    if (fragment && !strstr(report.warnings[0].text, fragment))
        fail_msg("\"%s\": %s", text, report.warnings[0].text);
    if (fragment)
        assert_int_equal(report.warnings[0].place.line, 1);
    conf_free(&conf);
}

#define SECOND "\n server b 10.0.0.2:1"

static void test_slow_start(void **state)
{
    (void)state;
    check("tcp", SECOND "\n slow-start 9s\n balance source", "slow-start does nothing");
    check("tcp", SECOND "\n slow-start 9s\n balance random", NULL);
}

static void test_on_up(void **state)
{
    (void)state;
    check("tcp", SECOND "\n on-up reset", "no server is better than another");
    check("tcp", SECOND "\n on-up keep", NULL);
    check("tcp", SECOND " backup\n on-up reset", NULL);
    check("tcp", SECOND " priority 2\n on-up drain 1s", NULL);
    check("tcp", "\n server b srv:_x._tcp.y.example\n on-up reset", NULL);
    check("udp", SECOND " backup\n on-up reset", NULL); /* of sessions, too */
}

static void test_on_down(void **state)
{
    (void)state;
    check("tcp", "\n on-down reset", "no server is probed");
    check("tcp", SECOND "\n check none\n on-down drain 1s", "no server is probed");
    check("tcp", SECOND "\n on-down reset", NULL);
    check("tcp", "\n check tcp\n on-down reset", NULL);
    check("udp", SECOND "\n check dns x\n on-down reset", "udp-on-down");
}

static void test_evict(void **state)
{
    (void)state;
    check("tcp", "\n evict after 1 failures in 1s", "the last server is never evicted");
    check("tcp", SECOND "\n evict after 1 failures in 1s", NULL);
    check("tcp", SECOND " backup\n evict after 1 failures in 1s", NULL);
}

static void test_names_may_become_several(void **state)
{
    struct conf_server servers[1] = {{.weight = 1}};
    struct conf_server written[1] = {{.host = (char[]){"a.example"}}};
    struct conf_listen listen = {.transport = CONF_TCP};
    struct conf_service service = {.servers = servers,
                                   .n_servers = 1,
                                   .written = written,
                                   .n_written = 1,
                                   .listens = &listen,
                                   .n_listens = 1,
                                   .evict = {.n_failures = 1}};
    static struct conf_report report;

    (void)state;
    conf_report_init(&report);
    conf_warn_vain(&service, &report);
    assert_int_equal(report.n_warnings, 0);
}

static void test_limits(void **state)
{
    (void)state;
    check("udp", " maxconn 5", "udp-sessions 1..10000000");
    check("both", " maxconn 5", NULL);
}

static void test_ban(void **state)
{
    (void)state;
    check("tcp", "\n ban after 3 refused in 1m for 1h", "ban does nothing");
    check("tcp", "\n ban after 3 refused in 1m for 1h\n maxconn 5\n rate 9/s", "ban does nothing");
    check("tcp", "\n ban after 3 refused in 1m for 1h\n limit per-source 5", NULL);
    check("tcp", "\n ban after 3 refused in 1m for 1h\n rate per-source 5/s", NULL);
    check("udp", "\n ban after 3 refused in 1m for 1h\n rate datagrams per-source 5/s", NULL);
    check("tcp", "\n ban after 3 refused in 1m for 1h\n deny 10.0.0.0/8", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ban),
        cmocka_unit_test(test_slow_start),
        cmocka_unit_test(test_on_up),
        cmocka_unit_test(test_on_down),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_names_may_become_several),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
