#include "lb4/shared/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct histogram_scale *const scales[] = {&histogram_connect, &histogram_session,
                                                       &histogram_bytes};

static void test_words_say_the_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < HISTOGRAM_BOUNDS; k++) {
            assert_true((uint64_t)(strtod(scales[i]->words[k], NULL) * (double)scales[i]->unit +
                                   0.5) == scales[i]->bounds[k]);
            assert_true(k == 0 || scales[i]->bounds[k] > scales[i]->bounds[k - 1]);
        }
    }
}

/* A bound belongs to its own range. */
static void test_ranges(void **state)
{
    static struct histogram histogram;
    struct histogram_sum sum = {{0}, 0};

    (void)state;
    histogram_add(&histogram, &histogram_bytes, 0);
    histogram_add(&histogram, &histogram_bytes, 100);
    histogram_add(&histogram, &histogram_bytes, 101);
    histogram_add(&histogram, &histogram_bytes, 100000000000);
    histogram_add(&histogram, &histogram_bytes, 100000000001);
    histogram_read(&histogram, &sum);
    assert_int_equal(sum.counts[0], 2);
    assert_int_equal(sum.counts[1], 1);
    assert_int_equal(sum.counts[HISTOGRAM_BOUNDS - 1], 1);
    assert_int_equal(sum.counts[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(histogram_count(&sum), 5);
    assert_int_equal(sum.sum, 200000000202);
}

/* Workers' blocks, and a server of the same name that has left. */
static void test_adds_up(void **state)
{
    static struct histogram histogram;
    struct histogram_sum sum = {{0}, 0};
    struct histogram_sum more = {{1, 2}, 3};

    (void)state;
    histogram_add(&histogram, &histogram_connect, 1);
    histogram_read(&histogram, &sum);
    histogram_read(&histogram, &sum);
    histogram_carry(&more, &sum);
    assert_int_equal(more.counts[0], 3);
    assert_int_equal(more.counts[1], 2);
    assert_int_equal(more.sum, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_say_the_bounds),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_adds_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
