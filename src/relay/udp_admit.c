#include "lb4/relay/udp_admit.h"

#include "lb4/base/sock.h"
#include "lb4/relay/udp_up.h"

enum { ON_TRIAL_SEEN = 16 }; /* chosen, see evict_of_service() */

static struct udp_session *session_of(struct udp_entry *entry)
{
    return container_of(entry, struct udp_session, entry);
}

/* Its datagrams of this very batch still go. */
static void evict(struct udp_relay *relay, struct udp_session *session)
{
    if (!list_is_empty(&session->touched))
        udp_up_send(relay, session);
    udp_session_close(relay, session, UDP_END_EVICTED);
}

/* The service is full. Of those on trial for longest one may be its own; a flood at this service
 * has them all. */
static bool evict_of_service(struct udp_relay *relay, const struct service *service)
{
    const struct list *trial = &relay->table.trial;
    struct list *link = trial->next;

    for (int i = 0; i < ON_TRIAL_SEEN && link != trial; i++, link = link->next) {
        struct udp_session *session = session_of(container_of(link, struct udp_entry, tier));

        if (session->service == service) {
            evict(relay, session);
            return true;
        }
    }
    return false;
}

static bool take_places(struct udp_relay *relay, struct service *service)
{
    if (!capacity_acquire(&service->udp_sessions) &&
        !(evict_of_service(relay, service) && capacity_acquire(&service->udp_sessions)))
        return false;
    if (capacity_acquire(relay->capacity))
        return true;
    capacity_release(&service->udp_sessions);
    return false;
}

static bool make_place(struct udp_relay *relay, struct service *service, const struct addr *client)
{
    struct udp_entry *victim;

    switch (udp_table_room(&relay->table, client, &victim)) {
    case UDP_ROOM_FREE:
        break;
    case UDP_ROOM_EVICT:
        evict(relay, session_of(victim));
        break;
    case UDP_ROOM_HOST:
    case UDP_ROOM_NONE:
        return false;
    }
    return take_places(relay, service);
}

/* An answer of ours to one of our own listeners would be answered, and so on for ever. */
static bool is_loop(const struct udp_relay *relay, const struct addr *client)
{
    uint16_t port = addr_port(client);

    return (relay->listener_ports[port / 64] >> (port % 64) & 1) && sock_is_local(client);
}

struct udp_session *udp_admit(struct udp_relay *relay, const struct udp_listener *listener,
                              const struct udp_key *key, enum udp_drop *ret_drop)
{
    struct udp_session *session = NULL;

    *ret_drop = UDP_DROP_DRAIN;
    if (relay->is_draining || listener->is_leaving)
        return NULL;
    *ret_drop = UDP_DROP_LOOP;
    if (is_loop(relay, &key->client))
        return NULL;
    *ret_drop = UDP_DROP_LIMIT;
    if (make_place(relay, listener->service, &key->client))
        session = udp_session_new(relay, listener, key);
    if (!session || udp_up_bind(relay, session, ret_drop))
        return session;
    udp_session_close(relay, session, UDP_END_ERROR);
    return NULL;
}
