/* Counters of probes, a part of shared/stats.h. */
#ifndef LB4_SHARED_STATS_CHECKS_H
#define LB4_SHARED_STATS_CHECKS_H

#include "lb4/shared/counter.h"

/* Probes of one server, written by the prober alone. */
struct stats_checks {
    stats_counter ok;
    stats_counter failed;
    stats_counter unknown; /* our own trouble: no descriptor, no port */
};

#endif
