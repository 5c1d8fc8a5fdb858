/* The prober has said that a server's connections are to leave (shared/backend_write.h): `on-down`,
 * as it went down, or `on-up`, as a better one is back. When their time has come they are reset, to
 * both sides, by a sweep over all workers; one server after the other. Thread: control. */
#ifndef LB4_CONTROL_FAREWELL_H
#define LB4_CONTROL_FAREWELL_H

#include <stdint.h>

#include "lb4/control/sweeper.h"
#include "lb4/shared/service_table.h"

struct farewell {
    struct runtime *runtime;
    struct sweeper sweeper;  /* its own; `other` is the operators' */
    uint64_t n_told;         /* of service_table.n_farewells */
    uint64_t due_ns;         /* the next look; UINT64_MAX = when the prober tells of one */
    long sweep;              /* under way; 0 = none */
    struct service *service; /* ... of this server */
    struct backend *backend;
    uint64_t word; /* what the prober had said */
};

void farewell_init(struct farewell *farewell, struct runtime *runtime,
                   const struct sweeper *operators);
void farewell_fini(struct farewell *farewell); /* all threads have ended */

/* Once a turn. */
void farewell_step(struct farewell *farewell, uint64_t now_ns);
uint64_t farewell_due_ns(const struct farewell *farewell);

#endif
