/* What there is to say about the process, its services and its servers at this moment, as plain
 * data: counters summed, flags in words. The one place of control/ where operators' commands read
 * run-time objects.
 *
 * Reads what other threads write, while they write it. Thread: control. */
#ifndef LB4_CONTROL_SNAPSHOT_H
#define LB4_CONTROL_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/control/limits.h"
#include "lb4/probe/prober.h"
#include "lb4/shared/history.h"
#include "lb4/shared/note.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/shared/stats.h"
#include "lb4/worker/worker.h"

struct rebalance;
struct reload;
struct sweeper;

/* Where everything is, and what only the lifecycle knows. */
struct snapshot_from {
    const struct conf *conf; /* the effective one */
    const char *config_name;
    struct service_table *services;
    const struct worker_group *group;
    struct prober *prober;
    const struct limits_budget *budget;
    struct reload *reload; /* of these four NULL in tests that need none */
    struct sweeper *sweeper;
    struct rebalance *rebalance;
    struct history *wishes; /* operators' changes of state; control writes it */
    uint64_t started_ns;
    const char *state; /* "starting", "running", "draining", "stopping" */
    bool is_ready;     /* neither starting nor on the way out */
};

enum {
    SNAPSHOT_LISTENERS_MAX = 1024, /* bytes; a longer list ends in "..." */
    SNAPSHOT_WHY_MAX = 3 * NOTE_TEXT_MAX
};

struct snapshot_service {
    const char *name;
    char listeners[SNAPSHOT_LISTENERS_MAX]; /* "tcp/:53,udp/:53" */
    const char *policy;
    size_t n_servers;
    size_t n_usable; /* that take new clients now */
    uint64_t closed; /* sum of stats.closed */
    struct stats_service_sum stats;
};

struct snapshot_server {
    const char *service;
    const char *name;
    char addr[ADDR_TEXT_MAX];
    const char *state;  /* one word, see snapshot_state() */
    const char *health; /* the same without the operator's wish */
    uint64_t since_s;   /* how long it has been so */
    char why[SNAPSHOT_WHY_MAX];
    uint32_t weight;
    uint32_t priority; /* 1.. */
    bool is_backup;
    uint32_t active;  /* connections and UDP sessions */
    uint32_t maxconn; /* of them at once; 0 = no limit */
    struct stats_server_sum stats;
};

struct snapshot_process {
    uint64_t uptime_s;
    uint32_t n_connections;
    uint32_t n_udp_sessions;
    uint64_t n_descriptors; /* open now; 0 = cannot be counted */
    uint64_t started_s;     /* since 1970, by the present clock on the wall */
    uint64_t copy_bytes;    /* relayed by all workers */
    uint64_t splice_bytes;
    uint64_t pipes_idle;
    uint64_t pipes_lent; /* with bytes inside */
    uint64_t reloads_ok;
    uint64_t reloads_failed;
    uint64_t log_dropped; /* lines */
};

struct snapshot_worker {
    uint64_t active; /* connections, as all three */
    uint64_t total;
    uint64_t handed_over; /* accepted here, served by another one */
};

/* Of a server's standing: removed, maint, drain, down, new (it came from maintenance and waits for
 * its first probe), suspect, up; the first that fits. */
const char *snapshot_state(uint32_t standing);

void snapshot_take_service(const struct snapshot_from *from, const struct service *service,
                           struct snapshot_service *ret);
void snapshot_take_server(const struct snapshot_from *from, const struct service *service,
                          const struct backend *backend, struct snapshot_server *ret);
void snapshot_take_process(const struct snapshot_from *from, struct snapshot_process *ret);
void snapshot_take_worker(const struct snapshot_from *from, size_t worker,
                          struct snapshot_worker *ret);

/* Servers of a service that take new clients now. */
size_t snapshot_n_usable(const struct service *service);
/* Servers of the configuration. */
size_t snapshot_n_servers(const struct service *service);

/* Of the configuration, by name; NULL = there is none. */
struct service *snapshot_find_service(const struct snapshot_from *from, const char *name);
struct backend *snapshot_find_server(const struct service *service, const char *name);

#endif
