/* A change of what serves, from one configuration to the next, or of a part: all or nothing.
 *
 *    prepared --commit--> told --answered--> active --answered--> over
 *
 * prepare: everything that can fail, aside: plans, sockets, memory. commit: plans are swapped, and
 * workers take up and leave listeners. After a grace servers that were added may be chosen, or
 * begin with a probe. After another one connections that were accepted on listeners that left have
 * arrived, and what was replaced is freed. Servers and services that are left out end by themselves
 * (control/retire.h). One change at a time. Thread: control. */
#ifndef LB4_CONTROL_CHANGE_H
#define LB4_CONTROL_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lb4/control/runtime.h"
#include "lb4/shared/service_change.h"
#include "lb4/worker/listener_change.h"

enum { CHANGE_ERROR_MAX = 384 }; /* with the NUL */

enum change_phase {
    CHANGE_NONE,
    CHANGE_PREPARED,
    CHANGE_TOLD,  /* workers and the prober have been told */
    CHANGE_ACTIVE /* what was added serves */
};

struct change {
    enum change_phase phase;
    uint64_t asked; /* of the grace that it waits for */
    struct runtime *runtime;
    struct limits_budget budget;
    bool has_budget;
    uint64_t leave_ns;               /* for UDP listeners that leave */
    struct service_change *services; /* new ones, and those that change */
    size_t n_services;
    struct service **by_conf; /* of each service of the configuration */
    struct service **adopted; /* of `services` */
    struct service **dropped; /* not in the configuration any more */
    size_t n_dropped;
    struct listener_change listeners;
    struct worker_change for_workers;
    struct prober_change for_prober;
    size_t n_added;
    struct backend **added;
    struct service **added_to;
};

/* What a change from `before` to `after` would do: as conf_diff(), with what is to be done though
 * the configuration is the same (listener_change_diff()). */
long change_diff(const struct runtime *runtime, const struct conf *before, const struct conf *after,
                 FILE *stream);

/* From `before` to `after`, both checked and without names. On error nothing is kept: -errno, and a
 * sentence in `reterr`. */
int change_prepare(struct change *change, struct runtime *runtime, const struct conf *before,
                   const struct conf *after, char reterr[static CHANGE_ERROR_MAX]);

/* One server is to have this weight, 1..CONF_WEIGHT_MAX. Returns 0 or -ENOMEM. */
int change_prepare_weight(struct change *change, struct runtime *runtime, struct service *service,
                          const struct backend *backend, uint32_t weight);

/* UDP listeners whose time to leave is over are to close. Returns 0 or -ENOMEM. */
int change_prepare_close(struct change *change, struct runtime *runtime, uint64_t now_ns);

void change_commit(struct change *change, uint64_t now_ns);

/* Call when threads have answered: goes on if all have. true: it is over, all is freed. */
bool change_step(struct change *change);

/* In any phase: not commited, it is undone; else all threads have ended. */
void change_abandon(struct change *change);

#endif
