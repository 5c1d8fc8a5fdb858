#include "lb4/shared/service_change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/conf/written.h"
#include "lb4/shared/affinity.h"
#include "lb4/shared/backend_write.h"
#include "lb4/shared/place.h"
#include "lb4/shared/waiting.h"

/* Its priority or PICK_BACKUP, as bits of the standing. */
static uint32_t conf_tier(const struct conf_server *server)
{
    if (server->is_backup)
        return PICK_BACKUP;
    return server->priority ? (server->priority - 1) << PICK_PRIORITY_SHIFT : 0;
}

/* --- prepare ---------------------------------------------------------------------------------- */

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

static void drop_added(struct service_table *table, struct service_change *change)
{
    const struct stats_server_sum nothing = {0};

    for (size_t i = 0; i < change->n_seats; i++) {
        struct backend *backend = change->seats[i].backend;

        if (backend && backend->state == BACKEND_ADDED)
            service_free_backend(table, change->service, backend, &nothing);
    }
}

static int compare_names(const void *left, const void *right)
{
    const struct backend *const *a = left;
    const struct backend *const *b = right;

    return strcmp((*a)->name, (*b)->name);
}

/* Those that serve or are gone, by name. With thousands of servers a walk for each would keep
 * control from everything else. */
struct known {
    struct backend **backends;
    size_t n;
};

static int known_init(struct known *known, const struct service *service)
{
    *known = (struct known){0};
    known->backends = calloc(service->n_places + 1, sizeof(struct backend *));
    if (!known->backends)
        return -ENOMEM;
    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state == BACKEND_SERVING ||
            service->backends[i].state == BACKEND_GONE)
            known->backends[known->n++] = &service->backends[i];
    qsort(known->backends, known->n, sizeof(struct backend *), compare_names);
    return 0;
}

/* The first that is not before the name. */
static size_t known_from(const struct known *known, const char *name)
{
    size_t from = 0;
    size_t to = known->n;

    while (from < to) {
        size_t at = from + (to - from) / 2;

        if (strcmp(known->backends[at]->name, name) < 0)
            from = at + 1;
        else
            to = at;
    }
    return from;
}

static struct backend *known_find(const struct known *known, const struct conf_server *server,
                                  enum backend_state state)
{
    for (size_t i = known_from(known, server->name); i < known->n; i++) {
        struct backend *backend = known->backends[i];

        if (strcmp(backend->name, server->name) != 0)
            break;
        if (backend->state == state && addr_equal(&backend->addr, &server->addr))
            return backend;
    }
    return NULL;
}

/* What the operator had made of one that comes back before its last connection has ended. */
static void inherit(struct service_seat *seat, const struct backend *from)
{
    char text[NOTE_TEXT_MAX];
    uint64_t since_ns = note_read(&from->wish, text);

    if (from->conf_weight == seat->conf_weight)
        seat->weight = backend_weight(from);
    seat->wish = backend_standing(from) & (PICK_DRAIN | PICK_MAINT);
    if (since_ns > 0)
        note_write(&seat->backend->wish, since_ns, text);
}

static int take_seat(struct service_table *table, struct service *service,
                     struct service_seat *seat, const struct known *known,
                     const struct conf_server *server)
{
    const struct backend *gone = known_find(known, server, BACKEND_GONE);

    seat->backend = known_find(known, server, BACKEND_SERVING);
    seat->weight = server->weight;
    seat->conf_weight = server->weight;
    seat->tier = conf_tier(server);
    seat->maxconn = server->maxconn;
    seat->send_proxy = server->send_proxy;
    seat->origin = server->origin;
    if (seat->backend) {
        if (seat->backend->conf_weight == server->weight)
            seat->weight = backend_weight(seat->backend);
        return 0;
    }
    seat->backend = service_add_backend(table, service, server);
    if (seat->backend && gone)
        inherit(seat, gone);
    return seat->backend ? 0 : -ENOSPC;
}

static int seats_init(struct service_table *table, struct service_change *change,
                      const struct conf_service *from)
{
    struct known known;
    int error = known_init(&known, change->service);

    change->seats = calloc(from->n_servers + 1, sizeof(*change->seats));
    if (!change->seats)
        error = -ENOMEM;
    for (size_t i = 0; !error && i < from->n_servers; i++)
        error = take_seat(table, change->service, &change->seats[change->n_seats++], &known,
                          &from->servers[i]);
    free(known.backends);
    return error;
}

/* It has left, and serves on until another can. */
static bool is_kept(const struct backend *backend)
{
    return backend->state == BACKEND_GONE && !(backend_standing(backend) & PICK_GONE);
}

/* Places that those who may leave are in: they serve until others are there. */
static size_t count_old_places(const struct service *service)
{
    size_t n = service->n_places;

    while (n > 0 && service->backends[n - 1].state != BACKEND_SERVING &&
           !is_kept(&service->backends[n - 1]))
        n--;
    return n;
}

/* Of which a table of sources must know at once: maxconn is not of UDP. */
static uint64_t count_clients(const struct service_table *table, const struct conf_service *from)
{
    uint64_t n_sessions = from->udp.max_sessions ? from->udp.max_sessions : SOURCES_CLIENTS_AUTO;

    if (!(conf_transports(from) & CONF_UDP) || n_sessions < table->n_clients)
        return table->n_clients;
    return n_sessions;
}

int service_prepare(struct service_table *table, struct service *service,
                    const struct conf_service *from, struct service_change *ret)
{
    struct service_plan model = plan_model(from);
    int error;

    *ret = (struct service_change){
        .service = service,
        .max_udp_sessions = from->udp.max_sessions ? from->udp.max_sessions : UINT32_MAX};
    error = guard_prepare(&service->guard, &model.guard, count_clients(table, from));
    if (!error)
        error = seats_init(table, ret, from);
    for (size_t i = 0; !error && i < ret->n_seats; i++)
        ret->seats[i].source = from->source;
    if (!error) {
        model.check = ret->check = next_check(service, from);
        model.n_backends = count_old_places(service);
        ret->waits_for_probe = model.check && model.check->is_probed;
        ret->keeps_kept = conf_has_names(from);
        ret->plan = model.check ? plan_new(&model, ret->seats, ret->n_seats) : NULL;
        error = ret->plan ? affinity_prepare(service, ret->plan) : -ENOMEM;
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
                                   .keeps_leaving = true,
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
                                  .maxconn = backend_limit(seated),
                                  .send_proxy = (uint8_t)backend_send_proxy(seated),
                                  .origin = origins_of(&plan->origins, seated->index),
                                  .tier = backend_standing(seated) & PICK_TIER_MASK};
    }
    ret->plan = plan_new(plan, ret->seats, ret->n_seats);
    if (ret->plan && affinity_prepare(service, ret->plan) == 0)
        return 0;
    plan_free(ret->plan);
    free(ret->seats);
    return -ENOMEM;
}

/* --- commit and after ------------------------------------------------------------------------- */

static bool can_serve(const struct backend *backend)
{
    return pick_rank(backend_standing(backend), PICK_SPARES_NOBODY) != PICK_RANK_NONE;
}

/* Of those that serve, or of those that were kept. */
static bool has_able(const struct service *service, bool (*is_meant)(const struct backend *))
{
    for (size_t i = 0; i < service->n_places; i++)
        if (is_meant(&service->backends[i]) && can_serve(&service->backends[i]))
            return true;
    return false;
}

static bool is_serving(const struct backend *backend)
{
    return backend->state == BACKEND_SERVING;
}

bool service_release(struct service *service)
{
    bool keeps = !has_able(service, is_serving) && has_able(service, is_kept);
    bool has_left = false;

    for (size_t i = 0; !keeps && i < service->n_places; i++)
        if (is_kept(&service->backends[i]))
            has_left = !(backend_set(&service->backends[i], PICK_GONE) & PICK_GONE) || has_left;
    if (has_left) /* who waits for a place on one of them has others now */
        waiting_wake_all(service);
    return keeps;
}

/* Who has no seat is gone. Nobody who was gone before has one. */
static void leave(struct service_change *change)
{
    struct service *service = change->service;

    for (size_t i = 0; i < change->n_seats; i++)
        change->seats[i].backend->state = BACKEND_ADDED;
    for (size_t i = 0; i < service->n_places; i++) {
        if (service->backends[i].state != BACKEND_SERVING)
            continue;
        service->backends[i].state = BACKEND_GONE;
        if (!change->keeps_leaving)
            backend_set(&service->backends[i], PICK_GONE);
    }
    for (size_t i = 0; i < change->n_seats; i++)
        change->seats[i].backend->state = BACKEND_SERVING;
}

static void retire_left_out(struct service_change *change)
{
    struct service *service = change->service;

    leave(change);
    if ((change->keeps_leaving || change->keeps_kept) && service_release(service))
        return;
    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state == BACKEND_GONE)
            backend_set(&service->backends[i], PICK_GONE);
}

static uint32_t seat_standing(const struct service_seat *seat)
{
    return seat->weight | seat->tier;
}

/* Whoever serves now, and may go on, can take the clients until the others have been probed. */
static bool has_usable(const struct service_change *change)
{
    if (change->keeps_leaving && has_able(change->service, is_serving))
        return true;
    if ((change->keeps_leaving || change->keeps_kept) && has_able(change->service, is_kept))
        return true;
    for (size_t i = 0; i < change->n_seats; i++) {
        const struct backend *backend = change->seats[i].backend;

        if (backend->state == BACKEND_SERVING && can_serve(backend))
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
                              seat_standing(seat) | seat->wish | (waits ? PICK_NEW : 0),
                              memory_order_release);
    }
}

static void adopt_guard(struct service *service, const struct service_plan *old,
                        const struct service_plan *plan)
{
    const struct guard_plan none = {0};
    size_t n_ended =
        guard_adopt(&service->guard, old ? &old->guard : &none, &plan->guard, clock_now_ns());

    if (n_ended > 0)
        log_info("service %s: bans ended with their line of the configuration: %zu", service->name,
                 n_ended);
}

/* Nobody else has heard of a new service, nor listens for one that had left, so its servers are
 * there from its first client on. Those of another have to wait until no thread has the old plan,
 * and until then those that leave serve. */
void service_commit(struct service_change *change)
{
    struct service *service = change->service;
    struct service_plan *old = atomic_load_explicit(&service->plan, memory_order_relaxed);

    if (!old || service->is_gone)
        admit_added(change);
    service->is_gone = false;
    atomic_store_explicit(&service->is_deserted, false, memory_order_release);
    for (size_t i = 0; i < change->n_seats; i++) {
        struct service_seat *seat = &change->seats[i];

        seat->backend->conf_weight = seat->conf_weight;
        place_set_limit(service, seat->backend, seat->maxconn);
        atomic_store_explicit(&seat->backend->send_proxy, seat->send_proxy, memory_order_relaxed);
        if (seat->backend->state == BACKEND_SERVING)
            backend_configure(seat->backend, seat_standing(seat));
    }
    udp_room_set_limit(&service->udp_room, change->max_udp_sessions);
    adopt_guard(service, old, change->plan);
    change->check = old && old->check != change->plan->check ? old->check : NULL;
    atomic_store_explicit(&service->plan, change->plan, memory_order_release);
    change->plan = old;
    change->is_commited = true;
}

void service_activate(struct service_change *change)
{
    admit_added(change);
    retire_left_out(change);
    for (size_t i = 0; i < change->n_seats; i++)
        place_review(change->service, change->seats[i].backend);
    waiting_wake_all(change->service);
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
