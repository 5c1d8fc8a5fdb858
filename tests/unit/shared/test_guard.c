#include "lb4/shared/guard.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/base/clock.h"
#include "lb4/shared/service_change.h"

void *__real_reserve_memory(size_t n, size_t size);
void *__wrap_reserve_memory(size_t n, size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __real_siphash_key_init(struct siphash_key *key);
int __wrap_siphash_key_init(struct siphash_key *key);

static const uint64_t S = 1000000000;

static int steps_left = -1; /* until one that a table needs fails; -1 = none does */

static bool may_step(void)
{
    return steps_left < 0 || steps_left-- > 0;
}

void *__wrap_reserve_memory(size_t n, size_t size)
{
    return may_step() ? __real_reserve_memory(n, size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_step() ? __real_calloc(n, size) : NULL;
}

int __wrap_siphash_key_init(struct siphash_key *key)
{
    return may_step() ? __real_siphash_key_init(key) : -EIO;
}

struct scene {
    struct service_table table;
    struct service *service;
};

static struct conf_server server = {.name = "s1", .weight = 1};

static struct conf_service conf_with(const struct conf_guard *guard)
{
    addr_any(AF_INET, 9, &server.addr);
    return (struct conf_service){
        .name = "g", .servers = &server, .n_servers = 1, .tries = 1, .guard = *guard};
}

static void open_scene(struct scene *scene, const struct conf_guard *guard)
{
    struct conf_service service = conf_with(guard);
    struct conf conf = {.services = &service, .n_services = 1, .maxconn = 100};

    assert_int_equal(service_table_init(&scene->table, &conf), 0);
    scene->service = &scene->table.services[0];
}

static void reload(struct scene *scene, const struct conf_guard *guard)
{
    struct conf_service service = conf_with(guard);
    struct service_change change;

    assert_int_equal(service_prepare(&scene->table, scene->service, &service, &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&scene->table, &change);
}

static struct addr host(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return addr;
}

static enum refusal ask(struct scene *scene, const char *client, uint64_t now_ns,
                        struct guard_places *ret)
{
    struct addr addr = host(client);
    enum refusal refusal = guard_ask(scene->service, &addr, false, now_ns, ret);

    if (refusal != REFUSAL_NONE)
        guard_note_refusal(scene->service, &addr, refusal, now_ns);
    return refusal;
}

static void check(struct scene *scene, const char *client, uint64_t now_ns, enum refusal expected)
{
    struct guard_places places;

    assert_int_equal(ask(scene, client, now_ns, &places), expected);
    guard_leave(scene->service, &places);
}

static void test_nothing_is_asked_of_a_service_without_words(void **state)
{
    struct scene scene;
    struct guard_places places;

    (void)state;
    open_scene(&scene, &(struct conf_guard){0});
    assert_int_equal(ask(&scene, "10.0.0.1", S, &places), REFUSAL_NONE);
    assert_null(places.source);
    assert_false(places.has_connection);
    assert_null(scene.service->guard.sources);
    service_table_fini(&scene.table);
}

static void test_limit_per_source(void **state)
{
    struct scene scene;
    struct guard_places places[3];

    (void)state;
    open_scene(&scene, &(struct conf_guard){.per_source = 2});
    assert_int_equal(ask(&scene, "10.0.0.1", S, &places[0]), REFUSAL_NONE);
    assert_int_equal(ask(&scene, "10.0.0.1", S, &places[1]), REFUSAL_NONE);
    assert_int_equal(ask(&scene, "10.0.0.1", S, &places[2]), REFUSAL_PER_SOURCE);
    check(&scene, "10.0.0.2", S, REFUSAL_NONE);
    guard_leave(scene.service, &places[0]);
    guard_leave(scene.service, &places[0]); /* once */
    check(&scene, "10.0.0.1", S, REFUSAL_NONE);
    /* A network is one source. */
    assert_int_equal(ask(&scene, "2001:db8::1", S, &places[0]), REFUSAL_NONE);
    assert_int_equal(ask(&scene, "2001:db8::2", S, &places[2]), REFUSAL_NONE);
    check(&scene, "2001:db8::3:3", S, REFUSAL_PER_SOURCE);
    check(&scene, "2001:db8:0:1::3", S, REFUSAL_NONE);
    service_table_fini(&scene.table);
}

static void test_refusals_of_others_cost_nothing(void **state)
{
    const struct conf_guard guard = {
        .per_source = 1, .rate_source = {1, 1000, 2}, .rate = {1, 1000, 3}, .maxconn = 1};
    struct scene scene;
    struct guard_places places;
    struct guard_outlook outlook;
    struct addr addr = host("10.0.0.1");

    (void)state;
    open_scene(&scene, &guard);
    assert_int_equal(ask(&scene, "10.0.0.1", S, &places), REFUSAL_NONE);
    for (int i = 0; i < 9; i++) {
        check(&scene, "10.0.0.1", S, REFUSAL_PER_SOURCE);
        check(&scene, "10.0.0.2", S, REFUSAL_MAXCONN);
    }
    guard_foresee(scene.service, &addr, S, &outlook);
    assert_int_equal(outlook.refusal, REFUSAL_PER_SOURCE);
    assert_int_equal(outlook.rate_room, 1);
    assert_int_equal(outlook.service_rate_room, 2);
    assert_int_equal(outlook.n_live, 1);
    assert_int_equal(outlook.n_connections, 1);
    assert_string_equal(outlook.source, "10.0.0.1");
    guard_leave(scene.service, &places);
    check(&scene, "10.0.0.1", S, REFUSAL_NONE);
    check(&scene, "10.0.0.1", S, REFUSAL_RATE_SOURCE);
    check(&scene, "10.0.0.2", S, REFUSAL_NONE);
    check(&scene, "10.0.0.2", S, REFUSAL_RATE);
    check(&scene, "10.0.0.2", S + S, REFUSAL_NONE);
    service_table_fini(&scene.table);
}

static void test_a_ban_and_its_end(void **state)
{
    const struct conf_guard guard = {.per_source = 1,
                                     .ban = {.n_refused = 3, .within_ms = 10000, .for_ms = 60000}};
    struct scene scene;
    struct guard_places places;
    struct addr addr = host("10.0.0.1");

    (void)state;
    open_scene(&scene, &guard);
    assert_int_equal(ask(&scene, "10.0.0.1", S, &places), REFUSAL_NONE);
    for (int i = 0; i < 3; i++)
        check(&scene, "10.0.0.1", S, REFUSAL_PER_SOURCE);
    for (int i = 0; i < 9; i++)
        check(&scene, "10.0.0.1", 2 * S, REFUSAL_BANNED);
    check(&scene, "10.0.0.2", 2 * S, REFUSAL_NONE);
    guard_leave(scene.service, &places);
    check(&scene, "10.0.0.1", 60 * S, REFUSAL_BANNED);
    check(&scene, "10.0.0.1", 61 * S, REFUSAL_NONE);
    /* Not the client's doing; and an operator's pardon. */
    for (int i = 0; i < 9; i++)
        guard_note_refusal(scene.service, &addr, REFUSAL_MAXCONN, 61 * S);
    check(&scene, "10.0.0.1", 61 * S, REFUSAL_NONE);
    for (int i = 0; i < 3; i++)
        guard_note_refusal(scene.service, &addr, REFUSAL_DENIED, 61 * S);
    check(&scene, "10.0.0.1", 61 * S, REFUSAL_BANNED);
    assert_true(guard_pardon(scene.service, &addr, 61 * S));
    assert_false(guard_pardon(scene.service, &addr, 61 * S));
    check(&scene, "10.0.0.1", 61 * S, REFUSAL_NONE);
    service_table_fini(&scene.table);
}

static void test_what_operators_read_and_forgive(void **state)
{
    const struct conf_guard guard = {.rate_datagrams = {10, 1000, 2},
                                     .ban = {.n_refused = 2, .within_ms = 1000, .for_ms = 60000}};
    struct addr addr = host("10.0.0.1");
    struct guard_outlook outlook;
    struct guard_places places;
    struct source_view row;
    struct scene scene;
    size_t at = 0;

    (void)state;
    open_scene(&scene, &guard);
    for (int i = 0; i < 2; i++)
        guard_note_refusal(scene.service, &addr, REFUSAL_PEER, S);
    guard_note_refusal(scene.service, &addr, REFUSAL_HEADER, S);
    guard_note_refusal(scene.service, &addr, REFUSAL_HEADER_LATE, S);
    assert_true(sources_next(scene.service->guard.sources, S, &at, &row));
    assert_int_equal(row.n_refused, 2);
    assert_int_equal(row.cause, REFUSAL_PEER);
    assert_int_equal(row.banned_ns, 60 * S);
    assert_int_equal(scene.service->guard.n_bans, 1);
    guard_foresee(scene.service, &addr, S, &outlook);
    assert_int_equal(outlook.refusal, REFUSAL_BANNED);
    assert_int_equal(outlook.banned_ns, 60 * S);
    assert_int_equal(guard_pardon_all(scene.service, S), 1);
    assert_int_equal(guard_pardon_all(scene.service, S), 0);
    guard_foresee(scene.service, &addr, S, &outlook);
    assert_int_equal(outlook.refusal, REFUSAL_NONE);
    assert_int_equal(outlook.datagrams_room, 2);
    assert_int_equal(guard_ask(scene.service, &addr, true, S, &places), REFUSAL_NONE);
    guard_foresee(scene.service, &addr, S, &outlook);
    assert_int_equal(outlook.datagrams_room, 1);
    guard_leave(scene.service, &places);
    service_table_fini(&scene.table);
}

static void test_what_a_reload_keeps(void **state)
{
    const struct conf_ban ban = {.n_refused = 1, .within_ms = 1000, .for_ms = 3600000};
    struct scene scene;
    struct guard_places before;
    struct guard_places places[2];
    uint64_t now_ns = clock_now_ns();

    (void)state;
    open_scene(&scene, &(struct conf_guard){0});
    assert_int_equal(ask(&scene, "10.0.0.1", now_ns, &before), REFUSAL_NONE);
    reload(&scene, &(struct conf_guard){.per_source = 1, .maxconn = 9, .ban = ban});
    assert_int_equal(ask(&scene, "10.0.0.1", now_ns, &places[0]), REFUSAL_NONE);
    guard_leave(scene.service, &before); /* had taken nothing */
    check(&scene, "10.0.0.1", now_ns, REFUSAL_PER_SOURCE);
    reload(&scene, &(struct conf_guard){.per_source = 2, .ban = ban});
    check(&scene, "10.0.0.1", now_ns, REFUSAL_BANNED);
    reload(&scene, &(struct conf_guard){.per_source = 2});
    assert_int_equal(ask(&scene, "10.0.0.1", now_ns, &places[1]), REFUSAL_NONE);
    check(&scene, "10.0.0.1", now_ns, REFUSAL_PER_SOURCE);
    reload(&scene, &(struct conf_guard){.per_source = 2, .ban = ban});
    check(&scene, "10.0.0.1", now_ns, REFUSAL_PER_SOURCE); /* the ban had ended with the word */
    check(&scene, "10.0.0.1", now_ns, REFUSAL_BANNED);
    reload(&scene, &(struct conf_guard){0});
    check(&scene, "10.0.0.1", now_ns, REFUSAL_NONE);
    guard_leave(scene.service, &places[0]);
    guard_leave(scene.service, &places[1]);
    assert_int_equal(capacity_used(&scene.service->guard.connections), 0);
    service_table_fini(&scene.table);
}

static void test_no_memory_for_a_table(void **state)
{
    const struct conf_guard conf = {.rate_source = {1, 1000, 1}};
    const struct guard_plan plan = guard_plan_from(&conf);
    const struct guard_plan other = guard_plan_from(&(struct conf_guard){.maxconn = 1});
    static struct guard guard;
    struct sources *sources;

    (void)state;
    for (int i = 0; i < 3; i++) {
        steps_left = i;
        assert_int_equal(guard_prepare(&guard, &plan, 100), -ENOMEM);
        assert_null(guard.sources);
    }
    steps_left = 0;
    assert_int_equal(guard_prepare(&guard, &other, 100), 0);
    assert_null(guard.sources);
    steps_left = -1;
    assert_int_equal(guard_prepare(&guard, &plan, 100), 0);
    sources = guard.sources;
    assert_non_null(sources);
    steps_left = 0;
    assert_int_equal(guard_prepare(&guard, &plan, 100000), 0); /* it stays */
    steps_left = -1;
    assert_ptr_equal(guard.sources, sources);
    guard_fini(&guard);
    assert_null(guard.sources);
}

/* A reload that has no memory for it changes nothing: the service goes on without limits. */
static void test_a_reload_without_memory(void **state)
{
    const struct conf_guard guard = {.per_source = 1};
    struct conf_service with = conf_with(&guard);
    struct service_change change;
    struct scene scene;

    (void)state;
    open_scene(&scene, &(struct conf_guard){0});
    steps_left = 0;
    assert_int_equal(service_prepare(&scene.table, scene.service, &with, &change), -ENOMEM);
    steps_left = -1;
    for (int i = 0; i < 3; i++) {
        struct guard_places places;

        assert_int_equal(ask(&scene, "10.0.0.1", S, &places), REFUSAL_NONE);
    }
    reload(&scene, &guard);
    check(&scene, "10.0.0.1", S, REFUSAL_NONE);
    service_table_fini(&scene.table);
}

/* For connections there is maxconn; sessions are as many as udp-sessions lets be. */
static void test_the_table_has_room_for_sessions(void **state)
{
    const struct conf_guard guard = {.per_source = 1};
    struct conf_listen listen = {.transport = CONF_UDP};
    static const struct {
        unsigned transport;
        uint32_t maxconn;
        uint32_t max_sessions;
        size_t n_sets;
    } cases[] = {
        {CONF_TCP, 1000, 0, SOURCES_SETS_MIN},
        {CONF_TCP, 0, 0, SOURCES_CLIENTS_AUTO / 2},
        {CONF_UDP, 1000, 0, SOURCES_CLIENTS_AUTO / 2},
        {CONF_UDP, 1000, 5000, 4096},
        {CONF_UDP, 10000, 5000, 8192},
        {CONF_UDP, 0, 10000000, SOURCES_SETS_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct conf_service service = conf_with(&guard);
        struct conf conf = {.services = &service, .n_services = 1, .maxconn = cases[i].maxconn};
        struct service_table table;

        listen.transport = cases[i].transport;
        service.listens = &listen;
        service.n_listens = 1;
        service.udp.max_sessions = cases[i].max_sessions;
        assert_int_equal(service_table_init(&table, &conf), 0);
        assert_int_equal(table.services[0].guard.sources->n_sets, cases[i].n_sets);
        service_table_fini(&table);
    }
}

static void test_datagrams(void **state)
{
    const struct conf_guard guard = {.rate_datagrams = {10, 1000, 10}, .maxconn = 1};
    struct addr addr = host("10.0.0.1");
    struct guard_places places;
    struct scene scene;

    (void)state;
    open_scene(&scene, &guard);
    assert_int_equal(guard_ask(scene.service, &addr, true, S, &places), REFUSAL_NONE);
    assert_false(places.has_connection);
    assert_int_equal(guard_ask_datagrams(scene.service, &addr, &places, S, 6), 6);
    assert_int_equal(guard_ask_datagrams(scene.service, &addr, &places, S, 6), 3);
    assert_int_equal(guard_ask_datagrams(scene.service, &addr, &places, S, 6), 0);
    guard_leave(scene.service, &places);
    assert_int_equal(guard_ask(scene.service, &addr, true, S, &places), REFUSAL_RATE_SOURCE);
    /* One from before the word takes its place late. */
    assert_int_equal(guard_ask_datagrams(scene.service, &addr, &places, 2 * S, 20), 10);
    assert_non_null(places.source);
    guard_charge_datagrams(scene.service, &places, 3 * S, 5);
    assert_int_equal(guard_ask_datagrams(scene.service, &addr, &places, 3 * S, 20), 5);
    guard_leave(scene.service, &places);
    service_table_fini(&scene.table);
}

enum { THREADS = 8, ROUNDS = 20000, MOST = 5 };

static struct {
    struct scene scene;
    _Atomic int n_in;
    _Atomic int n_most;
    _Atomic int n_served;
} crowd;

static void *come_and_go(void *arg)
{
    struct addr addr = host(arg ? "10.0.0.1" : "10.0.0.2");

    for (int i = 0; i < ROUNDS; i++) {
        struct guard_places places;
        int n;

        if (guard_ask(crowd.scene.service, &addr, false, S, &places) != REFUSAL_NONE)
            continue;
        n = atomic_fetch_add(&crowd.n_in, 1) + 1;
        if (n > crowd.n_most)
            crowd.n_most = n;
        atomic_fetch_add(&crowd.n_served, 1);
        sched_yield();
        atomic_fetch_sub(&crowd.n_in, 1);
        guard_leave(crowd.scene.service, &places);
    }
    return NULL;
}

static void test_exact_over_threads(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    open_scene(&crowd.scene, &(struct conf_guard){.per_source = 3, .maxconn = MOST});
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, (void *)(i % 2)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(crowd.n_most, 1, MOST);
    assert_true(crowd.n_served > 0);
    assert_int_equal(capacity_used(&crowd.scene.service->guard.connections), 0);
    service_table_fini(&crowd.scene.table);
}

/* Clients of a Unix socket have no source; the service's own limits hold for them. */
static void test_clients_without_an_address(void **state)
{
    const struct conf_guard limits = {.per_source = 1, .maxconn = 2};
    struct guard_places places[3];
    struct scene scene;
    struct addr client;

    (void)state;
    open_scene(&scene, &limits);
    addr_unix_client(1, &client);
    assert_int_equal(guard_ask(scene.service, &client, false, S, &places[0]), REFUSAL_NONE);
    assert_int_equal(guard_ask(scene.service, &client, false, S, &places[1]), REFUSAL_NONE);
    assert_null(places[0].source);
    assert_int_equal(guard_ask(scene.service, &client, false, S, &places[2]), REFUSAL_MAXCONN);
    guard_leave(scene.service, &places[0]);
    guard_leave(scene.service, &places[1]);
    service_table_fini(&scene.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_asked_of_a_service_without_words),
        cmocka_unit_test(test_limit_per_source),
        cmocka_unit_test(test_refusals_of_others_cost_nothing),
        cmocka_unit_test(test_a_ban_and_its_end),
        cmocka_unit_test(test_what_operators_read_and_forgive),
        cmocka_unit_test(test_what_a_reload_keeps),
        cmocka_unit_test(test_no_memory_for_a_table),
        cmocka_unit_test(test_a_reload_without_memory),
        cmocka_unit_test(test_the_table_has_room_for_sessions),
        cmocka_unit_test(test_datagrams),
        cmocka_unit_test(test_exact_over_threads),
        cmocka_unit_test(test_clients_without_an_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
