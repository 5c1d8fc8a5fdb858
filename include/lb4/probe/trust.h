/* What clients' trouble with a server, and their success, make of it: suspects, which are chosen
 * last. Part of the prober's thread. */
#ifndef LB4_PROBE_TRUST_H
#define LB4_PROBE_TRUST_H

#include <stdint.h>

#include "lb4/probe/prober.h"

/* A client met trouble with it. Where nothing is probed it is chosen last until a client has
 * reached it, which from time to time one may try. */
void trust_suspect(struct probe *probe, uint64_t now_ns);

/* The probe that a client's trouble had brought has succeeded. */
void trust_acquit(struct probe *probe, uint64_t now_ns);

/* A server that came back gets every second choice at most so long (PICK_FRESH), and is taken for
 * one that has come back for good; chosen: until its connections show in the load. */
static const uint64_t TRUST_FRESH_NS = 2 * 1000000000ull;

/* unmark_ns has come: PICK_FRESH ends, and with it what `on-up` waits for; and a suspect that is
 * spared is offered to one client (PICK_TRIAL). Sets unmark_ns anew. */
void trust_unmark(struct prober *prober, struct probe *probe, uint64_t now_ns);

/* A client's connect to a suspect has succeeded (PICK_PROVEN). */
void trust_prove(struct probe *probe, uint64_t now_ns);

#endif
