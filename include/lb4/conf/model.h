/* The configuration as plain data: what the file or the flags said, defaults filled in. No
 * functions, no descriptors.
 *
 * conf/read.h builds it, conf/check.h proves it, then it is frozen: passed as const, and runtime
 * objects copy the few numbers they need, so that nothing points back into it. */
#ifndef LB4_CONF_MODEL_H
#define LB4_CONF_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum {
    CONF_NAME_MAX = 64,     /* bytes of a name, without the NUL: [A-Za-z0-9._-]{1,64} */
    CONF_WORKERS_MAX = 256, /* threads */
    CONF_WEIGHT_MAX = 256,  /* of a server */
    CONF_TRIES_MAX = 100,   /* servers tried for one client when connects time out */
    CONF_SERVERS_MAX =
        4096, /* of one service; chosen: the roundrobin sequence stays below 2^20 entries */
    CONF_SERVICES_MAX = 4096,    /* chosen */
    CONF_LISTENS_MAX = 1024,     /* listen lines of one service; chosen */
    CONF_MAXCONN_MAX = 10000000, /* chosen: beyond any RLIMIT_NOFILE (fs.nr_open) in use */
    CONF_PIPES_MAX = 4096,       /* pipes of one worker; chosen */
    CONF_PATH_MAX = 107,         /* bytes of a Unix socket's path, unix(7) */
    CONF_HOST_MAX = 253          /* bytes of a host name, RFC 1035 */
};

static const uint64_t CONF_DURATION_MAX_MS = 365ull * 24 * 3600 * 1000;

/* Where a word stood. `file` is owned by the struct conf, or is the constant "command line". */
struct conf_place {
    const char *file;
    uint32_t line;   /* from 1; the number of the argument for flags */
    uint32_t column; /* from 1, in bytes */
};

enum conf_balance { CONF_BALANCE_LEASTCONN, CONF_BALANCE_ROUNDROBIN };

struct conf_timeouts {      /* milliseconds, 1..CONF_DURATION_MAX_MS */
    uint64_t connect_ms;    /* default 3 s */
    uint64_t idle_ms;       /* default 1 h */
    uint64_t half_close_ms; /* default 60 s */
    uint64_t udp_ms;        /* default 60 s */
};

/* Where to listen. */
struct conf_listen {
    struct conf_place place;
    struct addr addr;   /* the first port of a range is in it */
    uint16_t last_port; /* the same as addr_port(&addr) for a single port */
    bool is_any;        /* ":port": all addresses, IPv4 and IPv6; addr is then [::]:port */
};

struct conf_server {
    struct conf_place place;
    char name[CONF_NAME_MAX + 1];
    struct addr addr; /* port 0 = the port that the client asked for */
    uint32_t weight;  /* 1..CONF_WEIGHT_MAX, default 1 */
};

struct conf_service {
    struct conf_place place;
    char name[CONF_NAME_MAX + 1];
    struct conf_listen *listens;
    size_t n_listens;
    struct conf_server *servers;
    size_t n_servers;
    enum conf_balance balance;
    bool check_none; /* "check none" was written; without it several servers would be probed */
    uint32_t tries;  /* 1..CONF_TRIES_MAX, default 3 */
    struct conf_timeouts timeouts;
};

struct conf {
    uint32_t
        workers; /* 1..CONF_WORKERS_MAX; 0 = auto, one thread for each CPU this process may use */
    uint32_t maxconn;  /* live connections of the process; 0 = auto, from RLIMIT_NOFILE */
    uint32_t pipes;    /* most pipes of a worker, 0..CONF_PIPES_MAX */
    bool pipes_auto;   /* ... unless this is set (the default): then from the kernel's quota */
    bool splice;       /* false after --no-splice or "splice off": copy only */
    uint64_t drain_ms; /* default 30 s */
    struct conf_timeouts defaults; /* of services that say nothing else */
    char user[CONF_NAME_MAX + 1];  /* "" = stay who we are */
    char group[CONF_NAME_MAX + 1]; /* "" = the user's primary group */
    char admin[CONF_PATH_MAX +
               6]; /* as written, "unix:/path" or ""; accepted, used by a later part */
    char http[CONF_HOST_MAX + 8]; /* as written, "127.0.0.1:9404" or "" */
    struct conf_service *services;
    size_t n_services;
    char **files; /* names of the files read, for conf_place; NULL-terminated */
};

#endif
