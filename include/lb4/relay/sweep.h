/* What an operator wants of all connections of a worker at once: a list of them, the end of those
 * on one server, or of the idlest ones of a server that has too many. One walk over what is live,
 * in one turn. Thread: the worker. */
#ifndef LB4_RELAY_SWEEP_H
#define LB4_RELAY_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
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
};

struct sweep_list {
    struct sweep_record *records;
    size_t cap;
    size_t n; /* may exceed cap: so many there were */
};

/* `udp` has had a listener, or is NULL. */
struct sweep_relays {
    struct tcp_relay *tcp;
    struct udp_relay *udp;
};

void sweep_list(const struct sweep_relays *relays, struct sweep_list *list);

/* Servers by their name: one that was removed may have connections beside its successor. */
struct sweep_target {
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1];
};

/* Reset the connections on these servers, and end their UDP sessions; reason admin. Returns how
 * many. */
size_t sweep_kill(const struct sweep_relays *relays, const struct sweep_target *target);

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
