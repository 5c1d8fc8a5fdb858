/* A service at run time: its servers, its policy and its limits, shared by all threads.
 *
 * Control is the one writer. A service and its servers stay where they are, so that connections may
 * hold pointers to them. What a reload can change is in a plan, which is never written once others
 * can see it: control puts another one in its place (shared/service_change.h). Threads take the
 * plan anew in each turn (service_plan()) and keep no pointer to it beyond the turn; control frees
 * the old one when every thread has ended a turn since (a grace, control/runtime.h).
 * A server that is gone keeps its place until its last connection has ended and a grace has passed.
 */
#ifndef LB4_SHARED_SERVICE_H
#define LB4_SHARED_SERVICE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/shared/backend.h"
#include "lb4/shared/guard.h"
#include "lb4/shared/local_trouble.h"
#include "lb4/shared/plan.h"
#include "lb4/shared/refusal.h"
#include "lb4/shared/refusal_note.h"
#include "lb4/shared/udp_room.h"
#include "lb4/shared/waiting.h"

struct affinity_table;

enum {
    /* Places, twice what a configuration may name: the other half is for those that are gone but
     * not over yet. */
    SERVICE_BACKENDS_MAX = 2 * CONF_SERVERS_MAX,
    SERVICE_TABLE_MAX = 2 * CONF_SERVICES_MAX,
    SERVICE_STATS_MAX = 2 * CONF_SERVERS_ALL_MAX
};

struct service {
    /* Every worker draws from it for round robin. */
    alignas(64) _Atomic uint64_t ticket;

    alignas(64) struct service_plan *_Atomic plan;
    _Atomic uint32_t n_ramped; /* servers with a ramp; written by the prober, relaxed */
    struct backend *backends;  /* SERVICE_BACKENDS_MAX places */
    struct backend_slot *slots;
    uint32_t index;                  /* in stats_block.services and in the workers' notes */
    struct udp_room udp_room;        /* for its sessions, over all workers */
    struct affinity_table *affinity; /* NULL until a plan has wanted it; then it stays */
    char name[CONF_NAME_MAX + 1];
    struct waiting waiting;                /* clients that do */
    struct guard guard;                    /* of those who come in */
    _Atomic bool is_deserted;              /* is_gone, for workers; release, acquire */
    struct refusal_note refused[REFUSALS]; /* for the log */
    struct local_say local_say;

    /* Control's own. */
    size_t n_places;    /* that were ever taken */
    size_t first_free;  /* no place below is free */
    uint32_t n_serials; /* servers that there ever were */
    bool is_used;
    bool is_gone; /* not in the configuration any more; its last connections end by themselves */
};

/* The present plan, for the rest of this turn. Acquire: what control wrote into it is seen. */
static inline const struct service_plan *service_plan(const struct service *service)
{
    return atomic_load_explicit(&service->plan, memory_order_acquire);
}

/* Do its clients wait for a server, or for a place on one? */
static inline bool service_may_wait(const struct service *service)
{
    const struct service_plan *plan = service_plan(service);

    return plan->all_down == CONF_ALL_DOWN_HOLD || plan->has_limits;
}

/* Of the place `index`, below n_backends of a plan. */
static inline uint32_t service_standing(const struct service *service, size_t index)
{
    return atomic_load_explicit(&service->slots[index].standing, memory_order_relaxed);
}

/* Is the place taken by a service of the configuration? */
static inline bool service_is_live(const struct service *service)
{
    return service->is_used && !service->is_gone;
}

#endif
