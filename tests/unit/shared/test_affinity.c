#include "lb4/shared/affinity.h"

#include <pthread.h>
#include <sched.h>

#include "lb4/base/clock.h"
#include "lb4/shared/foresee.h"
#include "lb4/shared/service_change.h"
#include "service_rig.h"

static const uint64_t S = 1000000000;
static const uint64_t BEGUN = 5000 * 1000000000ull;

static struct service_table table;
static struct service *service;
static uint64_t now_ns;

static void configure(struct conf_service *from, size_t n, enum conf_balance balance)
{
    *from = (struct conf_service){
        .name = "s",
        .servers = conf_servers,
        .n_servers = n,
        .balance = balance,
        .tries = 3,
        .timeouts = {.connect_ms = 3000, .idle_ms = 3600000, .half_close_ms = 60000},
        .affinity = {CONF_AFFINITY_ON, 60000, 32, 128},
    };
}

static void reload(struct conf_service *from)
{
    struct service_change change;

    assert_int_equal(service_prepare(&table, service, from, &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&table, &change);
}

static void open_service(size_t n, enum conf_balance balance)
{
    struct conf_service from;

    build(&table, all_ones, n, balance);
    service = &table.services[0];
    configure(&from, n, balance);
    reload(&from);
    now_ns = BEGUN;
}

struct visitor {
    struct affinity_hold hold;
    struct backend *backend;
    enum affinity_result result;
    enum place_result found;
};

static struct visitor visit_except(uint32_t client, const struct pick_set *tried, bool is_udp)
{
    static uint32_t random;
    struct addr addr = host(client);
    struct visitor visitor = {.backend = NULL};
    const struct affinity_visit visit = {now_ns, is_udp, &visitor.hold};
    const struct service_client who = {&addr, tried, random += 0x9e3779b9u};

    visitor.found = affinity_take(service, &who, &visit, &visitor.backend, &visitor.result);
    assert_int_equal(visitor.found == PLACE_TAKEN, visitor.backend != NULL);
    return visitor;
}

static struct visitor visit(uint32_t client)
{
    return visit_except(client, &none, false);
}

static void leave(struct visitor *visitor)
{
    affinity_leave(service, &visitor->hold);
    place_give_back(service, visitor->backend);
}

static uint32_t place_of(uint32_t client, enum affinity_result result)
{
    struct visitor visitor = visit(client);
    uint32_t place = visitor.backend->index;

    assert_int_equal(visitor.result, result);
    leave(&visitor);
    return place;
}

/* Each 50 s after the last begin. */
static void come_again(uint32_t client)
{
    uint32_t place = place_of(client, AFFINITY_NEW);

    for (int i = 0; i < 10; i++) {
        now_ns += 50 * S;
        assert_int_equal(place_of(client, AFFINITY_KEPT), place);
    }
}

static void test_a_client_comes_again(void **state)
{
    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        open_service(5, (enum conf_balance)policy);
        for (uint32_t client = 1; client < 50; client++)
            come_again(client);
        assert_int_equal(sum_active(service), 0);
        now_ns += 61 * S;
        place_of(1, AFFINITY_NEW);
        service_table_fini(&table);
    }
}

static void test_as_long_as_it_has_one(void **state)
{
    struct visitor first;

    (void)state;
    open_service(5, CONF_BALANCE_ROUNDROBIN);
    first = visit(1);
    now_ns += 86400 * S;
    assert_int_equal(place_of(1, AFFINITY_KEPT), first.backend->index);
    leave(&first);
    now_ns += 61 * S;
    place_of(1, AFFINITY_NEW);
    service_table_fini(&table);
}

/* Whatever keeps a server from new clients moves its clients, and they stay where they went. */
static void test_servers_that_hold_nobody(void **state)
{
    static const uint32_t flags[] = {PICK_DOWN, PICK_DRAIN, PICK_MAINT,  PICK_SUSPECT,
                                     PICK_NEW,  PICK_GONE,  PICK_BACKUP, 3u << PICK_PRIORITY_SHIFT};

    (void)state;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        uint32_t before;
        uint32_t after;

        open_service(3, CONF_BALANCE_ROUNDROBIN);
        before = place_of(1, AFFINITY_NEW);
        backend_set(&service->backends[before], flags[i]);
        after = place_of(1, AFFINITY_MOVED);
        assert_int_not_equal(before, after);
        backend_clear(&service->backends[before], flags[i]);
        for (int n = 0; n < 5; n++)
            assert_int_equal(place_of(1, AFFINITY_KEPT), after);
        service_table_fini(&table);
    }
}

/* A ramp, and being back for a moment only, are for those who have no place yet. */
static void test_servers_that_hold_nonetheless(void **state)
{
    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        uint32_t place;

        open_service(3, (enum conf_balance)policy);
        place = place_of(1, AFFINITY_NEW);
        backend_set(&service->backends[place], PICK_FRESH | 1u << PICK_RAMP_SHIFT | PICK_DOUBT);
        service->n_ramped = 1;
        for (int i = 0; i < 20; i++)
            assert_int_equal(place_of(1, AFFINITY_KEPT), place);
        for (uint32_t i = 0; i < 3; i++) /* nobody is better */
            backend_set(&service->backends[i], PICK_SUSPECT);
        assert_int_equal(place_of(1, AFFINITY_KEPT), place);
        service_table_fini(&table);
    }
}

static void test_a_server_that_was_tried(void **state)
{
    struct pick_set tried = {0};
    struct visitor first;
    struct visitor second;

    (void)state;
    open_service(2, CONF_BALANCE_LEASTCONN);
    first = visit(1);
    assert_int_equal(pick_set_add(&tried, first.backend->index, SERVICE_BACKENDS_MAX), 0);
    second = visit_except(1, &tried, false);
    assert_int_equal(second.result, AFFINITY_MOVED);
    assert_ptr_not_equal(second.backend, first.backend);
    assert_int_equal(place_of(1, AFFINITY_KEPT), second.backend->index);
    pick_set_add(&tried, second.backend->index, SERVICE_BACKENDS_MAX);
    assert_int_equal(visit_except(1, &tried, false).found, PLACE_NOBODY);
    pick_set_free(&tried);
    service_table_fini(&table);
}

/* A client goes elsewhere and stays there; a UDP session is never kept away. */
static void test_a_server_that_is_full(void **state)
{
    struct conf_service from;
    struct visitor first;
    struct visitor second;

    (void)state;
    open_service(2, CONF_BALANCE_LEASTCONN);
    configure(&from, 2, CONF_BALANCE_LEASTCONN);
    conf_servers[0].maxconn = conf_servers[1].maxconn = 1;
    reload(&from);
    conf_servers[0].maxconn = conf_servers[1].maxconn = 0;
    first = visit(1);
    assert_ptr_equal(visit_except(1, &none, true).backend, first.backend);
    second = visit(1);
    assert_int_equal(second.result, AFFINITY_MOVED);
    assert_ptr_not_equal(second.backend, first.backend);
    assert_int_equal(visit(1).found, PLACE_FULL);
    leave(&second);
    assert_int_equal(place_of(1, AFFINITY_KEPT), second.backend->index);
    service_table_fini(&table);
}

static void test_what_operators_end(void **state)
{
    struct visitor first;
    uint32_t place;

    (void)state;
    open_service(2, CONF_BALANCE_LEASTCONN);
    first = visit(1);
    place = first.backend->index;
    affinity_break(service, first.backend, &first.hold);
    /* the other one is the less loaded now */
    assert_int_equal(place_of(1, AFFINITY_MOVED), 1 - place);
    assert_int_equal(place_of(1, AFFINITY_KEPT), 1 - place);
    service_table_fini(&table);
}

/* A server that leaves, and another one in its very place. */
static void test_a_place_that_is_used_again(void **state)
{
    const struct stats_server_sum nothing = {0};
    struct conf_service from;
    struct affinity_view view;
    struct foresight foresight;
    struct addr client = host(1);
    uint32_t place;

    (void)state;
    open_service(2, CONF_BALANCE_ROUNDROBIN);
    place = place_of(1, AFFINITY_NEW);
    configure(&from, 1, CONF_BALANCE_ROUNDROBIN);
    if (place == 0)
        conf_servers[0] = conf_servers[1];
    reload(&from);
    service_free_backend(&table, service, &service->backends[place], &nothing);
    snprintf(conf_servers[1].name, sizeof(conf_servers[1].name), "other");
    configure(&from, 2, CONF_BALANCE_ROUNDROBIN);
    reload(&from);
    assert_int_equal(service->backends[place].state, BACKEND_SERVING);
    assert_int_equal(service_foresee(service, &client, &foresight), 0);
    foresight_fini(&foresight);
    view = foresight.affinity;
    assert_false(view.is_held);
    place_of(1, AFFINITY_MOVED);
    place = place_of(1, AFFINITY_KEPT);
    reload(&from); /* nothing has changed */
    assert_int_equal(place_of(1, AFFINITY_KEPT), place);
    from.affinity = (struct conf_affinity){0};
    reload(&from);
    assert_false(affinity_is_on(service_plan(service)));
    service_table_fini(&table);
}

static struct affinity_key key(const char *text, uint32_t prefix4, uint32_t prefix6, uint32_t scope)
{
    const struct service_affinity affinity = {1, prefix4, prefix6};
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    if (addr.sa.sa_family == AF_INET6)
        addr.in6.sin6_scope_id = scope;
    addr_set_port(&addr, 4711);
    return affinity_key_of(&affinity, &addr);
}

static bool are_one(struct affinity_key a, struct affinity_key b)
{
    return a.words[0] == b.words[0] && a.words[1] == b.words[1];
}

static void check_text(const char *client, uint32_t prefix4, uint32_t prefix6, uint32_t scope,
                       const char *expected)
{
    const struct service_affinity affinity = {1, prefix4, prefix6};
    const struct affinity_key one = key(client, prefix4, prefix6, scope);
    char text[SOURCE_TEXT_MAX];

    assert_string_equal(affinity_format(&affinity, &one, text), expected);
}

static void test_texts(void **state)
{
    (void)state;
    check_text("10.1.2.3", 32, 128, 0, "10.1.2.3");
    check_text("10.1.2.3", 24, 128, 0, "10.1.2.0/24");
    check_text("2001:db8::5", 32, 128, 0, "2001:db8::5");
    check_text("fe80::5", 32, 128, 7, "fe80::5");
    check_text("fe80::5", 32, 64, 7, "fe80::/64");
}

/* Who is known, and where he goes. */
static void test_guests(void **state)
{
    struct affinity_guest guest;
    struct visitor first;
    size_t at = 0;

    (void)state;
    open_service(2, CONF_BALANCE_ROUNDROBIN);
    assert_false(affinity_next(service, now_ns, &at, &guest));
    first = visit(1);
    at = 0;
    assert_true(affinity_next(service, now_ns + 20 * S, &at, &guest));
    assert_true(guest.is_present);
    assert_int_equal(guest.place, first.backend->index);
    assert_int_equal(guest.n_live, 1);
    assert_in_range(guest.left_ns, 39 * S, 41 * S);
    assert_false(affinity_next(service, now_ns, &at, &guest));
    at = 0;
    assert_true(affinity_next(service, now_ns + 61 * S, &at, &guest));
    assert_int_equal(guest.left_ns, 0);
    leave(&first);
    at = 0;
    assert_false(affinity_next(service, now_ns + 61 * S, &at, &guest)); /* it is over */
    service_table_fini(&table);
}

/* All that come by a Unix socket are not one client. */
static void test_clients_without_an_address(void **state)
{
    const struct addr nobody = {.sa = {.sa_family = AF_UNIX}};
    const struct service_client who = {&nobody, &none, 1};
    bool was_there[3] = {false};

    (void)state;
    open_service(3, CONF_BALANCE_ROUNDROBIN);
    for (int i = 0; i < 3; i++) {
        struct affinity_hold hold = {0};
        const struct affinity_visit visit = {now_ns, false, &hold};
        enum affinity_result result;
        struct backend *chosen;

        assert_int_equal(affinity_take(service, &who, &visit, &chosen, &result), PLACE_TAKEN);
        assert_int_equal(result, AFFINITY_NEW);
        assert_int_equal(hold.slot, 0);
        was_there[chosen->index] = true;
    }
    assert_true(was_there[0] && was_there[1] && was_there[2]);
    assert_int_equal(affinity_count(service, now_ns), 0);
    service_table_fini(&table);
}

static void test_prefixes(void **state)
{
    (void)state;
    assert_false(are_one(key("10.0.0.1", 32, 128, 0), key("10.0.0.2", 32, 128, 0)));
    assert_true(are_one(key("10.0.0.1", 24, 128, 0), key("10.0.0.254", 24, 128, 0)));
    assert_false(are_one(key("10.0.0.1", 24, 128, 0), key("10.0.1.1", 24, 128, 0)));
    assert_true(are_one(key("10.0.0.1", 1, 128, 0), key("127.0.1.1", 1, 128, 0)));
    assert_false(are_one(key("2001:db8::1", 32, 128, 0), key("2001:db8::2", 32, 128, 0)));
    assert_true(are_one(key("2001:db8::1", 32, 127, 0), key("2001:db8::", 32, 127, 0)));
    assert_true(are_one(key("2001:db8::1", 32, 64, 0), key("2001:db8::ffff:0:0:2", 32, 64, 0)));
    assert_false(are_one(key("2001:db8::1", 32, 64, 0), key("2001:db8:0:1::1", 32, 64, 0)));
    assert_true(are_one(key("2001:db8:0:1::1", 32, 48, 0), key("2001:db8:0:ff::1", 32, 48, 0)));
    assert_true(are_one(key("2001::1", 32, 1, 0), key("7fff::1", 32, 1, 0)));
    assert_false(are_one(key("fe80::1", 32, 128, 1), key("fe80::1", 32, 128, 2)));
    assert_false(are_one(key("::", 32, 128, 0), key("0.0.0.0", 32, 128, 0)));
}

/* What is foreseen comes true, and is not disturbed. */
static void test_foresight(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    open_service(4, CONF_BALANCE_LEASTCONN);
    for (int i = 0; i < 2000; i++) {
        uint32_t number = 1 + (uint32_t)seed_next(&seed, 5);
        struct addr client = host(number);
        struct backend *any_backend = &service->backends[seed_next(&seed, 4)];
        struct foresight foresight;
        struct visitor visitor;

        now_ns = clock_now_ns(); /* as the foresight's */
        backend_clear(any_backend, UINT32_MAX & ~(uint32_t)PICK_WEIGHT_MASK);
        if (seed_next(&seed, 2))
            backend_set(any_backend, 1u << (16 + seed_next(&seed, 11)));
        assert_int_equal(service_foresee(service, &client, &foresight), 0);
        visitor = visit(number);
        if (foresight.affinity.is_held)
            assert_int_equal(visitor.backend->index, foresight.affinity.place);
        if (visitor.found == PLACE_TAKEN)
            assert_true(foresight.servers[visitor.backend->index].odds > 0);
        else
            assert_int_equal(foresight.n_likely, 0);
        assert_int_equal(visitor.result == AFFINITY_KEPT && foresight.affinity.is_known,
                         visitor.result == AFFINITY_KEPT);
        if (visitor.backend && seed_next(&seed, 4))
            leave(&visitor);
        foresight_fini(&foresight);
    }
    service_table_fini(&table);
}

/* Workers take the same new clients at once, in one order, while servers come and go: those whose
 * visits overlap are together where nothing has changed meanwhile, and all is given back. */
enum { N_WORKERS = 4, N_VISITORS = 4000 };

static uint32_t went[N_WORKERS][N_VISITORS];
static _Atomic uint32_t n_together;

struct worker {
    pthread_t thread;
    uint32_t number;
    bool is_restless;
};

static void *work(void *arg)
{
    const struct worker *worker = arg;

    for (uint32_t i = 0; i < N_VISITORS; i++) {
        struct addr addr = host(i);
        struct affinity_hold hold = {0};
        const struct affinity_visit visit = {BEGUN, i % 2, &hold};
        const struct service_client who = {&addr, &none, (i * 31 + worker->number) * 0x9e3779b9u};
        enum affinity_result result;
        struct backend *chosen;

        if (i % 16 == 0) {
            atomic_fetch_add(&n_together, 1);
            while (atomic_load(&n_together) < N_WORKERS * (i / 16 + 1))
                sched_yield();
        }
        if (worker->is_restless && i % 8 == worker->number) {
            backend_set(&service->backends[i % 4], PICK_DRAIN);
            backend_clear(&service->backends[(i + 1) % 4], PICK_DRAIN);
        }
        if (affinity_take(service, &who, &visit, &chosen, &result) != PLACE_TAKEN)
            continue;
        went[worker->number][i] = chosen->index;
        if (i % 3 == 0)
            affinity_break(service, chosen, &hold);
        else
            affinity_leave(service, &hold);
        place_give_back(service, chosen);
    }
    return NULL;
}

static void run_workers(bool is_restless)
{
    struct worker workers[N_WORKERS];

    atomic_store(&n_together, 0);
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        workers[i] = (struct worker){.number = i, .is_restless = is_restless};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < N_WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(sum_active(service), 0);
    for (uint32_t i = 0; i < N_VISITORS; i++) {
        struct addr addr = host(i);
        struct affinity_key client = affinity_key_of(&service_plan(service)->affinity, &addr);
        struct affinity_seen seen;

        if (affinity_table_find(service->affinity, &client, BEGUN, &seen))
            assert_int_equal(seen.n_live, 0);
    }
}

static void test_workers(void **state)
{
    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        open_service(4, (enum conf_balance)policy);
        run_workers(false);
        for (uint32_t i = 0; i < N_VISITORS; i++)
            for (int k = 1; k < N_WORKERS && i % 3 != 0; k++)
                assert_int_equal(went[k][i], went[0][i]);
        run_workers(true);
        service_table_fini(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_comes_again),
        cmocka_unit_test(test_as_long_as_it_has_one),
        cmocka_unit_test(test_servers_that_hold_nobody),
        cmocka_unit_test(test_servers_that_hold_nonetheless),
        cmocka_unit_test(test_a_server_that_was_tried),
        cmocka_unit_test(test_a_server_that_is_full),
        cmocka_unit_test(test_what_operators_end),
        cmocka_unit_test(test_a_place_that_is_used_again),
        cmocka_unit_test(test_clients_without_an_address),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_guests),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_foresight),
        cmocka_unit_test(test_workers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
