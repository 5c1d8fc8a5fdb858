/* How a connection ends. Each direction ends by itself, with the FIN passed on after the last byte:
 *
 *    first FIN    shutdown(2) of the other side; from now on `timeout half-close` counts
 *    second FIN   nothing is left to shut down: close both
 *
 * A side that fails (reset, time-out of the kernel) is latched in flow_side.error and starts
 * CONN_RESETTING: the flow into it is over; the flow out of it goes on until its last byte was read
 * and acknowledged by the other side (SIOCOUTQ 0), or a second has passed; then the other side is
 * reset. No event tells that SIOCOUTQ has become 0, so it is read again every LINGER_NS. */
#include "lb4/relay/relaying.h"

#include <errno.h>
#include <sys/socket.h>

#include "lb4/base/sock.h"
#include "lb4/relay/connect.h"

static struct deadline_list *current_list(struct tcp_relay *relay, const struct conn *conn)
{
    const struct conn_timeouts *timeouts = &relay->timeouts[conn->service->index];

    return conn->is_half_closed ? timeouts->half_close : timeouts->idle;
}

/* Pass the end of one direction on. With both ended there is nothing to shut down: close is enough.
 */
static void pass_end(struct tcp_relay *relay, struct conn *conn, struct flow_side *from,
                     struct flow_side *to)
{
    if (conn->is_half_closed) {
        enum close_reason first = from == &conn->server ? CLOSE_CLIENT_FIN : CLOSE_SERVER_FIN;

        conn_close(relay, conn, first, CONN_END_CLOSE);
        return;
    }
    shutdown(to->source.fd, SHUT_WR);
    conn->is_half_closed = true;
    deadline_start(current_list(relay, conn), &conn->deadline, relay->loop->now_ns);
}

static bool flow_is_over(const struct flow *flow)
{
    return flow->is_ended && flow->n_held == 0;
}

/* Bytes count as they come, not at the end: a connection may live for days. */
static void note_received(struct tcp_relay *relay, const struct conn *conn, const struct flow *flow,
                          uint64_t n)
{
    struct stats_service *stats = &relay->stats->services[conn->service->index];

    if (n)
        stats_add(flow == &conn->up ? &stats->bytes_in : &stats->bytes_out, n);
}

static void pump(struct tcp_relay *relay, struct conn *conn, struct flow *flow)
{
    struct flow_side *from = flow == &conn->up ? &conn->client : &conn->server;
    struct flow_side *to = flow == &conn->up ? &conn->server : &conn->client;
    uint64_t before = flow->n_received;
    enum flow_result result;

    if (conn->state == CONN_CLOSED || to->error || flow_is_over(flow))
        return;
    result = flow_pump(flow, from, to, &relay->flow);
    note_received(relay, conn, flow, flow->n_received - before);
    switch (result) {
    case FLOW_IDLE:
    case FLOW_BLOCKED:
    case FLOW_BROKEN:
        break;
    case FLOW_AGAIN:
        loop_again(relay->loop, &from->source);
        break;
    case FLOW_ENDED:
        if (!from->error)
            pass_end(relay, conn, from, to);
        break;
    }
}

enum close_reason relaying_failure(const struct conn *conn, const struct flow_side *broken)
{
    if (!sock_error_is_reset(broken->error))
        return CLOSE_ERROR;
    return broken == &conn->client ? CLOSE_CLIENT_RST : CLOSE_SERVER_RST;
}

void relaying_look_again(struct tcp_relay *relay, struct conn *conn)
{
    bool is_client = conn->client.error != 0;
    struct flow *last = is_client ? &conn->up : &conn->down;
    struct flow_side *alive = is_client ? &conn->server : &conn->client;
    bool is_told = flow_is_over(last) && sock_unacked(alive->source.fd) == 0;

    if (alive->error || is_told || relay->loop->now_ns >= conn->reset_by_ns) {
        conn_close(relay, conn, conn->reason, CONN_END_RESET);
        return;
    }
    deadline_start(relay->linger, &conn->deadline, relay->loop->now_ns);
}

static void start_reset(struct tcp_relay *relay, struct conn *conn)
{
    const struct flow_side *broken = conn->client.error ? &conn->client : &conn->server;

    connect_doubt_server(relay, conn);
    conn->reason = relaying_failure(conn, broken);
    conn->state = CONN_RESETTING;
    conn->reset_by_ns = relay->loop->now_ns + relay->reset_after->duration_ns;
    flow_fini(broken == &conn->client ? &conn->down : &conn->up, &relay->flow);
}

/* A failed send tells of an end before that side's last words were read, and it may have come in
 * the second of two pumps: hence the third. */
static void pump_both(struct tcp_relay *relay, struct conn *conn)
{
    pump(relay, conn, &conn->up);
    pump(relay, conn, &conn->down);
    if (conn->state != CONN_RELAYING || (!conn->client.error && !conn->server.error))
        return;
    if (relaying_has_posts(conn))
        relaying_deliver(relay);
    if (conn->state != CONN_RELAYING)
        return;
    if (connect_is_spurned(relay, conn)) {
        if (connect_leave_spurned(relay, conn))
            conn_close(relay, conn, CLOSE_ERROR, CONN_END_RESET);
        return;
    }
    start_reset(relay, conn);
    pump(relay, conn, &conn->up);
}

static uint64_t moved(const struct conn *conn)
{
    return conn->up.n_received + conn->up.n_sent + conn->down.n_received + conn->down.n_sent;
}

void relaying_go_on(struct tcp_relay *relay, struct conn *conn)
{
    uint64_t before = moved(conn);

    pump_both(relay, conn);
    if (conn->state == CONN_RESETTING) {
        relaying_look_again(relay, conn);
    } else if (conn->state == CONN_RELAYING && moved(conn) != before) {
        pick_set_free(&conn->tried);
        deadline_touch(current_list(relay, conn), &conn->deadline, relay->loop->now_ns);
    }
}

void relaying_begin(struct tcp_relay *relay, struct conn *conn)
{
    deadline_start(current_list(relay, conn), &conn->deadline, relay->loop->now_ns);
    relaying_go_on(relay, conn);
}

static struct conn *conn_of(const struct post *post)
{
    return post->to->source.kind == SOURCE_CLIENT ? container_of(post->to, struct conn, client)
                                                  : container_of(post->to, struct conn, server);
}

static size_t settle_posts(struct tcp_relay *relay, struct conn *ret_failed[OUTBOX_MAX])
{
    struct outbox *outbox = &relay->flow.outbox;
    size_t n_failed;

    for (uint32_t i = 0; i < outbox->n; i++)
        outbox->posts[i].flow->is_posted = false;
    n_failed = outbox_submit(outbox);
    for (size_t i = 0; i < n_failed; i++) {
        flow_settle(&outbox->posts[i], &relay->flow);
        ret_failed[i] = conn_of(&outbox->posts[i]);
    }
    return n_failed;
}

/* What follows from a failure posts nothing: whoever called is free to do what it is about to do.
 */
void relaying_deliver_posts(struct tcp_relay *relay)
{
    struct outbox *outbox = &relay->flow.outbox;
    struct conn *failed[OUTBOX_MAX];
    size_t n_failed = settle_posts(relay, failed);
    bool was_open = outbox->is_open;

    outbox->is_open = false;
    for (size_t i = 0; i < n_failed; i++)
        if (failed[i]->state != CONN_CLOSED)
            relaying_go_on(relay, failed[i]);
    outbox->is_open = was_open;
}
