#include "lb4/shared/foresee.h"

#include <errno.h>
#include <stdlib.h>

#include "lb4/base/clock.h"
#include "lb4/shared/choice.h"
#include "lb4/shared/place.h"
#include "lb4/shared/ramp.h"

static const struct pick_set nobody; /* was tried */

/* Copies of all that a choice reads and writes. */
struct view {
    struct choice choice;
    _Atomic uint64_t ticket;
    struct backend_slot *slots;
    struct foresight *ret;
};

static bool view_init(struct view *view, struct service *service, struct foresight *ret)
{
    const struct service_plan *plan = ret->plan;

    atomic_init(&view->ticket, atomic_load_explicit(&service->ticket, memory_order_relaxed));
    view->slots = calloc(plan->n_backends, sizeof(*view->slots));
    view->ret = ret;
    view->choice =
        (struct choice){.service = service,
                        .plan = plan,
                        .slots = view->slots,
                        .ticket = &view->ticket,
                        .tried = &nobody,
                        .tries_down = plan->all_down == CONF_ALL_DOWN_ANY,
                        .minds_full = plan->transports & CONF_TCP && place_minds_full(plan)};
    for (size_t i = 0; view->slots && i < plan->n_backends; i++) {
        const struct backend *backend = &service->backends[i];

        atomic_init(&view->slots[i].active, backend_active(backend));
        atomic_init(&view->slots[i].standing, backend_standing(backend));
    }
    return view->slots;
}

/* --- how the servers stand ---------------------------------------------------------------------
 */

static void describe(struct view *view)
{
    struct foresight *ret = view->ret;
    const struct service_plan *plan = ret->plan;

    for (size_t i = 0; i < ret->n; i++) {
        struct foreseen *server = &ret->servers[i];

        server->standing = choice_standing_at(&view->choice, i);
        server->active = choice_load_at(&view->choice, i).active;
        server->rank = choice_rank_at(&view->choice, i);
        if (choice_rank_of(&view->choice, server->standing) > ret->best_rank)
            ret->best_rank = choice_rank_of(&view->choice, server->standing);
    }
    for (size_t i = 0; i < plan->n_sequence; i++)
        ret->servers[plan->sequence[i]].turns++;
}

/* In which order the servers come, from `start` on and round the end. */
static void line_up(struct foresight *ret, const uint16_t *table, size_t n_table, size_t start)
{
    uint32_t n_met = 0;

    for (size_t i = 0; i < n_table; i++) {
        struct foreseen *server = &ret->servers[table[(start + i) % n_table]];

        if (server->queue == 0)
            server->queue = ++n_met;
    }
}

static void queue_up(struct view *view, const struct addr *client)
{
    const struct service_plan *plan = view->ret->plan;

    if (plan->balance == CONF_BALANCE_SOURCE && plan->maglev.n_entries > 0)
        line_up(view->ret, plan->maglev.entries, plan->maglev.n_entries,
                maglev_position(&plan->maglev, client));
    if (plan->balance == CONF_BALANCE_ROUNDROBIN && plan->n_sequence > 0)
        line_up(view->ret, plan->sequence, plan->n_sequence,
                (size_t)(atomic_load(&view->ticket) % plan->n_sequence));
}

/* --- the odds ------------------------------------------------------------------------------------
 */

/* All that are as good as the one that is found have the same odds. */
static void share_least(struct view *view, double share)
{
    const struct choice *choice = &view->choice;
    const struct backend *found = choice_least(&view->choice);
    struct choice_standard best;
    size_t n_good = 0;

    if (!found || share <= 0)
        return;
    best = choice_standard_at(choice, found->index);
    for (size_t i = 0; i < view->ret->n; i++)
        n_good += !choice_is_better(best, choice_standard_at(choice, i));
    for (size_t i = 0; i < view->ret->n; i++)
        if (!choice_is_better(best, choice_standard_at(choice, i)))
            view->ret->servers[i].odds += share / (double)n_good;
}

/* Tables, and no chance in them. */
static void share_by_table(struct view *view, const struct addr *client, double share)
{
    const struct backend *found = choice_by_policy(&view->choice, client);

    if (found)
        view->ret->servers[found->index].odds += share;
    else
        share_least(view, share);
}

/* Of so many draws from the sequence one at least meets one of `turns` turns. */
static double odds_of_finding(double turns, double n_sequence)
{
    double misses = 1;

    for (int i = 0; i < CHOICE_REJECTIONS_MAX; i++)
        misses *= 1 - turns / n_sequence;
    return 1 - misses;
}

/* A server that can be drawn. That it is the first of two, and another the second, has the odds of
 * its `first` times the other's `turns`. */
struct ball {
    struct pick_load load;
    uint16_t place;
    double turns;
    double first;
};

struct urn {
    struct ball *balls;
    size_t n;
    double turns; /* of all */
};

static uint32_t best_rank(const struct view *view)
{
    uint32_t best = PICK_RANK_NONE;

    for (size_t i = 0; i < view->ret->n; i++)
        if (choice_rank_at(&view->choice, i) > best)
            best = choice_rank_at(&view->choice, i);
    return best;
}

static bool urn_init(struct urn *urn, const struct view *view)
{
    const struct foresight *ret = view->ret;
    uint32_t best = best_rank(view);

    *urn = (struct urn){.balls = calloc(ret->n, sizeof(*urn->balls))};
    for (size_t i = 0; urn->balls && best != PICK_RANK_NONE && i < ret->n; i++) {
        if (choice_rank_at(&view->choice, i) != best)
            continue;
        urn->balls[urn->n++] = (struct ball){.load = choice_load_at(&view->choice, i),
                                             .place = (uint16_t)i,
                                             .turns = ret->servers[i].turns};
        urn->turns += ret->servers[i].turns;
    }
    return urn->balls;
}

/* The most loaded first. */
static int compare_balls(const void *left, const void *right)
{
    const struct ball *a = left;
    const struct ball *b = right;

    return pick_is_less(a->load, b->load) - pick_is_less(b->load, a->load);
}

/* What each is worth as the first of two. Returns the odds that there are two. */
static double weigh(struct urn *urn, double n_sequence)
{
    double found = urn->turns > 0 ? odds_of_finding(urn->turns, n_sequence) : 0;
    double both = 0;

    for (size_t i = 0; i < urn->n; i++) {
        struct ball *ball = &urn->balls[i];
        double others = urn->turns - ball->turns;

        if (others <= 0)
            continue;
        ball->first =
            found * ball->turns / urn->turns * odds_of_finding(others, n_sequence) / others;
        both += ball->first * others;
    }
    return both;
}

/* The next ones in the urn that are loaded alike, `n` of them, and the sums of those before them.
 * Each wins as the first over its like and over the more loaded, as the second over the more
 * loaded. */
static void share_alike(struct view *view, const struct ball *alike, size_t n, struct ball *before,
                        double share)
{
    double first = 0;

    for (size_t i = 0; i < n; i++) {
        before->turns += alike[i].turns;
        first += alike[i].first;
    }
    for (size_t i = 0; i < n; i++)
        view->ret->servers[alike[i].place].odds +=
            share *
            (alike[i].first * (before->turns - alike[i].turns) + alike[i].turns * before->first);
    before->first += first;
}

/* Two draws, each of which may give up; then the least loaded is taken. Returns false: no memory.
 */
static bool share_of_two(struct view *view, double share)
{
    struct urn urn;
    bool is_filled = urn_init(&urn, view);
    struct ball before = {.turns = 0};
    double both = 0;
    size_t from = 0;

    if (is_filled) {
        qsort(urn.balls, urn.n, sizeof(*urn.balls), compare_balls);
        both = weigh(&urn, (double)view->ret->plan->n_sequence);
    }
    for (size_t to = 1; is_filled && to <= urn.n; to++) {
        if (to < urn.n && compare_balls(&urn.balls[from], &urn.balls[to]) == 0)
            continue;
        share_alike(view, &urn.balls[from], to - from, &before, share);
        from = to;
    }
    share_least(view, share * (1 - both));
    free(urn.balls);
    return is_filled;
}

static bool share_out(struct view *view, const struct addr *client, double share)
{
    switch (view->ret->plan->balance) {
    case CONF_BALANCE_LEASTCONN:
        share_least(view, share);
        return true;
    case CONF_BALANCE_ROUNDROBIN:
    case CONF_BALANCE_SOURCE:
        share_by_table(view, client, share);
        return true;
    case CONF_BALANCE_RANDOM:
        return share_of_two(view, share);
    }
    return true;
}

/* Those with a ramp have turns of their own, and are spared by all other choices. Returns what is
 * left for those. */
static double share_ramped(struct view *view)
{
    const struct ramp ramp = ramp_sum(&view->choice);
    double left = 1;

    for (size_t i = 0; i < view->ret->n; i++) {
        double share = (double)ramp_part_at(&view->choice, &ramp, i);

        if (share <= 0 || !ramp_may_have(&view->choice, &ramp, i))
            continue;
        view->ret->servers[i].odds += share / (double)ramp.whole;
        left -= share / (double)ramp.whole;
    }
    view->choice.spares = PICK_SPARES_RAMPED;
    return left;
}

/* Every second choice spares those that came back, where loads count. */
static bool share_all(struct view *view, const struct addr *client)
{
    double left = view->ret->has_ramps ? share_ramped(view) : 1;

    if (!choice_follows_load(view->ret->plan))
        return share_out(view, client, left);
    if (!share_out(view, client, left / 2))
        return false;
    view->choice.spares |= PICK_SPARES_FRESH;
    return share_out(view, client, left / 2);
}

/* Whatever the odds are among those that have a place: the client waits for another. */
static void find_full(struct view *view, const struct addr *client)
{
    struct foresight *ret = view->ret;

    if (!ret->plan->has_limits || !(ret->plan->transports & CONF_TCP))
        return;
    ret->is_full = place_must_wait(&view->choice, choice_make(&view->choice, client));
    for (size_t i = 0; ret->is_full && i < ret->n; i++)
        ret->servers[i].odds = 0;
}

/* Whatever the policy says. */
static void find_held(struct view *view, const struct addr *client)
{
    struct foresight *ret = view->ret;
    struct choice choice = view->choice;

    choice.spares = PICK_SPARES_NOBODY;
    choice.minds_full = ret->plan->transports & CONF_TCP && ret->plan->has_limits;
    affinity_foresee(&choice, client, clock_now_ns(), &ret->affinity);
    if (!ret->affinity.is_held)
        return;
    for (size_t i = 0; i < ret->n; i++)
        ret->servers[i].odds = i == ret->affinity.place;
    ret->is_full = false;
}

int service_foresee(struct service *service, const struct addr *client, struct foresight *ret)
{
    const struct service_plan *plan = service_plan(service);
    struct view view;
    bool is_whole;

    *ret = (struct foresight){.plan = plan,
                              .servers = calloc(plan->n_backends, sizeof(*ret->servers)),
                              .n = plan->n_backends};
    is_whole = view_init(&view, service, ret) && ret->servers;
    if (is_whole) {
        ret->has_ramps = choice_has_ramps(&view.choice);
        describe(&view);
        queue_up(&view, client);
        is_whole = share_all(&view, client);
        find_full(&view, client);
        find_held(&view, client);
    }
    for (size_t i = 0; is_whole && i < ret->n; i++)
        ret->n_likely += ret->servers[i].odds > 0;
    free(view.slots);
    if (is_whole)
        return 0;
    foresight_fini(ret);
    return -ENOMEM;
}

void foresight_fini(struct foresight *foresight)
{
    free(foresight->servers);
    foresight->servers = NULL;
}
