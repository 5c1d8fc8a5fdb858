/* Which servers the prober has an eye on: all at the start, and what a reload makes of them. A part
 * of the prober, split off for size; its thread alone, once it runs. */
#ifndef LB4_PROBE_ROSTER_H
#define LB4_PROBE_ROSTER_H

#include "lb4/probe/prober.h"
#include "lb4/shared/service_table.h"

/* Before the thread runs: a probe for each server of the table. Returns 0 or -ENOMEM;
 * roster_fini() is due in any case. */
int roster_init(struct prober *prober, struct service_table *services);
void roster_fini(struct prober *prober);

/* The thread begins: first probes are due. */
void roster_begin(struct prober *prober);

void roster_change(struct prober *prober, const struct prober_change *change);

/* Operators' wishes may be others than they were: who is in maintenance, or came out of it. */
void roster_obey(struct prober *prober);

#endif
