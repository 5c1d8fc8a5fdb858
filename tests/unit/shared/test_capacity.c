#include "lb4/shared/capacity.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_ROUNDS = 300000, LIMIT = 1 };

static void test_limit(void **state)
{
    static struct capacity capacity;

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
    static struct capacity capacity;

    (void)state;
    capacity_init(&capacity, 0);
    assert_false(capacity_acquire(&capacity));
    assert_int_equal(capacity_used(&capacity), 0);
}

/* `holders` is counted apart from the capacity, by those who hold a place. */
struct race {
    struct capacity capacity;
    pthread_barrier_t start;
    int holders;
    int most;
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
    int n_taken = 0;

    pthread_barrier_wait(&race->start);
    while (n_taken < N_ROUNDS) {
        if (!capacity_acquire(&race->capacity)) {
            sched_yield();
            continue;
        }
        note_most(race, __atomic_add_fetch(&race->holders, 1, __ATOMIC_SEQ_CST));
        n_taken++;
        __atomic_sub_fetch(&race->holders, 1, __ATOMIC_SEQ_CST);
        capacity_release(&race->capacity);
    }
    return NULL;
}

static void test_threads_stay_within(void **state)
{
    static struct race race;
    pthread_t threads[N_THREADS];

    (void)state;
    capacity_init(&race.capacity, LIMIT);
    pthread_barrier_init(&race.start, NULL, N_THREADS);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compete, &race), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(race.most, 1, LIMIT);
    assert_int_equal(capacity_used(&race.capacity), 0);
    pthread_barrier_destroy(&race.start);
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
