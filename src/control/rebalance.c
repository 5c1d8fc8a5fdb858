#include "lb4/control/rebalance.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/base/log.h"

static const uint64_t STEP_NS = 250 * 1000000ull; /* chosen: gradual to the eye */

void rebalance_init(struct rebalance *rebalance, struct runtime *runtime, struct sweeper *sweeper)
{
    *rebalance = (struct rebalance){.runtime = runtime, .sweeper = sweeper};
}

static void forget_sweep(struct rebalance *rebalance)
{
    free(rebalance->excess);
    free(rebalance->places);
    rebalance->excess = NULL;
    rebalance->places = NULL;
    rebalance->n_excess = 0;
    rebalance->sweep = 0;
}

void rebalance_fini(struct rebalance *rebalance)
{
    forget_sweep(rebalance);
}

/* Who takes new clients now, in the first place. */
static bool is_usable(const struct backend *backend)
{
    return backend->state == BACKEND_SERVING &&
           !(backend_standing(backend) & (PICK_UNUSABLE | PICK_SUSPECT | PICK_BACKUP));
}

struct totals {
    uint64_t active;
    uint64_t weight;
};

static struct totals sum_usable(const struct service *service)
{
    struct totals totals = {0};

    for (size_t i = 0; i < service->n_places; i++) {
        const struct backend *backend = &service->backends[i];

        if (!is_usable(backend))
            continue;
        totals.active += backend_active(backend);
        totals.weight += backend_weight(backend);
    }
    return totals;
}

/* Beyond its share, rounded up. */
static uint32_t excess_of(const struct backend *backend, const struct totals *totals)
{
    uint32_t active = backend_active(backend);
    uint64_t share;

    if (totals->weight == 0)
        return 0; /* a probe has brought it up since they were summed */
    share = (totals->active * backend_weight(backend) + totals->weight - 1) / totals->weight;
    return active > share ? active - (uint32_t)share : 0;
}

uint32_t rebalance_excess(const struct service *service)
{
    struct totals totals = sum_usable(service);
    uint32_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        if (is_usable(&service->backends[i]))
            n += excess_of(&service->backends[i], &totals);
    return n;
}

bool rebalance_start(struct rebalance *rebalance, const struct service *service, uint64_t over_ns,
                     uint64_t now_ns)
{
    if (rebalance->is_on)
        return false;
    rebalance->is_on = true;
    memcpy(rebalance->service, service->name, sizeof(rebalance->service));
    rebalance->until_ns = now_ns + over_ns;
    rebalance->due_ns = now_ns;
    rebalance->n_ended = 0;
    return true;
}

static void stop(struct rebalance *rebalance, const char *why)
{
    log_info("rebalance of %s: %s; %zu connections were ended", rebalance->service, why,
             rebalance->n_ended);
    rebalance->is_on = false;
}

/* So many of the excess now that the rest is spread over the steps that are left. */
static uint32_t part_now(const struct rebalance *rebalance, uint32_t n_excess, uint64_t now_ns)
{
    uint64_t left_ns = rebalance->until_ns > now_ns ? rebalance->until_ns - now_ns : 0;
    uint32_t n_steps = (uint32_t)(left_ns / STEP_NS) + 1;

    return (n_excess + n_steps - 1) / n_steps;
}

/* Few ones are spread over the whole time, too. */
static uint64_t gap_ns(const struct rebalance *rebalance, uint32_t n_excess, uint64_t now_ns)
{
    uint64_t left_ns = rebalance->until_ns > now_ns ? rebalance->until_ns - now_ns : 0;
    uint64_t gap_ns = left_ns / n_excess;

    return gap_ns > STEP_NS ? gap_ns : STEP_NS;
}

static void add_excess(struct rebalance *rebalance, const struct backend *backend, uint32_t n)
{
    struct capacity *places = &rebalance->places[rebalance->n_excess];

    capacity_init(places, n);
    rebalance->excess[rebalance->n_excess++] = (struct sweep_excess){
        .backend = backend, .n_active = backend_active(backend), .n_wanted = n, .places = places};
}

/* The largest excess pays first. */
static void share_out(struct rebalance *rebalance, const struct service *service, uint32_t n_now,
                      uint32_t n_excess)
{
    struct totals totals = sum_usable(service);
    uint32_t n_left = n_now;

    for (size_t i = 0; i < service->n_places && n_left > 0; i++) {
        const struct backend *backend = &service->backends[i];
        uint32_t mine = is_usable(backend) ? excess_of(backend, &totals) : 0;
        uint32_t n = (uint32_t)(((uint64_t)mine * n_now + n_excess - 1) / n_excess);

        if (n > n_left)
            n = n_left;
        if (n > 0)
            add_excess(rebalance, backend, n);
        n_left -= n;
    }
}

static bool prepare(struct rebalance *rebalance, const struct service *service)
{
    rebalance->excess = calloc(service->n_places + 1, sizeof(*rebalance->excess));
    rebalance->places = aligned_alloc(_Alignof(struct capacity),
                                      (service->n_places + 1) * sizeof(*rebalance->places));
    return rebalance->excess && rebalance->places;
}

static void begin_sweep(struct rebalance *rebalance, uint64_t now_ns)
{
    const struct service *service =
        service_table_find(&rebalance->runtime->services, rebalance->service);
    uint32_t n_excess = service ? rebalance_excess(service) : 0;

    rebalance->due_ns = now_ns + STEP_NS;
    if (!service)
        stop(rebalance, "the service has gone");
    else if (n_excess == 0)
        stop(rebalance, "every server has its share");
    else if (now_ns >= rebalance->until_ns + STEP_NS)
        stop(rebalance, "the time is over");
    if (!rebalance->is_on || rebalance->sweeper->is_busy)
        return;
    if (prepare(rebalance, service)) {
        share_out(rebalance, service, part_now(rebalance, n_excess, now_ns), n_excess);
        rebalance->sweep = sweeper_shed(rebalance->sweeper, rebalance->excess, rebalance->n_excess);
    }
    if (rebalance->sweep > 0)
        rebalance->due_ns = now_ns + gap_ns(rebalance, n_excess, now_ns);
    else
        forget_sweep(rebalance);
}

void rebalance_step(struct rebalance *rebalance, uint64_t now_ns)
{
    if (rebalance->sweep > 0) {
        if (!sweeper_is_over(rebalance->sweeper, rebalance->sweep))
            return;
        rebalance->n_ended += sweeper_n_ended(rebalance->sweeper);
        sweeper_release(rebalance->sweeper);
        forget_sweep(rebalance);
    }
    if (rebalance->is_on && now_ns >= rebalance->due_ns)
        begin_sweep(rebalance, now_ns);
}

uint64_t rebalance_due_ns(const struct rebalance *rebalance)
{
    return rebalance->is_on && rebalance->sweep == 0 ? rebalance->due_ns : UINT64_MAX;
}
