/* What is foreseen, held against what shared/choose then does. */
#include "lb4/shared/foresee.h"

#include "lb4/shared/backend_write.h"
#include "lb4/shared/place.h"
#include "lb4/shared/ramp.h"
#include "service_rig.h"

static const double CERTAIN = 0.9999;

static struct foresight foresee(struct service *service, const struct addr *client)
{
    struct foresight ret;

    assert_int_equal(service_foresee(service, client, &ret), 0);
    return ret;
}

static double sum_odds(const struct foresight *foresight)
{
    double sum = 0;

    for (size_t i = 0; i < foresight->n; i++)
        sum += foresight->servers[i].odds;
    return sum;
}

static void assert_near(double a, double b, double slack)
{
    if (a < b - slack || a > b + slack)
        fail_msg("%f is not %f to within %f", a, b, slack);
}

/* One choice after a foresight: it is one of those that had odds, and if one was certain, that one.
 * A server without odds is never taken. */
static void check_choice(struct service *service, struct seed *seed)
{
    struct addr address = host(any(seed));
    uint64_t active = sum_active(service);
    uint64_t ticket = service->ticket;
    struct foresight foresight = foresee(service, &address);
    struct backend *chosen;

    assert_int_equal(sum_active(service), active);
    assert_int_equal(service->ticket, ticket);
    chosen = service_choose(
        service, &(struct service_client){.addr = &address, .tried = &none, .random = any(seed)});
    assert_int_equal(chosen != NULL, foresight.n_likely > 0);
    assert_int_equal(chosen != NULL, foresight.best_rank != PICK_RANK_NONE);
    assert_near(sum_odds(&foresight), chosen ? 1 : 0, 1e-6);
    if (chosen) {
        assert_true(foresight.servers[chosen->index].odds > 0);
        assert_int_equal(foresight.servers[chosen->index].active + 1, backend_active(chosen));
    }
    for (size_t i = 0; i < foresight.n; i++) {
        if (foresight.servers[i].odds > CERTAIN)
            assert_int_equal(chosen->index, i);
        if (foresight.servers[i].rank == PICK_RANK_NONE)
            assert_true(foresight.servers[i].odds == 0);
    }
    foresight_fini(&foresight);
}

static uint32_t random_flags(struct seed *seed)
{
    return seed_next(seed, 3) ? any(seed) & any(seed) & (0x7ffu << 16) & any(seed) : 0;
}

static void make_pool(struct service_table *table, size_t n, enum conf_balance policy,
                      struct seed *seed)
{
    uint32_t common = seed_next(seed, 2) ? random_flags(seed) & ~(uint32_t)PICK_UNUSABLE : 0;
    uint64_t most_active = 1 + seed_next(seed, 20);
    uint32_t weights[N_MOST];

    for (size_t i = 0; i < n; i++)
        weights[i] = 1 + (uint32_t)seed_next(seed, i % 2 ? 5 : CONF_WEIGHT_MAX);
    build(table, weights, n, policy);
    for (size_t i = 0; i < n; i++) {
        table->services->slots[i].active = (uint32_t)seed_next(seed, most_active);
        backend_set(&table->services->backends[i], common | random_flags(seed));
    }
}

/* Some came back lately; and some have another priority, or wait to be the last resort. */
static void add_ramps(struct service_table *table, struct seed *seed)
{
    struct service *service = table->services;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        uint32_t part = (uint32_t)seed_next(seed, 33);

        if (seed_next(seed, 3))
            continue;
        ramp_note_begun(service);
        backend_set_part(&service->backends[i], part < 32 ? part : PICK_PART_LEVEL);
        backend_set(&service->backends[i], (uint32_t)seed_next(seed, 2) << PICK_PRIORITY_SHIFT);
    }
}

static void test_what_is_foreseen_comes_true(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++)
        for (int round = 0; round < 200; round++) {
            size_t n = 1 + seed_next(&seed, seed_next(&seed, 2) ? 4 : N_MOST);
            struct service_table table;

            make_pool(&table, n, (enum conf_balance)policy, &seed);
            if (seed_next(&seed, 2))
                add_ramps(&table, &seed);
            if (seed_next(&seed, 2))
                table.services->plan->all_down = CONF_ALL_DOWN_ANY;
            for (int i = 0; i < 20; i++)
                check_choice(table.services, &seed);
            service_table_fini(&table);
        }
}

/* A TCP client where servers have limits: it waits if that was foreseen, and is never sent to one
 * without odds. */
static void check_place(struct service *service, struct seed *seed)
{
    struct addr address = host(any(seed));
    struct foresight foresight = foresee(service, &address);
    struct backend *taken = NULL;
    enum place_result found = place_take(
        service, &(struct service_client){.addr = &address, .tried = &none, .random = any(seed)},
        &taken);

    assert_int_equal(found == PLACE_FULL, foresight.is_full);
    assert_int_equal(found == PLACE_TAKEN, foresight.n_likely > 0);
    if (found == PLACE_TAKEN)
        assert_true(foresight.servers[taken->index].odds > 0);
    if (found == PLACE_TAKEN && seed_next(seed, 2))
        place_give_back(service, taken);
    foresight_fini(&foresight);
}

static void limit_some(struct service_table *table, struct seed *seed)
{
    struct service *service = table->services;

    service->plan->has_limits = true;
    service->plan->transports = CONF_TCP;
    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        struct backend *backend = &service->backends[i];

        backend_clear(backend, PICK_TRIAL); /* which one client has, and the next one not */
        if (seed_next(seed, 3))
            place_set_limit(service, backend,
                            1 + backend_active(backend) / 2 + (uint32_t)seed_next(seed, 20));
    }
}

static void test_limits_come_true(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++)
        for (int round = 0; round < 200; round++) {
            size_t n = 1 + seed_next(&seed, seed_next(&seed, 2) ? 4 : N_MOST);
            struct service_table table;

            make_pool(&table, n, (enum conf_balance)policy, &seed);
            if (seed_next(&seed, 2))
                add_ramps(&table, &seed);
            if (seed_next(&seed, 2))
                table.services->plan->all_down = CONF_ALL_DOWN_ANY;
            limit_some(&table, &seed);
            for (int i = 0; i < 40; i++)
                check_place(table.services, &seed);
            service_table_fini(&table);
        }
}

/* Tables leave nothing to chance. */
static void test_tables_are_certain(void **state)
{
    static const enum conf_balance policies[] = {CONF_BALANCE_ROUNDROBIN, CONF_BALANCE_SOURCE};
    struct seed seed = seed_new();

    (void)state;
    for (size_t p = 0; p < 2; p++)
        for (int round = 0; round < 100; round++) {
            struct addr client = host(any(&seed));
            struct service_table table;
            struct foresight foresight;

            make_pool(&table, 1 + seed_next(&seed, N_MOST), policies[p], &seed);
            foresight = foresee(table.services, &client);
            assert_true(foresight.n_likely <= 1 || foresight.n == 1);
            foresight_fini(&foresight);
            service_table_fini(&table);
        }
}

/* As often as the odds say, to within five standard deviations. */
static void check_frequencies(struct service *service, struct seed *seed)
{
    enum { ROUNDS = 20000 };
    struct addr address = host(1);
    struct foresight foresight = foresee(service, &address);
    uint32_t n_taken[N_MOST] = {0};

    for (int i = 0; i < ROUNDS; i++) {
        struct backend *chosen = choose(service, &none, seed);

        n_taken[chosen->index]++;
        backend_release(chosen);
    }
    for (size_t i = 0; i < foresight.n; i++) {
        double odds = foresight.servers[i].odds;

        assert_near(n_taken[i] / (double)ROUNDS, odds,
                    5 * 0.00708 * (odds < 0.5 ? 2 * odds + 0.05 : 2 * (1 - odds) + 0.05));
    }
    foresight_fini(&foresight);
}

static void test_odds_are_frequencies(void **state)
{
    static const uint32_t weights[] = {4, 1, 2, 1, 8, 1};
    static const uint32_t active[] = {3, 0, 1, 5, 9, 0};
    static const uint32_t flags[] = {0, 0, 0, PICK_DOWN, 0, PICK_FRESH};
    static const enum conf_balance policies[] = {CONF_BALANCE_LEASTCONN, CONF_BALANCE_RANDOM};
    struct seed seed = seed_new();

    (void)state;
    for (size_t p = 0; p < 2; p++) {
        struct service_table table;

        build(&table, weights, 6, policies[p]);
        for (size_t i = 0; i < 6; i++) {
            table.services->slots[i].active = active[i];
            backend_set(&table.services->backends[i], flags[i]);
        }
        check_frequencies(table.services, &seed);
        service_table_fini(&table);
    }
}

/* Draws for a few servers among many give up often: then loads decide. */
static void test_few_among_many(void **state)
{
    struct seed seed = seed_new();
    struct service_table table;

    (void)state;
    build(&table, all_ones, N_MOST, CONF_BALANCE_RANDOM);
    for (size_t i = 2; i < N_MOST; i++)
        backend_set(&table.services->backends[i], PICK_DOWN);
    table.services->slots[0].active = 5;
    check_frequencies(table.services, &seed);
    service_table_fini(&table);
}

static void test_equals_share(void **state)
{
    const uint32_t weights[] = {1, 2, 1};
    struct service_table table;
    struct addr client = host(9);
    struct foresight foresight;

    (void)state;
    build(&table, weights, 3, CONF_BALANCE_LEASTCONN);
    table.services->slots[1].active = 1;
    foresight = foresee(table.services, &client);
    for (size_t i = 0; i < 3; i++)
        assert_near(foresight.servers[i].odds, 1 / 3.0, 1e-9);
    foresight_fini(&foresight);
    backend_set(&table.services->backends[0], PICK_FRESH);
    foresight = foresee(table.services, &client);
    assert_near(foresight.servers[0].odds, 1 / 6.0, 1e-9);
    foresight_fini(&foresight);
    service_table_fini(&table);
}

/* The queue of roundrobin is the order of the next choices; a weight of 2 stands in it twice. */
static void test_queue_of_turns(void **state)
{
    const uint32_t weights[] = {1, 1, 1, 1};
    struct seed seed = seed_new();
    struct service_table table;
    struct addr client = host(9);
    struct foresight foresight;

    (void)state;
    build(&table, weights, 4, CONF_BALANCE_ROUNDROBIN);
    choose(table.services, &none, &seed);
    foresight = foresee(table.services, &client);
    for (uint32_t i = 1; i <= 4; i++)
        assert_int_equal(foresight.servers[choose(table.services, &none, &seed)->index].queue, i);
    assert_int_equal(foresight.servers[0].turns, 1);
    foresight_fini(&foresight);
    service_table_fini(&table);
}

/* The queue of source: who is down is passed over, to the next in it. */
static void test_queue_of_source(void **state)
{
    struct seed seed = seed_new();
    struct service_table table;

    (void)state;
    build(&table, all_ones, 5, CONF_BALANCE_SOURCE);
    for (int round = 0; round < 50; round++) {
        struct addr client = host(any(&seed));
        struct foresight foresight = foresee(table.services, &client);
        uint32_t seen = 0;

        for (size_t i = 0; i < 5; i++)
            seen |= 1u << foresight.servers[i].queue;
        assert_int_equal(seen, 0x3e);
        for (uint32_t place = 1; place <= 5; place++)
            for (size_t i = 0; i < 5; i++) {
                struct foresight now;

                if (foresight.servers[i].queue != place)
                    continue;
                now = foresee(table.services, &client);
                assert_true(now.servers[i].odds == 1);
                foresight_fini(&now);
                backend_set(&table.services->backends[i], PICK_DOWN);
            }
        for (size_t i = 0; i < 5; i++)
            backend_clear(&table.services->backends[i], PICK_DOWN);
        foresight_fini(&foresight);
    }
    service_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_come_true),
        cmocka_unit_test(test_what_is_foreseen_comes_true),
        cmocka_unit_test(test_tables_are_certain),
        cmocka_unit_test(test_odds_are_frequencies),
        cmocka_unit_test(test_few_among_many),
        cmocka_unit_test(test_equals_share),
        cmocka_unit_test(test_queue_of_turns),
        cmocka_unit_test(test_queue_of_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
