/* What the three parts of storm share: the run (storm.c), its command line (storm_options.c), its
 * words (storm_report.c). One thread; struct storm lives as long as the process. */
#ifndef LB4_TESTS_TOOLS_STORM_H
#define LB4_TESTS_TOOLS_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "end.h"
#include "net.h"
#include "plan.h"

enum { STORM_CAP_ADDRESSES = 16 };

struct conn {
    struct plan plan;
    struct end *ends[2]; /* by enum plan_side; NULL before and after */
    enum end_verdict verdicts[2];
    bool is_server_seen;
};

/* Fields up to timeout_ns come from the command line and stay as they are. */
struct storm {
    struct plan_limits limits;
    struct net_addr servers[STORM_CAP_ADDRESSES], targets[STORM_CAP_ADDRESSES];
    unsigned n_servers, n_targets;
    uint32_t n_conns, n_concurrent;
    uint64_t timeout_ns;

    int epoll_fd;
    int listen_fds[STORM_CAP_ADDRESSES];
    struct conn *conns;
    struct end **live; /* every open end, in no order */
    size_t n_live, cap_live;
    uint32_t n_started, n_open;
    uint64_t last_close_ns;

    uint64_t n_bytes;
    uint32_t n_nameless_blank, n_nameless_reset, n_nameless_bad, n_nameless_stuck;
    unsigned n_complaints;
};

/* Fill the first part of @storm; a wrong command line prints the usage and exits 2. */
void storm_read_options(struct storm *storm, int argc, char **argv);

/* Say on stderr what went wrong at one end; silent for END_OK and after a score of complaints. */
void storm_complain(struct storm *storm, const struct end *end);

/* Print figures and the closing line. Returns the exit code: 0 only if every connection is ok. */
int storm_report(const struct storm *storm, uint64_t took_ns);

#endif
