#include "lb4/probe/slow_start.h"

#include "pool_rig.h"

static uint32_t part_of(size_t index)
{
    return pick_part(backend_standing(pool_server(index)));
}

static void open_with_ramps(size_t n, enum conf_balance policy)
{
    pool_open(n, true);
    pool_plan()->slow_start_ns = 32 * CLOCK_NS_PER_S;
    pool_plan()->balance = policy;
}

static void test_steps(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_ramps(2, CONF_BALANCE_ROUNDROBIN);
    probe = pool_probe(0);
    slow_start_begin(probe, START_NS);
    assert_int_equal(part_of(0), 1);
    assert_int_equal(stage.services[0].n_ramped, 1);
    for (uint32_t i = 1; i < 32; i++) {
        assert_true(probe->ramp_ns <= START_NS + (i + 1) * CLOCK_NS_PER_S);
        slow_start_step(probe, START_NS + i * CLOCK_NS_PER_S);
        assert_int_equal(part_of(0), i);
    }
    slow_start_step(probe, START_NS + 32 * CLOCK_NS_PER_S);
    assert_int_equal(part_of(0), 0);
    assert_int_equal(stage.services[0].n_ramped, 0);
    assert_true(probe->ramp_ns == UINT64_MAX);
    assert_int_equal(backend_standing(pool_server(0)), 1);
    pool_close();
}

/* Without the word, under source, and where nobody of its tier serves meanwhile. */
static void test_none(void **state)
{
    (void)state;
    open_with_ramps(3, CONF_BALANCE_SOURCE);
    slow_start_begin(pool_probe(0), START_NS);
    assert_int_equal(part_of(0), 0);
    pool_plan()->balance = CONF_BALANCE_RANDOM;
    backend_set(pool_server(1), PICK_DOWN);
    backend_set(pool_server(2), PICK_BACKUP);
    slow_start_begin(pool_probe(0), START_NS);
    assert_int_equal(part_of(0), 0);
    backend_clear(pool_server(1), PICK_DOWN);
    slow_start_begin(pool_probe(0), START_NS);
    assert_int_equal(part_of(0), 1);
    slow_start_end(pool_probe(0));
    slow_start_end(pool_probe(0));
    assert_int_equal(stage.services[0].n_ramped, 0);
    pool_plan()->slow_start_ns = 0;
    slow_start_begin(pool_probe(0), START_NS);
    assert_int_equal(stage.services[0].n_ramped, 0);
    pool_close();
}

/* A reload shortens it, or takes the word away. */
static void test_reload(void **state)
{
    (void)state;
    open_with_ramps(2, CONF_BALANCE_RANDOM);
    slow_start_begin(pool_probe(0), START_NS);
    pool_plan()->slow_start_ns = 4 * CLOCK_NS_PER_S;
    slow_start_step(pool_probe(0), START_NS + CLOCK_NS_PER_S);
    assert_int_equal(part_of(0), 8);
    pool_plan()->slow_start_ns = 0;
    slow_start_step(pool_probe(0), START_NS + 2 * CLOCK_NS_PER_S);
    assert_int_equal(part_of(0), 0);
    slow_start_begin(pool_probe(1), START_NS);
    assert_int_equal(stage.services[0].n_ramped, 0);
    pool_close();
}

/* leastconn: not let go before it holds what the others hold. */
static void test_catches_up(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_ramps(3, CONF_BALANCE_LEASTCONN);
    probe = pool_probe(0);
    stage.slots[0][1].active = 100;
    stage.slots[0][2].active = 50;
    slow_start_begin(probe, START_NS);
    for (int i = 0; i < 3; i++) {
        slow_start_step(probe, START_NS + 40 * CLOCK_NS_PER_S);
        assert_int_equal(part_of(0), PICK_PART_LEVEL);
        assert_true(probe->ramp_ns > START_NS);
    }
    stage.slots[0][0].active = 80;
    slow_start_step(probe, START_NS + 50 * CLOCK_NS_PER_S);
    assert_int_equal(part_of(0), 0);
    assert_int_equal(stage.services[0].n_ramped, 0);
    pool_close();
}

/* Full, or away, or behind those who serve: it gets no nearer to what the others hold. */
static void test_does_not_catch_up_for_ever(void **state)
{
    static const uint32_t flags[] = {PICK_FULL, PICK_DRAIN, PICK_MAINT, PICK_GONE};

    (void)state;
    open_with_ramps(4, CONF_BALANCE_LEASTCONN);
    stage.slots[0][1].active = 100;
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        slow_start_begin(pool_probe(0), START_NS);
        backend_set(pool_server(0), flags[i]);
        slow_start_step(pool_probe(0), START_NS + 40 * CLOCK_NS_PER_S);
        assert_int_equal(part_of(0), 0);
        backend_clear(pool_server(0), flags[i]);
    }
    backend_set(pool_server(2), PICK_BACKUP);
    backend_set(pool_server(3), PICK_BACKUP);
    slow_start_begin(pool_probe(2), START_NS);
    assert_int_equal(part_of(2), 1);
    slow_start_step(pool_probe(2), START_NS + 40 * CLOCK_NS_PER_S);
    assert_int_equal(part_of(2), 0);
    assert_int_equal(stage.services[0].n_ramped, 0);
    pool_close();
}

/* The steady one falls, the others carry all there is: it does not come before them. */
static void test_one_after_the_other(void **state)
{
    (void)state;
    open_with_ramps(2, CONF_BALANCE_RANDOM);
    slow_start_begin(pool_probe(0), START_NS);
    slow_start_step(pool_probe(0), START_NS + 5 * CLOCK_NS_PER_S);
    backend_set(pool_server(1), PICK_DOWN);
    slow_start_begin(pool_probe(1), START_NS + 6 * CLOCK_NS_PER_S);
    backend_clear(pool_server(1), PICK_DOWN);
    assert_int_equal(part_of(0), 5);
    assert_int_equal(part_of(1), 1);
    pool_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(test_steps),
        POOLED(test_none),
        POOLED(test_reload),
        POOLED(test_catches_up),
        POOLED(test_does_not_catch_up_for_ever),
        POOLED(test_one_after_the_other),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
