#include "lb4/probe/trust.h"

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/probe/parting.h"
#include "lb4/probe/verdict.h"
#include "lb4/shared/state_event.h"

static const uint64_t TRIAL_NS = 10 * 1000000000ull; /* between clients that try a suspect of which
                                                        probes do not tell; chosen: a dead server
                                                        costs one client in so much time, and one
                                                        that is back is missed no longer */

/* Probes succeed, but clients do not get through, again and again: a firewall between, another
 * port, a queue that is too short. Each time it stays a suspect for longer, so that few clients
 * wait. */
static void spare(struct probe *probe, uint64_t now_ns)
{
    uint64_t ns = CLOCK_NS_PER_S << (probe->n_relapses < 5 ? probe->n_relapses - 1 : 4);
    char text[VERDICT_DURATION_MAX];
    const struct state_event event = {probe->service->name, probe->backend->name, "suspect",
                                      "clients' connects fail although probes succeed", 0};

    probe->is_spared = true;
    probe->unmark_ns = now_ns + ns;
    backend_clear(probe->backend, PICK_FRESH);
    note_write(&probe->backend->health, now_ns, "clients' connects fail although probes succeed");
    state_event_tell(
        LOG_LEVEL_WARN, &event,
        "server %s/%s: clients' connects fail although probes succeed; it is chosen last for "
        "%s",
        probe->service->name, probe->backend->name, verdict_duration(ns, text));
}

static void await_proof(struct probe *probe, uint64_t now_ns)
{
    const struct state_event event = {probe->service->name, probe->backend->name, "suspect",
                                      "a client could not reach it", 0};

    probe->is_spared = true;
    probe->unmark_ns = now_ns + TRIAL_NS;
    state_event_tell(
        LOG_LEVEL_WARN, &event,
        "server %s/%s: a client could not reach it, and no probe tells more: for %d s it is "
        "chosen last",
        probe->service->name, probe->backend->name, (int)(TRIAL_NS / CLOCK_NS_PER_S));
}

static void unspare(struct probe *probe, uint64_t now_ns)
{
    probe->is_spared = false;
    probe->unmark_ns = UINT64_MAX;
    probe->cleared_ns = now_ns;
    backend_exonerate(probe->backend);
    backend_clear(probe->backend, PICK_DOUBT);
    waiting_wake_all(probe->service);
}

/* All clients at once would be too many for a look: if it is still silent, each who comes before
 * the first has waited for `timeout connect` waits, too. Of datagrams nobody tells that one was
 * taken, so there all may try. */
void trust_unmark(struct prober *prober, struct probe *probe, uint64_t now_ns)
{
    probe->unmark_ns = UINT64_MAX;
    backend_clear(probe->backend, PICK_FRESH);
    if (!probe->is_spared) {
        parting_up(prober, probe, now_ns);
        return;
    }
    if (service_plan(probe->service)->transports & CONF_UDP) {
        unspare(probe, now_ns);
        note_write(&probe->backend->health, now_ns, "clients try it again");
        return;
    }
    backend_set(probe->backend, PICK_TRIAL);
    probe->unmark_ns = now_ns + TRIAL_NS;
    waiting_wake_all(probe->service);
}

void trust_prove(struct probe *probe, uint64_t now_ns)
{
    const struct state_event event = {probe->service->name, probe->backend->name, "up",
                                      "a client has reached it again", 0};

    backend_clear(probe->backend, PICK_PROVEN);
    if (!probe->is_spared)
        return;
    unspare(probe, now_ns);
    probe->unmark_ns = now_ns + TRUST_FRESH_NS;
    note_write(&probe->backend->health, now_ns, "a client has reached it again");
    state_event_tell(LOG_LEVEL_INFO, &event,
                     "server %s/%s: a client has reached it again, it is chosen as before",
                     probe->service->name, probe->backend->name);
}

/* The probe that a client's trouble had brought has succeeded. */
void trust_acquit(struct probe *probe, uint64_t now_ns)
{
    bool is_suspect = backend_standing(probe->backend) & PICK_SUSPECT;

    probe->is_prompted = false;
    backend_clear(probe->backend, PICK_DOUBT);
    if (is_suspect && probe->n_relapses > 0 && probe->health.is_usable) {
        spare(probe, now_ns);
        return;
    }
    backend_exonerate(probe->backend);
    if (!is_suspect)
        return;
    probe->cleared_ns = now_ns;
    if (probe->unmark_ns == UINT64_MAX) /* `on-up` may have waited for it */
        probe->unmark_ns = now_ns + TRUST_FRESH_NS;
    note_write(&probe->backend->health, now_ns, "a probe was answered after a client's trouble");
}

void trust_suspect(struct probe *probe, uint64_t now_ns)
{
    bool is_suspect = backend_standing(probe->backend) & PICK_SUSPECT;

    log_debug("suspect server=%s/%s", probe->service->name, probe->backend->name);
    if (is_suspect && probe->health.is_usable)
        note_write(&probe->backend->health, now_ns, "a client could not reach it");
    if (!probe_check(probe)->is_probed)
        await_proof(probe, now_ns);
}
