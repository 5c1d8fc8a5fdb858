#include "lb4/shared/choose.h"

#include "lb4/shared/choice.h"
#include "lb4/shared/ramp.h"

/* The best rank that can be had now. From a random start, since with half of the servers down the
 * first healthy one is then two steps away wherever they stand. */
static uint32_t best_rank(struct choice *choice)
{
    size_t n = choice->plan->n_backends;
    size_t at = choice_draw(choice, n);
    uint32_t best = PICK_RANK_NONE;

    for (size_t i = 0; i < n && best < PICK_RANK_BEST; i++) {
        uint32_t rank = choice_rank_at(choice, at);

        if (rank > best)
            best = rank;
        if (++at == n)
            at = 0;
    }
    return best;
}

enum { DRAWS_MAX = 8 }; /* chosen */

/* A few draws for a server that is as good as `standard`: each of those with the same odds. A walk
 * from a random start would give the one that follows busy or dead servers the share of them all.
 */
static struct backend *draw_as_good(struct choice *choice, struct choice_standard standard)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        size_t at = choice_draw(choice, choice->plan->n_backends);
        struct choice_standard here = choice_standard_at(choice, at);

        if (!choice_is_better(standard, here))
            return &choice->service->backends[at];
    }
    return NULL;
}

struct search {
    struct choice_standard best;
    struct choice_standard enough; /* nobody is better than this */
    struct backend *found;
};

/* Returns true when the search is over. The set of the tried comes last, as few get that far. */
static __attribute__((noinline)) bool consider(const struct choice *choice, struct search *search,
                                               size_t at)
{
    struct choice_standard here = {choice_rank_of(choice, choice_standing_at(choice, at)),
                                   choice_load_at(choice, at)};

    if (!choice_is_better(here, search->best) || pick_set_has(choice->tried, at))
        return false;
    search->best = here;
    search->found = &choice->service->backends[at];
    return !choice_is_better(search->enough, here);
}

/* What a server must be less loaded than to be looked at. Weight 0 is an endless load. */
static struct pick_load limit_of(const struct search *search)
{
    return search->best.rank == PICK_RANK_BEST ? search->best.load : (struct pick_load){0, 0};
}

/* The hot loop of leastconn passes over most servers with a few cycles and one branch each. A
 * standing with flags, taken for a weight, only makes a server look less loaded than it is: it may
 * be looked at in vain, but is not missed. */
static bool search_range(const struct choice *choice, struct search *search, size_t from, size_t to)
{
    const struct backend_slot *slots = choice->slots;
    const uint32_t away =
        (choice->tries_down ? PICK_REFUSED : PICK_UNUSABLE) | (choice->minds_full ? PICK_FULL : 0);
    struct pick_load limit = limit_of(search);

    for (size_t at = from; at < to; at++) {
        uint32_t standing = atomic_load_explicit(&slots[at].standing, memory_order_relaxed);
        uint32_t active = atomic_load_explicit(&slots[at].active, memory_order_relaxed);
        bool is_unusable = standing & away;

        if (is_unusable | !pick_is_less((struct pick_load){active, standing}, limit))
            continue;
        if (consider(choice, search, at))
            return true;
        limit = limit_of(search);
    }
    return false;
}

/* The same odds for all again, where they are too few for the draws: one pass more. */
static struct backend *any_as_good(struct choice *choice, struct choice_standard standard)
{
    struct backend *chosen = NULL;
    size_t n_good = 0;

    for (size_t at = 0; at < choice->plan->n_backends; at++) {
        struct choice_standard here = choice_standard_at(choice, at);

        if (!choice_is_better(standard, here) && choice_draw(choice, ++n_good) == 0)
            chosen = &choice->service->backends[at];
    }
    return chosen;
}

/* The search ends at the first idle one. */
struct backend *choice_least(struct choice *choice)
{
    size_t n = choice->plan->n_backends;
    size_t start = choice_draw(choice, n);
    struct search search = {
        .best = {PICK_RANK_NONE, {.active = 0, .weight = CONF_WEIGHT_MAX}},
        .enough = {PICK_RANK_BEST, {.active = 0, .weight = choice->plan->most_weight}},
    };
    struct backend *twin;

    if (!search_range(choice, &search, start, n))
        search_range(choice, &search, 0, start);
    if (!search.found || n == 1)
        return search.found;
    twin = draw_as_good(choice, search.best);
    if (!twin)
        twin = any_as_good(choice, search.best);
    return twin ? twin : search.found; /* others may have taken places meanwhile */
}

/* Chosen: a round of the largest service with equal weights, and 0.1 ms at the worst. Beyond it
 * less than one ticket in some thousand is any good, and the least loaded of those few will do. */
enum { TICKETS_MAX = CONF_SERVERS_MAX };

/* A server that cannot be taken is passed over with a further ticket: going on to its neighbour in
 * the sequence instead would give that neighbour all of its share. At most one round. */
static struct backend *choose_next(struct choice *choice, uint32_t best)
{
    struct service *service = choice->service;
    const struct service_plan *plan = choice->plan;

    for (size_t i = 0; i < plan->n_sequence && i < TICKETS_MAX; i++) {
        uint64_t ticket = atomic_fetch_add_explicit(choice->ticket, 1, memory_order_relaxed);
        uint16_t index = plan->sequence[ticket % plan->n_sequence];

        if (choice_rank_at(choice, index) == best)
            return &service->backends[index];
    }
    return NULL;
}

/* Two balancers agree: their tables are the same, which holds all servers whatever their state, a
 * client's place in it follows from its address alone, and the walk from there passes over the same
 * servers. Where they think differently of one server, they differ on its own clients only. No
 * randomness and no loads come in, and no PICK_FRESH, as that depends on when a probe was answered.
 * The entries behind those of one server belong to all others, so its clients spread over them. */
static struct backend *choose_by_source(struct choice *choice, uint32_t best,
                                        const struct addr *client)
{
    const struct maglev *maglev = &choice->plan->maglev;
    uint32_t at = maglev_position(maglev, client);

    for (uint32_t i = 0; i < maglev->n_entries; i++) {
        uint16_t index = maglev->entries[at];

        if (choice_rank_at(choice, index) == best)
            return &choice->service->backends[index];
        if (++at == maglev->n_entries)
            at = 0;
    }
    return NULL;
}

/* Each with odds by its weight, `other` never. */
static struct backend *draw_weighted(struct choice *choice, uint32_t best,
                                     const struct backend *other)
{
    struct service *service = choice->service;
    const struct service_plan *plan = choice->plan;

    for (int i = 0; i < CHOICE_REJECTIONS_MAX; i++) {
        uint16_t index = plan->sequence[choice_draw(choice, plan->n_sequence)];

        if (choice_rank_at(choice, index) == best && &service->backends[index] != other)
            return &service->backends[index];
    }
    return NULL;
}

static struct backend *choose_of_two(struct choice *choice, uint32_t best)
{
    struct backend *first = draw_weighted(choice, best, NULL);
    struct backend *second = first ? draw_weighted(choice, best, first) : NULL;

    if (!second)
        return NULL;
    return pick_is_less(choice_load_at(choice, second->index), choice_load_at(choice, first->index))
               ? second
               : first;
}

struct backend *choice_by_policy(struct choice *choice, const struct addr *client)
{
    uint32_t best = best_rank(choice);

    if (best == PICK_RANK_NONE)
        return NULL;
    switch (choice->plan->balance) {
    case CONF_BALANCE_LEASTCONN:
        return NULL;
    case CONF_BALANCE_ROUNDROBIN:
        return choose_next(choice, best);
    case CONF_BALANCE_SOURCE:
        return choose_by_source(choice, best, client);
    case CONF_BALANCE_RANDOM:
        return choose_of_two(choice, best);
    }
    return NULL;
}

struct backend *choice_make(struct choice *choice, const struct addr *client)
{
    struct backend *chosen = NULL;

    if (choice->plan->balance != CONF_BALANCE_LEASTCONN)
        chosen = choice_by_policy(choice, client);
    return chosen ? chosen : choice_least(choice);
}

bool choice_may_have(struct backend *backend)
{
    return !(backend_standing(backend) & PICK_TRIAL) ||
           backend_clear(backend, PICK_TRIAL) & PICK_TRIAL;
}

struct choice choice_begin(struct service *service, const struct service_client *client)
{
    const struct service_plan *plan = service_plan(service);

    return (struct choice){
        .service = service,
        .plan = plan,
        .slots = service->slots,
        .ticket = &service->ticket,
        .tried = client->tried,
        .random = client->random,
        .spares = choice_follows_load(plan) ? client->random >> 31 : PICK_SPARES_NOBODY,
        .tries_down = plan->all_down == CONF_ALL_DOWN_ANY,
    };
}

struct backend *choice_in_turn(struct choice *choice, const struct addr *client)
{
    struct backend *chosen = choice_has_ramps(choice) ? ramp_turn(choice) : NULL;

    return chosen ? chosen : choice_make(choice, client);
}

struct backend *service_choose(struct service *service, const struct service_client *client)
{
    struct choice choice = choice_begin(service, client);
    struct backend *chosen = choice_in_turn(&choice, client->addr);

    if (chosen && !choice_may_have(chosen))
        chosen = choice_make(&choice, client->addr);
    if (chosen)
        backend_acquire(chosen);
    return chosen;
}

static bool has_usable(const struct service *service)
{
    for (size_t i = 0; i < service_plan(service)->n_backends; i++)
        if (!(service_standing(service, i) & PICK_UNUSABLE))
            return true;
    return false;
}

bool service_session_leaves(const struct service *service, uint32_t standing)
{
    const struct service_plan *plan = service_plan(service);

    if (plan->udp.keeps_on_down || !(standing & (PICK_DOWN | PICK_MAINT | PICK_GONE)))
        return false;
    return standing & PICK_REFUSED || plan->all_down != CONF_ALL_DOWN_ANY || has_usable(service);
}
