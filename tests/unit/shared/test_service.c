#include "lb4/shared/service.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

enum { N_MOST = 70, N_THREADS = 3, N_DRAWS = 30000 };

static struct conf_server conf_servers[N_MOST];

/* A configuration of one service with n servers of these weights. */
static void build(struct service_table *table, const uint32_t *weights, size_t n,
                  enum conf_balance balance)
{
    struct conf_service service = {
        .name = "s",
        .servers = conf_servers,
        .n_servers = n,
        .balance = balance,
        .tries = 3,
        .timeouts = {.connect_ms = 3000, .idle_ms = 3600000, .half_close_ms = 60000},
    };
    struct conf conf = {.services = &service, .n_services = 1};

    for (size_t i = 0; i < n; i++) {
        conf_servers[i].weight = weights[i];
        addr_any(AF_INET, (uint16_t)(1000 + i), &conf_servers[i].addr);
        snprintf(conf_servers[i].name, sizeof(conf_servers[i].name), "s%zu", i);
    }
    assert_int_equal(service_table_init(table, &conf), 0);
}

static void check_backend(const struct backend *backend, uint32_t index, uint32_t stats_index)
{
    assert_int_equal(backend->index, index);
    assert_int_equal(backend->stats_index, stats_index);
    assert_int_equal(backend->weight, conf_servers[stats_index].weight);
    assert_string_equal(backend->name, conf_servers[stats_index].name);
    assert_int_equal(addr_port(&backend->addr), 7000 + stats_index);
    assert_int_equal(backend_active(backend), 0);
}

static void test_table_from_conf(void **state)
{
    struct conf_service services[2] = {
        {.name = "one", .servers = conf_servers, .n_servers = 2, .tries = 1},
        {.name = "two", .servers = conf_servers + 2, .n_servers = 1, .tries = 9},
    };
    struct conf conf = {.services = services, .n_services = 2};
    struct service_table table;

    (void)state;
    services[1].timeouts =
        (struct conf_timeouts){.connect_ms = 1, .idle_ms = 2, .half_close_ms = 3};
    for (size_t i = 0; i < 3; i++) {
        conf_servers[i].weight = (uint32_t)i + 1;
        addr_any(AF_INET, (uint16_t)(7000 + i), &conf_servers[i].addr);
        snprintf(conf_servers[i].name, sizeof(conf_servers[i].name), "srv%zu", i);
    }
    assert_int_equal(service_table_init(&table, &conf), 0);
    assert_int_equal(table.n_services, 2);
    assert_int_equal(table.n_backends, 3);
    assert_int_equal(table.services[1].index, 1);
    assert_string_equal(table.services[1].name, "two");
    assert_int_equal(table.services[1].tries, 9);
    assert_int_equal(table.services[1].connect_ns, 1000000);
    assert_int_equal(table.services[1].idle_ns, 2000000);
    assert_int_equal(table.services[1].half_close_ns, 3000000);
    check_backend(&table.services[0].backends[0], 0, 0);
    check_backend(&table.services[0].backends[1], 1, 1);
    check_backend(&table.services[1].backends[0], 0, 2);
    assert_null(table.services[0].sequence);
    service_table_fini(&table);
    assert_null(table.services);
}

/* Brute force: nobody that was not tried is less loaded than the one chosen. */
static void check_least(const struct service *service, const struct pick_set *tried,
                        const struct backend *chosen)
{
    /* Before the choice took its place. */
    struct pick_load best = {backend_active(chosen) - 1, chosen->weight};

    assert_false(pick_set_has(tried, chosen->index));
    for (size_t i = 0; i < service->n_backends; i++) {
        const struct backend *other = &service->backends[i];
        struct pick_load load = {backend_active(other), other->weight};

        if (other != chosen && !pick_set_has(tried, i))
            assert_true((uint64_t)(load.active + 1) * best.weight >=
                        (uint64_t)(best.active + 1) * load.weight);
    }
}

static void test_leastconn_is_the_minimum(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < 300; round++) {
        uint32_t weights[N_MOST];
        size_t n = 1 + seed_next(&seed, N_MOST);
        struct service_table table;
        struct pick_set tried = {0};

        for (size_t i = 0; i < n; i++)
            weights[i] = 1 + (uint32_t)seed_next(&seed, 5);
        build(&table, weights, n, CONF_BALANCE_LEASTCONN);
        for (size_t i = 0; i < n; i++)
            table.services->backends[i].active = (uint32_t)seed_next(&seed, 8);
        for (size_t left = n; left > 0; left--) {
            struct backend *chosen =
                service_choose(table.services, &tried, (uint32_t)seed_next(&seed, UINT32_MAX));

            assert_non_null(chosen);
            check_least(table.services, &tried, chosen);
            assert_int_equal(pick_set_add(&tried, chosen->index, n), 0);
        }
        assert_null(service_choose(table.services, &tried, 1));
        pick_set_free(&tried);
        service_table_fini(&table);
    }
}

/* Equal loads: the tie falls where the random number says. */
static void test_ties_are_spread(void **state)
{
    const uint32_t weights[] = {1, 1, 1, 1};
    const struct pick_set none = {0};
    struct service_table table;

    (void)state;
    build(&table, weights, 4, CONF_BALANCE_LEASTCONN);
    for (uint32_t random = 0; random < 8; random++) {
        struct backend *chosen = service_choose(table.services, &none, random);

        assert_int_equal(chosen->index, random % 4);
        backend_release(chosen);
    }
    service_table_fini(&table);
}

static void test_roundrobin_follows_weights(void **state)
{
    const uint32_t weights[] = {3, 1, 2};
    const struct pick_set none = {0};
    struct service_table table;

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_ROUNDROBIN);
    for (int i = 0; i < 6 * 50; i++) {
        struct backend *chosen = service_choose(table.services, &none, (uint32_t)i);

        assert_int_equal(chosen->index, table.services->sequence[i % 6]);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(backend_active(&table.services->backends[i]), weights[i] * 50);
    service_table_fini(&table);
}

/* The share of a server that cannot be taken goes to the others by their weights. */
static void test_roundrobin_passes_over_tried(void **state)
{
    const uint32_t weights[] = {1, 1, 1};
    struct pick_set tried = {0};
    struct service_table table;

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_ROUNDROBIN);
    assert_int_equal(pick_set_add(&tried, 1, 3), 0);
    for (int i = 0; i < 100; i++)
        assert_int_not_equal(service_choose(table.services, &tried, 0)->index, 1);
    assert_int_equal(backend_active(&table.services->backends[0]), 50);
    assert_int_equal(backend_active(&table.services->backends[2]), 50);
    assert_int_equal(pick_set_add(&tried, 0, 3), 0);
    assert_int_equal(service_choose(table.services, &tried, 0)->index, 2);
    assert_int_equal(pick_set_add(&tried, 2, 3), 0);
    assert_null(service_choose(table.services, &tried, 0));
    assert_int_equal(backend_active(&table.services->backends[1]), 0);
    pick_set_free(&tried);
    service_table_fini(&table);
}

static void *draw(void *service)
{
    const struct pick_set none = {0};

    for (int i = 0; i < N_DRAWS; i++)
        service_choose(service, &none, 0);
    return NULL;
}

/* The order holds over all workers: exact shares, however the threads mix. */
static void test_roundrobin_over_threads(void **state)
{
    const uint32_t weights[] = {5, 3, 2};
    struct service_table table;
    pthread_t threads[N_THREADS];

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_ROUNDROBIN);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw, table.services), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(backend_active(&table.services->backends[i]),
                         N_THREADS * N_DRAWS / 10 * weights[i]);
    service_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_from_conf),
        cmocka_unit_test(test_leastconn_is_the_minimum),
        cmocka_unit_test(test_ties_are_spread),
        cmocka_unit_test(test_roundrobin_follows_weights),
        cmocka_unit_test(test_roundrobin_passes_over_tried),
        cmocka_unit_test(test_roundrobin_over_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
