/* The turns of servers that came back and have a ramp (slow-start): part of a choice.
 *
 * Under leastconn an empty server is the least loaded until it is level, so a bound on what it
 * holds would let all new clients through to it. Hence a bound on its share of the choices
 * themselves: of each choice a ramped server's part / 32 of its fair part (its weight among those
 * of its rank) is drawn for it outright, and all other choices pass it over. That is so for short
 * and for long connections, and the same under each policy that has ramps.
 *
 * With a part of PICK_PART_LEVEL it may have up to twice its fair part, until it is level.
 * If all of the best rank have ramps, they share among themselves by their parts. */
#ifndef LB4_SHARED_RAMP_H
#define LB4_SHARED_RAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/choice.h"

/* The prober: one server more, or less, has a ramp. */
static inline void ramp_note_begun(struct service *service)
{
    atomic_fetch_add_explicit(&service->n_ramped, 1, memory_order_relaxed);
}

static inline void ramp_note_ended(struct service *service)
{
    atomic_fetch_sub_explicit(&service->n_ramped, 1, memory_order_relaxed);
}

/* Of those that have the best rank when nobody is spared. */
struct ramp {
    uint32_t rank;
    uint64_t whole;         /* what ramp_part_at() is a part of */
    uint64_t parts;         /* of all that have a ramp */
    uint64_t weight;        /* of all */
    uint64_t steady_weight; /* of those without a ramp */
    uint64_t steady_load;   /* ... their connections, and one for each */
};

/* Walks over all servers. The choice spares nobody. */
struct ramp ramp_sum(const struct choice *choice);

/* 0 = it has none: no ramp, or not of the best rank. */
uint64_t ramp_part_at(const struct choice *choice, const struct ramp *ramp, size_t index);

/* Who holds twice what the others hold is not given more, and who is level does not catch up. */
bool ramp_may_have(const struct choice *choice, const struct ramp *ramp, size_t index);

/* The one whose turn it is. NULL: it is that of the others, and from now on the choice spares those
 * with a ramp. */
struct backend *ramp_turn(struct choice *choice);

#endif
