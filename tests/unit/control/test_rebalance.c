#include "lb4/control/rebalance.h"
#include "lb4/shared/service_table.h"

#include "lines_rig.h"

enum { STEP_MS = 250, TAIL_MS = 2000 };

static const uint64_t T0 = 1000 * CLOCK_NS_PER_S; /* the tests' own clock */

/* --- excess ----------------------------------------------------------------------------------- */

static const char FOUR[] = "service a {\n listen tcp 127.0.0.1:1\n check none\n"
                           " server s1 10.0.0.1:1\n server s2 10.0.0.2:1\n"
                           " server s3 10.0.0.3:1 weight 2\n server s4 10.0.0.4:1 backup\n}\n";

static void test_excess(void **state)
{
    static const struct {
        uint32_t active[4];
        uint32_t flags[4];
        uint32_t excess;
    } cases[] = {
        {{0, 0, 0, 0}, {0}, 0},
        {{5, 5, 10, 0}, {0}, 0},
        {{10, 10, 0, 0}, {0}, 10}, /* shares 5, 5, 10 */
        {{1, 0, 0, 0}, {0}, 0},    /* a share is rounded up */
        {{3, 1, 1, 0}, {0}, 1},    /* 1.25 is 2 */
        {{0, 0, 20, 0}, {0}, 10},  /* its weight gives it 10 */
        {{20, 0, 0, 0}, {0, PICK_DOWN, PICK_DOWN, 0}, 0},
        {{20, 0, 0, 0}, {0, 0, PICK_DOWN, 0}, 10},
        {{20, 0, 0, 0}, {0, PICK_SUSPECT, PICK_MAINT, 0}, 0},
        {{20, 0, 0, 0}, {0, PICK_NEW, PICK_DRAIN, 0}, 0},
        {{20, 0, 0, 0}, {PICK_DRAIN, 0, 0, 0}, 0}, /* it goes by itself */
        {{4, 4, 8, 90}, {0}, 0},                   /* nor does a backup count */
        {{9, 9, 9, 9}, {PICK_DOWN, PICK_DOWN, PICK_DOWN, 0}, 0},
    };
    struct service_table services;
    struct conf conf;

    (void)state;
    conf_text_accept(FOUR, &conf);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(service_table_init(&services, &conf), 0);
        for (size_t k = 0; k < 4; k++) {
            struct backend *backend = &services.services[0].backends[k];

            backend_set(backend, cases[i].flags[k]);
            for (uint32_t n = 0; n < cases[i].active[k]; n++)
                backend_acquire(backend);
        }
        if (rebalance_excess(&services.services[0]) != cases[i].excess)
            fail_msg("case %zu: %u", i, rebalance_excess(&services.services[0]));
        service_table_fini(&services);
    }
    conf_free(&conf);
}

/* --- with connections ------------------------------------------------------------------------- */

/* All connections are on the first server when the second comes. */
static struct sweeper sweeper;
static struct rebalance the_rebalance;
static struct rebalance *const rebalance = &the_rebalance;

static const char *conf_with(const char *name, bool has_second)
{
    static char text[RIG_TEXT_MAX];
    char second[100] = "";

    if (has_second)
        snprintf(second, sizeof(second), " server s2 127.0.0.1:%u\n", addr_port(&lines.at[1]));
    snprintf(text, sizeof(text),
             "service %s {\n listen tcp 127.0.0.1:%u\n check none\n"
             " server s1 127.0.0.1:%u\n%s}\n",
             name, addr_port(&lines.front), addr_port(&lines.at[0]), second);
    return text;
}

static int setup(void **state)
{
    (void)state;
    lines_listen();
    rig_open(conf_with("a", false));
    sweeper_init(&sweeper, &rig.runtime);
    rebalance_init(rebalance, &rig.runtime, &sweeper);
    for (int i = 0; i < LINES; i++)
        lines_add(i, 0);
    rig_change(conf_with("a", true));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lines_hang_up();
    threads_stop(&rig.threads);
    rebalance_fini(rebalance);
    sweeper_fini(&sweeper);
    rig_close();
    lines_close();
    return 0;
}

/* A step at this time, and what it has begun. Returns how many were ended. */
static size_t step(uint64_t now_ns)
{
    struct patience patience = patience_new();
    size_t n_before = rebalance->n_ended;

    rebalance_step(rebalance, now_ns, true);
    while (rebalance->sweep > 0 && patience_holds(&patience)) {
        assert_int_equal(rebalance_due_ns(rebalance), UINT64_MAX);
        rig_wait();
        /* No next one: what is due later is not due now. */
        rebalance_step(rebalance, now_ns, true);
    }
    return rebalance->n_ended - n_before;
}

/* Clients that were reset connect anew, and find the server that has come. Returns how many. */
static size_t reconnect(void)
{
    size_t n = 0;

    for (int i = 0; i < LINES; i++) {
        if (sockets_read(lines.clients[i], 0, 1) != -ECONNRESET)
            continue;
        close(lines.clients[i]);
        close(lines.accepted[i]);
        lines_add(i, 1);
        n++;
    }
    return n;
}

static void start(uint64_t over_ms)
{
    assert_true(rebalance_start(rebalance, rig_service("a"), over_ms * CLOCK_NS_PER_MS, T0));
    assert_int_equal(rebalance_due_ns(rebalance), T0);
}

static uint64_t at_ms(uint64_t ms)
{
    return T0 + ms * CLOCK_NS_PER_MS;
}

static void test_at_once(void **state)
{
    (void)state;
    assert_int_equal(rebalance_excess(rig_service("a")), 3);
    start(1);
    assert_false(rebalance_start(rebalance, rig_service("a"), 1, T0));
    assert_int_equal(step(T0 - 1), 0);
    assert_int_equal(step(T0), 0);
    assert_int_equal(rebalance_due_ns(rebalance), at_ms(STEP_MS));
    assert_int_equal(step(at_ms(STEP_MS)), 3);
    assert_int_equal(reconnect(), 3);
    assert_int_equal(rebalance_excess(rig_service("a")), 0);
    assert_true(rebalance->is_on);
    assert_int_equal(step(rebalance_due_ns(rebalance)), 0);
    assert_false(rebalance->is_on);
    assert_int_equal(rebalance_due_ns(rebalance), UINT64_MAX);
    assert_false(sweeper.is_busy);
    /* And another one. */
    start(1);
    assert_int_equal(rebalance->n_ended, 0);
}

/* One after the other, within three quarters of the time. */
static void test_gradually(void **state)
{
    static const uint64_t none_ms[] = {0, 29500, 59500};
    static const uint64_t one_ms[] = {STEP_MS, 30500, 60500};

    (void)state;
    start(120000);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(step(at_ms(none_ms[i])), 0);
        assert_int_equal(step(at_ms(one_ms[i])), 1);
        assert_int_equal(rebalance_due_ns(rebalance), at_ms(one_ms[i] + STEP_MS));
        assert_int_equal(reconnect(), 1);
        assert_int_equal(rebalance_excess(rig_service("a")), 2 - i);
    }
    assert_int_equal(step(rebalance_due_ns(rebalance)), 0);
    assert_false(rebalance->is_on);
    assert_int_equal(rebalance->n_ended, 3);
}

/* Who was sent away and is not back yet still counts: nobody else is sent after him. */
static void test_not_back_yet(void **state)
{
    (void)state;
    start(1);
    assert_int_equal(step(at_ms(STEP_MS)), 3);
    assert_int_equal(step(rebalance_due_ns(rebalance)), 0);
    assert_false(rebalance->is_on);
    assert_int_equal(reconnect(), 3);
}

/* Steps are not shorter: then more end in each. */
static void test_several_in_a_step(void **state)
{
    (void)state;
    start(600);
    assert_int_equal(step(T0), 0);
    assert_int_equal(step(rebalance_due_ns(rebalance)), 2);
    assert_int_equal(reconnect(), 2);
    assert_int_equal(step(rebalance_due_ns(rebalance)), 1);
    assert_int_equal(reconnect(), 1);
}

/* It does not go on for ever. */
static void test_time_is_over(void **state)
{
    const uint64_t end_ns = at_ms(1000 + TAIL_MS);
    long number;

    (void)state;
    start(1000);
    number = sweeper_list(&sweeper); /* an operator's, which is in the way */
    assert_true(number > 0);
    for (uint64_t now_ns = T0; now_ns < end_ns; now_ns = rebalance_due_ns(rebalance)) {
        assert_int_equal(step(now_ns), 0);
        assert_true(rebalance->is_on);
        assert_true(rebalance_due_ns(rebalance) > now_ns);
    }
    assert_int_equal(step(end_ns), 0);
    assert_false(rebalance->is_on);
    assert_int_equal(reconnect(), 0);
    assert_int_equal(rebalance_excess(rig_service("a")), 3);
}

static void test_on_its_way_out(void **state)
{
    (void)state;
    start(60000);
    rebalance_step(rebalance, at_ms(STEP_MS), false);
    assert_false(rebalance->is_on);
    assert_int_equal(rebalance->sweep, 0);
    assert_int_equal(reconnect(), 0);
}

static void test_service_has_gone(void **state)
{
    (void)state;
    start(60000);
    rig_change(conf_with("b", true));
    assert_int_equal(step(T0), 0);
    assert_false(rebalance->is_on);
    assert_int_equal(rebalance_due_ns(rebalance), UINT64_MAX);
    assert_int_equal(reconnect(), 0);
}

/* A sweep whose result was given up is over, and the next step begins another. */
static void test_result_was_given_up(void **state)
{
    struct patience patience = patience_new();
    long number;

    (void)state;
    start(1);
    rebalance_step(rebalance, at_ms(STEP_MS), true);
    number = rebalance->sweep;
    assert_true(number > 0);
    while (!sweeper_is_over(&sweeper, number) && patience_holds(&patience))
        rig_wait();
    sweeper_tidy(&sweeper, T0);
    sweeper_tidy(&sweeper, T0 + 2 * CLOCK_NS_PER_S);
    assert_false(sweeper.is_busy);
    rebalance_step(rebalance, at_ms(STEP_MS), true);
    assert_int_equal(rebalance->sweep, 0);
    assert_int_equal(rebalance->n_ended, 0);
    assert_true(rebalance->is_on);
}

/* The end of the process in the middle. */
static void test_ends_in_the_middle(void **state)
{
    (void)state;
    start(1);
    rebalance_step(rebalance, at_ms(STEP_MS), true);
    assert_true(rebalance->sweep > 0);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_excess),    STAGED(test_at_once),
        STAGED(test_gradually),           STAGED(test_not_back_yet),
        STAGED(test_on_its_way_out),      STAGED(test_several_in_a_step),
        STAGED(test_time_is_over),        STAGED(test_service_has_gone),
        STAGED(test_result_was_given_up), STAGED(test_ends_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
