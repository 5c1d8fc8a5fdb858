/* shared/choose held against what a reader of the contract would choose. */
#include "lb4/shared/service_table.h"
#include "service_rig.h"

/* How far back a server stands, said once more in other words than pick_rank(); -1 = not at all. */
static int distance_of(const struct backend *backend, const struct pick_set *tried, bool spares)
{
    uint32_t standing = backend_standing(backend);

    if (pick_set_has(tried, backend->index) || (standing & PICK_UNUSABLE) != 0)
        return -1;
    if (standing & PICK_SUSPECT)
        return 100 + (standing & PICK_BACKUP ? 10 : 0);
    return (standing & PICK_BACKUP ? 10 : 0) + (spares && standing & PICK_FRESH ? 1 : 0);
}

static int nearest(const struct service *service, const struct pick_set *tried, bool spares)
{
    int best = -1;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        int distance = distance_of(&service->backends[i], tried, spares);

        if (distance >= 0 && (best < 0 || distance < best))
            best = distance;
    }
    return best;
}

/* Nobody as near was less loaded than the one chosen before that took its place. */
static void check_least(const struct service *service, const struct pick_set *tried, bool spares,
                        const struct backend *chosen)
{
    uint64_t active = backend_active(chosen);

    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        const struct backend *other = &service->backends[i];

        if (other != chosen &&
            distance_of(other, tried, spares) == distance_of(chosen, tried, spares))
            assert_true((backend_active(other) + 1ull) * backend_weight(chosen) >=
                        active * backend_weight(other));
    }
}

/* The first on the way from the client's place on that is as near as can be. */
static void check_source(const struct service *service, const struct pick_set *tried,
                         const struct addr *client, const struct backend *chosen)
{
    const struct maglev *maglev = &service_plan(service)->maglev;
    uint32_t at = maglev_position(maglev, client);

    if (service_plan(service)->n_backends == 1) {
        assert_null(maglev->entries);
        return;
    }
    while (distance_of(&service->backends[maglev->entries[at]], tried, false) !=
           nearest(service, tried, false))
        at = (at + 1) % maglev->n_entries;
    assert_int_equal(chosen->index, maglev->entries[at]);
}

/* One choice, held against what a reader of the contract would choose. Returns NULL when there was
 * nobody. */
static struct backend *checked_choice(struct service *service, const struct pick_set *tried,
                                      struct seed *seed)
{
    struct addr address = host(any(seed));
    struct service_client client = {.addr = &address, .tried = tried, .random = any(seed)};
    bool follows_load = service_plan(service)->balance == CONF_BALANCE_LEASTCONN ||
                        service_plan(service)->balance == CONF_BALANCE_RANDOM;
    bool spares = follows_load && client.random >> 31;
    int best = nearest(service, tried, spares);
    uint64_t before = sum_active(service);
    uint32_t had[N_MOST];
    struct backend *chosen;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++)
        had[i] = backend_active(&service->backends[i]);
    chosen = service_choose(service, &client);
    assert_int_equal(sum_active(service), before + (best >= 0));
    if (best < 0) {
        assert_null(chosen);
        return NULL;
    }
    assert_non_null(chosen);
    assert_int_equal(backend_active(chosen), had[chosen->index] + 1);
    assert_int_equal(distance_of(chosen, tried, spares), best);
    if (service_plan(service)->balance == CONF_BALANCE_LEASTCONN)
        check_least(service, tried, spares, chosen);
    if (service_plan(service)->balance == CONF_BALANCE_SOURCE)
        check_source(service, tried, &address, chosen);
    return chosen;
}

/* Flags as they come; often none, often nearly all the same. */
static uint32_t random_flags(struct seed *seed)
{
    uint32_t flags = any(seed) & any(seed);

    return seed_next(seed, 3) ? flags & (63u << 16) & any(seed) : 0;
}

static void check_policy(enum conf_balance policy, struct seed *seed)
{
    uint32_t weights[N_MOST];
    size_t n = 1 + seed_next(seed, seed_next(seed, 2) ? 4 : N_MOST);
    uint32_t common = seed_next(seed, 2) ? random_flags(seed) & ~(uint32_t)PICK_UNUSABLE : 0;
    uint64_t most_active = 1 + seed_next(seed, 20);
    struct service_table table;
    struct pick_set tried = {0};
    struct backend *chosen;

    for (size_t i = 0; i < n; i++)
        weights[i] = 1 + (uint32_t)seed_next(seed, i % 2 ? 5 : CONF_WEIGHT_MAX);
    build(&table, weights, n, policy);
    for (size_t i = 0; i < n; i++) {
        table.services->slots[i].active = (uint32_t)seed_next(seed, most_active);
        backend_set(&table.services->backends[i], common | random_flags(seed));
    }
    while ((chosen = checked_choice(table.services, &tried, seed)) != NULL)
        if (seed_next(seed, 2))
            assert_int_equal(pick_set_add(&tried, chosen->index, n), 0);
    pick_set_free(&tried);
    service_table_fini(&table);
}

static void test_policies_against_contract(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++)
        for (int round = 0; round < 100; round++)
            check_policy((enum conf_balance)policy, &seed);
}

static void test_all_down_is_nobody(void **state)
{
    static const uint32_t unusable[] = {PICK_DOWN, PICK_DRAIN, PICK_MAINT};
    const uint32_t weights[] = {CONF_WEIGHT_MAX, 1, CONF_WEIGHT_MAX};
    struct seed seed = seed_new();

    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        struct service_table table;

        build(&table, weights, 3, (enum conf_balance)policy);
        for (size_t i = 0; i < 3; i++)
            backend_set(&table.services->backends[i], unusable[i] | PICK_FRESH);
        for (int i = 0; i < 100; i++)
            assert_null(choose(table.services, &none, &seed));
        assert_int_equal(sum_active(table.services), 0);
        service_table_fini(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_against_contract),
        cmocka_unit_test(test_all_down_is_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
