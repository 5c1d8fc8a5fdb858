#include "lb4/relay/udp_session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/sock_udp.h"
#include "lb4/shared/affinity.h"
#include "lb4/shared/place.h"

static const char *const end_words[] = {
    [UDP_END_IDLE] = "idle",   [UDP_END_RESPONSES] = "responses", [UDP_END_EVICTED] = "evicted",
    [UDP_END_DRAIN] = "drain", [UDP_END_ADMIN] = "admin",         [UDP_END_ERROR] = "error",
};

static struct udp_share *service_share(struct udp_relay *relay, const struct service *service)
{
    return &relay->services[service->index].share;
}

/* A wildcard's answers leave from the very address that was asked; without PKTINFO nobody knows it.
 */
static void lines_init(struct udp_relay *relay, struct udp_session *session,
                       const struct udp_listener *listener)
{
    struct udp_tally *tally = &relay->services[session->service->index].tally;
    struct addr *asked = &session->entry.key.asked;

    session->up = (struct udp_line){.fd = -1, .segment_max = UDP_SEGMENT_ANY, .tally = tally};
    session->down = (struct udp_line){
        .fd = listener->source.fd,
        .segment_max = UDP_SEGMENT_ANY,
        .to = session->via ? &session->via->peer : &session->entry.key.client,
        .from = listener->is_wildcard && !addr_is_wildcard(asked) ? asked : NULL,
        .tally = tally,
    };
}

static struct deadline_list *tick_list(const struct udp_relay *relay, const struct service *service)
{
    return access_list(relay->access ? &relay->access->udp : NULL, service);
}

/* 0 = there are no lines at intervals. */
static uint64_t tick_ns(const struct udp_relay *relay, const struct service *service)
{
    const struct deadline_list *list = tick_list(relay, service);

    return list ? list->duration_ns : 0;
}

static void begin_tick(struct udp_relay *relay, struct udp_session *session, uint64_t start_ns)
{
    relay->services[session->service->index].access_ns = tick_ns(relay, session->service);
    access_begin(tick_list(relay, session->service), &session->tick, session, start_ns);
}

/* NULL: no memory. */
static struct udp_session *alloc_session(const struct udp_key *key)
{
    struct udp_session *session = calloc(1, sizeof(*session));

    if (!session || !key->via)
        return session;
    session->via = malloc(sizeof(*session->via));
    if (!session->via) {
        free(session);
        return NULL;
    }
    *session->via = *key->via;
    return session;
}

/* The key of an entry of the table. */
static struct udp_key own_key(const struct udp_session *session, const struct udp_key *key)
{
    struct udp_key own = *key;

    own.via = session->via;
    return own;
}

struct udp_session *udp_session_new(struct udp_relay *relay, const struct udp_listener *listener,
                                    const struct udp_key *key)
{
    struct udp_session *session = alloc_session(key);
    struct udp_key own;

    if (!session) {
        udp_share_untake(service_share(relay, listener->service));
        udp_share_untake(&relay->share);
        return NULL;
    }
    own = own_key(session, key);
    source_init(&session->source, SOURCE_UDP_SERVER, -1);
    deadline_init(&session->deadline);
    list_init(&session->touched);
    list_init(&session->finished);
    session->service = listener->service;
    session->began_ns = relay->loop->now_ns;
    udp_table_add(&relay->table, &session->entry, &own);
    udp_share_enter(service_share(relay, session->service), &session->of_service, session);
    udp_share_enter(&relay->share, &session->of_all, session);
    lines_init(relay, session, listener);
    list_append(&relay->live, &session->link);
    relay->n_live++;
    begin_tick(relay, session, session->began_ns);
    udp_session_touch(relay, session);
    return session;
}

/* While nobody has answered, nothing can have been dropped on the way back. */
static void close_socket(struct udp_relay *relay, const struct udp_session *session, int fd)
{
    if (fd < 0)
        return;
    if (session->n_datagrams_out > 0)
        udp_count_drop(relay, session->service, UDP_DROP_KERNEL, sock_udp_drops(fd));
    close(fd);
}

/* The batch may still hold an event of the old socket, which is then taken for one of the new one:
 * a look in vain, as no event is believed before the socket was asked. */
int udp_session_bind(struct udp_relay *relay, struct udp_session *session, struct backend *backend,
                     int fd)
{
    struct source old = session->source;
    int error;

    source_init(&session->source, SOURCE_UDP_SERVER, fd);
    error = loop_add(relay->loop, &session->source, LOOP_LEVEL);
    if (error) {
        session->source = old;
        return error;
    }
    close_socket(relay, session, old.fd);
    if (session->backend) {
        place_give_back(session->service, session->backend);
        stats_add(&udp_stats(relay, session->service)->rebinds, 1);
    } else {
        stats_add(&udp_stats(relay, session->service)->sessions, 1);
    }
    session->backend = backend;
    session->n_binds++;
    session->up.fd = fd;
    session->up.segment_max = UDP_SEGMENT_ANY;
    stats_add(&relay->stats->servers[backend->stats_index].connections, 1);
    return 0;
}

void udp_session_forget(struct udp_session *session)
{
    free(session->kept);
    session->kept = NULL;
    session->n_at_risk = 0;
}

void udp_session_keep(struct udp_session *session, const uint8_t *bytes, uint32_t n_bytes)
{
    uint8_t *kept = NULL;

    if (n_bytes <= UDP_KEPT_MAX)
        kept = realloc(session->kept, n_bytes ? n_bytes : 1);
    if (!kept) {
        free(session->kept);
        session->kept = NULL;
        return;
    }
    memcpy(kept, bytes, n_bytes);
    session->kept = kept;
    session->n_kept = n_bytes;
}

void udp_session_promote(struct udp_relay *relay, struct udp_session *session, enum udp_tier tier)
{
    udp_share_promote(service_share(relay, session->service), &session->of_service, tier);
    udp_share_promote(&relay->share, &session->of_all, tier);
}

bool udp_session_has_all(const struct udp_session *session)
{
    uint32_t responses = service_plan(session->service)->udp.responses;

    return responses > 0 && responses != CONF_UDP_ANY_RESPONSES &&
           session->n_datagrams_out / responses >= session->n_datagrams_in;
}

struct deadline_list *udp_session_timeout(const struct udp_relay *relay,
                                          const struct udp_session *session)
{
    struct deadline_list *list = relay->services[session->service->index].timeout;

    if (relay->is_draining && relay->quiet->duration_ns < list->duration_ns)
        return relay->quiet;
    return list;
}

void udp_session_touch(struct udp_relay *relay, struct udp_session *session)
{
    deadline_touch(udp_session_timeout(relay, session), &session->deadline, relay->loop->now_ns);
}

void udp_session_begin_ticks(struct udp_relay *relay, const struct service *service)
{
    uint64_t access_ns = tick_ns(relay, service);
    uint64_t start_ns = relay->loop->now_ns - access_ns;
    uint64_t step_ns = access_ns / (relay->n_live + 1);

    if (relay->services[service->index].access_ns == access_ns)
        return;
    for (struct list *link = relay->live.next; link != &relay->live; link = link->next) {
        struct udp_session *session = container_of(link, struct udp_session, link);

        if (session->service == service)
            begin_tick(relay, session, start_ns += step_ns);
    }
}

void udp_session_close(struct udp_relay *relay, struct udp_session *session, enum udp_end reason)
{
    struct access_line line;

    assert(session->up.first == NULL && session->down.first == NULL);
    access_note_session(&line, session, end_words[reason], relay->loop->now_ns);
    close_socket(relay, session, source_take_fd(&session->source));
    if (reason == UDP_END_ADMIN)
        affinity_break(session->service, session->backend, &session->affinity);
    else
        affinity_leave(session->service, &session->affinity);
    if (session->backend) {
        place_give_back(session->service, session->backend);
        stats_add(&udp_stats(relay, session->service)->ended, 1);
        access_say(&line);
    }
    admit_leave(session->service, &session->admission);
    udp_session_forget(session);
    pick_set_free(&session->tried);
    meter_free(&session->meter);
    deadline_stop(&session->deadline);
    access_end(&session->tick);
    list_remove(&session->touched);
    list_remove(&session->finished);
    udp_table_remove(&relay->table, &session->entry);
    if (relay->cursor == &session->link)
        relay->cursor = session->link.next;
    if (relay->kill_cursor == &session->link)
        relay->kill_cursor = session->link.next;
    list_remove(&session->link);
    relay->n_live--;
    list_append(&relay->dead, &session->link);
    udp_share_leave(service_share(relay, session->service), &session->of_service);
    udp_share_leave(&relay->share, &session->of_all);
}

void udp_session_reap(struct udp_relay *relay)
{
    struct list *link;

    while ((link = list_take_first(&relay->dead))) {
        struct udp_session *session = container_of(link, struct udp_session, link);

        free(session->via);
        free(session->header);
        free(session);
    }
}
