#include "lb4/shared/pick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/conf/model.h"

#include "../seed.h"

static void test_is_less(void **state)
{
    static const struct {
        struct pick_load a;
        struct pick_load b;
        bool is_less;
    } cases[] = {
        {{0, 1}, {0, 1}, false},
        {{0, 1}, {1, 1}, true},
        {{1, 1}, {0, 1}, false},
        {{0, 2}, {0, 1}, true},
        {{1, 2}, {0, 1}, false}, /* 2/2 and 1/1 */
        {{2, 2}, {0, 1}, false},
        {{0, 1}, {2, 2}, true},
        {{1, 3}, {0, 1}, true}, /* 2/3 and 1 */
        {{UINT32_MAX, 256}, {UINT32_MAX, 255}, true},
        {{UINT32_MAX, 1}, {UINT32_MAX, 256}, false},
        {{UINT32_MAX - 1, 256}, {UINT32_MAX, 256}, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(pick_is_less(cases[i].a, cases[i].b), cases[i].is_less);
}

/* Against the division that it replaces, where doubles are exact enough. */
static void test_is_less_agrees_with_division(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int i = 0; i < 100000; i++) {
        struct pick_load a = {(uint32_t)seed_next(&seed, 1000),
                              1 + (uint32_t)seed_next(&seed, 256)};
        struct pick_load b = {(uint32_t)seed_next(&seed, 1000),
                              1 + (uint32_t)seed_next(&seed, 256)};
        double load_a = (a.active + 1.0) / a.weight;
        double load_b = (b.active + 1.0) / b.weight;
        bool is_equal = (a.active + 1) * b.weight == (b.active + 1) * a.weight;

        assert_int_equal(pick_is_less(a, b), !is_equal && load_a < load_b);
    }
}

/* Each line comes before all lines below it. */
static void test_ranks(void **state)
{
    static const uint32_t better_first[] = {
        0,
        1 << PICK_PRIORITY_SHIFT,
        15 << PICK_PRIORITY_SHIFT,
        PICK_BACKUP,
        PICK_SUSPECT,
        PICK_SUSPECT | 2 << PICK_PRIORITY_SHIFT,
        PICK_SUSPECT | PICK_BACKUP,
        PICK_DOWN,
    };
    static const uint32_t unusable[] = {PICK_DOWN, PICK_DRAIN, PICK_MAINT, PICK_NEW};

    (void)state;
    for (uint32_t weight = 1; weight <= CONF_WEIGHT_MAX; weight += 255) {
        for (int spares = 0; spares < 2; spares++) {
            assert_int_equal(pick_rank(weight, spares), PICK_RANK_BEST);
            for (size_t i = 0; i + 1 < sizeof(better_first) / sizeof(better_first[0]); i++)
                assert_true(pick_rank(weight | better_first[i], spares) >
                            pick_rank(weight | better_first[i + 1], spares));
            for (uint32_t others = 0; others < 64; others++)
                for (size_t i = 0; i < 3; i++)
                    assert_int_equal(pick_rank(weight | unusable[i] | others << 16, spares),
                                     PICK_RANK_NONE);
        }
    }
}

/* The last resort is behind all others, in the order of tiers; not for who was taken out. */
static void test_last_resort(void **state)
{
    const uint32_t last = pick_rank_last(1 | PICK_DOWN | PICK_BACKUP);

    (void)state;
    assert_true(last > PICK_RANK_NONE);
    assert_true(pick_rank_last(1 | PICK_DOWN | 15 << PICK_PRIORITY_SHIFT) > last);
    assert_true(pick_rank_last(1 | PICK_DOWN) > pick_rank_last(1 | 1 << PICK_PRIORITY_SHIFT));
    assert_true(pick_rank_last(1 | PICK_DOWN) < pick_rank(1 | PICK_SUSPECT | PICK_BACKUP, 0));
    assert_int_equal(pick_rank_last(1 | PICK_DOWN | PICK_DRAIN), PICK_RANK_NONE);
    assert_int_equal(pick_rank_last(1 | PICK_DOWN | PICK_MAINT), PICK_RANK_NONE);
    assert_int_equal(pick_rank_last(1 | PICK_GONE), PICK_RANK_NONE);
}

/* Spared only by who spares them, and still before the next tier. */
static void test_ramped_are_spared(void **state)
{
    const uint32_t ramped = 1u << PICK_RAMP_SHIFT | 1;

    (void)state;
    assert_int_equal(pick_part(ramped), 1);
    assert_int_equal(pick_part(31u << PICK_RAMP_SHIFT | 256), 31);
    assert_int_equal(pick_part(PICK_LEVEL | 256), PICK_PART_LEVEL);
    assert_int_equal(pick_part(256), 0);
    assert_int_equal(pick_rank(ramped, PICK_SPARES_FRESH), PICK_RANK_BEST);
    assert_int_equal(pick_rank(ramped, PICK_SPARES_RAMPED), PICK_RANK_BEST - 1);
    assert_int_equal(pick_rank(1 | PICK_LEVEL, PICK_SPARES_RAMPED), PICK_RANK_BEST - 1);
    assert_true(pick_rank(ramped, PICK_SPARES_RAMPED) >
                pick_rank(1 | 1 << PICK_PRIORITY_SHIFT, PICK_SPARES_RAMPED));
}

static void test_a_trial_is_as_good_as_none(void **state)
{
    (void)state;
    assert_int_equal(pick_rank(1 | PICK_SUSPECT | PICK_TRIAL, false), PICK_RANK_BEST);
    assert_int_equal(pick_rank(1 | PICK_BACKUP | PICK_SUSPECT | PICK_TRIAL, false),
                     pick_rank(1 | PICK_BACKUP, false));
    assert_int_equal(pick_rank(1 | PICK_DOWN | PICK_SUSPECT | PICK_TRIAL, false), PICK_RANK_NONE);
}

/* Who came back a moment ago: behind its own kind when it is to be spared, still before the next.
 */
static void test_fresh_is_spared(void **state)
{
    (void)state;
    assert_int_equal(pick_rank(1 | PICK_FRESH, false), pick_rank(1, false));
    assert_true(pick_rank(1 | PICK_FRESH, true) < pick_rank(1, true));
    assert_true(pick_rank(1 | PICK_FRESH, true) > pick_rank(1 | PICK_BACKUP, true));
    assert_int_equal(pick_rank(1 | PICK_BACKUP | PICK_FRESH, false),
                     pick_rank(1 | PICK_BACKUP, false));
    assert_true(pick_rank(1 | PICK_BACKUP | PICK_FRESH, true) < pick_rank(1 | PICK_BACKUP, true));
    assert_true(pick_rank(1 | PICK_BACKUP | PICK_FRESH, true) > pick_rank(1 | PICK_SUSPECT, true));
}

static void test_sequence_of_one(void **state)
{
    const uint32_t weights[] = {256};
    size_t length = 0;
    uint16_t *sequence = pick_sequence(weights, 1, &length);

    (void)state;
    assert_non_null(sequence);
    assert_int_equal(length, 1);
    assert_int_equal(sequence[0], 0);
    free(sequence);
}

static void test_equal_weights_take_turns(void **state)
{
    const uint32_t weights[] = {7, 7, 7, 7};
    size_t length = 0;
    uint16_t *sequence = pick_sequence(weights, 4, &length);

    (void)state;
    assert_non_null(sequence);
    assert_int_equal(length, 4);
    for (uint16_t i = 0; i < 4; i++)
        assert_int_equal(sequence[i], i);
    free(sequence);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* Each server exactly as often as its weight says, and never two places or more ahead of or behind
 * its share of any prefix. */
static void check_smooth(const uint32_t *weights, size_t n, uint32_t divisor)
{
    uint64_t counts[CONF_SERVERS_MAX] = {0};
    uint64_t total = 0;
    size_t length = 0;
    uint16_t *sequence = pick_sequence(weights, n, &length);

    assert_non_null(sequence);
    for (size_t i = 0; i < n; i++)
        total += weights[i];
    assert_int_equal(length * divisor, total);
    for (size_t at = 0; at < length; at++) {
        assert_true(sequence[at] < n);
        counts[sequence[at]]++;
        for (size_t i = 0; i < n; i++) {
            uint64_t off = distance(counts[i] * total, (at + 1) * weights[i]);

            if (off >= 2 * total)
                fail_msg("%zu servers, server %zu of weight %u: %.1f places off its share after "
                         "%zu of %zu",
                         n, i, weights[i], (double)off / (double)total, at + 1, length);
        }
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(counts[i] * divisor, weights[i]);
    free(sequence);
}

static void test_sequence_is_smooth(void **state)
{
    static const struct {
        uint32_t weights[5];
        size_t n;
        uint32_t divisor;
    } cases[] = {
        {{1}, 1, 1},         {{1, 1}, 2, 1},
        {{5, 1, 1}, 3, 1},   {{2, 1}, 2, 1},
        {{256, 1}, 2, 1},    {{200, 100, 50}, 3, 50},
        {{6, 10, 15}, 3, 1}, {{256, 255, 254, 253, 1}, 5, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_smooth(cases[i].weights, cases[i].n, cases[i].divisor);
}

/* One strong server among many weak ones: the weak ones must not come in one crowd. */
static void test_one_strong_among_weak_is_smooth(void **state)
{
    uint32_t weights[101];

    (void)state;
    weights[0] = 256;
    for (size_t i = 1; i < 101; i++)
        weights[i] = 1;
    check_smooth(weights, 101, 1);
}

static uint32_t divisor_of(const uint32_t *weights, size_t n)
{
    for (uint32_t divisor = CONF_WEIGHT_MAX; divisor > 1; divisor--) {
        size_t i = 0;

        while (i < n && weights[i] % divisor == 0)
            i++;
        if (i == n)
            return divisor;
    }
    return 1;
}

static void test_random_sequences_are_smooth(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < 200; round++) {
        uint32_t weights[24];
        size_t n = 1 + seed_next(&seed, 24);
        uint32_t most = 1 + (uint32_t)seed_next(&seed, CONF_WEIGHT_MAX);

        for (size_t i = 0; i < n; i++)
            weights[i] = 1 + (uint32_t)seed_next(&seed, most);
        check_smooth(weights, n, divisor_of(weights, n));
    }
}

/* The largest that the configuration allows, in counts alone. */
static void test_largest_sequence(void **state)
{
    static uint32_t weights[CONF_SERVERS_MAX];
    static uint32_t counts[CONF_SERVERS_MAX];
    size_t length = 0;
    uint16_t *sequence;

    (void)state;
    for (size_t i = 0; i < CONF_SERVERS_MAX; i++)
        weights[i] = i % 2 ? CONF_WEIGHT_MAX : CONF_WEIGHT_MAX - 1;
    sequence = pick_sequence(weights, CONF_SERVERS_MAX, &length);
    assert_non_null(sequence);
    assert_int_equal(length, CONF_SERVERS_MAX / 2 * (2 * CONF_WEIGHT_MAX - 1));
    for (size_t i = 0; i < length; i++)
        counts[sequence[i]]++;
    assert_memory_equal(counts, weights, sizeof(weights));
    free(sequence);
}

static void test_set(void **state)
{
    struct pick_set set = {0};

    (void)state;
    for (size_t i = 0; i < 130; i++)
        assert_false(pick_set_has(&set, i));
    for (size_t i = 0; i < 130; i += 3)
        assert_int_equal(pick_set_add(&set, i, 130), 0);
    assert_int_equal(pick_set_add(&set, 0, 130), 0);
    for (size_t i = 0; i < 130; i++)
        assert_int_equal(pick_set_has(&set, i), i % 3 == 0);
    pick_set_remove(&set, 66);
    pick_set_remove(&set, 67);
    for (size_t i = 0; i < 130; i++)
        assert_int_equal(pick_set_has(&set, i), i % 3 == 0 && i != 66);
    pick_set_free(&set);
    pick_set_remove(&set, 0);
    assert_false(pick_set_has(&set, 0));
    pick_set_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_less),
        cmocka_unit_test(test_is_less_agrees_with_division),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_last_resort),
        cmocka_unit_test(test_ramped_are_spared),
        cmocka_unit_test(test_a_trial_is_as_good_as_none),
        cmocka_unit_test(test_fresh_is_spared),
        cmocka_unit_test(test_sequence_of_one),
        cmocka_unit_test(test_equal_weights_take_turns),
        cmocka_unit_test(test_sequence_is_smooth),
        cmocka_unit_test(test_one_strong_among_weak_is_smooth),
        cmocka_unit_test(test_random_sequences_are_smooth),
        cmocka_unit_test(test_largest_sequence),
        cmocka_unit_test(test_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
