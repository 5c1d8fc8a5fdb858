#include "lb4/probe/verdict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/probe/trust.h"
#include "lb4/shared/state_event.h"

static const uint64_t FRESH_NS = 2 * 1000000000ull; /* a server that came back gets every second
                                                       choice at most so long; chosen: until its
                                                       connections show in the load */

enum {
    SEEN_BY_CLIENTS = PICK_UNUSABLE | PICK_SUSPECT | PICK_TRIAL, /* a choice depends on these */
    REASON_MAX = 128,
    UNKNOWN_TOLD = 3 /* in a row, before it is worth a line; chosen */
};

/* --- texts ------------------------------------------------------------------------------------ */

const char *verdict_duration(uint64_t duration_ns, char text[static VERDICT_DURATION_MAX])
{
    uint64_t ms = duration_ns / CLOCK_NS_PER_MS;
    uint64_t s = ms / 1000;
    uint64_t m = s / 60;
    uint64_t h = m / 60;

    if (s == 0)
        snprintf(text, VERDICT_DURATION_MAX, "%" PRIu64 "ms", ms);
    else if (m == 0 && ms % 1000 < 100)
        snprintf(text, VERDICT_DURATION_MAX, "%" PRIu64 "s", s);
    else if (m == 0)
        snprintf(text, VERDICT_DURATION_MAX, "%" PRIu64 ".%" PRIu64 "s", s, ms / 100 % 10);
    else if (h == 0)
        snprintf(text, VERDICT_DURATION_MAX, "%" PRIu64 "m%" PRIu64 "s", m, s % 60);
    else if (h < 24)
        snprintf(text, VERDICT_DURATION_MAX, "%" PRIu64 "h%" PRIu64 "m", h, m % 60);
    else
        snprintf(text, VERDICT_DURATION_MAX, "%" PRIu64 "d%" PRIu64 "h", h / 24, h % 24);
    return text;
}

/* The words of an error; after `duration_ns`, which a time-out tells, and what it waited for. */
static const char *error_text(int error, uint64_t duration_ns, const char *waiting,
                              char text[static REASON_MAX])
{
    char after[VERDICT_DURATION_MAX];

    switch (error) {
    case ECONNREFUSED:
        return "connection refused";
    case ECONNRESET:
        return "connection reset";
    case EHOSTUNREACH:
        return "host unreachable";
    case ENETUNREACH:
        return "network unreachable";
    case ETIMEDOUT:
        snprintf(text, REASON_MAX, "timed out after %s%s", verdict_duration(duration_ns, after),
                 waiting);
        return text;
    default:
        return strerror(error);
    }
}

/* Given up by us after the time-out, or by the kernel before it. */
static const char *reason_text(const struct probe *probe, uint64_t now_ns,
                               char text[static REASON_MAX])
{
    uint64_t took_ns = now_ns - probe->started_ns;
    uint64_t timeout_ns = probe_check(probe)->timeout_ns;

    if (probe->attempt.reason)
        return probe->attempt.reason;
    return error_text(probe->attempt.error, took_ns < timeout_ns ? took_ns : timeout_ns,
                      probe->attempt.waiting, text);
}

static const char *outcome_word(enum health_outcome outcome)
{
    switch (outcome) {
    case HEALTH_OK:
        return "ok";
    case HEALTH_REFUSED:
        return "refused";
    case HEALTH_FAILED:
        return "failed";
    case HEALTH_UNKNOWN:
        return "unknown";
    }
    return "?";
}

static void log_outcome(const struct probe *probe, enum health_outcome outcome, uint64_t now_ns)
{
    char text[REASON_MAX];

    if (!log_is_on(LOG_LEVEL_DEBUG))
        return;
    log_debug("probe server=%s/%s outcome=%s error=%s late_us=%" PRIu64 " took_us=%" PRIu64,
              probe->service->name, probe->backend->name, outcome_word(outcome),
              outcome == HEALTH_OK ? "-" : reason_text(probe, now_ns, text), probe->late_ns / 1000,
              (now_ns - probe->started_ns) / 1000);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* Servers of the service that lack these flags. */
static size_t count_without(const struct service *service, uint32_t flags)
{
    size_t n = 0;

    for (size_t i = 0; i < service_plan(service)->n_backends; i++)
        n += !(service_standing(service, i) & flags);
    return n;
}

static size_t count_up(const struct service *service)
{
    return count_without(service, PICK_UNUSABLE);
}

static size_t count_all(const struct service *service)
{
    return count_without(service, PICK_GONE);
}

/* What a change is told with. */
struct change {
    bool is_first; /* the first probe, before which nothing was known */
    const char *reason;
    const char *hint;
    uint64_t before_ns;  /* since when the state before had lasted */
    uint64_t flapped_ns; /* since when it was flapping; 0 = it was not */
    uint64_t now_ns;
};

/* Of a server: what it is now, and since when it was what it was before. */
static struct state_event state_of(const struct probe *probe, const char *state, const char *why,
                                   uint64_t lasted_ns)
{
    return (struct state_event){probe->service->name, probe->backend->name, state, why, lasted_ns};
}

static void log_down(const struct probe *probe, const struct change *change)
{
    const struct service *service = probe->service;
    uint64_t since_ns = change->flapped_ns ? change->flapped_ns : change->before_ns;
    char lasted[VERDICT_DURATION_MAX];
    char before[VERDICT_DURATION_MAX + 32];
    const struct state_event event =
        state_of(probe, "down", change->reason, change->is_first ? 0 : change->now_ns - since_ns);

    snprintf(before, sizeof(before), "it was %s for %s", change->flapped_ns ? "flapping" : "up",
             verdict_duration(change->now_ns - since_ns, lasted));
    state_event_tell(LOG_LEVEL_WARN, &event,
                     "server %s/%s is DOWN: %s%s; %s; %zu of %zu servers of %s are up",
                     service->name, probe->backend->name, change->reason, change->hint,
                     change->is_first ? "this was its first probe" : before, count_up(service),
                     count_all(service), service->name);
}

static void log_up(const struct probe *probe, const struct change *change)
{
    const struct service *service = probe->service;
    uint64_t lasted_ns = change->now_ns - change->before_ns;
    const struct state_event event = state_of(probe, "up", "probes are answered again", lasted_ns);
    char lasted[VERDICT_DURATION_MAX];

    state_event_tell(LOG_LEVEL_INFO, &event,
                     "server %s/%s is UP; it was down for %s; %zu of %zu servers of %s are up",
                     service->name, probe->backend->name, verdict_duration(lasted_ns, lasted),
                     count_up(service), count_all(service), service->name);
}

static void log_flapping(const struct probe *probe, const struct change *change)
{
    const struct service *service = probe->service;
    char lasted[VERDICT_DURATION_MAX];
    char since[VERDICT_DURATION_MAX];
    const struct state_event event =
        state_of(probe, "flapping", change->reason, change->now_ns - change->before_ns);

    state_event_tell(
        LOG_LEVEL_WARN, &event,
        "server %s/%s is flapping: %s%s; it was up for %s, and fell %s ago; its next changes "
        "count, but are not logged; %zu of %zu servers of %s are up",
        service->name, probe->backend->name, change->reason, change->hint,
        verdict_duration(change->now_ns - change->before_ns, lasted),
        verdict_duration(change->now_ns - probe->health.fell_ns, since), count_up(service),
        count_all(service), service->name);
}

static void log_steady(const struct probe *probe, const struct change *change)
{
    const struct service *service = probe->service;
    uint64_t lasted_ns = change->now_ns - probe->health.fell_ns;
    const struct state_event event = state_of(probe, "up", "it flaps no more", lasted_ns);
    char lasted[VERDICT_DURATION_MAX];

    state_event_tell(
        LOG_LEVEL_INFO, &event,
        "server %s/%s flaps no more: it fell %" PRIu32 " times in %s; %zu of %zu servers of "
        "%s are up",
        service->name, probe->backend->name, probe->health.n_falls,
        verdict_duration(lasted_ns, lasted), count_up(service), count_all(service), service->name);
}

static void log_report(const struct probe *probe, enum health_report report,
                       const struct change *change)
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

static const char *fate_word(const struct service_plan *plan)
{
    if (plan->all_down == CONF_ALL_DOWN_HOLD)
        return "wait";
    return plan->transports == CONF_UDP ? "get no answer" : "are reset";
}

/* Servers that flap would fill the log here, too: the loss of all is told once in a hold. */
static void log_service(struct prober *prober, const struct probe *probe, uint64_t hold_ns,
                        uint64_t now_ns)
{
    const struct service *service = probe->service;
    struct prober_service *told = &prober->services_told[service->index];
    bool is_lost = count_up(service) == 0;
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
                         service->name, fate_word(service_plan(service)));
        *told =
            (struct prober_service){.is_told_lost = true, .has_told = true, .lost_told_ns = now_ns};
    }
}

/* FRESH before UP, so that no worker sees an empty server that is not marked. */
static void set_up(struct probe *probe, uint64_t now_ns)
{
    backend_set(probe->backend, PICK_FRESH);
    backend_clear(probe->backend, PICK_DOWN);
    probe->unmark_ns = now_ns + FRESH_NS;
}

static void set_standing(struct probe *probe, uint64_t now_ns)
{
    if (probe->health.is_usable) {
        set_up(probe, now_ns);
    } else {
        backend_set(probe->backend, PICK_DOWN);
        backend_clear(probe->backend, PICK_FRESH);
        probe->unmark_ns = UINT64_MAX;
        probe->is_spared = false;
        probe->is_prompted = true; /* its marks go with its next success */
        backend_clear(probe->backend, PICK_TRIAL | PICK_PROVEN);
        probe->n_relapses = 0; /* probes say what clients say: no disagreement */
    }
}

static void log_first_round(const struct prober *prober)
{
    size_t n_probed = 0;
    size_t n_up = 0;

    for (size_t i = 0; i < prober->n_probes; i++) {
        const struct probe *probe = &prober->probes[i];
        bool is_probed = probe->backend && probe->attempt.check->is_probed &&
                         !(backend_standing(probe->backend) & PICK_GONE);

        n_probed += is_probed;
        n_up += is_probed && probe->health.is_usable;
    }
    log_info("first probes are done: %zu of %zu servers are up", n_up, n_probed);
}

static void count(struct stats_checks *checks, enum health_outcome outcome)
{
    switch (outcome) {
    case HEALTH_OK:
        stats_add(&checks->ok, 1);
        break;
    case HEALTH_REFUSED:
    case HEALTH_FAILED:
        stats_add(&checks->failed, 1);
        break;
    case HEALTH_UNKNOWN:
        stats_add(&checks->unknown, 1);
        break;
    }
}

void verdict_begin(struct probe *probe, uint64_t now_ns)
{
    health_init(&probe->health, now_ns);
    note_write(&probe->backend->health, now_ns,
               probe_check(probe)->is_probed ? "not probed yet" : "not probed");
}

void verdict_begin_anew(struct probe *probe)
{
    probe->health.is_judged = false;
    probe->health.n_against = 0;
    probe->n_relapses = 0;
    probe->cleared_ns = 0;
    probe->is_spared = false;
    probe->is_prompted = true; /* its marks go with its next success */
}

static void note_unknown(struct probe *probe, enum health_outcome outcome, const char *reason)
{
    const char *service = probe->service->name;
    const char *server = probe->backend->name;

    if (outcome == HEALTH_UNKNOWN) {
        const struct state_event event = state_of(probe, "unknown", reason, 0);

        if (++probe->n_unknown == UNKNOWN_TOLD)
            state_event_tell(LOG_LEVEL_WARN, &event,
                             "server %s/%s cannot be probed: %s; its state is not known", service,
                             server, reason);
        return;
    }
    if (probe->n_unknown >= UNKNOWN_TOLD)
        log_info("server %s/%s can be probed again", service, server);
    probe->n_unknown = 0;
}

void verdict_note_judged(struct prober *prober, struct probe *probe)
{
    if (!probe->is_unjudged)
        return;
    probe->is_unjudged = false;
    if (--prober->n_unjudged == 0)
        log_first_round(prober);
}

/* One that was added while others serve waits no more; one that failed its first probe is down by
 * now, and one that cannot be probed is up, as it would be at the start. */
static void admit(const struct probe *probe, enum health_outcome outcome)
{
    const struct service *service = probe->service;
    const struct state_event event = state_of(probe, "up", "its first probe was answered", 0);

    if (!(backend_standing(probe->backend) & PICK_NEW) ||
        (outcome == HEALTH_UNKNOWN && probe->n_unknown < UNKNOWN_TOLD))
        return;
    backend_clear(probe->backend, PICK_NEW);
    if (outcome == HEALTH_OK)
        state_event_tell(
            LOG_LEVEL_INFO, &event,
            "server %s/%s is UP: its first probe was answered; %zu of %zu servers of %s are up",
            service->name, probe->backend->name, count_up(service), count_all(service),
            service->name);
}

/* The first outcome after maintenance, whatever the state before it was. */
static void end_new(struct probe *probe, enum health_report report, const struct change *change)
{
    const struct state_event event =
        probe->health.is_usable
            ? state_of(probe, "up", "its first probe after maintenance was answered", 0)
            : state_of(probe, "down", change->reason, 0);

    probe->is_new = false;
    if (probe->health.is_usable)
        set_up(probe, change->now_ns);
    backend_clear(probe->backend, PICK_NEW);
    if (report != HEALTH_NOTHING)
        return;
    if (probe->health.is_usable)
        state_event_tell(LOG_LEVEL_INFO, &event,
                         "server %s/%s is UP after maintenance; %zu of %zu servers of %s are up",
                         probe->service->name, probe->backend->name, count_up(probe->service),
                         count_all(probe->service), probe->service->name);
    else
        state_event_tell(LOG_LEVEL_WARN, &event, "server %s/%s is DOWN after maintenance: %s",
                         probe->service->name, probe->backend->name, change->reason);
}

/* Since when it is in its state, and why. A first probe that is answered changes no state. */
static void note_change(const struct probe *probe, const struct change *change, bool was_new)
{
    bool is_usable = probe->health.is_usable;
    char text[NOTE_TEXT_MAX];

    if (!is_usable)
        snprintf(text, sizeof(text), "%s%s", change->reason, change->hint);
    else if (was_new)
        snprintf(text, sizeof(text), "its first probe after maintenance was answered");
    else
        snprintf(text, sizeof(text), "%s",
                 change->is_first ? "its first probe was answered" : "probes are answered again");
    note_write(&probe->backend->health,
               is_usable && change->is_first && !was_new ? change->before_ns : change->now_ns,
               text);
}

/* What the outcome means for the marks that clients' trouble has left. */
static void weigh_marks(struct probe *probe, enum health_outcome outcome, uint64_t now_ns)
{
    switch (outcome) {
    case HEALTH_OK:
        if (probe->is_prompted)
            trust_acquit(probe, now_ns);
        break;
    case HEALTH_REFUSED:
    case HEALTH_FAILED:
        if (backend_standing(probe->backend) & PICK_DOUBT)
            backend_set(probe->backend, PICK_SUSPECT);
        break;
    case HEALTH_UNKNOWN:
        break;
    }
}

void verdict_take(struct prober *prober, struct probe *probe, enum health_outcome outcome,
                  uint64_t now_ns)
{
    const struct service_check *check = probe_check(probe);
    const struct health_rules rules = {check->fall, check->rise, check->interval_ns};
    const struct health before = probe->health;
    const bool is_suspect = backend_standing(probe->backend) & PICK_SUSPECT;
    char text[REASON_MAX];
    struct change change = {
        .is_first = !before.is_judged,
        .reason = outcome == HEALTH_OK ? "" : reason_text(probe, now_ns, text),
        .hint = is_suspect ? " (clients met it first)" : "",
        .before_ns = before.changed_ns,
        .flapped_ns = before.is_flapping ? before.fell_ns : 0,
        .now_ns = now_ns,
    };
    enum health_report report = health_take(&probe->health, &rules, outcome, is_suspect, now_ns);
    bool has_turned = probe->health.is_usable != before.is_usable;
    bool was_new = probe->is_new;
    uint32_t standing = backend_standing(probe->backend) & SEEN_BY_CLIENTS;

    count(&prober->checks[probe->backend->stats_index], outcome);
    log_outcome(probe, outcome, now_ns);
    note_unknown(probe, outcome, change.reason);
    weigh_marks(probe, outcome, now_ns);
    if (has_turned)
        set_standing(probe, now_ns);
    if (has_turned || (change.is_first && probe->health.is_judged))
        note_change(probe, &change, was_new);
    if (was_new && outcome != HEALTH_UNKNOWN)
        end_new(probe, report, &change);
    log_report(probe, report, &change);
    if (has_turned || was_new || report != HEALTH_NOTHING)
        log_service(prober, probe, health_hold_ns(&rules), now_ns);
    admit(probe, outcome);
    verdict_note_judged(prober, probe);
    if ((backend_standing(probe->backend) & SEEN_BY_CLIENTS) != standing)
        waiting_wake_all(probe->service);
}
