/* The turns of servers with a ramp: their shares of many choices, under each policy. */
#include "lb4/shared/ramp.h"

#include "lb4/shared/backend_write.h"
#include "service_rig.h"

enum { ROUNDS = 40000 };

static void set_part(struct service *service, size_t index, uint32_t part)
{
    ramp_note_begun(service);
    backend_set_part(&service->backends[index], part);
}

/* Of so many choices, each of which ends at once (or lives on), how many each got. */
static void count_choices(struct service *service, uint32_t *n_taken, int rounds, bool lives_on)
{
    struct seed seed = seed_new();

    for (int i = 0; i < rounds; i++) {
        struct backend *chosen = choose(service, &none, &seed);

        assert_non_null(chosen);
        n_taken[chosen->index]++;
        if (!lives_on)
            backend_release(chosen);
    }
}

static void assert_share(uint32_t n, double share)
{
    double found = n / (double)ROUNDS;

    if (found < share - 0.015 || found > share + 0.015)
        fail_msg("%f is not %f", found, share);
}

static void check_share(enum conf_balance policy, uint32_t part, bool lives_on)
{
    static const uint32_t weights[] = {2, 1, 1, 4};
    struct service_table table;
    uint32_t n_taken[4] = {0};

    build(&table, weights, 4, policy);
    set_part(table.services, 0, part);
    count_choices(table.services, n_taken, ROUNDS, lives_on);
    assert_share(n_taken[0], part / 32.0 * 2 / 8);
    service_table_fini(&table);
}

/* Whether connections end at once, when all are idle, or never, when it is the emptiest by far. */
static void test_share_is_part_of_the_fair_one(void **state)
{
    static const enum conf_balance policies[] = {CONF_BALANCE_LEASTCONN, CONF_BALANCE_ROUNDROBIN,
                                                 CONF_BALANCE_RANDOM};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (uint32_t part = 1; part < 32; part += 10)
            for (int lives_on = 0; lives_on < 2; lives_on++)
                check_share(policies[i], part, lives_on);
}

static void test_source_has_no_ramps(void **state)
{
    struct service_table tables[2];
    struct seed seed = seed_new();

    (void)state;
    for (int i = 0; i < 2; i++)
        build(&tables[i], all_ones, 7, CONF_BALANCE_SOURCE);
    set_part(tables[1].services, 3, 1);
    for (int i = 0; i < 300; i++) {
        struct addr client = host(any(&seed));
        const struct service_client call = {.addr = &client, .tried = &none, .random = any(&seed)};

        assert_int_equal(service_choose(tables[0].services, &call)->index,
                         service_choose(tables[1].services, &call)->index);
    }
    for (int i = 0; i < 2; i++)
        service_table_fini(&tables[i]);
}

/* Nobody else is there: by their parts among themselves, and one alone takes all. */
static void test_all_have_ramps(void **state)
{
    struct service_table table;
    uint32_t n_taken[3] = {0};
    uint32_t n_alone[3] = {0};

    (void)state;
    build(&table, all_ones, 3, CONF_BALANCE_LEASTCONN);
    for (uint32_t i = 0; i < 3; i++)
        set_part(table.services, i, 1 + 2 * i);
    count_choices(table.services, n_taken, ROUNDS, true);
    for (uint32_t i = 0; i < 3; i++)
        assert_share(n_taken[i], (1 + 2 * i) / 9.0);
    backend_set(&table.services->backends[0], PICK_DOWN);
    backend_set(&table.services->backends[1], PICK_MAINT);
    count_choices(table.services, n_alone, 100, true);
    assert_int_equal(n_alone[2], 100);
    service_table_fini(&table);
}

/* Better tiers come first whatever the part; of lower ones nobody is chosen. */
static void test_tiers(void **state)
{
    struct service_table table;
    uint32_t n_taken[3] = {0};

    (void)state;
    build(&table, all_ones, 3, CONF_BALANCE_LEASTCONN);
    set_part(table.services, 0, 1);
    backend_set(&table.services->backends[1], PICK_BACKUP);
    backend_set(&table.services->backends[2], 1 << PICK_PRIORITY_SHIFT);
    count_choices(table.services, n_taken, 1000, false);
    assert_int_equal(n_taken[0], 1000);
    service_table_fini(&table);
}

/* One that holds twice what the others hold gets no turn; one that catches up has up to twice its
 * part, until it is level. */
static void test_bounds_by_load(void **state)
{
    struct service_table table;
    uint32_t n_slow[4] = {0};
    uint32_t n_level[4] = {0};

    (void)state;
    build(&table, all_ones, 4, CONF_BALANCE_LEASTCONN);
    for (size_t i = 0; i < 4; i++)
        table.services->slots[i].active = i ? 10 : 30;
    set_part(table.services, 0, 31);
    count_choices(table.services, n_slow, 1000, false);
    assert_int_equal(n_slow[0], 0);
    table.services->slots[0].active = 0;
    for (size_t i = 1; i < 4; i++)
        table.services->slots[i].active = 100000;
    backend_set_part(&table.services->backends[0], PICK_PART_LEVEL);
    count_choices(table.services, n_level, ROUNDS, true);
    assert_share(n_level[0], 2.0 / 4);
    table.services->slots[0].active = 200000;
    count_choices(table.services, n_slow, 1000, false);
    assert_int_equal(n_slow[0], 0);
    service_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_is_part_of_the_fair_one),
        cmocka_unit_test(test_source_has_no_ramps),
        cmocka_unit_test(test_all_have_ramps),
        cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_bounds_by_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
