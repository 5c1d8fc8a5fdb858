/* What a reload has left out ends by itself: servers when their last connection has ended, services
 * when their last server is gone. Then their places, counters and memory are free again.
 *
 *    idle --some without connections--> asked --answered--> chosen --answered--> freed
 *
 * The first grace makes sure that nobody can take a new place on them; the second, in which the
 * prober forgets them, that nobody speaks of them any more. Not while a change is under way.
 * Thread: control. */
#ifndef LB4_CONTROL_RETIRE_H
#define LB4_CONTROL_RETIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/runtime.h"

enum retire_phase { RETIRE_IDLE, RETIRE_ASKED, RETIRE_CHOSEN };

struct retire {
    enum retire_phase phase;
    uint64_t asked;  /* of the grace that it waits for */
    uint64_t due_ns; /* of the next look; UINT64_MAX = nothing is gone */
    struct backend **backends;
    struct service **of; /* the service of each */
    size_t n_backends;
    struct service **services;
    size_t n_services;
    struct prober_change for_prober;
};

void retire_init(struct retire *retire);
void retire_fini(struct retire *retire); /* all threads have ended */

/* A change is over: look soon. */
void retire_wake(struct retire *retire, uint64_t now_ns);

/* It is under way: a change has to wait. */
bool retire_is_busy(const struct retire *retire);

/* Once a turn of control, while no change is under way. */
void retire_step(struct retire *retire, struct runtime *runtime, uint64_t now_ns);

#endif
