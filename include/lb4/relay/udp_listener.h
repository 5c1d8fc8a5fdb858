/* A UDP listener of one worker, as the relay sees it. */
#ifndef LB4_RELAY_UDP_LISTENER_H
#define LB4_RELAY_UDP_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"
#include "lb4/shared/service.h"

struct prefix_map;

/* One listening socket of one worker, which opens it, fills in the first part, leaves the rest
 * zero, and closes it only when no session of the relay is left: answers leave by it. */
struct udp_listener {
    struct source source; /* SOURCE_UDP_LISTENER */
    struct service *service;
    struct addr at;                        /* that it is bound to, with the port */
    bool is_wildcard;                      /* asked addresses come with the datagrams */
    const struct prefix_map *accept_proxy; /* balancers before us, whose datagrams name the
                                               client; NULL: the clients themselves send */
    bool is_dual_stack;
    bool is_leaving; /* not in the configuration any more: no new sessions, but those of its heir */
    const struct udp_listener *heir; /* leaving: who has its port now, for what the kernel brings to
                                        the old socket as long as that is there; or NULL */

    /* The relay's. */
    struct deadline look; /* at what the kernel dropped */
    bool is_looking;      /* the deadline runs */
    uint32_t n_drops;     /* of the kernel, counted so far */
};

#endif
