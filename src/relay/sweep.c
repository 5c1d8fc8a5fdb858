#include "lb4/relay/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/relay/connect.h"
#include "lb4/relay/udp_session.h"

static const char *state_word(const struct conn *conn)
{
    switch (conn->state) {
    case CONN_HEADER:
        return "header";
    case CONN_CONNECTING:
        return "connecting";
    case CONN_WAITING:
        return "waiting";
    case CONN_RELAYING:
        return conn->is_half_closed ? "half_closed" : "open";
    case CONN_RESETTING:
        return "resetting";
    case CONN_LEAVING:
        return "leaving";
    case CONN_CLOSED:
        return "closed";
    }
    return "?";
}

/* A deadline was last moved when a byte moved, on the list of the timeout of then: a reload may
 * have brought another one. */
static uint64_t started_ns(const struct deadline *deadline, uint64_t least_ns)
{
    const struct deadline_list *list = deadline->list;
    uint64_t span_ns = list ? list->duration_ns + list->slack_ns : 0;

    if (!list || deadline->due_ns < span_ns || deadline->due_ns - span_ns < least_ns)
        return least_ns;
    return deadline->due_ns - span_ns;
}

static uint64_t idle_since_ns(const struct conn *conn)
{
    return conn->state == CONN_RELAYING ? started_ns(&conn->deadline, conn->accepted_ns)
                                        : conn->accepted_ns;
}

static uint64_t since(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

/* --- lists ------------------------------------------------------------------------------------ */

static void name_record(struct sweep_record *record, const struct service *service,
                        const struct backend *backend)
{
    memcpy(record->service, service->name, sizeof(record->service));
    if (backend)
        memcpy(record->server, backend->name, sizeof(record->server));
}

static void record_conn(const struct conn *conn, uint64_t now_ns, struct sweep_record *record)
{
    *record = (struct sweep_record){
        .client = conn->peer,
        .state = state_word(conn),
        .age_ns = since(now_ns, conn->accepted_ns),
        .idle_ns = since(now_ns, idle_since_ns(conn)),
        .bytes_in = conn->up.n_received,
        .bytes_out = conn->down.n_received,
    };
    name_record(record, conn->service, conn->backend);
}

static void record_session(const struct udp_session *session, uint64_t now_ns,
                           struct sweep_record *record)
{
    *record = (struct sweep_record){
        .is_udp = true,
        .client = session->entry.key.client,
        .state = session->n_datagrams_out > 0 ? "answered" : "unanswered",
        .age_ns = since(now_ns, session->began_ns),
        .idle_ns = since(now_ns, started_ns(&session->deadline, session->began_ns)),
        .bytes_in = session->bytes_in,
        .bytes_out = session->bytes_out,
    };
    name_record(record, session->service, session->backend);
}

static bool is_wanted(const struct sweep_target *only, const struct service *service,
                      const struct backend *backend)
{
    if (!only || !*only->service)
        return true;
    if (strcmp(only->service, service->name) != 0)
        return false;
    return !*only->server || (backend && strcmp(only->server, backend->name) == 0);
}

static struct sweep_record *next_record(struct sweep_list *list)
{
    return list->n++ < list->cap ? &list->records[list->n - 1] : NULL;
}

/* What is looked at: a connection, or a session. */
struct look {
    const struct service *service;
    const struct backend *backend;
    struct meter **meter;
    struct meter_count count;
};

/* Its place among the busiest, or NULL. Each is metered, also one that is not wanted: the next who
 * looks may want it. */
static struct sweep_record *busy_record(struct sweep_list *list, const struct look *look,
                                        uint64_t now_ns, struct meter_rate *ret)
{
    long place;

    *ret = meter_look(look->meter, &look->count, now_ns);
    if (!is_wanted(list->only, look->service, look->backend))
        return NULL;
    place = largest_offer(list->busiest, ret->in_per_s + ret->out_per_s,
                          look->count.bytes_in + look->count.bytes_out);
    list->n = list->busiest->n;
    return place == LARGEST_NONE ? NULL : &list->records[place];
}

static struct sweep_record *place_for(struct sweep_list *list, const struct look *look,
                                      uint64_t now_ns, struct meter_rate *ret)
{
    *ret = (struct meter_rate){0};
    return list->busiest ? busy_record(list, look, now_ns, ret) : next_record(list);
}

static void list_conn(struct conn *conn, uint64_t now_ns, struct sweep_list *list)
{
    const struct look look = {conn->service,
                              conn->backend,
                              &conn->meter,
                              {conn->accepted_ns, conn->up.n_received, conn->down.n_received}};
    struct meter_rate rate;
    struct sweep_record *record = place_for(list, &look, now_ns, &rate);

    if (!record)
        return;
    record_conn(conn, now_ns, record);
    record->rate = rate;
    record->conn = conn;
}

static void list_session(struct udp_session *session, uint64_t now_ns, struct sweep_list *list)
{
    const struct look look = {session->service,
                              session->backend,
                              &session->meter,
                              {session->began_ns, session->bytes_in, session->bytes_out}};
    struct meter_rate rate;
    struct sweep_record *record = place_for(list, &look, now_ns, &rate);

    if (!record)
        return;
    record_session(session, now_ns, record);
    record->rate = rate;
}

static bool is_too_young(const struct sweep_list *list, uint64_t began_ns)
{
    return list->until_ns && began_ns > list->until_ns;
}

/* Returns how many it may look at still. */
static size_t list_tcp(struct tcp_relay *relay, struct sweep_list *list, size_t n_left)
{
    for (; relay->cursor != &relay->live; n_left--) {
        struct conn *conn = container_of(relay->cursor, struct conn, link);

        if (is_too_young(list, conn->accepted_ns))
            break;
        if (n_left == 0)
            return 0;
        relay->cursor = relay->cursor->next;
        list_conn(conn, relay->loop->now_ns, list);
    }
    relay->cursor = &relay->live;
    list->at = SWEEP_UDP;
    return n_left;
}

static void list_udp(struct udp_relay *relay, struct sweep_list *list, size_t n_left)
{
    for (; relay->cursor != &relay->live; n_left--) {
        struct udp_session *session = container_of(relay->cursor, struct udp_session, link);

        if (is_too_young(list, session->began_ns))
            break;
        if (n_left == 0)
            return;
        relay->cursor = relay->cursor->next;
        list_session(session, relay->loop->now_ns, list);
    }
    relay->cursor = &relay->live;
    list->at = SWEEP_END;
}

/* Of those that are among the busiest as yet, and have not been asked. */
static void read_paths(struct sweep_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct sweep_record *record = &list->records[i];

        if (!record->conn)
            continue;
        path_read(record->conn->client.source.fd, &record->to_client);
        path_read(record->conn->server.source.fd, &record->to_server);
        record->conn = NULL; /* it may be gone at the next piece */
    }
}

void sweep_list(const struct sweep_relays *relays, struct sweep_list *list)
{
    size_t n_left = list->n_piece ? list->n_piece : SIZE_MAX;

    if (list->at == SWEEP_BEGIN) {
        relays->tcp->cursor = relays->tcp->live.next;
        if (relays->udp)
            relays->udp->cursor = relays->udp->live.next;
        list->at = SWEEP_TCP;
    }
    if (list->at == SWEEP_TCP)
        n_left = list_tcp(relays->tcp, list, n_left);
    if (list->at == SWEEP_UDP && relays->udp)
        list_udp(relays->udp, list, n_left);
    else if (list->at == SWEEP_UDP)
        list->at = SWEEP_END;
    if (list->busiest)
        read_paths(list);
}

/* --- ends ------------------------------------------------------------------------------------- */

enum { END_COST = 16 }; /* of a look; chosen: two sockets are closed */

static bool is_victim(const struct sweep_victims *victims, const struct service *service,
                      const struct backend *backend)
{
    if (victims->backend)
        return backend == victims->backend;
    return backend && strcmp(backend->name, victims->target->server) == 0 &&
           strcmp(service->name, victims->target->service) == 0;
}

static bool is_after(const struct sweep_kill *kill, uint64_t began_ns)
{
    return kill->until_ns && began_ns > kill->until_ns;
}

static size_t pay(size_t n_left, size_t cost)
{
    return n_left > cost ? n_left - cost : 0;
}

/* Returns how many it may look at still. */
static size_t kill_conns(struct tcp_relay *relay, struct sweep_kill *kill, size_t n_left)
{
    const struct sweep_victims *victims = kill->victims;

    while (relay->kill_cursor != &relay->live) {
        struct conn *conn = container_of(relay->kill_cursor, struct conn, link);

        if (is_after(kill, conn->accepted_ns))
            break;
        if (n_left == 0)
            return 0;
        relay->kill_cursor = conn->link.next;
        n_left--;
        if (!is_victim(victims, conn->service, conn->backend))
            continue;
        n_left = pay(n_left, END_COST);
        if (victims->backend && conn->state == CONN_CONNECTING) {
            connect_leave(relay, conn);
            continue;
        }
        conn_close(relay, conn, victims->reason, CONN_END_RESET);
        kill->n_ended++;
    }
    relay->kill_cursor = &relay->live;
    kill->at = SWEEP_UDP;
    return n_left;
}

/* Answers that stand on the lines of a session go before it ends. */
static void kill_sessions(struct udp_relay *relay, struct sweep_kill *kill, size_t n_left)
{
    udp_end_turn(relay);
    while (relay->kill_cursor != &relay->live) {
        struct udp_session *session = container_of(relay->kill_cursor, struct udp_session, link);

        if (is_after(kill, session->began_ns))
            break;
        if (n_left == 0)
            return;
        relay->kill_cursor = session->link.next;
        n_left--;
        if (!is_victim(kill->victims, session->service, session->backend))
            continue;
        udp_session_close(relay, session, UDP_END_ADMIN);
        kill->n_ended++;
        n_left = pay(n_left, END_COST);
    }
    relay->kill_cursor = &relay->live;
    kill->at = SWEEP_END;
}

void sweep_kill(const struct sweep_relays *relays, struct sweep_kill *kill)
{
    size_t n_left = kill->n_piece ? kill->n_piece : SIZE_MAX;

    if (kill->at == SWEEP_BEGIN) {
        relays->tcp->kill_cursor = relays->tcp->live.next;
        if (relays->udp)
            relays->udp->kill_cursor = relays->udp->live.next;
        kill->at = SWEEP_TCP;
    }
    if (kill->at == SWEEP_TCP)
        n_left = kill_conns(relays->tcp, kill, n_left);
    if (kill->at == SWEEP_UDP && relays->udp && kill->victims->reason == CLOSE_ADMIN)
        kill_sessions(relays->udp, kill, n_left);
    else if (kill->at == SWEEP_UDP)
        kill->at = SWEEP_END;
}

/* One that may be shed. */
struct candidate {
    struct conn *conn;
    uint64_t idle_since_ns;
};

static int compare_idle(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;

    return a->idle_since_ns < b->idle_since_ns ? -1 : a->idle_since_ns > b->idle_since_ns;
}

static size_t find_candidates(struct tcp_relay *relay, const struct backend *backend,
                              struct candidate *candidates)
{
    size_t n = 0;

    for (struct list *link = relay->live.next; link != &relay->live; link = link->next) {
        struct conn *conn = container_of(link, struct conn, link);

        if (conn->backend == backend && conn->state == CONN_RELAYING)
            candidates[n++] = (struct candidate){conn, idle_since_ns(conn)};
    }
    qsort(candidates, n, sizeof(*candidates), compare_idle);
    return n;
}

/* No memory to sort them: then not now. */
size_t sweep_shed(const struct sweep_relays *relays, const struct sweep_excess *excess)
{
    struct tcp_relay *relay = relays->tcp;
    struct candidate *candidates = calloc(relay->n_live + 1, sizeof(*candidates));
    size_t n_found = candidates ? find_candidates(relay, excess->backend, candidates) : 0;
    uint64_t n_mine = 0;
    size_t n = 0;

    if (excess->n_active > 0)
        n_mine = ((uint64_t)excess->n_wanted * n_found + excess->n_active - 1) / excess->n_active;
    while (n < n_found && n < n_mine && capacity_acquire(excess->places))
        conn_close(relay, candidates[n++].conn, CLOSE_ADMIN, CONN_END_RESET);
    free(candidates);
    return n;
}
