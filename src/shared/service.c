#include "lb4/shared/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/scope.h"
#include "lb4/base/sock.h"

static void *alloc_lines(size_t n_bytes)
{
    size_t rounded = (n_bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded);

    return memory ? memset(memory, 0, rounded) : NULL;
}

static void note_most_weight(struct service *service)
{
    uint32_t most = 0;

    for (size_t i = 0; i < service->n_backends; i++) {
        uint32_t weight = backend_weight(&service->backends[i]);

        if (weight > most)
            most = weight;
    }
    atomic_store_explicit(&service->most_weight, most, memory_order_relaxed);
}

static int backends_init(struct service *service, const struct conf_service *from, size_t first)
{
    service->backends = calloc(from->n_servers, sizeof(*service->backends));
    service->slots = alloc_lines(from->n_servers * sizeof(*service->slots));
    if (!service->backends || !service->slots)
        return -ENOMEM;
    service->n_backends = from->n_servers;
    for (size_t i = 0; i < from->n_servers; i++) {
        const struct conf_server *server = &from->servers[i];
        struct backend *backend = &service->backends[i];

        backend->slot = &service->slots[i];
        backend->index = (uint32_t)i;
        backend->stats_index = (uint32_t)(first + i);
        backend->addr = server->addr;
        backend->is_local = sock_is_local(&backend->addr);
        memcpy(backend->name, server->name, sizeof(backend->name));
        backend_set(backend, server->weight | (server->is_backup ? PICK_BACKUP : 0));
    }
    note_most_weight(service);
    return 0;
}

static int sequence_init(struct service *service)
{
    scope_free uint32_t *weights = calloc(service->n_backends, sizeof(*weights));

    if (!weights)
        return -ENOMEM;
    for (size_t i = 0; i < service->n_backends; i++)
        weights[i] = backend_weight(&service->backends[i]);
    service->sequence = pick_sequence(weights, service->n_backends, &service->n_sequence);
    return service->sequence ? 0 : -ENOMEM;
}

static int table_init(struct service *service)
{
    scope_free struct maglev_server *servers = calloc(service->n_backends, sizeof(*servers));

    if (!servers)
        return -ENOMEM;
    for (size_t i = 0; i < service->n_backends; i++) {
        const struct backend *backend = &service->backends[i];

        servers[i] = (struct maglev_server){backend->name, backend_weight(backend)};
    }
    return maglev_init(&service->maglev, servers, service->n_backends);
}

static int policy_init(struct service *service)
{
    switch (service->balance) {
    case CONF_BALANCE_LEASTCONN:
        return 0;
    case CONF_BALANCE_ROUNDROBIN:
    case CONF_BALANCE_RANDOM:
        return sequence_init(service);
    case CONF_BALANCE_SOURCE:
        return service->n_backends > 1 ? table_init(service) : 0;
    }
    return -EINVAL;
}

static uint8_t *copy_text(const char *text, size_t n_bytes)
{
    uint8_t *copy = malloc(n_bytes + 1);

    if (copy)
        memcpy(copy, text, n_bytes);
    return copy;
}

static int texts_init(struct service_check *check, const struct conf_check *from)
{
    if (from->send) {
        check->send = copy_text(from->send, from->n_send);
        check->n_send = from->n_send;
    }
    if (from->expect) {
        check->expect = copy_text(from->expect, from->n_expect);
        check->n_expect = from->n_expect;
    }
    return (from->send && !check->send) || (from->expect && !check->expect) ? -ENOMEM : 0;
}

static int check_init(struct service_check *check, const struct conf_service *from)
{
    *check = (struct service_check){
        .is_probed = conf_is_checked(from),
        .kind = from->check.kind,
        .fall = from->check.fall,
        .rise = from->check.rise,
        .interval_ns = from->check.interval_ms * CLOCK_NS_PER_MS,
        .timeout_ns = from->check.timeout_ms * CLOCK_NS_PER_MS,
        .fast_ns = from->check.fast_ms * CLOCK_NS_PER_MS,
        .port = from->check.port,
        .default_port = from->n_listens > 0 ? addr_port(&from->listens[0].addr) : 0,
    };
    return texts_init(check, &from->check);
}

static int service_init(struct service *service, const struct conf_service *from, size_t first)
{
    int error = backends_init(service, from, first);

    if (error)
        return error;
    service->balance = from->balance;
    service->tries = from->tries;
    service->connect_ns = from->timeouts.connect_ms * CLOCK_NS_PER_MS;
    service->idle_ns = from->timeouts.idle_ms * CLOCK_NS_PER_MS;
    service->half_close_ns = from->timeouts.half_close_ms * CLOCK_NS_PER_MS;
    service->udp_ns = from->timeouts.udp_ms * CLOCK_NS_PER_MS;
    service->transports = conf_transports(from);
    service->udp = from->udp;
    capacity_init(&service->udp_sessions,
                  from->udp.max_sessions ? from->udp.max_sessions : UINT32_MAX);
    memcpy(service->name, from->name, sizeof(service->name));
    error = check_init(&service->check, from);
    return error ? error : policy_init(service);
}

int service_table_init(struct service_table *table, const struct conf *conf)
{
    *table = (struct service_table){0};
    table->services = alloc_lines(conf->n_services * sizeof(*table->services));
    if (!table->services)
        return -ENOMEM;
    table->n_services = conf->n_services;
    for (size_t i = 0; i < conf->n_services; i++) {
        struct service *service = &table->services[i];
        int error = service_init(service, &conf->services[i], table->n_backends);

        if (error) {
            service_table_fini(table);
            return error;
        }
        service->index = (uint32_t)i;
        table->n_backends += service->n_backends;
    }
    return 0;
}

void service_table_fini(struct service_table *table)
{
    for (size_t i = 0; i < table->n_services; i++) {
        struct service *service = &table->services[i];

        free(service->backends);
        free(service->slots);
        free(service->sequence);
        free(service->check.send);
        free(service->check.expect);
        maglev_fini(&service->maglev);
    }
    free(table->services);
    *table = (struct service_table){0};
}

int service_set_weight(struct service *service, struct backend *backend, uint32_t weight)
{
    if (service->balance != CONF_BALANCE_LEASTCONN)
        return -ENOTSUP;
    backend_set_weight(backend, weight);
    note_most_weight(service);
    return 0;
}

/* One choice under way. */
struct choice {
    struct service *service;
    const struct pick_set *tried;
    uint32_t random;
    bool spares_fresh;
};

/* 0..n-1, from the upper bits, which are the good ones of such a generator. */
static size_t draw(struct choice *choice, size_t n)
{
    choice->random = choice->random * 1664525u + 1013904223u;
    return (size_t)((uint64_t)choice->random * n >> 32);
}

static uint32_t standing_at(const struct choice *choice, size_t index)
{
    return atomic_load_explicit(&choice->service->slots[index].standing, memory_order_relaxed);
}

static uint32_t active_at(const struct choice *choice, size_t index)
{
    return atomic_load_explicit(&choice->service->slots[index].active, memory_order_relaxed);
}

static uint32_t rank_at(const struct choice *choice, size_t index)
{
    if (pick_set_has(choice->tried, index))
        return PICK_RANK_NONE;
    return pick_rank(standing_at(choice, index), choice->spares_fresh);
}

static struct pick_load load_at(const struct choice *choice, size_t index)
{
    return (struct pick_load){active_at(choice, index),
                              standing_at(choice, index) & PICK_WEIGHT_MASK};
}

/* The best rank that can be had now. From a random start, since with half of the servers down the
 * first healthy one is then two steps away wherever they stand. */
static uint32_t best_rank(struct choice *choice)
{
    size_t n = choice->service->n_backends;
    size_t at = draw(choice, n);
    uint32_t best = PICK_RANK_NONE;

    for (size_t i = 0; i < n && best < PICK_RANK_BEST; i++) {
        uint32_t rank = rank_at(choice, at);

        if (rank > best)
            best = rank;
        if (++at == n)
            at = 0;
    }
    return best;
}

/* How good a server is, or the one found so far. */
struct standard {
    uint32_t rank;
    struct pick_load load;
};

static bool is_better(struct standard a, struct standard b)
{
    return a.rank > b.rank || (a.rank == b.rank && pick_is_less(a.load, b.load));
}

enum { DRAWS_MAX = 8 }; /* chosen */

/* A few draws for a server that is as good as `standard`: each of those with the same odds. A walk
 * from a random start would give the one that follows busy or dead servers the share of them all.
 */
static struct backend *draw_as_good(struct choice *choice, struct standard standard)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        size_t at = draw(choice, choice->service->n_backends);
        struct standard here = {rank_at(choice, at), load_at(choice, at)};

        if (!is_better(standard, here))
            return &choice->service->backends[at];
    }
    return NULL;
}

struct search {
    struct standard best;
    struct standard enough; /* nobody is better than this */
    struct backend *found;
};

/* Returns true when the search is over. The set of the tried comes last, as few get that far. */
static __attribute__((noinline)) bool consider(const struct choice *choice, struct search *search,
                                               size_t at)
{
    struct standard here = {pick_rank(standing_at(choice, at), choice->spares_fresh),
                            load_at(choice, at)};

    if (!is_better(here, search->best) || pick_set_has(choice->tried, at))
        return false;
    search->best = here;
    search->found = &choice->service->backends[at];
    return !is_better(search->enough, here);
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
    const struct backend_slot *slots = choice->service->slots;
    struct pick_load limit = limit_of(search);

    for (size_t at = from; at < to; at++) {
        uint32_t standing = atomic_load_explicit(&slots[at].standing, memory_order_relaxed);
        uint32_t active = atomic_load_explicit(&slots[at].active, memory_order_relaxed);
        bool is_unusable = standing & PICK_UNUSABLE;

        if (is_unusable | !pick_is_less((struct pick_load){active, standing}, limit))
            continue;
        if (consider(choice, search, at))
            return true;
        limit = limit_of(search);
    }
    return false;
}

/* The same odds for all again, where they are too few for the draws: one pass more. */
static struct backend *any_as_good(struct choice *choice, struct standard standard)
{
    struct backend *chosen = NULL;
    size_t n_good = 0;

    for (size_t at = 0; at < choice->service->n_backends; at++) {
        struct standard here = {rank_at(choice, at), load_at(choice, at)};

        if (!is_better(standard, here) && draw(choice, ++n_good) == 0)
            chosen = &choice->service->backends[at];
    }
    return chosen;
}

/* The least loaded of the best rank. The search ends at the first idle one. */
static struct backend *choose_least(struct choice *choice)
{
    size_t n = choice->service->n_backends;
    size_t start = draw(choice, n);
    uint32_t most_weight =
        atomic_load_explicit(&choice->service->most_weight, memory_order_relaxed);
    struct search search = {
        .best = {PICK_RANK_NONE, {.active = 0, .weight = CONF_WEIGHT_MAX}},
        .enough = {PICK_RANK_BEST, {.active = 0, .weight = most_weight}},
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

    for (size_t i = 0; i < service->n_sequence && i < TICKETS_MAX; i++) {
        uint64_t ticket = atomic_fetch_add_explicit(&service->ticket, 1, memory_order_relaxed);
        uint16_t index = service->sequence[ticket % service->n_sequence];

        if (rank_at(choice, index) == best)
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
    const struct maglev *maglev = &choice->service->maglev;
    uint32_t at = maglev_position(maglev, client);

    for (uint32_t i = 0; i < maglev->n_entries; i++) {
        uint16_t index = maglev->entries[at];

        if (rank_at(choice, index) == best)
            return &choice->service->backends[index];
        if (++at == maglev->n_entries)
            at = 0;
    }
    return NULL;
}

enum { REJECTIONS_MAX = 16 }; /* chosen: 1 in 65,536 choices gives up where half is usable */

/* Each with odds by its weight, `other` never. */
static struct backend *draw_weighted(struct choice *choice, uint32_t best,
                                     const struct backend *other)
{
    struct service *service = choice->service;

    for (int i = 0; i < REJECTIONS_MAX; i++) {
        uint16_t index = service->sequence[draw(choice, service->n_sequence)];

        if (rank_at(choice, index) == best && &service->backends[index] != other)
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
    return pick_is_less(load_at(choice, second->index), load_at(choice, first->index)) ? second
                                                                                       : first;
}

/* The policies other than leastconn. NULL also when other threads or rare servers made them give
 * up. */
static struct backend *choose_by_policy(struct choice *choice, const struct addr *client)
{
    uint32_t best = best_rank(choice);

    if (best == PICK_RANK_NONE)
        return NULL;
    switch (choice->service->balance) {
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

static bool follows_load(enum conf_balance balance)
{
    return balance == CONF_BALANCE_LEASTCONN || balance == CONF_BALANCE_RANDOM;
}

struct backend *service_choose(struct service *service, const struct service_client *client)
{
    struct choice choice = {
        .service = service,
        .tried = client->tried,
        .random = client->random,
        .spares_fresh = follows_load(service->balance) && client->random >> 31,
    };
    struct backend *chosen = NULL;

    if (service->balance != CONF_BALANCE_LEASTCONN)
        chosen = choose_by_policy(&choice, client->addr);
    if (!chosen)
        chosen = choose_least(&choice);
    if (chosen)
        backend_acquire(chosen);
    return chosen;
}
