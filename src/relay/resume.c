#include "lb4/relay/resume.h"

#include "lb4/base/sock.h"
#include "lb4/relay/connect.h"
#include "lb4/shared/place.h"

enum { BITE = 64 }; /* clients of a service that are sent to servers in one turn; chosen */

static const uint64_t BITE_NS = 5 * 1000000ull; /* from one bite to the next; chosen: 1,000 clients
                                                   are served in 80 ms */

/* --- in --------------------------------------------------------------------------------------- */

/* With `all-down any` one that is down is, too. */
static bool has_usable(const struct service *service)
{
    const struct service_plan *plan = service_plan(service);
    uint32_t away = plan->all_down == CONF_ALL_DOWN_ANY ? PICK_REFUSED : PICK_UNUSABLE;

    for (size_t i = 0; i < plan->n_backends; i++)
        if (!(service_standing(service, i) & away))
            return true;
    return false;
}

bool resume_queue_up(struct tcp_relay *relay, struct conn *conn)
{
    const struct service *service = conn->service;
    bool is_for_place = service_plan(service)->has_limits && has_usable(service);

    return parking_enter(relay, conn, is_for_place ? WAITING_PLACE : WAITING_SERVER);
}

void resume_soon(struct tcp_relay *relay)
{
    if (!list_is_empty(&relay->parking.occupied))
        relay->parking.look_ns = 0;
}

void resume_woken(struct tcp_relay *relay)
{
    relay->parking.is_woken = true;
    resume_soon(relay);
}

void resume_start_draining(struct tcp_relay *relay)
{
    relay->parking.is_draining = true;
    resume_soon(relay);
}

/* --- away ------------------------------------------------------------------------------------- */

static void end(struct tcp_relay *relay, struct conn *conn, enum waiting_end how,
                enum close_reason reason)
{
    parking_leave(relay, conn, how);
    conn_close(relay, conn, reason, CONN_END_RESET);
}

void resume_on_client(struct tcp_relay *relay, struct conn *conn)
{
    if (conn->client.error) {
        end(relay, conn, WAITING_GAVE_UP,
            sock_error_is_reset(conn->client.error) ? CLOSE_CLIENT_RST : CLOSE_ERROR);
    } else if (connect_has_left(conn)) {
        parking_leave(relay, conn, WAITING_GAVE_UP);
        conn_close(relay, conn, CLOSE_CLIENT_FIN, CONN_END_CLOSE);
    }
}

static enum close_reason vain_reason(const struct conn *conn)
{
    return has_usable(conn->service) ? CLOSE_LIMIT : CLOSE_NO_SERVER;
}

void resume_on_timeout(struct tcp_relay *relay, struct conn *conn)
{
    end(relay, conn, WAITING_TIMED_OUT, vain_reason(conn));
}

/* --- on --------------------------------------------------------------------------------------- */

enum look {
    LOOK_SERVED,
    LOOK_ENDED,
    LOOK_VAIN,      /* it waits on, and so must those behind it */
    LOOK_VAIN_ALONE /* those behind it may have more luck */
};

/* Servers have changed since it has tried some; or places were freed, perhaps theirs. */
static void forget_tries(const struct tcp_relay *relay, struct conn *conn)
{
    uint32_t era = waiting_era(&conn->service->waiting);
    bool is_called = relay->parking.is_called && conn->waits_for == WAITING_PLACE;

    if (era == conn->waiting_era && !is_called)
        return;
    conn->waiting_era = era;
    conn->connect_error = 0;
    conn->n_timeouts = 0;
    conn->busy_by_ns = 0;
    pick_set_free(&conn->tried);
}

/* Nobody would be chosen. May it wait for one that comes back? */
static bool waits_for_return(struct tcp_relay *relay, struct conn *conn)
{
    if (waiting_is_deserted(conn->service))
        return false;
    if (conn->waits_for == WAITING_SERVER)
        return parking_is_open(relay, conn->service, WAITING_SERVER);
    return parking_move_to_server(relay, conn);
}

static bool may_stay(struct tcp_relay *relay, struct conn *conn, enum place_result found)
{
    if (found == PLACE_NOBODY)
        return waits_for_return(relay, conn);
    return conn->waits_for == WAITING_SERVER ? parking_is_open(relay, conn->service, WAITING_SERVER)
                                             : parking_is_open(relay, conn->service, WAITING_PLACE);
}

/* What one finds in vain so do those behind it: unless each has servers of its own, or is to move
 * from the queue to the hold. */
static bool is_alone(const struct conn *conn, enum place_result found)
{
    const struct service *service = conn->service;

    return conn->tried.bits || service_plan(service)->balance == CONF_BALANCE_SOURCE ||
           (found == PLACE_NOBODY && waiting_count(&service->waiting, WAITING_PLACE) > 0);
}

static enum look look_for(struct tcp_relay *relay, struct conn *conn)
{
    struct backend *backend;
    enum place_result found;

    forget_tries(relay, conn);
    found = connect_find(relay, conn, &backend);
    if (found == PLACE_TAKEN) {
        parking_leave(relay, conn, WAITING_SERVED);
        conn->backend = backend;
        connect_taken(relay, conn);
        return LOOK_SERVED;
    }
    if (!may_stay(relay, conn, found)) {
        end(relay, conn, WAITING_TURNED_AWAY,
            relay->parking.is_draining ? CLOSE_DRAIN : vain_reason(conn));
        return LOOK_ENDED;
    }
    return is_alone(conn, found) ? LOOK_VAIN_ALONE : LOOK_VAIN;
}

/* Returns true when it has bitten off all that it may. One whose connect fails at once is back in
 * its old place, behind us. */
static bool look_room(struct tcp_relay *relay, struct parking_room *room)
{
    struct list *link = room->clients.next;
    int n_served = 0;

    while (link != &room->clients) {
        struct conn *conn = container_of(link, struct conn, parked);
        enum look found;

        link = link->next;
        found = look_for(relay, conn);
        if (found == LOOK_VAIN)
            return false;
        if (found == LOOK_SERVED && ++n_served == BITE)
            return true;
    }
    return false;
}

void resume_look(struct tcp_relay *relay)
{
    struct parking *parking = &relay->parking;
    struct list *link = parking->occupied.next;

    if (relay->loop->now_ns < parking->look_ns)
        return;
    parking->look_ns = UINT64_MAX;
    parking->is_called = parking->is_woken;
    parking->is_woken = false;
    while (link != &parking->occupied) {
        struct parking_room *room = container_of(link, struct parking_room, occupied);

        link = link->next;
        if (!look_room(relay, room))
            continue;
        parking->look_ns = relay->loop->now_ns + BITE_NS;
        parking->is_woken = parking->is_called; /* the rest of the room has not heard of it */
    }
}
