/* Counters of one worker, a part of shared/stats.h. */
#ifndef LB4_SHARED_STATS_WORKER_H
#define LB4_SHARED_STATS_WORKER_H

#include "lb4/shared/counter.h"

struct stats_worker {
    stats_counter connections; /* served by this worker */
    stats_counter closed;
    stats_counter handed_over;  /* accepted here, served by another worker */
    stats_counter relayed_copy; /* bytes by recv and send */
    stats_counter relayed_splice;
    stats_counter dropped_bytes;  /* received, but their reader had gone */
    stats_counter splice_refused; /* directions that fell back to copy for good */
    stats_counter accept_pauses;  /* listener paused: maxconn, or no descriptors */
    stats_counter pipes_idle;     /* not counters: as the last turn left them */
    stats_counter pipes_lent;
};

#endif
