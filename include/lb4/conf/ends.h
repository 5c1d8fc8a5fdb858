/* The two ends of a service: where it listens, and the servers behind it. Plain data, part of
 * conf/model.h. */
#ifndef LB4_CONF_ENDS_H
#define LB4_CONF_ENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/origin.h"
#include "lb4/base/prefix.h"
#include "lb4/conf/bounds.h"
#include "lb4/conf/policy.h"

/* Where a word stood. `file` is owned by the struct conf, or is the constant "command line". */
struct conf_place {
    const char *file;
    uint32_t line;   /* from 1; the number of the argument for flags */
    uint32_t column; /* from 1, in bytes */
};

struct prefix_map;

/* What stands behind a listener's address. */
struct conf_listen_words {
    char interface[IF_NAMESIZE]; /* clients of it alone; "" = of any */
    bool is_v6only;              /* was written; addr is IPv6, and !is_any */
    uint32_t fastopen;           /* TCP_FASTOPEN, 0..CONF_FASTOPEN_MAX; 0 = off */
    uint32_t defer_s;            /* TCP_DEFER_ACCEPT, 0..CONF_DEFER_MAX_S; 0 = off */
    uint32_t mark;               /* SO_MARK; 0 = none */
    uint32_t mode;               /* of a Unix socket that is a file, 0..CONF_MODE_MAX; else 0 */
};

/* Where to listen. */
struct conf_listen {
    struct conf_place place;
    enum conf_transport transport;
    struct addr addr;   /* the first port of a range is in it */
    uint16_t last_port; /* the same as addr_port(&addr) for a single port, and for a Unix socket */
    bool is_any;        /* ":port": all addresses, IPv4 and IPv6; addr is then [::]:port */
    struct conf_listen_words words;
    struct prefix *proxies;          /* accept-proxy from: as written; the conf's own */
    size_t n_proxies;                /* 0 = clients come without a PROXY header */
    struct prefix_map *accept_proxy; /* these networks, for look-ups; NULL = none */
};

struct conf_server {
    struct conf_place place;
    char name[CONF_NAME_MAX + 1];
    struct addr addr;  /* port 0 = the port that the client asked for */
    char *host;        /* a name: only the port of addr counts; NULL: addr is all. The conf's own */
    bool is_srv;       /* `host` is the name of SRV records, which tell ports and weights */
    uint32_t of;       /* an address of a name: of written[of - 1]; 0 = it was written so */
    uint32_t weight;   /* 1..CONF_WEIGHT_MAX, default 1 */
    uint32_t priority; /* 1..CONF_PRIORITY_MAX, default 1; serves when none before it is up */
    uint32_t maxconn;  /* connections that it gets at once, 1..CONF_MAXCONN_MAX; 0 = no limit */
    uint8_t send_proxy;          /* version of the PROXY header that it gets: 1, 2; 0 = none */
    bool is_backup;              /* serves when no other server is up */
    const struct origin *origin; /* what its line says of it; the conf's own; NULL = nothing */
};

#endif
