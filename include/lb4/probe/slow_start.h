/* `slow-start`: the part of its share that a server has which came back while others serve. It
 * grows in steps, here, as bits of the standing; what a part amounts to at a choice is in
 * shared/ramp.h. Part of the prober's thread. */
#ifndef LB4_PROBE_SLOW_START_H
#define LB4_PROBE_SLOW_START_H

#include <stdint.h>

#include "lb4/probe/prober.h"

/* It is about to take clients again, or for the first time. Nothing, if the service has no
 * slow-start, or nobody of its tier is there to serve meanwhile. */
void slow_start_begin(struct probe *probe, uint64_t now_ns);

/* ramp_ns has come: the next step, or the end. Under leastconn it has up to twice its fair part
 * after the last, until it holds as much as the others: it would be given all new clients
 * otherwise. */
void slow_start_step(struct probe *probe, uint64_t now_ns);

/* It is down, or gone. */
void slow_start_end(struct probe *probe);

#endif
