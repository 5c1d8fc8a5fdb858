/* What a reload can change of a service: its policy, its limits, how its servers are probed. A plan
 * is built by control, and never written once other threads can see it (shared/service.h). */
#ifndef LB4_SHARED_PLAN_H
#define LB4_SHARED_PLAN_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/prefix_map.h"
#include "lb4/conf/model.h"
#include "lb4/shared/backend.h"
#include "lb4/shared/guard.h"
#include "lb4/shared/maglev.h"
#include "lb4/shared/origins.h"

/* How the servers are probed; for the prober. Constant; outlives the plans that point to it. */
struct service_check {
    bool is_probed;
    enum conf_check_kind kind;
    bool is_udp;   /* the kind speaks UDP to this service's servers */
    uint8_t *send; /* see struct conf_check; the service's copies, NULL without one */
    uint8_t *expect;
    size_t n_send;
    size_t n_expect;
    regex_t *regex; /* `expect`, compiled; NULL if it is a plain text */
    uint8_t *host;
    size_t n_host;
    uint16_t status_min;
    uint16_t status_max;
    enum conf_role role;
    uint32_t fall;
    uint32_t rise;
    uint64_t interval_ns;
    uint64_t timeout_ns;
    uint64_t fast_ns;
    uint64_t jitter_ns;
    struct addr address;   /* AF_UNSPEC = the server's own */
    struct addr source;    /* AF_UNSPEC = any */
    uint16_t port;         /* 0 = the server's own */
    uint16_t default_port; /* of servers that have none: the first that clients may ask for */
};

/* `affinity source`, see shared/affinity.h. */
struct service_affinity {
    uint64_t lasts_ns; /* 0 = off */
    uint32_t prefix4;  /* bits of an address that tell one client from another */
    uint32_t prefix6;
};

struct service_plan {
    size_t n_backends;    /* places below may be taken; the others are PICK_GONE */
    uint32_t most_weight; /* of a server of this service: nobody idle can be loaded less */
    uint16_t *sequence;   /* of round robin and random: places; NULL for other policies */
    size_t n_sequence;
    struct maglev maglev; /* of source: places; empty for other policies */
    struct origins origins;
    enum conf_balance balance;
    uint32_t tries; /* servers that may time out on one client */
    uint64_t connect_ns;
    uint64_t idle_ns;
    uint64_t half_close_ns;
    uint64_t udp_ns;
    unsigned transports; /* that it listens on: enum conf_transport bits */
    struct conf_udp udp;
    enum conf_all_down all_down;
    uint64_t hold_ns;  /* CONF_ALL_DOWN_HOLD */
    uint32_t hold_max; /* the same */
    bool has_limits;   /* a server has a maxconn */
    uint64_t queue_ns; /* then clients wait so long for a place at most */
    uint32_t queue_max;
    struct conf_farewell on_down;
    struct conf_farewell on_up;
    struct conf_evict evict;
    uint64_t slow_start_ns;    /* 0 = none */
    bool logs_access;          /* a line for each connection and session at its end */
    uint64_t access_ns;        /* ... and each time so much has passed; 0 = not */
    struct prefix_map *access; /* who may come in; NULL = everybody. The plan is a user of it */
    enum conf_refuse refuse;
    struct guard_plan guard;
    struct service_affinity affinity;
    uint32_t *serials; /* of the servers in n_backends places, where affinity is on */
    struct service_check *check;
};

/* One server of a plan. */
struct service_seat {
    struct backend *backend;
    uint32_t maxconn;            /* 0 = no limit */
    uint32_t weight;             /* that is to count */
    uint32_t conf_weight;        /* what the configuration says */
    uint32_t wish;               /* of one that is added: PICK_DRAIN, PICK_MAINT */
    uint8_t send_proxy;          /* see struct backend */
    uint32_t tier;               /* PICK_TIER_MASK: its priority, PICK_BACKUP */
    const struct origin *origin; /* its own, or NULL; and of the service. Used by plan_new() */
    const struct origin *source;
};

/* A plan like `model`, but for these servers, with the tables of its policy; it looks at as many
 * places as `model` at least. NULL: no memory. */
struct service_plan *plan_new(const struct service_plan *model, const struct service_seat *seats,
                              size_t n_seats);
/* Not the check. NULL is fine. */
void plan_free(struct service_plan *plan);

/* What `from` says but for its servers; without a check. */
struct service_plan plan_model(const struct conf_service *from);

/* NULL: no memory. */
struct service_check *check_new(const struct conf_service *from);
void check_free(struct service_check *check);
bool check_equal(const struct service_check *a, const struct service_check *b);

#endif
