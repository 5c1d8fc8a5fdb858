#include "lb4/probe/parting.h"

#include "lb4/base/clock.h"
#include "lb4/shared/backend_write.h"

static uint64_t leave_ns(const struct conf_farewell *farewell, uint64_t now_ns)
{
    return farewell->kind == CONF_FAREWELL_DRAIN ? now_ns + farewell->drain_ms * CLOCK_NS_PER_MS
                                                 : now_ns;
}

static void tell_control(struct prober *prober)
{
    service_table_note_farewell(prober->services);
    if (prober->control)
        mailbox_post(prober->control, MAILBOX_PROGRESS);
}

/* A farewell that is due goes on: control may be at it. */
static void take_back(struct backend *backend, enum backend_farewell why)
{
    uint64_t word = backend_farewell(backend);

    if (word && farewell_why(word) == why)
        backend_set_farewell(backend, 0);
}

/* --- on-down ---------------------------------------------------------------------------------- */

void parting_down(struct prober *prober, const struct probe *probe, uint64_t now_ns)
{
    const struct conf_farewell *on_down = &service_plan(probe->service)->on_down;

    parting_away(probe);
    if (on_down->kind == CONF_FAREWELL_KEEP)
        return;
    backend_set_farewell(probe->backend, farewell_word(leave_ns(on_down, now_ns), FAREWELL_DOWN));
    tell_control(prober);
}

void parting_back(const struct probe *probe)
{
    take_back(probe->backend, FAREWELL_DOWN);
}

/* --- on-up ------------------------------------------------------------------------------------ */

static bool is_well(uint32_t standing)
{
    return !(standing & (PICK_UNUSABLE | PICK_SUSPECT));
}

/* What is in a place that is PICK_GONE is not to be looked at: control may be putting a server
 * there.
 */
static bool is_lower(uint32_t standing, uint32_t tier)
{
    return !(standing & PICK_GONE) && pick_tier(standing) > tier;
}

void parting_up(struct prober *prober, const struct probe *probe, uint64_t now_ns)
{
    const struct service_plan *plan = service_plan(probe->service);
    uint32_t standing = backend_standing(probe->backend);
    bool has_any = false;

    if (plan->on_up.kind == CONF_FAREWELL_KEEP || probe->health.is_flapping || !is_well(standing))
        return;
    for (size_t i = 0; i < plan->n_backends; i++) {
        struct backend *backend = &probe->service->backends[i];

        if (!is_lower(service_standing(probe->service, i), pick_tier(standing)) ||
            backend_active(backend) == 0 || backend_farewell(backend))
            continue;
        backend_set_farewell(backend,
                             farewell_word(leave_ns(&plan->on_up, now_ns), FAREWELL_RELIEVED));
        has_any = true;
    }
    if (has_any)
        tell_control(prober);
}

static bool has_better(const struct service *service, uint32_t tier)
{
    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        uint32_t standing = service_standing(service, i);

        if (is_well(standing) && pick_tier(standing) < tier)
            return true;
    }
    return false;
}

void parting_away(const struct probe *probe)
{
    const struct service *service = probe->service;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++) {
        struct backend *backend = &service->backends[i];
        uint32_t standing = service_standing(service, i);

        if (!(standing & PICK_GONE) && backend_farewell(backend) &&
            !has_better(service, pick_tier(standing)))
            take_back(backend, FAREWELL_RELIEVED);
    }
}

void parting_review(const struct probe *probe)
{
    const struct service_plan *plan = service_plan(probe->service);

    if (plan->on_down.kind == CONF_FAREWELL_KEEP)
        take_back(probe->backend, FAREWELL_DOWN);
    if (plan->on_up.kind == CONF_FAREWELL_KEEP ||
        !has_better(probe->service, pick_tier(backend_standing(probe->backend))))
        take_back(probe->backend, FAREWELL_RELIEVED);
}
