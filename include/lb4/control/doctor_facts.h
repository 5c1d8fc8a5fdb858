/* What `doctor` judges by, as plain data: what the kernel says of itself, of this network namespace
 * and of this process; and what the configuration asks for. Thread: control. */
#ifndef LB4_CONTROL_DOCTOR_FACTS_H
#define LB4_CONTROL_DOCTOR_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/proc.h"
#include "lb4/control/limits.h"
#include "lb4/control/name_report.h"
#include "lb4/control/snapshot.h"

/* Linux, Documentation/networking/ip-sysctl.rst, nf_conntrack-sysctl.rst;
 * admin-guide/sysctl/net.rst, fs.rst. What cannot be read is the kernel's default. */
struct doctor_kernel {
    struct limits_kernel limits;
    struct proc_ports ports;
    uint64_t open_most; /* fs.nr_open: RLIMIT_NOFILE can be no more */
    uint64_t somaxconn;
    uint64_t rmem_max; /* bytes */
    uint64_t wmem_max;
    uint64_t tw_reuse;    /* tcp_tw_reuse: 0 never, 1 always, 2 on loopback */
    uint64_t tw_reuse_ms; /* tcp_tw_reuse_delay: after so long */
    bool has_timestamps;  /* tcp_timestamps: without them nothing is reused */
    bool migrates;        /* tcp_migrate_req */
    bool has_syncookies;
    uint64_t syn_backlog;
    uint64_t tcp_mem_pages;   /* the third of tcp_mem: all TCP buffers together; 0 = unknown */
    uint64_t conntrack_most;  /* nf_conntrack_max; 0 = not loaded */
    uint64_t conntrack_count; /* entries of this namespace; 0 = it tracks nothing here */
    uint64_t first_free_port; /* ip_unprivileged_port_start */
};

struct doctor_service {
    const char *name;
    unsigned transports; /* enum conf_transport bits */
    bool is_checked;
    enum conf_all_down all_down;
    size_t n_servers;
    size_t n_usable;
    size_t n_lost;       /* not usable, and no operator wished it */
    size_t n_addresses;  /* of servers, with their ports */
    size_t n_more_ways;  /* to them, as they have several sources: beyond one each */
    bool is_near;        /* all of them are on loopback */
    bool lets_nobody_in; /* allow and deny do not */
    bool takes_headers;  /* a TCP listener has accept-proxy */
    uint64_t n_clients;
    uint64_t n_headless; /* of those, without a right PROXY header, or not from a balancer */
    uint32_t per_source; /* limit per-source; 0 = none */
    uint32_t maxconn;    /* of the service; 0 = none */
    uint64_t n_limited;  /* of the clients, refused for what their source did */
    uint64_t n_shared;   /* times that a source found no place in the table */
    size_t n_sources;    /* of which something is known now; 2 = more than one */
};

struct doctor_facts {
    struct doctor_kernel kernel;
    struct limits_budget budget;
    size_t n_workers;
    size_t n_probed;    /* servers that are probed, each by a socket */
    size_t n_addresses; /* distinct ones of servers of services that listen on TCP */
    size_t n_more_ways; /* to those, as above */
    bool is_near;       /* all of those are on loopback */
    bool has_udp;
    bool wants_splice;
    bool is_root;
    bool can_bind;             /* a port below first_free_port, at a reload */
    uint32_t lowest_port;      /* that is listened on */
    uint64_t n_dropped_kernel; /* datagrams, see udp_drop */
    uint64_t n_dropped_full;
    uint64_t n_dropped_limit;
    uint64_t n_local[LOCAL_CAUSES];    /* connects that failed for reasons of our own */
    const struct addr *missing_source; /* that the configuration names, and is not here; or NULL */
    const char *lost_interface; /* that a listener or a server names, and is not here, or was made
                                   anew since a listener was bound to it; or NULL */
    uint64_t n_log_dropped;     /* lines of the log */
    bool has_reload_failed;     /* the last one */
    const char *stale_list; /* a file of networks that was written to since it was read, or NULL */
    const char *lost_list;  /* one that cannot be read (any more), or NULL */
    struct name_census names;
    struct doctor_service *services; /* malloc */
    size_t n_services;
};

void doctor_kernel_read(struct doctor_kernel *ret);

/* Returns 0 or -ENOMEM. Names are the snapshot's. */
int doctor_facts_take(const struct snapshot_from *from, struct doctor_facts *ret);
void doctor_facts_fini(struct doctor_facts *facts);

#endif
