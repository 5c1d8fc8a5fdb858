#include "lb4/control/threads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/log.h"
#include "lb4/conf/bounds.h"
#include "lb4/control/cpus.h"
#include "lb4/control/privileges.h"

size_t threads_choose_workers(uint32_t wanted)
{
    struct cpus cpus;
    size_t n = wanted;

    if (!wanted) {
        cpus_read(&cpus);
        n = cpus.n;
    }
    return n < CONF_WORKERS_MAX ? n : CONF_WORKERS_MAX;
}

static void introduce(const char *name)
{
    log_register_thread(name);
    if (privileges_thread_connects())
        log_warn("the capabilities of this thread stay as they were");
}

static void *worker_thread(void *arg)
{
    struct worker *worker = arg;
    char name[20]; /* "worker " and any uint32_t; log_register_thread() keeps 15 bytes */

    snprintf(name, sizeof(name), "worker %u", worker->index + 1);
    introduce(name);
    worker_run(worker);
    return NULL;
}

static void *prober_thread(void *arg)
{
    introduce("prober");
    prober_run(arg);
    return NULL;
}

/* A worker that may not be bound, or whose CPU has just gone, is a worker all the same. */
static int start_worker(struct threads *threads, const struct cpus *cpus)
{
    size_t i = threads->n_workers;
    struct worker *worker = &threads->group->workers[i];
    int error;

    if (cpus) {
        error = cpus_start_thread(cpus, i, &threads->workers[i], worker_thread, worker);
        if (!error)
            return 0;
        log_warn("worker %zu is not bound to a CPU: %s", i + 1, strerror(error));
    }
    return pthread_create(&threads->workers[i], NULL, worker_thread, worker);
}

/* A worker that is not bound is moved to where there is room, and has nobody to step back for. */
static int start_workers(struct threads *threads, const struct conf *conf)
{
    struct cpus *cpus = &threads->cpus;
    bool bind;
    size_t n = threads->group->n_workers;

    cpus_read(cpus);
    bind = conf->cpu_affinity && cpus_fit(cpus, n);
    threads->group->cpus = bind ? &cpus->set : NULL;
    threads->group->tunes_scheduling = bind && conf->tunes_scheduling;
    while (threads->n_workers < n) {
        int error = start_worker(threads, bind ? cpus : NULL);

        if (error)
            return -error;
        threads->n_workers++;
    }
    return 0;
}

int threads_start(struct threads *threads, struct worker_group *group, struct prober *prober,
                  const struct conf *conf)
{
    int error;

    *threads = (struct threads){.group = group, .prober = prober};
    threads->workers = calloc(group->n_workers, sizeof(*threads->workers));
    if (!threads->workers)
        return -ENOMEM;
    error = pthread_create(&threads->prober_thread, NULL, prober_thread, prober);
    if (error)
        return -error;
    threads->has_prober = true;
    return start_workers(threads, conf);
}

void threads_watch(const struct threads *threads, struct watchdog *watchdog)
{
    char name[WATCHDOG_NAME_MAX];

    for (size_t i = 0; i < threads->n_workers; i++) {
        snprintf(name, sizeof(name), "worker %u", threads->group->workers[i].index + 1);
        watchdog_watch(watchdog, &threads->group->workers[i].mailbox, name);
    }
    watchdog_watch(watchdog, &threads->prober->mailbox, "prober");
}

/* The prober last: until then workers may post to it. */
void threads_stop(struct threads *threads)
{
    if (threads->n_workers)
        worker_group_post(threads->group, MAILBOX_RESET | MAILBOX_DRAIN | MAILBOX_EXIT);
    for (size_t i = 0; i < threads->n_workers; i++)
        pthread_join(threads->workers[i], NULL);
    if (threads->has_prober) {
        mailbox_post(&threads->prober->mailbox, MAILBOX_EXIT);
        pthread_join(threads->prober_thread, NULL);
    }
    free(threads->workers);
    *threads = (struct threads){0};
}
