/* For tests of parts of the prober: its state without its thread, and a service of servers that
 * nobody connects to. */
#ifndef TEST_POOL_RIG_H
#define TEST_POOL_RIG_H

#include "lb4/shared/backend_write.h"
#include "lb4/shared/ramp.h"

#include "stage.h"

static const uint64_t START_NS = 1000 * 1000000000ull;

static inline struct service_plan *pool_plan(void)
{
    return &stage.plans[0];
}

static inline struct probe *pool_probe(size_t index)
{
    return &stage.prober.probes[index];
}

static inline struct backend *pool_server(size_t index)
{
    return &stage.backends[0][index];
}

/* n servers, all up. */
static inline void pool_open(size_t n, bool is_probed)
{
    struct service_check check = stage_check();
    struct service *service;
    struct addr at;

    assert_int_equal(addr_parse("127.0.0.1", &at), 0);
    addr_set_port(&at, 9);
    check.is_probed = is_probed;
    check.interval_ns = CLOCK_NS_PER_S;
    service = stage_add_service("s", check);
    for (size_t i = 0; i < n; i++)
        stage_add_server(service, &at);
    assert_int_equal(prober_init(&stage.prober, &stage.table, 8), 0);
    for (size_t i = 0; i < n; i++)
        health_init(&pool_probe(i)->health, START_NS);
}

static inline void pool_close(void)
{
    prober_fini(&stage.prober);
}

static inline bool pool_has(size_t index, uint32_t flags)
{
    return backend_standing(pool_server(index)) & flags;
}

#define POOLED(test) cmocka_unit_test_setup_teardown(test, stage_prepare, stage_check_descriptors)

#endif
