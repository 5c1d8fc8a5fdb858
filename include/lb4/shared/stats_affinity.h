/* Counters of choices for clients of a service with `affinity`, a part of shared/stats.h. */
#ifndef LB4_SHARED_STATS_AFFINITY_H
#define LB4_SHARED_STATS_AFFINITY_H

#include "lb4/shared/counter.h"

enum affinity_result {
    AFFINITY_KEPT,  /* the client went where it was before */
    AFFINITY_MOVED, /* it was known, and went to another server */
    AFFINITY_NEW,   /* it was not known, or so long ago that it does not count */
    AFFINITY_RESULTS,
    AFFINITY_NONE = AFFINITY_RESULTS /* nothing was chosen */
};

/* "kept", "moved", "new" */
const char *affinity_result_word(enum affinity_result result);

struct stats_affinity {
    stats_counter choices[AFFINITY_RESULTS]; /* a connection that asks several servers: each */
};

struct stats_affinity_sum {
    uint64_t choices[AFFINITY_RESULTS];
};

/* Add one worker's to the sum. */
void stats_add_affinity(const struct stats_affinity *from, struct stats_affinity_sum *sum);
void stats_carry_affinity(struct stats_affinity_sum *to, const struct stats_affinity_sum *from);

#endif
