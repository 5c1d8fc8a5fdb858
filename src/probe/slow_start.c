#include "lb4/probe/slow_start.h"

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/shared/backend_write.h"
#include "lb4/shared/ramp.h"

static const uint64_t LEVEL_LOOK_NS = 100 * 1000000ull; /* between looks whether it is level; chosen
                                                         */

static bool has_ramps(const struct service_plan *plan)
{
    return plan->slow_start_ns > 0 && plan->balance != CONF_BALANCE_SOURCE;
}

/* Somebody of its tier that serves. If that one has a ramp, too, it is ahead on it: it may carry
 * all there is, and must not be left with a part of what the newcomer gets. */
static bool has_mate(const struct probe *probe)
{
    const struct service *service = probe->service;
    uint32_t tier = pick_tier(backend_standing(probe->backend));

    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        uint32_t standing = service_standing(service, i);

        if (i != probe->backend->index && !(standing & (PICK_UNUSABLE | PICK_SUSPECT)) &&
            pick_tier(standing) == tier)
            return true;
    }
    return false;
}

void slow_start_begin(struct probe *probe, uint64_t now_ns)
{
    const struct service_plan *plan = service_plan(probe->service);

    slow_start_end(probe);
    if (!has_ramps(plan) || !has_mate(probe))
        return;
    log_debug("slow-start server=%s/%s", probe->service->name, probe->backend->name);
    backend_set_part(probe->backend, 1);
    ramp_note_begun(probe->service);
    probe->ramp_began_ns = now_ns;
    probe->ramp_ns = now_ns + plan->slow_start_ns / PICK_PART_WHOLE;
}

void slow_start_end(struct probe *probe)
{
    if (probe->ramp_began_ns == 0)
        return;
    backend_set_part(probe->backend, 0);
    ramp_note_ended(probe->service);
    probe->ramp_began_ns = 0;
    probe->ramp_ns = UINT64_MAX;
}

/* By the same reckoning as the choice's. One that is full, or away, or behind those who serve,
 * comes no nearer: its ramp would last for ever, and cost each choice a walk. */
static bool is_level(const struct probe *probe)
{
    const uint32_t standing = backend_standing(probe->backend);
    static const struct pick_set nobody;
    const struct choice choice = {.service = probe->service,
                                  .plan = service_plan(probe->service),
                                  .slots = probe->service->slots,
                                  .tried = &nobody};
    const struct ramp ramp = ramp_sum(&choice);

    return standing & (PICK_UNUSABLE | PICK_FULL) ||
           ramp.rank >
               pick_rank(standing & ~(uint32_t)(PICK_SUSPECT | PICK_TRIAL), PICK_SPARES_NOBODY) ||
           ramp.steady_weight == 0 || !ramp_may_have(&choice, &ramp, probe->backend->index);
}

static void catch_up(struct probe *probe, uint64_t now_ns)
{
    backend_set_part(probe->backend, PICK_PART_LEVEL);
    if (service_plan(probe->service)->balance == CONF_BALANCE_LEASTCONN && !is_level(probe))
        probe->ramp_ns = now_ns + LEVEL_LOOK_NS;
    else
        slow_start_end(probe);
}

void slow_start_step(struct probe *probe, uint64_t now_ns)
{
    const struct service_plan *plan = service_plan(probe->service);
    uint64_t gone_ns = now_ns - probe->ramp_began_ns;
    uint64_t step_ns = plan->slow_start_ns / PICK_PART_WHOLE;
    uint64_t part = step_ns ? gone_ns / step_ns : PICK_PART_WHOLE;

    if (!has_ramps(plan)) {
        slow_start_end(probe);
        return;
    }
    if (part >= PICK_PART_WHOLE) {
        catch_up(probe, now_ns);
        return;
    }
    backend_set_part(probe->backend, part ? (uint32_t)part : 1);
    probe->ramp_ns = probe->ramp_began_ns + (part + 1) * step_ns;
}
