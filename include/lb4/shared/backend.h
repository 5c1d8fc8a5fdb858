/* One server as the threads share it: who it is, how many connections it holds now, and whether
 * clients may be sent to it.
 *
 * What a choice reads of every server is in struct backend_slot: 8 bytes each, side by side in one
 * array of the service, so that a look at 1,000 servers is a look at 125 cache lines. Neither
 * moves, so threads may hold pointers; a place is used again only after shared/service.h says so.
 *
 * `active` is the number of connections that chose this server, those still connecting too;
 * shared/place.h takes and gives back. `standing` (enum pick_standing) has a writer for each flag,
 * hence read-modify-write: workers set PICK_SUSPECT, PICK_DOUBT and PICK_PROVEN; the prober clears
 * them, and owns PICK_DOWN and PICK_FRESH; the prober sets PICK_TRIAL, and the worker whose client
 * gets it clears it; control sets PICK_NEW, and the prober clears it with its first verdict;
 * PICK_FULL is place.h's; control owns the others and the weight. */
#ifndef LB4_SHARED_BACKEND_H
#define LB4_SHARED_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/model.h"
#include "lb4/shared/note.h"
#include "lb4/shared/pick.h"
#include "lb4/shared/stats.h"

struct backend_slot {
    _Atomic uint32_t active;
    _Atomic uint32_t standing;
};

enum backend_state {                  /* what control makes of a place */
                     BACKEND_NONE,    /* nobody is here */
                     BACKEND_ADDED,   /* by a change that is under way: no thread has heard of it */
                     BACKEND_SERVING, /* in the configuration */
                     BACKEND_GONE     /* no more; its last connections end by themselves */
};

struct backend {
    /* Constant while the place is taken, but for the era and the notes. */
    struct backend_slot *slot;
    uint32_t index;              /* in its service, and in its slots */
    uint32_t serial;             /* 1.. in its service; no other server ever has it */
    uint32_t stats_index;        /* in stats_block.servers and the prober's counters */
    bool is_local;               /* an address of this machine: a connect may end up at itself */
    _Atomic uint32_t era;        /* written by the prober */
    _Atomic uint8_t send_proxy;  /* written by control: version of the PROXY header, 0 = none */
    _Atomic uint32_t maxconn;    /* written by control, for shared/place.h; 0 = no limit */
    _Atomic uint32_t n_troubles; /* these three: shared/backend_write.h */
    _Atomic uint64_t back_ns;
    _Atomic uint64_t farewell;
    struct addr addr;   /* port 0: the port that the client asked for */
    struct note health; /* the prober's last word about it */
    struct note wish;   /* the operator's; control writes it, since 0 = no wish */
    char name[CONF_NAME_MAX + 1];
    /* Control's own. */
    enum backend_state state;
    uint32_t conf_weight;            /* what the configuration says; the slot has what counts */
    struct stats_server_sum carried; /* of servers of this name that have gone: a series goes on */
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

/* Of the header that it gets before the first byte: 1, 2; 0 = none. */
static inline int backend_send_proxy(const struct backend *backend)
{
    return atomic_load_explicit(&backend->send_proxy, memory_order_relaxed);
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

/* How often the marks of clients were taken off, see backend_exonerate(). */
static inline uint32_t backend_era(const struct backend *backend)
{
    return atomic_load_explicit(&backend->era, memory_order_relaxed);
}

/* The prober alone: nothing that was begun before now speaks against the server any more. A failed
 * connect says something only if its era, read before it began, is the present one; or who waits
 * out a server that was silent would make it suspect again after its return. */
static inline void backend_exonerate(struct backend *backend)
{
    atomic_fetch_add_explicit(&backend->era, 1, memory_order_relaxed);
    backend_clear(backend, PICK_SUSPECT | PICK_TRIAL);
}

#endif
