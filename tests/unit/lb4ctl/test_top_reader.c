#include "lb4/lb4ctl/top_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer.h"

static const uint64_t S = 1000000000;

static struct top_view view;
static struct top_options options;
static struct top_reader reader;

static int prepare(void **state)
{
    (void)state;
    peer_open();
    top_view_init(&view);
    options = (struct top_options){.service = "", .interval_ms = 2000};
    top_reader_init(&reader, peer.path, &options, &view);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    top_reader_fini(&reader);
    top_view_fini(&view);
    peer_close();
    return 0;
}

static void answer(uint64_t now_ns, const char *total)
{
    char text[400];

    snprintf(text, sizeof(text),
             "name\tvalue\nversion\t9.9\nstate\trunning\nuptime\t61\nconnections\t3\nmaxconn\t9\n"
             "udp_sessions\t0\nok\n"
             "service\ttotal\tbytes_in\nweb\t%s\t0\nok\n"
             "service\tserver\tstate\nweb\ta\tup\nok\n"
             "client\tservice\tserver\nc1\tweb\ta\nok\n",
             total);
    peer_say(text);
    top_reader_take(&reader, now_ns);
}

static void read_once(uint64_t now_ns, const char *total)
{
    bool is_new = reader.link.fd < 0;

    top_reader_step(&reader, 77, now_ns);
    assert_true(reader.is_asking);
    if (is_new)
        peer_accept();
    answer(now_ns, total);
    assert_false(reader.is_asking);
}

static double rate(void)
{
    return view.tables[TOP_SERVICES].rows[0].cells[top_find_column(TOP_SERVICES, "NEW/S")].value;
}

static void test_readings(void **state)
{
    (void)state;
    assert_int_equal(reader.due_ns, 0);
    top_reader_step(&reader, 77, 100 * S);
    peer_accept();
    assert_string_equal(peer_heard(), "show info\nshow services\nshow servers \n"
                                      "show connections --busiest 77 \n");
    answer(100 * S, "5");
    assert_int_equal(reader.n_readings, 1);
    assert_int_equal(reader.due_ns, 102 * S);
    assert_non_null(strstr(view.head, "lb4 9.9 running, up 1m1s, 3 of 9 connections"));
    assert_int_equal(view.tables[TOP_CONNECTIONS].n_rows, 1);
    top_reader_step(&reader, 77, 102 * S - 1);
    assert_false(reader.is_asking);
    read_once(102 * S, "9");
    assert_true(rate() == 2);
    assert_true(reader.link.fd >= 0);
}

/* lb4 closes who says nothing for long. */
static void test_long_interval(void **state)
{
    (void)state;
    options.interval_ms = 30000;
    options.service = "web";
    top_reader_step(&reader, 50, 100 * S);
    peer_accept();
    assert_non_null(strstr(peer_heard(), "show servers web\nshow connections --busiest 50 web\n"));
    answer(100 * S, "5");
    assert_int_equal(reader.link.fd, -1);
    read_once(130 * S, "65");
    assert_true(rate() == 2);
}

static void test_lb4_goes_and_comes(void **state)
{
    (void)state;
    read_once(100 * S, "5");
    top_reader_step(&reader, 77, 102 * S);
    peer_go();
    top_reader_take(&reader, 102 * S);
    assert_true(reader.is_lost);
    assert_int_equal(reader.result, CLIENT_OK);
    assert_non_null(strstr(view.message, "has ended the connection"));
    assert_non_null(strstr(view.head, "NO LB4"));
    assert_int_equal(view.tables[TOP_SERVERS].n_rows, 1);
    assert_int_equal(reader.due_ns, 103 * S);
    close(peer.listener);
    top_reader_step(&reader, 77, 103 * S);
    assert_non_null(strstr(view.message, "does not run any more"));
    assert_int_equal(reader.due_ns, 104 * S);
    unlink(peer.path);
    peer_open();
    read_once(104 * S, "2");
    assert_false(reader.is_lost);
    assert_string_equal(view.message, "");
    assert_true(rate() < 0); /* its counters are others */
    read_once(106 * S, "4");
    assert_true(rate() == 1);
}

static void test_no_answer(void **state)
{
    (void)state;
    read_once(100 * S, "5");
    top_reader_step(&reader, 77, 102 * S);
    top_reader_step(&reader, 77, 112 * S - 1);
    assert_true(reader.is_asking);
    top_reader_step(&reader, 77, 112 * S);
    assert_non_null(strstr(view.message, "has not answered for 10 s"));
    assert_int_equal(reader.link.fd, -1);
}

/* At first somebody has mistyped something; later it is a matter of that reading. */
static void test_errors(void **state)
{
    (void)state;
    top_reader_step(&reader, 77, 100 * S);
    peer_accept();
    peer_say("error no server 'x'\n");
    top_reader_take(&reader, 100 * S);
    assert_int_equal(reader.result, CLIENT_FAILED);
    assert_string_equal(view.message, "no server 'x'");
    top_reader_fini(&reader);
    top_reader_init(&reader, peer.path, &options, &view);
    read_once(100 * S, "5");
    top_reader_step(&reader, 77, 102 * S);
    peer_say("ok\nok\nerror late\nok\n");
    top_reader_take(&reader, 102 * S);
    assert_int_equal(reader.result, CLIENT_OK);
    assert_string_equal(view.message, "late");
    assert_int_equal(reader.n_readings, 2);
    read_once(104 * S, "5");
    assert_string_equal(view.message, "");
}

static void test_turned_away(void **state)
{
    (void)state;
    top_reader_step(&reader, 77, 100 * S);
    peer_accept();
    peer_say("error permission denied: uid 5\n");
    peer_go();
    top_reader_take(&reader, 100 * S);
    assert_int_equal(reader.result, CLIENT_NOT_ALLOWED);
    assert_non_null(strstr(view.message, "uid 5"));
}

static void test_nobody_at_first(void **state)
{
    (void)state;
    reader.path = "/nosuch/socket";
    top_reader_step(&reader, 77, 100 * S);
    assert_int_equal(reader.result, CLIENT_NO_ANSWER);
}

static void test_pause(void **state)
{
    (void)state;
    read_once(100 * S, "5");
    top_reader_step(&reader, 77, 102 * S);
    top_reader_pause(&reader);
    assert_int_equal(reader.link.fd, -1);
    top_reader_step(&reader, 77, 1000 * S);
    assert_false(reader.is_asking);
    top_reader_resume(&reader, 1000 * S);
    read_once(1000 * S, "905");
    assert_true(rate() == 1);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_readings),        STAGED(test_long_interval), STAGED(test_lb4_goes_and_comes),
        STAGED(test_no_answer),       STAGED(test_errors),        STAGED(test_turned_away),
        STAGED(test_nobody_at_first), STAGED(test_pause),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
