#include "lb4/shared/service_table.h"
#include "lb4/shared/waiting.h"

#include <pthread.h>

#include "service_rig.h"

enum { N_THREADS = 4, N_ROUNDS = 100000, MOST = 2 };

static struct service_table table;
static struct mailbox mailboxes[2];
static struct waiting_mark marks[2];

static struct service *open_service(enum conf_balance balance)
{
    build(&table, all_ones, 2, balance);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(mailbox_init(&mailboxes[i]), 0);
        atomic_store(&marks[i].since_ns, 0);
        waiting_crew_join(table.crew, &mailboxes[i], &marks[i]);
    }
    return &table.services[0];
}

static void close_service(void)
{
    mailbox_fini(&mailboxes[0]);
    mailbox_fini(&mailboxes[1]);
    service_table_fini(&table);
}

/* Who was woken: bit 0 the first worker, bit 1 the second. */
static unsigned take_wakes(void)
{
    return (mailbox_take(&mailboxes[0]) == MAILBOX_WAITING) |
           (mailbox_take(&mailboxes[1]) == MAILBOX_WAITING) << 1;
}

static void test_count(void **state)
{
    static struct waiting waiting;

    (void)state;
    assert_false(waiting_is_any(&waiting));
    assert_int_equal(waiting_enter(&waiting, WAITING_PLACE, 2), WAITING_FIRST);
    assert_int_equal(waiting_enter(&waiting, WAITING_PLACE, 2), WAITING_BEHIND);
    assert_int_equal(waiting_enter(&waiting, WAITING_PLACE, 2), WAITING_REFUSED);
    assert_int_equal(waiting_enter(&waiting, WAITING_SERVER, 0), WAITING_REFUSED);
    assert_int_equal(waiting_enter(&waiting, WAITING_SERVER, 1), WAITING_BEHIND);
    assert_false(waiting_move_to_server(&waiting, 1));
    assert_true(waiting_move_to_server(&waiting, 2));
    assert_int_equal(waiting_count(&waiting, WAITING_SERVER), 2);
    assert_int_equal(waiting_count(&waiting, WAITING_PLACE), 1);
    assert_int_equal(waiting_leave(&waiting, WAITING_PLACE), 2);
    assert_int_equal(waiting_leave(&waiting, WAITING_SERVER), 1);
    assert_true(waiting_is_any(&waiting));
    assert_int_equal(waiting_leave(&waiting, WAITING_SERVER), 0);
    assert_false(waiting_is_any(&waiting));
}

static void test_the_oldest_is_woken(void **state)
{
    struct service *service = open_service(CONF_BALANCE_LEASTCONN);

    (void)state;
    atomic_store(&marks[0].since_ns, 7);
    atomic_store(&marks[1].since_ns, 5);
    waiting_wake_next(service);
    assert_int_equal(take_wakes(), 0); /* nobody is counted */
    waiting_enter(&service->waiting, WAITING_PLACE, 10);
    waiting_wake_next(service);
    assert_int_equal(take_wakes(), 2);
    atomic_store(&marks[1].since_ns, 0);
    waiting_wake_next(service);
    assert_int_equal(take_wakes(), 1);
    waiting_wake_all(service);
    assert_int_equal(take_wakes(), 1);
    close_service();
}

static void test_all_are_woken(void **state)
{
    struct service *service = open_service(CONF_BALANCE_SOURCE);
    uint32_t era = waiting_era(&service->waiting);

    (void)state;
    atomic_store(&marks[0].since_ns, 7);
    atomic_store(&marks[1].since_ns, 5);
    waiting_enter(&service->waiting, WAITING_SERVER, 10);
    waiting_wake_next(service); /* each waits for its own server */
    assert_int_equal(take_wakes(), 3);
    assert_int_equal(waiting_era(&service->waiting), era);
    waiting_wake_all(service);
    assert_int_equal(take_wakes(), 3);
    assert_int_not_equal(waiting_era(&service->waiting), era);
    waiting_leave(&service->waiting, WAITING_SERVER);
    close_service();
}

static void test_lost_and_deserted(void **state)
{
    struct service *service = open_service(CONF_BALANCE_LEASTCONN);

    (void)state;
    assert_false(waiting_is_lost(service));
    backend_set(&service->backends[0], PICK_DOWN);
    assert_false(waiting_is_lost(service));
    backend_set(&service->backends[1], PICK_SUSPECT);
    assert_true(waiting_is_lost(service));
    assert_false(waiting_is_deserted(service));
    backend_clear(&service->backends[1], PICK_SUSPECT);
    backend_set(&service->backends[0], PICK_GONE);
    backend_set(&service->backends[1], PICK_GONE); /* names that are not found, or not any more */
    assert_false(waiting_is_deserted(service));
    service_retire(service);
    assert_true(waiting_is_deserted(service) && waiting_is_lost(service));
    close_service();
}

/* One end for one begin, and none while a client is held or no server is usable. */
static void test_a_hold_is_told_once(void **state)
{
    struct service *service = open_service(CONF_BALANCE_LEASTCONN);
    struct waiting *waiting = &service->waiting;

    (void)state;
    backend_set(&service->backends[0], PICK_DOWN);
    backend_set(&service->backends[1], PICK_DOWN);
    waiting_enter(waiting, WAITING_SERVER, 10);
    waiting_note_end(waiting, WAITING_SERVED);
    assert_int_equal(waiting->n_held[WAITING_SERVED], 0); /* of no hold */
    waiting_tell_begin(service, 1000, 5);
    waiting_tell_begin(service, 2000, 5);
    assert_int_equal(waiting->held_since_ns, 1000);
    waiting_leave(waiting, WAITING_SERVER);
    waiting_note_end(waiting, WAITING_GAVE_UP);
    waiting_wake_all(service);
    assert_int_equal(waiting->held_since_ns, 1000);
    backend_clear(&service->backends[0], PICK_DOWN);
    waiting_enter(waiting, WAITING_SERVER, 10);
    waiting_tell_end(service, 3000);
    assert_int_equal(waiting->held_since_ns, 1000);
    waiting_leave(waiting, WAITING_SERVER);
    assert_int_equal(waiting->n_held[WAITING_GAVE_UP], 1);
    waiting_wake_all(service);
    assert_int_equal(waiting->held_since_ns, 0);
    assert_int_equal(waiting->n_held[WAITING_GAVE_UP], 0);

    waiting_tell_begin(service, 4000, 5); /* it came behind the last of those that were held */
    assert_int_equal(waiting->held_since_ns, 0);
    close_service();
}

static struct waiting contested;
static int n_inside;
static int most_inside;

static void *come_and_go(void *arg)
{
    (void)arg;
    for (int i = 0; i < N_ROUNDS; i++) {
        int inside;

        if (waiting_enter(&contested, WAITING_SERVER, MOST) == WAITING_REFUSED)
            continue;
        inside = __atomic_add_fetch(&n_inside, 1, __ATOMIC_RELAXED);
        if (inside > __atomic_load_n(&most_inside, __ATOMIC_RELAXED))
            __atomic_store_n(&most_inside, inside, __ATOMIC_RELAXED);
        __atomic_sub_fetch(&n_inside, 1, __ATOMIC_RELAXED);
        waiting_leave(&contested, WAITING_SERVER);
    }
    return NULL;
}

static void test_the_cap_is_exact(void **state)
{
    pthread_t threads[N_THREADS];

    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(most_inside, 1, MOST);
    assert_false(waiting_is_any(&contested));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_the_oldest_is_woken),
        cmocka_unit_test(test_all_are_woken),
        cmocka_unit_test(test_lost_and_deserted),
        cmocka_unit_test(test_a_hold_is_told_once),
        cmocka_unit_test(test_the_cap_is_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
