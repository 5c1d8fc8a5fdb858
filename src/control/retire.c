#include "lb4/control/retire.h"

#include <stdlib.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/control/report.h"

static const uint64_t LOOK_NS = 500 * 1000000ull; /* chosen: from the last connection's end to the
                                                     end of its server */

enum {
    AT_ONCE_MAX = 256 /* servers; each costs a look at all others, and a line in the log; chosen */
};

void retire_init(struct retire *retire)
{
    *retire = (struct retire){.due_ns = UINT64_MAX};
}

static void forget(struct retire *retire)
{
    free(retire->backends);
    free(retire->of);
    free(retire->services);
    *retire = (struct retire){.phase = RETIRE_IDLE, .due_ns = retire->due_ns};
}

void retire_fini(struct retire *retire)
{
    forget(retire);
}

void retire_wake(struct retire *retire, uint64_t now_ns)
{
    retire->due_ns = now_ns;
}

bool retire_is_busy(const struct retire *retire)
{
    return retire->phase != RETIRE_IDLE;
}

static bool is_over(const struct backend *backend)
{
    return backend->state == BACKEND_GONE && backend_standing(backend) & PICK_GONE &&
           backend_active(backend) == 0;
}

static size_t count_left(const struct service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        n += service->backends[i].state != BACKEND_NONE;
    return n;
}

static size_t count_over(const struct service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        n += is_over(&service->backends[i]);
    return n;
}

/* A UDP listener that leaves counts what comes in until its time is over. */
static bool has_listener(const struct runtime *runtime, const struct service *service)
{
    const struct listener_table *table = &runtime->listeners;

    for (size_t i = 0; i < table->n_listeners; i++)
        if (table->listeners[i].state != LISTENER_NONE && table->listeners[i].service == service)
            return true;
    return false;
}

/* What there is of servers and services that are gone. */
struct leftovers {
    size_t n_gone;
    size_t n_over; /* of them, without connections */
};

static struct leftovers look(const struct runtime *runtime)
{
    struct leftovers left = {0};

    for (size_t i = 0; i < runtime->services.n_services; i++) {
        const struct service *service = &runtime->services.services[i];

        for (size_t k = 0; service->is_used && k < service->n_places; k++)
            left.n_gone += service->backends[k].state == BACKEND_GONE;
        if (service->is_used)
            left.n_over += count_over(service);
        if (service->is_used && service->is_gone) {
            left.n_gone++;
            left.n_over += count_left(service) == 0 && !has_listener(runtime, service);
        }
    }
    return left;
}

static bool is_empty(const struct runtime *runtime, const struct service *service)
{
    struct stats_service_sum sum;

    stats_sum_service(runtime->group.stats, runtime->n_workers, service->index, &sum);
    return sum.active == 0 && sum.udp.active == 0;
}

static void choose_of(struct retire *retire, const struct runtime *runtime, struct service *service)
{
    size_t n_over = 0;

    for (size_t i = 0; i < service->n_places && retire->n_backends < AT_ONCE_MAX; i++) {
        if (!is_over(&service->backends[i]))
            continue;
        retire->of[retire->n_backends] = service;
        retire->backends[retire->n_backends++] = &service->backends[i];
        n_over++;
    }
    if (service->is_gone && count_left(service) == n_over && is_empty(runtime, service) &&
        !has_listener(runtime, service))
        retire->services[retire->n_services++] = service;
}

static bool choose(struct retire *retire, struct runtime *runtime)
{
    retire->backends = calloc(AT_ONCE_MAX, sizeof(struct backend *));
    retire->of = calloc(AT_ONCE_MAX, sizeof(struct service *));
    retire->services = calloc(runtime->services.n_services + 1, sizeof(struct service *));
    if (!retire->backends || !retire->of || !retire->services)
        return false;
    for (size_t i = 0; i < runtime->services.n_services; i++)
        if (runtime->services.services[i].is_used)
            choose_of(retire, runtime, &runtime->services.services[i]);
    return retire->n_backends + retire->n_services > 0;
}

static void tell_prober(struct retire *retire, struct runtime *runtime)
{
    retire->for_prober = (struct prober_change){.gone = retire->backends,
                                                .n_gone = retire->n_backends,
                                                .dropped = retire->services,
                                                .n_dropped = retire->n_services,
                                                .max_open = runtime->budget.probes};
    prober_take_change(&runtime->prober, &retire->for_prober);
}

static void free_chosen(struct retire *retire, struct runtime *runtime)
{
    const struct report_sources sources = {
        .services = &runtime->services, .group = &runtime->group, .prober = &runtime->prober};

    for (size_t i = 0; i < retire->n_backends; i++) {
        struct backend *backend = retire->backends[i];
        struct stats_server_sum left;

        log_info("server %s/%s has gone: its last connection has ended", retire->of[i]->name,
                 backend->name);
        report_sum_server(&sources, backend, &left);
        stats_clear_server(runtime->group.stats, runtime->n_workers, backend->stats_index);
        service_free_backend(&runtime->services, retire->of[i], backend, &left);
    }
    for (size_t i = 0; i < retire->n_services; i++) {
        struct service *service = retire->services[i];

        log_info("service %s has gone", service->name);
        stats_clear_service(runtime->group.stats, runtime->n_workers, service->index);
        service_table_drop(&runtime->services, service);
    }
}

static void start(struct retire *retire, struct runtime *runtime, uint64_t now_ns)
{
    struct leftovers left;

    if (now_ns < retire->due_ns)
        return;
    left = look(runtime);
    retire->due_ns = left.n_gone > 0 ? now_ns + LOOK_NS : UINT64_MAX;
    if (left.n_over == 0)
        return;
    retire->asked = runtime_ask(runtime);
    retire->phase = RETIRE_ASKED;
}

void retire_step(struct retire *retire, struct runtime *runtime, uint64_t now_ns)
{
    switch (retire->phase) {
    case RETIRE_IDLE:
        start(retire, runtime, now_ns);
        break;
    case RETIRE_ASKED:
        if (!runtime_has_answered(runtime, retire->asked))
            break;
        if (!choose(retire, runtime)) {
            forget(retire);
            break;
        }
        tell_prober(retire, runtime);
        retire->asked = runtime_ask(runtime);
        retire->phase = RETIRE_CHOSEN;
        break;
    case RETIRE_CHOSEN:
        if (!runtime_has_answered(runtime, retire->asked))
            break;
        free_chosen(retire, runtime);
        if (retire->n_backends == AT_ONCE_MAX)
            retire->due_ns = now_ns;
        forget(retire);
        start(retire, runtime, now_ns);
        break;
    }
}
