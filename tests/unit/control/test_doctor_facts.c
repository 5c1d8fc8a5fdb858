#include "lb4/control/doctor_facts.h"

#include "guard_rig.h"

static struct doctor_facts facts;

static int take(void **state)
{
    rig_prepare(state);
    return doctor_facts_take(&rig.from, &facts);
}

static int give_back(void **state)
{
    doctor_facts_fini(&facts);
    return rig_finish(state);
}

static void again(void)
{
    doctor_facts_fini(&facts);
    assert_int_equal(doctor_facts_take(&rig.from, &facts), 0);
}

/* Server b has no port of its own: 5432, 53 and 54 can be asked for, by TCP. */
static void test_addresses(void **state)
{
    (void)state;
    assert_int_equal(facts.n_services, 2);
    assert_string_equal(facts.services[0].name, "db");
    assert_int_equal(facts.services[0].transports, CONF_TCP_AND_UDP);
    assert_int_equal(facts.services[0].n_servers, 2);
    assert_int_equal(facts.services[0].n_addresses, 4);
    assert_int_equal(facts.services[1].n_addresses, 1);
    assert_int_equal(facts.n_addresses, 5);
    assert_false(facts.is_near || facts.services[0].is_near);
    assert_true(facts.has_udp);
    assert_int_equal(facts.lowest_port, 53);
}

/* Two services with the same server share its ports. */
static void test_same_address_counts_once(void **state)
{
    (void)state;
    rig.conf.services[1].servers[0].addr = rig.conf.services[0].servers[0].addr;
    again();
    assert_int_equal(facts.n_addresses, 4);
    assert_int_equal(facts.services[1].n_addresses, 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(addr_parse("127.0.0.9", &rig.conf.services[0].servers[i].addr), 0);
    again();
    assert_true(facts.services[0].is_near);
    assert_int_equal(facts.services[0].n_addresses, 1 + 2 + 2);
}

static void test_states(void **state)
{
    (void)state;
    assert_int_equal(facts.services[0].n_usable, 2);
    assert_true(facts.services[0].is_checked);
    assert_false(facts.services[1].is_checked);
    assert_int_equal(facts.n_probed, 2);
    rig.conf.services[0].check.kind = CONF_CHECK_EXEC;
    again();
    assert_true(facts.services[0].is_checked);
    assert_int_equal(facts.n_probed, 0); /* the budget of sockets knows nothing of programs */
    backend_set(rig_server(0, 0), PICK_DOWN);
    backend_set(rig_server(0, 1), PICK_DRAIN | PICK_DOWN);
    stats_add(&rig.stats.services[0].udp.dropped[UDP_DROP_KERNEL], 3);
    stats_add(&rig.stats.services[0].udp.dropped[UDP_DROP_FULL], 4);
    stats_add(&rig.stats.services[0].udp.dropped[UDP_DROP_LIMIT], 5);
    rig.reload.result.has_failed = true;
    again();
    assert_int_equal(facts.services[0].n_usable, 0);
    assert_int_equal(facts.services[0].n_lost, 1);
    backend_set(rig_server(0, 1), PICK_MAINT);
    backend_clear(rig_server(0, 1), PICK_DRAIN);
    again();
    assert_int_equal(facts.services[0].n_lost, 1); /* an operator wished it */
    assert_int_equal(facts.n_dropped_kernel, 3);
    assert_int_equal(facts.n_dropped_full, 4);
    assert_int_equal(facts.n_dropped_limit, 5);
    assert_true(facts.has_reload_failed);
}

/* As the files say that the shell would show. */
static void test_kernel(void **state)
{
    (void)state;
    assert_int_equal(facts.kernel.somaxconn, proc_number("/proc/sys/net/core/somaxconn", 0));
    assert_int_equal(facts.kernel.tw_reuse, proc_number("/proc/sys/net/ipv4/tcp_tw_reuse", 9));
    assert_int_equal(facts.kernel.open_most, proc_number("/proc/sys/fs/nr_open", 0));
    assert_int_equal(facts.kernel.limits.n_ports, proc_ports_count(&facts.kernel.ports));
    assert_int_equal(facts.is_root, geteuid() == 0);
    assert_int_equal(facts.budget.maxconn, 400);
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(facts.services[0].n_sources, 0);
    guard_give(&(struct conf_guard){.per_source = 1, .maxconn = 7});
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    stats_add(&rig.stats.services[0].refused.clients[REFUSAL_PER_SOURCE], 2);
    stats_add(&rig.stats.services[0].refused.clients[REFUSAL_BANNED], 3);
    stats_add(&rig.stats.services[0].refused.clients[REFUSAL_MAXCONN], 4);
    guarded()->guard.sources->n_shared = 6;
    again();
    assert_int_equal(facts.services[0].per_source, 1);
    assert_int_equal(facts.services[0].maxconn, 7);
    assert_int_equal(facts.services[0].n_limited, 5);
    assert_int_equal(facts.services[0].n_shared, 6);
    assert_int_equal(facts.services[0].n_sources, 1);
    for (int i = 2; i < 5; i++) {
        char client[32];

        snprintf(client, sizeof(client), "10.0.0.%d", i);
        assert_int_equal(guard_come(client), REFUSAL_NONE);
    }
    again();
    assert_int_equal(facts.services[0].n_sources, 2);
    guard_all_leave();
}

#define TAKEN(test) cmocka_unit_test_setup_teardown(test, take, give_back)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TAKEN(test_addresses), TAKEN(test_same_address_counts_once),
        TAKEN(test_states),    TAKEN(test_kernel),
        TAKEN(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
