/* What the prober has said is done, by a sweep of all workers, and in its time. */
#include "lb4/control/farewell.h"

#include <errno.h>

#include "lb4/shared/backend_write.h"

#include "lines_rig.h"

static struct sweeper operators;
static struct farewell the_farewell;
static struct farewell *const farewell = &the_farewell;

static int setup(void **state)
{
    (void)state;
    lines_open_both();
    sweeper_init(&operators, &rig.runtime);
    farewell_init(farewell, &rig.runtime, &operators);
    operators.other = &farewell->sweeper;
    lines_add_all();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lines_hang_up();
    threads_stop(&rig.threads);
    farewell_fini(farewell);
    sweeper_fini(&operators);
    rig_close();
    lines_close();
    return 0;
}

static void say(struct backend *backend, uint64_t at_ns, enum backend_farewell why)
{
    assert_non_null(backend);
    if (backend) /* static analysis wants to hear it */
        backend_set_farewell(backend, farewell_word(at_ns, why));
    service_table_note_farewell(&rig.runtime.services);
}

static void step_until_idle(void)
{
    struct patience patience = patience_new();

    do {
        farewell_step(farewell, clock_now_ns());
        if (farewell->sweep > 0)
            rig_wait();
    } while ((farewell->sweep > 0 || farewell_due_ns(farewell) != UINT64_MAX) &&
             patience_holds(&patience));
}

static void check_ends(int first, size_t n)
{
    size_t n_reset = 0;

    for (int i = first; i < LINES; i += 2) {
        sockets_wait(lines.clients[i], POLLIN);
        sockets_wait(lines.accepted[i], POLLIN);
        n_reset += sockets_read(lines.clients[i], 0, 1) == -ECONNRESET &&
                   sockets_read(lines.accepted[i], 0, 1) == -ECONNRESET;
    }
    assert_int_equal(n_reset, n);
}

static uint64_t count_closed(enum close_reason reason)
{
    struct stats_service_sum sum;

    stats_sum_service(rig.runtime.group.stats, RIG_WORKERS, 0, &sum);
    return sum.closed[reason];
}

static void test_nothing_said(void **state)
{
    (void)state;
    farewell_step(farewell, clock_now_ns());
    assert_int_equal(farewell->sweep, 0);
    assert_true(farewell_due_ns(farewell) == UINT64_MAX);
}

static void test_both_reasons(void **state)
{
    struct backend *first = rig_server("a", "s1");
    struct backend *second = rig_server("a", "s2");

    (void)state;
    say(first, clock_now_ns(), FAREWELL_DOWN);
    say(second, clock_now_ns(), FAREWELL_RELIEVED);
    step_until_idle();
    check_ends(0, LINES / 2);
    check_ends(1, LINES / 2);
    assert_int_equal(count_closed(CLOSE_SERVER_DOWN), LINES / 2);
    assert_int_equal(count_closed(CLOSE_ADMIN), LINES / 2);
    assert_true(backend_farewell(first) == 0 && backend_farewell(second) == 0);
    assert_int_equal(backend_active(first), 0);
}

/* Workers' answers wake control: it does not turn for one whose time is over, but has to wait. */
static void test_one_waits_for_another(void **state)
{
    uint64_t now_ns = clock_now_ns();

    (void)state;
    say(rig_server("a", "s1"), now_ns, FAREWELL_DOWN);
    farewell_step(farewell, now_ns);
    assert_true(farewell->sweep > 0);
    say(rig_server("a", "s2"), now_ns, FAREWELL_DOWN);
    farewell->due_ns = now_ns;
    assert_true(farewell_due_ns(farewell) == UINT64_MAX);
    step_until_idle();
    check_ends(0, LINES / 2);
    check_ends(1, LINES / 2);
}

static void test_in_its_time(void **state)
{
    struct backend *first = rig_server("a", "s1");
    uint64_t at_ns = clock_now_ns() + 3600 * CLOCK_NS_PER_S;

    (void)state;
    say(first, at_ns, FAREWELL_DOWN);
    farewell_step(farewell, clock_now_ns());
    assert_int_equal(farewell->sweep, 0);
    assert_true(farewell_due_ns(farewell) == at_ns);
    if (first) /* it is back */
        backend_set_farewell(first, 0);
    farewell_step(farewell, at_ns);
    assert_int_equal(farewell->sweep, 0);
    assert_true(farewell_due_ns(farewell) == UINT64_MAX);
    assert_int_equal(backend_active(first), LINES / 2);
}

/* The pieces of an operator's sweep and of its own take turns; a result that nobody has taken yet
 * is in nobody's way. */
static void test_beside_an_operator(void **state)
{
    struct patience patience = patience_new();
    long number = sweeper_list(&operators);

    (void)state;
    assert_true(number > 0);
    say(rig_server("a", "s1"), clock_now_ns(), FAREWELL_DOWN);
    farewell_step(farewell, clock_now_ns());
    while (!sweeper_is_over(&operators, number) && patience_holds(&patience))
        rig_wait();
    assert_true(sweeper_has_result(&operators, number));
    step_until_idle();
    check_ends(0, LINES / 2);
    assert_true(sweeper_has_result(&operators, number));
    sweeper_release(&operators);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_both_reasons, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_waits_for_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beside_an_operator, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
