/* One service out of a configuration of so many servers, and choices for clients from anywhere. */
#ifndef TEST_SERVICE_RIG_H
#define TEST_SERVICE_RIG_H

#include "lb4/shared/choose.h"
#include "lb4/shared/service_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

enum { N_MOST = 70, N_POLICIES = CONF_BALANCE_RANDOM + 1 };

static struct conf_server conf_servers[N_MOST];
static const uint32_t all_ones[N_MOST] = {[0 ... N_MOST - 1] = 1};
static const struct pick_set none;

static inline int build_from(struct service_table *table, size_t n, enum conf_balance balance)
{
    struct conf_service service = {
        .name = "s",
        .servers = conf_servers,
        .n_servers = n,
        .balance = balance,
        .tries = 3,
        .timeouts = {.connect_ms = 3000, .idle_ms = 3600000, .half_close_ms = 60000},
    };
    struct conf conf = {.services = &service, .n_services = 1};

    return service_table_init(table, &conf);
}

/* A configuration of one service with n servers of these weights. */
static inline void build(struct service_table *table, const uint32_t *weights, size_t n,
                         enum conf_balance balance)
{
    for (size_t i = 0; i < n; i++) {
        conf_servers[i] = (struct conf_server){.weight = weights[i]};
        addr_any(AF_INET, (uint16_t)(1000 + i), &conf_servers[i].addr);
        snprintf(conf_servers[i].name, sizeof(conf_servers[i].name), "s%zu", i);
    }
    assert_int_equal(build_from(table, n, balance), 0);
}

static inline uint32_t any(struct seed *seed)
{
    return (uint32_t)seed_next(seed, 1ull << 32);
}

static inline struct addr host(uint32_t number)
{
    struct addr addr;

    addr_any(AF_INET, 0, &addr);
    addr.in4.sin_addr.s_addr = htonl(number);
    return addr;
}

/* A choice for any client. */
static inline struct backend *choose(struct service *service, const struct pick_set *tried,
                                     struct seed *seed)
{
    struct addr client = host(any(seed));

    return service_choose(
        service, &(struct service_client){.addr = &client, .tried = tried, .random = any(seed)});
}

static inline uint64_t sum_active(const struct service *service)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++)
        sum += backend_active(&service->backends[i]);
    return sum;
}

#endif
