#include "lb4/control/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/log.h"
#include "lb4/conf/check.h"
#include "lb4/control/admin.h"
#include "lb4/control/http.h"

enum { PREPARED_PIPES = 8 }; /* of each worker, made before privileges are dropped; chosen */

void runtime_clear(struct runtime *runtime, size_t n_workers)
{
    runtime->n_workers = n_workers;
    prober_clear(&runtime->prober);
}

void runtime_fini(struct runtime *runtime)
{
    worker_group_fini(&runtime->group);
    prober_fini(&runtime->prober);
    listener_table_close(&runtime->listeners);
    service_table_fini(&runtime->services);
}

static int fail(const char *what, int error)
{
    log_error("%s: %s", what, strerror(-error));
    return error;
}

int runtime_build_services(struct runtime *runtime, const struct conf *conf)
{
    int error = service_table_init(&runtime->services, conf);

    return error ? fail("services", error) : 0;
}

/* No more descriptors are set aside than all services together may use. */
static uint64_t count_udp_sessions(const struct conf *conf)
{
    uint64_t n = 0;

    for (size_t i = 0; i < conf->n_services; i++) {
        const struct conf_service *service = &conf->services[i];

        if (conf_transports(service) & CONF_UDP)
            n += service->udp.max_sessions ? service->udp.max_sessions : UINT32_MAX;
    }
    return n;
}

static uint64_t count_probed(const struct conf *conf)
{
    uint64_t n = 0;

    for (size_t i = 0; i < conf->n_services; i++)
        if (conf_is_checked_by_socket(&conf->services[i]))
            n += conf->services[i].n_servers;
    return n;
}

static uint64_t count_operators(const struct conf *conf)
{
    bool has_http = conf->http.sa.sa_family != AF_UNSPEC;

    return (conf->admin[0] ? ADMIN_DESCRIPTORS : 0) + (has_http ? HTTP_DESCRIPTORS : 0);
}

int runtime_compute_budget(const struct runtime *runtime, const struct conf *conf, size_t n_leaving,
                           struct limits_budget *ret, char reterr[static LIMITS_TEXT_MAX])
{
    struct limits_wish wish = {.n_workers = (uint32_t)runtime->n_workers,
                               .n_listeners = listener_count(conf) * runtime->n_workers + n_leaving,
                               .udp_sessions = count_udp_sessions(conf),
                               .n_probed = count_probed(conf),
                               .n_admin = count_operators(conf),
                               .maxconn = conf->maxconn,
                               .pipes = conf->splice ? conf->pipes : 0,
                               .pipes_auto = conf->splice && conf->pipes_auto};
    struct limits_kernel kernel;
    int error = limits_raise_descriptors(&wish.descriptors);

    if (error) {
        snprintf(reterr, LIMITS_TEXT_MAX, "RLIMIT_NOFILE: %s", strerror(-error));
        return error;
    }
    limits_read_kernel(&kernel);
    return limits_compute(&wish, &kernel, ret, reterr);
}

int runtime_share_descriptors(struct runtime *runtime, const struct conf *conf)
{
    char text[LIMITS_TEXT_MAX];
    int error = runtime_compute_budget(runtime, conf, 0, &runtime->budget, text);

    if (error)
        log_error("%s", text);
    return error;
}

static int open_listeners(struct runtime *runtime, const struct conf *conf,
                          struct activation *activation, const struct privileges_ids *ids,
                          char text[static LISTENER_ERROR_MAX])
{
    const struct listener_owner owner = {.uid = ids->uid, .gid = ids->gid};
    const struct listener_table_options options = {
        .n_workers = runtime->n_workers, .inherited = &activation->inherited, .owner = &owner};
    int error = activation_open(activation, text);

    if (!error)
        error = listener_table_open(&runtime->listeners, conf, &runtime->services, &options, text);
    return error ? error : activation_settle(activation, &runtime->listeners, text);
}

int runtime_bind_listeners(struct runtime *runtime, const struct conf *conf,
                           struct activation *activation, const struct privileges_ids *ids)
{
    char text[LISTENER_ERROR_MAX];
    int error = open_listeners(runtime, conf, activation, ids, text);

    if (error)
        log_error("%s", text);
    return error;
}

/* All workers have met the same kernel, but RLIMIT_MEMLOCK may hold the rings of some only. */
static void tell_ring(const struct worker_group *group)
{
    size_t n_without = 0;
    int error = 0;

    for (size_t i = 0; i < group->n_workers; i++) {
        if (!group->workers[i].relay.ring_error)
            continue;
        error = group->workers[i].relay.ring_error;
        n_without++;
    }
    if (n_without == group->n_workers)
        log_info("io_uring: %s: small sends leave one by one", strerror(-error));
    else if (n_without > 0)
        log_info("io_uring: %s: small sends leave one by one in %zu of %zu workers",
                 strerror(-error), n_without, group->n_workers);
}

static int build_workers(struct runtime *runtime, const struct conf *conf, struct mailbox *control)
{
    struct worker_group_options options = {.services = &runtime->services,
                                           .listeners = &runtime->listeners,
                                           .control = control,
                                           .prober = &runtime->prober.mailbox,
                                           .maxconn = runtime->budget.maxconn,
                                           .udp_sessions = runtime->budget.udp_sessions,
                                           .relay = {.max_pipes = runtime->budget.pipes_per_worker,
                                                     .n_prepared_pipes = PREPARED_PIPES,
                                                     .io_uring = conf->io_uring}};
    int error = worker_group_init(&runtime->group, runtime->n_workers, &options);

    if (!error)
        tell_ring(&runtime->group);
    return error ? fail("workers", error) : 0;
}

int runtime_build_threads(struct runtime *runtime, const struct conf *conf, struct mailbox *control)
{
    int error = prober_init(&runtime->prober, &runtime->services, runtime->budget.probes);

    if (error)
        return fail("prober", error);
    runtime->prober.control = control;
    return build_workers(runtime, conf, control);
}

static bool has_programs(const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_services; i++)
        if (conf->services[i].check.kind == CONF_CHECK_EXEC)
            return true;
    return false;
}

/* Root's spawner is not needed: it would start nothing. */
int runtime_link_programs(struct runtime *runtime, const struct conf *conf, struct spawner *spawner,
                          const struct privileges_ids *ids)
{
    bool is_root = geteuid() == 0;
    int fd = is_root ? -1 : spawner_take_link(spawner, ids);
    int error;

    if (fd < 0 && has_programs(conf)) {
        error = is_root ? -EPERM : spawner->error ? spawner->error : -ESRCH;
        return fail("check exec: there is no process to start programs from", error);
    }
    error = programs_open(&runtime->prober, fd, spawner->pid);
    if (fd < 0)
        spawner_end(spawner);
    return error ? fail("prober", error) : 0;
}

uint64_t runtime_ask(struct runtime *runtime)
{
    runtime->asked++;
    worker_group_ask(&runtime->group, runtime->asked);
    mailbox_ask(&runtime->prober.mailbox, runtime->asked);
    return runtime->asked;
}

bool runtime_has_answered(const struct runtime *runtime, uint64_t number)
{
    return worker_group_has_answered(&runtime->group, number) &&
           mailbox_answered(&runtime->prober.mailbox) >= number;
}

size_t runtime_count_services(const struct runtime *runtime)
{
    size_t n = 0;

    for (size_t i = 0; i < runtime->services.n_services; i++)
        n += service_is_live(&runtime->services.services[i]);
    return n;
}

size_t runtime_count_listeners(const struct runtime *runtime)
{
    size_t n = 0;

    for (size_t i = 0; i < runtime->listeners.n_listeners; i++)
        n += runtime->listeners.listeners[i].state != LISTENER_NONE;
    return n;
}
