/* The arithmetic of choice: pure functions over readings, no atomics, no clocks.
 *
 * Readings are taken without a lock, so two workers that choose at the same instant may choose the
 * same server: least connections is exact to within the number of workers. */
#ifndef LB4_SHARED_PICK_H
#define LB4_SHARED_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A server's standing, one word: its weight, and what keeps clients away from it. No flag = a
 * primary in good health. */
enum pick_standing {
    PICK_WEIGHT_MASK = 0x1ff,
    PICK_FULL = 1 << 14,    /* has as many connections as it may; for TCP clients only, place.h */
    PICK_BACKUP = 1 << 16,  /* configured: serves when no primary is up */
    PICK_DOWN = 1 << 17,    /* by probes: not usable */
    PICK_SUSPECT = 1 << 18, /* a client's connect failed, no probe has answered since */
    PICK_FRESH = 1 << 19,   /* came back a moment ago, see pick_rank() */
    PICK_DRAIN = 1 << 20,   /* the operator's wish: no new connections */
    PICK_MAINT = 1 << 21,   /* the operator's wish: no new connections, no probes */
    PICK_DOUBT = 1 << 22,   /* a client's connection ended oddly: a wish for a probe, no more */
    PICK_TRIAL = 1 << 23,   /* a suspect that the next client may have as if it were none */
    PICK_PROVEN = 1 << 24,  /* a suspect that has taken a client's connect */
    PICK_NEW = 1 << 25,     /* added while others serve, or back from maintenance: waits for its
                               first probe */
    PICK_GONE = 1 << 26,    /* not in the configuration any more, or nobody is in this place */
    PICK_UNUSABLE = PICK_DOWN | PICK_DRAIN | PICK_MAINT | PICK_NEW | PICK_GONE
};

enum { PICK_RANK_NONE = 0, PICK_RANK_BEST = 6 };

/* Who comes before whom, whatever the load: PICK_RANK_NONE = not to be chosen at all. Healthy
 * primaries, healthy backups, suspect primaries, suspect backups. With `spares_fresh` those that
 * came back a moment ago rank behind the others of their kind: a caller that sets it every second
 * time keeps an empty server from being given everything (FAULTS.md F48). */
static inline uint32_t pick_rank(uint32_t standing, bool spares_fresh)
{
    uint32_t rank = PICK_RANK_BEST;

    if (standing <= PICK_WEIGHT_MASK)
        return rank;
    if (standing & PICK_UNUSABLE)
        return PICK_RANK_NONE;
    if ((standing & (PICK_SUSPECT | PICK_TRIAL)) == PICK_SUSPECT)
        return standing & PICK_BACKUP ? 1 : 2;
    if (standing & PICK_BACKUP)
        rank -= 2;
    return standing & PICK_FRESH && spares_fresh ? rank - 1 : rank;
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
void pick_set_free(struct pick_set *set);

#endif
