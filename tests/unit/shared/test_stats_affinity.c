#include "lb4/shared/stats_affinity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(affinity_result_word(AFFINITY_KEPT), "kept");
    assert_string_equal(affinity_result_word(AFFINITY_MOVED), "moved");
    assert_string_equal(affinity_result_word(AFFINITY_NEW), "new");
    assert_string_equal(affinity_result_word(AFFINITY_NONE), "none");
}

static void test_sums(void **state)
{
    struct stats_affinity block = {0};
    struct stats_affinity_sum sum = {0};
    struct stats_affinity_sum carried = {.choices = {100, 200, 300}};

    (void)state;
    for (uint64_t i = 0; i < AFFINITY_RESULTS; i++)
        stats_add(&block.choices[i], i + 1);
    stats_add_affinity(&block, &sum);
    stats_add_affinity(&block, &sum);
    stats_carry_affinity(&carried, &sum);
    for (uint64_t i = 0; i < AFFINITY_RESULTS; i++) {
        assert_int_equal(sum.choices[i], 2 * (i + 1));
        assert_int_equal(carried.choices[i], 100 * (i + 1) + 2 * (i + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_sums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
