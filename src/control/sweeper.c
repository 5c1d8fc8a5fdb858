#include "lb4/control/sweeper.h"

#include <errno.h>
#include <stdlib.h>

#include "lb4/base/clock.h"

static const uint64_t UNTAKEN_NS = 1000 * 1000000ull; /* chosen: who asked looks every 20 ms */

enum {
    LIST_SLACK = 64,   /* connections that may come while a list is being asked for; chosen */
    LIST_PIECE = 1024, /* connections of one turn of a worker: less than a millisecond, measured */
    KILL_PIECE = 4096  /* looks, or 256 ends; chosen: some milliseconds */
};

void sweeper_init(struct sweeper *sweeper, struct runtime *runtime)
{
    *sweeper = (struct sweeper){.runtime = runtime};
}

void sweeper_release(struct sweeper *sweeper)
{
    for (size_t i = 0; sweeper->lists && i < sweeper->runtime->n_workers; i++)
        free(sweeper->lists[i].records);
    free(sweeper->lists);
    free(sweeper->kills);
    free(sweeper->busiest);
    free(sweeper->n_ended);
    sweeper->lists = NULL;
    sweeper->kills = NULL;
    sweeper->busiest = NULL;
    sweeper->n_ended = NULL;
    sweeper->is_busy = false;
    sweeper->over_ns = 0;
}

void sweeper_fini(struct sweeper *sweeper)
{
    sweeper_release(sweeper);
}

static bool is_answered(const struct sweeper *sweeper)
{
    return runtime_has_answered(sweeper->runtime, sweeper->asked);
}

/* Workers have one place for what they are asked. */
static bool is_in_use(const struct sweeper *sweeper)
{
    const struct sweeper *other = sweeper->other;

    return other && other->is_busy && !is_answered(other);
}

static void ask(struct sweeper *sweeper)
{
    worker_group_sweep(&sweeper->runtime->group, &sweeper->sweep);
    sweeper->asked = runtime_ask(sweeper->runtime);
    sweeper->over_ns = 0;
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
    sweeper->sweep.kills = sweeper->kills;
    sweeper->sweep.n_ended = sweeper->n_ended;
    ask(sweeper);
    return (long)++sweeper->number;
}

/* What begins from now on is left out, or a list might never be whole. Memory that is not written
 * to is not there. */
static bool lists_init(struct sweeper *sweeper, size_t cap)
{
    const struct worker_group *group = &sweeper->runtime->group;
    uint64_t now_ns = clock_now_ns();

    sweeper->lists = calloc(group->n_workers, sizeof(*sweeper->lists));
    for (size_t i = 0; sweeper->lists && i < group->n_workers; i++) {
        sweeper->lists[i] =
            (struct sweep_list){.cap = cap,
                                .n_piece = LIST_PIECE,
                                .until_ns = now_ns,
                                .records = calloc(cap, sizeof(struct sweep_record))};
        if (!sweeper->lists[i].records)
            return false;
    }
    return sweeper->lists;
}

/* Any worker may have all of them. */
long sweeper_list(struct sweeper *sweeper)
{
    const struct worker_group *group = &sweeper->runtime->group;
    size_t cap =
        capacity_used(&group->capacity) + udp_room_used(&group->udp_room) + (size_t)LIST_SLACK;

    if (sweeper->is_busy || is_in_use(sweeper))
        return 0;
    if (lists_init(sweeper, cap))
        return begin(sweeper, &(struct worker_sweep){0});
    sweeper_release(sweeper);
    return -ENOMEM;
}

long sweeper_busiest(struct sweeper *sweeper, const struct sweep_target *target, size_t n)
{
    size_t n_workers = sweeper->runtime->group.n_workers;

    if (sweeper->is_busy || is_in_use(sweeper))
        return 0;
    sweeper->busiest = calloc(n_workers, sizeof(*sweeper->busiest));
    if (!sweeper->busiest || !lists_init(sweeper, n)) {
        sweeper_release(sweeper);
        return -ENOMEM;
    }
    sweeper->target = *target;
    for (size_t i = 0; i < n_workers; i++) {
        largest_init(&sweeper->busiest[i], n);
        sweeper->lists[i].busiest = &sweeper->busiest[i];
        sweeper->lists[i].only = &sweeper->target;
    }
    return begin(sweeper, &(struct worker_sweep){0});
}

static long begin_kill(struct sweeper *sweeper, const struct sweep_victims *victims)
{
    size_t n_workers = sweeper->runtime->n_workers;
    uint64_t now_ns = clock_now_ns();

    sweeper->victims = *victims;
    sweeper->kills = calloc(n_workers, sizeof(*sweeper->kills));
    if (!sweeper->kills) {
        sweeper_release(sweeper);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n_workers; i++)
        sweeper->kills[i] = (struct sweep_kill){
            .victims = &sweeper->victims, .n_piece = KILL_PIECE, .until_ns = now_ns};
    return begin(sweeper, &(struct worker_sweep){0});
}

long sweeper_kill(struct sweeper *sweeper, const struct sweep_target *target)
{
    if (sweeper->is_busy || is_in_use(sweeper))
        return 0;
    sweeper->target = *target;
    return begin_kill(sweeper, &(struct sweep_victims){&sweeper->target, NULL, CLOSE_ADMIN});
}

long sweeper_end(struct sweeper *sweeper, const struct backend *backend, enum close_reason reason)
{
    if (sweeper->is_busy || is_in_use(sweeper))
        return 0;
    return begin_kill(sweeper, &(struct sweep_victims){NULL, backend, reason});
}

long sweeper_shed(struct sweeper *sweeper, const struct sweep_excess *excess, size_t n_excess)
{
    if (sweeper->is_busy || is_in_use(sweeper))
        return 0;
    return begin(sweeper, &(struct worker_sweep){.excess = excess, .n_excess = n_excess});
}

static bool is_ours(const struct sweeper *sweeper, long number)
{
    return sweeper->is_busy && sweeper->number == (uint64_t)number;
}

/* All have answered. */
static bool is_whole(const struct sweeper *sweeper)
{
    for (size_t i = 0; i < sweeper->runtime->group.n_workers; i++)
        if ((sweeper->lists && sweeper->lists[i].at != SWEEP_END) ||
            (sweeper->kills && sweeper->kills[i].at != SWEEP_END))
            return false;
    return true;
}

void sweeper_go_on(struct sweeper *sweeper, long number, uint64_t now_ns)
{
    if (!is_ours(sweeper, number) || !is_answered(sweeper) || is_in_use(sweeper))
        return;
    if (!is_whole(sweeper))
        ask(sweeper);
    else if (sweeper->busiest)
        sweeper->looked_ns = now_ns;
}

bool sweeper_is_over(const struct sweeper *sweeper, long number)
{
    return !is_ours(sweeper, number) || (is_answered(sweeper) && is_whole(sweeper));
}

bool sweeper_has_result(const struct sweeper *sweeper, long number)
{
    return is_ours(sweeper, number) && is_answered(sweeper) && is_whole(sweeper);
}

size_t sweeper_n_ended(const struct sweeper *sweeper)
{
    size_t n = 0;

    for (size_t i = 0; i < sweeper->runtime->n_workers; i++)
        n += sweeper->n_ended[i] + (sweeper->kills ? sweeper->kills[i].n_ended : 0);
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
