#include "lb4/shared/capacity.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_ROUNDS = 100000, LIMIT = 3 };

static void test_limit(void **state)
{
    struct capacity capacity;

    (void)state;
    capacity_init(&capacity, 2);
    assert_int_equal(capacity_used(&capacity), 0);
    assert_true(capacity_acquire(&capacity));
    assert_true(capacity_acquire(&capacity));
    assert_false(capacity_acquire(&capacity));
    assert_int_equal(capacity_used(&capacity), 2);
    capacity_release(&capacity);
    assert_true(capacity_acquire(&capacity));
    assert_false(capacity_acquire(&capacity));
    capacity_release(&capacity);
    capacity_release(&capacity);
    assert_int_equal(capacity_used(&capacity), 0);
}

static void test_limit_of_none(void **state)
{
    struct capacity capacity;

    (void)state;
    capacity_init(&capacity, 0);
    assert_false(capacity_acquire(&capacity));
    assert_int_equal(capacity_used(&capacity), 0);
}

/* `holders` is counted apart from the capacity, by those who hold a place. */
struct race {
    struct capacity capacity;
    int holders;
    int most;
    int n_taken;
};

static void note_most(struct race *race, int holders)
{
    int most = __atomic_load_n(&race->most, __ATOMIC_RELAXED);

    while (holders > most && !__atomic_compare_exchange_n(&race->most, &most, holders, false,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static void *compete(void *arg)
{
    struct race *race = arg;

    for (int i = 0; i < N_ROUNDS; i++) {
        if (!capacity_acquire(&race->capacity))
            continue;
        note_most(race, __atomic_add_fetch(&race->holders, 1, __ATOMIC_SEQ_CST));
        __atomic_add_fetch(&race->n_taken, 1, __ATOMIC_RELAXED);
        __atomic_sub_fetch(&race->holders, 1, __ATOMIC_SEQ_CST);
        capacity_release(&race->capacity);
    }
    return NULL;
}

static void test_threads_stay_within(void **state)
{
    struct race race = {0};
    pthread_t threads[N_THREADS];

    (void)state;
    capacity_init(&race.capacity, LIMIT);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compete, &race), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(race.most, 1, LIMIT);
    assert_true(race.n_taken >= N_ROUNDS);
    assert_int_equal(capacity_used(&race.capacity), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_limit_of_none),
        cmocka_unit_test(test_threads_stay_within),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
