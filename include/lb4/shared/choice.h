/* One choice under way: what choose.c and foresee.c share. Part of shared/choose.
 *
 * It reads slots and draws from a ticket that need not be the service's own: with copies of both a
 * choice can be made as often as one likes, and nothing of it is seen by anybody. The functions
 * take no place on a server. */
#ifndef LB4_SHARED_CHOICE_H
#define LB4_SHARED_CHOICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/shared/choose.h"
#include "lb4/shared/service.h"

struct choice {
    struct service *service;
    const struct service_plan *plan;
    const struct backend_slot *slots; /* plan->n_backends: the service's, or a copy */
    _Atomic uint64_t *ticket;         /* the same */
    const struct pick_set *tried;
    uint32_t random;
    uint32_t spares; /* PICK_SPARES_... */
    bool tries_down; /* where nobody is usable: all-down any */
    bool minds_full; /* passes over PICK_FULL, as a TCP client must */
};

/* 0..n-1, from the upper bits, which are the good ones of such a generator. */
static inline size_t choice_draw(struct choice *choice, size_t n)
{
    choice->random = choice->random * 1664525u + 1013904223u;
    return (size_t)((uint64_t)choice->random * n >> 32);
}

/* How good a server is, or the one found so far. */
struct choice_standard {
    uint32_t rank;
    struct pick_load load;
};

/* Of a policy that looks at loads every second choice spares those that came back. */
static inline bool choice_follows_load(const struct service_plan *plan)
{
    return plan->balance == CONF_BALANCE_LEASTCONN || plan->balance == CONF_BALANCE_RANDOM;
}

/* Are there servers with a ramp, and does the policy follow it? A client's place under `source`
 * does not move. */
static inline bool choice_has_ramps(const struct choice *choice)
{
    return atomic_load_explicit(&choice->service->n_ramped, memory_order_relaxed) > 0 &&
           choice->plan->balance != CONF_BALANCE_SOURCE;
}

static inline uint32_t choice_standing_at(const struct choice *choice, size_t index)
{
    return atomic_load_explicit(&choice->slots[index].standing, memory_order_relaxed);
}

static inline uint32_t choice_rank_of(const struct choice *choice, uint32_t standing)
{
    uint32_t rank = pick_rank(standing, choice->spares);

    return rank == PICK_RANK_NONE && choice->tries_down ? pick_rank_last(standing) : rank;
}

static inline uint32_t choice_rank_at(const struct choice *choice, size_t index)
{
    uint32_t standing = choice_standing_at(choice, index);

    if (pick_set_has(choice->tried, index) || (standing & PICK_FULL && choice->minds_full))
        return PICK_RANK_NONE;
    return choice_rank_of(choice, standing);
}

static inline struct pick_load choice_load_at(const struct choice *choice, size_t index)
{
    return (struct pick_load){
        atomic_load_explicit(&choice->slots[index].active, memory_order_relaxed),
        choice_standing_at(choice, index) & PICK_WEIGHT_MASK};
}

static inline struct choice_standard choice_standard_at(const struct choice *choice, size_t index)
{
    return (struct choice_standard){choice_rank_at(choice, index), choice_load_at(choice, index)};
}

static inline bool choice_is_better(struct choice_standard a, struct choice_standard b)
{
    return a.rank > b.rank || (a.rank == b.rank && pick_is_less(a.load, b.load));
}

enum {
    CHOICE_REJECTIONS_MAX = 16
}; /* draws for one server under random; chosen: 1 in 65,536
      choices gives up where half is usable */

/* For a client, of the service's own slots and tickets, that does not mind full servers. */
struct choice choice_begin(struct service *service, const struct service_client *client);

/* A trial is for one client: false = it is another thread's. */
bool choice_may_have(struct backend *backend);

/* The least loaded of the best rank; one of several, each with the same odds. NULL: there is none.
 */
struct backend *choice_least(struct choice *choice);

/* What roundrobin, source and random choose in the best rank. NULL: there is none, they gave up, or
 * it is another policy; then the least loaded is chosen. */
struct backend *choice_by_policy(struct choice *choice, const struct addr *client);

/* Both, one after the other. */
struct backend *choice_make(struct choice *choice, const struct addr *client);

/* The whole: first whose turn it is by a ramp (shared/ramp.h), then choice_make(). */
struct backend *choice_in_turn(struct choice *choice, const struct addr *client);

#endif
