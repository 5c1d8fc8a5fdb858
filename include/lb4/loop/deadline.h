/* Deadlines of equal duration in a list: append at the tail, expire at the head, O(1) each.
 *
 * A deadline is embedded in its owner and is on one list at a time. A touch moves it to the tail
 * only when `slack` has passed since the last move, so that a busy connection does not write to its
 * neighbours in the list for every byte: a deadline therefore comes due between `duration` and
 * `duration + slack` after the last touch, never early. */
#ifndef LB4_LOOP_DEADLINE_H
#define LB4_LOOP_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/list.h"

struct deadline {
    struct list link;
    uint64_t due_ns;
};

struct deadline_list {
    struct list entries; /* of struct deadline, the earliest first */
    uint64_t duration_ns;
    uint64_t slack_ns;
};

/* The slack for deadlines that are touched often: min(64 ms, duration / 8); chosen: below what an
 * operator can tell apart. */
uint64_t deadline_slack_ns(uint64_t duration_ns);

/* `slack_ns` 0: deadlines that are never touched, or must not come later than the next turn. */
void deadline_list_init(struct deadline_list *list, uint64_t duration_ns, uint64_t slack_ns);

void deadline_init(struct deadline *deadline);

/* Count from now, on this list; leaves another list first. */
void deadline_start(struct deadline_list *list, struct deadline *deadline, uint64_t now_ns);

/* There was activity on a deadline of this list: count from now again. */
void deadline_touch(struct deadline_list *list, struct deadline *deadline, uint64_t now_ns);

void deadline_stop(struct deadline *deadline);

/* The next deadline that is due, taken off the list; NULL when none is. */
struct deadline *deadline_expire(struct deadline_list *list, uint64_t now_ns);

/* The earliest due time of the list, or `other_ns` if that is earlier. */
uint64_t deadline_earliest(const struct deadline_list *list, uint64_t other_ns);

/* The time until `due_ns` for loop_wait(), rounded up so that a turn never comes just too early; -1
 * for UINT64_MAX. */
int deadline_wait_ms(uint64_t due_ns, uint64_t now_ns);

#endif
