/* The configuration as plain data: what the file or the flags said, defaults filled in. No
 * descriptors.
 *
 * conf/read.h builds it, conf/check.h proves it, control/names.h puts addresses in for names, then
 * it is frozen: passed as const, and runtime objects copy the few numbers they need, so that
 * nothing points back into it. */
#ifndef LB4_CONF_MODEL_H
#define LB4_CONF_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/access_rules.h"
#include "lb4/conf/bounds.h"
#include "lb4/conf/ends.h"
#include "lb4/conf/guard.h"
#include "lb4/conf/log_place.h"
#include "lb4/conf/policy.h"

struct conf_service {
    struct conf_place place;
    char name[CONF_NAME_MAX + 1];
    struct conf_listen *listens;
    size_t n_listens;
    struct conf_server *servers;
    size_t n_servers;
    struct conf_server *written; /* once names have addresses (control/names.h): the servers as the
                                    file has them, for those that have names; NULL = as `servers` */
    size_t n_written;
    uint64_t resolve_ms;         /* between look-ups of a name; CONF_RESOLVE_OFF; default 30 s */
    const struct origin *source; /* of servers that name none; the conf's own; NULL = none */
    enum conf_balance balance;
    struct conf_check check;
    struct conf_place check_place; /* of the kind of check, where one was written */
    uint32_t tries;                /* 1..CONF_TRIES_MAX, default 3 */
    enum conf_all_down all_down;
    uint64_t hold_ms;             /* CONF_ALL_DOWN_HOLD: a client waits so long at most */
    uint32_t hold_max;            /* ... and so many of them; default 1000 */
    struct conf_queue queue;      /* used where a server has a maxconn */
    struct conf_farewell on_down; /* of a server's connections when it goes down */
    struct conf_farewell on_up;   /* ... of those on others when a better one is back */
    struct conf_evict evict;
    uint64_t slow_start_ms; /* 0 = a server that is back has its full share at once */
    struct conf_udp udp;
    struct conf_timeouts timeouts;
    struct conf_guard guard; /* who is let in */
    struct conf_access access;
    struct conf_access_rules rules; /* who may come in */
    struct conf_affinity affinity;
};

/* What the listeners of the service take: enum conf_transport bits. */
static inline unsigned conf_transports(const struct conf_service *service)
{
    unsigned transports = 0;

    for (size_t i = 0; i < service->n_listens; i++)
        transports |= service->listens[i].transport;
    return transports;
}

/* Are the servers of the service probed? Without a `check` line: if the service listens on TCP, and
 * there are several (also if one has no address yet), or clients wait for one to return. With a
 * single one there is nothing to choose, and a probe could only do harm; no question is answered by
 * every UDP server. */
static inline bool conf_is_checked(const struct conf_service *service)
{
    if (service->check.kind == CONF_CHECK_AUTO)
        return (service->n_servers > 1 || service->n_written > 1 ||
                service->all_down == CONF_ALL_DOWN_HOLD) &&
               (conf_transports(service) & CONF_TCP);
    return service->check.kind != CONF_CHECK_NONE;
}

struct conf {
    uint32_t workers;  /* 1..CONF_WORKERS_MAX; 0 = auto: one for each CPU this process may use */
    bool io_uring;     /* false after "io-uring off": every send is a call (relay/outbox.h) */
    bool cpu_affinity; /* false after "cpu-affinity off": the scheduler chooses (control/cpus.h) */
    bool tunes_scheduling; /* false after "cpu-scheduling inherit" (worker/scheduling.h) */
    uint32_t maxconn;      /* live connections of the process; 0 = auto, from RLIMIT_NOFILE */
    uint32_t pipes;        /* most pipes of a worker, 0..CONF_PIPES_MAX */
    bool pipes_auto;       /* ... unless this is set (the default): then from the kernel's quota */
    bool splice;           /* false after --no-splice or "splice off": copy only */
    uint64_t drain_ms;     /* default 30 s */
    struct conf_timeouts defaults;          /* of services that say nothing else */
    struct conf_access default_access;      /* likewise */
    struct conf_access_rules default_rules; /* likewise */
    struct conf_prefix_list *lists;         /* files of networks, each once */
    uint64_t default_resolve_ms;            /* likewise */
    struct conf_affinity default_affinity;  /* likewise */
    struct conf_log log;
    char user[CONF_NAME_MAX + 1];  /* "" = stay who we are */
    char group[CONF_NAME_MAX + 1]; /* "" = the user's primary group */
    char admin[CONF_PATH_MAX + 6]; /* as written, "unix:/path", an absolute path; "" = none */
    struct addr http;              /* AF_UNSPEC = none */
    struct conf_place http_place;
    struct conf_service *services;
    size_t n_services;
    struct origin **origins; /* what services and servers point to */
    size_t n_origins;
    char **files; /* names of the files read, for conf_place; NULL-terminated */
};

#endif
