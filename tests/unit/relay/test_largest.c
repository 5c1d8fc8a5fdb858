#include "lb4/relay/largest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../seed.h"

static struct seed seed;

enum { OFFERS = 3000, ROUNDS = 60 };

struct thing {
    uint64_t size;
    uint64_t tie;
};

static int compare(const void *left, const void *right)
{
    const struct thing *a = left;
    const struct thing *b = right;

    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->tie > b->tie ? -1 : a->tie < b->tie;
}

/* What is in the places is what sorting all of them brings to the front. */
static void check_round(size_t cap, uint64_t n_sizes)
{
    static struct thing all[OFFERS];
    static struct thing placed[LARGEST_MAX];
    struct largest largest;

    largest_init(&largest, cap);
    for (size_t i = 0; i < OFFERS; i++) {
        long place;

        all[i] = (struct thing){seed_next(&seed, n_sizes), seed_next(&seed, 1000)};
        place = largest_offer(&largest, all[i].size, all[i].tie);
        assert_true(place >= LARGEST_NONE && place < (long)cap);
        if (place != LARGEST_NONE)
            placed[place] = all[i];
        assert_int_equal(largest.n, i + 1 < cap ? i + 1 : cap);
    }
    qsort(all, OFFERS, sizeof(*all), compare);
    qsort(placed, cap, sizeof(*placed), compare);
    for (size_t i = 0; i < cap; i++) {
        assert_int_equal(placed[i].size, all[i].size);
        assert_int_equal(placed[i].tie, all[i].tie);
    }
}

static void test_as_a_sort_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROUNDS; i++)
        check_round(1 + (size_t)seed_next(&seed, LARGEST_MAX), i % 2 ? 3 : 1000000);
    check_round(1, 1000);
    check_round(LARGEST_MAX, 1000);
}

static void test_fewer_than_there_is_room_for(void **state)
{
    struct largest largest;

    (void)state;
    largest_init(&largest, 5);
    assert_int_equal(largest_offer(&largest, 0, 0), 0);
    assert_int_equal(largest_offer(&largest, 7, 0), 1);
    assert_int_equal(largest_offer(&largest, 3, 0), 2);
    assert_int_equal(largest.n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_a_sort_says),
        cmocka_unit_test(test_fewer_than_there_is_room_for),
    };

    seed = seed_new();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
