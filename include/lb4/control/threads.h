/* The threads beside control's own: one for each worker, and the prober. Started together, ended
 * together. Thread: control. */
#ifndef LB4_CONTROL_THREADS_H
#define LB4_CONTROL_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/control/cpus.h"
#include "lb4/control/watchdog.h"
#include "lb4/probe/prober.h"
#include "lb4/worker/worker.h"

struct threads {
    struct worker_group *group;
    struct prober *prober;
    pthread_t *workers;
    size_t n_workers; /* started */
    pthread_t prober_thread;
    bool has_prober;  /* started */
    struct cpus cpus; /* that workers may use; the group has its address if they are bound */
};

/* How many workers: as many as wanted, 0 = one for each CPU that this process may use; at most
 * CONF_WORKERS_MAX. */
size_t threads_choose_workers(uint32_t wanted);

/* Start all. `group` and `prober` are built and outlive the threads. cpu-affinity of `conf`: each
 * worker to a CPU of its own, if there are as many as workers (control/cpus.h); else the scheduler
 * chooses, as it does for the prober. cpu-scheduling is for bound workers (worker/scheduling.h).
 * Returns 0 or -errno; on error threads_stop() ends those that run already. */
int threads_start(struct threads *threads, struct worker_group *group, struct prober *prober,
                  const struct conf *conf);

/* Put all that were started under the watchdog, which was made for that many and one more. */
void threads_watch(const struct threads *threads, struct watchdog *watchdog);

/* Ask all to end, resetting what connections are left, and wait for them. May be called without a
 * start, on a zeroed object. */
void threads_stop(struct threads *threads);

#endif
