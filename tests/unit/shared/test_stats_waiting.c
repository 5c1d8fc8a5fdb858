#include "lb4/shared/stats_waiting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_sums(void **state)
{
    struct stats_waiting worker = {0};
    struct stats_waiting_sum sum = {0};
    struct stats_waiting_sum all = {0};

    (void)state;
    stats_add(&worker.begun, 10);
    stats_add(&worker.ended[WAITING_SERVED], 3);
    stats_add(&worker.ended[WAITING_GAVE_UP], 2);
    stats_add(&worker.ended[WAITING_TURNED_AWAY], 1);
    stats_add(&worker.refused, 7);
    stats_add_waiting(&worker, &sum);
    stats_add_waiting(&worker, &sum);
    assert_int_equal(sum.begun, 20);
    assert_int_equal(sum.active, 8);
    assert_int_equal(sum.ended[WAITING_SERVED], 6);
    assert_int_equal(sum.ended[WAITING_TIMED_OUT], 0);
    assert_int_equal(sum.refused, 14);
    stats_carry_waiting(&all, &sum);
    stats_carry_waiting(&all, &sum);
    assert_int_equal(all.begun, 40);
    assert_int_equal(all.active, 16);
    assert_int_equal(all.ended[WAITING_GAVE_UP], 8);
    assert_int_equal(all.refused, 28);
}

static void test_words(void **state)
{
    (void)state;
    for (int i = 0; i < WAITING_ENDS; i++)
        assert_non_null(waiting_end_word((enum waiting_end)i));
    assert_string_equal(waiting_end_word(WAITING_GAVE_UP), "gave_up");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
