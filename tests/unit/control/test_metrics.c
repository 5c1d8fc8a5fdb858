#include "lb4/control/metrics.h"

#include "command_rig.h"

static const char *compose(void)
{
    reply_fini(&rig.reply);
    metrics_write(&rig.from, &rig.reply);
    assert_false(rig.reply.is_over);
    assert_true(rig.reply.n_bytes < sizeof(rig.text));
    return rig_take();
}

static void expect(const char *line)
{
    const char *found = strstr(compose(), line);

    if (!found || (found > rig.text && found[-1] != '\n') || found[strlen(line)] != '\n')
        fail_msg("no line '%s'", line);
}

/* The names of the contract, from the start. */
static void test_names(void **state)
{
    static const char *const names[] = {
        "lb4_connections_active{service=\"db\"} 0",
        "lb4_connections_total{service=\"db\"} 0",
        "lb4_closed_total{service=\"db\",reason=\"client_fin\"} 0",
        "lb4_closed_total{service=\"one\",reason=\"error\"} 0",
        "lb4_bytes_total{service=\"db\",direction=\"in\"} 0",
        "lb4_bytes_total{service=\"db\",direction=\"out\"} 0",
        "lb4_server_up{service=\"db\",server=\"a\"} 1",
        "lb4_server_connections_active{service=\"db\",server=\"a\"} 0",
        "lb4_server_connections_total{service=\"db\",server=\"b\"} 0",
        "lb4_server_connect_failures_total{service=\"one\",server=\"a\"} 0",
        "lb4_server_checks_total{service=\"db\",server=\"a\",result=\"ok\"} 0",
        "lb4_server_checks_total{service=\"db\",server=\"a\",result=\"failed\"} 0",
        "lb4_server_checks_total{service=\"db\",server=\"a\",result=\"unknown\"} 0",
        "lb4_server_connect_seconds_count{service=\"db\",server=\"a\"} 0",
        "lb4_redispatches_total{service=\"db\"} 0",
        "lb4_relay_bytes_total{path=\"splice\"} 0",
        "lb4_relay_bytes_total{path=\"copy\"} 0",
        "lb4_pipes{state=\"idle\"} 0",
        "lb4_pipes{state=\"lent\"} 0",
        "lb4_udp_sessions_active{service=\"db\"} 0",
        "lb4_udp_datagrams_total{service=\"db\",direction=\"in\"} 0",
        "lb4_udp_dropped_total{service=\"db\",reason=\"kernel\"} 0",
        "lb4_reloads_total{result=\"ok\"} 0",
        "lb4_reloads_total{result=\"failed\"} 0",
        "lb4_worker_connections_active{worker=\"1\"} 0",
        "lb4_connections_limit 400",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect(names[i]);
    assert_non_null(strstr(compose(), "lb4_build_info{version=\""));
    assert_null(strstr(rig.text, "reason=\"none\""));
    assert_null(strstr(rig.text, "lb4_udp_sessions_active{service=\"one\"}"));
}

/* Every family has its head right before its samples, and comes once. */
static void test_families(void **state)
{
    const char *at = compose();
    char name[100] = "";
    size_t n_families = 0;

    (void)state;
    while (*at) {
        const char *end = strchr(at, '\n');
        char found[100];

        assert_non_null(end);
        if (sscanf(at, "# TYPE %99s", found) == 1) {
            char again[120];

            snprintf(again, sizeof(again), "# TYPE %s ", found);
            assert_null(strstr(end, again));
            assert_string_equal(found, name);
            n_families++;
        } else if (sscanf(at, "# HELP %99s", found) == 1) {
            strcpy(name, found);
        } else {
            assert_int_equal(strncmp(at, name, strlen(name)), 0);
        }
        at = end + 1;
    }
    assert_true(n_families > 25);
}

static void test_numbers(void **state)
{
    struct stats_service *stats = &rig.stats.services[0];

    (void)state;
    stats_add(&stats->connections, 9);
    stats_add(&stats->closed[CLOSE_CLIENT_FIN], 3);
    stats_add(&stats->closed[CLOSE_IDLE], 2);
    stats_add(&stats->bytes_in, 100);
    stats_add(&stats->bytes_out, 200);
    stats_add(&stats->udp.datagrams_out, 7);
    stats_add(&stats->udp.dropped[UDP_DROP_LIMIT], 6);
    histogram_add(&stats->session_ns, &histogram_session, 1500000000);
    stats_set(&rig.stats.worker.pipes_lent, 5);
    rig.reload.n_failed = 4;
    expect("lb4_connections_active{service=\"db\"} 4");
    expect("lb4_connections_total{service=\"db\"} 9");
    expect("lb4_closed_total{service=\"db\",reason=\"idle\"} 2");
    expect("lb4_bytes_total{service=\"db\",direction=\"out\"} 200");
    expect("lb4_udp_datagrams_total{service=\"db\",direction=\"out\"} 7");
    expect("lb4_udp_dropped_total{service=\"db\",reason=\"limit\"} 6");
    expect("lb4_session_seconds_sum{service=\"db\"} 1.500000000");
    expect("lb4_session_seconds_bucket{service=\"db\",le=\"1\"} 0");
    expect("lb4_session_seconds_bucket{service=\"db\",le=\"10\"} 1");
    expect("lb4_pipes{state=\"lent\"} 5");
    expect("lb4_reloads_total{result=\"failed\"} 4");
}

/* Nobody is woken by a server that was taken out. */
static void test_a_server_that_has_left(void **state)
{
    (void)state;
    rig_server(0, 0)->state = BACKEND_GONE;
    expect("lb4_server_connections_active{service=\"db\",server=\"a\"} 0");
    assert_null(strstr(rig.text, "lb4_server_up{service=\"db\",server=\"a\"}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_names),
        RIGGED(test_families),
        RIGGED(test_numbers),
        RIGGED(test_a_server_that_has_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
