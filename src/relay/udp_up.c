/* Who may be asked again, and when it ends: a server that refuses joins session->tried, which only
 * grows until the client sends again or a server answers. So a datagram goes to each server once at
 * most, however the refusals arrive, and the datagram after it finds all of them open again. When
 * nobody is left the session stays at the last server; the socket is as good as new, since the
 * error of a UDP socket is told once (FAULTS.md K16). */
#include "lb4/relay/udp_up.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/sock.h"
#include "lb4/relay/proxy_header.h"
#include "lb4/relay/trouble.h"
#include "lb4/shared/affinity.h"
#include "lb4/shared/backend_write.h"
#include "lb4/shared/choose.h"
#include "lb4/shared/place.h"

/* splitmix64, as in connect.c */
static uint32_t next_random(struct udp_relay *relay)
{
    uint64_t z = relay->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(z >> 32);
}

/* A server without a port of its own is not judged, as in connect.c. */
static void blame(struct udp_relay *relay, const struct service *service, struct backend *backend)
{
    stats_add(&relay->stats->servers[backend->stats_index].connect_failures, 1);
    if (addr_port(&backend->addr) == 0)
        return;
    if (service_plan(service)->evict.n_failures > 0) {
        backend_note_trouble(backend, relay->loop->now_ns);
        mailbox_post(relay->prober, MAILBOX_SUSPECT);
    }
    if (!(backend_set(backend, PICK_SUSPECT) & PICK_SUSPECT))
        mailbox_post(relay->prober, MAILBOX_SUSPECT);
}

/* The socket, or -errno: -EADDRNOTAVAIL if no local port is left, which the end of another session
 * may change; -EINVAL if no source is this machine's. */
static int open_connect(struct udp_relay *relay, struct service *service,
                        const struct backend *backend, const struct addr *to)
{
    const struct origin *origin = origins_of(&service_plan(service)->origins, backend->index);
    struct trouble trouble = {.to = to, .origin = origin};
    struct stats_server *stats = &relay->stats->servers[backend->stats_index];
    uint32_t turn = 0;
    int fd = -1;

    if (origin) {
        turn = (uint32_t)stats_read(&stats->turns);
        stats_add(&stats->turns, 1);
    }
    trouble.error = !relay->has_freed_port && trouble_lasts(stats, &trouble, relay->loop->now_ns)
                        ? -EADDRNOTAVAIL
                        : origin_connect_udp(origin, turn, to, &fd, &trouble.step);
    if (trouble.error)
        trouble_note(&relay->stats->services[service->index], stats, service, &trouble,
                     relay->loop->now_ns);
    if (trouble.step == ORIGIN_SOURCE && trouble.error)
        return -EINVAL;
    return trouble.error ? trouble.error : fd;
}

static int connect_to(struct udp_relay *relay, struct service *service,
                      const struct backend *backend, uint16_t asked_port)
{
    struct addr to = backend->addr;
    int fd;

    if (addr_port(&to) == 0)
        addr_set_port(&to, asked_port);
    fd = open_connect(relay, service, backend, &to);
    if (fd >= 0 && backend->is_local && sock_is_self_connected(fd, addr_port(&to))) {
        close(fd);
        return -ECONNREFUSED;
    }
    return fd;
}

/* Returns 0 or -errno; on error the place on the server is given back. */
static int bind_to(struct udp_relay *relay, struct udp_session *session, struct backend *backend)
{
    int fd = connect_to(relay, session->service, backend, addr_port(&session->entry.key.asked));
    int error = fd < 0 ? fd : udp_session_bind(relay, session, backend, fd);

    if (!error)
        return 0;
    if (fd >= 0)
        close(fd);
    place_give_back(session->service, backend);
    return error;
}

static enum udp_drop trouble_word(int error)
{
    if (sock_out_of_resources(error) || error == -EADDRNOTAVAIL)
        return UDP_DROP_LIMIT;
    return sock_connect_error_is_local(error) ? UDP_DROP_ERROR : UDP_DROP_REFUSED;
}

static struct backend *choose(struct udp_relay *relay, struct udp_session *session,
                              const struct service_client *client)
{
    const struct affinity_visit visit = {
        .now_ns = relay->loop->now_ns, .is_udp = true, .hold = &session->affinity};
    enum affinity_result result;
    struct backend *chosen;

    if (!affinity_is_on(service_plan(session->service)))
        return service_choose(session->service, client);
    if (affinity_take(session->service, client, &visit, &chosen, &result) != PLACE_TAKEN)
        return NULL;
    stats_add(&relay->stats->services[session->service->index].affinity.choices[result], 1);
    return chosen;
}

/* What is our own trouble with one server, as is a source that is not here, may be none with the
 * next; but for descriptors and memory, which no server would give us. */
bool udp_up_bind(struct udp_relay *relay, struct udp_session *session, enum udp_drop *ret_drop)
{
    *ret_drop = session->tried.bits ? UDP_DROP_REFUSED : UDP_DROP_NO_SERVER;
    for (;;) {
        const struct service_client client = {.addr = &session->entry.key.client,
                                              .tried = &session->tried,
                                              .random = next_random(relay)};
        struct backend *backend = choose(relay, session, &client);
        int error;

        if (!backend)
            return false;
        error = bind_to(relay, session, backend);
        if (!error)
            return true;
        *ret_drop = trouble_word(error);
        if (sock_out_of_resources(error))
            return false;
        if (!sock_connect_error_is_local(error))
            blame(relay, session->service, backend);
        if (pick_set_add(&session->tried, backend->index, SERVICE_BACKENDS_MAX))
            return false;
    }
}

/* Whoever sends to us, the server hears of the client, and where it meant to go. */
static bool make_header(struct udp_session *session)
{
    const struct udp_key *key = &session->entry.key;
    uint8_t header[PROXY_SEND_MAX];

    session->n_header = (uint32_t)proxy_header_write(header, 2, true, &key->client,
                                                     key->via ? &key->via->asked : &key->asked);
    session->header = malloc(session->n_header);
    if (session->header)
        memcpy(session->header, header, session->n_header);
    return session->header;
}

/* Servers differ in whether they want one, and so may the same one after a reload. False: there is
 * no memory for it, and without it nothing may be sent. */
static bool set_header(struct udp_session *session)
{
    bool is_wanted = backend_send_proxy(session->backend) != 0;

    session->up.n_header = 0;
    if (!is_wanted)
        return true;
    if (!session->header && !make_header(session))
        return false;
    session->up.header = session->header;
    session->up.n_header = session->n_header;
    return true;
}

static void tell_large(struct udp_relay *relay, const struct udp_session *session, uint64_t n)
{
    const struct udp_large large = {.service = session->service->name,
                                    .server = session->backend->name,
                                    .client = &session->entry.key.client,
                                    .n = n};

    if (n > 0 && session->up.n_header > 0)
        udp_notice_large(&relay->services[session->service->index].large, &large,
                         relay->loop->now_ns);
}

/* Send what stands on the line. Returns 0 or errno. */
static int send_line(struct udp_relay *relay, struct udp_session *session)
{
    const struct udp_tally before = *session->up.tally;
    int error;

    if (!set_header(session))
        return ENOMEM;
    error = -udp_send(relay->outbox, &session->up);
    session->n_at_risk += (uint32_t)(session->up.tally->n_sent - before.n_sent);
    tell_large(relay, session, session->up.tally->n_large - before.n_large);
    return error;
}

/* The server refuses: what it got in the last go is lost, but for the one that was kept. What
 * became of those before, nobody knows. */
static void count_lost(struct udp_relay *relay, struct udp_session *session)
{
    uint32_t n_kept = session->kept && session->n_at_risk > 0;

    udp_count_drop(relay, session->service, UDP_DROP_REFUSED, session->n_at_risk - n_kept);
    session->n_at_risk = 0;
}

/* The kept datagram stands before what came after it, unless it stands there already. */
static void put_kept_first(struct udp_session *session, struct udp_packet *kept)
{
    struct udp_line *line = &session->up;

    if (!session->kept || line->first == kept)
        return;
    *kept = (struct udp_packet){.next = line->first,
                                .bytes = session->kept,
                                .n_bytes = session->n_kept,
                                .segment_bytes = session->n_kept};
    if (!line->first)
        line->last = kept;
    line->first = kept;
}

/* Leave a server that refuses, or that there is no way to. False: there is nobody else, or no means
 * to get there. */
static bool leave(struct udp_relay *relay, struct udp_session *session, int error,
                  enum udp_drop *ret_drop)
{
    if (!sock_connect_error_is_local(error))
        blame(relay, session->service, session->backend);
    *ret_drop = UDP_DROP_ERROR;
    if (pick_set_add(&session->tried, session->backend->index, SERVICE_BACKENDS_MAX))
        return false;
    return udp_up_bind(relay, session, ret_drop);
}

/* What is our own trouble passes; but a source or an interface that has gone, while the session was
 * on its way, may stay away. */
static bool is_to_go_on(int error)
{
    return error == EINVAL || error == ENODEV || !sock_connect_error_is_local(error);
}

bool udp_up_refused(struct udp_relay *relay, struct udp_session *session, int error)
{
    struct udp_packet kept;
    enum udp_drop drop = UDP_DROP_ERROR;

    while (error && is_to_go_on(error)) {
        count_lost(relay, session);
        put_kept_first(session, &kept);
        if (!leave(relay, session, error, &drop))
            break;
        drop = UDP_DROP_ERROR;
        error = send_line(relay, session);
    }
    if (!error)
        return true;
    udp_count_drop(relay, session->service, drop, udp_line_clear(&session->up));
    udp_session_forget(session);
    return false;
}

static bool is_to_leave(const struct udp_session *session)
{
    return service_session_leaves(session->service, backend_standing(session->backend));
}

struct datagram {
    const uint8_t *bytes;
    uint32_t n_bytes;
};

static struct datagram last_of(const struct udp_line *line)
{
    const struct udp_packet *packet = line->last;
    uint32_t n_before = (udp_packet_count(packet) - 1) * packet->segment_bytes;

    return (struct datagram){packet->bytes + n_before, packet->n_bytes - n_before};
}

/* What was sent still lies in the inbox: hence the copy after it. What is at risk from the go
 * before counts no more once this one went without an error. */
void udp_up_send(struct udp_relay *relay, struct udp_session *session)
{
    const struct datagram last = last_of(&session->up);
    uint32_t n_before = session->n_at_risk;
    enum udp_drop drop;
    int error;

    pick_set_free(&session->tried);
    if (is_to_leave(session))
        udp_up_bind(relay, session, &drop);
    error = send_line(relay, session);
    if (!error)
        session->n_at_risk -= n_before;
    else if (!udp_up_refused(relay, session, error))
        return;
    udp_session_keep(session, last.bytes, last.n_bytes);
}
