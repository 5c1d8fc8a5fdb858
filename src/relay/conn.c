#include "lb4/relay/conn.h"

#include <stdlib.h>
#include <unistd.h>

#include "lb4/base/sock.h"
#include "lb4/base/sock_vanish.h"
#include "lb4/relay/greeting.h"
#include "lb4/relay/tcp_relay.h"
#include "lb4/shared/affinity.h"
#include "lb4/shared/place.h"

_Static_assert(sizeof(struct conn) <= 376,
               "384 bytes with malloc's own: an idle connection is to cost 400");

static void side_init(struct flow_side *side, enum source_kind kind, int fd)
{
    *side = (struct flow_side){0};
    source_init(&side->source, kind, fd);
}

static void live_append(struct tcp_relay *relay, struct conn *conn)
{
    list_append(&relay->live, &conn->link);
    if (relay->young == &relay->live)
        relay->young = &conn->link;
    relay->n_live++;
}

static void live_remove(struct tcp_relay *relay, struct conn *conn)
{
    if (relay->young == &conn->link)
        relay->young = conn->link.next;
    if (relay->cursor == &conn->link)
        relay->cursor = conn->link.next;
    if (relay->kill_cursor == &conn->link)
        relay->kill_cursor = conn->link.next;
    list_remove(&conn->link);
    relay->n_live--;
}

struct conn *conn_new(struct tcp_relay *relay, struct service *service, int fd,
                      const struct addr *peer)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (!conn) {
        sock_reset(fd);
        capacity_release(relay->capacity);
        return NULL;
    }
    side_init(&conn->client, SOURCE_CLIENT, fd);
    side_init(&conn->server, SOURCE_SERVER, -1);
    conn->client.is_writable = true; /* nothing has been sent yet */
    conn->client.is_tcp = !addr_is_unix(peer);
    flow_init(&conn->up);
    flow_init(&conn->down);
    deadline_init(&conn->deadline);
    conn->state = CONN_CONNECTING;
    conn->service = service;
    conn->accepted_ns = relay->loop->now_ns;
    conn->arrival = relay->n_arrived++;
    conn->peer = *peer;
    live_append(relay, conn);
    access_begin(access_list(&relay->access.tcp, service), &conn->tick, conn, conn->accepted_ns);
    stats_add(&relay->stats->services[service->index].connections, 1);
    stats_add(&relay->stats->worker.connections, 1);
    return conn;
}

void conn_drop_server(struct conn *conn)
{
    loop_close(&conn->server.source);
    if (conn->backend)
        place_give_back(conn->service, conn->backend);
    conn->backend = NULL;
}

static void side_close(struct flow_side *side, enum conn_ending ending)
{
    int fd = source_take_fd(&side->source);

    if (fd < 0)
        return;
    switch (ending) {
    case CONN_END_CLOSE:
        close(fd);
        break;
    case CONN_END_RESET:
        sock_reset(fd);
        break;
    case CONN_END_SILENT:
        sock_vanish(fd);
        break;
    }
}

static void count_close(struct tcp_relay *relay, const struct conn *conn)
{
    struct stats_service *stats = &relay->stats->services[conn->service->index];

    stats_add(&stats->closed[conn->reason], 1);
    histogram_add(&stats->session_ns, &histogram_session, relay->loop->now_ns - conn->accepted_ns);
    histogram_add(&stats->session_bytes, &histogram_bytes,
                  conn->up.n_received + conn->down.n_received);
    stats_add(&relay->stats->worker.closed, 1);
}

void conn_close(struct tcp_relay *relay, struct conn *conn, enum close_reason reason,
                enum conn_ending ending)
{
    struct access_line line;

    if (conn->reason == CLOSE_NONE)
        conn->reason = reason;
    access_note_conn(&line, conn, relay->loop->now_ns);
    if (conn->state == CONN_HEADER)
        greeting_leave(relay, conn);
    if (conn->state == CONN_WAITING)
        parking_leave(relay, conn, WAITING_TURNED_AWAY);
    if (conn->state == CONN_LEAVING)
        relay->refuse.n_leaving--;
    flow_fini(&conn->up, &relay->flow);
    flow_fini(&conn->down, &relay->flow);
    side_close(&conn->server, ending);
    side_close(&conn->client, ending);
    if (conn->reason == CLOSE_ADMIN)
        affinity_break(conn->service, conn->backend, &conn->affinity);
    else
        affinity_leave(conn->service, &conn->affinity);
    conn_drop_server(conn);
    admit_leave(conn->service, &conn->admission);
    pick_set_free(&conn->tried);
    free(conn->asked);
    conn->asked = NULL;
    meter_free(&conn->meter);
    deadline_stop(&conn->deadline);
    access_end(&conn->tick);
    live_remove(relay, conn);
    list_append(&relay->dead, &conn->link);
    conn->state = CONN_CLOSED;
    capacity_release(relay->capacity);
    count_close(relay, conn);
    access_say(&line);
}

void conn_keep_alive(const struct conn *conn)
{
    if (conn->backend && !addr_is_unix(&conn->backend->addr))
        sock_set_keepalive(conn->server.source.fd);
}

void conn_reap(struct tcp_relay *relay)
{
    struct list *link;

    while ((link = list_take_first(&relay->dead)))
        free(container_of(link, struct conn, link));
}
