/* When the next attempt of a server begins, seen from the start of the last one. Part of the
 * prober's thread. */
#ifndef LB4_PROBE_PACE_H
#define LB4_PROBE_PACE_H

#include <stdint.h>

#include "lb4/probe/prober.h"

/* Up to so many servers are probed every `fast` while their services are without any; beyond, the
 * time between two probes grows with their number, up to the interval. Chosen: with the default
 * `fast` that is what 1,000 servers cost at the interval. Programs cost a process each. */
enum { PACE_FAST_MAX = 250, PACE_FAST_PROGRAMS = 16 };

/* Is it down while nobody else of its service takes clients, and would it take them if it were up?
 * Then clients have no server until a probe of one of these finds it well. */
bool pace_is_awaited(const struct probe *probe);

/* After the attempt had this outcome: when the next one begins, in ns of base/clock.h; `random` is
 * for its jitter.
 *
 * In general in the slot after the start of this one, which is at most an interval away, however
 * long this one lasted. One that began outside of the slots, as the first and those that clients
 * bring, so finds its own at once: servers that would wait for the slot after it would all come up
 * at the end of the interval. Sooner while its state is changing or not to be known, or while it is
 * awaited: then also in slots, as servers that went down together would be probed together. */
uint64_t pace_next(const struct prober *prober, const struct probe *probe,
                   enum health_outcome outcome, uint64_t random);

/* The last server of the service that was up is down: the next attempts of the others come sooner,
 * too. Those that are under way are left alone. */
void pace_hurry(struct prober *prober, const struct service *service, uint64_t now_ns);

#endif
