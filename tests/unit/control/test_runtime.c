#include "lb4/control/runtime.h"

#include "runtime_rig.h"

static void test_clear_makes_fini_harmless(void **state)
{
    static struct runtime runtime;

    (void)state;
    runtime_clear(&runtime, 3);
    assert_int_equal(runtime.n_workers, 3);
    runtime_fini(&runtime);
}

static void test_counts(void **state)
{
    const struct addr fronts[3] = {sockets_closed_port(), sockets_closed_port(),
                                   sockets_closed_port()};
    char text[RIG_TEXT_MAX];
    uint64_t number;
    struct patience patience = patience_new();

    (void)state;
    snprintf(text, sizeof(text),
             "maxconn 100\n"
             "service a {\n listen both 127.0.0.1:%u\n listen tcp 127.0.0.1:%u\n"
             " server s1 127.0.0.1:1\n server s2 127.0.0.1:2\n check none\n}\n"
             "service b {\n listen tcp 127.0.0.1:%u\n server s1 127.0.0.1:1\n}\n",
             addr_port(&fronts[0]), addr_port(&fronts[1]), addr_port(&fronts[2]));
    rig_open(text);
    assert_int_equal(runtime_count_services(&rig.runtime), 2);
    assert_int_equal(runtime_count_listeners(&rig.runtime), 4);
    assert_int_equal(rig.runtime.budget.maxconn, 100);
    assert_true(rig.runtime.budget.udp_sessions > 0);
    /* Each question has a greater number, and all threads answer. */
    number = runtime_ask(&rig.runtime);
    assert_false(runtime_has_answered(&rig.runtime, number + 1));
    while (!runtime_has_answered(&rig.runtime, number) && patience_holds(&patience))
        rig_wait();
    assert_int_equal(runtime_ask(&rig.runtime), number + 1);
    rig_close();
}

/* Sockets that are about to leave are paid for, too. */
static void test_budget(void **state)
{
    const struct addr front = sockets_closed_port();
    char text[RIG_TEXT_MAX];
    char error[LIMITS_TEXT_MAX];
    struct limits_budget budgets[2];

    (void)state;
    snprintf(text, sizeof(text),
             "service a {\n listen tcp 127.0.0.1:%u\n server s 127.0.0.1:1\n}\n",
             addr_port(&front));
    rig_open(text);
    assert_int_equal(runtime_compute_budget(&rig.runtime, rig.conf, 0, &budgets[0], error), 0);
    assert_int_equal(runtime_compute_budget(&rig.runtime, rig.conf, 100, &budgets[1], error), 0);
    assert_true(budgets[1].maxconn < budgets[0].maxconn);
    assert_true(runtime_compute_budget(&rig.runtime, rig.conf, 1u << 30, &budgets[1], error) < 0);
    rig_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clear_makes_fini_harmless),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
