/* One server as the threads share it: who it is, how many connections it holds now, and whether
 * clients may be sent to it.
 *
 * What a choice reads of every server is in struct backend_slot: 8 bytes each, side by side in one
 * array of the service, so that a look at 1,000 servers is a look at 125 cache lines. Allocated
 * before the threads start, never moved.
 *
 * `active` is the number of connections that chose this server, those still connecting too; one
 * backend_acquire() at the choice, one backend_release() at the end. `standing` (enum
 * pick_standing) has a writer for each flag, hence read-modify-write: workers set PICK_SUSPECT; the
 * prober clears it, and owns PICK_DOWN and PICK_FRESH; control owns PICK_DRAIN, PICK_MAINT and the
 * weight; control sets PICK_NEW, and the prober clears it with its first verdict. */
#ifndef LB4_SHARED_BACKEND_H
#define LB4_SHARED_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/model.h"
#include "lb4/shared/note.h"
#include "lb4/shared/pick.h"

struct backend_slot {
    _Atomic uint32_t active;
    _Atomic uint32_t standing;
};

/* Set before the threads start, then constant, but for the slot and the notes. */
struct backend {
    struct backend_slot *slot;
    uint32_t index;       /* in its service, and in its slots */
    uint32_t stats_index; /* in stats_block.servers and the prober's counters */
    bool is_local;        /* an address of this machine: a connect may end up at itself */
    struct addr addr;     /* port 0: the port that the client asked for */
    struct note health;   /* the prober's last word about it */
    struct note wish;     /* the operator's; control writes it, since 0 = no wish */
    char name[CONF_NAME_MAX + 1];
};

/* All relaxed: a choice may be one step out of date, and nothing else is published with these. */

static inline uint32_t backend_active(const struct backend *backend)
{
    return atomic_load_explicit(&backend->slot->active, memory_order_relaxed);
}

static inline void backend_acquire(struct backend *backend)
{
    atomic_fetch_add_explicit(&backend->slot->active, 1, memory_order_relaxed);
}

static inline void backend_release(struct backend *backend)
{
    atomic_fetch_sub_explicit(&backend->slot->active, 1, memory_order_relaxed);
}

static inline uint32_t backend_standing(const struct backend *backend)
{
    return atomic_load_explicit(&backend->slot->standing, memory_order_relaxed);
}

static inline uint32_t backend_weight(const struct backend *backend)
{
    return backend_standing(backend) & PICK_WEIGHT_MASK;
}

/* Set or clear flags. Returns the standing before. */
static inline uint32_t backend_set(struct backend *backend, uint32_t flags)
{
    return atomic_fetch_or_explicit(&backend->slot->standing, flags, memory_order_relaxed);
}

static inline uint32_t backend_clear(struct backend *backend, uint32_t flags)
{
    return atomic_fetch_and_explicit(&backend->slot->standing, ~flags, memory_order_relaxed);
}

/* Thread: control. `weight` 1..CONF_WEIGHT_MAX. */
static inline void backend_set_weight(struct backend *backend, uint32_t weight)
{
    uint32_t before = backend_standing(backend);

    while (!atomic_compare_exchange_weak_explicit(&backend->slot->standing, &before,
                                                  (before & ~(uint32_t)PICK_WEIGHT_MASK) | weight,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

#endif
