/* What control asks of every worker beside the bits of a mailbox. */
#ifndef LB4_WORKER_ORDER_H
#define LB4_WORKER_ORDER_H

#include <stddef.h>

#include "lb4/relay/sweep.h"
#include "lb4/shared/service.h"
#include "lb4/worker/listener_change.h"

/* What a reload asks of every worker: from a commit until all have answered a question that was
 * asked after it (mailbox.h), constant. */
struct worker_change {
    const struct listener_step *steps;
    size_t n_steps;
    struct service *const *services; /* new ones, and those with another plan */
    size_t n_services;
};

/* What an operator wants of all connections (relay/sweep.h); constant but for the results, until
 * all have answered a question that was asked after it. */
struct worker_sweep {
    struct sweep_kill *kills;          /* by worker; NULL = nobody is to end */
    const struct sweep_excess *excess; /* what is to be shed */
    size_t n_excess;
    struct sweep_list *lists; /* by worker; NULL = none is wanted */
    size_t *n_ended;          /* by worker, what was shed */
};

#endif
