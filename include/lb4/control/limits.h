/* How many connections, UDP sessions and pipes the descriptors of this process pay for.
 *
 * A live connection costs two descriptors, a UDP session one. Beside them: a fixed number for
 * standard streams, threads, listeners, probes and the pid file; a reserve for what comes and goes;
 * and the pipes. Sessions have a share of their own, so that a flood of datagrams, which anybody
 * can send in anybody's name, takes nothing from connections. */
#ifndef LB4_CONTROL_LIMITS_H
#define LB4_CONTROL_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LIMITS_TEXT_MAX = 256,           /* with the NUL */
    LIMITS_PIPES_AUTO_MAX = 64,      /* pipes of a worker; chosen: pipes are lent only while bytes
                                        are inside, few directions are blocked at a time */
    LIMITS_PIPE_BYTES = 1024 * 1024, /* wished size of a pipe, DESIGN.md 3.1 */
    LIMITS_CONNECTION_FDS = 2
};

/* What this kernel grants: for pipes, to a user without privileges (pipe(7)); and local ports. */
struct limits_kernel {
    uint64_t pipe_soft_pages; /* of all pipes of one user; 0 = no limit */
    uint64_t pipe_max_bytes;  /* of one pipe */
    uint64_t page_bytes;
    uint64_t n_ports; /* of ip_local_port_range, but for reserved ones (ip(7)): each UDP session
                         binds one of them, whatever it is connected to */
};

struct limits_wish {
    uint64_t descriptors;  /* what limits_raise_descriptors() told */
    uint32_t n_workers;    /* 1.. */
    uint64_t n_listeners;  /* listening sockets of all workers together, of TCP and UDP */
    uint64_t udp_sessions; /* the most that the services may have; 0 = none listens on UDP */
    uint64_t n_probed;     /* servers that are probed, each by a socket */
    uint64_t n_admin;      /* descriptors of the admin socket and the HTTP listener with their
                              clients; 0 = none */
    uint32_t maxconn;      /* 0 = auto */
    uint32_t pipes;        /* most pipes of a worker, unless pipes_auto */
    bool pipes_auto;
};

enum limits_bound {
    LIMITS_BOUND_DESCRIPTORS, /* "RLIMIT_NOFILE" */
    LIMITS_BOUND_CONFIG,      /* "maxconn" */
    LIMITS_BOUND_BUILT_IN     /* "CONF_MAXCONN_MAX" */
};

struct limits_budget {
    uint64_t descriptors;      /* the limit this was computed from */
    uint64_t n_fixed;          /* descriptors that are there without a connection */
    uint64_t n_reserve;        /* descriptors kept free for what comes and goes */
    uint32_t maxconn;          /* 1..CONF_MAXCONN_MAX */
    uint32_t udp_sessions;     /* of all workers; 0 = no service listens on UDP */
    uint32_t probes;           /* at a time, in n_fixed; 1.. */
    uint32_t pipes_per_worker; /* 0 = copy only */
    uint32_t pipe_bytes;       /* to ask for with F_SETPIPE_SZ; the kernel may grant less */
    enum limits_bound bound;   /* what made maxconn no larger */
};

/* Raise RLIMIT_NOFILE to the hard limit. *ret_limit is what holds afterwards, also where raising
 * was refused. Returns 0 or -errno of getrlimit(2). */
int limits_raise_descriptors(uint64_t *ret_limit);

/* Read /proc/sys; what cannot be read gets the kernel's default. */
void limits_read_kernel(struct limits_kernel *ret);

/* Share the descriptors out. Pure. Returns 0, or -EMFILE with a sentence in `reterr`: the limit
 * pays for no connection at all, or for fewer than `maxconn` says (the largest possible is
 * named). */
int limits_compute(const struct limits_wish *wish, const struct limits_kernel *kernel,
                   struct limits_budget *ret, char reterr[static LIMITS_TEXT_MAX]);

const char *limits_bound_name(enum limits_bound bound);

/* For the start log: "maxconn 9870, limited by RLIMIT_NOFILE 20000; udp sessions 5000; at most 64
 * pipes of up to 1024 KiB a worker"; returns `text`. */
const char *limits_explain(const struct limits_budget *budget, char text[static LIMITS_TEXT_MAX]);

#endif
