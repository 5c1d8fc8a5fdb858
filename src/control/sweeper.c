#include "lb4/control/sweeper.h"

#include <errno.h>
#include <stdlib.h>

static const uint64_t UNTAKEN_NS = 1000 * 1000000ull; /* chosen: who asked looks every 20 ms */

enum { LIST_SLACK = 64 }; /* connections that may come while a list is being asked for; chosen */

void sweeper_init(struct sweeper *sweeper, struct runtime *runtime)
{
    *sweeper = (struct sweeper){.runtime = runtime};
}

void sweeper_release(struct sweeper *sweeper)
{
    for (size_t i = 0; sweeper->lists && i < sweeper->runtime->n_workers; i++)
        free(sweeper->lists[i].records);
    free(sweeper->lists);
    free(sweeper->n_ended);
    sweeper->lists = NULL;
    sweeper->n_ended = NULL;
    sweeper->is_busy = false;
    sweeper->over_ns = 0;
}

void sweeper_fini(struct sweeper *sweeper)
{
    sweeper_release(sweeper);
}

static long begin(struct sweeper *sweeper, const struct worker_sweep *sweep)
{
    sweeper->is_busy = true;
    sweeper->n_ended = calloc(sweeper->runtime->n_workers, sizeof(*sweeper->n_ended));
    if (!sweeper->n_ended) {
        sweeper_release(sweeper);
        return -ENOMEM;
    }
    sweeper->sweep = *sweep;
    sweeper->sweep.lists = sweeper->lists;
    sweeper->sweep.n_ended = sweeper->n_ended;
    worker_group_sweep(&sweeper->runtime->group, &sweeper->sweep);
    sweeper->asked = runtime_ask(sweeper->runtime);
    return (long)++sweeper->number;
}

/* Any worker may have all of them. Memory that is not written to is not there. */
static bool lists_init(struct sweeper *sweeper)
{
    const struct worker_group *group = &sweeper->runtime->group;
    size_t cap =
        capacity_used(&group->capacity) + udp_room_used(&group->udp_room) + (size_t)LIST_SLACK;

    sweeper->lists = calloc(group->n_workers, sizeof(*sweeper->lists));
    for (size_t i = 0; sweeper->lists && i < group->n_workers; i++) {
        sweeper->lists[i].cap = cap;
        sweeper->lists[i].records = calloc(cap, sizeof(*sweeper->lists[i].records));
        if (!sweeper->lists[i].records)
            return false;
    }
    return sweeper->lists;
}

long sweeper_list(struct sweeper *sweeper)
{
    if (sweeper->is_busy)
        return 0;
    if (lists_init(sweeper))
        return begin(sweeper, &(struct worker_sweep){0});
    sweeper_release(sweeper);
    return -ENOMEM;
}

long sweeper_kill(struct sweeper *sweeper, const struct sweep_target *target)
{
    if (sweeper->is_busy)
        return 0;
    sweeper->target = *target;
    return begin(sweeper, &(struct worker_sweep){.kill = &sweeper->target});
}

long sweeper_shed(struct sweeper *sweeper, const struct sweep_excess *excess, size_t n_excess)
{
    if (sweeper->is_busy)
        return 0;
    return begin(sweeper, &(struct worker_sweep){.excess = excess, .n_excess = n_excess});
}

bool sweeper_is_over(const struct sweeper *sweeper, long number)
{
    return sweeper->number != (uint64_t)number ||
           runtime_has_answered(sweeper->runtime, sweeper->asked);
}

bool sweeper_has_result(const struct sweeper *sweeper, long number)
{
    return sweeper->is_busy && sweeper->number == (uint64_t)number &&
           runtime_has_answered(sweeper->runtime, sweeper->asked);
}

size_t sweeper_n_ended(const struct sweeper *sweeper)
{
    size_t n = 0;

    for (size_t i = 0; i < sweeper->runtime->n_workers; i++)
        n += sweeper->n_ended[i];
    return n;
}

void sweeper_tidy(struct sweeper *sweeper, uint64_t now_ns)
{
    if (!sweeper->is_busy || !runtime_has_answered(sweeper->runtime, sweeper->asked))
        return;
    if (sweeper->over_ns == 0)
        sweeper->over_ns = now_ns;
    else if (now_ns - sweeper->over_ns > UNTAKEN_NS)
        sweeper_release(sweeper);
}
