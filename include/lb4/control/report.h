/* What the counters say, in words. Reads snapshots; stores nothing. Thread: control. */
#ifndef LB4_CONTROL_REPORT_H
#define LB4_CONTROL_REPORT_H

#include "lb4/shared/service.h"
#include "lb4/worker/worker.h"

/* Log the totals since the start: a line for each service, followed by one for each of its servers,
 * then one for each worker.
 *
 * - service S: total=N active=N closed=N in=BYTES out=BYTES redispatches=N, and REASON=N for each
 * reason that occurred
 * - server S/N: total=N active=N connect_failures=N
 * - worker N: total=N handed_over=N copied=BYTES spliced=BYTES dropped=BYTES splice_refused=N
 * pauses=N
 */
void report_log_totals(const struct service_table *services, const struct worker_group *group);

#endif
