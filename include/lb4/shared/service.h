/* A service at run time: its servers, its policy and its limits, shared by all threads.
 *
 * Built by the control thread from the configuration before the threads start, and constant
 * afterwards but for the servers' slots, notes and weights, and the round robin ticket. */
#ifndef LB4_SHARED_SERVICE_H
#define LB4_SHARED_SERVICE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/shared/backend.h"
#include "lb4/shared/capacity.h"
#include "lb4/shared/maglev.h"
#include "lb4/shared/pick.h"

/* How the servers are probed; for the prober. */
struct service_check {
    bool is_probed;
    enum conf_check_kind kind;
    uint8_t *send; /* of a dialogue by datagrams: the service's copies, NULL without one */
    uint8_t *expect;
    size_t n_send;
    size_t n_expect;
    uint32_t fall;
    uint32_t rise;
    uint64_t interval_ns;
    uint64_t timeout_ns;
    uint64_t fast_ns;
    uint16_t port;         /* 0 = the server's own */
    uint16_t default_port; /* of servers that have none: the first that clients may ask for */
};

struct service {
    /* Every worker draws from it for round robin. */
    alignas(64) _Atomic uint64_t ticket;

    /* The largest weight of a server of this service: nobody idle can be loaded less. Written by
     * control. */
    alignas(64) _Atomic uint32_t most_weight;

    /* Constant. */
    struct backend *backends;
    struct backend_slot *slots; /* one for each backend, in the same order */
    size_t n_backends;
    uint16_t *sequence; /* of round robin and random; NULL for other policies */
    size_t n_sequence;
    struct maglev maglev; /* of source; empty for other policies */
    enum conf_balance balance;
    uint32_t index; /* in stats_block.services and in the workers' timeouts */
    uint32_t tries; /* servers that may time out on one client */
    uint64_t connect_ns;
    uint64_t idle_ns;
    uint64_t half_close_ns;
    uint64_t udp_ns;
    unsigned transports; /* that it listens on: enum conf_transport bits */
    struct conf_udp udp;
    struct capacity udp_sessions; /* of this service, over all workers */
    struct service_check check;
    char name[CONF_NAME_MAX + 1];
};

/* All services of the configuration; one allocation each, indices in order. */
struct service_table {
    struct service *services;
    size_t n_services;
    size_t n_backends; /* over all services */
};

/* For whom a server is chosen. */
struct service_client {
    const struct addr *addr;      /* for `source`; the port does not count */
    const struct pick_set *tried; /* servers that are not to be chosen */
    uint32_t random;              /* evenly spread over all 32 bits, different from call to call */
};

/* Returns 0 or -ENOMEM. */
int service_table_init(struct service_table *table, const struct conf *conf);
void service_table_fini(struct service_table *table);

/* Give a server of this service another weight, 1..CONF_WEIGHT_MAX. Returns 0, or -ENOTSUP: the
 * policy has tables that follow from the weights. Thread: control. */
int service_set_weight(struct service *service, struct backend *backend, uint32_t weight);

/* Choose a server of the best rank (pick.h) that was not tried, by the policy of the service, and
 * take a place on it: the caller owes one backend_release(). NULL: no server is usable, or all
 * usable ones were tried. Thread: any worker. */
struct backend *service_choose(struct service *service, const struct service_client *client);

#endif
