/* What a service may say beside its addresses: how servers are chosen, what happens when they go
 * down, its timeouts, and its UDP words. Plain data, part of conf/model.h. */
#ifndef LB4_CONF_POLICY_H
#define LB4_CONF_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/check_policy.h"

enum conf_balance {
    CONF_BALANCE_LEASTCONN,
    CONF_BALANCE_ROUNDROBIN,
    CONF_BALANCE_SOURCE,
    CONF_BALANCE_RANDOM
};

/* What clients find when no server of the service is usable. */
enum conf_all_down {
    CONF_ALL_DOWN_REFUSE, /* a reset */
    CONF_ALL_DOWN_ANY,    /* those that are down are tried, in the order of their ranks */
    CONF_ALL_DOWN_HOLD    /* they wait: conf_service.hold_ms, hold_max */
};

/* What becomes of the connections that a server has when another state begins. */
enum conf_farewell_kind { CONF_FAREWELL_KEEP, CONF_FAREWELL_RESET, CONF_FAREWELL_DRAIN };

struct conf_farewell {
    enum conf_farewell_kind kind;
    uint64_t drain_ms; /* CONF_FAREWELL_DRAIN: what is left then is reset */
};

/* A server that so many clients could not reach within a time is taken for down. */
struct conf_evict {
    uint32_t n_failures; /* 1..CONF_EVICT_MAX; 0 = never */
    uint64_t within_ms;
    uint64_t for_ms; /* default 30 s */
};

/* Clients that wait for a place on a server, as all have as many connections as they may. */
struct conf_queue {
    bool is_given;
    uint32_t max;        /* so many of them, 0..CONF_MAXCONN_MAX; default 1000 */
    uint64_t timeout_ms; /* each so long at most; default 5 s */
};

struct conf_timeouts {      /* milliseconds, 1..CONF_DURATION_MAX_MS */
    uint64_t connect_ms;    /* default 3 s */
    uint64_t idle_ms;       /* default 1 h */
    uint64_t half_close_ms; /* default 60 s */
    uint64_t udp_ms;        /* default 60 s */
};

enum conf_access_state { CONF_ACCESS_UNSET, CONF_ACCESS_OFF, CONF_ACCESS_ON };

/* A line of the log for each connection and UDP session of a service. */
struct conf_access {
    enum conf_access_state state; /* default off; once checked, never unset */
    uint64_t interval_ms; /* on: one also each time so much has passed; 0 = only at the end */
};

enum conf_affinity_state { CONF_AFFINITY_UNSET, CONF_AFFINITY_OFF, CONF_AFFINITY_ON };

/* A client's next connection goes where its last one went. */
struct conf_affinity {
    enum conf_affinity_state state; /* unset = off */
    uint64_t ms;                    /* on: for so long after that began; else 0 */
    uint32_t prefix4;               /* 1..32, default 32: so many bits tell a client */
    uint32_t prefix6;               /* 1..128, default 128 */
};

/* Bits, so that "both" is both. */
enum conf_transport { CONF_TCP = 1, CONF_UDP = 2, CONF_TCP_AND_UDP = CONF_TCP | CONF_UDP };

enum { CONF_UDP_ANY_RESPONSES = UINT32_MAX };

struct conf_udp {
    bool keeps_on_down;    /* "udp-on-down keep": a session stays on a server that is down */
    bool has_responses;    /* "udp-responses" was written */
    uint32_t responses;    /* a session ends after so many answers; 0 = one-way, none is expected;
                              CONF_UDP_ANY_RESPONSES (the default) = as many as come */
    uint32_t max_sessions; /* of the service, over all workers; 0 = no limit of its own */
};

#endif
