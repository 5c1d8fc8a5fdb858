/* Places of servers: none -> added -> serving -> gone -> none. A place that is not serving is
 * PICK_GONE, so threads that still have an older plan do not choose it, and threads that have the
 * new one do not before it is activated. */
#include "lb4/shared/service_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/sock.h"
#include "lb4/shared/affinity_table.h"
#include "lb4/shared/reserve.h"
#include "lb4/shared/service_change.h"

/* --- places ----------------------------------------------------------------------------------- */

static size_t take_number(struct service_table *table, struct backend *backend)
{
    size_t number = table->first_free;

    while (number < SERVICE_STATS_MAX && table->by_number[number])
        number++;
    table->first_free = number;
    if (number == SERVICE_STATS_MAX)
        return number;
    table->by_number[number] = backend;
    if (number >= table->n_backends)
        table->n_backends = number + 1;
    return number;
}

static void give_number(struct service_table *table, size_t number)
{
    table->by_number[number] = NULL;
    if (number < table->first_free)
        table->first_free = number;
}

static struct backend *find_place(struct service *service)
{
    size_t place = service->first_free;

    while (place < service->n_places && service->backends[place].state != BACKEND_NONE)
        place++;
    service->first_free = place;
    return place < SERVICE_BACKENDS_MAX ? &service->backends[place] : NULL;
}

struct backend *service_add_backend(struct service_table *table, struct service *service,
                                    const struct conf_server *server)
{
    struct backend *backend = find_place(service);
    size_t number = backend ? take_number(table, backend) : SERVICE_STATS_MAX;

    if (number == SERVICE_STATS_MAX)
        return NULL;
    *backend = (struct backend){
        .index = (uint32_t)(backend - service->backends),
        .serial = ++service->n_serials,
        .stats_index = (uint32_t)number,
        .addr = server->addr,
        .is_local = sock_is_local(&server->addr),
        .state = BACKEND_ADDED,
    };
    if (backend->index == service->n_places)
        service->n_places++;
    backend->slot = &service->slots[backend->index];
    backend_set(backend, PICK_GONE);
    memcpy(backend->name, server->name, sizeof(backend->name));
    return backend;
}

/* The one of this name that serves, or else one that has not ended: its row must not fall. */
static struct backend *find_heir(const struct service *service, const struct backend *backend)
{
    struct backend *heir = NULL;

    for (size_t i = 0; i < service->n_places; i++) {
        struct backend *other = &service->backends[i];

        if (other == backend || strcmp(other->name, backend->name) != 0)
            continue;
        if (other->state == BACKEND_SERVING)
            return other;
        if (other->state == BACKEND_GONE)
            heir = other;
    }
    return heir;
}

void service_free_backend(struct service_table *table, struct service *service,
                          struct backend *backend, const struct stats_server_sum *left)
{
    struct backend *heir = find_heir(service, backend);

    if (heir)
        stats_carry_server(&heir->carried, left);
    give_number(table, backend->stats_index);
    atomic_store_explicit(&backend->slot->standing, PICK_GONE, memory_order_relaxed);
    backend->state = BACKEND_NONE;
    if (backend->index < service->first_free)
        service->first_free = backend->index;
}

void service_retire(struct service *service)
{
    for (size_t i = 0; i < service->n_places; i++) {
        struct backend *backend = &service->backends[i];

        if (backend->state != BACKEND_SERVING && backend->state != BACKEND_GONE)
            continue;
        backend_set(backend, PICK_GONE); /* of one that had left, and was kept, too */
        backend->state = BACKEND_GONE;
    }
    service->is_gone = true;
    atomic_store_explicit(&service->is_deserted, true, memory_order_release);
    waiting_wake_all(service);
}

/* --- the table -------------------------------------------------------------------------------- */

static struct service *find_name(const struct service_table *table, const char *name, bool is_gone)
{
    for (size_t i = 0; i < table->n_services; i++) {
        struct service *service = &table->services[i];

        if (service->is_used && service->is_gone == is_gone && strcmp(service->name, name) == 0)
            return service;
    }
    return NULL;
}

struct service *service_table_find(const struct service_table *table, const char *name)
{
    return find_name(table, name, false);
}

struct service *service_table_find_gone(const struct service_table *table, const char *name)
{
    return find_name(table, name, true);
}

static void release_places(struct service *service)
{
    reserve_release(service->backends, SERVICE_BACKENDS_MAX, sizeof(*service->backends));
    reserve_release(service->slots, SERVICE_BACKENDS_MAX, sizeof(*service->slots));
    service->backends = NULL;
    service->slots = NULL;
}

struct service *service_table_add(struct service_table *table, const char *name)
{
    struct service *service;
    size_t index = 0;

    while (index < table->n_services && table->services[index].is_used)
        index++;
    if (index == SERVICE_TABLE_MAX)
        return NULL;
    service = &table->services[index];
    service->index = (uint32_t)index;
    service->backends = reserve_memory(SERVICE_BACKENDS_MAX, sizeof(*service->backends));
    service->slots = reserve_memory(SERVICE_BACKENDS_MAX, sizeof(*service->slots));
    if (!service->backends || !service->slots) {
        release_places(service);
        return NULL;
    }
    udp_room_set_limit(&service->udp_room, UINT32_MAX);
    service->waiting = (struct waiting){.crew = table->crew};
    for (size_t i = 0; i < REFUSALS; i++)
        refusal_note_clear(&service->refused[i]);
    snprintf(service->name, sizeof(service->name), "%s", name);
    service->is_used = true;
    if (index == table->n_services)
        table->n_services++;
    return service;
}

/* Its room for UDP stays: workers look at it whether anybody is there or not. */
void service_table_drop(struct service_table *table, struct service *service)
{
    struct service_plan *plan = atomic_load_explicit(&service->plan, memory_order_relaxed);

    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state != BACKEND_NONE)
            give_number(table, service->backends[i].stats_index);
    if (plan)
        check_free(plan->check);
    plan_free(plan);
    guard_fini(&service->guard);
    atomic_store_explicit(&service->plan, NULL, memory_order_relaxed);
    affinity_table_free(service->affinity);
    service->affinity = NULL;
    release_places(service);
    service->n_places = 0;
    service->first_free = 0;
    service->is_used = false;
    service->is_gone = false;
}

static int add_first(struct service_table *table, const struct conf_service *from)
{
    struct service_change change;
    struct service *service = service_table_add(table, from->name);
    int error = service ? service_prepare(table, service, from, &change) : -ENOMEM;

    if (error)
        return error;
    service_commit(&change);
    service_activate(&change);
    service_change_fini(table, &change);
    return 0;
}

static int table_open(struct service_table *table)
{
    *table = (struct service_table){0};
    table->services = reserve_memory(SERVICE_TABLE_MAX, sizeof(*table->services));
    table->by_number = reserve_memory(SERVICE_STATS_MAX, sizeof(struct backend *));
    table->crew = calloc(1, sizeof(*table->crew));
    return table->services && table->by_number && table->crew ? 0 : -ENOMEM;
}

int service_table_init(struct service_table *table, const struct conf *conf)
{
    int error = table_open(table);

    table->n_clients = conf->maxconn ? conf->maxconn : SOURCES_CLIENTS_AUTO;
    for (size_t i = 0; !error && i < conf->n_services; i++)
        error = add_first(table, &conf->services[i]);
    if (error)
        service_table_fini(table);
    return error;
}

void service_table_fini(struct service_table *table)
{
    for (size_t i = 0; i < table->n_services; i++)
        if (table->services[i].is_used)
            service_table_drop(table, &table->services[i]);
    reserve_release(table->services, SERVICE_TABLE_MAX, sizeof(*table->services));
    reserve_release(table->by_number, SERVICE_STATS_MAX, sizeof(struct backend *));
    free(table->crew);
    *table = (struct service_table){0};
}
