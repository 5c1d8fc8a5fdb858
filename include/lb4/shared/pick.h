/* The arithmetic of choice: pure functions over readings, no atomics, no clocks.
 *
 * Readings are taken without a lock, so two workers that choose at the same instant may choose the
 * same server: least connections is exact to within the number of workers. */
#ifndef LB4_SHARED_PICK_H
#define LB4_SHARED_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/standing.h"

/* Who comes before whom, whatever the load: the healthy, then those that are suspect; among each,
 * priority 1 to 16, then backups. PICK_RANK_NONE = not to be chosen at all. */
enum {
    PICK_RANK_NONE = 0,
    PICK_RANK_DOWN = 1, /* and so on: pick_rank_last() */
    PICK_RANK_SUSPECT = PICK_RANK_DOWN + PICK_TIERS,
    PICK_RANK_HEALTHY = PICK_RANK_SUSPECT + PICK_TIERS, /* two for each tier */
    PICK_RANK_BEST = PICK_RANK_HEALTHY + 2 * PICK_TIERS - 1
};

/* 0 = priority 1 .. 15 = priority 16, 16 = backup */
/* Whom a choice passes over while others of their tier are there: a caller that spares the fresh
 * every second time keeps an empty server from being given everything (FAULTS.md F48); those with a
 * ramp get their part in turns of their own (shared/ramp.h). */
enum { PICK_SPARES_NOBODY = 0, PICK_SPARES_FRESH = 1, PICK_SPARES_RAMPED = 2 };

static inline uint32_t pick_rank(uint32_t standing, uint32_t spares)
{
    uint32_t above_last;
    bool is_spared;

    if (standing <= PICK_WEIGHT_MASK)
        return PICK_RANK_BEST;
    if (standing & PICK_UNUSABLE)
        return PICK_RANK_NONE;
    above_last = PICK_TIERS - 1 - pick_tier(standing);
    if ((standing & (PICK_SUSPECT | PICK_TRIAL)) == PICK_SUSPECT)
        return PICK_RANK_SUSPECT + above_last;
    is_spared = (standing & PICK_FRESH && spares & PICK_SPARES_FRESH) ||
                (spares & PICK_SPARES_RAMPED && pick_part(standing) > 0);
    return PICK_RANK_HEALTHY + 2 * above_last + !is_spared;
}

/* The last resort, where nobody has a rank: who is down, but nobody that an operator took out. */
static inline uint32_t pick_rank_last(uint32_t standing)
{
    return standing & PICK_REFUSED ? PICK_RANK_NONE
                                   : PICK_RANK_DOWN + PICK_TIERS - 1 - pick_tier(standing);
}

/* The load of one server: (active + 1) / weight, smaller is better. */
struct pick_load {
    uint32_t active;
    uint32_t weight; /* 1..CONF_WEIGHT_MAX */
};

/* Is `a` less loaded than `b`? Exact, by cross multiplication. */
static inline bool pick_is_less(struct pick_load a, struct pick_load b)
{
    return ((uint64_t)a.active + 1) * b.weight < ((uint64_t)b.active + 1) * a.weight;
}

/* Smooth weighted round robin as a sequence: each server stands in it as often as its weight
 * (divided by the greatest common divisor of all) says, spread as evenly as possible. A shared
 * counter walks it, so that the order holds over all workers. Returns the sequence (malloc) of
 * *ret_length server indices, NULL when there is no memory. */
uint16_t *pick_sequence(const uint32_t *weights, size_t n_servers, size_t *ret_length);

/* A set of servers that one client has tried already. Empty = all zero, holds no memory. */
struct pick_set {
    uint64_t *bits; /* malloc at the first add, n_servers bits */
};

static inline bool pick_set_has(const struct pick_set *set, size_t index)
{
    return set->bits && (set->bits[index / 64] >> (index % 64) & 1);
}

/* Returns 0 or -ENOMEM. n_servers is the same in every call. */
int pick_set_add(struct pick_set *set, size_t index, size_t n_servers);
void pick_set_remove(struct pick_set *set, size_t index);
void pick_set_free(struct pick_set *set);

#endif
