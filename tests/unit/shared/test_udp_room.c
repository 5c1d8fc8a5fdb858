#include "lb4/shared/udp_room.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_WANTED = 100000 };

static void fill(struct udp_quota *quota)
{
    while (capacity_acquire(&quota->capacity))
        ;
}

static void test_limits(void **state)
{
    static const uint32_t cases[][2] = {
        {0, 0}, {1, 1}, {2, 1}, {3, 2}, {10, 5}, {11, 6}, {UINT32_MAX, UINT32_MAX / 2 + 1}};
    static struct udp_room room;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        udp_room_init(&room, cases[i][0]);
        assert_int_equal(room.sessions.capacity.limit, cases[i][0]);
        assert_int_equal(room.trial.capacity.limit, cases[i][1]);
        assert_int_equal(udp_room_used(&room), 0);
    }
}

/* Half of what one has more than the asker, at most what was asked for. */
static void test_owed(void **state)
{
    static const struct {
        uint32_t n_wanted;
        uint32_t n_askers;
        uint32_t n_mine;
        uint32_t n_owed;
    } cases[] = {
        {0, 0, 9, 0},
        {1, 0, 0, 0},
        {1, 0, 1, 1},
        {1, 0, 9, 1},
        {9, 0, 9, 5},
        {9, 0, 100, 9},
        {9, 1, 1, 0},
        {9, 1, 2, 0},
        {9, 1, 3, 1},
        {9, 2, 1, 0},
        {9, 10, 29, 9},
        {9, 10, 14, 2},
        {UINT32_MAX, 0, UINT32_MAX, 1u << 31},
    };
    static struct udp_room room;

    (void)state;
    udp_room_init(&room, 10);
    fill(&room.sessions);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        udp_quota_ask(&room.sessions, cases[i].n_wanted, cases[i].n_askers);
        assert_int_equal(udp_quota_owed(&room.sessions, cases[i].n_mine), cases[i].n_owed);
    }
}

/* What one gives the next need not. */
static void test_an_ask_is_met_once(void **state)
{
    static struct udp_room room;

    (void)state;
    udp_room_init(&room, 10);
    fill(&room.sessions);
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 0);
    udp_quota_ask(&room.sessions, 5, 0);
    assert_int_equal(udp_quota_owed(&room.sessions, 4), 2);
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 3);
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 0);
    udp_quota_ask(&room.sessions, 5, 0);
    udp_quota_ask(&room.sessions, 1, 0);
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 1);
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 0);
}

static void test_nothing_is_owed_while_places_are_free(void **state)
{
    static struct udp_room room;

    (void)state;
    udp_room_init(&room, 10);
    fill(&room.sessions);
    udp_quota_ask(&room.sessions, 5, 0);
    capacity_release(&room.sessions.capacity);
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 0);
    assert_true(capacity_acquire(&room.sessions.capacity));
    assert_int_equal(udp_quota_owed(&room.sessions, 100), 5);
}

static struct udp_room shared;

static void *pay(void *arg)
{
    size_t *n_given = arg;
    uint32_t n;

    while ((n = udp_quota_owed(&shared.sessions, 3)) > 0)
        *n_given += n;
    return NULL;
}

/* Many who pay at once give as much as was asked for, no more. */
static void test_threads_give_what_was_asked(void **state)
{
    pthread_t threads[N_THREADS];
    size_t n_given[N_THREADS] = {0};
    size_t n = 0;

    (void)state;
    udp_room_init(&shared, 1);
    fill(&shared.sessions);
    udp_quota_ask(&shared.sessions, N_WANTED, 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pay, &n_given[i]), 0);
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        n += n_given[i];
    }
    assert_int_equal(n, N_WANTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_owed),
        cmocka_unit_test(test_an_ask_is_met_once),
        cmocka_unit_test(test_nothing_is_owed_while_places_are_free),
        cmocka_unit_test(test_threads_give_what_was_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
