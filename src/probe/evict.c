#include "lb4/probe/evict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/probe/bulletin.h"
#include "lb4/probe/parting.h"
#include "lb4/probe/slow_start.h"
#include "lb4/probe/trust.h"
#include "lb4/probe/verdict.h"
#include "lb4/shared/backend_write.h"

void evict_forget(struct probe *probe)
{
    probe->is_evicted = false;
    probe->is_released = false;
    probe->evict_ns = UINT64_MAX;
    probe->troubles = (struct tally){0};
}

/* --- out -------------------------------------------------------------------------------------- */

static const char *describe(const struct probe *probe, uint64_t n, char text[static NOTE_TEXT_MAX])
{
    const struct conf_evict *rules = &service_plan(probe->service)->evict;
    char within[VERDICT_DURATION_MAX];

    snprintf(text, NOTE_TEXT_MAX, "evicted: %" PRIu64 " client%s could not reach it in %s", n,
             n == 1 ? "" : "s", verdict_duration(rules->within_ms * CLOCK_NS_PER_MS, within));
    return text;
}

/* Its marks are of the time before; what it has of connections it keeps, they may be well. */
static void take_out(struct prober *prober, struct probe *probe, uint64_t n, uint64_t now_ns)
{
    const struct conf_evict *rules = &service_plan(probe->service)->evict;
    char text[NOTE_TEXT_MAX];

    evict_forget(probe);
    probe->is_evicted = true;
    probe->owes_parting = true;
    probe->n_failed_out = 0;
    probe->evict_ns = now_ns + rules->for_ms * CLOCK_NS_PER_MS;
    backend_set(probe->backend, PICK_DOWN);
    verdict_clear_marks(probe);
    slow_start_end(probe);
    parting_away(probe);
    note_write(&probe->backend->health, now_ns, describe(probe, n, text));
    verdict_decide(prober, probe, false, text, now_ns);
}

/* Told once, until it is not the last one any more. */
static bool is_last(struct probe *probe, uint64_t n)
{
    char text[NOTE_TEXT_MAX];

    if (bulletin_count_up(probe->service) > 1) {
        probe->is_last_told = false;
        return false;
    }
    if (!probe->is_last_told)
        log_warn("server %s/%s would be %s; but it is the last usable one of %s, and stays",
                 probe->service->name, probe->backend->name, describe(probe, n, text),
                 probe->service->name);
    probe->is_last_told = true;
    return true;
}

bool evict_count(struct prober *prober, struct probe *probe, uint64_t now_ns)
{
    const struct conf_evict *rules = &service_plan(probe->service)->evict;
    uint32_t n_ever = backend_troubles(probe->backend);
    uint32_t n_new = n_ever - probe->n_troubles;
    uint64_t n;

    probe->n_troubles = n_ever;
    if (n_new == 0 || rules->n_failures == 0 || backend_standing(probe->backend) & PICK_UNUSABLE)
        return false;
    n = tally_add(&probe->troubles, rules->within_ms * CLOCK_NS_PER_MS, n_new, now_ns);
    if (n < rules->n_failures || is_last(probe, n))
        return false;
    take_out(prober, probe, n, now_ns);
    return true;
}

void evict_hear(struct prober *prober, struct probe *probe, enum health_outcome outcome,
                const char *reason, uint64_t now_ns)
{
    if (!probe->owes_parting || outcome == HEALTH_UNKNOWN)
        return;
    probe->n_failed_out = outcome == HEALTH_OK ? 0 : probe->n_failed_out + 1;
    if (outcome != HEALTH_REFUSED && probe->n_failed_out < probe_check(probe)->fall)
        return;
    probe->owes_parting = false;
    note_write(&probe->backend->health, now_ns, reason);
    log_info("server %s/%s, evicted, is down by its checks, too: %s", probe->service->name,
             probe->backend->name, reason);
    parting_down(prober, probe, now_ns);
}

/* --- back ------------------------------------------------------------------------------------- */

void evict_relieve(struct prober *prober, const struct service *service, uint64_t now_ns)
{
    if (service_plan(service)->evict.n_failures == 0 || bulletin_count_up(service) > 0)
        return;
    for (size_t i = 0; i < prober->n_probes; i++) {
        struct probe *probe = &prober->probes[i];

        if (!probe->backend || probe->service != service || !probe->is_evicted)
            continue;
        probe->evict_ns = now_ns;
        prober_arm(prober, probe);
    }
}

/* Nothing is probed: it is a suspect, whom one client may try at once. */
static void offer(struct prober *prober, struct probe *probe, uint64_t now_ns)
{
    backend_set(probe->backend, PICK_SUSPECT);
    backend_note_back(probe->backend, now_ns);
    backend_clear(probe->backend, PICK_DOWN);
    note_write(&probe->backend->health, now_ns, "its eviction is over, a client may try it");
    verdict_decide(prober, probe, true, "its eviction is over", now_ns);
    probe->is_prompted = false; /* as no success of a probe would end that */
    probe->is_spared = true;
    trust_unmark(prober, probe, now_ns);
}

/* Only outcomes end the silence about one that flaps, and here there are none. */
static void look_at_flapping(struct prober *prober, struct probe *probe, uint64_t now_ns)
{
    const struct health_rules rules = verdict_rules(probe);
    char why[NOTE_TEXT_MAX];

    if (!probe->health.is_flapping)
        return;
    note_read(&probe->backend->health, why);
    verdict_decide(prober, probe, probe->health.is_usable, why, now_ns);
    if (probe->health.is_flapping)
        probe->evict_ns = probe->health.fell_ns + health_hold_ns(&rules);
}

void evict_release(struct prober *prober, struct probe *probe, uint64_t now_ns)
{
    bool is_probed = probe_check(probe)->is_probed;
    bool was_evicted = probe->is_evicted;

    evict_forget(probe);
    if (was_evicted && is_probed) {
        probe->is_released = true;
        probe->is_prompted = true; /* its marks go with its next success */
        prober_close_attempt(prober, probe);
        probe->next_ns = now_ns;
    } else if (was_evicted) {
        offer(prober, probe, now_ns);
    }
    if (!is_probed)
        look_at_flapping(prober, probe, now_ns);
}
