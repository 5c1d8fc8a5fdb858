#include "lb4/conf/print.h"

#include <stdlib.h>

#include "conf_text.h"
#include "lb4/conf/file.h"

static char *printed(const struct conf *conf)
{
    char *text = NULL;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    assert_non_null(stream);
    conf_print(conf, stream);
    fclose(stream);
    return text;
}

/* Printed, read back and printed again: the same; and `line` is in it. */
static void check_round_trip(const char *text, const char *line)
{
    struct conf conf;
    struct conf again;
    char *first;
    char *second;

    conf_text_accept(text, &conf);
    first = printed(&conf);
    conf_text_accept(first, &again);
    second = printed(&again);
    assert_string_equal(first, second);
    if (!strstr(first, line))
        fail_msg("\"%s\" is not in: %s", line, first);
    conf_free(&conf);
    conf_free(&again);
    free(first);
    free(second);
}

static const char *with(const char *global, const char *in_service)
{
    static char text[1024];

    snprintf(text, sizeof(text),
             "%s\nservice x {\nlisten tcp :7\nserver a 198.51.100.1:80\n%s\n}\n", global,
             in_service);
    return text;
}

static void test_every_directive(void **state)
{
    (void)state;
    check_round_trip(
        with("", ""),
        "workers auto\ncpu-affinity auto\ncpu-scheduling auto\nio-uring auto\nmaxconn auto\n");
    check_round_trip(with("workers 3", ""), "workers 3\ncpu-affinity auto\n");
    check_round_trip(with("cpu-affinity off", ""), "cpu-affinity off\n");
    check_round_trip(with("cpu-scheduling inherit", ""), "cpu-scheduling inherit\n");
    check_round_trip(with("io-uring off", ""), "io-uring off\n");
    check_round_trip(with("maxconn 77", ""), "maxconn 77\n");
    check_round_trip(with("pipes 0", ""), "pipes 0\n");
    check_round_trip(with("splice off", ""), "splice off\n");
    check_round_trip(with("drain 1500ms", ""), "drain 1500ms\n");
    check_round_trip(with("user lb4", ""), "user lb4\n");
    check_round_trip(with("user a:b", ""), "user a:b\n");
    check_round_trip(with("admin unix:/run/x", ""), "admin \"unix:/run/x\"\n");
    check_round_trip(with("admin \"unix:/a b\\\"\\\\\\n\xc3\xbc\"", ""),
                     "admin \"unix:/a b\\\"\\\\\\x0a\\xc3\\xbc\"\n");
    check_round_trip(with("http [::1]:80", ""), "http \"[::1]:80\"\n");
    check_round_trip(with("", ""), "\nlog stderr\nlog-format text\n");
    check_round_trip(with("log syslog", ""), "\nlog syslog daemon\n");
    check_round_trip(with("log syslog local7", ""), "\nlog syslog local7\n");
    check_round_trip(with("log file \"/a b\\n\"\nlog-format json", ""),
                     "\nlog file \"/a b\\x0a\"\nlog-format json\n");
    check_round_trip(with("", ""), "    access-log off\n");
    check_round_trip(with("", "access-log on"), "    access-log on\n    refuse reset\n    server");
    check_round_trip(with("", "access-log on interval 90s"), "    access-log on interval 90s\n");
    check_round_trip(with("defaults {\naccess-log on interval 10m\n}", ""),
                     "    access-log on interval 10m\n    refuse reset\n    server");
    check_round_trip(with("defaults {\naccess-log on interval 10m\n}", "access-log off"),
                     "    access-log off\n    refuse reset\n    server");
    check_round_trip(with("defaults {\ntimeout udp 5s\n}", ""), "    timeout udp 5s\n");
    check_round_trip(with("", "timeout connect 1ms"), "    timeout connect 1ms\n");
    check_round_trip(with("", "timeout idle 365d"), "    timeout idle 365d\n");
    check_round_trip(with("", "timeout half-close 90s"), "    timeout half-close 90s\n");
    check_round_trip(with("", "balance roundrobin"), "    balance roundrobin\n");
    check_round_trip(with("", "balance leastconn"), "    balance leastconn\n");
    check_round_trip(with("", "balance source"), "    balance source\n");
    check_round_trip(with("", "balance random"), "    balance random\n");
    check_round_trip(with("", ""), "    on-down keep\n    on-up keep\n    all-down refuse\n");
    check_round_trip(with("", "on-down reset"), "    on-down reset\n");
    check_round_trip(with("", "on-down drain 90s"), "    on-down drain 90s\n");
    check_round_trip(with("", "on-up drain 1500ms"), "    on-up drain 1500ms\n");
    check_round_trip(with("", "on-up reset"), "    on-up reset\n");
    check_round_trip(with("", "all-down any"), "    all-down any\n");
    check_round_trip(with("", "all-down hold 5s"), "    all-down hold 5s max 1000\n");
    check_round_trip(with("", "evict after 5 failures in 10s"),
                     "    evict after 5 failures in 10s for 30s\n");
    check_round_trip(with("", "server two 10.0.0.2:80 maxconn 7"), "    queue 1000 timeout 5s\n");
    check_round_trip(with("", "queue 9 timeout 300ms\nserver two 10.0.0.2:80 maxconn 7"),
                     "    queue 9 timeout 300ms\n");
    check_round_trip(with("", "server two 10.0.0.2:80 maxconn 7"),
                     "server two 10.0.0.2:80 weight 1 maxconn 7\n");
    check_round_trip(with("", "affinity source 60s prefix6 64"),
                     "    affinity source 1m prefix4 32 prefix6 64\n");
    check_round_trip(with("defaults {\n affinity source 2s\n}\n", "affinity off"),
                     "    affinity off\n");
    check_round_trip(with("", "slow-start 30s"), "    slow-start 30s\n");
    check_round_trip(with("", "server b 198.51.100.2 priority 16"), " weight 1 priority 16\n");
    check_round_trip(with("", "check postgres"), "    check postgres interval 2s ");
    check_round_trip(with("", "check postgres user \"a b\""),
                     "    check postgres user \"a b\" interval 2s ");
    check_round_trip(with("", "check mysql user port port 3307"),
                     "    check mysql user \"port\" interval 2s ");
    check_round_trip(with("", "tries 100"), "    tries 100\n");
    check_round_trip(with("", "listen tcp 10.0.0.1:80"), "    listen tcp 10.0.0.1:80\n");
    check_round_trip(with("", "listen tcp [2001:db8::1]:80-90"),
                     "    listen tcp [2001:db8::1]:80-90\n");
    check_round_trip(with("", "listen tcp :80 accept-proxy from 10.1.2.3/8 2001:db8::1"),
                     "    listen tcp :80 accept-proxy from 10.0.0.0/8 2001:db8::1\n");
    check_round_trip(with("", "server b 198.51.100.2:1 send-proxy v1"),
                     " weight 1 send-proxy v1\n");
    check_round_trip(with("", "server b 198.51.100.2:1 backup send-proxy v2"),
                     " weight 1 send-proxy v2 backup\n");
    check_round_trip(with("", "listen tcp 0.0.0.0:80"), "    listen tcp 0.0.0.0:80\n");
    check_round_trip(with("", "listen tcp :80-90"), "    listen tcp :80-90\n");
    check_round_trip(with("", "server b 198.51.100.2"), "    server b 198.51.100.2 weight 1\n");
    check_round_trip(with("", "server b [2001:db8::1] weight 256"),
                     "    server b [2001:db8::1] weight 256\n");
}

/* Without a `check` line: what it amounts to. */
static void test_checks(void **state)
{
    (void)state;
    check_round_trip(with("", "check none\nserver b 198.51.100.2"), "    check none\n");
    check_round_trip(with("", "check tcp"),
                     "    check tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms\n");
    check_round_trip(
        with("", "check tcp fall 100 rise 1 interval 1h timeout 1ms fast 1h port 65535"),
        "    check tcp interval 1h timeout 1ms fall 100 rise 1 fast 1h port 65535\n");
    check_round_trip(
        with("user lb4", "check exec \"/bin/sh\" interval 1s"),
        "    check exec \"/bin/sh\" interval 1s timeout 1s fall 3 rise 2 fast 250ms\n");
    check_round_trip(with("", ""), "    check none\n");
    check_round_trip(with("", "server b 198.51.100.2"),
                     "    check tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms\n");
    check_round_trip(with("", "server b db.example"),
                     "    check tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms\n");
}

static const char *udp_with(const char *in_service)
{
    static char text[2048];

    snprintf(text, sizeof(text), "service x {\nlisten udp :7\nserver a 198.51.100.1:80\n%s\n}\n",
             in_service);
    return text;
}

static void test_udp(void **state)
{
    (void)state;
    check_round_trip(udp_with(""), "    listen udp :7\n");
    check_round_trip(udp_with(""), "    udp-on-down rebind\n");
    check_round_trip(udp_with("server b 198.51.100.2"), "    check none\n");
    check_round_trip(udp_with("server b db.example"), "    check none\n");
    check_round_trip(udp_with("listen both :8-9"), "    listen both :8-9\n");
    check_round_trip(udp_with("listen udp [::1]:8-9"), "    listen udp [::1]:8-9\n");
    check_round_trip(udp_with("udp-on-down keep"), "    udp-on-down keep\n");
    check_round_trip(udp_with("udp-responses 0"), "    udp-responses 0\n");
    check_round_trip(udp_with("udp-responses 10000000"), "    udp-responses 10000000\n");
    check_round_trip(udp_with("udp-sessions 5"), "    udp-sessions 5\n");
    check_round_trip(udp_with("check dns a.example interval 1s port 53"),
                     "    check dns a.example interval 1s timeout 1s fall 3 rise 2 fast 250ms port "
                     "53\n");
    check_round_trip(
        udp_with("check send \"a\\x00\\r\\n\\\\\\\"\xc3\xbc\\xff #\" expect \"\""),
        "    check send \"a\\x00\\x0d\\x0a\\\\\\\"\\xc3\\xbc\\xff #\" expect \"\" interval 2s");
}

/* All of them escaped, they still fit on a line. */
static void test_longest_texts(void **state)
{
    char digits[2 * CONF_TEXT_MAX + 1];
    struct conf conf;
    char *first;
    char *second;

    (void)state;
    for (size_t i = 0; i < CONF_TEXT_MAX; i++)
        memcpy(digits + 2 * i, "01", 3);
    conf_text_accept(udp_with("check send x expect y timeout 31535999999ms interval 31535999999ms "
                              "fast 31535999999ms fall 100 rise 100 port 65535 jitter 50 "
                              "address fe80::1234:5678:9abc:def0%lo source "
                              "2001:db8:1111:2222:3333:4444:5555:6666"),
                     &conf);
    free(conf.services[0].check.send);
    free(conf.services[0].check.expect);
    conf.services[0].check.send = memset(malloc(CONF_TEXT_MAX), 1, CONF_TEXT_MAX);
    conf.services[0].check.expect = memset(malloc(CONF_TEXT_MAX), 1, CONF_TEXT_MAX);
    conf.services[0].check.n_send = conf.services[0].check.n_expect = CONF_TEXT_MAX;
    first = printed(&conf);
    assert_non_null(strstr(first, digits));
    conf_free(&conf);
    conf_text_accept(first, &conf);
    second = printed(&conf);
    assert_string_equal(first, second);
    conf_free(&conf);
    free(first);
    free(second);
}

static void test_dialogues(void **state)
{
    static const struct {
        const char *written;
        const char *printed;
    } cases[] = {
        {"check http /x", "    check http \"/x\" status 200-399 interval 2s"},
        {"check http \"/\\\"\" host h:1 status 204",
         "    check http \"/\\\"\" status 204-204 host \"h:1\" interval 2s"},
        {"check send hex 0A0b expect hex ff", "    check send \"\\x0a\\x0b\" expect \"\\xff\" in"},
        {"check send \"\" expect hex 686578", "    check send \"\" expect hex 686578 interval"},
        {"check send hex 7265676578 expect hex \"\"",
         "    check send hex 7265676578 expect \"\" interval"},
        {"check send x expect regex \"^a\\\\.\\n\"",
         "    check send \"x\" expect regex \"^a\\\\.\\x0a\" interval"},
        {"check redis", "    check redis interval"},
        {"check redis role master", "    check redis role master interval"},
        {"check redis role replica", "    check redis role replica interval"},
        {"check postgres port 5433", "    check postgres interval"},
        {"check mysql", "    check mysql interval"},
        {"check dns a.b", "    check dns a.b interval"},
        {"check tcp jitter 0", " fast 500ms jitter 0\n"},
        {"check tcp source ::1 address 2001:db8::1 jitter 50 port 1",
         " port 1 jitter 50 address [2001:db8::1] source [::1]\n"},
        {"check tcp source [fe80::1%lo]", " source [fe80::1%lo]\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_round_trip(with("", cases[i].written), cases[i].printed);
}

static void test_servers(void **state)
{
    (void)state;
    check_round_trip(with("", "server b 198.51.100.2 backup weight 7"),
                     "    server b 198.51.100.2 weight 7 backup\n");
    check_round_trip(with("", "server b db.example:5432 backup"),
                     "    server b db.example:5432 weight 1 backup\n");
    check_round_trip(with("", "server b db.example"), "    server b db.example weight 1\n");
    check_round_trip(with("", "server b srv:_pg._tcp.example. backup"),
                     "    server b srv:_pg._tcp.example backup\n");
    check_round_trip(with("", "resolve 90s"), "    resolve 90s\n");
    check_round_trip(with("", "resolve off"), "    resolve off\n");
    check_round_trip(with("defaults {\nresolve 5m\n}", ""), "    resolve 5m\n");
}

/* The only server is a name, looked up once: it may turn out to be several, and then they are
 * probed. One that is looked up again may change at any moment, and is probed. */
static void test_undecided(void **state)
{
    static const char text[] = "service x {\nlisten tcp :7\nserver a db.example:80\n}\n";
    struct conf conf;
    char *first;

    (void)state;
    conf_text_accept(text, &conf);
    first = printed(&conf);
    assert_null(strstr(first, "check"));
    check_round_trip(text, "    server a db.example:80 weight 1\n");
    conf_free(&conf);
    free(first);
}

/* The example is what people start from. ctest runs in the top level directory. */
static void test_example(void **state)
{
    static struct conf_report report;
    struct conf conf;
    char *text;

    (void)state;
    conf_init(&conf);
    conf_report_init(&report);
    assert_int_equal(conf_read_file("lb4.conf.example", &conf, &report), 0);
    assert_int_equal(conf_check(&conf, &report), 0);
    assert_int_equal(report.n_warnings, 0);
    text = printed(&conf);
    check_round_trip(text, "service demo {\n    listen tcp 127.0.0.1:7000\n");
    free(text);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_directive), cmocka_unit_test(test_checks),
        cmocka_unit_test(test_servers),         cmocka_unit_test(test_undecided),
        cmocka_unit_test(test_example),         cmocka_unit_test(test_udp),
        cmocka_unit_test(test_longest_texts),   cmocka_unit_test(test_dialogues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
