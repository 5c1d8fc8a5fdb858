#include "lb4/control/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct reply reply;

static void expect(const char *text)
{
    reply_append(&reply, "", 1);
    assert_string_equal(reply.bytes, text);
    reply_fini(&reply);
}

static void test_samples(void **state)
{
    (void)state;
    reply_init(&reply, 4096);
    exposition_family(&reply, "lb4_x", "gauge", "What it is.");
    exposition_sample(&reply, "lb4_x", "", "", 0);
    exposition_sample(&reply, "lb4_x", "a=\"1\"", "", UINT64_MAX);
    exposition_sample(&reply, "lb4_x", "", "b=\"2\"", 10);
    exposition_sample(&reply, "lb4_x", "a=\"1\"", "b=\"2\"", 123);
    expect("# HELP lb4_x What it is.\n# TYPE lb4_x gauge\nlb4_x 0\n"
           "lb4_x{a=\"1\"} 18446744073709551615\nlb4_x{b=\"2\"} 10\nlb4_x{a=\"1\",b=\"2\"} 123\n");
}

static void test_labels(void **state)
{
    char labels[64] = "";

    (void)state;
    exposition_label(labels, sizeof(labels), "a", "plain");
    exposition_label(labels, sizeof(labels), "b", "\"\\\n");
    assert_string_equal(labels, "a=\"plain\",b=\"\\\"\\\\\\n\"");
}

/* A label is whole or not there, whatever the room. */
static void test_labels_that_do_not_fit(void **state)
{
    const char *whole = "a=\"x\\\"y\"";

    (void)state;
    for (size_t cap = 1; cap < 20; cap++) {
        char labels[20];

        memset(labels, '#', sizeof(labels));
        labels[0] = '\0';
        exposition_label(labels, cap, "a", "x\"y");
        assert_string_equal(labels, cap > strlen(whole) ? whole : "");
        for (size_t i = cap; i < sizeof(labels); i++)
            assert_int_equal(labels[i], '#');
    }
}

static void test_histogram(void **state)
{
    struct histogram_sum sum = {.counts = {1, 0, 2, [HISTOGRAM_BOUNDS] = 4}, .sum = 2000000001};

    (void)state;
    reply_init(&reply, 4096);
    exposition_histogram(&reply, "lb4_h", "a=\"1\"", &histogram_connect, &sum);
    expect("lb4_h_bucket{a=\"1\",le=\"0.0005\"} 1\nlb4_h_bucket{a=\"1\",le=\"0.001\"} 1\n"
           "lb4_h_bucket{a=\"1\",le=\"0.002\"} 3\nlb4_h_bucket{a=\"1\",le=\"0.005\"} 3\n"
           "lb4_h_bucket{a=\"1\",le=\"0.01\"} 3\nlb4_h_bucket{a=\"1\",le=\"0.05\"} 3\n"
           "lb4_h_bucket{a=\"1\",le=\"0.1\"} 3\nlb4_h_bucket{a=\"1\",le=\"0.5\"} 3\n"
           "lb4_h_bucket{a=\"1\",le=\"1\"} 3\nlb4_h_bucket{a=\"1\",le=\"10\"} 3\n"
           "lb4_h_bucket{a=\"1\",le=\"+Inf\"} 7\nlb4_h_sum{a=\"1\"} 2.000000001\n"
           "lb4_h_count{a=\"1\"} 7\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_labels_that_do_not_fit),
        cmocka_unit_test(test_histogram),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
