/* What is wanted of all connections of a worker: a list of them or of the busiest, the end of those
 * on one server, or of the idlest ones of a server that has too many. One walk over what is live,
 * which may be made in pieces, so that traffic does not wait for it. Thread: the worker. */
#ifndef LB4_RELAY_SWEEP_H
#define LB4_RELAY_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/relay/largest.h"
#include "lb4/relay/path.h"
#include "lb4/relay/tcp.h"
#include "lb4/relay/udp.h"
#include "lb4/shared/capacity.h"

/* One connection or UDP session, with copies of names, as server and service may go. */
struct sweep_record {
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1]; /* "" = none yet */
    struct addr client;
    bool is_udp;
    const char *state; /* a constant word */
    uint64_t age_ns;
    uint64_t idle_ns; /* since a byte moved, to within the slack of its deadline */
    uint64_t bytes_in;
    uint64_t bytes_out;
    struct meter_rate rate; /* of the busiest only, and so are the paths */
    struct path to_client;
    struct path to_server;
    const struct conn *conn; /* the worker's own while it writes */
};

/* Servers by their name: one that was removed may have connections beside its successor. */
struct sweep_target {
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1];
};

enum sweep_at { SWEEP_BEGIN, SWEEP_TCP, SWEEP_UDP, SWEEP_END };

/* A worker's part of a list under construction. Who wants it sets `records`, `cap` and what is
 * wanted, and sees the rest when the worker has answered. */
struct sweep_list {
    struct sweep_record *records;
    size_t cap;
    size_t n_piece;          /* connections to look at in one call; 0 = all */
    uint64_t until_ns;       /* those that began later are left out; 0 = none is */
    struct largest *busiest; /* of cap: only so many, in any order; NULL = all, the oldest first */
    const struct sweep_target *only; /* of the busiest; "" = of any */
    enum sweep_at at;                /* SWEEP_END: it is whole */
    size_t n;                        /* may exceed cap: so many there were */
};

/* `udp` has had a listener, or is NULL. */
struct sweep_relays {
    struct tcp_relay *tcp;
    struct udp_relay *udp;
};

/* Write the next piece of it. A worker may be at one list at a time. */
void sweep_list(const struct sweep_relays *relays, struct sweep_list *list);

/* Whose connections are to be reset. UDP sessions end with them where the reason is admin: of a
 * server that is down they leave by themselves. */
struct sweep_victims {
    const struct sweep_target
        *target;                   /* ... unless `backend` says which one is meant, and that ... */
    const struct backend *backend; /* those who are connecting leave it for another one */
    enum close_reason reason;
};

/* A worker's part of it; who wants it sets the first three. */
struct sweep_kill {
    const struct sweep_victims *victims;
    size_t n_piece;    /* connections to look at in one call, an end counts as 16; 0 = all */
    uint64_t until_ns; /* those that began later are left alone; 0 = none is */
    enum sweep_at at;  /* SWEEP_END: it is done */
    size_t n_ended;
};

/* The next piece of it. A worker may be at one at a time, beside a list. */
void sweep_kill(const struct sweep_relays *relays, struct sweep_kill *kill);

/* Of the `n_active` connections on a server `places` says how many are to end, over all workers. */
struct sweep_excess {
    const struct backend *backend;
    uint32_t n_active;
    uint32_t n_wanted;
    struct capacity *places; /* of n_wanted */
};

/* Reset this worker's part of them, rounded up, the idlest first; never more than there are places.
 * UDP sessions are left alone. Returns how many. */
size_t sweep_shed(const struct sweep_relays *relays, const struct sweep_excess *excess);

#endif
