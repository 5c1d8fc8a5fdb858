#include "lb4/probe/bulletin.h"

#include <inttypes.h>
#include <stdio.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/probe/verdict.h"

/* Servers of the service that lack these flags. */
static size_t count_without(const struct service *service, uint32_t flags)
{
    size_t n = 0;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++)
        n += !(service_standing(service, i) & flags);
    return n;
}

size_t bulletin_count_up(const struct service *service)
{
    return count_without(service, PICK_UNUSABLE);
}

size_t bulletin_count_all(const struct service *service)
{
    return count_without(service, PICK_GONE);
}

/* Of a server: what it is now, and since when it was what it was before. */
struct state_event bulletin_event(const struct probe *probe, const char *state, const char *why,
                                  uint64_t lasted_ns)
{
    return (struct state_event){probe->service->name, probe->backend->name, state, why, lasted_ns};
}

static void log_down(const struct probe *probe, const struct bulletin *change)
{
    const struct service *service = probe->service;
    uint64_t since_ns = change->flapped_ns ? change->flapped_ns : change->before_ns;
    char lasted[VERDICT_DURATION_MAX];
    char before[VERDICT_DURATION_MAX + 32];
    const struct state_event event = bulletin_event(
        probe, "down", change->reason, change->is_first ? 0 : change->now_ns - since_ns);

    snprintf(before, sizeof(before), "it was %s for %s", change->flapped_ns ? "flapping" : "up",
             verdict_duration(change->now_ns - since_ns, lasted));
    state_event_tell(LOG_LEVEL_WARN, &event,
                     "server %s/%s is DOWN: %s%s; %s; %zu of %zu servers of %s are up",
                     service->name, probe->backend->name, change->reason, change->hint,
                     change->is_first ? "this was its first probe" : before,
                     bulletin_count_up(service), bulletin_count_all(service), service->name);
}

static void log_up(const struct probe *probe, const struct bulletin *change)
{
    const struct service *service = probe->service;
    uint64_t lasted_ns = change->now_ns - change->before_ns;
    const struct state_event event =
        bulletin_event(probe, "up", "probes are answered again", lasted_ns);
    char lasted[VERDICT_DURATION_MAX];

    state_event_tell(LOG_LEVEL_INFO, &event,
                     "server %s/%s is UP; it was down for %s; %zu of %zu servers of %s are up",
                     service->name, probe->backend->name, verdict_duration(lasted_ns, lasted),
                     bulletin_count_up(service), bulletin_count_all(service), service->name);
}

static void log_flapping(const struct probe *probe, const struct bulletin *change)
{
    const struct service *service = probe->service;
    char lasted[VERDICT_DURATION_MAX];
    char since[VERDICT_DURATION_MAX];
    const struct state_event event =
        bulletin_event(probe, "flapping", change->reason, change->now_ns - change->before_ns);

    state_event_tell(
        LOG_LEVEL_WARN, &event,
        "server %s/%s is flapping: %s%s; it was up for %s, and fell %s ago; its next changes "
        "count, but are not logged; %zu of %zu servers of %s are up",
        service->name, probe->backend->name, change->reason, change->hint,
        verdict_duration(change->now_ns - change->before_ns, lasted),
        verdict_duration(change->now_ns - probe->health.fell_ns, since), bulletin_count_up(service),
        bulletin_count_all(service), service->name);
}

static void log_steady(const struct probe *probe, const struct bulletin *change)
{
    const struct service *service = probe->service;
    uint64_t lasted_ns = change->now_ns - probe->health.fell_ns;
    const struct state_event event = bulletin_event(probe, "up", "it flaps no more", lasted_ns);
    char lasted[VERDICT_DURATION_MAX];

    state_event_tell(LOG_LEVEL_INFO, &event,
                     "server %s/%s flaps no more: it fell %" PRIu32
                     " times in %s; %zu of %zu servers of "
                     "%s are up",
                     service->name, probe->backend->name, probe->health.n_falls,
                     verdict_duration(lasted_ns, lasted), bulletin_count_up(service),
                     bulletin_count_all(service), service->name);
}

void bulletin_report(const struct probe *probe, enum health_report report,
                     const struct bulletin *change)
{
    switch (report) {
    case HEALTH_NOTHING:
        break;
    case HEALTH_DOWN:
        log_down(probe, change);
        break;
    case HEALTH_UP:
        log_up(probe, change);
        break;
    case HEALTH_FLAPPING:
        log_flapping(probe, change);
        break;
    case HEALTH_STEADY:
        log_steady(probe, change);
        break;
    }
}

/* What clients find. */
static const char *lost_word(const struct service_plan *plan)
{
    if (plan->all_down == CONF_ALL_DOWN_ANY)
        return "are sent to those that are down, as a last resort (all-down any)";
    if (plan->all_down == CONF_ALL_DOWN_HOLD)
        return "wait";
    return plan->transports == CONF_UDP ? "get no answer" : "are reset";
}

/* Servers that flap would fill the log here, too: the loss of all is told once in a hold. */
void bulletin_service(struct prober *prober, const struct probe *probe, uint64_t hold_ns,
                      uint64_t now_ns)
{
    const struct service *service = probe->service;
    struct prober_service *told = &prober->services_told[service->index];
    bool is_lost = bulletin_count_up(service) == 0;
    char lasted[VERDICT_DURATION_MAX];

    if (is_lost == told->is_told_lost)
        return;
    if (!is_lost) {
        const struct state_event event = {
            .service = service->name, .state = "up", .lasted_ns = now_ns - told->lost_told_ns};

        state_event_tell(LOG_LEVEL_INFO, &event, "service %s: served again, after %s",
                         service->name, verdict_duration(now_ns - told->lost_told_ns, lasted));
        told->is_told_lost = false;
    } else if (!told->has_told || now_ns - told->lost_told_ns >= hold_ns) {
        const struct state_event event = {
            .service = service->name, .state = "down", .why = "no server is up"};

        state_event_tell(LOG_LEVEL_ERROR, &event, "service %s: no server is up, clients %s",
                         service->name, lost_word(service_plan(service)));
        *told =
            (struct prober_service){.is_told_lost = true, .has_told = true, .lost_told_ns = now_ns};
    }
}
