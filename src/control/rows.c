#include "lb4/control/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/control/exposition.h"
#include "lb4/control/report.h"
#include "lb4/shared/affinity.h"

/* --- sums of all counters --------------------------------------------------------------------- */

static void add_udp(struct stats_udp_sum *to, const struct stats_udp_sum *from)
{
    to->sessions += from->sessions;
    to->active += from->active;
    to->datagrams_in += from->datagrams_in;
    to->datagrams_out += from->datagrams_out;
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
    to->rebinds += from->rebinds;
    for (size_t i = 0; i < UDP_DROPS; i++)
        to->dropped[i] += from->dropped[i];
}

static void add_stats(struct stats_service_sum *to, const struct stats_service_sum *from)
{
    to->connections += from->connections;
    to->active += from->active;
    for (size_t i = 0; i < CLOSE_REASONS; i++)
        to->closed[i] += from->closed[i];
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
    to->redispatches += from->redispatches;
    histogram_carry(&to->session_ns, &from->session_ns);
    histogram_carry(&to->session_bytes, &from->session_bytes);
    add_udp(&to->udp, &from->udp);
    stats_carry_waiting(&to->waiting, &from->waiting);
    stats_carry_refusal(&to->refused, &from->refused);
    stats_carry_affinity(&to->affinity, &from->affinity);
    stats_carry_local(&to->local, &from->local);
}

/* --- services --------------------------------------------------------------------------------- */

static struct row_service *service_row(struct rows *rows, const struct service *service)
{
    struct row_service *row;

    for (size_t i = 0; service->is_gone && i < rows->n_services; i++)
        if (strcmp(rows->services[i].name, service->name) == 0)
            return &rows->services[i];
    row = &rows->services[rows->n_services++];
    row->name = service->name;
    exposition_label(row->labels, sizeof(row->labels), "service", service->name);
    return row;
}

static void take_service(const struct snapshot_from *from, const struct service *service,
                         struct rows *rows)
{
    struct row_service *row = service_row(rows, service);
    struct stats_service_sum sum;

    stats_sum_service(from->group->stats, from->group->n_workers, service->index, &sum);
    add_stats(&row->stats, &sum);
    row->has_udp |= sum.udp.sessions > 0 || service_plan(service)->transports & CONF_UDP;
    row->has_affinity |= service->affinity != NULL;
    row->has_sources |= sources_sum_add(service, &row->sources);
    if (service->is_gone)
        return;
    row->n_affinity = affinity_count(service, clock_now_ns());
    row->n_servers = snapshot_n_servers(service);
    row->n_usable = snapshot_n_usable(service);
}

/* --- servers ---------------------------------------------------------------------------------- */

static struct row_server *find_server(const struct rows *rows, const struct service *service,
                                      const struct backend *backend)
{
    for (size_t i = 0; i < rows->n_servers; i++)
        if (strcmp(rows->servers[i].name, backend->name) == 0 &&
            strcmp(rows->servers[i].service, service->name) == 0)
            return &rows->servers[i];
    return NULL;
}

static struct row_server *server_row(struct rows *rows, const struct service *service,
                                     const struct backend *backend)
{
    struct row_server *row =
        backend->state == BACKEND_SERVING ? NULL : find_server(rows, service, backend);

    if (row)
        return row;
    row = &rows->servers[rows->n_servers++];
    row->service = service->name;
    row->name = backend->name;
    exposition_label(row->labels, sizeof(row->labels), "service", service->name);
    exposition_label(row->labels, sizeof(row->labels), "server", backend->name);
    return row;
}

static void take_server(const struct snapshot_from *from, const struct service *service,
                        const struct backend *backend, struct rows *rows)
{
    const struct report_sources sources = {
        .services = from->services, .group = from->group, .prober = from->prober};
    struct row_server *row = server_row(rows, service, backend);
    uint32_t standing = backend_standing(backend);
    struct stats_server_sum sum;

    report_sum_server(&sources, backend, &sum);
    stats_carry_server(&row->stats, &sum);
    row->active += backend_active(backend);
    if (backend->state != BACKEND_SERVING)
        return;
    row->is_serving = true;
    row->is_up = !(standing & (PICK_DOWN | PICK_NEW));
    row->is_usable = !(standing & PICK_UNUSABLE);
}

/* --- all -------------------------------------------------------------------------------------- */

static bool is_there(enum backend_state state, bool is_serving)
{
    return is_serving ? state == BACKEND_SERVING : state == BACKEND_GONE;
}

/* First those that serve, and then those that have left, which look for their like. */
static void take_all(const struct snapshot_from *from, bool is_serving, struct rows *rows)
{
    for (size_t i = 0; i < from->services->n_services; i++) {
        const struct service *service = &from->services->services[i];

        if (!service->is_used)
            continue;
        if (service->is_gone != is_serving)
            take_service(from, service, rows);
        for (size_t k = 0; k < service->n_places; k++)
            if (is_there(service->backends[k].state, is_serving))
                take_server(from, service, &service->backends[k], rows);
    }
}

int rows_take(const struct snapshot_from *from, struct rows *ret)
{
    size_t n_servers = 1;

    for (size_t i = 0; i < from->services->n_services; i++)
        if (from->services->services[i].is_used)
            n_servers += from->services->services[i].n_places;
    *ret = (struct rows){
        .services = calloc(from->services->n_services + 1, sizeof(*ret->services)),
        .servers = calloc(n_servers, sizeof(*ret->servers)),
    };
    if (!ret->services || !ret->servers)
        return -ENOMEM;
    take_all(from, true, ret);
    take_all(from, false, ret);
    return 0;
}

void rows_fini(struct rows *rows)
{
    free(rows->services);
    free(rows->servers);
    *rows = (struct rows){0};
}
