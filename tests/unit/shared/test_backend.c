#include "lb4/shared/backend.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_ROUNDS = 100000 };

/* The counter that all workers write has its cache line for itself. */
static void test_active_is_alone_on_its_line(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct backend, active) % 64, 0);
    assert_true(offsetof(struct backend, weight) - offsetof(struct backend, active) >= 64);
    assert_int_equal(sizeof(struct backend) % 64, 0);
}

static void test_acquire_release(void **state)
{
    static struct backend backend = {.weight = 1};

    (void)state;
    assert_int_equal(backend_active(&backend), 0);
    backend_acquire(&backend);
    backend_acquire(&backend);
    assert_int_equal(backend_active(&backend), 2);
    backend_release(&backend);
    assert_int_equal(backend_active(&backend), 1);
    backend_release(&backend);
    assert_int_equal(backend_active(&backend), 0);
}

static void *take_and_give_back(void *backend)
{
    for (int i = 0; i < N_ROUNDS; i++) {
        backend_acquire(backend);
        backend_release(backend);
    }
    backend_acquire(backend);
    return NULL;
}

static void test_threads_lose_no_place(void **state)
{
    static struct backend backend = {.weight = 1};
    pthread_t threads[N_THREADS];

    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_back, &backend), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(backend_active(&backend), N_THREADS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_active_is_alone_on_its_line),
        cmocka_unit_test(test_acquire_release),
        cmocka_unit_test(test_threads_lose_no_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
