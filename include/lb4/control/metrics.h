/* All counters in Prometheus' text format, version 0.0.4: what monitoring takes at /metrics.
 *
 * Every series is there from the start, with 0; those of a server or service that has left stay
 * while it has connections, and are summed with those of its name. Of one service all numbers are
 * of one reading: active connections are the total without the closed ones in every scrape.
 *
 * Reads what other threads write, while they write it. Thread: control. */
#ifndef LB4_CONTROL_METRICS_H
#define LB4_CONTROL_METRICS_H

#include "lb4/control/reply.h"
#include "lb4/control/snapshot.h"

void metrics_write(const struct snapshot_from *from, struct reply *reply);

#endif
