/* Places of servers: none -> added -> serving -> gone -> none. A place that is not serving is
 * PICK_GONE, so threads that still have an older plan do not choose it, and threads that have the
 * new one do not before it is activated. */
#include "lb4/shared/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/sock.h"
#include "lb4/shared/reserve.h"

/* --- places ----------------------------------------------------------------------------------- */

/* The present check goes on if nothing about it changes, as the prober's attempts point to it. */
static struct service_check *next_check(const struct service *service,
                                        const struct conf_service *from)
{
    const struct service_plan *plan = service_plan(service);
    struct service_check *check = check_new(from);

    if (!check || !plan || !check_equal(check, plan->check))
        return check;
    check_free(check);
    return plan->check;
}

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
    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state == BACKEND_NONE)
            return &service->backends[i];
    if (service->n_places == SERVICE_BACKENDS_MAX)
        return NULL;
    return &service->backends[service->n_places++];
}

static struct backend *add_backend(struct service_table *table, struct service *service,
                                   const struct conf_server *server)
{
    struct backend *backend = find_place(service);
    size_t number = backend ? take_number(table, backend) : SERVICE_STATS_MAX;

    if (number == SERVICE_STATS_MAX)
        return NULL;
    *backend = (struct backend){
        .index = (uint32_t)(backend - service->backends),
        .stats_index = (uint32_t)number,
        .addr = server->addr,
        .is_local = sock_is_local(&server->addr),
        .state = BACKEND_ADDED,
    };
    backend->slot = &service->slots[backend->index];
    backend_set(backend, PICK_GONE);
    memcpy(backend->name, server->name, sizeof(backend->name));
    return backend;
}

void service_free_backend(struct service_table *table, struct service *service,
                          struct backend *backend, const struct stats_server_sum *left)
{
    for (size_t i = 0; i < service->n_places; i++) {
        struct backend *other = &service->backends[i];

        if (other->state == BACKEND_SERVING && strcmp(other->name, backend->name) == 0)
            stats_carry_server(&other->carried, left);
    }
    give_number(table, backend->stats_index);
    atomic_store_explicit(&backend->slot->standing, PICK_GONE, memory_order_relaxed);
    backend->state = BACKEND_NONE;
}

static struct backend *find_backend(const struct service *service, const struct conf_server *server)
{
    for (size_t i = 0; i < service->n_places; i++) {
        struct backend *backend = &service->backends[i];

        if (backend->state == BACKEND_SERVING && strcmp(backend->name, server->name) == 0 &&
            addr_equal(&backend->addr, &server->addr))
            return backend;
    }
    return NULL;
}

/* --- changes ---------------------------------------------------------------------------------- */

static void drop_added(struct service_table *table, struct service_change *change)
{
    const struct stats_server_sum nothing = {0};

    for (size_t i = 0; i < change->n_seats; i++) {
        struct backend *backend = change->seats[i].backend;

        if (backend && backend->state == BACKEND_ADDED)
            service_free_backend(table, change->service, backend, &nothing);
    }
}

static int seats_init(struct service_table *table, struct service_change *change,
                      const struct conf_service *from)
{
    change->seats = calloc(from->n_servers + 1, sizeof(*change->seats));
    if (!change->seats)
        return -ENOMEM;
    change->n_seats = from->n_servers;
    for (size_t i = 0; i < from->n_servers; i++) {
        const struct conf_server *server = &from->servers[i];
        struct service_seat *seat = &change->seats[i];

        *seat = (struct service_seat){
            .weight = server->weight,
            .conf_weight = server->weight,
            .is_backup = server->is_backup,
            .backend = find_backend(change->service, server),
        };
        if (!seat->backend)
            seat->backend = add_backend(table, change->service, server);
        else if (seat->backend->conf_weight == server->weight)
            seat->weight = backend_weight(seat->backend);
        if (!seat->backend)
            return -ENOSPC;
    }
    return 0;
}

/* Places that those who may leave are in: they serve until others are there. */
static size_t count_old_places(const struct service *service)
{
    size_t n = service->n_places;

    while (n > 0 && service->backends[n - 1].state != BACKEND_SERVING)
        n--;
    return n;
}

int service_prepare(struct service_table *table, struct service *service,
                    const struct conf_service *from, struct service_change *ret)
{
    struct service_plan model = plan_model(from);
    int error;

    *ret = (struct service_change){
        .service = service,
        .max_udp_sessions = from->udp.max_sessions ? from->udp.max_sessions : UINT32_MAX};
    error = seats_init(table, ret, from);
    if (!error) {
        model.check = ret->check = next_check(service, from);
        model.n_backends = count_old_places(service);
        ret->waits_for_probe = model.check && model.check->is_probed;
        ret->plan = model.check ? plan_new(&model, ret->seats, ret->n_seats) : NULL;
        error = ret->plan ? 0 : -ENOMEM;
    }
    if (error)
        service_change_fini(table, ret);
    return error;
}

static size_t count_serving(const struct service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        n += service->backends[i].state == BACKEND_SERVING;
    return n;
}

int service_prepare_weight(struct service *service, const struct backend *backend, uint32_t weight,
                           struct service_change *ret)
{
    const struct service_plan *plan = service_plan(service);

    *ret = (struct service_change){.service = service,
                                   .check = plan->check,
                                   .max_udp_sessions = udp_room_limit(&service->udp_room)};
    ret->seats = calloc(count_serving(service) + 1, sizeof(*ret->seats));
    if (!ret->seats)
        return -ENOMEM;
    for (size_t i = 0; i < service->n_places; i++) {
        struct backend *seated = &service->backends[i];

        if (seated->state != BACKEND_SERVING)
            continue;
        ret->seats[ret->n_seats++] =
            (struct service_seat){.backend = seated,
                                  .weight = seated == backend ? weight : backend_weight(seated),
                                  .conf_weight = seated->conf_weight,
                                  .is_backup = backend_standing(seated) & PICK_BACKUP};
    }
    ret->plan = plan_new(plan, ret->seats, ret->n_seats);
    if (ret->plan)
        return 0;
    free(ret->seats);
    return -ENOMEM;
}

static void retire_backend(struct backend *backend)
{
    backend_set(backend, PICK_GONE);
    backend->state = BACKEND_GONE;
}

static bool has_seat(const struct service_change *change, const struct backend *backend)
{
    for (size_t i = 0; i < change->n_seats; i++)
        if (change->seats[i].backend == backend)
            return true;
    return false;
}

static void retire_left_out(struct service_change *change)
{
    for (size_t i = 0; i < change->service->n_places; i++) {
        struct backend *backend = &change->service->backends[i];

        if (backend->state == BACKEND_SERVING && !has_seat(change, backend))
            retire_backend(backend);
    }
}

static uint32_t seat_standing(const struct service_seat *seat)
{
    return seat->weight | (seat->is_backup ? PICK_BACKUP : 0);
}

/* Whoever serves now, and may go on, can take the clients until the others have been probed. */
static bool has_usable(const struct service_change *change)
{
    for (size_t i = 0; i < change->n_seats; i++) {
        const struct backend *backend = change->seats[i].backend;

        if (backend->state == BACKEND_SERVING &&
            pick_rank(backend_standing(backend), false) != PICK_RANK_NONE)
            return true;
    }
    return false;
}

static void admit_added(struct service_change *change)
{
    bool waits = change->waits_for_probe && has_usable(change);

    for (size_t i = 0; i < change->n_seats; i++) {
        const struct service_seat *seat = &change->seats[i];

        if (seat->backend->state != BACKEND_ADDED)
            continue;
        seat->backend->state = BACKEND_SERVING;
        atomic_store_explicit(&seat->backend->slot->standing,
                              seat_standing(seat) | (waits ? PICK_NEW : 0), memory_order_relaxed);
    }
}

/* Nobody else has heard of a new service, so its servers are there from its first client on. Those
 * of another have to wait until no thread has the old plan, and until then those that leave serve.
 */
void service_commit(struct service_change *change)
{
    struct service *service = change->service;
    struct service_plan *old = atomic_load_explicit(&service->plan, memory_order_relaxed);

    if (!old)
        admit_added(change);
    for (size_t i = 0; i < change->n_seats; i++) {
        struct service_seat *seat = &change->seats[i];

        seat->backend->conf_weight = seat->conf_weight;
        if (seat->backend->state == BACKEND_SERVING)
            backend_configure(seat->backend, seat_standing(seat));
    }
    udp_room_set_limit(&service->udp_room, change->max_udp_sessions);
    change->check = old && old->check != change->plan->check ? old->check : NULL;
    atomic_store_explicit(&service->plan, change->plan, memory_order_release);
    change->plan = old;
    change->is_commited = true;
}

void service_activate(struct service_change *change)
{
    admit_added(change);
    retire_left_out(change);
}

void service_change_fini(struct service_table *table, struct service_change *change)
{
    const struct service_plan *present = change->service ? service_plan(change->service) : NULL;

    if (!change->is_commited && change->service)
        drop_added(table, change);
    if (change->check && (!present || change->check != present->check))
        check_free(change->check);
    plan_free(change->plan);
    free(change->seats);
    *change = (struct service_change){0};
}

void service_retire(struct service *service)
{
    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state == BACKEND_SERVING)
            retire_backend(&service->backends[i]);
    service->is_gone = true;
}

/* --- the table -------------------------------------------------------------------------------- */

struct service *service_table_find(const struct service_table *table, const char *name)
{
    for (size_t i = 0; i < table->n_services; i++) {
        struct service *service = &table->services[i];

        if (service_is_live(service) && strcmp(service->name, name) == 0)
            return service;
    }
    return NULL;
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
    *service = (struct service){.index = (uint32_t)index};
    service->backends = reserve_memory(SERVICE_BACKENDS_MAX, sizeof(*service->backends));
    service->slots = reserve_memory(SERVICE_BACKENDS_MAX, sizeof(*service->slots));
    if (!service->backends || !service->slots) {
        release_places(service);
        return NULL;
    }
    udp_room_init(&service->udp_room, UINT32_MAX);
    snprintf(service->name, sizeof(service->name), "%s", name);
    service->is_used = true;
    if (index == table->n_services)
        table->n_services++;
    return service;
}

void service_table_drop(struct service_table *table, struct service *service)
{
    struct service_plan *plan = atomic_load_explicit(&service->plan, memory_order_relaxed);

    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state != BACKEND_NONE)
            give_number(table, service->backends[i].stats_index);
    if (plan)
        check_free(plan->check);
    plan_free(plan);
    release_places(service);
    *service = (struct service){0};
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
    return table->services && table->by_number ? 0 : -ENOMEM;
}

int service_table_init(struct service_table *table, const struct conf *conf)
{
    int error = table_open(table);

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
    *table = (struct service_table){0};
}
