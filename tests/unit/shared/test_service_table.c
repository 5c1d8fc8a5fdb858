#include "lb4/shared/service_table.h"

#include <errno.h>

#include "service_rig.h"

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static int allocations_left = -1; /* -1 = no end */

static bool may_allocate(void)
{
    return allocations_left < 0 || allocations_left-- > 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return may_allocate() ? __real_aligned_alloc(alignment, size) : NULL;
}

static void check_backend(const struct service *service, uint32_t index, uint32_t stats_index)
{
    const struct backend *backend = &service->backends[index];
    const struct conf_server *from = &conf_servers[stats_index];

    assert_ptr_equal(backend->slot, &service->slots[index]);
    assert_int_equal(backend->index, index);
    assert_int_equal(backend->stats_index, stats_index);
    assert_int_equal(backend_standing(backend), from->weight | (from->is_backup ? PICK_BACKUP : 0));
    assert_string_equal(backend->name, from->name);
    assert_true(addr_equal(&backend->addr, &from->addr));
    assert_int_equal(backend_active(backend), 0);
}

static void test_table_from_conf(void **state)
{
    struct conf_listen listens[2] = {0};
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
        conf_servers[i] = (struct conf_server){.weight = (uint32_t)i + 1, .is_backup = i == 1};
        addr_any(AF_INET, (uint16_t)(7000 + i), &conf_servers[i].addr);
        snprintf(conf_servers[i].name, sizeof(conf_servers[i].name), "srv%zu", i);
    }
    for (size_t i = 0; i < 2; i++)
        addr_any(AF_INET6, (uint16_t)(9000 + i), &listens[i].addr);
    services[1].listens = listens;
    services[1].n_listens = 2;
    assert_int_equal(service_table_init(&table, &conf), 0);
    assert_int_equal(table.n_services, 2);
    assert_int_equal(table.n_backends, 3);
    assert_int_equal(table.services[1].index, 1);
    assert_string_equal(table.services[1].name, "two");
    assert_int_equal(service_plan(&table.services[1])->tries, 9);
    assert_int_equal(service_plan(&table.services[1])->connect_ns, 1000000);
    assert_int_equal(service_plan(&table.services[1])->idle_ns, 2000000);
    assert_int_equal(service_plan(&table.services[1])->half_close_ns, 3000000);
    assert_int_equal(service_plan(&table.services[0])->check->default_port, 0);
    assert_int_equal(service_plan(&table.services[1])->check->default_port, 9000);
    assert_int_equal(service_plan(&table.services[0])->most_weight, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal((uintptr_t)table.services[i].slots % 64, 0);
    check_backend(&table.services[0], 0, 0);
    check_backend(&table.services[0], 1, 1);
    check_backend(&table.services[1], 0, 2);
    assert_null(service_plan(&table.services[0])->sequence);
    assert_null(service_plan(&table.services[0])->maglev.entries);
    service_table_fini(&table);
    assert_null(table.services);
}

static void test_udp_from_conf(void **state)
{
    char send[] = "a\0b";
    char expect[] = "";
    struct conf_listen listens[2] = {{.transport = CONF_UDP}, {.transport = CONF_TCP_AND_UDP}};
    struct conf_service services[2] = {
        {.servers = conf_servers,
         .n_servers = 1,
         .listens = listens,
         .n_listens = 1,
         .timeouts = {.udp_ms = 7},
         .udp = {.keeps_on_down = true, .responses = 3, .max_sessions = 2},
         .check =
             {.kind = CONF_CHECK_SEND, .send = send, .n_send = 3, .expect = expect, .n_expect = 0}},
        {.servers = conf_servers, .n_servers = 1, .listens = &listens[1], .n_listens = 1},
    };
    const struct conf conf = {.services = services, .n_services = 2};
    struct service_table table;
    const struct service *service;

    (void)state;
    assert_int_equal(service_table_init(&table, &conf), 0);
    service = &table.services[0];
    assert_int_equal(service_plan(service)->udp_ns, 7000000);
    assert_int_equal(service_plan(service)->transports, CONF_UDP);
    assert_true(service_plan(service)->udp.keeps_on_down);
    assert_int_equal(service_plan(service)->udp.responses, 3);
    assert_int_equal(udp_room_limit(&service->udp_room), 2);
    assert_int_equal(service_plan(service)->check->kind, CONF_CHECK_SEND);
    assert_true(service_plan(service)->check->is_probed);
    assert_ptr_not_equal(service_plan(service)->check->send, send);
    assert_int_equal(service_plan(service)->check->n_send, 3);
    assert_memory_equal(service_plan(service)->check->send, send, 3);
    assert_non_null(service_plan(service)->check->expect);
    assert_int_equal(service_plan(service)->check->n_expect, 0);
    service = &table.services[1];
    assert_int_equal(service_plan(service)->transports, CONF_TCP_AND_UDP);
    assert_int_equal(udp_room_limit(&service->udp_room), UINT32_MAX);
    assert_null(service_plan(service)->check->send);
    service_table_fini(&table);
}

/* `auto` probes where there is a choice; the numbers come over in nanoseconds. */
static void test_check_from_conf(void **state)
{
    struct conf_listen listen = {.transport = CONF_TCP};
    struct conf_service services[3] = {
        {.n_servers = 2, .check = {.kind = CONF_CHECK_AUTO, .port = 81}},
        {.n_servers = 1, .check = {.kind = CONF_CHECK_AUTO}},
        {.n_servers = 1,
         .check = {CONF_CHECK_TCP, .interval_ms = 2000, .timeout_ms = 30, .fast_ms = 500, 3, 2, 0}},
    };
    struct conf conf = {.services = services, .n_services = 3};
    struct service_table table;
    const struct service_check *check;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        services[i].servers = conf_servers;
        services[i].listens = &listen;
        services[i].n_listens = 1;
    }
    assert_int_equal(service_table_init(&table, &conf), 0);
    assert_true(service_plan(&table.services[0])->check->is_probed);
    assert_int_equal(service_plan(&table.services[0])->check->port, 81);
    assert_false(service_plan(&table.services[1])->check->is_probed);
    check = service_plan(&table.services[2])->check;
    assert_true(check->is_probed);
    assert_int_equal(check->interval_ns, 2000000000);
    assert_int_equal(check->timeout_ns, 30000000);
    assert_int_equal(check->fast_ns, 500000000);
    assert_int_equal(check->fall, 3);
    assert_int_equal(check->rise, 2);
    assert_int_equal(check->port, 0);
    service_table_fini(&table);
}

static void test_out_of_memory(void **state)
{
    struct service_table table;

    (void)state;
    for (int policy = 0; policy < N_POLICIES; policy++) {
        int n = 0;

        build(&table, all_ones, 3, (enum conf_balance)policy);
        service_table_fini(&table);
        for (;; n++) {
            int error;

            allocations_left = n;
            error = build_from(&table, 3, (enum conf_balance)policy);
            allocations_left = -1;
            if (!error)
                break;
            assert_int_equal(error, -ENOMEM);
            assert_null(table.services);
            service_table_fini(&table);
        }
        /* crew, serving, seats, check, plan; weights, turns, sequence; servers, walks, entries */
        assert_int_equal(n, policy == CONF_BALANCE_LEASTCONN ? 5 : 8);
        service_table_fini(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_from_conf),
        cmocka_unit_test(test_udp_from_conf),
        cmocka_unit_test(test_check_from_conf),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
