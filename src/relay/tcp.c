#include "lb4/relay/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "lb4/base/clock.h"
#include "lb4/base/sock.h"
#include "lb4/relay/connect.h"
#include "lb4/relay/greeting.h"
#include "lb4/relay/relaying.h"
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
    relay->ring_error = !error && options->io_uring ? outbox_init(&relay->flow.outbox) : 0;
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

static void start_relaying(struct tcp_relay *relay, struct conn *conn)
{
    int version = backend_send_proxy(conn->backend);

    conn->state = CONN_RELAYING;
    if (version && greeting_say(conn, version)) {
        conn_close(relay, conn, CLOSE_ERROR, CONN_END_RESET);
        return;
    }
    if (relay->loop->now_ns - conn->accepted_ns >= YOUNG_NS)
        conn_keep_alive(conn);
    relaying_begin(relay, conn);
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
    conn->reason = relaying_failure(conn, &conn->client);
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

void tcp_begin_batch(struct tcp_relay *relay, size_t n_events)
{
    outbox_begin(&relay->flow.outbox, n_events);
}

void tcp_end_batch(struct tcp_relay *relay)
{
    relay->flow.outbox.is_open = false;
    relaying_deliver(relay);
}

/* Posts leave before anything else happens to their connection, and do not wait for bulk. Returns
 * false: that was the end of it. */
static bool make_ready(struct tcp_relay *relay, const struct conn *conn)
{
    bool is_bulk = conn->up.is_bulk || conn->down.is_bulk;

    if (relaying_has_posts(conn) || is_bulk || relay->flow.outbox.n == OUTBOX_MAX)
        relaying_deliver(relay);
    return conn->state != CONN_CLOSED;
}

void tcp_on_client(struct tcp_relay *relay, struct source *source, uint32_t bits)
{
    struct conn *conn = container_of(source, struct conn, client.source);

    if (!make_ready(relay, conn))
        return;
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
        relaying_go_on(relay, conn);
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

    if (!make_ready(relay, conn))
        return;
    switch (conn->state) {
    case CONN_CONNECTING:
        connect_step(relay, conn, connect_on_server(relay, conn, bits));
        break;
    case CONN_RELAYING:
    case CONN_RESETTING:
        flow_side_note(&conn->server, bits);
        relaying_go_on(relay, conn);
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
        relaying_look_again(relay, conn);
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
