/* Deadlines of equal duration in a list: append at the tail, expire at the head, O(1) each.
 *
 * A deadline is embedded in its owner and is on one list at a time. A touch moves it to the tail
 * only when `slack` has passed since the last move, so that a busy connection does not write to its
 * neighbours in the list for every byte: a deadline therefore comes due between `duration` and
 * `duration + slack` after the last touch, never early. */
#ifndef LB4_LOOP_DEADLINE_H
#define LB4_LOOP_DEADLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/list.h"

struct deadline {
    struct list link;
    uint64_t due_ns;
    const struct deadline_list *list; /* the last one that it was started on */
};

struct deadline_list {
    struct list entries; /* of struct deadline, the earliest first */
    uint64_t duration_ns;
    uint64_t slack_ns;
    uint32_t n_users; /* of a list of a set */
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

/* Lists for all durations that a thread's deadlines have. Many owners share a list, and a set has
 * few. All zero = empty. */
struct deadline_set {
    struct deadline_list **lists;
    size_t n_lists;
};

/* Empty again. No deadline is on a list of it, and nobody uses one any more. */
void deadline_set_fini(struct deadline_set *set);

/* The list of this duration and slack, with one user more. It stays where it is until its last user
 * has left it and its last deadline has ended. Not between two calls of deadline_set_expire() with
 * the same *at. NULL: no memory. */
struct deadline_list *deadline_set_list(struct deadline_set *set, uint64_t duration_ns,
                                        uint64_t slack_ns);

/* A user will start no more deadlines on the list; those that run go on. NULL is fine. */
void deadline_list_leave(struct deadline_list *list);

/* As deadline_expire(), list after list: *at is 0 at first, and then left alone. What comes due on
 * a list that is done with waits for the next round, so that a round ends. */
struct deadline *deadline_set_expire(struct deadline_set *set, size_t *at, uint64_t now_ns);

/* As deadline_earliest(), of all lists. */
uint64_t deadline_set_earliest(const struct deadline_set *set, uint64_t other_ns);

/* The time until `due_ns` for loop_wait(), rounded up so that a turn never comes just too early; -1
 * for UINT64_MAX. */
int deadline_wait_ms(uint64_t due_ns, uint64_t now_ns);

#endif
