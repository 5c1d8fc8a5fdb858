/* How often the prober wakes. Waking up costs as much as some system calls, and more the quieter
 * the machine is; with hundreds of servers each answer and each FIN would wake it once. So it has
 * NAP_FREE wake-ups on hand and gets a new one every gap: who is quick with few servers stays so.
 * When they are used up it naps for what is left of the gap, and finds together what has come
 * meanwhile. Pure; of the prober's thread. */
#ifndef LB4_PROBE_NAP_H
#define LB4_PROBE_NAP_H

#include <stdint.h>

enum { NAP_FREE = 16 }; /* chosen: a round of probes of five servers */

struct nap {
    uint64_t gap_ns;  /* from wake-up to wake-up in the long run */
    uint64_t paid_ns; /* all wake-ups until now would have their gap by then */
};

/* The gap is the longest there may be, 16 ms: the grain of schedule.h. */
void nap_init(struct nap *nap);

/* A check of these times is probed from now on. The gap becomes no more than 1/128 of the interval,
 * and 1/64 of the timeout, as naps are a part of the time that each answer takes. */
void nap_heed(struct nap *nap, uint64_t interval_ns, uint64_t timeout_ns);

/* It is about to wait, and will wake up: how long it must not look before, 0..gap_ns. */
uint64_t nap_take(struct nap *nap, uint64_t now_ns);

#endif
