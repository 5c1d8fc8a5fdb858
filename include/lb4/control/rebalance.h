/* After a server has come back, long connections stay where they are: on the others. A rebalance
 * ends the excess of a service's overloaded servers, gradually over a time and the idlest first, so
 * that their clients connect anew and the server that returned gets its share. Only when an
 * operator asks. One service at a time. Thread: control. */
#ifndef LB4_CONTROL_REBALANCE_H
#define LB4_CONTROL_REBALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/runtime.h"
#include "lb4/control/sweeper.h"

struct rebalance {
    struct runtime *runtime;
    struct sweeper *sweeper;
    bool is_on;
    char service[CONF_NAME_MAX + 1];
    uint64_t over_ns;
    uint64_t until_ns;
    uint64_t due_ns;  /* of the next step */
    long sweep;       /* under way; 0 = none */
    uint32_t n_began; /* connections of usable servers at the begin */
    uint32_t n_first; /* the excess then */
    size_t n_most;    /* to end, of clients who come back to the same servers again and again */
    size_t n_ended;
    struct sweep_excess *excess; /* of that sweep */
    struct capacity *places;
    size_t n_excess;
};

void rebalance_init(struct rebalance *rebalance, struct runtime *runtime, struct sweeper *sweeper);
void rebalance_fini(struct rebalance *rebalance); /* all threads have ended */

/* How many connections usable servers of the service have beyond their share by weight. */
uint32_t rebalance_excess(const struct service *service);

/* Begin; over_ns is 1 ms or more. false: one is under way. */
bool rebalance_start(struct rebalance *rebalance, const struct service *service, uint64_t over_ns,
                     uint64_t now_ns);

/* Once a turn of control. `may_begin`: not on the way out, when clients could not come back. */
void rebalance_step(struct rebalance *rebalance, uint64_t now_ns, bool may_begin);
uint64_t rebalance_due_ns(const struct rebalance *rebalance); /* UINT64_MAX: it is off, or waits for
                                                                  answers */

#endif
