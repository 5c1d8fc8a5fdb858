#include "lb4/relay/udp_admit.h"

#include "lb4/base/sock.h"
#include "lb4/relay/udp_up.h"

enum {
    HOST_SEEN_MAX = 16, /* chosen, see longest_of_host() */
    OWED_MAX = 32       /* chosen: of one share in one turn; who still needs more asks again */
};

/* Its datagrams of this very batch still go. */
static void evict(struct udp_relay *relay, struct udp_session *session)
{
    if (!list_is_empty(&session->touched))
        udp_up_send(relay, session);
    udp_session_close(relay, session, UDP_END_EVICTED);
}

static bool take_places(struct udp_relay *relay, struct udp_share *share)
{
    struct udp_session *victim;

    while (!udp_share_take(share, &victim)) {
        relay->is_short = true;
        if (!victim)
            return false;
        evict(relay, victim);
    }
    return true;
}

/* A host that has its share has many sessions, so the first of a few is likely to be its. */
static struct udp_session *longest_of_host(const struct udp_share *share, enum udp_tier tier,
                                           uint32_t host)
{
    const struct list *tier_list = &share->tiers[tier];
    struct list *link = tier_list->next;

    for (int i = 0; i < HOST_SEEN_MAX && link != tier_list; i++, link = link->next) {
        struct udp_session *session = container_of(link, struct udp_place, link)->session;

        if (session->entry.host == host)
            return session;
    }
    return NULL;
}

/* Beyond its share a host, which may be many clients behind one address, replaces its own. */
static bool make_place_of_host(struct udp_relay *relay, const struct addr *client)
{
    uint32_t host = udp_table_host(&relay->table, client);
    struct udp_session *victim;

    if (relay->table.hosts[host] < relay->host_max)
        return true;
    victim = longest_of_host(&relay->share, UDP_TIER_ANSWERED, host);
    if (!victim)
        victim = longest_of_host(&relay->share, UDP_TIER_TRIAL, host);
    if (!victim)
        return false;
    evict(relay, victim);
    return true;
}

static bool make_place(struct udp_relay *relay, struct service *service, const struct addr *client)
{
    struct udp_share *of_service = &relay->services[service->index].share;

    if (!make_place_of_host(relay, client) || !take_places(relay, of_service))
        return false;
    if (take_places(relay, &relay->share))
        return true;
    udp_share_untake(of_service);
    return false;
}

void udp_evict_owed(struct udp_relay *relay, struct udp_share *share)
{
    struct udp_debt debt = udp_share_debt(share);
    struct udp_session *victim;

    for (uint32_t i = 0; i < debt.n_trial && i < OWED_MAX; i++)
        if ((victim = udp_share_longest(share, UDP_TIER_TRIAL)))
            evict(relay, victim);
    for (uint32_t i = 0; i < debt.n_any && i < OWED_MAX; i++)
        if ((victim = udp_share_victim(share)))
            evict(relay, victim);
}

/* There may be less than our room: programs beside us hold local ports, too. Then another session
 * gives its own for this one, as where the room is full. */
static bool bind_first(struct udp_relay *relay, struct udp_session *session,
                       enum udp_drop *ret_drop)
{
    struct udp_session *victim;
    bool is_bound = udp_up_bind(relay, session, ret_drop);

    if (is_bound || *ret_drop != UDP_DROP_LIMIT)
        return is_bound;
    victim = udp_share_spare(&relay->share);
    if (!victim || victim == session)
        return false;
    evict(relay, victim);
    pick_set_free(&session->tried);
    relay->has_freed_port = true;
    is_bound = udp_up_bind(relay, session, ret_drop);
    relay->has_freed_port = false;
    return is_bound;
}

/* An answer of ours to one of our own listeners would be answered, and so on for ever. */
static bool is_loop(const struct udp_relay *relay, const struct addr *client)
{
    uint16_t port = addr_port(client);

    return (relay->listener_ports[port / 64] >> (port % 64) & 1) && sock_is_local(client);
}

static bool is_let_in(struct udp_relay *relay, struct service *service, const struct addr *client,
                      struct admission *ret, enum udp_drop *ret_drop)
{
    enum refusal refusal = admit_ask(service, client, true, relay->loop->now_ns, ret);

    if (refusal == REFUSAL_NONE)
        return true;
    refuse_tell(relay->refuse, service, client, refusal, relay->loop->now_ns);
    *ret_drop = admit_drop_reason(refusal);
    return false;
}

/* Can it answer from the address that was asked, to the client's family? */
static bool answers_from(const struct udp_listener *listener, const struct addr *asked)
{
    if (!listener->is_wildcard)
        return addr_equal(&listener->at, asked);
    return addr_port(&listener->at) == addr_port(asked) && !addr_is_wildcard(asked) &&
           (listener->is_dual_stack || listener->at.sa.sa_family == asked->sa.sa_family);
}

/* Whose session it is. With PROXY headers, only the old one knew whom to believe. NULL: nobody's.
 */
static const struct udp_listener *receiver(const struct udp_listener *listener,
                                           const struct udp_key *key)
{
    const struct udp_listener *heir = listener->heir;

    if (!listener->is_leaving)
        return listener;
    if (!heir || heir->is_leaving || heir->source.is_closed || heir->source.fd < 0 ||
        listener->accept_proxy || heir->accept_proxy || !answers_from(heir, &key->asked))
        return NULL;
    return heir;
}

struct udp_session *udp_admit(struct udp_relay *relay, const struct udp_listener *arrived,
                              const struct udp_key *key, enum udp_drop *ret_drop)
{
    const struct udp_listener *listener = receiver(arrived, key);
    struct udp_session *session = NULL;
    struct admission admission = {0};

    *ret_drop = UDP_DROP_DRAIN;
    if (relay->is_draining || !listener)
        return NULL;
    *ret_drop = UDP_DROP_LOOP;
    if (is_loop(relay, udp_key_peer(key)))
        return NULL;
    if (!is_let_in(relay, listener->service, &key->client, &admission, ret_drop))
        return NULL;
    *ret_drop = UDP_DROP_LIMIT;
    if (relay->services[listener->service->index].timeout &&
        make_place(relay, listener->service, &key->client))
        session = udp_session_new(relay, listener, key);
    if (!session) {
        admit_leave(listener->service, &admission);
        return NULL;
    }
    session->admission = admission;
    if (bind_first(relay, session, ret_drop))
        return session;
    udp_session_close(relay, session, UDP_END_ERROR);
    return NULL;
}
