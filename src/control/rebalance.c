#include "lb4/control/rebalance.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/base/log.h"
#include "lb4/shared/service_table.h"

static const uint64_t STEP_NS = 250 * 1000000ull;  /* chosen: gradual to the eye */
static const uint64_t TAIL_NS = 2000 * 1000000ull; /* chosen: for clients who came back to where
                                                      they were, beyond a time that was too short */

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
           !(backend_standing(backend) & (PICK_UNUSABLE | PICK_SUSPECT | PICK_TIER_MASK));
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

/* Beyond its share, rounded up. Where no server was usable when the totals were summed, one may
 * have become so since. */
static uint32_t excess_of(const struct backend *backend, const struct totals *totals)
{
    uint32_t active = backend_active(backend);
    uint64_t share;

    if (totals->weight == 0)
        return 0;
    share = (totals->active * backend_weight(backend) + totals->weight - 1) / totals->weight;
    return active > share ? active - (uint32_t)share : 0;
}

static uint32_t sum_excess(const struct service *service, const struct totals *totals)
{
    uint32_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        if (is_usable(&service->backends[i]))
            n += excess_of(&service->backends[i], totals);
    return n;
}

uint32_t rebalance_excess(const struct service *service)
{
    struct totals totals = sum_usable(service);

    return sum_excess(service, &totals);
}

static uint32_t count_usable(const struct service *service)
{
    uint32_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        n += is_usable(&service->backends[i]);
    return n;
}

/* Clients who have been sent away and are not back yet still count, or the shares of all would
 * shrink, and the rest would be sent after them. */
static struct totals sum_expected(const struct rebalance *rebalance, const struct service *service)
{
    struct totals totals = sum_usable(service);

    if (totals.active < rebalance->n_began)
        totals.active = rebalance->n_began;
    return totals;
}

bool rebalance_start(struct rebalance *rebalance, const struct service *service, uint64_t over_ns,
                     uint64_t now_ns)
{
    if (rebalance->is_on)
        return false;
    rebalance->is_on = true;
    memcpy(rebalance->service, service->name, sizeof(rebalance->service));
    rebalance->over_ns = over_ns;
    rebalance->until_ns = now_ns + over_ns;
    rebalance->due_ns = now_ns;
    rebalance->n_ended = 0;
    rebalance->n_began = (uint32_t)sum_usable(service).active;
    rebalance->n_first = rebalance_excess(service);
    rebalance->n_most = (size_t)rebalance->n_first * count_usable(service);
    return true;
}

static void stop(struct rebalance *rebalance, const char *why)
{
    log_info("rebalance of %s: %s; %zu connections were ended", rebalance->service, why,
             rebalance->n_ended);
    rebalance->is_on = false;
}

/* The excess that may still be there falls evenly, to nothing after three quarters of the time; the
 * rest is for clients who came back to where they were, as all but leastconn let them. */
static uint32_t part_now(const struct rebalance *rebalance, uint32_t n_excess, uint64_t now_ns)
{
    uint64_t even_ns = rebalance->until_ns - rebalance->over_ns / 4;
    uint64_t left_ns = even_ns > now_ns ? even_ns - now_ns : 0;
    uint64_t span_ns = rebalance->over_ns - rebalance->over_ns / 4;
    double left = (double)left_ns / (double)span_ns;
    uint32_t n_may_stay = (uint32_t)(left * rebalance->n_first);
    uint32_t n = n_excess > n_may_stay ? n_excess - n_may_stay : 0;

    return n < rebalance->n_most - rebalance->n_ended
               ? n
               : (uint32_t)(rebalance->n_most - rebalance->n_ended);
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
    struct totals totals = sum_expected(rebalance, service);
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

/* Why it is over; NULL: it is not. */
static const char *find_end(const struct rebalance *rebalance, const struct service *service,
                            uint32_t n_excess, uint64_t now_ns)
{
    if (!service)
        return "the service has gone";
    if (n_excess == 0)
        return "every server has its share";
    if (rebalance->n_ended >= rebalance->n_most)
        return "clients come back to the same servers";
    return now_ns >= rebalance->until_ns + TAIL_NS ? "the time is over" : NULL;
}

static void begin_sweep(struct rebalance *rebalance, const struct service *service,
                        uint32_t n_excess, uint32_t n_now)
{
    if (prepare(rebalance, service)) {
        share_out(rebalance, service, n_now, n_excess);
        rebalance->sweep = sweeper_shed(rebalance->sweeper, rebalance->excess, rebalance->n_excess);
    }
    if (rebalance->sweep <= 0)
        forget_sweep(rebalance);
}

static void take_step(struct rebalance *rebalance, uint64_t now_ns)
{
    const struct service *service =
        service_table_find(&rebalance->runtime->services, rebalance->service);
    uint32_t n_excess = 0;
    uint32_t n_now;
    const char *why;

    rebalance->due_ns = now_ns + STEP_NS;
    if (service) {
        struct totals totals = sum_expected(rebalance, service);

        n_excess = sum_excess(service, &totals);
    }
    why = find_end(rebalance, service, n_excess, now_ns);
    if (why) {
        stop(rebalance, why);
        return;
    }
    n_now = part_now(rebalance, n_excess, now_ns);
    if (n_now > 0 && !rebalance->sweeper->is_busy)
        begin_sweep(rebalance, service, n_excess, n_now);
}

void rebalance_step(struct rebalance *rebalance, uint64_t now_ns, bool may_begin)
{
    if (rebalance->sweep > 0) {
        if (!sweeper_is_over(rebalance->sweeper, rebalance->sweep))
            return;
        if (sweeper_has_result(rebalance->sweeper, rebalance->sweep)) {
            rebalance->n_ended += sweeper_n_ended(rebalance->sweeper);
            sweeper_release(rebalance->sweeper);
        }
        forget_sweep(rebalance);
    }
    if (rebalance->is_on && !may_begin)
        stop(rebalance, "lb4 is on its way out");
    if (rebalance->is_on && now_ns >= rebalance->due_ns)
        take_step(rebalance, now_ns);
}

uint64_t rebalance_due_ns(const struct rebalance *rebalance)
{
    return rebalance->is_on && rebalance->sweep == 0 ? rebalance->due_ns : UINT64_MAX;
}
