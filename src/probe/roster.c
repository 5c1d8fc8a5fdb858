#include "lb4/probe/roster.h"

#include <errno.h>

#include "lb4/base/clock.h"
#include "lb4/probe/chronicle.h"
#include "lb4/probe/evict.h"
#include "lb4/probe/parting.h"
#include "lb4/probe/slow_start.h"
#include "lb4/probe/trust.h"
#include "lb4/probe/verdict.h"
#include "lb4/shared/backend_write.h"
#include "lb4/shared/reserve.h"

static size_t count_probed(const struct service *service)
{
    size_t n = 0;

    if (!service_plan(service)->check->is_probed)
        return 0;
    for (size_t i = 0; i < service->n_places; i++)
        n += service->backends[i].state == BACKEND_SERVING;
    return n;
}

size_t prober_count(const struct service_table *services)
{
    size_t n = 0;

    for (size_t i = 0; i < services->n_services; i++) {
        if (service_is_live(&services->services[i]))
            n += count_probed(&services->services[i]);
    }
    return n;
}

static struct addr whom_to_ask(const struct backend *backend, const struct service_check *check)
{
    bool is_other = check->address.sa.sa_family != AF_UNSPEC;
    struct addr addr = is_other ? check->address : backend->addr;
    uint16_t port = addr_port(&backend->addr) ? addr_port(&backend->addr) : check->default_port;

    addr_set_port(&addr, check->port ? check->port : port);
    return addr;
}

static void heed(struct prober *prober, const struct service_check *check)
{
    if (check->is_probed)
        nap_heed(&prober->nap, check->interval_ns, check->timeout_ns);
}

/* What follows from the check; the attempt is closed. */
static void aim(struct prober *prober, struct probe *probe)
{
    const struct service_check *check = probe_check(probe);

    attempt_init(&probe->attempt, check,
                 true); /* any address may become one of ours while we run */
    schedule_slots_init(&probe->slots, check->interval_ns, check->jitter_ns,
                        probe->backend->stats_index, prober->random);
    probe->addr = whom_to_ask(probe->backend, check);
    heed(prober, check);
}

/* Its first probe decides alone. */
static void await_first(struct prober *prober, struct probe *probe)
{
    probe->is_unjudged = true;
    prober->n_unjudged++;
}

static void clear_checks(struct stats_checks *checks)
{
    stats_zero(&checks->ok);
    stats_zero(&checks->failed);
    stats_zero(&checks->unknown);
}

static struct probe *probe_init(struct prober *prober, struct service *service,
                                struct backend *backend)
{
    struct probe *probe = &prober->probes[backend->stats_index];

    *probe = (struct probe){.service = service,
                            .backend = backend,
                            .next_ns = UINT64_MAX,
                            .unmark_ns = UINT64_MAX,
                            .ramp_ns = UINT64_MAX,
                            .evict_ns = UINT64_MAX,
                            .n_troubles = backend_troubles(backend)};
    schedule_entry_init(&probe->entry);
    list_init(&probe->queue);
    aim(prober, probe);
    if (probe_check(probe)->is_probed)
        await_first(prober, probe);
    if (backend->stats_index >= prober->n_probes)
        prober->n_probes = backend->stats_index + 1;
    return probe;
}

/* Its number may have been another one's. */
static struct probe *add(struct prober *prober, struct service *service, struct backend *backend)
{
    clear_checks(&prober->checks[backend->stats_index]);
    return probe_init(prober, service, backend);
}

int roster_init(struct prober *prober, struct service_table *services)
{
    prober->probes = reserve_memory(SERVICE_STATS_MAX, sizeof(*prober->probes));
    prober->checks = reserve_memory(SERVICE_STATS_MAX, sizeof(*prober->checks));
    prober->services_told = reserve_memory(SERVICE_TABLE_MAX, sizeof(*prober->services_told));
    prober->history = history_new();
    if (!prober->probes || !prober->checks || !prober->services_told || !prober->history)
        return -ENOMEM;
    for (size_t i = 0; i < services->n_services; i++) {
        struct service *service = &services->services[i];

        for (size_t k = 0; k < service_plan(service)->n_backends; k++)
            add(prober, service, &service->backends[k]);
    }
    return schedule_init(&prober->schedule, SERVICE_STATS_MAX);
}

void roster_fini(struct prober *prober)
{
    schedule_fini(&prober->schedule);
    reserve_release(prober->probes, SERVICE_STATS_MAX, sizeof(*prober->probes));
    reserve_release(prober->checks, SERVICE_STATS_MAX, sizeof(*prober->checks));
    reserve_release(prober->services_told, SERVICE_TABLE_MAX, sizeof(*prober->services_told));
    history_free(prober->history);
    prober->history = NULL;
    prober->probes = NULL;
    prober->checks = NULL;
    prober->services_told = NULL;
    prober->n_probes = 0;
}

/* From now on, as at the start. */
static void begin_probe(struct prober *prober, struct probe *probe)
{
    uint64_t now_ns = clock_now_ns();

    verdict_begin(probe, now_ns);
    chronicle_begin(probe, now_ns);
    probe->next_ns = probe_check(probe)->is_probed ? now_ns : UINT64_MAX;
    prober_arm(prober, probe);
}

/* Probed from now on, or not any more: nothing of what was found out in the other way counts, and
 * nobody would take off the marks that it has left. */
static void start_over(struct prober *prober, struct probe *probe)
{
    uint32_t told_health = probe->told_health;
    uint64_t told_ns = probe->told_ns;

    prober_close_attempt(prober, probe);
    slow_start_end(probe);
    parting_back(probe);
    verdict_note_judged(prober, probe);
    schedule_set(&prober->schedule, &probe->entry, UINT64_MAX);
    backend_exonerate(probe->backend);
    backend_clear(probe->backend, PICK_DOWN | PICK_FRESH | PICK_NEW | PICK_DOUBT | PICK_PROVEN);
    waiting_wake_all(probe->service);
    begin_probe(prober, probe_init(prober, probe->service, probe->backend));
    probe->told_health = told_health;
    probe->told_ns = told_ns;
    chronicle_note(prober->history, probe, clock_now_ns());
}

static void check_anew(struct prober *prober, struct probe *probe)
{
    if (probe_check(probe)->is_probed != probe->attempt.check->is_probed) {
        start_over(prober, probe);
        return;
    }
    prober_close_attempt(prober, probe);
    aim(prober, probe);
    if (probe_check(probe)->is_probed)
        probe->next_ns = clock_now_ns();
    prober_arm(prober, probe);
}

static void forget(struct prober *prober, const struct backend *backend)
{
    struct probe *probe = &prober->probes[backend->stats_index];

    if (probe->backend != backend)
        return;
    prober_close_attempt(prober, probe);
    slow_start_end(probe);
    schedule_set(&prober->schedule, &probe->entry, UINT64_MAX);
    probe->backend = NULL;
    verdict_note_judged(prober, probe);
}

/* Where nothing is probed it serves at once; else its first probe lets it in, see verdict.c. */
static void begin_added(struct prober *prober, struct probe *probe)
{
    if (!probe_check(probe)->is_probed)
        slow_start_begin(probe, clock_now_ns());
    begin_probe(prober, probe);
}

/* What is under way by a rule that may be another one now, or none. */
static void review(struct prober *prober, struct probe *probe)
{
    uint64_t now_ns = clock_now_ns();

    parting_review(probe);
    if (probe->ramp_began_ns > 0)
        probe->ramp_ns = now_ns;
    if (probe->is_evicted && service_plan(probe->service)->evict.n_failures == 0)
        probe->evict_ns = now_ns;
    if (probe->ramp_began_ns > 0 || probe->is_evicted)
        prober_arm(prober, probe);
}

void roster_change(struct prober *prober, const struct prober_change *change)
{
    prober->max_open = change->max_open;
    for (size_t i = 0; i < change->n_gone; i++)
        forget(prober, change->gone[i]);
    for (size_t i = 0; i < change->n_dropped; i++)
        prober->services_told[change->dropped[i]->index] = (struct prober_service){0};
    nap_init(&prober->nap);
    for (size_t i = 0; i < prober->n_probes; i++) {
        struct probe *probe = &prober->probes[i];

        if (!probe->backend)
            continue;
        if (probe->attempt.check != probe_check(probe))
            check_anew(prober, probe);
        heed(prober, probe_check(probe));
        review(prober, probe);
        if (probe->is_evicted)
            evict_relieve(prober, probe->service, clock_now_ns());
    }
    for (size_t i = 0; i < change->n_added; i++)
        begin_added(prober, add(prober, change->added_to[i], change->added[i]));
}

void roster_begin(struct prober *prober)
{
    for (size_t i = 0; i < prober->n_probes; i++)
        if (prober->probes[i].backend)
            begin_probe(prober, &prober->probes[i]);
}

/* Out of drain or maintenance, and not to be probed first: it is back like one that was down. Its
 * old connections have kept one that drained warm. */
static void obey_away(struct prober *prober, struct probe *probe, uint32_t standing)
{
    uint32_t away = standing & (PICK_DRAIN | PICK_MAINT);

    if (away && !probe->away) {
        parting_away(probe);
        evict_relieve(prober, probe->service, prober->loop.now_ns);
    }
    if (!away && probe->away && !(standing & PICK_UNUSABLE) && !probe->is_spared) {
        if (probe->away & PICK_MAINT)
            slow_start_begin(probe, prober->loop.now_ns);
        probe->unmark_ns = prober->loop.now_ns + TRUST_FRESH_NS;
        prober_arm(prober, probe);
    }
    probe->away = away ? probe->away | away : 0;
}

/* In maintenance: no probe goes on. Out of it: what was known does not count. */
static void obey(struct prober *prober, struct probe *probe)
{
    uint32_t standing = backend_standing(probe->backend);
    bool is_new = standing & PICK_NEW && !(standing & PICK_MAINT);

    obey_away(prober, probe, standing);
    if (!probe_check(probe)->is_probed)
        return;
    if (standing & PICK_MAINT || (is_new && !probe->is_new)) {
        prober_close_attempt(prober, probe);
        probe->next_ns = prober->loop.now_ns;
        prober_arm(prober, probe);
    }
    if (is_new && !probe->is_new)
        verdict_begin_anew(probe);
    chronicle_begin(probe, prober->loop.now_ns);
    probe->is_new = is_new;
}

void roster_obey(struct prober *prober)
{
    for (size_t i = 0; i < prober->n_probes; i++)
        if (prober->probes[i].backend)
            obey(prober, &prober->probes[i]);
}
