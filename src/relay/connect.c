#include "lb4/relay/connect.h"

#include <errno.h>

#include "lb4/base/origin.h"
#include "lb4/base/sock.h"
#include "lb4/relay/trouble.h"
#include "lb4/shared/affinity.h"
#include "lb4/shared/backend_write.h"

static const uint64_t SPURNED_NS = 1000 * 1000000ull; /* chosen: some round trips, and far less than
                                                         a server's own log-in time-out */

static struct stats_service *service_stats(struct tcp_relay *relay, const struct conn *conn)
{
    return &relay->stats->services[conn->service->index];
}

static struct stats_server *server_stats(struct tcp_relay *relay, const struct conn *conn)
{
    return &relay->stats->servers[conn->backend->stats_index];
}

/* splitmix64: good enough to break ties, and one multiplication away from free. */
static uint32_t next_random(struct tcp_relay *relay)
{
    uint64_t z = relay->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(z >> 32);
}

/* A server that accepted and reset at once has ended the connection itself. Whether its reset came
 * before our first look or after it must make no difference to the word. */
static enum close_reason failure_reason(const struct conn *conn)
{
    if (conn->connect_error == 0)
        return CLOSE_NO_SERVER;
    return sock_error_is_reset(conn->connect_error) ? CLOSE_SERVER_RST : CLOSE_CONNECT_FAILED;
}

/* A Unix socket whose backlog is full: somebody is behind it, and has much to do. */
static bool is_busy(const struct backend *backend, int error)
{
    return error == EAGAIN && addr_is_unix(&backend->addr);
}

/* Is the server asked by this client once more, because it was busy? */
static bool is_asked_again(const struct conn *conn, const struct backend *backend)
{
    return conn->busy_by_ns && conn->busy == backend->index;
}

static void note_busy(struct tcp_relay *relay, struct conn *conn)
{
    uint64_t now_ns = relay->loop->now_ns;

    stats_set(&server_stats(relay, conn)->busy_ns, now_ns);
    conn->busy = (uint16_t)conn->backend->index;
    if (!conn->busy_by_ns)
        conn->busy_by_ns = now_ns + relay->timeouts[conn->service->index].connect->duration_ns;
}

static enum connect_result give_up(struct tcp_relay *relay, struct conn *conn,
                                   enum close_reason reason)
{
    conn_close(relay, conn, reason, CONN_END_RESET);
    return CONNECT_FAILED;
}

/* From now on others are chosen before it, until the prober has had an answer. A server without a
 * port of its own is not judged: a client that asks for a port where nobody listens would speak for
 * all the other ports. Nor does a connect that began before the server's last good answer count. */
static void suspect(struct tcp_relay *relay, const struct conn *conn, uint32_t flag)
{
    struct backend *backend = conn->backend;

    if (addr_lacks_port(&backend->addr))
        return;
    if (service_plan(conn->service)->evict.n_failures > 0) {
        backend_note_trouble(backend, conn->connected_ns);
        mailbox_post(relay->prober, MAILBOX_SUSPECT);
    }
    if (conn->era != backend_era(backend))
        return;
    if (!(backend_set(backend, flag) & flag))
        mailbox_post(relay->prober, MAILBOX_SUSPECT);
}

/* Count a failed attempt on the server held and leave it. What was our own trouble (no port, no
 * descriptor) is not held against it, nor that it is busy: that counts once a client. Returns 0 or
 * -ENOMEM. */
static int leave_server(struct tcp_relay *relay, struct conn *conn, int error)
{
    size_t index = conn->backend->index;

    if (!origin_error_is_ours(&conn->backend->addr, error)) {
        if (!is_busy(conn->backend, error) || !is_asked_again(conn, conn->backend))
            stats_add(&server_stats(relay, conn)->connect_failures, 1);
        if (is_busy(conn->backend, error))
            note_busy(relay, conn);
        else
            suspect(relay, conn, PICK_SUSPECT);
    }
    conn->connect_error = (uint16_t)error;
    conn_drop_server(conn);
    return pick_set_add(&conn->tried, index, SERVICE_BACKENDS_MAX);
}

/* The socket of a connect to the server held. Returns 0 or -errno. */
static int open_connect(struct tcp_relay *relay, struct conn *conn, int *ret_fd)
{
    const struct service_plan *plan = service_plan(conn->service);
    const struct origin *origin = origins_of(&plan->origins, conn->backend->index);
    struct addr to = conn->backend->addr;
    struct trouble trouble = {.to = &to, .origin = origin};
    uint32_t turn = 0;

    if (addr_lacks_port(&to))
        addr_set_port(&to, conn->asked_port);
    if (origin) {
        turn = (uint32_t)stats_read(&server_stats(relay, conn)->turns);
        stats_add(&server_stats(relay, conn)->turns, 1);
    }
    trouble.error = trouble_lasts(server_stats(relay, conn), &trouble, relay->loop->now_ns)
                        ? -EADDRNOTAVAIL
                        : origin_connect(origin, turn, &to, ret_fd, &trouble.step);
    if (trouble.error)
        trouble_note(service_stats(relay, conn), server_stats(relay, conn), conn->service, &trouble,
                     relay->loop->now_ns);
    return trouble.error;
}

/* Begin a connect to the server held. Returns 0 or -errno. */
static int begin(struct tcp_relay *relay, struct conn *conn)
{
    int fd;
    int error;

    conn->era = backend_era(conn->backend);
    conn->connected_ns = relay->loop->now_ns;
    if (stats_read(&server_stats(relay, conn)->busy_ns) == relay->loop->now_ns)
        return -EAGAIN; /* as this turn has seen: many may be waiting */
    error = open_connect(relay, conn, &fd);
    if (error)
        return error;
    conn->server = (struct flow_side){.is_tcp = !addr_is_unix(&conn->backend->addr)};
    source_init(&conn->server.source, SOURCE_SERVER, fd);
    error = loop_add(relay->loop, &conn->server.source, LOOP_EDGE);
    if (error)
        return error;
    deadline_start(relay->timeouts[conn->service->index].connect, &conn->deadline,
                   relay->loop->now_ns);
    return 0;
}

static enum place_result find_held(struct tcp_relay *relay, struct conn *conn,
                                   const struct service_client *client, struct backend **ret)
{
    const struct affinity_visit visit = {.now_ns = relay->loop->now_ns, .hold = &conn->affinity};
    enum affinity_result result;
    enum place_result found = affinity_take(conn->service, client, &visit, ret, &result);

    if (found == PLACE_TAKEN && !is_asked_again(conn, *ret))
        stats_add(&service_stats(relay, conn)->affinity.choices[result], 1);
    return found;
}

enum place_result connect_find(struct tcp_relay *relay, struct conn *conn, struct backend **ret)
{
    const struct service_client client = {
        .addr = &conn->peer, .tried = &conn->tried, .random = next_random(relay)};

    return affinity_is_on(service_plan(conn->service)) ? find_held(relay, conn, &client, ret)
                                                       : place_take(conn->service, &client, ret);
}

bool connect_has_left(const struct conn *conn)
{
    return conn->client.has_hangup && !sock_has_input(conn->client.source.fd);
}

/* Over TCP its SYN would be sent again. Here the server is asked again, as one that this client has
 * not tried, with no place held meanwhile: whether it may still be had is seen anew each time. */
static bool asks_again(struct tcp_relay *relay, struct conn *conn)
{
    if (!conn->busy_by_ns || !pick_set_has(&conn->tried, conn->busy) ||
        relay->loop->now_ns >= conn->busy_by_ns)
        return false;
    pick_set_remove(&conn->tried, conn->busy);
    deadline_start(relay->linger, &conn->deadline, relay->loop->now_ns);
    return true;
}

/* No server for it now. If one was only busy, it is asked again. It waits for a place among those
 * it may have; or, if trouble of its servers is the reason, for one that comes back: nothing of it
 * was read, so it has lost nothing but time.
 */
static enum connect_result find_nobody(struct tcp_relay *relay, struct conn *conn,
                                       enum place_result found)
{
    enum waiting_for what = found == PLACE_FULL ? WAITING_PLACE : WAITING_SERVER;

    if (asks_again(relay, conn))
        return CONNECT_PENDING;
    if (!service_may_wait(conn->service))
        return give_up(relay, conn, failure_reason(conn));
    if (connect_has_left(conn))
        return give_up(relay, conn, CLOSE_CLIENT_FIN);
    if (what == WAITING_PLACE || waiting_is_lost(conn->service)) {
        if (parking_enter(relay, conn, what))
            return CONNECT_WAITS;
        if (parking_is_open(relay, conn->service, what))
            stats_add(&service_stats(relay, conn)->waiting.refused, 1);
    }
    return give_up(relay, conn, what == WAITING_PLACE ? CLOSE_LIMIT : failure_reason(conn));
}

static void count_try(struct tcp_relay *relay, struct conn *conn)
{
    if (conn->connect_error)
        stats_add(&service_stats(relay, conn)->redispatches, 1);
    if (conn->n_tries < UINT16_MAX)
        conn->n_tries++;
}

enum connect_result connect_taken(struct tcp_relay *relay, struct conn *conn)
{
    for (;;) {
        enum place_result found;
        int error;

        if (!is_asked_again(conn, conn->backend))
            count_try(relay, conn);
        error = begin(relay, conn);
        if (!error)
            return CONNECT_PENDING;
        if (leave_server(relay, conn, -error))
            return give_up(relay, conn, CLOSE_ERROR);
        found = connect_find(relay, conn, &conn->backend);
        if (found != PLACE_TAKEN)
            return find_nobody(relay, conn, found);
    }
}

enum connect_result connect_next(struct tcp_relay *relay, struct conn *conn)
{
    enum place_result found = connect_find(relay, conn, &conn->backend);

    return found == PLACE_TAKEN ? connect_taken(relay, conn) : find_nobody(relay, conn, found);
}

static enum connect_result try_next(struct tcp_relay *relay, struct conn *conn, int error)
{
    if (leave_server(relay, conn, error))
        return give_up(relay, conn, CLOSE_ERROR);
    return conn->client.error ? give_up(relay, conn, conn->reason) : connect_next(relay, conn);
}

/* A suspect that nobody probes, or that probes cannot tell of, is in favour again. */
static void prove(struct tcp_relay *relay, struct backend *backend)
{
    if (!(backend_set(backend, PICK_PROVEN) & PICK_PROVEN))
        mailbox_post(relay->prober, MAILBOX_SUSPECT);
}

static enum connect_result connected(struct tcp_relay *relay, struct conn *conn, uint32_t bits)
{
    if (backend_standing(conn->backend) & PICK_SUSPECT && !conn->server.error)
        prove(relay, conn->backend);
    flow_side_note(&conn->server, bits);
    conn->server.is_writable = true;
    histogram_add(&server_stats(relay, conn)->connect_ns, &histogram_connect,
                  relay->loop->now_ns - conn->connected_ns);
    conn->connected_ns = relay->loop->now_ns;
    stats_add(&server_stats(relay, conn)->connections, 1);
    return CONNECT_DONE;
}

static bool is_self_connected(const struct conn *conn)
{
    const struct addr *to = &conn->backend->addr;
    uint16_t port = addr_lacks_port(to) ? conn->asked_port : addr_port(to);

    return conn->backend->is_local && sock_is_self_connected(conn->server.source.fd, port);
}

enum connect_result connect_on_server(struct tcp_relay *relay, struct conn *conn, uint32_t bits)
{
    int error = 0;

    if (bits & (EPOLLERR | EPOLLHUP))
        error = sock_take_error(conn->server.source.fd);
    else if (!(bits & EPOLLOUT))
        return CONNECT_PENDING;
    if (error == 0 && is_self_connected(conn)) {
        /* Nobody listens there but the connect itself (K15). Closed with a FIN it would stay in
         * TIME_WAIT on the very port that the server wants back. */
        sock_reset(source_take_fd(&conn->server.source));
        error = ECONNREFUSED;
    }
    if (error == 0)
        return connected(relay, conn, bits);
    if (error == ETIMEDOUT)
        return connect_on_timeout(relay,
                                  conn); /* tcp_syn_retries was shorter than our own patience */
    /* A server may accept, say its last words ("too many connections") and reset before we look:
     * its bytes are the client's, and there is nothing to try again. */
    if (!sock_error_is_reset(error) || !sock_has_input(conn->server.source.fd))
        return try_next(relay, conn, error);
    conn->server.error = error;
    return connected(relay, conn, bits);
}

enum connect_result connect_on_timeout(struct tcp_relay *relay, struct conn *conn)
{
    if (conn->n_timeouts < UINT8_MAX)
        conn->n_timeouts++;
    if (conn->n_timeouts < service_plan(conn->service)->tries)
        return try_next(relay, conn, ETIMEDOUT);
    if (leave_server(relay, conn, ETIMEDOUT))
        return give_up(relay, conn, CLOSE_ERROR);
    if (conn->client.error)
        return give_up(relay, conn, conn->reason);
    return find_nobody(relay, conn, PLACE_NOBODY);
}

/* The client may have asked for it, with nonsense: reason to look, not to judge. */
void connect_doubt_server(struct tcp_relay *relay, const struct conn *conn)
{
    if (sock_error_is_reset(conn->server.error) && !conn->client.error &&
        conn->down.n_received == 0 && relay->loop->now_ns - conn->connected_ns <= SPURNED_NS)
        suspect(relay, conn, PICK_DOUBT);
}

/* Not a byte was taken from the client, so nothing is lost by asking another. A later reset, or one
 * after last words, is the server's answer. */
bool connect_is_spurned(const struct tcp_relay *relay, const struct conn *conn)
{
    return sock_error_is_reset(conn->server.error) && !conn->client.error &&
           !conn->is_half_closed && conn->up.n_received == 0 && conn->down.n_received == 0 &&
           relay->loop->now_ns - conn->connected_ns <= SPURNED_NS;
}

/* The next server is asked at the end of the turn: the batch may still hold an event of the socket
 * that is closed here, which must not be taken for one of the next. */
int connect_leave_spurned(struct tcp_relay *relay, struct conn *conn)
{
    int error = conn->server.error;

    flow_fini(&conn->up, &relay->flow);
    flow_fini(&conn->down, &relay->flow);
    flow_init(&conn->up);
    flow_init(&conn->down);
    conn->state = CONN_CONNECTING;
    deadline_start(relay->at_once, &conn->deadline, relay->loop->now_ns);
    return leave_server(relay, conn, error);
}

/* At the end of the turn, as above. */
void connect_leave(struct tcp_relay *relay, struct conn *conn)
{
    conn_drop_server(conn);
    deadline_start(relay->at_once, &conn->deadline, relay->loop->now_ns);
}
