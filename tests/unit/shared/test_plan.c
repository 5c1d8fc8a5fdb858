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
    for (int i = 0; i <= 18; i++) {
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
        case 11:
            other.check.has_jitter = true;
            break;
        case 12:
            other.check.role = CONF_ROLE_MASTER;
            break;
        case 13:
            other.check.status_min = 200;
            break;
        case 14:
            other.check.status_max = 200;
            break;
        case 15:
            other.check.host = expect;
            break;
        case 16:
            assert_int_equal(addr_parse("127.0.0.1", &other.check.address), 0);
            break;
        case 17:
            assert_int_equal(addr_parse("::1", &other.check.source), 0);
            break;
        case 18:
            other.check.is_regex = true;
            other.check.expect = expect;
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

/* By which transport a kind asks follows from what the service listens on. */
static void test_transports(void **state)
{
    static const struct {
        enum conf_check_kind kind;
        enum conf_transport transport;
        bool is_udp;
    } cases[] = {
        {CONF_CHECK_SEND, CONF_UDP, true},          {CONF_CHECK_SEND, CONF_TCP, false},
        {CONF_CHECK_SEND, CONF_TCP_AND_UDP, false}, {CONF_CHECK_DNS, CONF_UDP, true},
        {CONF_CHECK_DNS, CONF_TCP, false},          {CONF_CHECK_DNS, CONF_TCP_AND_UDP, true},
        {CONF_CHECK_HTTP, CONF_UDP, false},         {CONF_CHECK_REDIS, CONF_UDP, false},
        {CONF_CHECK_POSTGRES, CONF_UDP, false},     {CONF_CHECK_MYSQL, CONF_UDP, false},
        {CONF_CHECK_TCP, CONF_UDP, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct conf_listen listen = {.transport = cases[i].transport};
        const struct conf_service model = {
            .listens = &listen, .n_listens = 1, .check = {.kind = cases[i].kind}};
        struct service_check *check = check_new(&model);

        assert_int_equal(check->is_udp, cases[i].is_udp);
        check_free(check);
    }
}

static void test_jitter(void **state)
{
    struct conf_service model = {.check = {.kind = CONF_CHECK_TCP, .interval_ms = 2000}};

    (void)state;
    for (uint32_t percent = 0; percent <= 51; percent++) {
        struct service_check *check;

        model.check.has_jitter = percent <= 50;
        model.check.jitter = percent;
        check = check_new(&model);
        assert_int_equal(check->jitter_ns,
                         percent <= 50 ? percent * 20000000ull : 2000000000ull / 32);
        check_free(check);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tables_hold_places, setup),
        cmocka_unit_test_setup(test_few_seats, setup),
        cmocka_unit_test_setup(test_model_keeps_its_tables, setup),
        cmocka_unit_test(test_checks_differ),
        cmocka_unit_test(test_transports),
        cmocka_unit_test(test_jitter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
