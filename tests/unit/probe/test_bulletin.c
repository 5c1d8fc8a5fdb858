/* What only the loss of a whole service tells; the sentences about servers are in test_prober.c. */
#include "lb4/probe/bulletin.h"

#include "pool_rig.h"

static void test_counts(void **state)
{
    (void)state;
    pool_open(4, true);
    backend_set(pool_server(0), PICK_DOWN);
    backend_set(pool_server(1), PICK_GONE);
    backend_set(pool_server(2), PICK_DRAIN);
    assert_int_equal(bulletin_count_up(&stage.services[0]), 1);
    assert_int_equal(bulletin_count_all(&stage.services[0]), 3);
    pool_close();
}

static void test_loss_is_told_once_in_a_hold(void **state)
{
    const struct probe *probe;

    (void)state;
    pool_open(1, true);
    probe = pool_probe(0);
    pool_plan()->all_down = CONF_ALL_DOWN_ANY;
    bulletin_service(&stage.prober, probe, CLOCK_NS_PER_S, START_NS);
    assert_false(stage.prober.services_told[0].has_told);
    backend_set(pool_server(0), PICK_DOWN);
    bulletin_service(&stage.prober, probe, CLOCK_NS_PER_S, START_NS);
    stage_until_logged("service s: no server is up, clients are sent to those that are down, as a "
                       "last resort (all-down any)");
    backend_clear(pool_server(0), PICK_DOWN);
    bulletin_service(&stage.prober, probe, CLOCK_NS_PER_S, START_NS + 500 * CLOCK_NS_PER_MS);
    stage_until_logged("service s: served again, after 500ms");
    backend_set(pool_server(0), PICK_DOWN);
    bulletin_service(&stage.prober, probe, CLOCK_NS_PER_S, START_NS + 900 * CLOCK_NS_PER_MS);
    assert_false(stage.prober.services_told[0].is_told_lost);
    bulletin_service(&stage.prober, probe, CLOCK_NS_PER_S, START_NS + CLOCK_NS_PER_S);
    assert_true(stage.prober.services_told[0].is_told_lost);
    pool_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(test_counts),
        POOLED(test_loss_is_told_once_in_a_hold),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
