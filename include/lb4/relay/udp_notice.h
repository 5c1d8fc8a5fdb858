/* What the log says of datagrams that were dropped because the PROXY header of their server made
 * them too long, which whoever reads the log can mend: at most a line a second for each service and
 * worker, with a count of the others. All are counted in the statistics besides (drop_large).
 * Thread: the worker. */
#ifndef LB4_RELAY_UDP_NOTICE_H
#define LB4_RELAY_UDP_NOTICE_H

#include <stdint.h>

#include "lb4/base/addr.h"

/* All zero at first. */
struct udp_notice {
    uint64_t next_ns; /* nothing is said before */
    uint64_t n_unsaid;
};

/* One more, or several. */
struct udp_large {
    const char *service;
    const char *server;
    const struct addr *client;
    uint64_t n;
};

void udp_notice_large(struct udp_notice *notice, const struct udp_large *large, uint64_t now_ns);

#endif
