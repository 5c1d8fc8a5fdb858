/* What the next choice for a client would be, and what speaks for and against each server: the code
 * that chooses (shared/choice.h), run on copies. No place is taken and no ticket drawn.
 *
 * It is right for the state that it has read. Workers go on meanwhile: before the client comes
 * others may, and take turns and places. */
#ifndef LB4_SHARED_FORESEE_H
#define LB4_SHARED_FORESEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/shared/affinity.h"
#include "lb4/shared/service.h"

/* One server, by its place in the service. */
struct foreseen {
    uint32_t standing; /* enum pick_standing */
    uint32_t active;
    uint32_t rank; /* pick_rank() of a choice that spares nobody */
    double odds;   /* 0..1 that the choice takes it; 0 = it cannot be, above 0.9999 = it must be */
    uint32_t
        turns; /* how often it stands in the sequence of roundrobin or random; 0 under others */
    uint32_t queue; /* source: 1 = the client's own place is its, 2 = the first one behind it ...;
                       roundrobin: the next turn is its, 2 ... 0 = of no meaning */
};

struct foresight {
    const struct service_plan *plan; /* for the rest of the caller's turn */
    struct foreseen *servers;        /* n places; malloc */
    size_t n;
    uint32_t best_rank;            /* of all */
    bool has_ramps;                /* some may have less than their share: shared/ramp.h */
    uint32_t n_likely;             /* servers with odds above 0 */
    bool is_full;                  /* a TCP client's servers have no place for it */
    struct affinity_view affinity; /* if it holds the client, nobody else has odds */
};

/* 4,096 servers take about a millisecond. Returns 0 or -ENOMEM. Thread: control. */
int service_foresee(struct service *service, const struct addr *client, struct foresight *ret);
void foresight_fini(struct foresight *foresight);

#endif
