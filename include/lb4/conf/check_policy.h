/* How the servers of a service are probed, as the configuration says. Plain data, part of
 * conf/model.h. */
#ifndef LB4_CONF_CHECK_POLICY_H
#define LB4_CONF_CHECK_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum conf_check_kind {
    CONF_CHECK_AUTO, /* nothing was written: conf_is_checked() */
    CONF_CHECK_NONE,
    CONF_CHECK_TCP,  /* a connect that succeeds */
    CONF_CHECK_HTTP, /* a GET, and a status in a range */
    CONF_CHECK_SEND, /* a text, and an answer in which something is found; a datagram in services
                        that listen on UDP only, else over TCP */
    CONF_CHECK_REDIS,
    CONF_CHECK_POSTGRES,
    CONF_CHECK_MYSQL,
    CONF_CHECK_DNS, /* a query for a name, and any answer to it; over UDP where the service listens
                       on UDP, else over TCP */
    CONF_CHECK_EXEC /* a program that exits with 0 */
};

/* What a server must be; CONF_CHECK_REDIS. */
enum conf_role { CONF_ROLE_ANY, CONF_ROLE_MASTER, CONF_ROLE_REPLICA };

enum {
    CONF_STATUS_MIN = 100, /* of HTTP */
    CONF_STATUS_MAX = 599,
    CONF_JITTER_MAX = 50 /* percent of the interval; chosen: beyond, probes would meet */
};

/* How the servers of a service are probed. */
struct conf_check {
    enum conf_check_kind kind;
    uint64_t interval_ms; /* from one probe to the next; default 2 s */
    uint64_t timeout_ms;  /* of one probe; default 1 s */
    uint64_t fast_ms; /* while a state is changing; 1..interval_ms, default interval / 4, at least
                         100 ms, at most the interval */
    uint32_t fall;    /* failures in a row until down, 1..CONF_COUNT_MAX, default 3 */
    uint32_t rise;    /* successes in a row until up, 1..CONF_COUNT_MAX, default 2 */
    uint16_t port;    /* 0 = the server's own */
    char *send;       /* CONF_CHECK_SEND: what is sent; _DNS: the name; _HTTP, _EXEC: the path;
                         _POSTGRES, _MYSQL: the user, or NULL. Owned by the conf, as the other texts */
    char *expect;     /* CONF_CHECK_SEND: what an answer must contain, or a regular expression */
    size_t n_send;    /* bytes; either may hold NULs, not so a regular expression */
    size_t n_expect;
    bool is_regex;
    char *host;          /* CONF_CHECK_HTTP: for the header Host; NULL = the server's address */
    uint16_t status_min; /* CONF_CHECK_HTTP: CONF_STATUS_MIN..CONF_STATUS_MAX, default 200..399 */
    uint16_t status_max;
    enum conf_role role;
    bool has_jitter;     /* else 1/32 of the interval */
    uint32_t jitter;     /* percent of the interval, 0..CONF_JITTER_MAX */
    struct addr address; /* is probed in the server's place; AF_UNSPEC = the server's own */
    struct addr source;  /* what probes come from; AF_UNSPEC = as the kernel likes */
};

#endif
