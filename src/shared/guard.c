#include "lb4/shared/guard.h"

#include <errno.h>
#include <inttypes.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/number.h"
#include "lb4/shared/service.h"

/* Lines of one service's bans: ten at once, and ten a second; chosen. */
static const struct rate tell_rate = {100 * 1000000ull, 1000 * 1000000ull};

struct guard_plan guard_plan_from(const struct conf_guard *conf)
{
    struct guard_plan plan = {
        .has_sources = conf_guards_sources(conf),
        .prefix4 = conf->prefix4 ? conf->prefix4 : CONF_PREFIX4,
        .prefix6 = conf->prefix6 ? conf->prefix6 : CONF_PREFIX6,
        .per_source = conf->per_source,
        .maxconn = conf->maxconn,
        .rate_source = rate_from(&conf->rate_source),
        .rate_datagrams = rate_from(&conf->rate_datagrams),
        .rate = rate_from(&conf->rate),
        .ban_after = conf->ban.n_refused,
        .ban_within_ns = conf->ban.within_ms * CLOCK_NS_PER_MS,
        .ban_for_ns = conf->ban.for_ms * CLOCK_NS_PER_MS,
    };

    plan.is_on = plan.has_sources || plan.maxconn > 0 || plan.rate.interval_ns > 0;
    return plan;
}

static const struct guard_plan *plan_of(const struct service *service)
{
    return &service_plan(service)->guard;
}

static struct source_key key_of(const struct guard_plan *plan, const struct addr *client)
{
    return source_key_of(client, plan->prefix4, plan->prefix6);
}

/* --- in and out ------------------------------------------------------------------------------- */

static bool has_room(const struct rate *rate, const rate_debt *debt, uint64_t now_ns)
{
    return rate_room(rate, debt, now_ns) > 0;
}

/* Without taking anything. */
static enum refusal judge_source(const struct guard_plan *plan, const struct source_entry *source,
                                 bool is_session, uint64_t now_ns)
{
    if (plan->ban_after > 0 && source_is_banned(source, now_ns))
        return REFUSAL_BANNED;
    if (!has_room(&plan->rate_source, &source->arrivals, now_ns) ||
        (is_session && !has_room(&plan->rate_datagrams, &source->datagrams, now_ns)))
        return REFUSAL_RATE_SOURCE;
    return REFUSAL_NONE;
}

/* The source is pinned, and is not any more. */
static enum refusal enter_source(const struct guard_plan *plan, struct source_entry *source,
                                 bool is_session, uint64_t now_ns, struct guard_places *ret)
{
    enum refusal refusal = judge_source(plan, source, is_session, now_ns);

    if (refusal == REFUSAL_NONE && !source_take(source, plan->per_source))
        refusal = REFUSAL_PER_SOURCE;
    if (refusal == REFUSAL_NONE)
        ret->source = source;
    else
        source_unpin(source);
    return refusal;
}

static enum refusal enter_service(const struct guard_plan *plan, struct guard *guard,
                                  bool is_session, uint64_t now_ns, struct guard_places *ret)
{
    if (!has_room(&plan->rate, &guard->arrivals, now_ns))
        return REFUSAL_RATE;
    if (plan->maxconn == 0 || is_session)
        return REFUSAL_NONE;
    ret->has_connection = capacity_acquire(&guard->connections);
    return ret->has_connection ? REFUSAL_NONE : REFUSAL_MAXCONN;
}

/* There was room a moment ago; others may have been quicker. */
static enum refusal pay(const struct guard_plan *plan, struct guard *guard, bool is_session,
                        uint64_t now_ns, const struct guard_places *places)
{
    struct source_entry *source = places->source;

    if (source && rate_take(&plan->rate_source, &source->arrivals, now_ns, 1) == 0)
        return REFUSAL_RATE_SOURCE;
    if (source && is_session &&
        rate_take(&plan->rate_datagrams, &source->datagrams, now_ns, 1) == 0)
        return REFUSAL_RATE_SOURCE;
    return rate_take(&plan->rate, &guard->arrivals, now_ns, 1) > 0 ? REFUSAL_NONE : REFUSAL_RATE;
}

enum refusal guard_ask(struct service *service, const struct addr *client, bool is_session,
                       uint64_t now_ns, struct guard_places *ret)
{
    const struct guard_plan *plan = plan_of(service);
    struct guard *guard = &service->guard;
    enum refusal refusal = REFUSAL_NONE;

    *ret = (struct guard_places){0};
    if (!plan->is_on)
        return REFUSAL_NONE;
    if (plan->has_sources && !addr_is_unix(client)) {
        struct source_key key = key_of(plan, client);

        refusal = enter_source(plan, sources_enter(guard->sources, &key, now_ns), is_session,
                               now_ns, ret);
    }
    if (refusal == REFUSAL_NONE)
        refusal = enter_service(plan, guard, is_session, now_ns, ret);
    if (refusal == REFUSAL_NONE)
        refusal = pay(plan, guard, is_session, now_ns, ret);
    if (refusal != REFUSAL_NONE)
        guard_leave(service, ret);
    return refusal;
}

void guard_leave(struct service *service, struct guard_places *places)
{
    if (places->source)
        source_give(places->source);
    if (places->has_connection)
        capacity_release(&service->guard.connections);
    *places = (struct guard_places){0};
}

/* --- datagrams -------------------------------------------------------------------------------- */

/* One that came in before there was a table takes its place now, whatever the limit. */
static struct source_entry *source_of(struct service *service, const struct guard_plan *plan,
                                      const struct addr *client, struct guard_places *places,
                                      uint64_t now_ns)
{
    if (!places->source) {
        struct source_key key = key_of(plan, client);
        struct source_entry *source = sources_enter(service->guard.sources, &key, now_ns);

        if (source_take(source, 0))
            places->source = source;
        else
            source_unpin(source);
    }
    return places->source;
}

uint32_t guard_ask_datagrams(struct service *service, const struct addr *client,
                             struct guard_places *places, uint64_t now_ns, uint32_t n)
{
    const struct guard_plan *plan = plan_of(service);
    struct source_entry *source = source_of(service, plan, client, places, now_ns);

    return source ? rate_take(&plan->rate_datagrams, &source->datagrams, now_ns, n) : 0;
}

void guard_charge_datagrams(struct service *service, const struct guard_places *places,
                            uint64_t now_ns, uint32_t n)
{
    if (places->source && n > 0)
        rate_charge(&plan_of(service)->rate_datagrams, &places->source->datagrams, now_ns, n);
}

/* --- bans ------------------------------------------------------------------------------------- */

/* What a client did itself: that the service is full, or busy, is not. A wrong header comes from a
 * balancer that is believed: to ban it would keep out its own probes of us, and none of the clients
 * that it names. */
static bool counts(enum refusal refusal)
{
    switch (refusal) {
    case REFUSAL_DENIED:
    case REFUSAL_PEER:
    case REFUSAL_PER_SOURCE:
    case REFUSAL_RATE_SOURCE:
        return true;
    case REFUSAL_HEADER:
    case REFUSAL_HEADER_LATE:
    case REFUSAL_BANNED:
    case REFUSAL_HEADER_FULL:
    case REFUSAL_RATE:
    case REFUSAL_MAXCONN:
    case REFUSAL_NONE:
        break;
    }
    return false;
}

/* At a bounded rate; the next line tells of those that had none. */
static void tell(struct service *service, const struct addr *client, const struct source_key *key,
                 enum refusal refusal, uint64_t now_ns)
{
    static const struct log_key keys[] = {
        {"service", LOG_TEXT}, {"client", LOG_ADDR},    {"source", LOG_TEXT},  {"reason", LOG_TEXT},
        {"for_ms", LOG_MS},    {"refused", LOG_NUMBER}, {"untold", LOG_NUMBER}};
    static const struct log_form form = {"ban", keys, sizeof(keys) / sizeof(keys[0])};
    const struct guard_plan *plan = plan_of(service);
    struct guard *guard = &service->guard;
    char host[ADDR_TEXT_MAX];
    char source[SOURCE_TEXT_MAX];
    char text[NUMBER_TEXT_MAX];
    uint32_t n_untold;

    if (rate_take(&tell_rate, &guard->told, now_ns, 1) == 0) {
        atomic_fetch_add_explicit(&guard->n_untold, 1, memory_order_relaxed);
        return;
    }
    n_untold = atomic_exchange_explicit(&guard->n_untold, 0, memory_order_relaxed);
    source_format(key, source);
    log_told(LOG_LEVEL_WARN, &form,
             (const union log_value[]){{.text = service->name},
                                       {.addr = client},
                                       {.text = source},
                                       {.text = refusal_word(refusal)},
                                       {.number = plan->ban_for_ns},
                                       {.number = plan->ban_after},
                                       {.number = n_untold}},
             "banned client %s of %s: source %s for %s, refused %" PRIu32
             " times, the last time: %s; bans before it that were not told of: %" PRIu32,
             addr_format(client, host), service->name, source,
             number_format_duration(plan->ban_for_ns / CLOCK_NS_PER_MS, text), plan->ban_after,
             refusal_word(refusal), n_untold);
}

/* After the ban the count begins anew. */
static void ban(struct guard *guard, const struct guard_plan *plan, struct source_entry *source,
                enum refusal refusal, uint64_t now_ns)
{
    source_pardon(source, now_ns);
    sources_ban(guard->sources, source, now_ns + plan->ban_for_ns);
    source_blame(source, plan->ban_after, refusal);
    atomic_fetch_add_explicit(&guard->n_bans, 1, memory_order_relaxed);
}

void guard_note_refusal(struct service *service, const struct addr *client, enum refusal refusal,
                        uint64_t now_ns)
{
    const struct guard_plan *plan = plan_of(service);
    struct sources *sources = service->guard.sources;
    struct source_key key;
    struct source_entry *source;

    if (plan->ban_after == 0 || !counts(refusal))
        return;
    key = key_of(plan, client);
    source = sources_enter(sources, &key, now_ns);
    if (!source_is_shared(sources, source) && !source_is_banned(source, now_ns) &&
        source_note_refusal(source, now_ns, plan->ban_within_ns) >= plan->ban_after) {
        ban(&service->guard, plan, source, refusal, now_ns);
        tell(service, client, &key, refusal, now_ns);
    }
    source_unpin(source);
}

bool guard_pardon(struct service *service, const struct addr *client, uint64_t now_ns)
{
    const struct guard_plan *plan = plan_of(service);
    struct source_key key = key_of(plan, client);
    struct source_entry *source =
        plan->has_sources ? sources_find(service->guard.sources, &key) : NULL;
    bool was_banned;

    if (!source)
        return false;
    was_banned = source_pardon(source, now_ns);
    source_unpin(source);
    return was_banned;
}

size_t guard_pardon_all(struct service *service, uint64_t now_ns)
{
    return plan_of(service)->has_sources ? sources_pardon_all(service->guard.sources, now_ns) : 0;
}

/* --- control ---------------------------------------------------------------------------------- */

int guard_prepare(struct guard *guard, const struct guard_plan *plan, uint64_t n_clients)
{
    if (plan->has_sources && !guard->sources)
        guard->sources = sources_new(n_clients);
    return plan->has_sources && !guard->sources ? -ENOMEM : 0;
}

size_t guard_adopt(struct guard *guard, const struct guard_plan *before,
                   const struct guard_plan *now, uint64_t now_ns)
{
    bool is_same = before->prefix4 == now->prefix4 && before->prefix6 == now->prefix6;

    capacity_set_limit(&guard->connections, now->maxconn ? now->maxconn : UINT32_MAX);
    if (guard->sources && before->ban_after > 0 && (now->ban_after == 0 || !is_same))
        return sources_pardon_all(guard->sources, now_ns);
    return 0;
}

void guard_fini(struct guard *guard)
{
    sources_free(guard->sources);
    *guard = (struct guard){0};
}

/* Datagrams count where there are no connections. */
static void foresee_source(const struct service_plan *service, const struct source_entry *source,
                           uint64_t now_ns, struct guard_outlook *ret)
{
    const struct guard_plan *plan = &service->guard;
    uint64_t banned_ns = atomic_load_explicit(&source->banned_ns, memory_order_relaxed);

    ret->n_live = source_live(source);
    ret->n_refused = source_refusals(source, now_ns);
    ret->banned_ns = banned_ns > now_ns ? banned_ns - now_ns : 0;
    ret->rate_room = rate_room(&plan->rate_source, &source->arrivals, now_ns);
    ret->datagrams_room = rate_room(&plan->rate_datagrams, &source->datagrams, now_ns);
    ret->refusal = judge_source(plan, source, service->transports == CONF_UDP, now_ns);
    if (ret->refusal == REFUSAL_NONE && plan->per_source > 0 && ret->n_live >= plan->per_source)
        ret->refusal = REFUSAL_PER_SOURCE;
}

void guard_foresee(struct service *service, const struct addr *client, uint64_t now_ns,
                   struct guard_outlook *ret)
{
    const struct guard_plan *plan = plan_of(service);
    struct guard *guard = &service->guard;
    struct source_key key = key_of(plan, client);
    struct source_entry *source = plan->has_sources ? sources_find(guard->sources, &key) : NULL;
    rate_debt none = 0;

    *ret = (struct guard_outlook){
        .refusal = REFUSAL_NONE,
        .rate_room = rate_room(&plan->rate_source, &none, now_ns),
        .datagrams_room = rate_room(&plan->rate_datagrams, &none, now_ns),
        .service_rate_room = rate_room(&plan->rate, &guard->arrivals, now_ns),
        .n_connections = capacity_used(&guard->connections),
    };
    source_format(&key, ret->source);
    if (source) {
        foresee_source(service_plan(service), source, now_ns, ret);
        source_unpin(source);
    }
    if (ret->refusal != REFUSAL_NONE)
        return;
    if (ret->service_rate_room == 0)
        ret->refusal = REFUSAL_RATE;
    else if (plan->maxconn > 0 && service_plan(service)->transports != CONF_UDP &&
             ret->n_connections >= plan->maxconn)
        ret->refusal = REFUSAL_MAXCONN;
}
