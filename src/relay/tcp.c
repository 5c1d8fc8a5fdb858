/* How a connection ends. Each direction ends by itself, with the FIN passed on after the last byte:
 *
 *    first FIN    shutdown(2) of the other side; from now on `timeout half-close` counts
 *    second FIN   nothing is left to shut down: close both
 *
 * A side that fails (reset, time-out of the kernel) is latched in flow_side.error and starts
 * CONN_RESETTING: the flow into it is over; the flow out of it goes on until its last byte was read
 * and acknowledged by the other side (SIOCOUTQ 0), or a second has passed; then the other side is
 * reset. No event tells that SIOCOUTQ has become 0, so it is read again every LINGER_NS. */
#include "lb4/relay/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "lb4/base/clock.h"
#include "lb4/base/sock.h"
#include "lb4/relay/connect.h"
#include "lb4/relay/greeting.h"
#include "lb4/relay/resume.h"
#include "lb4/shared/reserve.h"

static const uint64_t LINGER_NS = 10 * 1000000ull;        /* chosen: DESIGN 10-20 ms */
static const uint64_t RESET_AFTER_NS = 1000 * 1000000ull; /* at most so long for the last bytes */
static const uint64_t YOUNG_NS = 5 * 1000000000ull;       /* keepalive is for who lives longer */

static int fixed_init(struct tcp_relay *relay)
{
    relay->at_once = deadline_set_list(&relay->deadlines, 0, 0);
    relay->linger = deadline_set_list(&relay->deadlines, LINGER_NS, 0);
    relay->reset_after = deadline_set_list(&relay->deadlines, RESET_AFTER_NS, 0);
    relay->header = deadline_set_list(&relay->deadlines, GREETING_NS, 0);
    return relay->header && relay->at_once && relay->linger && relay->reset_after ? 0 : -ENOMEM;
}

/* Those that are there get their next line within the interval, spread over it: all at once would
 * be more than the log has room for. */
static void begin_ticks_anew(struct tcp_relay *relay, const struct service *service)
{
    struct deadline_list *list = access_list(&relay->access.tcp, service);
    uint64_t step_ns = list ? list->duration_ns / (relay->n_live + 1) : 0;
    uint64_t start_ns = relay->loop->now_ns - (list ? list->duration_ns : 0);

    for (struct list *link = relay->live.next; link != &relay->live; link = link->next) {
        struct conn *conn = container_of(link, struct conn, link);

        if (conn->service == service)
            access_begin(list, &conn->tick, conn, start_ns += step_ns);
    }
}

static int adopt_access(struct tcp_relay *relay, const struct service *service)
{
    bool has_changed = false;
    int error = access_adopt(&relay->access, service, &has_changed);

    if (!error && has_changed)
        begin_ticks_anew(relay, service);
    return error;
}

int tcp_relay_adopt(struct tcp_relay *relay, const struct service *service)
{
    const struct service_plan *plan = service_plan(service);
    bool holds = plan->all_down == CONF_ALL_DOWN_HOLD;
    struct deadline_set *set = &relay->deadlines;
    struct conn_timeouts timeouts = {
        .connect = deadline_set_list(set, plan->connect_ns, 0),
        .idle = deadline_set_list(set, plan->idle_ns, deadline_slack_ns(plan->idle_ns)),
        .half_close =
            deadline_set_list(set, plan->half_close_ns, deadline_slack_ns(plan->half_close_ns)),
        .hold = holds ? deadline_set_list(set, plan->hold_ns, 0) : NULL,
        .queue = plan->has_limits ? deadline_set_list(set, plan->queue_ns, 0) : NULL,
    };

    bool is_whole = timeouts.connect && timeouts.idle && timeouts.half_close &&
                    !holds == !timeouts.hold && !plan->has_limits == !timeouts.queue;
    const struct conn_timeouts *left = is_whole ? &relay->timeouts[service->index] : &timeouts;

    deadline_list_leave(left->connect);
    deadline_list_leave(left->idle);
    deadline_list_leave(left->half_close);
    deadline_list_leave(left->hold);
    deadline_list_leave(left->queue);
    if (!is_whole)
        return -ENOMEM;
    relay->timeouts[service->index] = timeouts;
    resume_soon(relay);
    return adopt_access(relay, service);
}

static int timeouts_init(struct tcp_relay *relay, const struct service_table *services)
{
    relay->timeouts = reserve_memory(SERVICE_TABLE_MAX, sizeof(*relay->timeouts));
    if (!relay->timeouts)
        return -ENOMEM;
    for (size_t i = 0; i < services->n_services; i++) {
        const struct service *service = &services->services[i];
        int error = service_plan(service) ? tcp_relay_adopt(relay, service) : 0;

        if (error)
            return error;
    }
    return 0;
}

int tcp_relay_init(struct tcp_relay *relay, const struct service_table *services,
                   const struct tcp_relay_options *options)
{
    int error;

    list_init(&relay->live);
    list_init(&relay->dead);
    relay->young = &relay->live;
    relay->cursor = &relay->live;
    relay->kill_cursor = &relay->live;
    relay->n_live = 0;
    relay->deadlines = (struct deadline_set){0};
    relay->timeouts = NULL;
    relay->flow.stats = &relay->stats->worker;
    if (getrandom(&relay->random, sizeof(relay->random), 0) < 0)
        return -errno;
    error = flow_context_init(&relay->flow, options->max_pipes, options->n_prepared_pipes);
    if (!error)
        error = access_init(&relay->access);
    if (!error)
        error = parking_init(&relay->parking);
    if (!error)
        error = refuse_init(&relay->refuse, relay->stats, &relay->deadlines);
    if (!error)
        error = fixed_init(relay);
    return error ? error : timeouts_init(relay, services);
}

void tcp_relay_fini(struct tcp_relay *relay)
{
    flow_context_fini(&relay->flow);
    deadline_set_fini(&relay->deadlines);
    access_fini(&relay->access);
    parking_fini(&relay->parking);
    refuse_fini(&relay->refuse);
    reserve_release(relay->timeouts, SERVICE_TABLE_MAX, sizeof(*relay->timeouts));
    relay->timeouts = NULL;
}

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

static void pump(struct tcp_relay *relay, struct conn *conn, struct flow *flow)
{
    struct flow_side *from = flow == &conn->up ? &conn->client : &conn->server;
    struct flow_side *to = flow == &conn->up ? &conn->server : &conn->client;

    if (conn->state == CONN_CLOSED || to->error || flow_is_over(flow))
        return;
    switch (flow_pump(flow, from, to, &relay->flow)) {
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

static enum close_reason failure_word(const struct conn *conn, const struct flow_side *broken)
{
    if (!sock_error_is_reset(broken->error))
        return CLOSE_ERROR;
    return broken == &conn->client ? CLOSE_CLIENT_RST : CLOSE_SERVER_RST;
}

/* One look at a connection whose one side has failed: is the other one ready to be reset? */
static void settle_reset(struct tcp_relay *relay, struct conn *conn)
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
    conn->reason = failure_word(conn, broken);
    conn->state = CONN_RESETTING;
    conn->reset_by_ns = relay->loop->now_ns + RESET_AFTER_NS;
    flow_fini(broken == &conn->client ? &conn->down : &conn->up, &relay->flow);
}

/* Bytes count as they come, not at the end: a connection may live for days. */
static void note_progress(struct tcp_relay *relay, struct conn *conn, uint64_t in, uint64_t out)
{
    struct stats_service *stats = &relay->stats->services[conn->service->index];

    if (in)
        stats_add(&stats->bytes_in, in);
    if (out)
        stats_add(&stats->bytes_out, out);
}

/* A failed send tells of an end before that side's last words were read, and it may have come in
 * the second of two pumps: hence the third. */
static void pump_both(struct tcp_relay *relay, struct conn *conn)
{
    pump(relay, conn, &conn->up);
    pump(relay, conn, &conn->down);
    if (conn->state != CONN_RELAYING || (!conn->client.error && !conn->server.error))
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

/* Move what can be moved, then see where that leaves the connection. */
static void progress(struct tcp_relay *relay, struct conn *conn)
{
    uint64_t in = conn->up.n_received;
    uint64_t out = conn->down.n_received;
    uint64_t before = moved(conn);

    pump_both(relay, conn);
    note_progress(relay, conn, conn->up.n_received - in, conn->down.n_received - out);
    if (conn->state == CONN_RESETTING) {
        settle_reset(relay, conn);
    } else if (conn->state == CONN_RELAYING && moved(conn) != before) {
        pick_set_free(&conn->tried);
        deadline_touch(current_list(relay, conn), &conn->deadline, relay->loop->now_ns);
    }
}

static void start_relaying(struct tcp_relay *relay, struct conn *conn)
{
    int version = backend_send_proxy(conn->backend);

    conn->state = CONN_RELAYING;
    if (version && greeting_say(conn, version)) {
        conn_close(relay, conn, CLOSE_ERROR, CONN_END_RESET);
        return;
    }
    deadline_start(current_list(relay, conn), &conn->deadline, relay->loop->now_ns);
    if (relay->loop->now_ns - conn->accepted_ns >= YOUNG_NS)
        conn_keep_alive(conn);
    progress(relay, conn);
}

static void connect_step(struct tcp_relay *relay, struct conn *conn, enum connect_result result)
{
    switch (result) {
    case CONNECT_PENDING:
    case CONNECT_WAITS:
    case CONNECT_FAILED:
        break;
    case CONNECT_DONE:
        start_relaying(relay, conn);
        break;
    }
}

/* Its address is known: is it let in, and to which server? */
static void arrive(struct tcp_relay *relay, struct conn *conn)
{
    struct service *service = conn->service;
    enum refusal refusal =
        admit_ask(service, &conn->peer, false, relay->loop->now_ns, &conn->admission);

    if (refusal != REFUSAL_NONE) {
        refuse_conn(relay, conn, refusal);
        return;
    }
    if (service_may_wait(service)) {
        conn->waiting_era = waiting_era(&service->waiting);
        if (waiting_is_any(&service->waiting) && resume_queue_up(relay, conn))
            return;
    }
    connect_step(relay, conn, connect_next(relay, conn));
}

void tcp_accept(struct tcp_relay *relay, const struct tcp_door *door, int fd,
                const struct addr *peer)
{
    struct conn *conn = conn_new(relay, door->service, fd, peer);

    if (!conn)
        return;
    conn->asked_port = door->port;
    conn->client.is_early = door->has_fastopen;
    if (!relay->timeouts[door->service->index].connect ||
        loop_add(relay->loop, &conn->client.source, LOOP_EDGE))
        conn_close(relay, conn, CLOSE_ERROR, CONN_END_RESET);
    else if (!door->proxies || greeting_begin(relay, conn, door->proxies))
        arrive(relay, conn);
}

/* The client has reset before a server was there. What it said before is delivered if the connect
 * that is under way succeeds soon; no other server is asked. */
static void client_gone(struct tcp_relay *relay, struct conn *conn)
{
    conn->reason = failure_word(conn, &conn->client);
    if (conn->backend && sock_has_input(conn->client.source.fd))
        deadline_start(relay->reset_after, &conn->deadline, relay->loop->now_ns);
    else
        conn_close(relay, conn, conn->reason, CONN_END_RESET);
}

/* Of one that has no server yet. Who has sent a FIN waits for the answer (FAULTS.md F44). */
static void on_early_client(struct tcp_relay *relay, struct conn *conn)
{
    if (conn->state == CONN_WAITING)
        resume_on_client(relay, conn);
    else if (conn->state == CONN_CONNECTING && conn->client.error && conn->reason == CLOSE_NONE)
        client_gone(relay, conn);
}

void tcp_on_client(struct tcp_relay *relay, struct source *source, uint32_t bits)
{
    struct conn *conn = container_of(source, struct conn, client.source);

    flow_side_note(&conn->client, bits);
    switch (conn->state) {
    case CONN_HEADER:
        if (!greeting_on_client(relay, conn))
            break;
        arrive(relay, conn);
        on_early_client(relay, conn); /* its reset may have come with the header */
        break;
    case CONN_CONNECTING:
    case CONN_WAITING:
        on_early_client(relay, conn);
        break;
    case CONN_RELAYING:
    case CONN_RESETTING:
        progress(relay, conn);
        break;
    case CONN_LEAVING:
        refuse_on_client(relay, conn);
        break;
    case CONN_CLOSED:
        break;
    }
}

void tcp_on_server(struct tcp_relay *relay, struct source *source, uint32_t bits)
{
    struct conn *conn = container_of(source, struct conn, server.source);

    switch (conn->state) {
    case CONN_CONNECTING:
        connect_step(relay, conn, connect_on_server(relay, conn, bits));
        break;
    case CONN_RELAYING:
    case CONN_RESETTING:
        flow_side_note(&conn->server, bits);
        progress(relay, conn);
        break;
    case CONN_HEADER:
    case CONN_WAITING:
    case CONN_LEAVING:
    case CONN_CLOSED:
        break;
    }
}

static void conn_expired(struct tcp_relay *relay, struct conn *conn)
{
    switch (conn->state) {
    case CONN_HEADER:
        greeting_on_timeout(relay, conn);
        break;
    case CONN_CONNECTING:
        if (conn->client.error) /* its reset, not the server, is why we waited no longer */
            conn_close(relay, conn, conn->reason, CONN_END_RESET);
        else if (!conn->backend) /* the last one reset at once, or was to be left */
            connect_step(relay, conn, connect_next(relay, conn));
        else
            connect_step(relay, conn, connect_on_timeout(relay, conn));
        break;
    case CONN_WAITING:
        resume_on_timeout(relay, conn);
        break;
    case CONN_RELAYING:
        conn_close(relay, conn, conn->is_half_closed ? CLOSE_HALF_CLOSE : CLOSE_IDLE,
                   CONN_END_RESET);
        break;
    case CONN_RESETTING:
        settle_reset(relay, conn);
        break;
    case CONN_LEAVING:
        refuse_on_timeout(relay, conn);
        break;
    case CONN_CLOSED:
        break;
    }
}

/* Keepalive costs four system calls, 2.8 % of a short connection (measured), and is worth nothing
 * to it: the server's socket gets it once the connection has lived for a while. */
static void expire_young(struct tcp_relay *relay)
{
    while (relay->young != &relay->live) {
        struct conn *conn = container_of(relay->young, struct conn, link);

        if (relay->loop->now_ns - conn->accepted_ns < YOUNG_NS)
            break;
        if (conn->state == CONN_RELAYING)
            conn_keep_alive(conn);
        relay->young = relay->young->next;
    }
}

void tcp_expire(struct tcp_relay *relay)
{
    struct deadline *deadline;
    size_t at = 0;

    while ((deadline = deadline_set_expire(&relay->deadlines, &at, relay->loop->told_ns)))
        conn_expired(relay, container_of(deadline, struct conn, deadline));
    resume_look(relay);
    expire_young(relay);
    access_expire(&relay->access, relay->loop->now_ns);
    refuse_expire(&relay->refuse, relay->loop->now_ns);
}

void tcp_reap(struct tcp_relay *relay)
{
    conn_reap(relay);
}

uint64_t tcp_next_due_ns(const struct tcp_relay *relay)
{
    uint64_t due_ns = deadline_set_earliest(&relay->deadlines, access_next_due_ns(&relay->access));

    if (relay->parking.look_ns < due_ns)
        due_ns = relay->parking.look_ns;
    if (relay->refuse.due_ns < due_ns)
        due_ns = relay->refuse.due_ns;
    if (relay->young != &relay->live) {
        uint64_t old_ns = container_of(relay->young, struct conn, link)->accepted_ns + YOUNG_NS;

        due_ns = old_ns < due_ns ? old_ns : due_ns;
    }
    return due_ns;
}

void tcp_reset_all(struct tcp_relay *relay, enum close_reason reason)
{
    while (!list_is_empty(&relay->live)) {
        struct conn *conn = container_of(relay->live.next, struct conn, link);

        conn_close(relay, conn, reason, CONN_END_RESET);
    }
}
