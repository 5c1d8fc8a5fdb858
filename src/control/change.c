#include "lb4/control/change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/conf/diff.h"
#include "lb4/control/privileges.h"
#include "lb4/shared/service_table.h"

static int out_of_memory(char reterr[static CHANGE_ERROR_MAX])
{
    snprintf(reterr, CHANGE_ERROR_MAX, "out of memory");
    return -ENOMEM;
}

static int change_alloc(struct change *change, struct runtime *runtime, size_t n_services)
{
    size_t n_old = runtime->services.n_services;

    *change = (struct change){.phase = CHANGE_PREPARED, .runtime = runtime};
    change->services = calloc(n_services + 1, sizeof(*change->services));
    change->by_conf = calloc(n_services + 1, sizeof(struct service *));
    change->adopted = calloc(n_services + 1, sizeof(struct service *));
    change->dropped = calloc(n_old + 1, sizeof(struct service *));
    if (change->services && change->by_conf && change->adopted && change->dropped)
        return 0;
    change_abandon(change);
    return -ENOMEM;
}

static void change_free(struct change *change)
{
    for (size_t i = 0; i < change->n_services; i++)
        service_change_fini(&change->runtime->services, &change->services[i]);
    free(change->services);
    free(change->by_conf);
    free(change->adopted);
    free(change->dropped);
    free(change->added);
    free(change->added_to);
    *change = (struct change){0};
}

/* --- prepare ---------------------------------------------------------------------------------- */

/* false also for a service that is new, or if there is no memory to tell. */
static bool is_unchanged(const struct conf_service *before, const struct conf_service *after)
{
    FILE *nowhere = before ? fopen("/dev/null", "we") : NULL;
    long n = nowhere ? conf_diff_service(before, after, nowhere) : -1;

    if (nowhere)
        fclose(nowhere);
    return n == 0;
}

static int prepare_service(struct change *change, size_t index, const struct conf_service *before,
                           const struct conf_service *after)
{
    struct service_table *table = &change->runtime->services;
    struct service *service = service_table_find(table, after->name);
    int error;

    change->by_conf[index] = service;
    if (service && is_unchanged(before, after))
        return 0;
    if (!service)
        service = service_table_find_gone(table, after->name);
    if (!service)
        service = service_table_add(table, after->name);
    if (!service)
        return -ENOMEM;
    error = service_prepare(table, service, after, &change->services[change->n_services]);
    if (error && !service_plan(service))
        service_table_drop(table, service);
    if (error)
        return error;
    change->by_conf[index] = service;
    change->adopted[change->n_services++] = service;
    return 0;
}

static int prepare_services(struct change *change, const struct conf *before,
                            const struct conf *after, char reterr[static CHANGE_ERROR_MAX])
{
    for (size_t i = 0; i < after->n_services; i++) {
        const struct conf_service *service = &after->services[i];
        int error = prepare_service(change, i, conf_find_service(before, service->name), service);

        if (error) {
            snprintf(reterr, CHANGE_ERROR_MAX, "service %s: %s", service->name,
                     error == -ENOSPC ? "too many servers that were removed still have connections"
                                      : strerror(-error));
            return error;
        }
    }
    return 0;
}

static void find_dropped(struct change *change, const struct conf *after)
{
    struct service_table *table = &change->runtime->services;

    for (size_t i = 0; i < table->n_services; i++) {
        struct service *service = &table->services[i];

        if (service_is_live(service) && !conf_find_service(after, service->name))
            change->dropped[change->n_dropped++] = service;
    }
}

static size_t count_added(const struct service_change *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_seats; i++)
        n += service->seats[i].backend->state == BACKEND_ADDED;
    return n;
}

/* For the prober, when they are activated. */
static int note_added(struct change *change)
{
    size_t n = 0;

    for (size_t i = 0; i < change->n_services; i++)
        n += count_added(&change->services[i]);
    change->added = calloc(n + 1, sizeof(struct backend *));
    change->added_to = calloc(n + 1, sizeof(struct service *));
    if (!change->added || !change->added_to)
        return -ENOMEM;
    n = 0;
    for (size_t i = 0; i < change->n_services; i++) {
        const struct service_change *service = &change->services[i];

        for (size_t k = 0; k < service->n_seats; k++) {
            if (service->seats[k].backend->state != BACKEND_ADDED)
                continue;
            change->added[n] = service->seats[k].backend;
            change->added_to[n++] = service->service;
        }
    }
    change->for_prober =
        (struct prober_change){.added = change->added, .added_to = change->added_to, .n_added = n};
    return 0;
}

/* Listening sockets of the table that the configuration does not count. */
static size_t count_leaving(const struct runtime *runtime)
{
    size_t n = 0;

    for (size_t i = 0; i < runtime->listeners.n_listeners; i++)
        n += runtime->listeners.listeners[i].state == LISTENER_LEAVING;
    return n * runtime->n_workers;
}

static int prepare_budget(struct change *change, const struct conf *after,
                          char reterr[static CHANGE_ERROR_MAX])
{
    struct runtime *runtime = change->runtime;
    char text[LIMITS_TEXT_MAX];
    int error =
        runtime_compute_budget(runtime, after, count_leaving(runtime), &change->budget, text);

    if (error)
        snprintf(reterr, CHANGE_ERROR_MAX, "%s", text);
    if (!error && change->budget.udp_sessions > 0)
        error = worker_group_prepare_udp(&runtime->group, change->budget.udp_sessions);
    change->budget.pipes_per_worker = runtime->budget.pipes_per_worker;
    change->has_budget = true;
    return error;
}

/* A port below 1024 may need the capability that was kept for this. */
static int prepare_listeners(struct change *change, const struct conf *after,
                             char reterr[static CHANGE_ERROR_MAX])
{
    char text[LISTENER_ERROR_MAX];
    int error;

    privileges_raise_bind(true);
    error = listener_change_prepare(&change->listeners, &change->runtime->listeners, after,
                                    change->by_conf, text);
    privileges_raise_bind(false);
    if (error)
        snprintf(reterr, CHANGE_ERROR_MAX, "%s", text);
    return error;
}

long change_diff(const struct runtime *runtime, const struct conf *before, const struct conf *after,
                 FILE *stream)
{
    long n = conf_diff(before, after, stream);

    return n < 0 ? n : n + listener_change_diff(&runtime->listeners, stream);
}

int change_prepare(struct change *change, struct runtime *runtime, const struct conf *before,
                   const struct conf *after, char reterr[static CHANGE_ERROR_MAX])
{
    int error = change_alloc(change, runtime, after->n_services);

    if (error)
        return out_of_memory(reterr);
    change->leave_ns = after->drain_ms * CLOCK_NS_PER_MS;
    out_of_memory(reterr);
    error = prepare_services(change, before, after, reterr);
    if (!error) {
        find_dropped(change, after);
        error = note_added(change);
    }
    if (!error)
        error = prepare_budget(change, after, reterr);
    if (!error)
        error = prepare_listeners(change, after, reterr);
    if (error)
        change_abandon(change);
    return error;
}

int change_prepare_weight(struct change *change, struct runtime *runtime, struct service *service,
                          const struct backend *backend, uint32_t weight)
{
    int error = change_alloc(change, runtime, 1);

    if (error)
        return error;
    error = service_prepare_weight(service, backend, weight, &change->services[0]);
    if (error) {
        change_abandon(change);
        return error;
    }
    change->adopted[change->n_services++] = service;
    return 0;
}

int change_prepare_close(struct change *change, struct runtime *runtime, uint64_t now_ns)
{
    int error = change_alloc(change, runtime, 0);

    if (error)
        return error;
    error = listener_change_close(&change->listeners, &runtime->listeners, now_ns);
    if (error)
        change_abandon(change);
    return error;
}

/* --- commit and after ------------------------------------------------------------------------- */

static void put_budget(struct change *change)
{
    struct runtime *runtime = change->runtime;

    if (change->has_budget) {
        runtime->budget = change->budget;
        worker_group_set_maxconn(&runtime->group, change->budget.maxconn);
        udp_room_set_limit(&runtime->group.udp_room, change->budget.udp_sessions);
    }
    change->for_prober.max_open = runtime->budget.probes;
}

/* The prober is told at once, as checks that were replaced must not be in use when they are freed;
 * of those added it hears when they are activated. */
void change_commit(struct change *change, uint64_t now_ns)
{
    struct runtime *runtime = change->runtime;
    size_t n_added = change->for_prober.n_added;

    put_budget(change);
    for (size_t i = 0; i < change->n_services; i++)
        service_commit(&change->services[i]);
    listener_change_commit(&change->listeners, now_ns + change->leave_ns);
    change->for_workers = (struct worker_change){.steps = change->listeners.steps,
                                                 .n_steps = change->listeners.n_steps,
                                                 .services = change->adopted,
                                                 .n_services = change->n_services};
    change->for_prober.n_added = 0;
    worker_group_change(&runtime->group, &change->for_workers);
    prober_take_change(&runtime->prober, &change->for_prober);
    change->asked = runtime_ask(runtime);
    change->phase = CHANGE_TOLD;
    change->n_added = n_added;
}

static void activate(struct change *change)
{
    for (size_t i = 0; i < change->n_services; i++)
        service_activate(&change->services[i]);
    change->for_prober.n_added = change->n_added;
    prober_take_change(&change->runtime->prober, &change->for_prober);
    change->asked = runtime_ask(change->runtime);
    change->phase = CHANGE_ACTIVE;
}

static void end(struct change *change)
{
    listener_change_end(&change->listeners);
    for (size_t i = 0; i < change->n_dropped; i++)
        service_retire(change->dropped[i]);
    change_free(change);
}

bool change_step(struct change *change)
{
    if (!runtime_has_answered(change->runtime, change->asked))
        return false;
    switch (change->phase) {
    case CHANGE_NONE:
    case CHANGE_PREPARED:
        return false;
    case CHANGE_TOLD:
        activate(change);
        return false;
    case CHANGE_ACTIVE:
        end(change);
        return true;
    }
    return false;
}

/* Services that nobody has seen go. */
static void drop_new(struct change *change)
{
    for (size_t i = 0; i < change->n_services; i++) {
        struct service *service = change->services[i].service;
        bool is_new = service && !service_plan(service);

        service_change_fini(&change->runtime->services, &change->services[i]);
        if (is_new)
            service_table_drop(&change->runtime->services, service);
    }
    change->n_services = 0;
}

void change_abandon(struct change *change)
{
    switch (change->phase) {
    case CHANGE_NONE:
        return;
    case CHANGE_PREPARED:
        listener_change_abort(&change->listeners);
        drop_new(change);
        break;
    case CHANGE_TOLD:
    case CHANGE_ACTIVE:
        free(change->listeners.steps);
        break;
    }
    change_free(change);
}
