#include "lb4/shared/waiting.h"

#include <inttypes.h>

#include "lb4/base/clock.h"
#include "lb4/base/number.h"
#include "lb4/shared/service.h"
#include "lb4/shared/state_event.h"

/* --- the count -------------------------------------------------------------------------------- */

static unsigned shift_of(enum waiting_for what)
{
    return what == WAITING_SERVER ? 0 : 32;
}

static uint32_t part_of(uint64_t counts, enum waiting_for what)
{
    return (uint32_t)(counts >> shift_of(what));
}

uint32_t waiting_count(const struct waiting *waiting, enum waiting_for what)
{
    return part_of(atomic_load_explicit(&waiting->counts, memory_order_acquire), what);
}

enum waiting_entry waiting_enter(struct waiting *waiting, enum waiting_for what, uint32_t max)
{
    uint64_t before = atomic_load_explicit(&waiting->counts, memory_order_relaxed);

    do {
        if (part_of(before, what) >= max)
            return WAITING_REFUSED;
    } while (!atomic_compare_exchange_weak_explicit(&waiting->counts, &before,
                                                    before + (1ull << shift_of(what)),
                                                    memory_order_acq_rel, memory_order_relaxed));
    return before == 0 ? WAITING_FIRST : WAITING_BEHIND;
}

uint64_t waiting_leave(struct waiting *waiting, enum waiting_for what)
{
    uint64_t one = 1ull << shift_of(what);
    uint64_t after = atomic_fetch_sub_explicit(&waiting->counts, one, memory_order_acq_rel) - one;

    return (uint64_t)part_of(after, WAITING_SERVER) + part_of(after, WAITING_PLACE);
}

bool waiting_move_to_server(struct waiting *waiting, uint32_t max)
{
    uint64_t before = atomic_load_explicit(&waiting->counts, memory_order_relaxed);

    do {
        if (part_of(before, WAITING_SERVER) >= max)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&waiting->counts, &before,
                                                    before + (1ull << shift_of(WAITING_SERVER)) -
                                                        (1ull << shift_of(WAITING_PLACE)),
                                                    memory_order_acq_rel, memory_order_relaxed));
    return true;
}

/* --- waking ----------------------------------------------------------------------------------- */

void waiting_crew_join(struct waiting_crew *crew, struct mailbox *mailbox,
                       const struct waiting_mark *marks)
{
    crew->members[crew->n].mailbox = mailbox;
    crew->members[crew->n++].marks = marks;
}

/* A read that has its place in the order of all entries and leaves. */
static bool is_any_in_order(struct waiting *waiting)
{
    return atomic_fetch_add_explicit(&waiting->counts, 0, memory_order_acq_rel) != 0;
}

static uint64_t mark_of(const struct waiting_crew *crew, size_t member, size_t service)
{
    return atomic_load_explicit(&crew->members[member].marks[service].since_ns,
                                memory_order_acquire);
}

static void post_all(const struct waiting_crew *crew, size_t service)
{
    for (size_t i = 0; i < crew->n; i++)
        if (mark_of(crew, i, service) != 0)
            mailbox_post(crew->members[i].mailbox, MAILBOX_WAITING);
}

static void post_oldest(const struct waiting_crew *crew, size_t service)
{
    uint64_t oldest_ns = UINT64_MAX;
    size_t oldest = 0;

    for (size_t i = 0; i < crew->n; i++) {
        uint64_t since_ns = mark_of(crew, i, service);

        if (since_ns == 0 || since_ns >= oldest_ns)
            continue;
        oldest_ns = since_ns;
        oldest = i;
    }
    if (oldest_ns != UINT64_MAX)
        mailbox_post(crew->members[oldest].mailbox, MAILBOX_WAITING);
}

void waiting_wake_next(struct service *service)
{
    const struct waiting_crew *crew = service->waiting.crew;

    if (!is_any_in_order(&service->waiting) || !crew)
        return;
    if (service_plan(service)->balance == CONF_BALANCE_SOURCE)
        post_all(crew, service->index);
    else
        post_oldest(crew, service->index);
}

void waiting_wake_all(struct service *service)
{
    struct waiting *waiting = &service->waiting;

    atomic_fetch_add_explicit(&waiting->era, 1, memory_order_acq_rel);
    if (is_any_in_order(waiting) && waiting->crew)
        post_all(waiting->crew, service->index);
    else if (atomic_load_explicit(&waiting->held_since_ns, memory_order_relaxed) != 0)
        waiting_tell_end(service, clock_now_ns());
}

/* --- the servers ------------------------------------------------------------------------------ */

bool waiting_is_lost(const struct service *service)
{
    const struct service_plan *plan = service_plan(service);

    for (size_t i = 0; i < plan->n_backends; i++)
        if (!(service_standing(service, i) & (PICK_UNUSABLE | PICK_SUSPECT)))
            return false;
    return true;
}

bool waiting_is_deserted(const struct service *service)
{
    return atomic_load_explicit(&service->is_deserted, memory_order_acquire);
}

/* --- what is told ----------------------------------------------------------------------------- */

void waiting_tell_begin(struct service *service, uint64_t now_ns, uint64_t hold_ns)
{
    struct waiting *waiting = &service->waiting;
    const struct state_event event = {
        .service = service->name, .state = "holding", .why = "no server is usable"};
    char text[NUMBER_TEXT_MAX];
    uint64_t none = 0;

    if (atomic_load_explicit(&waiting->held_since_ns, memory_order_relaxed) != 0 ||
        !waiting_is_lost(service) ||
        !atomic_compare_exchange_strong_explicit(&waiting->held_since_ns, &none, now_ns,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    state_event_tell(LOG_LEVEL_WARN, &event,
                     "service %s: no server is usable, clients are held for up to %s",
                     service->name, number_format_duration(hold_ns / CLOCK_NS_PER_MS, text));
}

void waiting_note_end(struct waiting *waiting, enum waiting_end end)
{
    if (atomic_load_explicit(&waiting->held_since_ns, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&waiting->n_held[end], 1, memory_order_relaxed);
}

static uint32_t take_number(struct waiting *waiting, enum waiting_end end)
{
    return atomic_exchange_explicit(&waiting->n_held[end], 0, memory_order_relaxed);
}

void waiting_tell_end(struct service *service, uint64_t now_ns)
{
    struct waiting *waiting = &service->waiting;
    uint64_t since_ns;
    uint64_t ms;

    if (waiting_count(waiting, WAITING_SERVER) > 0 || waiting_is_lost(service))
        return;
    since_ns = atomic_exchange_explicit(&waiting->held_since_ns, 0, memory_order_relaxed);
    if (since_ns == 0)
        return;
    const struct state_event event = {.service = service->name,
                                      .state = "released",
                                      .why = "a server is usable",
                                      .lasted_ns = now_ns - since_ns};

    ms = (now_ns - since_ns) / CLOCK_NS_PER_MS;
    state_event_tell(LOG_LEVEL_INFO, &event,
                     "service %s: released %" PRIu32 " clients after %" PRIu64 ".%" PRIu64
                     "s; %" PRIu32 " gave up, %" PRIu32 " waited in vain, %" PRIu32
                     " were turned away",
                     service->name, take_number(waiting, WAITING_SERVED), ms / 1000, ms / 100 % 10,
                     take_number(waiting, WAITING_GAVE_UP), take_number(waiting, WAITING_TIMED_OUT),
                     take_number(waiting, WAITING_TURNED_AWAY));
}
