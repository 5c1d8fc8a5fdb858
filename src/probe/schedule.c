#include "lb4/probe/schedule.h"

#include <errno.h>
#include <stdlib.h>

static const uint64_t GRAIN_MAX_NS = 16 * 1000000ull; /* chosen: a 1/128 of the usual 2 s */

/* --- the queue ------------------------------------------------------------------------------- */

int schedule_init(struct schedule *schedule, size_t cap_entries)
{
    *schedule = (struct schedule){.cap_entries = cap_entries};
    schedule->heap = calloc(cap_entries ? cap_entries : 1, sizeof(struct schedule_node));
    return schedule->heap ? 0 : -ENOMEM;
}

void schedule_fini(struct schedule *schedule)
{
    free(schedule->heap);
    *schedule = (struct schedule){0};
}

void schedule_entry_init(struct schedule_entry *entry)
{
    *entry = (struct schedule_entry){.due_ns = UINT64_MAX, .place = SCHEDULE_NOWHERE};
}

static void put(struct schedule *schedule, struct schedule_node node, size_t place)
{
    schedule->heap[place] = node;
    node.entry->place = place;
}

/* Put the node where there is room, at `place` or above: others that are due later move down. */
static size_t sift_up(struct schedule *schedule, struct schedule_node node, size_t place)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;

        if (schedule->heap[parent].due_ns <= node.due_ns)
            break;
        put(schedule, schedule->heap[parent], place);
        place = parent;
    }
    put(schedule, node, place);
    return place;
}

/* SCHEDULE_NOWHERE = it has none. */
static size_t earlier_child(const struct schedule *schedule, size_t place)
{
    size_t left = 2 * place + 1;
    size_t right = left + 1;

    if (left >= schedule->n_entries)
        return SCHEDULE_NOWHERE;
    if (right < schedule->n_entries && schedule->heap[right].due_ns < schedule->heap[left].due_ns)
        return right;
    return left;
}

static void sift_down(struct schedule *schedule, struct schedule_node node, size_t place)
{
    for (;;) {
        size_t child = earlier_child(schedule, place);

        if (child == SCHEDULE_NOWHERE || schedule->heap[child].due_ns >= node.due_ns)
            break;
        put(schedule, schedule->heap[child], place);
        place = child;
    }
    put(schedule, node, place);
}

/* Its due time is another one, or it has just come to this place. */
static void settle(struct schedule *schedule, struct schedule_node node, size_t place)
{
    sift_down(schedule, node, sift_up(schedule, node, place));
}

static void take_out(struct schedule *schedule, struct schedule_entry *entry)
{
    size_t place = entry->place;
    struct schedule_node last = schedule->heap[--schedule->n_entries];

    entry->place = SCHEDULE_NOWHERE;
    if (last.entry != entry)
        settle(schedule, last, place);
}

void schedule_set(struct schedule *schedule, struct schedule_entry *entry, uint64_t due_ns)
{
    struct schedule_node node = {due_ns, entry};

    if (entry->due_ns == due_ns)
        return;
    entry->due_ns = due_ns;
    if (due_ns != UINT64_MAX)
        settle(schedule, node,
               entry->place == SCHEDULE_NOWHERE ? schedule->n_entries++ : entry->place);
    else if (entry->place != SCHEDULE_NOWHERE)
        take_out(schedule, entry);
}

struct schedule_entry *schedule_first(const struct schedule *schedule)
{
    return schedule->n_entries ? schedule->heap[0].entry : NULL;
}

/* --- slots ------------------------------------------------------------------------------------ */

/* The part of `n` that `fraction` / 2^64 is. */
static uint64_t part_of(uint64_t n, uint64_t fraction)
{
    return (uint64_t)(((unsigned __int128)n * fraction) >> 64);
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void schedule_slots_init(struct schedule_slots *slots, uint64_t interval_ns, uint64_t jitter_ns,
                         uint64_t number, uint64_t phase)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u; /* 2^64 / 1.618... */

    slots->jitter_ns = jitter_ns;
    slots->grain_ns = interval_ns / 128 < GRAIN_MAX_NS ? interval_ns / 128 : GRAIN_MAX_NS;
    if (slots->grain_ns == 0)
        slots->grain_ns = 1;
    slots->period_ns = interval_ns - slots->jitter_ns - slots->grain_ns;
    slots->offset_ns = part_of(slots->period_ns, number * golden + phase);
}

uint64_t schedule_round_up(const struct schedule_slots *slots, uint64_t at_ns)
{
    uint64_t over_ns = at_ns % slots->grain_ns;

    return over_ns ? add_saturating(at_ns, slots->grain_ns - over_ns) : at_ns;
}

uint64_t schedule_next_slot(const struct schedule_slots *slots, uint64_t after_ns, uint64_t random)
{
    uint64_t slot_ns = slots->offset_ns;

    if (after_ns >= slot_ns) {
        uint64_t into_ns = (after_ns - slot_ns) % slots->period_ns;

        slot_ns = add_saturating(after_ns, slots->period_ns - into_ns);
    }
    slot_ns = add_saturating(slot_ns, part_of(slots->jitter_ns, random));
    return schedule_round_up(slots, slot_ns);
}
