/* The counters as lines of the log: the totals at the end, and on SIGUSR1.
 *
 * Reads what other threads write, while they write it: each line is one reading. Waits for room in
 * the log, a second in all. Thread: control.
 */
#ifndef LB4_CONTROL_REPORT_H
#define LB4_CONTROL_REPORT_H

#include "lb4/probe/prober.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/worker/worker.h"

struct report_sources {
    const struct service_table *services;
    const struct worker_group *group;
    const struct prober *prober;
};

/* A line for each service, or two, followed by one for each of its servers; then one for each
 * worker. A server's total and active count connections and UDP sessions.
 *
 * - service S: total=N active=N closed=N in=BYTES out=BYTES redispatches=N, and REASON=N for each
 *   reason that occurred
 * - udp S: total=SESSIONS active=N datagrams_in=N datagrams_out=N in=BYTES out=BYTES rebinds=N
 *   dropped=DATAGRAMS, and drop_REASON=N for each reason that occurred; of services that listen on
 *   UDP
 * - server S/N: total=N active=N connect_failures=N checks_ok=N checks_failed=N checks_unknown=N
 * - worker N: total=N handed_over=N copied=BYTES spliced=BYTES dropped=BYTES splice_refused=N
 *   pauses=N */
void report_log_totals(const struct report_sources *from);

/* All counters of one server, with those of servers of its name that have gone since. */
void report_sum_server(const struct report_sources *from, const struct backend *backend,
                       struct stats_server_sum *ret);

enum { REPORT_LIVE_MAX = 64 }; /* bytes with the NUL */

/* "12 connections, 3 UDP sessions": what is live. Returns `text`. */
const char *report_format_live(const struct worker_group *group, char text[static REPORT_LIVE_MAX]);

#endif
