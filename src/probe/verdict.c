#include "lb4/probe/verdict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/probe/bulletin.h"
#include "lb4/probe/evict.h"
#include "lb4/probe/parting.h"
#include "lb4/probe/slow_start.h"
#include "lb4/probe/trust.h"
#include "lb4/shared/backend_write.h"
#include "lb4/shared/state_event.h"
#include "lb4/shared/waiting.h"

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

/* FRESH, and its ramp, before UP, so that no worker sees an empty server that is not marked. */
static void set_up(struct probe *probe, uint64_t now_ns)
{
    backend_set(probe->backend, PICK_FRESH);
    slow_start_begin(probe, now_ns);
    backend_note_back(probe->backend, now_ns);
    parting_back(probe);
    probe->owes_parting = false;
    backend_clear(probe->backend, PICK_DOWN);
    probe->unmark_ns = now_ns + TRUST_FRESH_NS;
}

void verdict_clear_marks(struct probe *probe)
{
    backend_clear(probe->backend, PICK_FRESH | PICK_TRIAL | PICK_PROVEN);
    probe->unmark_ns = UINT64_MAX;
    probe->is_spared = false;
    probe->is_prompted = true; /* its marks go with its next success */
    probe->n_relapses = 0;     /* probes say what clients say: no disagreement */
}

static void set_down(struct prober *prober, struct probe *probe, uint64_t now_ns)
{
    backend_set(probe->backend, PICK_DOWN);
    verdict_clear_marks(probe);
    slow_start_end(probe);
    parting_down(prober, probe, now_ns);
    evict_relieve(prober, probe->service, now_ns);
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
    evict_forget(probe);
}

static void note_unknown(struct probe *probe, enum health_outcome outcome, const char *reason)
{
    const char *service = probe->service->name;
    const char *server = probe->backend->name;

    if (outcome == HEALTH_UNKNOWN) {
        const struct state_event event = bulletin_event(probe, "unknown", reason, 0);

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
static void admit(struct probe *probe, enum health_outcome outcome, uint64_t now_ns)
{
    const struct service *service = probe->service;
    const struct state_event event = bulletin_event(probe, "up", "its first probe was answered", 0);

    if (!(backend_standing(probe->backend) & PICK_NEW) ||
        (outcome == HEALTH_UNKNOWN && probe->n_unknown < UNKNOWN_TOLD))
        return;
    if (!(backend_standing(probe->backend) & PICK_DOWN)) {
        slow_start_begin(probe, now_ns);
        probe->unmark_ns = now_ns + TRUST_FRESH_NS;
    }
    backend_clear(probe->backend, PICK_NEW);
    if (outcome == HEALTH_OK)
        state_event_tell(
            LOG_LEVEL_INFO, &event,
            "server %s/%s is UP: its first probe was answered; %zu of %zu servers of %s are up",
            service->name, probe->backend->name, bulletin_count_up(service),
            bulletin_count_all(service), service->name);
}

/* The first outcome after maintenance, whatever the state before it was. */
static void end_new(struct probe *probe, enum health_report report, const struct bulletin *change)
{
    const struct state_event event =
        probe->health.is_usable
            ? bulletin_event(probe, "up", "its first probe after maintenance was answered", 0)
            : bulletin_event(probe, "down", change->reason, 0);

    probe->is_new = false;
    if (probe->health.is_usable)
        set_up(probe, change->now_ns);
    backend_clear(probe->backend, PICK_NEW);
    if (report != HEALTH_NOTHING)
        return;
    if (probe->health.is_usable)
        state_event_tell(LOG_LEVEL_INFO, &event,
                         "server %s/%s is UP after maintenance; %zu of %zu servers of %s are up",
                         probe->service->name, probe->backend->name,
                         bulletin_count_up(probe->service), bulletin_count_all(probe->service),
                         probe->service->name);
    else
        state_event_tell(LOG_LEVEL_WARN, &event, "server %s/%s is DOWN after maintenance: %s",
                         probe->service->name, probe->backend->name, change->reason);
}

/* Since when it is in its state, and why. A first probe that is answered changes no state. */
static void note_change(const struct probe *probe, const struct bulletin *change, bool was_new)
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

struct health_rules verdict_rules(const struct probe *probe)
{
    const struct service_check *check = probe_check(probe);

    return (struct health_rules){check->fall, check->rise, check->interval_ns};
}

/* After an eviction one success decides alone. */
static enum health_report judge(struct probe *probe, enum health_outcome outcome, uint64_t now_ns)
{
    const struct health_rules rules = verdict_rules(probe);
    const bool is_suspect = backend_standing(probe->backend) & PICK_SUSPECT;
    bool is_released = probe->is_released;

    probe->is_released = is_released && outcome == HEALTH_UNKNOWN;
    return is_released && outcome == HEALTH_OK
               ? health_decide(&probe->health, &rules, true, now_ns)
               : health_take(&probe->health, &rules, outcome, is_suspect, now_ns);
}

void verdict_decide(struct prober *prober, struct probe *probe, bool is_usable, const char *reason,
                    uint64_t now_ns)
{
    const struct health_rules rules = verdict_rules(probe);
    const struct health before = probe->health;
    const struct bulletin change = {
        .reason = reason,
        .hint = "",
        .before_ns = before.changed_ns,
        .flapped_ns = before.is_flapping ? before.fell_ns : 0,
        .now_ns = now_ns,
    };
    enum health_report report = health_decide(&probe->health, &rules, is_usable, now_ns);

    bulletin_report(probe, report, &change);
    bulletin_service(prober, probe, health_hold_ns(&rules), now_ns);
    if (report == HEALTH_STEADY)
        parting_up(prober, probe, now_ns);
    waiting_wake_all(probe->service);
}

/* What the outcome has made of the server's standing, its note, and the log. */
static void follow(struct prober *prober, struct probe *probe, enum health_report report,
                   const struct bulletin *change)
{
    const struct health_rules rules = verdict_rules(probe);
    bool has_turned = probe->health.is_usable != change->was_usable;
    bool was_new = probe->is_new;

    if (has_turned && probe->health.is_usable)
        set_up(probe, change->now_ns);
    else if (has_turned)
        set_down(prober, probe, change->now_ns);
    if (has_turned || (change->is_first && probe->health.is_judged))
        note_change(probe, change, was_new);
    if (was_new && change->outcome != HEALTH_UNKNOWN)
        end_new(probe, report, change);
    bulletin_report(probe, report, change);
    if (report == HEALTH_STEADY)
        parting_up(prober, probe, change->now_ns);
    if (has_turned || was_new || report != HEALTH_NOTHING)
        bulletin_service(prober, probe, health_hold_ns(&rules), change->now_ns);
    admit(probe, change->outcome, change->now_ns);
}

void verdict_take(struct prober *prober, struct probe *probe, enum health_outcome outcome,
                  uint64_t now_ns)
{
    const uint32_t standing = backend_standing(probe->backend) & SEEN_BY_CLIENTS;
    const bool is_suspect = standing & PICK_SUSPECT;
    const struct health *before = &probe->health;
    char text[REASON_MAX];
    const struct bulletin change = {
        .outcome = outcome,
        .was_usable = before->is_usable,
        .is_first = !before->is_judged,
        .reason = outcome == HEALTH_OK ? "" : reason_text(probe, now_ns, text),
        .hint = is_suspect ? " (clients met it first)" : "",
        .before_ns = before->changed_ns,
        .flapped_ns = before->is_flapping ? before->fell_ns : 0,
        .now_ns = now_ns,
    };

    count(&prober->checks[probe->backend->stats_index], outcome);
    log_outcome(probe, outcome, now_ns);
    note_unknown(probe, outcome, change.reason);
    if (!probe->is_evicted) { /* else it is out, whatever its probes say */
        enum health_report report = judge(probe, outcome, now_ns);

        weigh_marks(probe, outcome, now_ns);
        follow(prober, probe, report, &change);
    }
    evict_hear(prober, probe, outcome, change.reason, now_ns);
    verdict_note_judged(prober, probe);
    if ((backend_standing(probe->backend) & SEEN_BY_CLIENTS) != standing)
        waiting_wake_all(probe->service);
}
