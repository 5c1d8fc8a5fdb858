#include "lb4/relay/udp_relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "lb4/relay/udp_session.h"
#include "lb4/relay/udp_unwrap.h"
#include "lb4/shared/reserve.h"
#include "lb4/shared/service_table.h"

static const uint64_t QUIET_NS = 1000 * 1000000ull; /* DESIGN: drain */
static const uint64_t LOOK_NS = 100 * 1000000ull;   /* chosen: a reader of the counters is slower */

enum { TABLE_MIN = 4096 }; /* chosen: else hosts share counters where the room is small */

int udp_relay_adopt(struct udp_relay *relay, struct service *service)
{
    struct udp_service *notes = &relay->services[service->index];
    uint64_t udp_ns = service_plan(service)->udp_ns;
    struct deadline_list *timeout =
        deadline_set_list(&relay->deadlines, udp_ns, deadline_slack_ns(udp_ns));

    if (!timeout)
        return -ENOMEM;
    if (!notes->timeout) {
        list_init(&notes->counted);
        udp_share_init(&notes->share, &service->udp_room);
    }
    deadline_list_leave(notes->timeout);
    notes->timeout = timeout;
    udp_session_begin_ticks(relay, service);
    if (service->index >= relay->n_services)
        relay->n_services = service->index + 1;
    return 0;
}

static int services_init(struct udp_relay *relay, const struct service_table *services)
{
    relay->services = reserve_memory(SERVICE_TABLE_MAX, sizeof(*relay->services));
    relay->listener_ports = calloc(65536 / 64, sizeof(*relay->listener_ports));
    relay->quiet = deadline_set_list(&relay->deadlines, QUIET_NS, 0);
    if (!relay->quiet || !relay->services || !relay->listener_ports)
        return -ENOMEM;
    for (size_t i = 0; i < services->n_services; i++) {
        struct service *service = &services->services[i];
        int error = service_plan(service) ? udp_relay_adopt(relay, service) : 0;

        if (error)
            return error;
    }
    return 0;
}

void udp_relay_note_port(struct udp_relay *relay, uint16_t port, bool is_ours)
{
    uint64_t bit = 1ull << (port % 64);

    if (is_ours)
        relay->listener_ports[port / 64] |= bit;
    else
        relay->listener_ports[port / 64] &= ~bit;
}

/* What would be this worker's, if all had the same, is what the table is made for; one client host
 * gets half of it. */
static uint32_t even_part(const struct udp_relay *relay)
{
    uint32_t n_sessions = udp_room_limit(relay->room);

    return n_sessions / relay->n_workers + (n_sessions % relay->n_workers != 0);
}

void udp_relay_limit_hosts(struct udp_relay *relay)
{
    relay->host_max = even_part(relay) / 2 + even_part(relay) % 2;
}

static int alloc_all(struct udp_relay *relay, const struct service_table *services)
{
    uint32_t n_entries = even_part(relay);
    int error = services_init(relay, services);

    if (error)
        return error;
    relay->inbox = udp_inbox_new();
    relay->outbox = udp_outbox_new();
    relay->unwrapped = calloc(UDP_UNWRAP_MAX, sizeof(*relay->unwrapped));
    if (!relay->inbox || !relay->outbox || !relay->unwrapped)
        return -ENOMEM;
    return udp_table_init(&relay->table, n_entries > TABLE_MIN ? n_entries : TABLE_MIN);
}

int udp_relay_init(struct udp_relay *relay, const struct service_table *services)
{
    int error;

    *relay = (struct udp_relay){.loop = relay->loop,
                                .access = relay->access,
                                .refuse = relay->refuse,
                                .stats = relay->stats,
                                .prober = relay->prober,
                                .room = relay->room,
                                .n_workers = relay->n_workers};
    list_init(&relay->live);
    relay->cursor = &relay->live;
    relay->kill_cursor = &relay->live;
    list_init(&relay->dead);
    list_init(&relay->touched);
    list_init(&relay->finished);
    list_init(&relay->uncounted);
    deadline_list_init(&relay->looks, LOOK_NS, 0);
    if (udp_room_limit(relay->room) == 0)
        return 0;
    udp_share_init(&relay->share, relay->room);
    udp_relay_limit_hosts(relay);
    if (getrandom(&relay->random, sizeof(relay->random), 0) < 0)
        return -errno;
    error = alloc_all(relay, services);
    if (error)
        udp_relay_fini(relay);
    return error;
}

void udp_relay_fini(struct udp_relay *relay)
{
    udp_table_fini(&relay->table);
    udp_inbox_free(relay->inbox);
    udp_outbox_free(relay->outbox);
    free(relay->unwrapped);
    deadline_set_fini(&relay->deadlines);
    reserve_release(relay->services, SERVICE_TABLE_MAX, sizeof(*relay->services));
    free(relay->listener_ports);
    relay->inbox = NULL;
    relay->outbox = NULL;
    relay->unwrapped = NULL;
    relay->services = NULL;
    relay->listener_ports = NULL;
}
