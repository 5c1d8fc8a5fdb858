/* When connections are to leave a server: its own as it goes down (on-down), those of others as a
 * better one is back (on-up). The prober says so, control resets them (control/farewell.h). Part of
 * the prober's thread. */
#ifndef LB4_PROBE_PARTING_H
#define LB4_PROBE_PARTING_H

#include <stdint.h>

#include "lb4/probe/prober.h"

/* Its checks have taken it out: PICK_DOWN is set. */
void parting_down(struct prober *prober, const struct probe *probe, uint64_t now_ns);

/* It takes clients again: what is left of its connections stays. */
void parting_back(const struct probe *probe);

/* It is chosen again, and that for PICK_FRESH's time: those of lower tiers have done their part.
 * One that flaps has not come back for good. */
void parting_up(struct prober *prober, const struct probe *probe, uint64_t now_ns);

/* It takes no clients any more: those whom it was to relieve stay, unless another one does. */
void parting_away(const struct probe *probe);

/* After a reload: what it has taken the word from stays. */
void parting_review(const struct probe *probe);

#endif
