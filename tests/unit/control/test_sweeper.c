#include "lb4/control/sweeper.h"

#include <errno.h>

#include "lines_rig.h"

static struct sweeper the_sweeper;
static struct sweeper *const sweeper = &the_sweeper;

static int setup(void **state)
{
    (void)state;
    lines_open_both();
    sweeper_init(sweeper, &rig.runtime);
    lines_add_all();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lines_hang_up();
    threads_stop(&rig.threads);
    sweeper_fini(sweeper);
    rig_close();
    lines_close();
    return 0;
}

static void wait_over(long number)
{
    struct patience patience = patience_new();

    while (!sweeper_is_over(sweeper, number) && patience_holds(&patience))
        rig_wait();
}

static struct addr address_of(int fd)
{
    struct addr at;
    socklen_t length = sizeof(at);

    assert_int_equal(getsockname(fd, &at.sa, &length), 0);
    return at;
}

/* How often the lists of all workers have this client, and on this server. */
static size_t count_listed(const struct addr *client, const char *server)
{
    size_t n = 0;

    for (size_t i = 0; i < RIG_WORKERS; i++) {
        const struct sweep_list *list = &sweeper->lists[i];

        for (size_t k = 0; k < list->n; k++)
            n += addr_equal(&list->records[k].client, client) &&
                 strcmp(list->records[k].server, server) == 0;
    }
    return n;
}

static void check_released(void)
{
    assert_false(sweeper->is_busy);
    assert_null(sweeper->lists);
    assert_null(sweeper->n_ended);
}

static size_t count_reset(void)
{
    size_t n = 0;

    for (int i = 0; i < LINES; i++)
        n += sockets_read(lines.clients[i], 0, 1) == -ECONNRESET;
    return n;
}

static void test_list(void **state)
{
    long number = sweeper_list(sweeper);

    (void)state;
    assert_true(number > 0);
    wait_over(number);
    assert_true(sweeper_has_result(sweeper, number));
    assert_int_equal(sweeper_n_ended(sweeper), 0);
    assert_int_equal(sweeper->lists[0].n + sweeper->lists[1].n, LINES);
    for (int i = 0; i < LINES; i++) {
        struct addr client = address_of(lines.clients[i]);

        assert_true(sweeper->lists[0].cap >= LINES);
        assert_int_equal(count_listed(&client, i % 2 ? "s2" : "s1"), 1);
    }
    sweeper_release(sweeper);
    check_released();
}

static void test_kill(void **state)
{
    const struct backend *first = rig_server("a", "s1");
    long number = sweeper_kill(sweeper, &(struct sweep_target){"a", "s1"});

    (void)state;
    wait_over(number);
    assert_int_equal(sweeper_n_ended(sweeper), LINES / 2);
    assert_null(sweeper->lists);
    sweeper_release(sweeper);
    assert_int_equal(backend_active(first), 0);
    assert_int_equal(backend_active(rig_server("a", "s2")), LINES / 2);
    for (int i = 0; i < LINES; i += 2) {
        sockets_wait(lines.clients[i], POLLIN);
        sockets_wait(lines.accepted[i], POLLIN);
        assert_int_equal(sockets_read(lines.accepted[i], 0, 1), -ECONNRESET);
    }
    assert_int_equal(count_reset(), LINES / 2);
    /* It stays in service. */
    close(lines.clients[0]);
    close(lines.accepted[0]);
    lines_add(0, 0);
}

/* However the connections are spread over the workers. */
static void test_shed_as_many_as_wanted(void **state)
{
    static struct capacity places[2]; /* where their alignment is kept, with any sanitizer */
    const struct sweep_excess excess[2] = {
        {rig_server("a", "s1"), LINES / 2, 2, &places[0]},
        {rig_server("a", "s2"), LINES / 2, 1, &places[1]},
    };

    (void)state;
    for (int i = 0; i < 2; i++)
        capacity_init(&places[i], excess[i].n_wanted);
    wait_over(sweeper_shed(sweeper, excess, 2));
    assert_int_equal(sweeper_n_ended(sweeper), 3);
    assert_int_equal(backend_active(excess[0].backend), 1);
    assert_int_equal(backend_active(excess[1].backend), 2);
    sweeper_release(sweeper);
}

static void test_one_at_a_time(void **state)
{
    long number = sweeper_list(sweeper);
    long next;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sweeper_list(sweeper), 0);
        assert_int_equal(sweeper_kill(sweeper, &(struct sweep_target){"a", "s1"}), 0);
        assert_int_equal(sweeper_shed(sweeper, NULL, 0), 0);
        wait_over(number); /* and as long as its result is not taken */
    }
    sweeper_release(sweeper);
    next = sweeper_list(sweeper);
    assert_int_equal(next, number + 1);
    wait_over(next);
    assert_int_equal(count_reset(), 0);
    sweeper_release(sweeper);
}

static void wait_whole(long number)
{
    struct patience patience = patience_new();

    while (!sweeper_is_over(sweeper, number) && patience_holds(&patience)) {
        sweeper_go_on(sweeper, number, 55);
        rig_wait();
    }
    sweeper_go_on(sweeper, number, 55);
}

/* As many questions as the fuller of the two workers has pieces. */
static void test_list_in_pieces(void **state)
{
    long number = sweeper_list(sweeper);
    uint64_t asked = sweeper->asked;

    (void)state;
    wait_over(number);
    sweeper_release(sweeper);
    number = sweeper_list(sweeper);
    wait_over(number); /* what follows begins it anew, in smaller pieces */
    for (size_t i = 0; i < RIG_WORKERS; i++) {
        sweeper->lists[i].at = SWEEP_BEGIN;
        sweeper->lists[i].n = 0;
        sweeper->lists[i].n_piece = 1;
    }
    assert_false(sweeper_is_over(sweeper, number));
    assert_false(sweeper_has_result(sweeper, number));
    wait_whole(number);
    assert_true(sweeper_has_result(sweeper, number));
    assert_int_equal(sweeper->lists[0].n + sweeper->lists[1].n, LINES);
    assert_in_range(sweeper->asked - asked, 1 + LINES / 2, 2 + LINES);
    assert_int_equal(sweeper->looked_ns, 0);
    sweeper_release(sweeper);
}

static void test_busiest(void **state)
{
    long number = sweeper_busiest(sweeper, &(struct sweep_target){"a", "s2"}, 2);

    (void)state;
    assert_int_equal(sweeper_busiest(sweeper, &(struct sweep_target){"a", "s2"}, 2), 0);
    wait_whole(number);
    assert_int_equal(sweeper->looked_ns, 55);
    assert_in_range(sweeper->lists[0].n + sweeper->lists[1].n, 2, 3);
    for (size_t i = 0; i < RIG_WORKERS; i++)
        for (size_t k = 0; k < sweeper->lists[i].n; k++) {
            assert_string_equal(sweeper->lists[i].records[k].server, "s2");
            assert_true(sweeper->lists[i].records[k].to_server.is_known);
        }
    sweeper_release(sweeper);
    check_released();
    assert_null(sweeper->busiest);
}

/* Nothing is given up that a worker may still write to. */
static void test_tidy_waits_for_the_workers(void **state)
{
    long number = sweeper_list(sweeper);

    (void)state;
    sweeper->asked += 1000; /* a question that nobody has heard */
    for (int i = 0; i < 5; i++) {
        rig_wait();
        sweeper_tidy(sweeper, (uint64_t)(i + 1) * 1000 * CLOCK_NS_PER_S);
    }
    assert_false(sweeper_is_over(sweeper, number));
    assert_false(sweeper_has_result(sweeper, number));
    assert_true(sweeper->is_busy);
    assert_int_equal(sweeper->over_ns, 0);
    sweeper->asked -= 1000;
    wait_over(number);
    sweeper_release(sweeper);
}

/* Who asked has gone: after a second there is place for the next. */
static void test_tidy_of_what_nobody_takes(void **state)
{
    const uint64_t then_ns = 77 * CLOCK_NS_PER_S;
    long number = sweeper_list(sweeper);
    long next;

    (void)state;
    wait_over(number);
    sweeper_tidy(sweeper, then_ns);
    assert_int_equal(sweeper->over_ns, then_ns);
    sweeper_tidy(sweeper, then_ns + CLOCK_NS_PER_S);
    assert_true(sweeper_has_result(sweeper, number));
    sweeper_tidy(sweeper, then_ns + CLOCK_NS_PER_S + 1);
    check_released();
    assert_true(sweeper_is_over(sweeper, number));
    assert_false(sweeper_has_result(sweeper, number));
    /* The next one is nobody else's, and its second begins anew. */
    next = sweeper_list(sweeper);
    assert_true(sweeper_is_over(sweeper, number));
    wait_over(next);
    assert_false(sweeper_has_result(sweeper, number));
    sweeper_tidy(sweeper, then_ns + 10 * CLOCK_NS_PER_S);
    assert_true(sweeper_has_result(sweeper, next));
    sweeper_release(sweeper);
    sweeper_release(sweeper);
    check_released();
}

/* The end of the process in the middle. */
static void test_ends_in_the_middle(void **state)
{
    (void)state;
    assert_true(sweeper_list(sweeper) > 0);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_list),
        STAGED(test_kill),
        STAGED(test_shed_as_many_as_wanted),
        STAGED(test_list_in_pieces),
        STAGED(test_busiest),
        STAGED(test_one_at_a_time),
        STAGED(test_tidy_waits_for_the_workers),
        STAGED(test_tidy_of_what_nobody_takes),
        STAGED(test_ends_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
