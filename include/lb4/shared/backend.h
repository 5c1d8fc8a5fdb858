/* One server as the threads share it: who it is, and how many connections it holds now.
 *
 * Slots are allocated before the workers start and never move. `active` is the number of
 * connections that chose this server, those still connecting too; one backend_acquire() at the
 * choice, one backend_release() at the end. */
#ifndef LB4_SHARED_BACKEND_H
#define LB4_SHARED_BACKEND_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/model.h"

struct backend {
    /* All workers write this line, so nothing else is on it. */
    alignas(64) _Atomic uint32_t active;

    /* Set before the workers start, then constant. */
    alignas(64) uint32_t weight; /* 1..CONF_WEIGHT_MAX */
    uint32_t index;              /* in its service */
    uint32_t stats_index;        /* in stats_block.servers */
    bool is_local;               /* an address of this machine: a connect may end up at itself */
    struct addr addr;            /* port 0: the port that the client asked for */
    char name[CONF_NAME_MAX + 1];
};

static inline uint32_t backend_active(const struct backend *backend)
{
    /* Relaxed: a choice may be one connection out of date. */
    return atomic_load_explicit(&backend->active, memory_order_relaxed);
}

static inline void backend_acquire(struct backend *backend)
{
    atomic_fetch_add_explicit(&backend->active, 1, memory_order_relaxed);
}

static inline void backend_release(struct backend *backend)
{
    atomic_fetch_sub_explicit(&backend->active, 1, memory_order_relaxed);
}

#endif
