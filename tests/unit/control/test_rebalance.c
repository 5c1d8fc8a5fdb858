#include "lb4/control/rebalance.h"

#include "runtime_rig.h"

enum { N_CLIENTS = 6, N_EXCESS = 3 };

static const uint64_t OVER_NS = 3600 * CLOCK_NS_PER_S;

static struct rebalance rebalance;

/* Until the sweep that is under way is over. */
static void finish_sweep(uint64_t now_ns)
{
    struct patience patience = patience_new();

    while (rebalance.sweep > 0 && patience_holds(&patience)) {
        rig_wait();
        rebalance_step(&rebalance, now_ns);
    }
    assert_int_equal(rebalance.sweep, 0);
}

/* Three of six are to end within an hour: one at once, the next after 20 min, and so on. */
static void test_few_are_spread_over_the_time(void **state)
{
    struct addr front = sockets_closed_port();
    struct addr at;
    int listener = sockets_listen(&at);
    struct sweeper sweeper;
    char text[RIG_TEXT_MAX];
    int clients[N_CLIENTS];
    int servers[N_CLIENTS];
    uint64_t begin_ns = clock_now_ns();

    (void)state;
    snprintf(text, sizeof(text),
             "service a {\n listen tcp 127.0.0.1:%u\n check none\n server s1 127.0.0.1:%u\n"
             " server s2 127.0.0.1:%u\n}\n",
             addr_port(&front), addr_port(&at), addr_port(&at));
    rig_open(text);
    sweeper_init(&sweeper, &rig.runtime);
    rebalance_init(&rebalance, &rig.runtime, &sweeper);
    backend_set(rig_server("a", "s2"), PICK_DRAIN);
    for (int i = 0; i < N_CLIENTS; i++) {
        clients[i] = sockets_connect(&front);
        servers[i] = sockets_accept(listener);
    }
    backend_clear(rig_server("a", "s2"), PICK_DRAIN);
    assert_int_equal(rebalance_excess(rig_service("a")), N_EXCESS);
    assert_true(rebalance_start(&rebalance, rig_service("a"), OVER_NS, begin_ns));
    rebalance_step(&rebalance, begin_ns);
    finish_sweep(begin_ns);
    assert_int_equal(rebalance.n_ended, 1);
    assert_int_equal(rebalance_due_ns(&rebalance), begin_ns + OVER_NS / N_EXCESS);
    /* The last one before the time is over. */
    rig_until_active(rig_server("a", "s1"), N_CLIENTS - 1);
    rebalance_step(&rebalance, begin_ns + OVER_NS / N_EXCESS);
    finish_sweep(begin_ns + OVER_NS / N_EXCESS);
    assert_int_equal(rebalance.n_ended, 2);
    assert_true(rebalance_due_ns(&rebalance) < begin_ns + OVER_NS);
    for (int i = 0; i < N_CLIENTS; i++) {
        close(clients[i]);
        close(servers[i]);
    }
    rebalance_fini(&rebalance);
    sweeper_fini(&sweeper);
    rig_close();
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_are_spread_over_the_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
