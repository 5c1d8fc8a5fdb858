#include "lb4/control/sources_sum.h"

#include "guard_rig.h"

static void test_sum(void **state)
{
    const struct conf_guard guard = {
        .per_source = 1, .ban = {.n_refused = 1, .within_ms = 60000, .for_ms = 3600000}};
    struct sources_sum sum = {0};

    (void)state;
    assert_false(sources_sum_add(guarded(), &sum));
    guard_give(&guard);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.2"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.2"), REFUSAL_PER_SOURCE);
    assert_true(sources_sum_add(guarded(), &sum));
    assert_int_equal(sum.n, 2);
    assert_int_equal(sum.limit, guarded()->guard.sources->n_sets * SOURCES_WAYS);
    assert_int_equal(sum.n_banned, 1);
    assert_int_equal(sum.n_bans, 1);
    assert_int_equal(sum.n_evicted + sum.n_shared, 0);
    assert_int_equal(guard_pardon_all(guarded(), clock_now_ns()), 1);
    assert_true(sources_sum_add(guarded(), &sum));
    assert_int_equal(sum.n, 4);
    assert_int_equal(sum.n_banned, 1);
    assert_int_equal(sum.n_bans, 2);
    guard_all_leave();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
