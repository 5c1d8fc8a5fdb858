/* The choice of a server for one client, by the policy of the service. */
#ifndef LB4_SHARED_CHOOSE_H
#define LB4_SHARED_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/shared/service.h"

/* For whom a server is chosen. */
struct service_client {
    const struct addr *addr;      /* for `source`; the port does not count */
    const struct pick_set *tried; /* servers that are not to be chosen */
    uint32_t random;              /* evenly spread over all 32 bits, different from call to call */
};

/* Choose a server of the best rank (pick.h) that was not tried, by the policy of the service, and
 * take a place on it, full or not: the caller owes one place_give_back(). TCP clients are for
 * place_take() (place.h). NULL: no server is usable, or all
 * usable ones were tried. Thread: any worker. */
struct backend *service_choose(struct service *service, const struct service_client *client);

/* Does a UDP session leave a server of this standing, at its client's next datagram? Not for
 * another one that is down, too (all-down any). */
bool service_session_leaves(const struct service *service, uint32_t standing);

#endif
