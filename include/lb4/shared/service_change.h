/* A change of one service while threads use it.
 *
 * It goes: prepare (may fail, nobody sees it), commit (the plan is swapped), a grace, activate
 * (those that were added may be chosen, those that are left out get no more clients), another
 * grace, fini (what was replaced is freed). Until they are activated those that leave serve if the
 * policy finds nobody else, so that there is no moment without a server. Thread: control. */
#ifndef LB4_SHARED_SERVICE_CHANGE_H
#define LB4_SHARED_SERVICE_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/shared/plan.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"

struct service_change {
    struct service *service;
    struct service_plan *plan;   /* prepared; after the commit the one that was replaced */
    struct service_check *check; /* after the commit: the one that was replaced, or NULL */
    struct service_seat *seats;  /* the servers of the new plan */
    size_t n_seats;
    uint32_t max_udp_sessions;
    bool keeps_leaving; /* set before the commit: those that leave serve on while none of the
                           others can, service_release() */
    bool keeps_kept;    /* those that have left before, and serve on, still do, while its names may
                           bring others */
    bool waits_for_probe; /* servers that are added get their first client after a probe */
    bool is_commited;
};

/* What `from` says is to become of the service. Servers are the same if name and address are: they
 * keep everything, the weight that an operator gave too, unless the configuration's has changed.
 * One that was left out, and comes back while it still has connections, is a new one to which the
 * operator's wishes and weight still apply.
 * Returns 0, -ENOMEM or -ENOSPC (no place for so many that came and went); on error nothing is
 * kept. */
int service_prepare(struct service_table *table, struct service *service,
                    const struct conf_service *from, struct service_change *ret);

/* The weight of one server is to be 1..CONF_WEIGHT_MAX. Returns 0 or -ENOMEM. */
int service_prepare_weight(struct service *service, const struct backend *backend, uint32_t weight,
                           struct service_change *ret);

void service_commit(struct service_change *change);
/* After a grace. Those added wait for a first probe (PICK_NEW) if there is one to come and others
 * can serve meanwhile. Of a new service, those added serve from its commit on. */
void service_activate(struct service_change *change);
/* Those that leave and were kept: they go once another can serve, or they cannot any more. Returns
 * whether there still are any. */
bool service_release(struct service *service);
/* Free what was replaced: after a grace; or what was prepared, if it is not to be. */
void service_change_fini(struct service_table *table, struct service_change *change);

#endif
