#include "lb4/shared/service.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/sock.h"

static int backends_init(struct service *service, const struct conf_service *from, size_t first)
{
    service->backends = aligned_alloc(64, from->n_servers * sizeof(*service->backends));
    if (!service->backends)
        return -ENOMEM;
    memset(service->backends, 0, from->n_servers * sizeof(*service->backends));
    service->n_backends = from->n_servers;
    for (size_t i = 0; i < from->n_servers; i++) {
        struct backend *backend = &service->backends[i];

        backend->weight = from->servers[i].weight;
        backend->index = (uint32_t)i;
        backend->stats_index = (uint32_t)(first + i);
        backend->addr = from->servers[i].addr;
        backend->is_local = sock_is_local(&backend->addr);
        memcpy(backend->name, from->servers[i].name, sizeof(backend->name));
    }
    return 0;
}

static int sequence_init(struct service *service)
{
    uint32_t *weights = calloc(service->n_backends, sizeof(*weights));

    if (!weights)
        return -ENOMEM;
    for (size_t i = 0; i < service->n_backends; i++)
        weights[i] = service->backends[i].weight;
    service->sequence = pick_sequence(weights, service->n_backends, &service->n_sequence);
    free(weights);
    return service->sequence ? 0 : -ENOMEM;
}

static int service_init(struct service *service, const struct conf_service *from, size_t first)
{
    int error = backends_init(service, from, first);

    if (error)
        return error;
    service->balance = from->balance;
    service->tries = from->tries;
    service->connect_ns = from->timeouts.connect_ms * CLOCK_NS_PER_MS;
    service->idle_ns = from->timeouts.idle_ms * CLOCK_NS_PER_MS;
    service->half_close_ns = from->timeouts.half_close_ms * CLOCK_NS_PER_MS;
    memcpy(service->name, from->name, sizeof(service->name));
    return from->balance == CONF_BALANCE_ROUNDROBIN ? sequence_init(service) : 0;
}

int service_table_init(struct service_table *table, const struct conf *conf)
{
    *table = (struct service_table){0};
    table->services = aligned_alloc(64, conf->n_services * sizeof(*table->services));
    if (!table->services)
        return -ENOMEM;
    memset(table->services, 0, conf->n_services * sizeof(*table->services));
    table->n_services = conf->n_services;
    for (size_t i = 0; i < conf->n_services; i++) {
        struct service *service = &table->services[i];
        int error = service_init(service, &conf->services[i], table->n_backends);

        if (error) {
            service_table_fini(table);
            return error;
        }
        service->index = (uint32_t)i;
        table->n_backends += service->n_backends;
    }
    return 0;
}

void service_table_fini(struct service_table *table)
{
    for (size_t i = 0; i < table->n_services; i++) {
        free(table->services[i].backends);
        free(table->services[i].sequence);
    }
    free(table->services);
    *table = (struct service_table){0};
}

static struct pick_load load_of(const struct backend *backend)
{
    return (struct pick_load){.active = backend_active(backend), .weight = backend->weight};
}

/* From a random start, the first of the least loaded: with equal loads everyone gets a share. */
static struct backend *choose_least(struct service *service, const struct pick_set *tried,
                                    uint32_t random)
{
    size_t at = random % service->n_backends;
    struct backend *best = NULL;
    struct pick_load best_load = {0};

    assert(service->backends); /* conf/check.c: no service without a server */
    for (size_t i = 0; i < service->n_backends; i++) {
        struct backend *backend = &service->backends[at];
        struct pick_load load = load_of(backend);

        if (!pick_set_has(tried, at) && (!best || pick_is_less(load, best_load))) {
            best = backend;
            best_load = load;
        }
        if (++at == service->n_backends)
            at = 0;
    }
    return best;
}

/* A server that cannot be taken is passed over with a further ticket: going on to its neighbour in
 * the sequence instead would give that neighbour all of its share. At most one round. */
static struct backend *choose_next(struct service *service, const struct pick_set *tried)
{
    for (size_t i = 0; i < service->n_sequence; i++) {
        uint64_t ticket = atomic_fetch_add_explicit(&service->ticket, 1, memory_order_relaxed);
        uint16_t index = service->sequence[ticket % service->n_sequence];

        if (!pick_set_has(tried, index))
            return &service->backends[index];
    }
    return NULL;
}

struct backend *service_choose(struct service *service, const struct pick_set *tried,
                               uint32_t random)
{
    struct backend *chosen = NULL;

    switch (service->balance) {
    case CONF_BALANCE_LEASTCONN:
        chosen = choose_least(service, tried, random);
        break;
    case CONF_BALANCE_ROUNDROBIN:
        chosen = choose_next(service, tried);
        /* Other workers drew tickets too, so one round of ours may have missed a server. */
        if (!chosen)
            chosen = choose_least(service, tried, random);
        break;
    }
    if (chosen)
        backend_acquire(chosen);
    return chosen;
}
