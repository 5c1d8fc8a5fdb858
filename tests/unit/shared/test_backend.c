#include "lb4/shared/backend_write.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_ROUNDS = 100000 };

/* The cost of a choice rests on it: eight to a cache line. */
static void test_slot_is_small(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct backend_slot), 8);
}

static void test_acquire_release(void **state)
{
    struct backend_slot slot = {.standing = 7};
    struct backend backend = {.slot = &slot};

    (void)state;
    assert_int_equal(backend_active(&backend), 0);
    backend_acquire(&backend);
    backend_acquire(&backend);
    assert_int_equal(backend_active(&backend), 2);
    backend_release(&backend);
    assert_int_equal(backend_active(&backend), 1);
    backend_release(&backend);
    assert_int_equal(backend_active(&backend), 0);
    assert_int_equal(backend_standing(&backend), 7);
}

/* Each returns the standing before, so that one of several threads knows itself the first. */
static void test_flags_leave_the_rest_alone(void **state)
{
    struct backend_slot slot = {.active = 3, .standing = 256 | PICK_BACKUP};
    struct backend backend = {.slot = &slot};

    (void)state;
    assert_int_equal(backend_weight(&backend), 256);
    assert_int_equal(backend_set(&backend, PICK_SUSPECT), 256 | PICK_BACKUP);
    assert_int_equal(backend_set(&backend, PICK_SUSPECT), 256 | PICK_BACKUP | PICK_SUSPECT);
    backend_set(&backend, PICK_DOWN | PICK_FRESH);
    assert_int_equal(backend_clear(&backend, PICK_SUSPECT | PICK_FRESH),
                     256 | PICK_BACKUP | PICK_SUSPECT | PICK_DOWN | PICK_FRESH);
    assert_int_equal(backend_standing(&backend), 256 | PICK_BACKUP | PICK_DOWN);
    assert_int_equal(backend_clear(&backend, PICK_FRESH), 256 | PICK_BACKUP | PICK_DOWN);
    assert_int_equal(backend_weight(&backend), 256);
    assert_int_equal(backend_active(&backend), 3);
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
    static struct backend_slot slot = {.standing = 1};
    static struct backend backend = {.slot = &slot};
    pthread_t threads[N_THREADS];

    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_back, &backend), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(backend_active(&backend), N_THREADS);
}

struct flipper {
    struct backend *backend;
    uint32_t flag;
    uint32_t n_first; /* times that this thread was the one to change the flag */
    pthread_t thread;
};

static void *flip(void *argument)
{
    struct flipper *flipper = argument;

    for (int i = 0; i < N_ROUNDS; i++) {
        if (!(backend_set(flipper->backend, flipper->flag) & flipper->flag))
            flipper->n_first++;
        if (backend_clear(flipper->backend, flipper->flag) & flipper->flag)
            flipper->n_first++;
    }
    return NULL;
}

/* Four writers, each with a flag of its own: every change is seen to happen, none is undone. */
static void test_threads_lose_no_flag(void **state)
{
    static struct backend_slot slot = {.standing = 9};
    static struct backend backend = {.slot = &slot};
    struct flipper flippers[N_THREADS];

    (void)state;
    for (int i = 0; i < N_THREADS; i++) {
        flippers[i] = (struct flipper){.backend = &backend, .flag = PICK_DOWN << i};
        assert_int_equal(pthread_create(&flippers[i].thread, NULL, flip, &flippers[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(flippers[i].thread, NULL);
        assert_int_equal(flippers[i].n_first, 2 * N_ROUNDS);
    }
    assert_int_equal(backend_standing(&backend), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot_is_small),
        cmocka_unit_test(test_acquire_release),
        cmocka_unit_test(test_flags_leave_the_rest_alone),
        cmocka_unit_test(test_threads_lose_no_place),
        cmocka_unit_test(test_threads_lose_no_flag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
