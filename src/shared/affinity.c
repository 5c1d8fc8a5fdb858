#include "lb4/shared/affinity.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TAKES_MAX = 8 }; /* chosen: each is in vain only if another thread has written the entry */

/* The upper `prefix` bits of 64. */
static uint64_t cut(uint64_t bits, uint32_t prefix)
{
    return prefix == 0 ? 0 : bits & UINT64_MAX << (64 - prefix);
}

static uint64_t load_be64(const uint8_t *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    return be64toh(word);
}

/* Who has none, as on a Unix socket, is nobody's second connection. */
static bool has_address(const struct addr *client)
{
    return client->sa.sa_family == AF_INET || client->sa.sa_family == AF_INET6;
}

/* IPv4 as its mapped address, which no IPv6 client has. Two links may have the same link-local
 * address: their numbers stand in bits that are zero in those. */
struct affinity_key affinity_key_of(const struct service_affinity *affinity,
                                    const struct addr *client)
{
    const struct sockaddr_in6 *in6 = &client->in6;
    uint64_t upper;

    if (client->sa.sa_family == AF_INET)
        return (struct affinity_key){
            {0,
             0xffffull << 32 |
                 cut((uint64_t)ntohl(client->in4.sin_addr.s_addr) << 32, affinity->prefix4) >> 32}};
    upper = load_be64(in6->sin6_addr.s6_addr);
    if (affinity->prefix6 <= 64)
        return (struct affinity_key){{cut(upper, affinity->prefix6) ^ in6->sin6_scope_id, 0}};
    return (struct affinity_key){
        {upper ^ in6->sin6_scope_id,
         cut(load_be64(in6->sin6_addr.s6_addr + 8), affinity->prefix6 - 64)}};
}

/* One that a newer plan has brought is not known to this one: nobody. */
static struct affinity_home home_of(const struct service_plan *plan, const struct backend *backend)
{
    uint32_t place = backend->index;

    return (struct affinity_home){
        place, plan->serials && place < plan->n_backends ? plan->serials[place] : 0};
}

/* Those that leave are told apart, too: they may serve until others can. */
int affinity_prepare(struct service *service, struct service_plan *plan)
{
    if (!affinity_is_on(plan))
        return 0;
    if (!service->affinity)
        service->affinity = affinity_table_new();
    plan->serials = calloc(plan->n_backends + 1, sizeof(*plan->serials));
    if (!service->affinity || !plan->serials)
        return -ENOMEM;
    for (size_t i = 0; i < plan->n_backends; i++)
        if (service->backends[i].state != BACKEND_NONE)
            plan->serials[i] = service->backends[i].serial;
    return 0;
}

/* --- does a server hold its clients? ------------------------------------------------------------
 */

/* The plan tells which server is in the place now; one that has come in this very turn may have no
 * affinity any more. */
static bool is_there(const struct service_plan *plan, struct affinity_home home)
{
    return home.serial != 0 && plan->serials && home.place < plan->n_backends &&
           plan->serials[home.place] == home.serial;
}

static bool has_better(const struct choice *choice, uint32_t rank)
{
    for (size_t i = 0; rank < PICK_RANK_BEST && i < choice->plan->n_backends; i++)
        if (!pick_set_has(choice->tried, i) &&
            choice_rank_of(choice, choice_standing_at(choice, i)) > rank)
            return true;
    return false;
}

/* NULL: it does. */
static const char *why_not(const struct choice *choice, struct affinity_home home)
{
    uint32_t standing;
    uint32_t rank;

    if (home.serial == 0)
        return "was left by an operator's wish"; /* kill, rebalance */
    if (!is_there(choice->plan, home))
        return "is gone";
    standing = choice_standing_at(choice, home.place);
    rank = choice_rank_of(choice, standing);
    if (rank == PICK_RANK_NONE)
        return standing & PICK_REFUSED ? "takes no new clients" : "is not up";
    if (pick_set_has(choice->tried, home.place))
        return "was tried";
    if (standing & PICK_FULL && choice->minds_full)
        return "is full";
    return has_better(choice, rank) ? "comes after others that are usable" : NULL;
}

/* A choice that spares nobody: affinity knows no ramps. */
static struct choice begin(struct service *service, const struct service_client *client,
                           const struct affinity_visit *visit)
{
    struct choice choice = choice_begin(service, client);

    choice.spares = PICK_SPARES_NOBODY;
    choice.minds_full = choice.plan->has_limits && !visit->is_udp;
    return choice;
}

/* --- taking a place -----------------------------------------------------------------------------
 */

static bool take_at(struct service *service, struct backend *backend, bool is_udp)
{
    if (!choice_may_have(backend))
        return false;
    if (!is_udp)
        return place_take_at(service, backend);
    backend_acquire(backend);
    return true;
}

static enum place_result take_by_policy(struct service *service,
                                        const struct service_client *client, bool is_udp,
                                        struct backend **ret)
{
    if (!is_udp)
        return place_take(service, client, ret);
    *ret = service_choose(service, client);
    return *ret ? PLACE_TAKEN : PLACE_NOBODY;
}

/* One client's way through: what is known of it, and where it goes. */
struct take {
    struct service *service;
    const struct service_client *client;
    const struct affinity_visit *visit;
    const struct service_plan *plan;
    struct affinity_key key;
    struct affinity_seen seen;
    bool is_known;
};

/* NULL: nobody holds it. */
static struct backend *take_home(const struct take *take)
{
    struct choice choice;
    struct backend *home;

    if (!take->is_known)
        return NULL;
    choice = begin(take->service, take->client, take->visit);
    if (why_not(&choice, take->seen.home))
        return NULL;
    home = &take->service->backends[take->seen.home.place];
    return take_at(take->service, home, take->visit->is_udp) ? home : NULL;
}

/* Write where it goes. false: another thread has written, too. */
static bool note_choice(const struct take *take, const struct backend *chosen,
                        enum affinity_result *ret_result)
{
    const struct affinity_begin begin = {home_of(take->plan, chosen), take->visit->now_ns,
                                         take->plan->affinity.lasts_ns};
    struct affinity_table *table = take->service->affinity;

    *ret_result = AFFINITY_NEW;
    if (!take->is_known)
        return affinity_table_add(table, &take->key, &begin, take->visit->hold) != AFFINITY_KNOWN;
    if (take->seen.home.serial != begin.home.serial)
        *ret_result = AFFINITY_MOVED;
    else
        *ret_result = AFFINITY_KEPT;
    return affinity_table_move(table, &take->seen, begin.home) &&
           affinity_table_touch(table, &take->seen, begin.now_ns, take->visit->hold);
}

static enum place_result take_once(struct take *take, struct backend **ret,
                                   enum affinity_result *ret_result, bool *ret_is_noted)
{
    struct affinity_table *table = take->service->affinity;
    enum place_result result;

    take->is_known = affinity_table_find(table, &take->key, take->visit->now_ns, &take->seen) &&
                     !affinity_is_over(&take->seen, take->plan->affinity.lasts_ns);
    *ret = take_home(take);
    *ret_is_noted = true;
    if (*ret) {
        *ret_result = AFFINITY_KEPT;
        *ret_is_noted =
            affinity_table_touch(table, &take->seen, take->visit->now_ns, take->visit->hold);
        return PLACE_TAKEN;
    }
    result = take_by_policy(take->service, take->client, take->visit->is_udp, ret);
    if (result == PLACE_TAKEN)
        *ret_is_noted = note_choice(take, *ret, ret_result);
    return result;
}

enum place_result affinity_take(struct service *service, const struct service_client *client,
                                const struct affinity_visit *visit, struct backend **ret,
                                enum affinity_result *ret_result)
{
    const struct service_plan *plan = service_plan(service);
    struct take take = {.service = service, .client = client, .visit = visit, .plan = plan};

    *ret_result = AFFINITY_NEW;
    if (!has_address(client->addr))
        return take_by_policy(service, client, visit->is_udp, ret);
    take.key = affinity_key_of(&plan->affinity, client->addr);
    for (int n = 1;; n++) {
        bool is_noted;
        enum place_result result = take_once(&take, ret, ret_result, &is_noted);

        if (result != PLACE_TAKEN)
            *ret_result = AFFINITY_NONE;
        if (result != PLACE_TAKEN || is_noted || n == TAKES_MAX)
            return result;
        place_give_back(service, *ret);
    }
}

void affinity_break(struct service *service, const struct backend *backend,
                    struct affinity_hold *hold)
{
    if (hold->slot > 0 && backend)
        affinity_table_forget(service->affinity, hold, home_of(service_plan(service), backend));
    affinity_leave(service, hold);
}

/* --- for operators ------------------------------------------------------------------------------
 */

static uint64_t left_ns(const struct affinity_seen *seen, uint64_t lasts_ns)
{
    return seen->age_ns < lasts_ns ? lasts_ns - seen->age_ns : 0;
}

void affinity_foresee(const struct choice *choice, const struct addr *client, uint64_t now_ns,
                      struct affinity_view *ret)
{
    const struct service_affinity *affinity = &choice->plan->affinity;
    struct affinity_key key;
    struct affinity_seen seen;

    *ret = (struct affinity_view){0};
    if (!affinity_is_on(choice->plan) || !has_address(client))
        return;
    key = affinity_key_of(affinity, client);
    if (!affinity_table_find(choice->service->affinity, &key, now_ns, &seen) ||
        affinity_is_over(&seen, affinity->lasts_ns))
        return;
    *ret = (struct affinity_view){
        .is_known = true,
        .is_present = is_there(choice->plan, seen.home),
        .why = why_not(choice, seen.home),
        .place = seen.home.place,
        .n_live = seen.n_live,
        .left_ns = left_ns(&seen, affinity->lasts_ns),
    };
    ret->is_held = !ret->why;
}

size_t affinity_count(const struct service *service, uint64_t now_ns)
{
    uint64_t lasts_ns = service_plan(service)->affinity.lasts_ns;

    return lasts_ns > 0 ? affinity_table_count(service->affinity, now_ns, lasts_ns) : 0;
}

bool affinity_next(const struct service *service, uint64_t now_ns, size_t *at,
                   struct affinity_guest *ret)
{
    const struct service_plan *plan = service_plan(service);
    struct affinity_seen seen;

    while (affinity_is_on(plan) &&
           affinity_table_next(service->affinity, now_ns, at, &ret->key, &seen)) {
        if (seen.home.serial == 0 || affinity_is_over(&seen, plan->affinity.lasts_ns))
            continue;
        ret->is_present = is_there(plan, seen.home);
        ret->place = seen.home.place;
        ret->n_live = seen.n_live;
        ret->left_ns = left_ns(&seen, plan->affinity.lasts_ns);
        return true;
    }
    return false;
}

/* Of a link-local address the link's number is left out, which stands in its zeros. */
const char *affinity_format(const struct service_affinity *affinity, const struct affinity_key *key,
                            char text[static SOURCE_TEXT_MAX])
{
    struct source_key source = {.net = {key->words[0], key->words[1]},
                                .kind = AF_INET6 << 8 | affinity->prefix6};

    if (key->words[0] == 0 && key->words[1] >> 32 == 0xffff)
        source = (struct source_key){.net = {key->words[1] << 32},
                                     .kind = AF_INET << 8 | affinity->prefix4};
    else if (key->words[0] >> 54 == 0xfe80 >> 6)
        source.net[0] &= ~0ull << 32;
    return source_format(&source, text);
}
