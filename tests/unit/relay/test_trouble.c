#include "lb4/relay/trouble.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/log.h"

static struct service service;
static struct stats_service stats;
static struct stats_server server;

/* What the log says meanwhile. */
static const char *note(const struct trouble *trouble, uint64_t now_ns)
{
    static char text[4096];
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(log_start(ends[1], NULL), 0);
    trouble_note(&stats, &server, &service, trouble, now_ns);
    log_stop();
    close(ends[1]);
    n = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void test_ports(void **state)
{
    struct addr to;
    struct origin origin = {.n_sources = 2};
    struct trouble trouble = {.to = &to, .step = ORIGIN_CONNECT, .error = -EADDRNOTAVAIL};
    const char *text;

    (void)state;
    addr_parse("10.0.0.5", &to);
    addr_set_port(&to, 5432);
    strcpy(service.name, "postgres");
    text = note(&trouble, 1);
    assert_non_null(strstr(text, "service postgres: no local port is left towards 10.0.0.5:5432: "
                                 "all "));
    assert_non_null(strstr(text, "give the service addresses of this machine with `source`, or "
                                 "widen net.ipv4.ip_local_port_range"));
    assert_string_equal(note(&trouble, 2), "");
    addr_parse("10.0.0.9", &origin.sources[0]);
    addr_parse("10.0.0.8", &origin.sources[1]);
    trouble.origin = &origin;
    text = note(&trouble, 1 + LOCAL_SAY_NS);
    assert_non_null(strstr(text, "from any of 2 sources: all "));
    assert_non_null(strstr(text, "more addresses with `source`"));
    assert_int_equal(stats_read(&stats.local.errors[LOCAL_PORTS]), 3);
}

static void test_others(void **state)
{
    struct addr to;
    struct origin origin = {.n_sources = 1, .interface = "eth7", .mark = 3};
    struct trouble trouble = {.to = &to, .origin = &origin};

    (void)state;
    addr_parse("10.0.0.5", &to);
    addr_parse("10.0.0.9", &origin.sources[0]);
    service.local_say.said_ns = 0;
    trouble.step = ORIGIN_SOURCE;
    trouble.error = -EADDRNOTAVAIL;
    assert_non_null(strstr(note(&trouble, 1), "from 10.0.0.9: no such address on this machine"));
    service.local_say.said_ns = 0;
    trouble.step = ORIGIN_CONNECT;
    trouble.error = -EINVAL;
    assert_non_null(strstr(note(&trouble, 1), "from 10.0.0.9: there is no way from the one to"));
    assert_int_equal(stats_read(&stats.local.errors[LOCAL_SOURCE]), 2);
    service.local_say.said_ns = 0;
    trouble.step = ORIGIN_INTERFACE;
    trouble.error = -ENODEV;
    assert_non_null(strstr(note(&trouble, 1), "no interface 'eth7'"));
    service.local_say.said_ns = 0;
    trouble.step = ORIGIN_MARK;
    trouble.error = -EPERM;
    assert_non_null(strstr(note(&trouble, 1), "needs CAP_NET_ADMIN or CAP_NET_RAW"));
    assert_int_equal(stats_read(&stats.local.errors[LOCAL_FORBIDDEN]), 1);
}

/* Not at each client anew. */
static void test_no_search(void **state)
{
    struct addr to;
    struct trouble trouble = {.to = &to, .step = ORIGIN_CONNECT, .error = EADDRNOTAVAIL};

    (void)state;
    addr_parse("10.0.0.5", &to);
    server = (struct stats_server){0};
    assert_false(trouble_lasts(&server, &trouble, 1000));
    note(&trouble, 1000);
    assert_true(trouble_lasts(&server, &trouble, 999 + TROUBLE_LASTS_NS));
    note(&trouble, 999 + TROUBLE_LASTS_NS);
    assert_false(trouble_lasts(&server, &trouble, 1000 + TROUBLE_LASTS_NS));
}

/* What the server is to blame for is nobody's trouble here. */
static void test_not_ours(void **state)
{
    struct addr to;
    struct trouble trouble = {.to = &to, .step = ORIGIN_CONNECT, .error = ECONNREFUSED};

    (void)state;
    addr_parse("10.0.0.5", &to);
    stats = (struct stats_service){0};
    service.local_say.said_ns = 0;
    assert_string_equal(note(&trouble, 1), "");
    for (size_t i = 0; i < LOCAL_CAUSES; i++)
        assert_int_equal(stats_read(&stats.local.errors[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_no_search),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
