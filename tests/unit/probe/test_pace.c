#include "lb4/probe/pace.h"

#include "pool_rig.h"

static const uint64_t FAST_NS = 250 * 1000000ull;

/* n servers of which the first is down; the others, too, if `all`. */
static void open_down(size_t n, bool all)
{
    pool_open(n, true);
    stage.checks[0].fast_ns = FAST_NS;
    for (size_t i = 0; i < n; i++) {
        struct probe *probe = pool_probe(i);

        schedule_slots_init(&probe->slots, CLOCK_NS_PER_S, 0, i, 0);
        probe->started_ns = START_NS;
        if (i > 0 && !all)
            continue;
        backend_set(pool_server(i), PICK_DOWN);
        probe->health.is_usable = false;
    }
}

static uint64_t next_after(const struct probe *probe, uint64_t from_ns)
{
    struct probe copy = *probe;

    copy.started_ns = from_ns;
    return pace_next(&stage.prober, &copy, HEALTH_FAILED, 0) - from_ns;
}

/* How often it is probed in an hour. */
static uint64_t count_in_an_hour(const struct probe *probe)
{
    const uint64_t end_ns = START_NS + 3600 * CLOCK_NS_PER_S;
    uint64_t n = 0;

    for (uint64_t at_ns = START_NS; at_ns < end_ns; n++)
        at_ns += next_after(probe, at_ns);
    return n;
}

static void test_at_the_interval(void **state)
{
    (void)state;
    open_down(2, false);
    assert_false(pace_is_awaited(pool_probe(0)));
    assert_false(pace_is_awaited(pool_probe(1)));
    assert_in_range(count_in_an_hour(pool_probe(0)), 3600, 3640);
    assert_in_range(count_in_an_hour(pool_probe(1)), 3600, 3640);
    pool_close();
}

static void test_fast_while_nobody_is_up(void **state)
{
    (void)state;
    open_down(2, true);
    assert_true(pace_is_awaited(pool_probe(0)));
    assert_in_range(count_in_an_hour(pool_probe(0)), 4 * 3600, 4 * 3640);
    assert_true(next_after(pool_probe(0), START_NS) <= FAST_NS);
    /* Together they went down, apart they are probed. */
    assert_true(next_after(pool_probe(0), START_NS) != next_after(pool_probe(1), START_NS));
    backend_clear(pool_server(1), PICK_DOWN);
    assert_in_range(count_in_an_hour(pool_probe(0)), 3600, 3640);
    backend_set(pool_server(1), PICK_DRAIN); /* up, but not for new clients */
    assert_true(pace_is_awaited(pool_probe(0)));
    pool_close();
}

/* Whom no answer would bring back: the operator's, one that is evicted, one that is leaving. */
static void test_whom_nobody_awaits(void **state)
{
    static const uint32_t wishes[] = {PICK_DRAIN, PICK_MAINT, PICK_GONE};

    (void)state;
    open_down(1, true);
    for (size_t i = 0; i < sizeof(wishes) / sizeof(*wishes); i++) {
        backend_set(pool_server(0), wishes[i]);
        assert_false(pace_is_awaited(pool_probe(0)));
        backend_clear(pool_server(0), wishes[i]);
    }
    pool_probe(0)->is_evicted = true;
    assert_false(pace_is_awaited(pool_probe(0)));
    pool_probe(0)->is_evicted = false;
    assert_true(pace_is_awaited(pool_probe(0)));
    pool_close();
}

/* Many that are down cost no more than many that are up. */
static void test_many_go_slower(void **state)
{
    uint64_t n_most = 3600 * 4 + 160;

    (void)state;
    open_down(1, true);
    for (size_t n = PACE_FAST_MAX; n <= 5 * (size_t)PACE_FAST_MAX; n += PACE_FAST_MAX) {
        stage.prober.n_probes = n;
        assert_true(count_in_an_hour(pool_probe(0)) * n <= n_most * PACE_FAST_MAX ||
                    n > 4 * (size_t)PACE_FAST_MAX);
    }
    assert_in_range(count_in_an_hour(pool_probe(0)), 3600, 3640);
    stage.prober.n_probes = PACE_FAST_MAX;
    pool_probe(0)->attempt.check = &stage.checks[0];
    stage.checks[0].kind = CONF_CHECK_EXEC;
    assert_in_range(count_in_an_hour(pool_probe(0)), 3600, 3640);
    stage.prober.n_probes = 1;
    pool_close();
}

/* Two that have gone down before are not left to their slots; one that is tried now is. */
static void test_the_last_one_hurries_the_others(void **state)
{
    (void)state;
    open_down(3, true);
    pool_probe(0)->next_ns = START_NS + 3600 * CLOCK_NS_PER_S;
    pool_probe(1)->next_ns = START_NS + 1;
    pool_probe(2)->next_ns = UINT64_MAX;
    backend_clear(pool_server(2), PICK_DOWN);
    pace_hurry(&stage.prober, &stage.services[0], START_NS);
    assert_true(pool_probe(0)->next_ns == START_NS + 3600 * CLOCK_NS_PER_S);
    backend_set(pool_server(2), PICK_DOWN);
    pace_hurry(&stage.prober, &stage.services[0], START_NS);
    assert_in_range(pool_probe(0)->next_ns, START_NS + 1, START_NS + FAST_NS);
    assert_true(pool_probe(0)->entry.place != SCHEDULE_NOWHERE);
    assert_true(pool_probe(1)->next_ns == START_NS + 1);
    assert_true(pool_probe(2)->next_ns == UINT64_MAX);
    pool_close();
}

static void test_what_comes_before(void **state)
{
    struct probe *probe;

    (void)state;
    open_down(2, true);
    probe = pool_probe(0);
    assert_true(pace_next(&stage.prober, probe, HEALTH_UNKNOWN, 0) == START_NS + FAST_NS);
    stage.checks[0].fast_ns = stage_ms(1);
    assert_true(pace_next(&stage.prober, probe, HEALTH_UNKNOWN, 0) == START_NS + stage_ms(100));
    probe->health.n_against = 1;
    assert_true(pace_next(&stage.prober, probe, HEALTH_OK, 0) == START_NS + stage_ms(1));
    pool_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(test_at_the_interval),
        POOLED(test_fast_while_nobody_is_up),
        POOLED(test_whom_nobody_awaits),
        POOLED(test_many_go_slower),
        POOLED(test_the_last_one_hurries_the_others),
        POOLED(test_what_comes_before),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
