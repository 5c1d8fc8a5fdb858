#include "lb4/shared/affinity_table.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

enum { CAPACITY = 131072 };

static const uint64_t S = 1000000000;
static const uint64_t BEGUN = 5000 * 1000000000ull;

static struct affinity_table *table;

static int open_table(void **state)
{
    (void)state;
    table = affinity_table_new();
    return table ? 0 : -1;
}

static int close_table(void **state)
{
    (void)state;
    affinity_table_free(table);
    return 0;
}

static struct affinity_key key_of(uint64_t number)
{
    return (struct affinity_key){{number * 0x9e3779b97f4a7c15u, number}};
}

static enum affinity_added add(uint64_t client, uint32_t serial, uint64_t now_ns,
                               struct affinity_hold *hold)
{
    const struct affinity_key key = key_of(client);
    const struct affinity_begin begin = {{serial % 100, serial}, now_ns, 60 * S};

    return affinity_table_add(table, &key, &begin, hold);
}

static bool find(uint64_t client, uint64_t now_ns, struct affinity_seen *ret)
{
    const struct affinity_key key = key_of(client);

    return affinity_table_find(table, &key, now_ns, ret);
}

static void test_an_entry(void **state)
{
    struct affinity_hold first = {0};
    struct affinity_hold second = {0};
    struct affinity_seen seen;

    (void)state;
    assert_false(find(1, BEGUN, &seen));
    assert_int_equal(add(1, 4711, BEGUN, &first), AFFINITY_ADDED);
    assert_int_equal(add(1, 4712, BEGUN, &second), AFFINITY_KNOWN);
    assert_int_equal(second.slot, 0);
    assert_true(find(1, BEGUN + 3 * S, &seen));
    assert_int_equal(seen.home.serial, 4711);
    assert_int_equal(seen.home.place, 11);
    assert_int_equal(seen.n_live, 1);
    assert_in_range(seen.age_ns, 3 * S - 2000000, 3 * S + 2000000);
    assert_true(affinity_table_touch(table, &seen, BEGUN + 4 * S, &second));
    assert_true(affinity_table_touch(table, &seen, BEGUN + 5 * S, &second)); /* counts once */
    assert_true(find(1, BEGUN + 5 * S, &seen));
    assert_int_equal(seen.n_live, 2);
    assert_in_range(seen.age_ns, 0, 2000000);
    affinity_table_leave(table, &first);
    affinity_table_leave(table, &first);
    assert_true(find(1, BEGUN + 900 * S, &seen));
    assert_int_equal(seen.n_live, 1);
    assert_false(affinity_is_over(&seen, 60 * S));
    affinity_table_leave(table, &second);
    assert_true(find(1, BEGUN + 900 * S, &seen));
    assert_true(affinity_is_over(&seen, 60 * S));
    assert_false(affinity_is_over(&seen, 1000 * S));
}

/* The whole address counts: neighbours, and those that differ in one bit anywhere. */
static void test_addresses_are_compared_in_full(void **state)
{
    const struct affinity_key like = {{0x20010db800000000u, 1}};
    struct affinity_hold hold = {0};
    const struct affinity_begin begin = {{1, 1}, BEGUN, S};
    struct affinity_seen seen;

    (void)state;
    assert_int_equal(affinity_table_add(table, &like, &begin, &hold), AFFINITY_ADDED);
    for (int bit = 0; bit < 128; bit++) {
        struct affinity_key other = like;

        other.words[bit / 64] ^= 1ull << bit % 64;
        assert_false(affinity_table_find(table, &other, BEGUN, &seen));
    }
}

static void test_a_move(void **state)
{
    struct affinity_hold hold = {0};
    struct affinity_seen seen;
    struct affinity_seen stale;

    (void)state;
    add(1, 5, BEGUN, &hold);
    assert_true(find(1, BEGUN, &stale));
    assert_true(affinity_table_move(table, &stale, (struct affinity_home){6, 6}));
    assert_false(affinity_table_move(table, &stale, (struct affinity_home){7, 7}));
    assert_true(find(1, BEGUN, &seen));
    assert_int_equal(seen.home.serial, 6);
    /* to where it is: nobody else who has seen the same may move it */
    assert_true(affinity_table_move(table, &seen, (struct affinity_home){6, 6}));
    assert_false(affinity_table_move(table, &seen, (struct affinity_home){7, 7}));
    affinity_table_forget(table, &hold, (struct affinity_home){5, 5}); /* no more there */
    assert_true(find(1, BEGUN, &seen));
    assert_int_equal(seen.home.serial, 6);
    affinity_table_forget(table, &hold, (struct affinity_home){6, 6});
    assert_true(find(1, BEGUN, &seen));
    assert_int_equal(seen.home.serial, 0);
    assert_int_equal(seen.n_live, 1);
}

/* One that is over is begun anew; what is left of its old connections does not count. */
static void test_an_entry_that_is_over(void **state)
{
    struct affinity_hold old = {0};
    struct affinity_hold hold = {0};
    struct affinity_hold other = {0};
    struct affinity_seen stale;
    struct affinity_seen seen;

    (void)state;
    add(1, 5, BEGUN, &old);
    assert_int_equal(add(1, 6, BEGUN + 100 * S, &hold), AFFINITY_KNOWN); /* has a connection */
    other = old;
    affinity_table_leave(table, &old);
    assert_true(find(1, BEGUN, &stale));
    assert_int_equal(add(1, 6, BEGUN + 100 * S, &hold), AFFINITY_ADDED);
    assert_false(affinity_table_touch(table, &stale, BEGUN, &old));
    assert_false(affinity_table_move(table, &stale, (struct affinity_home){9, 9}));
    affinity_table_leave(table, &other);
    affinity_table_forget(table, &other, (struct affinity_home){6, 6});
    assert_true(find(1, BEGUN + 100 * S, &seen));
    assert_int_equal(seen.n_live, 1);
    assert_int_equal(seen.home.serial, 6);
}

/* A flood takes entries of those that came last the longest ago: one that comes again is kept, and
 * so is one that has a connection. */
static void test_a_flood(void **state)
{
    struct affinity_hold live = {0};
    struct affinity_hold hold = {0};
    struct affinity_seen seen;

    (void)state;
    add(1, 1, BEGUN, &live);
    add(2, 2, BEGUN, &hold);
    affinity_table_leave(table, &hold);
    for (uint64_t i = 0; i < 3 * CAPACITY; i++) {
        uint64_t now_ns = BEGUN + i * 10000000;

        assert_int_equal(add(1000 + i, 3, now_ns, &hold), AFFINITY_ADDED);
        affinity_table_leave(table, &hold);
        if (i % 1000)
            continue;
        assert_true(find(2, now_ns, &seen));
        assert_true(affinity_table_touch(table, &seen, now_ns, &hold));
        affinity_table_leave(table, &hold);
    }
    assert_true(find(1, BEGUN, &seen));
    assert_int_equal(seen.n_live, 1);
    assert_in_range(affinity_table_count(table, BEGUN + 30ull * CAPACITY * 1000000, 400000 * S),
                    CAPACITY * 99 / 100, CAPACITY);
}

/* Where all have connections the oldest gives way. */
static void test_a_crowd_of_live_ones(void **state)
{
    static struct affinity_hold holds[2 * CAPACITY];
    size_t n_dead = 0;
    struct affinity_seen seen;

    (void)state;
    memset(holds, 0, sizeof(holds));
    for (uint64_t i = 0; i < 2 * CAPACITY; i++)
        assert_int_equal(add(i, 1, BEGUN + i * 10000000, &holds[i]), AFFINITY_ADDED);
    assert_in_range(affinity_table_count(table, BEGUN, S), CAPACITY * 99 / 100, CAPACITY);
    for (uint64_t i = CAPACITY * 3 / 2; i < 2 * CAPACITY; i++)
        n_dead += !find(i, BEGUN, &seen);
    assert_in_range(n_dead, 0, CAPACITY / 50);
    for (size_t i = 0; i < 2 * CAPACITY; i++)
        affinity_table_leave(table, &holds[i]);
    for (uint64_t i = 0; i < 2 * CAPACITY; i++)
        if (find(i, BEGUN, &seen))
            assert_int_equal(seen.n_live, 0);
}

static void test_counting(void **state)
{
    struct affinity_hold hold = {0};

    (void)state;
    assert_int_equal(affinity_table_count(table, BEGUN, S), 0);
    for (uint64_t i = 0; i < 100; i++) {
        hold = (struct affinity_hold){0};
        add(i, 1, BEGUN, &hold);
        if (i >= 10)
            affinity_table_leave(table, &hold);
    }
    assert_int_equal(affinity_table_count(table, BEGUN + 9 * S, 10 * S), 100);
    assert_int_equal(affinity_table_count(table, BEGUN + 11 * S, 10 * S), 10);
}

static void test_all_that_are_there(void **state)
{
    struct affinity_hold hold = {0};
    struct affinity_seen seen;
    struct affinity_key key;
    bool was_there[100] = {false};
    size_t n = 0;
    size_t at = 0;

    (void)state;
    assert_false(affinity_table_next(table, BEGUN, &at, &key, &seen));
    for (uint64_t i = 0; i < 100; i++) {
        hold = (struct affinity_hold){0};
        add(i, (uint32_t)i + 1, BEGUN, &hold);
    }
    for (at = 0; affinity_table_next(table, BEGUN + S, &at, &key, &seen); n++) {
        const struct affinity_key expected = key_of(key.words[1]);

        assert_in_range(key.words[1], 0, 99);
        assert_memory_equal(&key, &expected, sizeof(key));
        assert_false(was_there[key.words[1]]);
        was_there[key.words[1]] = true;
        assert_int_equal(seen.home.serial, key.words[1] + 1);
        assert_int_equal(seen.n_live, 1);
        assert_in_range(seen.age_ns, S * 99 / 100, S * 101 / 100);
    }
    assert_int_equal(n, 100);
}

/* One entry holds up to 65,535; more do not count, and do no harm. */
static void test_a_client_with_very_many(void **state)
{
    enum { N = 70000 };
    static struct affinity_hold holds[N];
    struct affinity_seen seen;

    (void)state;
    memset(holds, 0, sizeof(holds));
    add(1, 1, BEGUN, &holds[0]);
    for (int i = 1; i < N; i++) {
        assert_true(find(1, BEGUN, &seen));
        assert_true(affinity_table_touch(table, &seen, BEGUN, &holds[i]));
    }
    assert_true(find(1, BEGUN, &seen));
    assert_int_equal(seen.n_live, 65535);
    for (int i = 0; i < N; i++)
        affinity_table_leave(table, &holds[i]);
    assert_true(find(1, BEGUN, &seen));
    assert_int_equal(seen.n_live, 0);
    assert_int_equal(seen.home.serial, 1);
}

/* Threads that add the same clients at the same time agree on each: whoever added it gets its
 * server, all others see that one. */
enum { N_THREADS = 4, N_CLIENTS = 6400 };

static uint32_t agreed[N_THREADS][N_CLIENTS];
static _Atomic uint32_t n_ready;

static uint32_t go_through(uint64_t client, uint32_t serial, struct affinity_hold *hold)
{
    struct affinity_seen seen;

    for (;;) {
        if (find(client, BEGUN, &seen)) {
            if (affinity_table_touch(table, &seen, BEGUN, hold))
                return seen.home.serial;
        } else if (add(client, serial, BEGUN, hold) == AFFINITY_ADDED) {
            return serial;
        }
    }
}

static void *add_all(void *arg)
{
    uint32_t self = (uint32_t)(uintptr_t)arg;

    for (uint32_t i = 0; i < N_CLIENTS; i++) {
        struct affinity_hold hold = {0};

        if (i % 64 == 0) { /* together */
            atomic_fetch_add(&n_ready, 1);
            while (atomic_load(&n_ready) < N_THREADS * (i / 64 + 1))
                sched_yield();
        }
        agreed[self][i] = go_through(i, self + 1, &hold);
        if (self % 2)
            affinity_table_leave(table, &hold);
    }
    return NULL;
}

static void test_threads_agree(void **state)
{
    pthread_t threads[N_THREADS];
    bool was_first[N_THREADS + 1] = {false};
    struct affinity_seen seen;

    (void)state;
    atomic_store(&n_ready, 0);
    for (uintptr_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_all, (void *)i), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < N_CLIENTS; i++) {
        assert_true(find(i, BEGUN, &seen));
        assert_int_equal(seen.n_live, N_THREADS / 2);
        was_first[seen.home.serial] = true;
        for (int k = 0; k < N_THREADS; k++)
            assert_int_equal(agreed[k][i], seen.home.serial);
    }
    assert_true(was_first[1] + was_first[2] + was_first[3] + was_first[4] > 1);
    assert_int_equal(affinity_table_count(table, BEGUN, S), N_CLIENTS);
}

/* Threads in an overfull table: who is found is the one that was asked for, with its own server. */
static char another[] = "another client's server";

static void *crowd(void *arg)
{
    struct seed seed = {(uint64_t)(uintptr_t)arg * 7919 + 1};

    for (int i = 0; i < 100000; i++) {
        uint64_t client = seed_next(&seed, 400000);
        struct affinity_hold hold = {0};
        uint32_t serial = go_through(client, (uint32_t)client + 1, &hold);

        if (serial != client + 1)
            return another;
        if (seed_next(&seed, 4))
            affinity_table_leave(table, &hold);
    }
    return NULL;
}

static void test_threads_crowd(void **state)
{
    pthread_t threads[N_THREADS];

    (void)state;
    for (uintptr_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd, (void *)i), 0);
    for (int i = 0; i < N_THREADS; i++) {
        void *trouble;

        pthread_join(threads[i], &trouble);
        assert_null(trouble);
    }
    assert_in_range(affinity_table_count(table, BEGUN, S), 1, CAPACITY);
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, open_table, close_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(test_an_entry),
        WITH_TABLE(test_addresses_are_compared_in_full),
        WITH_TABLE(test_a_move),
        WITH_TABLE(test_an_entry_that_is_over),
        WITH_TABLE(test_a_flood),
        WITH_TABLE(test_a_crowd_of_live_ones),
        WITH_TABLE(test_counting),
        WITH_TABLE(test_a_client_with_very_many),
        WITH_TABLE(test_all_that_are_there),
        WITH_TABLE(test_a_client_with_very_many),
        WITH_TABLE(test_threads_agree),
        WITH_TABLE(test_threads_crowd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
