/* One probe after the other, per server:
 *
 *            due, room             answered             FIN, or no more time
 *     idle ------------> connecting --------> lingering --------------------> idle
 *      |  ^            or asking |                                             ^
 *      |  |                  | failed, timed out; any outcome of a dialogue    |
 *      |  |                  +-------------------------------------------------+
 *      |  due, no room
 *      +--------------> waiting (idle, on prober->waiting)
 *
 * Events only end attempts; new ones begin at the end of the turn, when no entry of the batch is
 * left that could be taken for one of theirs. */
#include "lb4/probe/prober.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "lb4/base/clock.h"
#include "lb4/loop/deadline.h"
#include "lb4/probe/verdict.h"

enum { PROBER_STARTS_MAX = 64 }; /* in one turn, so that answers are taken in between; chosen */

static const uint64_t PROMPT_GAP_NS = 100 * 1000000ull;  /* between probes that clients' failures
                                                            bring; chosen: ten a second of one
                                                            server hurt nobody */
static const uint64_t UNKNOWN_GAP_NS = 100 * 1000000ull; /* after a probe that met our own trouble,
                                                            lest we add to it; chosen */
static const uint64_t WATCH_NS = 50 * 1000000ull;        /* for a reset of one in doubt; chosen: a
                                                             round trip on most paths */
static const uint64_t RELAPSE_NS = 10 * 1000000000ull;   /* chosen: see verdict.c */

/* --- building --------------------------------------------------------------------------------- */

size_t prober_count(const struct service_table *services)
{
    size_t n = 0;

    for (size_t i = 0; i < services->n_services; i++) {
        if (services->services[i].check.is_probed)
            n += services->services[i].n_backends;
    }
    return n;
}

static void probe_init(struct prober *prober, struct service *service, struct backend *backend)
{
    const struct service_check *check = &service->check;
    struct probe *probe = &prober->probes[backend->stats_index];

    schedule_entry_init(&probe->entry);
    attempt_init(&probe->attempt, check,
                 true); /* any address may become one of ours while we run */
    schedule_slots_init(&probe->slots, check->interval_ns, backend->stats_index, prober->random);
    list_init(&probe->queue);
    probe->service = service;
    probe->backend = backend;
    probe->addr = backend->addr;
    if (check->port)
        addr_set_port(&probe->addr, check->port);
    else if (addr_port(&probe->addr) == 0)
        addr_set_port(&probe->addr, check->default_port);
    probe->next_ns = UINT64_MAX;
    probe->unmark_ns = UINT64_MAX;
}

static int probes_init(struct prober *prober, struct service_table *services)
{
    size_t n = services->n_backends;

    prober->probes = calloc(n, sizeof(*prober->probes));
    prober->checks = calloc(n, sizeof(*prober->checks));
    prober->services_told = calloc(services->n_services, sizeof(*prober->services_told));
    if (!prober->probes || !prober->checks || !prober->services_told)
        return -ENOMEM;
    prober->n_probes = n;
    for (size_t i = 0; i < services->n_services; i++) {
        struct service *service = &services->services[i];

        for (size_t k = 0; k < service->n_backends; k++)
            probe_init(prober, service, &service->backends[k]);
    }
    return schedule_init(&prober->schedule, n);
}

void prober_clear(struct prober *prober)
{
    *prober = (struct prober){.mailbox.event_fd = -1};
    loop_clear(&prober->loop);
}

int prober_init(struct prober *prober, struct service_table *services, uint32_t max_open)
{
    int error;

    prober_clear(prober);
    prober->services = services;
    prober->max_open = max_open;
    prober->n_unjudged = (uint32_t)prober_count(services);
    list_init(&prober->waiting);
    list_init(&prober->lingering);
    if (getrandom(&prober->random, sizeof(prober->random), 0) < 0)
        prober->random = clock_now_ns();
    error = probes_init(prober, services);
    if (!error)
        error = mailbox_init(&prober->mailbox);
    if (!error)
        error = loop_init(&prober->loop);
    source_init(&prober->mailbox_source, SOURCE_MAILBOX, prober->mailbox.event_fd);
    if (!error)
        error = loop_add(&prober->loop, &prober->mailbox_source, LOOP_LEVEL);
    if (error)
        prober_fini(prober);
    return error;
}

void prober_fini(struct prober *prober)
{
    schedule_fini(&prober->schedule);
    free(prober->probes);
    free(prober->checks);
    free(prober->services_told);
    prober->probes = NULL;
    prober->checks = NULL;
    prober->services_told = NULL;
    prober->n_probes = 0;
    mailbox_fini(&prober->mailbox);
    loop_fini(&prober->loop);
}

/* --- one probe -------------------------------------------------------------------------------- */

static uint64_t next_random(struct prober *prober)
{
    uint64_t z = prober->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns : b_ns;
}

static struct probe *probe_of(struct list *queue)
{
    return container_of(queue, struct probe, queue);
}

/* After everything that may have changed the attempt's state. */
static void account(struct prober *prober, struct probe *probe)
{
    bool is_open = probe->attempt.state != ATTEMPT_IDLE;

    prober->n_open += (uint32_t)is_open - (uint32_t)probe->is_open;
    probe->is_open = is_open;
    list_remove(&probe->queue);
    if (probe->attempt.state == ATTEMPT_LINGERING)
        list_append(&prober->lingering, &probe->queue);
}

static void close_attempt(struct prober *prober, struct probe *probe)
{
    attempt_close(&probe->attempt);
    account(prober, probe);
}

/* Put it where it comes up next. What is due and could not be done yet comes up in the next turn.
 */
static void arm(struct prober *prober, struct probe *probe)
{
    uint64_t due_ns = probe->unmark_ns;

    switch (probe->attempt.state) {
    case ATTEMPT_IDLE:
        if (list_is_empty(&probe->queue))
            due_ns = earlier(due_ns, probe->next_ns);
        break;
    case ATTEMPT_CONNECTING:
        due_ns = earlier(due_ns, probe->attempt_by_ns);
        break;
    case ATTEMPT_ASKING:
        due_ns = earlier(due_ns, earlier(probe->repeat_ns, probe->attempt_by_ns));
        break;
    case ATTEMPT_WATCHING:
        due_ns = earlier(due_ns, probe->watch_by_ns);
        break;
    case ATTEMPT_LINGERING:
        due_ns = earlier(due_ns, earlier(probe->attempt_by_ns, probe->next_ns));
        break;
    }
    schedule_set(&prober->schedule, &probe->entry, later(due_ns, prober->loop.now_ns + 1));
}

/* When the next attempt begins. A slot that passed while this one lasted is not skipped: from start
 * to start there is never more than an interval, or the time-out if that is longer. */
static uint64_t plan(struct prober *prober, const struct probe *probe, enum health_outcome outcome)
{
    const struct service_check *check = &probe->service->check;
    uint64_t slot_ns;

    if (outcome == HEALTH_UNKNOWN)
        return probe->started_ns + later(check->fast_ns, UNKNOWN_GAP_NS);
    if (health_is_changing(&probe->health))
        return probe->started_ns + check->fast_ns;
    /* The slot after a probe that was not in one may be close, and that probe takes its leave. */
    slot_ns = schedule_next_slot(&probe->slots, probe->started_ns + check->interval_ns / 8,
                                 next_random(prober));
    return earlier(slot_ns, probe->started_ns + check->interval_ns);
}

static void conclude(struct prober *prober, struct probe *probe, enum health_outcome outcome)
{
    uint64_t now_ns = clock_now_ns();

    if (!(backend_standing(probe->backend) & PICK_MAINT))
        verdict_take(prober, probe, outcome, now_ns);
    probe->next_ns = later(plan(prober, probe, outcome), now_ns);
}

/* One that is up, and that nothing speaks against, is not looked at more closely. */
static bool is_in_doubt(const struct probe *probe)
{
    return probe->is_prompted || !probe->health.is_usable || health_is_changing(&probe->health);
}

static void start(struct prober *prober, struct probe *probe)
{
    uint64_t timeout_ns = probe->service->check.timeout_ns;
    enum health_outcome outcome;
    bool is_under_way;

    prober->n_starts++;
    if (backend_standing(probe->backend) & PICK_MAINT) {
        probe->next_ns =
            schedule_next_slot(&probe->slots, prober->loop.now_ns, next_random(prober));
        return;
    }
    if (prober->n_open == prober->max_open)
        close_attempt(prober, probe_of(list_take_first(&prober->lingering)));
    is_under_way =
        attempt_start(&probe->attempt, &prober->loop, &probe->addr, is_in_doubt(probe), &outcome);
    account(prober, probe);
    /* Read after connect(2): a process that was stopped before it has taken none of its time. */
    probe->started_ns = clock_now_ns();
    probe->late_ns = probe->started_ns - probe->next_ns;
    probe->repeat_ns = schedule_round_up(&probe->slots, probe->started_ns + timeout_ns / 2);
    probe->attempt_by_ns = schedule_round_up(&probe->slots, probe->started_ns + timeout_ns);
    probe->next_ns = UINT64_MAX;
    if (probe->is_prompted)
        probe->prompted_ns = probe->started_ns;
    if (!is_under_way)
        conclude(prober, probe, outcome);
}

static bool has_room(const struct prober *prober)
{
    return prober->n_open < prober->max_open || !list_is_empty(&prober->lingering);
}

static void start_or_wait(struct prober *prober, struct probe *probe)
{
    if (has_room(prober))
        start(prober, probe);
    else if (probe->is_prompted)
        list_append(prober->waiting.next,
                    &probe->queue); /* first of all: a client has met trouble */
    else
        list_append(&prober->waiting, &probe->queue);
}

/* --- what is due ------------------------------------------------------------------------------ */

static void finish(struct prober *prober, struct probe *probe, enum health_outcome outcome)
{
    account(prober, probe);
    conclude(prober, probe, outcome);
}

static void repeat(struct prober *prober, struct probe *probe)
{
    enum health_outcome outcome;

    probe->repeat_ns = UINT64_MAX;
    if (attempt_repeat(&probe->attempt, &outcome))
        finish(prober, probe, outcome);
}

/* Attempts run out by told_ns, as their answer may wait in the kernel. */
static void serve(struct prober *prober, struct probe *probe)
{
    uint64_t now_ns = prober->loop.now_ns;
    bool is_over = probe->attempt_by_ns <= prober->loop.told_ns;

    if (probe->unmark_ns <= now_ns)
        verdict_unmark(probe, now_ns);
    switch (probe->attempt.state) {
    case ATTEMPT_IDLE:
        break;
    case ATTEMPT_CONNECTING:
        if (is_over)
            finish(prober, probe, attempt_give_up(&probe->attempt));
        break;
    case ATTEMPT_ASKING:
        if (is_over)
            finish(prober, probe, attempt_give_up(&probe->attempt));
        else if (probe->repeat_ns <= prober->loop.told_ns)
            repeat(prober, probe);
        break;
    case ATTEMPT_WATCHING:
        if (probe->watch_by_ns <= prober->loop.told_ns)
            finish(prober, probe, attempt_settle(&probe->attempt));
        break;
    case ATTEMPT_LINGERING:
        if (is_over || probe->next_ns <= now_ns)
            close_attempt(prober, probe);
        break;
    }
    if (probe->attempt.state == ATTEMPT_IDLE && probe->next_ns <= now_ns &&
        list_is_empty(&probe->queue))
        start_or_wait(prober, probe);
    arm(prober, probe);
}

static void serve_waiting(struct prober *prober)
{
    while (prober->n_starts < PROBER_STARTS_MAX && has_room(prober)) {
        struct list *first = list_take_first(&prober->waiting);

        if (!first)
            return;
        start(prober, probe_of(first));
        arm(prober, probe_of(first));
    }
}

static void serve_due(struct prober *prober)
{
    struct schedule_entry *first;

    prober->n_starts = 0;
    serve_waiting(prober);
    while (prober->n_starts < PROBER_STARTS_MAX && (first = schedule_first(&prober->schedule)) &&
           first->due_ns <= prober->loop.now_ns)
        serve(prober, container_of(first, struct probe, entry));
}

static int wait_ms(const struct prober *prober)
{
    const struct schedule_entry *first = schedule_first(&prober->schedule);

    if (!list_is_empty(&prober->waiting) && has_room(prober))
        return 0;
    return first ? deadline_wait_ms(first->due_ns, clock_now_ns()) : -1;
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_probe(struct prober *prober, struct probe *probe, uint32_t bits)
{
    enum attempt_state before = probe->attempt.state;
    enum health_outcome outcome;
    bool is_there = attempt_on_event(&probe->attempt, bits, &outcome);

    if (before == ATTEMPT_CONNECTING && probe->attempt.state == ATTEMPT_WATCHING)
        probe->watch_by_ns = earlier(prober->loop.now_ns + WATCH_NS, probe->attempt_by_ns);
    account(prober, probe);
    if (is_there)
        conclude(prober, probe, outcome);
    arm(prober, probe);
}

/* An attempt that is under way may have been answered before the client failed: a new one decides.
 */
static void notice(struct prober *prober, struct probe *probe)
{
    uint64_t now_ns = prober->loop.now_ns;

    verdict_suspect(probe, now_ns);
    if (probe->service->check.is_probed) {
        bool is_relapse = probe->cleared_ns && now_ns - probe->cleared_ns < RELAPSE_NS;

        probe->n_relapses = is_relapse ? probe->n_relapses + 1 : 0;
        probe->is_prompted = true;
        close_attempt(prober, probe);
        probe->next_ns =
            probe->prompted_ns ? later(now_ns, probe->prompted_ns + PROMPT_GAP_NS) : now_ns;
    }
    arm(prober, probe);
}

static void notice_suspects(struct prober *prober)
{
    for (size_t i = 0; i < prober->n_probes; i++) {
        struct probe *probe = &prober->probes[i];

        if (!probe->is_prompted && !probe->is_spared &&
            backend_standing(probe->backend) & (PICK_SUSPECT | PICK_DOUBT))
            notice(prober, probe);
    }
}

/* In maintenance: no probe goes on. Out of it: what was known does not count. */
static void obey(struct prober *prober, struct probe *probe)
{
    uint32_t standing = backend_standing(probe->backend);
    bool is_new = standing & PICK_NEW && !(standing & PICK_MAINT);

    if (!probe->service->check.is_probed)
        return;
    if (standing & PICK_MAINT || (is_new && !probe->is_new)) {
        close_attempt(prober, probe);
        probe->next_ns = prober->loop.now_ns;
        arm(prober, probe);
    }
    if (is_new && !probe->is_new)
        verdict_begin_anew(probe);
    probe->is_new = is_new;
}

static void on_mailbox(struct prober *prober)
{
    uint32_t requests = mailbox_take(&prober->mailbox);

    if (requests & MAILBOX_SUSPECT)
        notice_suspects(prober);
    for (size_t i = 0; requests & MAILBOX_WISH && i < prober->n_probes; i++)
        obey(prober, &prober->probes[i]);
    if (requests & MAILBOX_EXIT)
        prober->is_exiting = true;
}

static void dispatch(struct prober *prober, const struct loop_event *event)
{
    struct source *source = event->source;

    switch (source->kind) {
    case SOURCE_PROBE:
        on_probe(prober, container_of(source, struct probe, attempt.source), event->bits);
        break;
    case SOURCE_MAILBOX:
        on_mailbox(prober);
        break;
    case SOURCE_LISTENER:
    case SOURCE_CLIENT:
    case SOURCE_SERVER:
    case SOURCE_UDP_LISTENER:
    case SOURCE_UDP_SERVER:
    case SOURCE_SIGNAL:
    case SOURCE_ADMIN_LISTENER:
    case SOURCE_ADMIN_CLIENT:
        abort(); /* of other threads */
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

static void begin(struct prober *prober)
{
    uint64_t now_ns = clock_now_ns();

    for (size_t i = 0; i < prober->n_probes; i++) {
        struct probe *probe = &prober->probes[i];

        verdict_begin(probe, now_ns);
        if (probe->service->check.is_probed)
            probe->next_ns = now_ns;
        arm(prober, probe);
    }
}

void prober_run(struct prober *prober)
{
    begin(prober);
    while (!prober->is_exiting) {
        size_t n = loop_wait(&prober->loop, wait_ms(prober));

        for (size_t i = 0; i < n; i++) {
            const struct loop_event *event = &prober->loop.batch[i];

            if (!event->source->is_closed)
                dispatch(prober, event);
        }
        serve_due(prober);
    }
    for (size_t i = 0; i < prober->n_probes; i++)
        close_attempt(prober, &prober->probes[i]);
}
