#include "lb4/control/threads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lb4/base/log.h"
#include "lb4/control/privileges.h"

static void introduce(const char *name)
{
    log_register_thread(name);
    if (privileges_thread_none())
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

int threads_start(struct threads *threads, struct worker_group *group, struct prober *prober)
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
    for (size_t i = 0; i < group->n_workers; i++) {
        error = pthread_create(&threads->workers[i], NULL, worker_thread, &group->workers[i]);
        if (error)
            return -error;
        threads->n_workers++;
    }
    return 0;
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
