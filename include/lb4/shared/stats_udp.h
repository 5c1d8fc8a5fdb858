/* Counters of UDP, a part of shared/stats.h. */
#ifndef LB4_SHARED_STATS_UDP_H
#define LB4_SHARED_STATS_UDP_H

#include <stdint.h>

#include "lb4/shared/counter.h"

/* Why a datagram was dropped. */
enum udp_drop {
    UDP_DROP_LIMIT,     /* no room for a session: of the service, the worker, or the client's host;
                           or a limit of refusal.h */
    UDP_DROP_DENIED,    /* the client may not come in (refusal.h) */
    UDP_DROP_HEADER,    /* its PROXY header is missing or wrong */
    UDP_DROP_NO_SERVER, /* no server is usable */
    UDP_DROP_DRAIN,     /* of a new client while draining */
    UDP_DROP_LOOP,      /* its source is a listener of ours, or port 0 */
    UDP_DROP_TRUNCATED, /* longer than what can be received whole */
    UDP_DROP_FULL,      /* a send buffer was full */
    UDP_DROP_LARGE,     /* longer than any datagram of that socket may be, with its PROXY header */
    UDP_DROP_REFUSED,   /* every server refused it */
    UDP_DROP_ERROR,     /* any other error */
    UDP_DROP_KERNEL,    /* by the kernel, at a socket whose buffer was full */
    UDP_DROPS
};

/* "limit", "no_server" ... */
const char *udp_drop_word(enum udp_drop drop);

/* UDP of one service; sessions are not in stats_service.connections. */
struct stats_udp {
    stats_counter sessions; /* begun */
    stats_counter ended;
    stats_counter datagrams_in; /* from clients, received */
    stats_counter datagrams_out;
    stats_counter bytes_in;
    stats_counter bytes_out;
    stats_counter rebinds; /* sessions that went on to another server */
    stats_counter dropped[UDP_DROPS];
};

/* The same, summed over all workers. */
struct stats_udp_sum {
    uint64_t sessions;
    uint64_t active; /* sessions - ended, never negative */
    uint64_t datagrams_in;
    uint64_t datagrams_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t rebinds;
    uint64_t dropped[UDP_DROPS];
};

#endif
