#include "lb4/shared/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_SEATS = 3 };

static struct backend backends[N_SEATS];
static struct service_seat seats[N_SEATS];

/* Seats on places that are neither the first nor in order. */
static int setup(void **state)
{
    static const uint32_t places[N_SEATS] = {7, 2, 5};

    (void)state;
    for (size_t i = 0; i < N_SEATS; i++) {
        backends[i] = (struct backend){.index = places[i], .name = {(char)('a' + i)}};
        seats[i] = (struct service_seat){.backend = &backends[i], .weight = (uint32_t)i + 1};
    }
    return 0;
}

static struct service_plan *plan_for(enum conf_balance balance, size_t n)
{
    const struct service_plan model = {.balance = balance, .tries = 5};
    struct service_plan *plan = plan_new(&model, seats, n);

    assert_non_null(plan);
    assert_int_equal(plan->tries, 5);
    return plan;
}

static void check_places(const uint16_t *entries, size_t n)
{
    size_t counts[8] = {0};

    for (size_t i = 0; i < n; i++) {
        assert_true(entries[i] < 8);
        counts[entries[i]]++;
    }
    assert_int_equal(counts[7] + counts[2] + counts[5], n);
    assert_true(counts[7] > 0 && counts[2] > counts[7] && counts[5] > counts[2]);
}

static void test_tables_hold_places(void **state)
{
    struct service_plan *plan = plan_for(CONF_BALANCE_ROUNDROBIN, N_SEATS);

    (void)state;
    assert_int_equal(plan->n_backends, 8);
    assert_int_equal(plan->most_weight, 3);
    assert_int_equal(plan->n_sequence, 6);
    check_places(plan->sequence, plan->n_sequence);
    assert_null(plan->maglev.entries);
    plan_free(plan);
    plan = plan_for(CONF_BALANCE_RANDOM, N_SEATS);
    check_places(plan->sequence, plan->n_sequence);
    plan_free(plan);
    plan = plan_for(CONF_BALANCE_SOURCE, N_SEATS);
    assert_null(plan->sequence);
    check_places(plan->maglev.entries, plan->maglev.n_entries);
    plan_free(plan);
    plan = plan_for(CONF_BALANCE_LEASTCONN, N_SEATS);
    assert_null(plan->sequence);
    assert_null(plan->maglev.entries);
    plan_free(plan);
}

static void test_few_seats(void **state)
{
    (void)state;
    for (int balance = 0; balance <= CONF_BALANCE_RANDOM; balance++)
        for (size_t n = 0; n < 2; n++) {
            struct service_plan *plan = plan_for((enum conf_balance)balance, n);

            assert_int_equal(plan->n_backends, n ? 8 : 0);
            assert_int_equal(plan->most_weight, n);
            plan_free(plan);
        }
    plan_free(NULL);
}

/* The tables of the model belong to it: a plan made of a plan has its own. */
static void test_model_keeps_its_tables(void **state)
{
    struct service_plan *model = plan_for(CONF_BALANCE_SOURCE, N_SEATS);
    struct service_plan *plan = plan_new(model, seats, 2);

    (void)state;
    assert_ptr_not_equal(plan->maglev.entries, model->maglev.entries);
    assert_int_equal(plan->most_weight, 2);
    plan_free(model);
    plan_free(plan);
}

/* Any difference is one; a text that is there and empty is not one that is missing. */
static void test_checks_differ(void **state)
{
    char send[] = "ping";
    char expect[] = "";
    struct conf_listen listen = {.transport = CONF_UDP};
    struct conf_server servers[2] = {{.weight = 1}, {.weight = 1}};
    const struct conf_service model = {
        .listens = &listen,
        .n_listens = 1,
        .servers = servers,
        .n_servers = 2,
        .check = {.kind = CONF_CHECK_SEND,
                  .interval_ms = 2000,
                  .timeout_ms = 1000,
                  .fast_ms = 500,
                  .fall = 3,
                  .rise = 2,
                  .port = 53,
                  .send = send,
                  .n_send = 4},
    };
    struct service_check *first = check_new(&model);

    (void)state;
    for (int i = 0; i <= 10; i++) {
        struct conf_service other = model;
        struct service_check *second;

        switch (i) {
        case 1:
            other.check.interval_ms++;
            break;
        case 2:
            other.check.timeout_ms++;
            break;
        case 3:
            other.check.fast_ms++;
            break;
        case 4:
            other.check.fall++;
            break;
        case 5:
            other.check.rise++;
            break;
        case 6:
            other.check.port++;
            break;
        case 7:
            other.check.n_send--;
            break;
        case 8:
            other.check.expect = expect;
            break;
        case 9:
            other.check.kind = CONF_CHECK_NONE;
            break;
        case 10:
            other.check.send = NULL;
            other.check.n_send = 0;
            break;
        }
        second = check_new(&other);
        assert_int_equal(check_equal(first, second), i == 0);
        assert_int_equal(check_equal(second, first), i == 0);
        check_free(second);
    }
    check_free(first);
    check_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tables_hold_places, setup),
        cmocka_unit_test_setup(test_few_seats, setup),
        cmocka_unit_test_setup(test_model_keeps_its_tables, setup),
        cmocka_unit_test(test_checks_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
