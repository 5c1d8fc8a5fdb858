#include "lb4/shared/place.h"
#include "lb4/shared/service_table.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "service_rig.h"

static struct service_table table;
static struct service *service;

/* A service whose servers have these limits. */
static void open_service(const uint32_t *limits, size_t n, enum conf_balance balance)
{
    build(&table, all_ones, n, balance);
    service_table_fini(&table);
    for (size_t i = 0; i < n; i++)
        conf_servers[i].maxconn = limits[i];
    assert_int_equal(build_from(&table, n, balance), 0);
    service = &table.services[0];
}

static enum place_result take(const struct pick_set *tried, uint32_t random, struct backend **ret)
{
    struct addr client = host(random);

    return place_take(
        service, &(struct service_client){.addr = &client, .tried = tried, .random = random}, ret);
}

static bool is_full(size_t server)
{
    return backend_standing(&service->backends[server]) & PICK_FULL;
}

/* UDP sessions fill servers and mark none of them: a TCP client finds the one that they have left.
 */
static void test_servers_that_sessions_have_filled(void **state)
{
    enum { N = 60 };
    uint32_t limits[N];
    struct backend *backend;

    (void)state;
    for (size_t i = 0; i < N; i++)
        limits[i] = 1;
    open_service(limits, N, CONF_BALANCE_ROUNDROBIN);
    for (size_t i = 0; i < N - 1; i++)
        backend_acquire(&service->backends[i]);
    assert_int_equal(take(&none, 1, &backend), PLACE_TAKEN);
    assert_ptr_equal(backend, &service->backends[N - 1]);
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    service_table_fini(&table);
}

static void test_full_servers_are_passed_over(void **state)
{
    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        struct seed seed = seed_new();
        struct backend *backend;

        if (policy == CONF_BALANCE_SOURCE)
            continue;
        open_service((const uint32_t[]){2, 3}, 2, (enum conf_balance)policy);
        for (int i = 0; i < 5; i++)
            assert_int_equal(take(&none, any(&seed), &backend), PLACE_TAKEN);
        assert_int_equal(backend_active(&service->backends[0]), 2);
        assert_int_equal(backend_active(&service->backends[1]), 3);
        assert_true(is_full(0) && is_full(1));
        assert_int_equal(take(&none, any(&seed), &backend), PLACE_FULL);
        assert_null(backend);
        place_give_back(service, &service->backends[1]);
        assert_true(is_full(0) && !is_full(1));
        assert_int_equal(take(&none, any(&seed), &backend), PLACE_TAKEN);
        assert_ptr_equal(backend, &service->backends[1]);
        service_table_fini(&table);
    }
}

static void test_nobody_is_not_full(void **state)
{
    struct backend *backend;

    (void)state;
    open_service((const uint32_t[]){1, 0}, 2, CONF_BALANCE_LEASTCONN);
    backend_set(&service->backends[1], PICK_DOWN);
    assert_int_equal(take(&none, 1, &backend), PLACE_TAKEN);
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    backend_set(&service->backends[0], PICK_DOWN);
    assert_int_equal(take(&none, 1, &backend), PLACE_NOBODY);
    service_table_fini(&table);
}

/* A backup is there for when primaries are down, not for when they are full; nor is a suspect. */
static void test_second_best_do_not_take_over(void **state)
{
    struct backend *backend;

    (void)state;
    open_service((const uint32_t[]){1, 0}, 2, CONF_BALANCE_LEASTCONN);
    backend_set(&service->backends[1], PICK_BACKUP);
    assert_int_equal(take(&none, 1, &backend), PLACE_TAKEN);
    assert_ptr_equal(backend, &service->backends[0]);
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    backend_clear(&service->backends[1], PICK_BACKUP);
    backend_set(&service->backends[1], PICK_SUSPECT);
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    backend_clear(&service->backends[1], PICK_SUSPECT);
    backend_set(&service->backends[1], PICK_FRESH); /* spared every second time, but as good */
    for (uint32_t half = 0; half < 2; half++)
        assert_int_equal(take(&none, half << 31, &backend), PLACE_TAKEN);
    service_table_fini(&table);
}

static void test_source_waits_for_its_own(void **state)
{
    struct backend *first;
    struct backend *backend;
    uint32_t other = 0;

    (void)state;
    open_service((const uint32_t[]){1, 1}, 2, CONF_BALANCE_SOURCE);
    assert_int_equal(take(&none, 77, &first), PLACE_TAKEN);
    assert_int_equal(take(&none, 77, &backend), PLACE_FULL);
    while (take(&none, ++other, &backend) == PLACE_FULL)
        continue;
    assert_ptr_not_equal(first, backend);
    place_give_back(service, first);
    assert_int_equal(take(&none, 77, &backend), PLACE_TAKEN);
    assert_ptr_equal(first, backend);
    service_table_fini(&table);
}

static void test_a_limit_that_changes(void **state)
{
    struct backend *backend;
    struct backend *only;

    (void)state;
    open_service((const uint32_t[]){2}, 1, CONF_BALANCE_LEASTCONN);
    only = &service->backends[0];
    take(&none, 1, &backend);
    take(&none, 1, &backend);
    place_set_limit(service, only, 3);
    assert_false(is_full(0));
    assert_int_equal(take(&none, 1, &backend), PLACE_TAKEN);
    place_set_limit(service, only, 1);
    assert_true(is_full(0));
    place_give_back(service, only);
    place_give_back(service, only);
    assert_true(is_full(0)); /* one is left, as many as it may have */
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    place_give_back(service, only);
    assert_false(is_full(0));
    take(&none, 1, &backend);
    place_set_limit(service, only, 0);
    assert_false(is_full(0));
    backend_set(only, PICK_FULL); /* from a limit that only this thread had still seen */
    place_review(service, only);
    assert_false(is_full(0));
    service_table_fini(&table);
}

/* UDP sessions count, but are not refused. */
static void test_sessions(void **state)
{
    const struct addr client = host(1);
    const struct service_client datagram = {.addr = &client, .tried = &none, .random = 1};
    struct backend *backend;

    (void)state;
    open_service((const uint32_t[]){1}, 1, CONF_BALANCE_LEASTCONN);
    assert_non_null(service_choose(service, &datagram));
    assert_non_null(service_choose(service, &datagram));
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    place_give_back(service, &service->backends[0]);
    assert_int_equal(take(&none, 1, &backend), PLACE_FULL);
    place_give_back(service, &service->backends[0]);
    assert_int_equal(take(&none, 1, &backend), PLACE_TAKEN);
    assert_non_null(service_choose(service, &datagram));
    service_table_fini(&table);
}

/* --- threads that wait for each other's places ------------------------------------------------ */

/* Many short rounds: a wake that is lost shows when all is quiet. */
enum { N_WORKERS = 3, N_CLIENTS = 2, N_ROUNDS = 10000, LIMIT = 1, PATIENCE_MS = 20000 };

/* A worker as far as this protocol goes; its clients are numbers. */
struct worker {
    struct mailbox mailbox;
    struct waiting_mark mark;
    struct seed seed;
    int n_to_come;
    int n_parked;
    int n_held;
    int n_refused;
    bool must_look;
    bool is_lost; /* it waited in vain */
};

static struct worker workers[N_WORKERS];
static pthread_barrier_t round_begins;
static int n_lost;
static int n_holders;
static int most_holders;

static bool take_place(struct worker *worker)
{
    struct backend *backend;
    int holders;

    if (take(&none, any(&worker->seed), &backend) != PLACE_TAKEN)
        return false;
    holders = __atomic_add_fetch(&n_holders, 1, __ATOMIC_RELAXED);
    if (holders > __atomic_load_n(&most_holders, __ATOMIC_RELAXED))
        __atomic_store_n(&most_holders, holders, __ATOMIC_RELAXED);
    worker->n_held++;
    return true;
}

static void give_place(struct worker *worker)
{
    worker->n_held--;
    __atomic_sub_fetch(&n_holders, 1, __ATOMIC_RELAXED);
    place_give_back(service, &service->backends[0]);
}

static void park(struct worker *worker)
{
    sched_yield(); /* others run where it matters what comes first */
    if (worker->n_parked == 0)
        atomic_store_explicit(&worker->mark.since_ns, any(&worker->seed) | 1, memory_order_release);
    if (waiting_enter(&service->waiting, WAITING_PLACE, UINT32_MAX) == WAITING_FIRST)
        worker->must_look = true;
    worker->n_parked++;
}

static void unpark(struct worker *worker)
{
    if (--worker->n_parked == 0)
        atomic_store_explicit(&worker->mark.since_ns, 0, memory_order_release);
    sched_yield();
    if (waiting_leave(&service->waiting, WAITING_PLACE) > 0 && worker->n_parked == 0)
        waiting_wake_next(service);
}

static void look(struct worker *worker)
{
    worker->must_look = false;
    while (worker->n_parked > 0 && take_place(worker))
        unpark(worker);
}

static void arrive(struct worker *worker)
{
    worker->n_to_come--;
    if (waiting_is_any(&service->waiting) || !take_place(worker))
        park(worker);
}

/* Some give up. */
static void step(struct worker *worker)
{
    struct pollfd woken = {worker->mailbox.event_fd, POLLIN, 0};

    if (mailbox_take(&worker->mailbox) & MAILBOX_WAITING || worker->must_look)
        look(worker);
    if (worker->n_held > 0)
        give_place(worker);
    else if (worker->n_parked > 0 && seed_next(&worker->seed, 16) == 0)
        unpark(worker);
    else if (worker->n_to_come > 0)
        arrive(worker);
    else if (worker->n_parked > 0 && !worker->must_look)
        worker->is_lost = poll(&woken, 1, PATIENCE_MS) == 0;
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (int i = 0; i < N_ROUNDS && __atomic_load_n(&n_lost, __ATOMIC_RELAXED) == 0; i++) {
        pthread_barrier_wait(&round_begins);
        worker->n_to_come = N_CLIENTS;
        while (!worker->is_lost &&
               (worker->n_to_come > 0 || worker->n_parked > 0 || worker->n_held > 0))
            step(worker);
        if (worker->is_lost)
            __atomic_add_fetch(&n_lost, 1, __ATOMIC_RELAXED);
        pthread_barrier_wait(&round_begins);
    }
    return NULL;
}

static void test_no_wake_is_lost(void **state)
{
    pthread_t threads[N_WORKERS];

    (void)state;
    open_service((const uint32_t[]){LIMIT}, 1, CONF_BALANCE_LEASTCONN);
    assert_int_equal(pthread_barrier_init(&round_begins, NULL, N_WORKERS), 0);
    for (int i = 0; i < N_WORKERS; i++) {
        workers[i].seed = seed_new();
        workers[i].seed.state += (uint64_t)i;
        assert_int_equal(mailbox_init(&workers[i].mailbox), 0);
        waiting_crew_join(table.crew, &workers[i].mailbox, &workers[i].mark);
    }
    for (int i = 0; i < N_WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < N_WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_WORKERS; i++) {
        assert_false(workers[i].is_lost);
        mailbox_fini(&workers[i].mailbox);
    }
    assert_in_range(most_holders, 1, LIMIT);
    assert_int_equal(backend_active(&service->backends[0]), 0);
    assert_false(is_full(0));
    assert_false(waiting_is_any(&service->waiting));
    service_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_servers_are_passed_over),
        cmocka_unit_test(test_servers_that_sessions_have_filled),
        cmocka_unit_test(test_nobody_is_not_full),
        cmocka_unit_test(test_second_best_do_not_take_over),
        cmocka_unit_test(test_source_waits_for_its_own),
        cmocka_unit_test(test_a_limit_that_changes),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_no_wake_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
