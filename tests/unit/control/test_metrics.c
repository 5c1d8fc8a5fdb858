#include "lb4/control/metrics.h"

#include "guard_rig.h"

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

/* Nothing is told of sources where nothing is known of any. */
static void test_sources(void **state)
{
    const struct conf_guard guard = {
        .per_source = 1, .ban = {.n_refused = 1, .within_ms = 60000, .for_ms = 3600000}};

    (void)state;
    assert_null(strstr(compose(), "lb4_sources"));
    assert_null(strstr(rig.text, "lb4_bans"));
    guard_give(&guard);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_PER_SOURCE);
    guarded()->guard.sources->n_evicted = 5;
    guarded()->guard.sources->n_shared = 6;
    expect("lb4_sources{service=\"db\"} 1");
    expect("lb4_sources_limit{service=\"db\"} 524288");
    expect("lb4_sources_evicted_total{service=\"db\"} 5");
    expect("lb4_sources_shared_total{service=\"db\"} 6");
    expect("lb4_bans{service=\"db\"} 1");
    expect("lb4_bans_total{service=\"db\"} 1");
    assert_null(strstr(compose(), "lb4_sources{service=\"one\"}"));
    for (int i = 0; i < REFUSALS; i++) {
        char line[100];

        snprintf(line, sizeof(line), "lb4_refused_total{service=\"db\",reason=\"%s\"} 0",
                 refusal_word((enum refusal)i));
        expect(line);
    }
    guard_all_leave();
}

/* Each counter has a number of its own, and is told under its own name. */
static void test_each_its_own(void **state)
{
    struct stats_service *stats = &rig.stats.services[0];
    struct stats_server *server = &rig.stats.servers[0];
    const struct {
        stats_counter *counter;
        const char *series;
    } cases[] = {
        {&stats->bytes_in, "lb4_bytes_total{service=\"db\",direction=\"in\"}"},
        {&stats->bytes_out, "lb4_bytes_total{service=\"db\",direction=\"out\"}"},
        {&stats->redispatches, "lb4_redispatches_total{service=\"db\"}"},
        {&stats->session_bytes.sum, "lb4_session_bytes_sum{service=\"db\"}"},
        {&stats->udp.datagrams_in, "lb4_udp_datagrams_total{service=\"db\",direction=\"in\"}"},
        {&stats->udp.datagrams_out, "lb4_udp_datagrams_total{service=\"db\",direction=\"out\"}"},
        {&stats->udp.bytes_in, "lb4_udp_bytes_total{service=\"db\",direction=\"in\"}"},
        {&stats->udp.bytes_out, "lb4_udp_bytes_total{service=\"db\",direction=\"out\"}"},
        {&stats->udp.rebinds, "lb4_udp_rebinds_total{service=\"db\"}"},
        {&stats->udp.sessions, "lb4_udp_sessions_total{service=\"db\"}"},
        {&server->connections, "lb4_server_connections_total{service=\"db\",server=\"a\"}"},
        {&server->connect_failures,
         "lb4_server_connect_failures_total{service=\"db\",server=\"a\"}"},
        {&rig.prober.checks[0].ok,
         "lb4_server_checks_total{service=\"db\",server=\"a\",result=\"ok\"}"},
        {&rig.prober.checks[0].failed,
         "lb4_server_checks_total{service=\"db\",server=\"a\",result=\"failed\"}"},
        {&rig.prober.checks[0].unknown,
         "lb4_server_checks_total{service=\"db\",server=\"a\",result=\"unknown\"}"},
        {&rig.stats.worker.relayed_splice, "lb4_relay_bytes_total{path=\"splice\"}"},
        {&rig.stats.worker.relayed_copy, "lb4_relay_bytes_total{path=\"copy\"}"},
        {&rig.stats.worker.pipes_idle, "lb4_pipes{state=\"idle\"}"},
        {&rig.stats.worker.pipes_lent, "lb4_pipes{state=\"lent\"}"},
        {&rig.stats.worker.connections, "lb4_worker_connections_total{worker=\"1\"}"},
        {&rig.stats.worker.handed_over, "lb4_worker_handed_over_total{worker=\"1\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        stats_add(cases[i].counter, 1000 + i);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[200];

        snprintf(line, sizeof(line), "%s %zu", cases[i].series, 1000 + i);
        expect(line);
    }
}

/* What only rises is a counter, by its name too. */
static void test_types(void **state)
{
    const char *at = compose();
    char name[100];
    char type[20];

    (void)state;
    while ((at = strstr(at, "# TYPE "))) {
        bool is_total;

        assert_int_equal(sscanf(at, "# TYPE %99s %19s", name, type), 2);
        is_total = strcmp(name + strlen(name) - 6, "_total") == 0;
        if (strcmp(type, "histogram") == 0)
            assert_true(strstr(name, "_seconds") || strstr(name, "_bytes"));
        else
            assert_string_equal(type, is_total ? "counter" : "gauge");
        at++;
    }
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
        RIGGED(test_sources),
        RIGGED(test_numbers),
        RIGGED(test_each_its_own),
        RIGGED(test_types),
        RIGGED(test_a_server_that_has_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
