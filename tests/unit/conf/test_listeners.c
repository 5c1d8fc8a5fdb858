#include "lb4/conf/listeners.h"

#include "conf_text.h"

static const struct conf_listen *find(const struct listeners *listeners, const char *host,
                                      unsigned first_port, unsigned last_port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    return listeners_find(listeners, &addr, (uint16_t)first_port, (uint16_t)last_port);
}

static void test_find(void **state)
{
    static struct conf_report report;
    struct listeners listeners;
    const struct conf_listen *listens;
    struct conf conf;

    (void)state;
    conf_text_accept("service a {\n"
                     "listen tcp 10.0.0.1:100-200\n"
                     "listen tcp 10.0.0.1:300\n"
                     "listen tcp [2001:db8::1]:100\n"
                     "listen tcp :53\n"
                     "server s 10.9.9.9:1\n}\n",
                     &conf);
    listens = conf.services[0].listens;
    conf_report_init(&report);
    assert_int_equal(listeners_init(&listeners, &conf, CONF_TCP, &report), 0);
    assert_int_equal(listeners.n_entries, 5);
    assert_ptr_equal(find(&listeners, "10.0.0.1", 100, 100), &listens[0]);
    assert_ptr_equal(find(&listeners, "10.0.0.1", 200, 200), &listens[0]);
    assert_ptr_equal(find(&listeners, "10.0.0.1", 1, 150), &listens[0]);
    assert_ptr_equal(find(&listeners, "10.0.0.1", 201, 300), &listens[1]);
    assert_null(find(&listeners, "10.0.0.1", 201, 299));
    assert_null(find(&listeners, "10.0.0.1", 99, 99));
    assert_null(find(&listeners, "10.0.0.1", 301, 65535));
    assert_null(find(&listeners, "10.0.0.2", 100, 100));
    assert_ptr_equal(find(&listeners, "2001:db8::1", 100, 100), &listens[2]);
    assert_null(find(&listeners, "2001:db8::1", 101, 101));
    assert_ptr_equal(find(&listeners, "0.0.0.0", 53, 53), &listens[3]);
    assert_ptr_equal(find(&listeners, "::", 1, 65535), &listens[3]);
    listeners_fini(&listeners);
    conf_free(&conf);
}

/* Each transport has its own table; what listens on both is in both. */
static void test_transports(void **state)
{
    static struct conf_report report;
    struct listeners tcp;
    struct listeners udp;
    struct conf conf;

    (void)state;
    conf_text_accept("service a {\nlisten tcp 10.0.0.1:1\nlisten udp 10.0.0.1:1-2\n"
                     "listen both 10.0.0.1:3\nserver s 10.9.9.9:1\n}\n",
                     &conf);
    conf_report_init(&report);
    assert_int_equal(listeners_init(&tcp, &conf, CONF_TCP, &report), 0);
    assert_int_equal(listeners_init(&udp, &conf, CONF_UDP, &report), 0);
    assert_int_equal(tcp.n_entries, 2);
    assert_int_equal(udp.n_entries, 2);
    assert_ptr_equal(find(&tcp, "10.0.0.1", 1, 1), &conf.services[0].listens[0]);
    assert_null(find(&tcp, "10.0.0.1", 2, 2));
    assert_ptr_equal(find(&udp, "10.0.0.1", 2, 2), &conf.services[0].listens[1]);
    assert_ptr_equal(find(&tcp, "10.0.0.1", 3, 3), find(&udp, "10.0.0.1", 3, 3));
    listeners_fini(&tcp);
    listeners_fini(&udp);
    conf_free(&conf);
}

static void check_overlap_of(const char *first, const char *second, const char *place,
                             const char *fragment)
{
    char text[512];
    struct conf conf;

    snprintf(text, sizeof(text),
             "service a {\nlisten %s\nserver s 10.9.9.9:1\n}\n"
             "service b {\nlisten %s\nserver s 10.9.9.9:1\n}\n",
             first, second);
    if (fragment) {
        conf_text_refuse(text, place, fragment);
    } else {
        conf_text_accept(text, &conf);
        conf_free(&conf);
    }
}

static void check_overlap(const char *first, const char *second, const char *fragment)
{
    char tcp_first[64];
    char tcp_second[64];

    snprintf(tcp_first, sizeof(tcp_first), "tcp %s", first);
    snprintf(tcp_second, sizeof(tcp_second), "tcp %s", second);
    check_overlap_of(tcp_first, tcp_second, "6:12", fragment);
}

static void test_overlaps_by_transport(void **state)
{
    (void)state;
    check_overlap_of("tcp :80", "udp :80", NULL, NULL);
    check_overlap_of("udp 10.0.0.1:80-90", "tcp 10.0.0.1:85", NULL, NULL);
    check_overlap_of("udp :80", "udp :80", "6:12", "port 80 of this address");
    check_overlap_of("udp :80", "both :80", "6:13", "port 80 of this address");
    check_overlap_of("both :80", "tcp :80", "6:12", "port 80 of this address");
    check_overlap_of("both :80-90", "udp 0.0.0.0:90", "6:12", "port 90 of this address");
}

static void test_overlaps(void **state)
{
    (void)state;
    check_overlap("10.0.0.1:80", "10.0.0.1:80", "port 80 of this address");
    check_overlap("10.0.0.1:80-90", "10.0.0.1:85-99", "ports 85-90 of this address");
    check_overlap("10.0.0.1:85-99", "10.0.0.1:80-90", "ports 85-90 of this address");
    check_overlap("10.0.0.1:80-90", "10.0.0.1:85", "at t:2:12");
    check_overlap(":80", ":80", "port 80 of this address");
    check_overlap(":80", "0.0.0.0:80", "port 80 of this address");
    check_overlap("[::]:80", ":80", "port 80 of this address");
    check_overlap("10.0.0.1:80", "[::ffff:10.0.0.1]:80", "port 80 of this address");
    check_overlap("10.0.0.1:80", "10.0.0.1:81", NULL);
    check_overlap("10.0.0.1:80-90", "10.0.0.1:91-99", NULL);
    check_overlap("10.0.0.1:80", "10.0.0.2:80", NULL);
    check_overlap("0.0.0.0:80", "[::]:80", NULL);
    check_overlap("10.0.0.1:80", ":80", NULL);
}

/* Two wildcards meet in both families, and on both transports: one message. */
static void test_reported_once(void **state)
{
    static struct conf_report report;
    struct conf conf;

    (void)state;
    conf_text_read("service a {\nlisten both :80\nlisten both :80\nserver s 10.9.9.9:1\n}\n", &conf,
                   &report);
    assert_int_equal(report.n_errors, 1);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),          cmocka_unit_test(test_transports),
        cmocka_unit_test(test_overlaps),      cmocka_unit_test(test_overlaps_by_transport),
        cmocka_unit_test(test_reported_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
