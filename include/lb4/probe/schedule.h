/* When probes are due.
 *
 * Two parts, both without I/O: a queue of entries by due time (a binary heap, each entry knows its
 * place), and the slots in which a server is probed at the normal interval. Slots are fixed by the
 * server's number and a phase of the process, so that 1,000 servers are spread evenly over the
 * interval and stay so, whatever happened in between (FAULTS.md F51). */
#ifndef LB4_PROBE_SCHEDULE_H
#define LB4_PROBE_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

struct schedule_entry {
    uint64_t due_ns;
    size_t place; /* in the heap; SCHEDULE_NOWHERE = not in it */
};

#define SCHEDULE_NOWHERE SIZE_MAX

/* The due time again, beside its like: a thousand entries themselves lie in as many cache lines,
 * and most comparisons are between two that do not move. */
struct schedule_node {
    uint64_t due_ns;
    struct schedule_entry *entry;
};

struct schedule {
    struct schedule_node *heap;
    size_t n_entries;
    size_t cap_entries;
};

/* Room for so many entries. Returns 0 or -ENOMEM. */
int schedule_init(struct schedule *schedule, size_t cap_entries);
void schedule_fini(struct schedule *schedule);

void schedule_entry_init(struct schedule_entry *entry);

/* Set the entry's due time, whether it is in the queue or not; UINT64_MAX takes it out. */
void schedule_set(struct schedule *schedule, struct schedule_entry *entry, uint64_t due_ns);

/* The entry that is due first, still in the queue; NULL = empty. */
struct schedule_entry *schedule_first(const struct schedule *schedule);

/* The slots of one server: every period from an own offset on. schedule_next_slot() adds a jitter
 * and rounds up to a grain of 1/128 (16 ms at most), so that one wake-up serves several servers;
 * the period is shorter by both: never more than an interval from probe to probe. */
struct schedule_slots {
    uint64_t period_ns;
    uint64_t jitter_ns;
    uint64_t grain_ns;  /* at least 1 */
    uint64_t offset_ns; /* 0..period_ns-1 */
};

/* `number` counts the servers of the process, `phase` is random, one for the process. Neighbouring
 * numbers lie far apart and any run of them is spread evenly (the golden ratio's multiples). */
void schedule_slots_init(struct schedule_slots *slots, uint64_t interval_ns, uint64_t jitter_ns,
                         uint64_t number, uint64_t phase);

/* Up to the next grain, for times that need not be exact. */
uint64_t schedule_round_up(const struct schedule_slots *slots, uint64_t at_ns);

/* The time of the first slot that begins after `after_ns`, plus jitter made of `random`, rounded
 * up. */
uint64_t schedule_next_slot(const struct schedule_slots *slots, uint64_t after_ns, uint64_t random);

#endif
