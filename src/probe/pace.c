#include "lb4/probe/pace.h"

static const uint64_t UNKNOWN_GAP_NS = 100 * 1000000ull; /* after a probe that met our own trouble,
                                                            lest we add to it; chosen */

bool pace_is_awaited(const struct probe *probe)
{
    if (probe->health.is_usable || probe->is_evicted ||
        backend_standing(probe->backend) & PICK_REFUSED)
        return false;
    for (size_t i = 0; i < service_plan(probe->service)->n_backends; i++)
        if (!(service_standing(probe->service, i) & PICK_UNUSABLE))
            return false;
    return true;
}

/* Between two probes of one that is awaited. */
static uint64_t awaited_gap_ns(const struct prober *prober, const struct probe *probe)
{
    const struct service_check *check = probe_check(probe);
    uint64_t n_most = program_is(probe) ? PACE_FAST_PROGRAMS : PACE_FAST_MAX;
    uint64_t n_times = (prober->n_probes + n_most - 1) / n_most;

    if (n_times > check->interval_ns / check->fast_ns)
        return check->interval_ns;
    return n_times * check->fast_ns;
}

/* The slots of its gap; the phase is the clock's, the same each time. */
static uint64_t next_of_gap(const struct probe *probe, uint64_t gap_ns, uint64_t after_ns,
                            uint64_t random)
{
    struct schedule_slots slots = probe->slots;

    if (gap_ns < probe_check(probe)->interval_ns)
        schedule_slots_init(&slots, gap_ns, 0, probe->backend->stats_index, 0);
    return schedule_next_slot(&slots, after_ns, random);
}

uint64_t pace_next(const struct prober *prober, const struct probe *probe,
                   enum health_outcome outcome, uint64_t random)
{
    const struct service_check *check = probe_check(probe);
    uint64_t gap_ns = check->interval_ns;

    if (outcome == HEALTH_UNKNOWN)
        return probe->started_ns +
               (check->fast_ns > UNKNOWN_GAP_NS ? check->fast_ns : UNKNOWN_GAP_NS);
    if (health_is_changing(&probe->health))
        return probe->started_ns + check->fast_ns;
    if (pace_is_awaited(probe))
        gap_ns = awaited_gap_ns(prober, probe);
    return next_of_gap(probe, gap_ns, probe->started_ns, random);
}

void pace_hurry(struct prober *prober, const struct service *service, uint64_t now_ns)
{
    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        struct probe *probe;
        uint64_t next_ns;

        if (service_standing(service, i) & PICK_GONE)
            continue;
        probe = &prober->probes[service->backends[i].stats_index];
        if (probe->backend != &service->backends[i] || probe->next_ns == UINT64_MAX ||
            !pace_is_awaited(probe))
            continue;
        next_ns = next_of_gap(probe, awaited_gap_ns(prober, probe), now_ns, 0);
        if (next_ns < probe->next_ns)
            probe->next_ns = next_ns;
        prober_arm(prober, probe);
    }
}
