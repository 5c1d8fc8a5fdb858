#include "lb4/control/watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

enum {
    FEEDINGS = 2,        /* in the manager's time (sd_watchdog_enabled(3)) */
    LOOKS_PER_PERIOD = 8 /* at a thread that is late; chosen: it answers in time to be fed for */
};

int watchdog_init(struct watchdog *watchdog, uint64_t watchdog_ns, size_t max_threads)
{
    *watchdog = (struct watchdog){.due_ns = UINT64_MAX};
    if (watchdog_ns == 0)
        return 0;
    watchdog->threads = calloc(max_threads, sizeof(*watchdog->threads));
    if (!watchdog->threads)
        return -ENOMEM;
    watchdog->period_ns = watchdog_ns / FEEDINGS;
    return 0;
}

void watchdog_fini(struct watchdog *watchdog)
{
    free(watchdog->threads);
    *watchdog = (struct watchdog){.due_ns = UINT64_MAX};
}

void watchdog_watch(struct watchdog *watchdog, struct mailbox *mailbox, const char *name)
{
    struct watchdog_thread *thread;

    if (watchdog->period_ns == 0)
        return;
    thread = &watchdog->threads[watchdog->n_threads++];
    thread->mailbox = mailbox;
    snprintf(thread->name, sizeof(thread->name), "%s", name);
}

static void ask_all(struct watchdog *watchdog)
{
    for (size_t i = 0; i < watchdog->n_threads; i++) {
        struct watchdog_thread *thread = &watchdog->threads[i];

        thread->n_answers = mailbox_pongs(thread->mailbox);
        mailbox_post(thread->mailbox, MAILBOX_PING);
    }
}

void watchdog_start(struct watchdog *watchdog, uint64_t now_ns)
{
    if (watchdog->period_ns > 0)
        watchdog_fed(watchdog, now_ns);
}

uint64_t watchdog_due_ns(const struct watchdog *watchdog)
{
    return watchdog->period_ns > 0 ? watchdog->due_ns : UINT64_MAX;
}

static const struct watchdog_thread *find_silent(const struct watchdog *watchdog)
{
    for (size_t i = 0; i < watchdog->n_threads; i++) {
        const struct watchdog_thread *thread = &watchdog->threads[i];

        if (mailbox_pongs(thread->mailbox) == thread->n_answers)
            return thread;
    }
    return NULL;
}

bool watchdog_is_hungry(struct watchdog *watchdog, uint64_t now_ns)
{
    const struct watchdog_thread *silent;

    if (now_ns < watchdog_due_ns(watchdog))
        return false;
    silent = find_silent(watchdog);
    watchdog->due_ns = now_ns + watchdog->period_ns / LOOKS_PER_PERIOD;
    if (silent && !watchdog->is_hang_told)
        log_error("thread '%s' has not answered for %llu ms: the watchdog is not fed", silent->name,
                  (unsigned long long)((now_ns - watchdog->fed_ns) / CLOCK_NS_PER_MS));
    if (!silent && watchdog->is_hang_told)
        log_warn("all threads answer again: the watchdog is fed");
    watchdog->is_hang_told = silent != NULL;
    return !silent;
}

void watchdog_fed(struct watchdog *watchdog, uint64_t now_ns)
{
    watchdog->fed_ns = now_ns;
    watchdog->due_ns = now_ns + watchdog->period_ns;
    ask_all(watchdog);
}
