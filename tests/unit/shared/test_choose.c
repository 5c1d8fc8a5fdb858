/* What service_choose() amounts to over many choices: shares, orders, threads. */
#include "lb4/shared/choose.h"
#include "lb4/shared/service_table.h"

#include <pthread.h>

#include "service_rig.h"

enum { N_THREADS = 3, N_DRAWS = 30000 };

/* n choices, each given back at once: how often each server was chosen. */
static void count_choices(struct service *service, int n, struct seed *seed, uint32_t *ret_counts)
{
    memset(ret_counts, 0, service_plan(service)->n_backends * sizeof(*ret_counts));
    for (int i = 0; i < n; i++) {
        struct backend *chosen = choose(service, &none, seed);

        assert_non_null(chosen);
        ret_counts[chosen->index]++;
        backend_release(chosen);
    }
}

/* Ties go to all alike, wherever the dead and the busy stand between. */
static void test_ties_are_spread(void **state)
{
    struct seed seed = seed_new();
    struct service_table table;
    uint32_t counts[5];

    (void)state;
    build(&table, all_ones, 5, CONF_BALANCE_LEASTCONN);
    backend_set(&table.services->backends[1], PICK_DOWN);
    for (uint32_t load = 0; load < 100; load += 50) {
        for (size_t i = 0; i < 5; i++)
            table.services->slots[i].active = load + (i == 0);
        count_choices(table.services, 30000, &seed, counts);
        assert_int_equal(counts[0] + counts[1], 0);
        for (size_t i = 2; i < 5; i++)
            assert_in_range(counts[i], 9400, 10600); /* 10,000, and 7 standard deviations */
    }
    service_table_fini(&table);
}

/* ... also where nearly all are dead, and a few draws seldom find one that is not. */
static void test_few_survivors_share(void **state)
{
    static const enum conf_balance policies[] = {CONF_BALANCE_LEASTCONN, CONF_BALANCE_RANDOM};
    struct seed seed = seed_new();
    struct service_table table;

    (void)state;
    for (size_t policy = 0; policy < 2; policy++) {
        uint32_t counts[N_MOST];

        build(&table, all_ones, N_MOST, policies[policy]);
        for (size_t i = 0; i + 3 < N_MOST; i++)
            backend_set(&table.services->backends[i], PICK_DOWN);
        count_choices(table.services, 30000, &seed, counts);
        for (size_t i = N_MOST - 3; i < N_MOST; i++)
            assert_in_range(counts[i], 9400, 10600);
        service_table_fini(&table);
    }
}

/* An empty server that came back among busy ones gets no more than about half. */
static void test_fresh_server_is_not_swamped(void **state)
{
    static const enum conf_balance policies[] = {CONF_BALANCE_LEASTCONN, CONF_BALANCE_RANDOM};
    struct seed seed = seed_new();
    uint32_t counts[10];

    (void)state;
    for (size_t n = 2; n <= 10; n += n < 3 ? 1 : 7) {
        for (int i = 0; i < 2; i++) {
            struct service_table table;

            build(&table, all_ones, n, policies[i]);
            for (size_t server = 1; server < n; server++)
                table.services->slots[server].active = 30000;
            backend_set(&table.services->backends[0], PICK_FRESH);
            count_choices(table.services, 10000, &seed, counts);
            assert_in_range(counts[0], 500, 6000);
            /* Both ways have their turn: it is not starved either. */
            if (policies[i] == CONF_BALANCE_LEASTCONN)
                assert_true(counts[0] > 4000);
            backend_clear(&table.services->backends[0], PICK_FRESH);
            count_choices(table.services, 10000, &seed, counts);
            if (policies[i] == CONF_BALANCE_LEASTCONN || n == 2)
                assert_int_equal(counts[0], 10000);
            service_table_fini(&table);
        }
    }
}

/* Connections of uneven length, most of them short: live counts follow the weights all the time. */
static void test_leastconn_holds_weights(void **state)
{
    enum { N_LIVE = 400 };
    static const uint32_t weights[] = {1, 1, 2};
    struct seed seed = seed_new();
    struct backend *live[N_LIVE] = {0};
    struct service_table table;

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_LEASTCONN);
    for (int i = 0; i < 200000; i++) {
        /* The first hundredth of the places changes hands half of the time. */
        size_t place = seed_next(&seed, seed_next(&seed, 2) ? 4 : N_LIVE);

        if (live[place])
            backend_release(live[place]);
        live[place] = choose(table.services, &none, &seed);
        for (size_t server = 0; i > 20000 && server < 3; server++) {
            uint32_t active = backend_active(&table.services->backends[server]);

            assert_in_range(active, 90 * weights[server], 110 * weights[server]);
        }
    }
    service_table_fini(&table);
}

static void test_roundrobin_follows_weights(void **state)
{
    const uint32_t weights[] = {3, 1, 2};
    struct seed seed = seed_new();
    struct service_table table;

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_ROUNDROBIN);
    for (int i = 0; i < 6 * 50; i++) {
        struct backend *chosen = choose(table.services, &none, &seed);

        assert_int_equal(chosen->index, service_plan(table.services)->sequence[i % 6]);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(backend_active(&table.services->backends[i]), weights[i] * 50);
    service_table_fini(&table);
}

/* The share of a server that cannot be taken goes to the others by their weights. */
static void test_roundrobin_passes_over(void **state)
{
    struct seed seed = seed_new();
    struct pick_set tried = {0};
    struct service_table table;

    (void)state;
    build(&table, all_ones, 4, CONF_BALANCE_ROUNDROBIN);
    backend_set(&table.services->backends[3], PICK_SUSPECT);
    assert_int_equal(pick_set_add(&tried, 1, 4), 0);
    for (int i = 0; i < 100; i++)
        assert_non_null(choose(table.services, &tried, &seed));
    assert_int_equal(backend_active(&table.services->backends[0]), 50);
    assert_int_equal(backend_active(&table.services->backends[2]), 50);
    pick_set_free(&tried);
    service_table_fini(&table);
}

/* A suspect on trial gets one client, and no more, by whatever policy. */
static void test_a_trial_is_for_one(void **state)
{
    static const enum conf_balance policies[] = {CONF_BALANCE_LEASTCONN, CONF_BALANCE_ROUNDROBIN,
                                                 CONF_BALANCE_SOURCE, CONF_BALANCE_RANDOM};

    (void)state;
    for (size_t k = 0; k < sizeof(policies) / sizeof(policies[0]); k++) {
        struct service_table table;
        struct backend *backend;

        build(&table, all_ones, 4, policies[k]);
        backend = &table.services->backends[2];
        backend_set(backend, PICK_SUSPECT | PICK_TRIAL);
        for (uint32_t i = 0; i < 400; i++) {
            struct addr address = host(0x0a000000 + i * 13);
            struct service_client client = {
                .addr = &address, .tried = &none, .random = i * 2654435761u};

            assert_non_null(service_choose(table.services, &client));
        }
        assert_int_equal(backend_active(backend), 1);
        assert_int_equal(backend_standing(backend), 1 | PICK_SUSPECT);
        service_table_fini(&table);
    }
}

/* Two balancers, whose files name the servers in different orders, send each client to the same,
 * also while a server is down; only its own clients moved. */
static void test_source_agrees(void **state)
{
    static struct service_table tables[2];
    uint32_t counts[10] = {0};

    (void)state;
    build(&tables[0], all_ones, 10, CONF_BALANCE_SOURCE);
    for (size_t i = 0; i < 10; i++)
        snprintf(conf_servers[i].name, sizeof(conf_servers[i].name), "s%zu", 9 - i);
    assert_int_equal(build_from(&tables[1], 10, CONF_BALANCE_SOURCE), 0);
    for (uint32_t i = 0; i < 2000; i++) {
        struct addr address = host(0x0a000000 + i * 13);
        struct service_client client = {.addr = &address, .tried = &none, .random = i << 20};
        const struct backend *first = service_choose(tables[0].services, &client);
        const struct backend *again;

        addr_set_port(&address, (uint16_t)i);
        assert_string_equal(service_choose(tables[1].services, &client)->name, first->name);
        backend_set(&tables[0].services->backends[4], PICK_DOWN);
        backend_set(&tables[1].services->backends[5], PICK_DOWN);
        again = service_choose(tables[0].services, &client);
        assert_string_equal(service_choose(tables[1].services, &client)->name, again->name);
        if (first->index == 4)
            counts[again->index]++;
        else
            assert_ptr_equal(again, first);
        backend_clear(&tables[0].services->backends[4], PICK_DOWN);
        backend_clear(&tables[1].services->backends[5], PICK_DOWN);
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(counts[i], i == 4 ? 0 : 8, i == 4 ? 0 : 50); /* 200 to 9 */
    service_table_fini(&tables[0]);
    service_table_fini(&tables[1]);
}

static void test_source_follows_weights(void **state)
{
    const uint32_t weights[] = {1, 3};
    struct seed seed = seed_new();
    struct service_table table;
    uint32_t counts[2];

    (void)state;
    build(&table, weights, 2, CONF_BALANCE_SOURCE);
    count_choices(table.services, 40000, &seed, counts);
    assert_in_range(counts[0], 9300, 10700);
    service_table_fini(&table);
}

/* Two different ones are compared, so the most loaded of several is never taken, and draws follow
 * the weights. */
static void test_random_takes_the_less_loaded(void **state)
{
    const uint32_t weights[] = {1, 1, 6, 1};
    struct seed seed = seed_new();
    struct service_table table;
    uint32_t counts[4];

    (void)state;
    build(&table, weights, 4, CONF_BALANCE_RANDOM);
    for (size_t i = 0; i < 4; i++)
        table.services->slots[i].active = (uint32_t[]){200, 100, 900, 300}[i];
    count_choices(table.services, 30000, &seed, counts);
    assert_int_equal(counts[3], 0);
    /* Server 1 wins if it is drawn at all: 1/9 first, 1/36 after 0 or 3, 2/9 after 2; server 0 if
     * with 3: 1/36. */
    assert_in_range(counts[1], 10250, 11450);
    assert_in_range(counts[0], 600, 1070);
    for (size_t i = 0; i < 4; i++)
        table.services->slots[i].active = 100 * weights[i] - 1;
    count_choices(table.services, 27000, &seed, counts);
    for (size_t i = 0; i < 4; i++)
        assert_in_range(counts[i], 2700 * weights[i], 3300 * weights[i]);
    service_table_fini(&table);
}

struct drawer {
    struct service *service;
    uint64_t seed;
    bool gives_back;
    pthread_t thread;
};

static void *draw(void *argument)
{
    struct drawer *drawer = argument;
    struct seed seed = {drawer->seed};

    for (int i = 0; i < N_DRAWS; i++) {
        struct backend *chosen = choose(drawer->service, &none, &seed);

        assert_non_null(chosen);
        if (drawer->gives_back)
            backend_release(chosen);
    }
    return NULL;
}

static void draw_in_threads(struct service *service, bool gives_back)
{
    struct drawer drawers[N_THREADS];

    for (uint64_t i = 0; i < N_THREADS; i++) {
        drawers[i] = (struct drawer){.service = service, .seed = i, .gives_back = gives_back};
        assert_int_equal(pthread_create(&drawers[i].thread, NULL, draw, &drawers[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(drawers[i].thread, NULL);
}

/* The order holds over all workers: exact shares, however the threads mix. */
static void test_roundrobin_over_threads(void **state)
{
    const uint32_t weights[] = {5, 3, 2};
    struct service_table table;

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_ROUNDROBIN);
    draw_in_threads(table.services, false);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(backend_active(&table.services->backends[i]),
                         N_THREADS * N_DRAWS / 10 * weights[i]);
    service_table_fini(&table);
}

/* Readings of others may be a step out of date, places are not. */
static void test_threads_lose_no_place(void **state)
{
    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        struct service_table table;

        build(&table, all_ones, 5, (enum conf_balance)policy);
        backend_set(&table.services->backends[2], PICK_DOWN);
        draw_in_threads(table.services, true);
        assert_int_equal(sum_active(table.services), 0);
        draw_in_threads(table.services, false);
        assert_int_equal(sum_active(table.services), N_THREADS * N_DRAWS);
        assert_int_equal(backend_active(&table.services->backends[2]), 0);
        for (size_t i = 0; policy == CONF_BALANCE_LEASTCONN && i < 5; i++)
            if (i != 2)
                assert_in_range(backend_active(&table.services->backends[i]),
                                N_THREADS * N_DRAWS / 4 - N_THREADS,
                                N_THREADS * N_DRAWS / 4 + N_THREADS);
        service_table_fini(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ties_are_spread),
        cmocka_unit_test(test_few_survivors_share),
        cmocka_unit_test(test_fresh_server_is_not_swamped),
        cmocka_unit_test(test_leastconn_holds_weights),
        cmocka_unit_test(test_roundrobin_follows_weights),
        cmocka_unit_test(test_roundrobin_passes_over),
        cmocka_unit_test(test_a_trial_is_for_one),
        cmocka_unit_test(test_roundrobin_over_threads),
        cmocka_unit_test(test_source_agrees),
        cmocka_unit_test(test_source_follows_weights),
        cmocka_unit_test(test_random_takes_the_less_loaded),
        cmocka_unit_test(test_threads_lose_no_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
