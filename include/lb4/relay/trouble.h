/* A connect to a server that failed for a reason of our own: it is counted by its cause, and at a
 * bounded rate a line of the log says what can be done. Thread: the worker. */
#ifndef LB4_RELAY_TROUBLE_H
#define LB4_RELAY_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/origin.h"
#include "lb4/shared/service.h"
#include "lb4/shared/stats.h"

struct trouble {
    const struct addr *to;
    const struct origin *origin; /* NULL: as the kernel likes */
    enum origin_step step;
    int error;     /* errno, of either sign */
    bool is_known; /* by trouble_lasts() */
};

/* A search that finds no port goes through all of them: 15 ms of 28,000 (measured), which no other
 * client of this worker is to wait for all the time. */
static const uint64_t TROUBLE_LASTS_NS = 100 * 1000000ull; /* chosen */

/* Has this worker found no port towards the server a moment ago? Then it does not look again. */
bool trouble_lasts(const struct stats_server *server, struct trouble *trouble, uint64_t now_ns);

/* Of an error that sock_connect_error_is_local() is true for; of others nothing is done. */
void trouble_note(struct stats_service *stats, struct stats_server *server, struct service *service,
                  const struct trouble *trouble, uint64_t now_ns);

#endif
