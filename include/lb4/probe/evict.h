/* `evict`: a server that clients fail to reach, or that resets them without an answer, again and
 * again within a time, is down for a while, whatever its probes say. Not the last usable one of its
 * service, and no longer than that there is another one. Afterwards one probe decides; where
 * nothing is probed, one client tries it (trust.h).
 *
 *              N failures in T               evict_ns               probe answered
 *    usable ---------------------> evicted ------------> released ------------------> usable
 *                                                          | probe failed: down as usual
 *
 * Workers count (shared/backend_write.h). Part of the prober's thread. */
#ifndef LB4_PROBE_EVICT_H
#define LB4_PROBE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/probe/prober.h"

/* Take into account what clients have met since the last time. true: it was evicted. */
bool evict_count(struct prober *prober, struct probe *probe, uint64_t now_ns);

/* evict_ns has come. */
void evict_release(struct prober *prober, struct probe *probe, uint64_t now_ns);

/* What a probe of one that was evicted has said: `fall` failures in a row, or one refusal, and it
 * is down in truth, with all that follows for its connections (on-down). */
void evict_hear(struct prober *prober, struct probe *probe, enum health_outcome outcome,
                const char *reason, uint64_t now_ns);

/* Others of the service have gone: those who are evicted are released if nobody is usable now. */
void evict_relieve(struct prober *prober, const struct service *service, uint64_t now_ns);

/* It is in the operator's hands, or nothing that was known of it counts. */
void evict_forget(struct probe *probe);

#endif
