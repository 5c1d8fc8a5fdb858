#include "lb4/probe/evict.h"

#include "lb4/probe/verdict.h"
#include "pool_rig.h"

static void open_with_rule(size_t n, bool is_probed)
{
    pool_open(n, is_probed);
    pool_plan()->evict = (struct conf_evict){3, 10000, 5000};
    pool_plan()->transports = CONF_TCP;
}

static bool trouble(size_t index, uint32_t n, uint64_t now_ns)
{
    for (uint32_t i = 0; i < n; i++)
        backend_note_trouble(pool_server(index), now_ns);
    return evict_count(&stage.prober, pool_probe(index), now_ns);
}

static void expect_note(size_t index, const char *text)
{
    char found[NOTE_TEXT_MAX];

    note_read(&pool_server(index)->health, found);
    assert_string_equal(found, text);
}

static void test_out_by_so_many_within(void **state)
{
    (void)state;
    open_with_rule(2, true);
    assert_false(trouble(0, 2, START_NS));
    assert_false(trouble(0, 2, START_NS + 11 * CLOCK_NS_PER_S));
    assert_false(pool_has(0, PICK_DOWN));
    assert_true(trouble(0, 1, START_NS + 12 * CLOCK_NS_PER_S));
    assert_true(pool_has(0, PICK_DOWN));
    assert_true(pool_probe(0)->evict_ns == START_NS + 17 * CLOCK_NS_PER_S);
    expect_note(0, "evicted: 3 clients could not reach it in 10s");
    stage_until_logged("server s/s1 is DOWN: evicted: 3 clients could not reach it in 10s; it was "
                       "up for 12s; 1 of 2 servers of s are up");
    assert_false(trouble(0, 9, START_NS + 13 * CLOCK_NS_PER_S)); /* it is out */
    pool_close();
}

/* A connect that began before the server came back is no news; nor is one without the rule. */
static void test_what_does_not_count(void **state)
{
    (void)state;
    open_with_rule(2, true);
    backend_note_back(pool_server(0), START_NS + 5);
    assert_false(trouble(0, 9, START_NS));
    pool_plan()->evict.n_failures = 0;
    assert_false(trouble(0, 9, START_NS + 9));
    assert_false(pool_has(0, PICK_DOWN));
    pool_close();
}

static void test_not_the_last_one(void **state)
{
    (void)state;
    open_with_rule(2, false);
    backend_set(pool_server(1), PICK_DOWN);
    for (int i = 0; i < 3; i++)
        assert_false(trouble(0, 3, START_NS));
    assert_false(pool_has(0, PICK_DOWN));
    stage_until_logged("server s/s1 would be evicted: 3 clients could not reach it in 10s; but it "
                       "is the last usable one of s, and stays");
    assert_true(pool_probe(0)->is_last_told);
    backend_clear(pool_server(1), PICK_DOWN);
    assert_true(trouble(0, 1, START_NS));
    pool_close();
}

/* Probes that are answered meanwhile change nothing; the first one after it decides alone. */
static void test_a_probe_brings_it_back(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_rule(2, true);
    probe = pool_probe(0);
    trouble(0, 3, START_NS);
    for (int i = 0; i < 5; i++)
        verdict_take(&stage.prober, probe, HEALTH_OK, START_NS + 1);
    assert_true(pool_has(0, PICK_DOWN));
    expect_note(0, "evicted: 3 clients could not reach it in 10s");
    evict_release(&stage.prober, probe, START_NS + 5 * CLOCK_NS_PER_S);
    assert_true(pool_has(0, PICK_DOWN));
    assert_true(probe->next_ns == START_NS + 5 * CLOCK_NS_PER_S);
    verdict_take(&stage.prober, probe, HEALTH_UNKNOWN, START_NS + 6 * CLOCK_NS_PER_S);
    assert_true(pool_has(0, PICK_DOWN));
    verdict_take(&stage.prober, probe, HEALTH_OK, START_NS + 7 * CLOCK_NS_PER_S);
    assert_false(pool_has(0, PICK_DOWN | PICK_SUSPECT));
    stage_until_logged("server s/s1 is UP; it was down for 7s; 2 of 2 servers of s are up");
    pool_close();
}

/* It is down in truth: `rise` successes, as always. */
static void test_a_probe_that_fails(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_rule(2, true);
    probe = pool_probe(0);
    trouble(0, 3, START_NS);
    evict_release(&stage.prober, probe, START_NS + 1);
    verdict_take(&stage.prober, probe, HEALTH_REFUSED, START_NS + 2);
    verdict_take(&stage.prober, probe, HEALTH_OK, START_NS + 3);
    assert_true(pool_has(0, PICK_DOWN));
    verdict_take(&stage.prober, probe, HEALTH_OK, START_NS + 4);
    assert_false(pool_has(0, PICK_DOWN));
    pool_close();
}

/* The others fall, too: better one that some could not reach than nobody. */
static void test_back_as_the_last_one(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_rule(3, true);
    probe = pool_probe(0);
    trouble(0, 3, START_NS);
    for (int i = 0; i < 3; i++)
        verdict_take(&stage.prober, pool_probe(1), HEALTH_FAILED, START_NS + 1);
    assert_true(probe->evict_ns == START_NS + 5 * CLOCK_NS_PER_S);
    for (int i = 0; i < 3; i++)
        verdict_take(&stage.prober, pool_probe(2), HEALTH_FAILED, START_NS + 2);
    assert_true(probe->evict_ns == START_NS + 2);
    evict_release(&stage.prober, probe, START_NS + 2);
    verdict_take(&stage.prober, probe, HEALTH_OK, START_NS + 3);
    assert_false(pool_has(0, PICK_DOWN));
    pool_close();
}

static void take(struct probe *probe, enum health_outcome outcome)
{
    probe->attempt.reason = "not well";
    verdict_take(&stage.prober, probe, outcome, START_NS + 1);
}

/* Clients met it before its probes did: its connections part all the same, once. */
static void test_probes_follow(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_rule(2, true);
    probe = pool_probe(0);
    pool_plan()->on_down.kind = CONF_FAREWELL_RESET;
    trouble(0, 3, START_NS);
    take(probe, HEALTH_FAILED);
    take(probe, HEALTH_FAILED);
    take(probe, HEALTH_OK);
    take(probe, HEALTH_FAILED);
    take(probe, HEALTH_UNKNOWN);
    take(probe, HEALTH_FAILED);
    assert_true(backend_farewell(pool_server(0)) == 0);
    expect_note(0, "evicted: 3 clients could not reach it in 10s");
    evict_release(&stage.prober, probe, START_NS + 1); /* nor does that forget them */
    take(probe, HEALTH_FAILED);
    assert_true(backend_farewell(pool_server(0)) != 0);
    expect_note(0, "not well");
    backend_set_farewell(pool_server(0), 0);
    for (int i = 0; i < 3; i++)
        take(probe, HEALTH_FAILED);
    assert_true(backend_farewell(pool_server(0)) == 0);
    take(probe, HEALTH_OK);
    take(probe, HEALTH_OK);
    trouble(0, 3, START_NS + 2);
    take(probe, HEALTH_REFUSED);
    assert_true(backend_farewell(pool_server(0)) != 0);
    pool_close();
}

static void test_a_client_tries_it(void **state)
{
    struct probe *probe;

    (void)state;
    open_with_rule(2, false);
    probe = pool_probe(0);
    trouble(0, 3, START_NS);
    evict_release(&stage.prober, probe, START_NS + 5 * CLOCK_NS_PER_S);
    assert_false(pool_has(0, PICK_DOWN));
    assert_true(pool_has(0, PICK_SUSPECT) && pool_has(0, PICK_TRIAL));
    expect_note(0, "its eviction is over, a client may try it");
    assert_false(probe->is_prompted); /* or its next trouble would not be noticed */
    pool_close();
}

/* Out and back in a hold, again and again: told once, and what it is when the hold is over. */
static void test_told_once_in_a_hold(void **state)
{
    struct probe *probe;
    uint64_t now_ns = START_NS;

    (void)state;
    open_with_rule(2, false);
    probe = pool_probe(0);
    for (int i = 0; i < 4; i++) { /* the hold is 2 * (3 + 2) s */
        assert_true(trouble(0, 3, now_ns += CLOCK_NS_PER_S));
        evict_release(&stage.prober, probe, now_ns += CLOCK_NS_PER_S);
        assert_false(pool_has(0, PICK_DOWN));
        assert_int_equal(probe->health.is_flapping, i > 0);
    }
    assert_true(probe->evict_ns == START_NS + 11 * CLOCK_NS_PER_S);
    evict_release(&stage.prober, probe, START_NS + 11 * CLOCK_NS_PER_S);
    assert_false(probe->health.is_flapping);
    assert_true(probe->evict_ns == UINT64_MAX);
    stage_until_logged("server s/s1 flaps no more: it fell 4 times in 10s");
    pool_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(test_out_by_so_many_within), POOLED(test_what_does_not_count),
        POOLED(test_not_the_last_one),      POOLED(test_a_probe_brings_it_back),
        POOLED(test_a_probe_that_fails),    POOLED(test_a_client_tries_it),
        POOLED(test_back_as_the_last_one),  POOLED(test_probes_follow),
        POOLED(test_told_once_in_a_hold),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
