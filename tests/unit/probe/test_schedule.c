#include "lb4/probe/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t MS = 1000000;

static uint64_t random_state = 1;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- the queue -------------------------------------------------------------------------------- */

enum { N_ENTRIES = 50 };

static void check_places(const struct schedule *schedule)
{
    for (size_t i = 0; i < schedule->n_entries; i++) {
        assert_int_equal(schedule->heap[i].entry->place, i);
        assert_int_equal(schedule->heap[i].due_ns, schedule->heap[i].entry->due_ns);
        assert_true(schedule->heap[i].due_ns >= schedule->heap[(i - (i > 0)) / 2].due_ns);
    }
}

static uint64_t earliest(const uint64_t *due_ns)
{
    uint64_t min = UINT64_MAX;

    for (size_t i = 0; i < N_ENTRIES; i++)
        min = due_ns[i] < min ? due_ns[i] : min;
    return min;
}

static void check_first(const struct schedule *schedule, const uint64_t *due_ns)
{
    const struct schedule_entry *first = schedule_first(schedule);

    assert_int_equal(first ? first->due_ns : UINT64_MAX, earliest(due_ns));
}

/* Due times from a small range, so that many are equal, and the ends of the clock. */
static uint64_t random_due(void)
{
    switch (next_random() % 6) {
    case 0:
        return UINT64_MAX;
    case 1:
        return UINT64_MAX - 1;
    case 2:
        return 0;
    default:
        return next_random() % 20;
    }
}

static void test_first_is_always_the_earliest(void **state)
{
    struct schedule schedule;
    struct schedule_entry entries[N_ENTRIES];
    uint64_t due_ns[N_ENTRIES];

    (void)state;
    assert_int_equal(schedule_init(&schedule, N_ENTRIES), 0);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        schedule_entry_init(&entries[i]);
        due_ns[i] = UINT64_MAX;
    }
    assert_null(schedule_first(&schedule));
    for (int step = 0; step < 200000; step++) {
        size_t i = next_random() % N_ENTRIES;

        due_ns[i] = random_due();
        schedule_set(&schedule, &entries[i], due_ns[i]);
        assert_int_equal(entries[i].place == SCHEDULE_NOWHERE, due_ns[i] == UINT64_MAX);
        check_first(&schedule, due_ns);
        check_places(&schedule);
    }
    schedule_fini(&schedule);
    schedule_fini(&schedule);
}

static void test_comes_out_in_order(void **state)
{
    struct schedule schedule;
    struct schedule_entry entries[N_ENTRIES];
    struct schedule_entry *first;
    uint64_t last_ns = 0;
    size_t n = 0;

    (void)state;
    assert_int_equal(schedule_init(&schedule, N_ENTRIES), 0);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        schedule_entry_init(&entries[i]);
        schedule_set(&schedule, &entries[i], next_random() / 2);
    }
    while ((first = schedule_first(&schedule))) {
        assert_true(first->due_ns >= last_ns);
        last_ns = first->due_ns;
        schedule_set(&schedule, first, UINT64_MAX);
        n++;
    }
    assert_int_equal(n, N_ENTRIES);
    schedule_fini(&schedule);
}

static void test_empty_queue(void **state)
{
    struct schedule schedule;

    (void)state;
    assert_int_equal(schedule_init(&schedule, 0), 0);
    assert_null(schedule_first(&schedule));
    schedule_fini(&schedule);
}

/* --- slots ------------------------------------------------------------------------------------ */

enum { N_SERVERS = 1000, N_INTERVALS = 60, N_PARTS = 20 };

/* Count the probes of one server in each twentieth of an interval. */
static void probe_times(uint64_t interval_ns, uint64_t number, uint64_t phase, uint32_t *n_probes)
{
    struct schedule_slots slots;
    uint64_t now_ns = 0;

    schedule_slots_init(&slots, interval_ns, interval_ns / 32, number, phase);
    for (;;) {
        uint64_t next_ns = schedule_next_slot(&slots, now_ns, next_random());

        if (next_ns >= N_INTERVALS * interval_ns)
            return;
        n_probes[next_ns / (interval_ns / N_PARTS)]++;
        now_ns = next_ns;
    }
}

static double max_over_mean(const uint32_t *counts, size_t n)
{
    uint64_t sum = 0;
    uint32_t max = 0;

    for (size_t i = 0; i < n; i++) {
        sum += counts[i];
        max = counts[i] > max ? counts[i] : max;
    }
    return (double)max * (double)n / (double)sum;
}

/* F51: also for a run of servers that does not start at 0. */
static void test_servers_are_spread_evenly(void **state)
{
    static const uint64_t intervals_ms[] = {100, 2000, 60000};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (uint64_t run = 0; run < 5; run++) {
            uint32_t counts[N_INTERVALS * N_PARTS] = {0};
            uint64_t phase = next_random();

            for (uint64_t number = 0; number < N_SERVERS; number++)
                probe_times(intervals_ms[i] * MS, run * 12345 + number, phase, counts);

            assert_true(max_over_mean(counts, N_INTERVALS * N_PARTS) <= 1.35);
        }
    }
}

/* Neighbours lie apart. */
static void test_a_few_servers_are_spread_too(void **state)
{
    struct schedule_slots slots[8];

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        schedule_slots_init(&slots[i], 1600 * MS, 1600 * MS / 32, i, 0xdeadbeef12345678u);
    for (size_t a = 0; a < 8; a++) {
        for (size_t b = 0; b < a; b++) {
            uint64_t apart = slots[a].offset_ns > slots[b].offset_ns
                                 ? slots[a].offset_ns - slots[b].offset_ns
                                 : slots[b].offset_ns - slots[a].offset_ns;

            assert_in_range(apart, 1500 * MS / 16, 1500 * MS - 1500 * MS / 16);
        }
    }
}

static void test_never_further_apart_than_the_interval(void **state)
{
    (void)state;
    for (int run = 0; run < 1000; run++) {
        uint64_t interval_ns = MS + next_random() % (365ull * 24 * 3600 * 1000 * MS);
        uint64_t now_ns = next_random() % (interval_ns * 3);
        struct schedule_slots slots;

        if (run % 2)
            interval_ns = MS + next_random() % (100 * MS);
        schedule_slots_init(&slots, interval_ns, interval_ns / 32, next_random(), next_random());
        assert_true(slots.offset_ns < slots.period_ns);
        now_ns = schedule_next_slot(&slots, now_ns, next_random());
        for (int i = 0; i < 200; i++) {
            uint64_t random = i % 3 == 0 ? 0 : i % 3 == 1 ? UINT64_MAX : next_random();
            uint64_t next_ns = schedule_next_slot(&slots, now_ns, random);

            assert_true(next_ns > now_ns);
            assert_true(next_ns - now_ns <= interval_ns);
            now_ns = next_ns;
        }
    }
}

/* A probe that came late, or early by evidence, is back at its slots with the next one. */
static void test_slots_stay_where_they_are(void **state)
{
    struct schedule_slots slots;

    (void)state;
    schedule_slots_init(&slots, 1600 * MS, 1600 * MS / 32, 5, 77);
    for (int i = 0; i < 1000; i++) {
        uint64_t after_ns = next_random() % (1000000 * MS);
        uint64_t next_ns = schedule_next_slot(&slots, after_ns, 0);

        uint64_t into_ns = (next_ns - slots.offset_ns) % slots.period_ns;

        assert_in_range(into_ns, 0, slots.grain_ns - 1);
        assert_int_equal(next_ns % slots.grain_ns, 0);
        assert_in_range(next_ns, after_ns + 1, after_ns + slots.period_ns + slots.grain_ns);
    }
}

/* A grain is for company, not for delay: 16 ms at most, whatever the interval. */
static void test_grain(void **state)
{
    struct schedule_slots slots;

    (void)state;
    schedule_slots_init(&slots, MS, MS / 32, 0, 0);
    assert_int_equal(slots.grain_ns, MS / 128);
    schedule_slots_init(&slots, 365ull * 24 * 3600 * 1000 * MS, 365ull * 24 * 3600 * 1000 * MS / 32,
                        0, 0);
    assert_int_equal(slots.grain_ns, 16 * MS);
    assert_int_equal(schedule_round_up(&slots, 16 * MS + 1), 32 * MS);
}

static void test_ends_of_the_clock(void **state)
{
    struct schedule_slots slots;

    (void)state;
    schedule_slots_init(&slots, 2000 * MS, 2000 * MS / 32, 1, 0);
    assert_true(slots.offset_ns > 0);
    assert_int_equal(schedule_next_slot(&slots, 0, 0), schedule_round_up(&slots, slots.offset_ns));
    assert_int_equal(schedule_next_slot(&slots, slots.offset_ns, 0),
                     schedule_round_up(&slots, slots.offset_ns + slots.period_ns));
    assert_int_equal(schedule_round_up(&slots, 0), 0);
    assert_int_equal(schedule_round_up(&slots, UINT64_MAX - 1), UINT64_MAX);
    assert_int_equal(schedule_next_slot(&slots, UINT64_MAX - 1, UINT64_MAX), UINT64_MAX);
}

/* However much it jitters: no two probes further apart than the interval, none of them at once. */
static void test_jitter(void **state)
{
    const uint64_t interval_ns = 2000 * MS;
    struct schedule_slots slots;

    (void)state;
    for (uint64_t percent = 0; percent <= 50; percent += 10) {
        uint64_t last_ns = 0;
        uint64_t least_ns = UINT64_MAX;
        uint64_t most_ns = 0;

        schedule_slots_init(&slots, interval_ns, interval_ns / 100 * percent, 3, 0x1234567u);
        last_ns = schedule_next_slot(&slots, 0, next_random());
        for (int i = 0; i < 2000; i++) {
            uint64_t next_ns = schedule_next_slot(&slots, last_ns, next_random());

            assert_true(next_ns > last_ns && next_ns - last_ns <= interval_ns);
            least_ns = next_ns - last_ns < least_ns ? next_ns - last_ns : least_ns;
            most_ns = next_ns - last_ns > most_ns ? next_ns - last_ns : most_ns;
            last_ns = next_ns;
        }
        assert_true(most_ns - least_ns >= interval_ns / 100 * percent);
        assert_true(percent > 0 || most_ns - least_ns <= 2 * slots.grain_ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_is_always_the_earliest),
        cmocka_unit_test(test_comes_out_in_order),
        cmocka_unit_test(test_empty_queue),
        cmocka_unit_test(test_servers_are_spread_evenly),
        cmocka_unit_test(test_a_few_servers_are_spread_too),
        cmocka_unit_test(test_never_further_apart_than_the_interval),
        cmocka_unit_test(test_slots_stay_where_they_are),
        cmocka_unit_test(test_grain),
        cmocka_unit_test(test_ends_of_the_clock),
        cmocka_unit_test(test_jitter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
