/* One probe after the other, per server:
 *
 *            due, room             answered             FIN, or no more time
 *     idle ------------> connecting --------> lingering --------------------> idle
 *      |  ^            or talking, asking                                      ^
 *      |  |                  | failed, timed out; any outcome of asking        |
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
#include "lb4/probe/chronicle.h"
#include "lb4/probe/evict.h"
#include "lb4/probe/pace.h"
#include "lb4/probe/parting.h"
#include "lb4/probe/roster.h"
#include "lb4/probe/slow_start.h"
#include "lb4/probe/trust.h"
#include "lb4/probe/verdict.h"

enum { PROBER_STARTS_MAX = 64 }; /* in one turn, so that answers are taken in between; chosen */

static const uint64_t PROMPT_GAP_NS = 100 * 1000000ull; /* between probes that clients' failures
                                                           bring; chosen: ten a second of one
                                                           server hurt nobody */
static const uint64_t WATCH_NS = 50 * 1000000ull;       /* for a reset of one in doubt; chosen: a
                                                            round trip on most paths */
static const uint64_t RELAPSE_NS = 10 * 1000000000ull;  /* chosen: see verdict.c */

/* --- building --------------------------------------------------------------------------------- */

void prober_clear(struct prober *prober)
{
    *prober = (struct prober){.mailbox.event_fd = -1};
    loop_clear(&prober->loop);
    programs_clear(&prober->programs);
}

int prober_init(struct prober *prober, struct service_table *services, uint32_t max_open)
{
    int error;

    prober_clear(prober);
    prober->services = services;
    prober->max_open = max_open;
    nap_init(&prober->nap);
    list_init(&prober->waiting);
    list_init(&prober->lingering);
    if (getrandom(&prober->random, sizeof(prober->random), 0) < 0)
        prober->random = clock_now_ns();
    error = roster_init(prober, services);
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
    programs_close(&prober->programs);
    roster_fini(prober);
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
    bool is_open = probe->attempt.state != ATTEMPT_IDLE && probe->attempt.state != ATTEMPT_RUNNING;

    prober->n_open += (uint32_t)is_open - (uint32_t)probe->is_open;
    probe->is_open = is_open;
    list_remove(&probe->queue);
    if (probe->attempt.state == ATTEMPT_LINGERING)
        list_append(&prober->lingering, &probe->queue);
}

void prober_close_attempt(struct prober *prober, struct probe *probe)
{
    program_cancel(prober, probe);
    attempt_close(&probe->attempt);
    account(prober, probe);
}

/* Put it where it comes up next. What is due and could not be done yet comes up in the next turn.
 */
void prober_arm(struct prober *prober, struct probe *probe)
{
    uint64_t due_ns = earlier(probe->unmark_ns, earlier(probe->ramp_ns, probe->evict_ns));

    switch (probe->attempt.state) {
    case ATTEMPT_IDLE:
        if (list_is_empty(&probe->queue))
            due_ns = earlier(due_ns, probe->next_ns);
        break;
    case ATTEMPT_CONNECTING:
    case ATTEMPT_TALKING:
    case ATTEMPT_RUNNING:
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

static void conclude(struct prober *prober, struct probe *probe, enum health_outcome outcome)
{
    uint64_t now_ns = clock_now_ns();
    bool was_usable = probe->health.is_usable;

    if (!(backend_standing(probe->backend) & PICK_MAINT))
        verdict_take(prober, probe, outcome, now_ns);
    if (was_usable && pace_is_awaited(probe))
        pace_hurry(prober, probe->service, now_ns);
    chronicle_note(prober->history, probe, now_ns);
    probe->next_ns = later(pace_next(prober, probe, outcome, next_random(prober)), now_ns);
}

/* One that is up, and that nothing speaks against, is not looked at more closely. */
static bool is_in_doubt(const struct probe *probe)
{
    return probe->is_prompted || !probe->health.is_usable || health_is_changing(&probe->health);
}

/* Version of the PROXY header, 0 = none: where the check names an address or a port of its own,
 * somebody else answers. */
static uint8_t announcement(const struct probe *probe)
{
    struct addr own = probe->backend->addr;

    if (addr_port(&own) == 0)
        addr_set_port(&own, addr_port(&probe->addr));
    return addr_equal(&own, &probe->addr) ? (uint8_t)backend_send_proxy(probe->backend) : 0;
}

static void start(struct prober *prober, struct probe *probe)
{
    uint64_t timeout_ns = probe_check(probe)->timeout_ns;
    uint64_t answer_ns = timeout_ns + (program_is(probe) ? PROGRAM_GRACE_NS : 0);
    enum health_outcome outcome;
    bool is_under_way;

    prober->n_starts++;
    if (backend_standing(probe->backend) & PICK_GONE) { /* only its last connections are left */
        probe->next_ns = UINT64_MAX;
        verdict_note_judged(prober, probe);
        return;
    }
    if (backend_standing(probe->backend) & PICK_MAINT) {
        probe->next_ns =
            schedule_next_slot(&probe->slots, prober->loop.now_ns, next_random(prober));
        return;
    }
    if (prober->n_open == prober->max_open && !program_is(probe))
        prober_close_attempt(prober, probe_of(list_take_first(&prober->lingering)));
    probe->attempt.origin =
        origins_of(&service_plan(probe->service)->origins, probe->backend->index);
    if (program_is(probe))
        is_under_way = program_start(prober, probe, &outcome);
    else {
        probe->attempt.send_proxy = announcement(probe);
        is_under_way = attempt_start(&probe->attempt, &prober->loop, &probe->addr,
                                     is_in_doubt(probe), &outcome);
    }
    account(prober, probe);
    /* Read after connect(2): a process that was stopped before it has taken none of its time. */
    probe->started_ns = clock_now_ns();
    probe->late_ns = probe->started_ns - probe->next_ns;
    probe->repeat_ns = schedule_round_up(&probe->slots, probe->started_ns + timeout_ns / 2);
    probe->attempt_by_ns = schedule_round_up(&probe->slots, probe->started_ns + answer_ns);
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
    struct list *waiting = program_is(probe) ? &prober->programs.waiting : &prober->waiting;

    if (program_is(probe) ? program_has_room(&prober->programs) : has_room(prober))
        start(prober, probe);
    else if (probe->is_prompted)
        list_append(waiting->next, &probe->queue); /* first of all: a client has met trouble */
    else
        list_append(waiting, &probe->queue);
}

/* The list of those that wait and need not any more, or NULL. */
static struct list *may_start(struct prober *prober)
{
    if (!list_is_empty(&prober->waiting) && has_room(prober))
        return &prober->waiting;
    if (!list_is_empty(&prober->programs.waiting) && program_has_room(&prober->programs))
        return &prober->programs.waiting;
    return NULL;
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
        trust_unmark(prober, probe, now_ns);
    if (probe->ramp_ns <= now_ns)
        slow_start_step(probe, now_ns);
    if (probe->evict_ns <= now_ns)
        evict_release(prober, probe, now_ns);
    chronicle_note(prober->history, probe, now_ns);
    switch (probe->attempt.state) {
    case ATTEMPT_IDLE:
        break;
    case ATTEMPT_CONNECTING:
    case ATTEMPT_TALKING:
        if (is_over)
            finish(prober, probe, attempt_give_up(&probe->attempt));
        break;
    case ATTEMPT_RUNNING:
        if (is_over)
            finish(prober, probe, program_give_up(prober, probe));
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
            prober_close_attempt(prober, probe);
        break;
    }
    if (probe->attempt.state == ATTEMPT_IDLE && probe->next_ns <= now_ns &&
        list_is_empty(&probe->queue))
        start_or_wait(prober, probe);
    prober_arm(prober, probe);
}

static void serve_waiting(struct prober *prober)
{
    struct list *waiting;

    while (prober->n_starts < PROBER_STARTS_MAX && (waiting = may_start(prober))) {
        struct list *first = list_take_first(waiting);

        start(prober, probe_of(first));
        prober_arm(prober, probe_of(first));
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

static int wait_ms(struct prober *prober)
{
    const struct schedule_entry *first = schedule_first(&prober->schedule);

    if (may_start(prober))
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
    prober_arm(prober, probe);
}

void prober_end_attempt(struct prober *prober, struct probe *probe, enum health_outcome outcome)
{
    attempt_close(&probe->attempt);
    finish(prober, probe, outcome);
    prober_arm(prober, probe);
}

/* An attempt that is under way may have been answered before the client failed: a new one decides.
 */
static void notice(struct prober *prober, struct probe *probe)
{
    uint64_t now_ns = prober->loop.now_ns;

    trust_suspect(probe, now_ns);
    if (probe_check(probe)->is_probed) {
        bool is_relapse = probe->cleared_ns && now_ns - probe->cleared_ns < RELAPSE_NS;

        probe->n_relapses = is_relapse ? probe->n_relapses + 1 : 0;
        probe->is_prompted = true;
        prober_close_attempt(prober, probe);
        probe->next_ns =
            probe->prompted_ns ? later(now_ns, probe->prompted_ns + PROMPT_GAP_NS) : now_ns;
    }
    prober_arm(prober, probe);
}

static void notice_suspects(struct prober *prober)
{
    for (size_t i = 0; i < prober->n_probes; i++) {
        struct probe *probe = &prober->probes[i];

        if (!probe->backend)
            continue;
        if (backend_standing(probe->backend) & PICK_PROVEN) {
            trust_prove(probe, prober->loop.now_ns);
            prober_arm(prober, probe);
        }
        if (evict_count(prober, probe, prober->loop.now_ns))
            prober_arm(prober, probe);
        if (!probe->is_prompted && !probe->is_spared &&
            backend_standing(probe->backend) & (PICK_SUSPECT | PICK_DOUBT))
            notice(prober, probe);
        chronicle_note(prober->history, probe, prober->loop.now_ns);
    }
}

void prober_take_change(struct prober *prober, const struct prober_change *change)
{
    prober->change = change;
    mailbox_post(&prober->mailbox, MAILBOX_CHANGE);
}

static void on_mailbox(struct prober *prober)
{
    uint32_t requests = mailbox_take(&prober->mailbox);

    if (requests & MAILBOX_PING)
        mailbox_pong(&prober->mailbox);
    if (requests & MAILBOX_CHANGE)
        roster_change(prober, prober->change);
    if (requests &
        (MAILBOX_SUSPECT | MAILBOX_CHANGE)) /* of those added it may have been told before */
        notice_suspects(prober);
    if (requests & MAILBOX_WISH)
        roster_obey(prober);
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
    case SOURCE_PROGRAMS:
        program_on_event(prober);
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
    case SOURCE_HTTP_LISTENER:
    case SOURCE_HTTP_CLIENT:
        abort(); /* of other threads */
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

/* No nap where there is more to do at once: what is due, or events that did not fit into the last
 * batch. Mail ends it. */
static size_t look(struct prober *prober)
{
    int ms = wait_ms(prober);
    uint64_t nap_ns =
        ms == 0 || prober->loop.n_behind > 0 ? 0 : nap_take(&prober->nap, clock_now_ns());

    if (nap_ns > 0) {
        mailbox_doze(&prober->mailbox, nap_ns);
        ms = wait_ms(prober);
    }
    return loop_wait(&prober->loop, ms);
}

void prober_run(struct prober *prober)
{
    roster_begin(prober);
    while (!prober->is_exiting) {
        size_t n = look(prober);

        for (size_t i = 0; i < n; i++) {
            const struct loop_event *event = &prober->loop.batch[i];

            if (!event->source->is_closed)
                dispatch(prober, event);
        }
        serve_due(prober);
        if (mailbox_answer(&prober->mailbox) && prober->control)
            mailbox_post(prober->control, MAILBOX_PROGRESS);
    }
    for (size_t i = 0; i < prober->n_probes; i++)
        if (prober->probes[i].backend)
            prober_close_attempt(prober, &prober->probes[i]);
}
