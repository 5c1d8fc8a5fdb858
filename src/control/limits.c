#include "lb4/control/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lb4/base/proc.h"
#include "lb4/conf/model.h"

enum {
    FDS_PROCESS = 3 + 1 + 1 + 2 + 1, /* standard streams, the log's eventfd, signalfd, control's
                                        epoll and eventfd, the pid file */
    FDS_WORKER = 3,                  /* epoll, eventfd, io_uring */
    FDS_PROBER = 3,                  /* epoll, eventfd, the link to the spawner */
    FDS_PIPE = 2,
    RESERVE_MIN = 8,         /* descriptors; chosen: still some probes under a limit of 64 */
    RESERVE_PART = 64,       /* of the limit; chosen */
    PROBES_PART = 8,         /* of the limit; chosen: beyond it probes wait for each other */
    PIPES_PART = 16,         /* of the limit; chosen: pipes are lent, connections last */
    UDP_PART = 4,            /* of the limit; chosen */
    PIPE_SOFT_PAGES = 16384, /* defaults of the kernel, pipe(7) */
    PIPE_MAX_BYTES = 1024 * 1024
};

int limits_raise_descriptors(uint64_t *ret_limit)
{
    struct rlimit limit;
    struct rlimit wish;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    wish = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &wish) == 0)
        limit = wish;
    *ret_limit = limit.rlim_cur;
    return 0;
}

void limits_read_kernel(struct limits_kernel *ret)
{
    struct proc_ports ports;

    proc_ports_read(&ports);
    ret->pipe_soft_pages = proc_number("/proc/sys/fs/pipe-user-pages-soft", PIPE_SOFT_PAGES);
    ret->pipe_max_bytes = proc_number("/proc/sys/fs/pipe-max-size", PIPE_MAX_BYTES);
    ret->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    ret->n_ports = proc_ports_count(&ports);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A worker's even share of three quarters of the user's quota; the last quarter is for whatever
 * else runs as this user. One is asked for in any case; what the kernel then grants may be too
 * small to be of use, and is given up (relay/pipe.c). */
static uint64_t pipes_by_quota(const struct limits_wish *wish, const struct limits_kernel *kernel,
                               uint64_t pipe_bytes)
{
    uint64_t pages_per_pipe = (pipe_bytes + kernel->page_bytes - 1) / kernel->page_bytes;
    uint64_t pages = kernel->pipe_soft_pages / 4 * 3;
    uint64_t pipes = pages / pages_per_pipe / wish->n_workers;

    if (kernel->pipe_soft_pages == 0)
        return UINT64_MAX;
    return pipes > 0 ? pipes : 1;
}

static void share_pipes(const struct limits_wish *wish, const struct limits_kernel *kernel,
                        struct limits_budget *budget)
{
    uint64_t pipe_bytes = min_u64(LIMITS_PIPE_BYTES, kernel->pipe_max_bytes);
    uint64_t pipes = wish->descriptors / PIPES_PART / FDS_PIPE / wish->n_workers;

    if (pipe_bytes < kernel->page_bytes)
        pipe_bytes = kernel->page_bytes;
    pipes = min_u64(pipes, wish->pipes_auto ? LIMITS_PIPES_AUTO_MAX : wish->pipes);
    if (wish->pipes_auto)
        pipes = min_u64(pipes, pipes_by_quota(wish, kernel, pipe_bytes));
    budget->pipe_bytes = (uint32_t)pipe_bytes;
    budget->pipes_per_worker = (uint32_t)pipes;
}

/* A quarter of the local ports stays to the other programs of the machine: one that asks a name
 * server needs one. At least one session for each worker, whose table cannot be empty. */
static void share_udp(const struct limits_wish *wish, const struct limits_kernel *kernel,
                      struct limits_budget *budget)
{
    uint64_t sessions = min_u64(wish->descriptors / UDP_PART, kernel->n_ports / 4 * 3);

    sessions = min_u64(min_u64(sessions, wish->udp_sessions), CONF_UDP_COUNT_MAX);
    if (wish->udp_sessions > 0 && sessions < wish->n_workers)
        sessions = wish->n_workers;
    budget->udp_sessions = (uint32_t)sessions;
}

/* How many connections the limit pays for when all else has got its share. */
static uint64_t largest_maxconn(const struct limits_wish *wish, const struct limits_budget *budget)
{
    uint64_t taken = budget->n_fixed + budget->n_reserve + budget->udp_sessions +
                     (uint64_t)budget->pipes_per_worker * FDS_PIPE * wish->n_workers;

    return wish->descriptors <= taken ? 0 : (wish->descriptors - taken) / LIMITS_CONNECTION_FDS;
}

static int choose_maxconn(uint64_t wanted, uint64_t largest, struct limits_budget *budget,
                          char reterr[static LIMITS_TEXT_MAX])
{
    if (largest == 0) {
        snprintf(reterr, LIMITS_TEXT_MAX,
                 "RLIMIT_NOFILE %" PRIu64 " is too small for even one connection: lb4 itself needs "
                 "%" PRIu64 " descriptors and %" PRIu64 " in reserve, UDP sessions %" PRIu32,
                 budget->descriptors, budget->n_fixed, budget->n_reserve, budget->udp_sessions);
        return -EMFILE;
    }
    if (wanted > largest) {
        snprintf(reterr, LIMITS_TEXT_MAX,
                 "maxconn %" PRIu64 " needs more descriptors than RLIMIT_NOFILE %" PRIu64
                 " gives: the largest possible is %" PRIu64,
                 wanted, budget->descriptors, largest);
        return -EMFILE;
    }
    budget->bound = LIMITS_BOUND_DESCRIPTORS;
    if (wanted != 0) {
        budget->bound = LIMITS_BOUND_CONFIG;
        largest = wanted;
    } else if (largest > CONF_MAXCONN_MAX) {
        budget->bound = LIMITS_BOUND_BUILT_IN;
        largest = CONF_MAXCONN_MAX;
    }
    budget->maxconn = (uint32_t)largest;
    return 0;
}

/* A probe holds its descriptor for as long as its server is silent, so in the worst case all do. */
static uint32_t probes_at_a_time(const struct limits_wish *wish)
{
    uint64_t probes = min_u64(wish->n_probed, wish->descriptors / PROBES_PART);

    return probes > 0 ? (uint32_t)probes : 1;
}

int limits_compute(const struct limits_wish *wish, const struct limits_kernel *kernel,
                   struct limits_budget *ret, char reterr[static LIMITS_TEXT_MAX])
{
    uint64_t reserve = wish->descriptors / RESERVE_PART;

    *ret = (struct limits_budget){
        .descriptors = wish->descriptors,
        .probes = probes_at_a_time(wish),
        .n_reserve = reserve > RESERVE_MIN ? reserve : RESERVE_MIN,
    };
    ret->n_fixed = FDS_PROCESS + FDS_PROBER + ret->probes + (uint64_t)FDS_WORKER * wish->n_workers +
                   wish->n_listeners + wish->n_admin;
    share_pipes(wish, kernel, ret);
    share_udp(wish, kernel, ret);
    return choose_maxconn(wish->maxconn, largest_maxconn(wish, ret), ret, reterr);
}

const char *limits_bound_name(enum limits_bound bound)
{
    switch (bound) {
    case LIMITS_BOUND_DESCRIPTORS:
        return "RLIMIT_NOFILE";
    case LIMITS_BOUND_CONFIG:
        return "maxconn";
    case LIMITS_BOUND_BUILT_IN:
        return "CONF_MAXCONN_MAX";
    }
    return "?";
}

const char *limits_explain(const struct limits_budget *budget, char text[static LIMITS_TEXT_MAX])
{
    int n;
    uint64_t value =
        budget->bound == LIMITS_BOUND_DESCRIPTORS ? budget->descriptors : (uint64_t)budget->maxconn;

    n = snprintf(text, LIMITS_TEXT_MAX, "maxconn %" PRIu32 ", limited by %s %" PRIu64,
                 budget->maxconn, limits_bound_name(budget->bound), value);
    if (budget->udp_sessions > 0)
        n += snprintf(text + n, LIMITS_TEXT_MAX - (size_t)n, "; udp sessions %" PRIu32,
                      budget->udp_sessions);
    if (budget->pipes_per_worker == 0)
        snprintf(text + n, LIMITS_TEXT_MAX - (size_t)n, "; no pipes, bytes are copied");
    else
        snprintf(text + n, LIMITS_TEXT_MAX - (size_t)n,
                 "; at most %" PRIu32 " pipes of up to %" PRIu32 " KiB a worker",
                 budget->pipes_per_worker, budget->pipe_bytes / 1024);
    return text;
}
