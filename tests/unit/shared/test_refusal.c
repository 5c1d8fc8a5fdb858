#include "lb4/shared/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_sums(void **state)
{
    struct stats_refusal worker = {0};
    struct stats_refusal_sum sum = {0};
    struct stats_refusal_sum all = {0};

    (void)state;
    stats_add(&worker.clients[REFUSAL_DENIED], 3);
    stats_add(&worker.clients[REFUSAL_MAXCONN], 5);
    stats_add_refusal(&worker, &sum);
    stats_add_refusal(&worker, &sum);
    assert_int_equal(sum.clients[REFUSAL_DENIED], 6);
    assert_int_equal(sum.clients[REFUSAL_MAXCONN], 10);
    assert_int_equal(sum.clients[REFUSAL_RATE], 0);
    stats_carry_refusal(&all, &sum);
    stats_carry_refusal(&all, &sum);
    assert_int_equal(all.clients[REFUSAL_DENIED], 12);
}

static void test_words(void **state)
{
    (void)state;
    for (int i = 0; i <= REFUSALS; i++)
        assert_non_null(refusal_word((enum refusal)i));
    assert_string_equal(refusal_word(REFUSAL_PER_SOURCE), "per_source");
    assert_string_equal(refusal_word(REFUSAL_NONE), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
