/* What there is to count of where a service's clients come from (shared/sources.h), for a scrape.
 * Thread: control. */
#ifndef LB4_CONTROL_SOURCES_SUM_H
#define LB4_CONTROL_SOURCES_SUM_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/shared/service.h"

struct sources_sum {
    uint64_t n; /* sources that have a place */
    uint64_t limit;
    uint64_t n_evicted; /* ever: gave their place to others, as nothing was to be remembered */
    uint64_t n_shared;  /* ever: times that a stranger found no place */
    uint64_t n_banned;
    uint64_t n_bans; /* ever */
};

/* Add a service's. false: of this service nothing is known, nor ever was. */
bool sources_sum_add(const struct service *service, struct sources_sum *sum);

#endif
