/* Counters of clients that waited for a server, a part of shared/stats.h. Each that began to wait
 * ends in one way; those that wait now are the difference. */
#ifndef LB4_SHARED_STATS_WAITING_H
#define LB4_SHARED_STATS_WAITING_H

#include <stddef.h>

#include "lb4/shared/counter.h"

enum waiting_end {
    WAITING_SERVED,      /* a server was found; its connect may fail still */
    WAITING_GAVE_UP,     /* the client left */
    WAITING_TIMED_OUT,   /* all-down hold, queue timeout */
    WAITING_TURNED_AWAY, /* by us: nothing to wait for any more, drain, stop */
    WAITING_ENDS
};

/* "served", "gave_up", "timed_out", "turned_away" */
const char *waiting_end_word(enum waiting_end end);

struct stats_waiting {
    stats_counter begun;
    stats_counter ended[WAITING_ENDS];
    stats_counter refused; /* would have begun, but may not: so many wait already */
};

struct stats_waiting_sum {
    uint64_t begun;
    uint64_t active;
    uint64_t ended[WAITING_ENDS];
    uint64_t refused;
};

/* Add one worker's to the sum. */
void stats_add_waiting(const struct stats_waiting *from, struct stats_waiting_sum *sum);
void stats_carry_waiting(struct stats_waiting_sum *to, const struct stats_waiting_sum *from);

#endif
