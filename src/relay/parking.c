#include "lb4/relay/parking.h"

#include <errno.h>

#include "lb4/relay/tcp_relay.h"
#include "lb4/shared/reserve.h"

int parking_init(struct parking *parking)
{
    *parking = (struct parking){.look_ns = UINT64_MAX};
    list_init(&parking->occupied);
    parking->rooms = reserve_memory(SERVICE_TABLE_MAX, sizeof(*parking->rooms));
    parking->marks = reserve_memory(SERVICE_TABLE_MAX, sizeof(*parking->marks));
    return parking->rooms && parking->marks ? 0 : -ENOMEM;
}

void parking_fini(struct parking *parking)
{
    reserve_release(parking->rooms, SERVICE_TABLE_MAX, sizeof(*parking->rooms));
    reserve_release(parking->marks, SERVICE_TABLE_MAX, sizeof(*parking->marks));
    parking->rooms = NULL;
    parking->marks = NULL;
}

static struct parking_room *room_of(struct tcp_relay *relay, struct service *service)
{
    struct parking_room *room = &relay->parking.rooms[service->index];

    if (!room->service) { /* memory as it came */
        list_init(&room->clients);
        list_init(&room->occupied);
    }
    room->service = service;
    return room;
}

static uint64_t oldest_ns(const struct parking_room *room)
{
    if (list_is_empty(&room->clients))
        return 0;
    return container_of(room->clients.next, struct conn, parked)->accepted_ns;
}

static void mark(struct tcp_relay *relay, const struct parking_room *room, uint64_t since_ns)
{
    waiting_mark_since(&relay->parking.marks[room->service->index], since_ns);
}

static struct deadline_list *list_for(const struct tcp_relay *relay, const struct service *service,
                                      enum waiting_for what)
{
    const struct conn_timeouts *timeouts = &relay->timeouts[service->index];

    return what == WAITING_SERVER ? timeouts->hold : timeouts->queue;
}

static uint32_t most_of(const struct service *service, enum waiting_for what)
{
    const struct service_plan *plan = service_plan(service);

    return what == WAITING_SERVER ? plan->hold_max : plan->queue_max;
}

bool parking_is_open(const struct tcp_relay *relay, const struct service *service,
                     enum waiting_for what)
{
    if (what == WAITING_SERVER && relay->parking.is_draining)
        return false;
    return list_for(relay, service, what) && most_of(service, what) > 0;
}

/* A second wait has no more time than the first. */
static bool has_time(const struct tcp_relay *relay, const struct conn *conn, enum waiting_for what)
{
    return conn->waited_ns < list_for(relay, conn->service, what)->duration_ns;
}

static struct stats_waiting *stats_of(struct tcp_relay *relay, const struct conn *conn)
{
    return &relay->stats->services[conn->service->index].waiting;
}

static void begin(struct tcp_relay *relay, struct conn *conn, enum waiting_for what)
{
    conn->waits_for = what;
    deadline_start(list_for(relay, conn->service, what), &conn->deadline, relay->loop->now_ns);
    if (what == WAITING_SERVER)
        waiting_tell_begin(conn->service, relay->loop->now_ns,
                           service_plan(conn->service)->hold_ns);
}

/* The worker is marked before it is known whether there is room: should somebody have woken it for
 * that, he is sent on. */
static enum waiting_entry count_in(struct tcp_relay *relay, struct parking_room *room,
                                   const struct conn *conn, enum waiting_for what)
{
    bool is_empty = list_is_empty(&room->clients);
    enum waiting_entry entry;

    if (is_empty)
        mark(relay, room, conn->accepted_ns);
    entry = waiting_enter(&room->service->waiting, what, most_of(room->service, what));
    if (entry == WAITING_REFUSED && is_empty) {
        mark(relay, room, 0);
        waiting_wake_next(room->service);
    }
    return entry;
}

/* Nobody will come to wake the first one, nor one that has missed a change: they look themselves,
 * at the end of the turn. So does each under `source`, as it waits for a server of its own. */
static bool must_look(const struct conn *conn, enum waiting_entry entry)
{
    const struct service *service = conn->service;

    return entry == WAITING_FIRST || conn->waiting_era != waiting_era(&service->waiting) ||
           service_plan(service)->balance == CONF_BALANCE_SOURCE;
}

/* Mostly at the end. One that has tried servers meanwhile comes before those that came after it. */
static void insert(struct parking_room *room, struct conn *conn)
{
    struct list *behind = &room->clients;

    while (behind->prev != &room->clients &&
           (int32_t)(container_of(behind->prev, struct conn, parked)->arrival - conn->arrival) > 0)
        behind = behind->prev;
    list_append(behind, &conn->parked);
}

bool parking_enter(struct tcp_relay *relay, struct conn *conn, enum waiting_for what)
{
    struct parking_room *room = room_of(relay, conn->service);
    enum waiting_entry entry = WAITING_REFUSED;

    if (parking_is_open(relay, conn->service, what) && has_time(relay, conn, what))
        entry = count_in(relay, room, conn, what);
    if (entry == WAITING_REFUSED)
        return false;
    if (list_is_empty(&room->clients))
        list_append(&relay->parking.occupied, &room->occupied);
    insert(room, conn);
    mark(relay, room, oldest_ns(room));
    conn->state = CONN_WAITING;
    conn->connected_ns = relay->loop->now_ns;
    stats_add(&stats_of(relay, conn)->begun, 1);
    begin(relay, conn, what);
    if (must_look(conn, entry))
        relay->parking.look_ns = 0;
    return true;
}

bool parking_move_to_server(struct tcp_relay *relay, struct conn *conn)
{
    struct service *service = conn->service;

    if (!parking_is_open(relay, service, WAITING_SERVER) ||
        !waiting_move_to_server(&service->waiting, most_of(service, WAITING_SERVER)))
        return false;
    begin(relay, conn, WAITING_SERVER);
    return true;
}

/* The next one may have been woken through this worker, whose last client has gone. */
static void count_out(struct tcp_relay *relay, struct parking_room *room, enum waiting_for what)
{
    bool is_empty = list_is_empty(&room->clients);
    uint64_t n_others;

    mark(relay, room, oldest_ns(room));
    n_others = waiting_leave(&room->service->waiting, what);
    if (!is_empty)
        return;
    list_remove(&room->occupied);
    if (n_others > 0)
        waiting_wake_next(room->service);
}

void parking_leave(struct tcp_relay *relay, struct conn *conn, enum waiting_end end)
{
    struct service *service = conn->service;

    list_remove(&conn->parked);
    deadline_stop(&conn->deadline);
    if (conn->waits_for == WAITING_SERVER)
        waiting_note_end(&service->waiting, end); /* who finds nobody left tells of all */
    count_out(relay, room_of(relay, service), conn->waits_for);
    conn->waited_ns += relay->loop->now_ns - conn->connected_ns;
    conn->state = CONN_CONNECTING;
    stats_add(&stats_of(relay, conn)->ended[end], 1);
    if (conn->waits_for == WAITING_SERVER && end == WAITING_SERVED)
        waiting_tell_end(service, relay->loop->now_ns);
}

uint64_t parking_waited_ns(const struct conn *conn, uint64_t now_ns)
{
    return conn->waited_ns + (conn->state == CONN_WAITING ? now_ns - conn->connected_ns : 0);
}
