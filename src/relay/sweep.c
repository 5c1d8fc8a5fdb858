#include "lb4/relay/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/relay/udp_session.h"

static const char *state_word(const struct conn *conn)
{
    switch (conn->state) {
    case CONN_CONNECTING:
        return "connecting";
    case CONN_RELAYING:
        return conn->is_half_closed ? "half_closed" : "open";
    case CONN_RESETTING:
        return "resetting";
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

static struct sweep_record *next_record(struct sweep_list *list)
{
    return list->n++ < list->cap ? &list->records[list->n - 1] : NULL;
}

static void name_record(struct sweep_record *record, const struct service *service,
                        const struct backend *backend)
{
    memcpy(record->service, service->name, sizeof(record->service));
    if (backend)
        memcpy(record->server, backend->name, sizeof(record->server));
}

static void list_conn(const struct tcp_relay *relay, const struct conn *conn,
                      struct sweep_list *list)
{
    struct sweep_record *record = next_record(list);
    uint64_t now_ns = relay->loop->now_ns;

    if (!record)
        return;
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

static void list_session(const struct udp_relay *relay, const struct udp_session *session,
                         struct sweep_list *list)
{
    struct sweep_record *record = next_record(list);
    uint64_t now_ns = relay->loop->now_ns;

    if (!record)
        return;
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

void sweep_list(const struct sweep_relays *relays, struct sweep_list *list)
{
    struct list *link;

    for (link = relays->tcp->live.next; link != &relays->tcp->live; link = link->next)
        list_conn(relays->tcp, container_of(link, struct conn, link), list);
    if (!relays->udp)
        return;
    for (link = relays->udp->live.next; link != &relays->udp->live; link = link->next)
        list_session(relays->udp, container_of(link, struct udp_session, link), list);
}

static bool is_target(const struct sweep_target *target, const struct service *service,
                      const struct backend *backend)
{
    return backend && strcmp(backend->name, target->server) == 0 &&
           strcmp(service->name, target->service) == 0;
}

static size_t kill_conns(struct tcp_relay *relay, const struct sweep_target *target)
{
    struct list *link = relay->live.next;
    size_t n = 0;

    while (link != &relay->live) {
        struct conn *conn = container_of(link, struct conn, link);

        link = link->next;
        if (!is_target(target, conn->service, conn->backend))
            continue;
        conn_close(relay, conn, CLOSE_ADMIN, CONN_END_RESET);
        n++;
    }
    return n;
}

/* Answers that stand on the lines of a session go before it ends. */
static size_t kill_sessions(struct udp_relay *relay, const struct sweep_target *target)
{
    struct list *link;
    size_t n = 0;

    udp_end_turn(relay);
    link = relay->live.next;
    while (link != &relay->live) {
        struct udp_session *session = container_of(link, struct udp_session, link);

        link = link->next;
        if (!is_target(target, session->service, session->backend))
            continue;
        udp_session_close(relay, session, UDP_END_ADMIN);
        n++;
    }
    return n;
}

size_t sweep_kill(const struct sweep_relays *relays, const struct sweep_target *target)
{
    size_t n = kill_conns(relays->tcp, target);

    return relays->udp ? n + kill_sessions(relays->udp, target) : n;
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
