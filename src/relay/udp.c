/* What was received lies in the inbox, and answers stand on the lines of the outbox, until the end
 * of the turn. Both are cleared early, when an event needs room: settle(). A listener's batch is
 * sent on before the next event, so only answers ever wait. */
#include "lb4/relay/udp.h"

#include "lb4/base/clock.h"
#include "lb4/base/prefix_map.h"
#include "lb4/base/sock.h"
#include "lb4/base/sock_udp.h"
#include "lb4/relay/admit.h"
#include "lb4/relay/udp_admit.h"
#include "lb4/relay/udp_session.h"
#include "lb4/relay/udp_unwrap.h"
#include "lb4/relay/udp_up.h"

static const uint64_t PROVEN_NS = 1000 * 1000000ull; /* who sends again after it is no flood */
static const uint64_t ASK_NS = 10 * 1000000ull;      /* for room, at most so often; chosen */

enum { ANSWERS_MAX = 4 }; /* of one session and event; measured: more starves the others */

/* Counting ----------------------------------------------------------------------------------- */

/* Lines of this service are about to be used. */
static void note_use(struct udp_relay *relay, const struct service *service)
{
    struct udp_service *notes = &relay->services[service->index];

    if (list_is_empty(&notes->counted))
        list_append(&relay->uncounted, &notes->counted);
}

static void count_tallies(struct udp_relay *relay)
{
    struct list *link;

    while ((link = list_take_first(&relay->uncounted))) {
        struct udp_service *notes = container_of(link, struct udp_service, counted);
        stats_counter *dropped = relay->stats->services[notes - relay->services].udp.dropped;

        stats_add(&dropped[UDP_DROP_FULL], notes->tally.n_full);
        stats_add(&dropped[UDP_DROP_LARGE], notes->tally.n_large);
        stats_add(&dropped[UDP_DROP_ERROR], notes->tally.n_error);
        notes->tally = (struct udp_tally){0};
    }
}

/* A look at what the kernel dropped is a system call, so it comes some time after a batch, for that
 * one and all that follow until then. */
static void plan_look(struct udp_relay *relay, struct udp_listener *listener)
{
    if (listener->is_looking)
        return;
    listener->is_looking = true;
    deadline_init(&listener->look);
    deadline_start(&relay->looks, &listener->look, relay->loop->now_ns);
}

static void look(struct udp_relay *relay, struct udp_listener *listener)
{
    uint32_t n_drops;

    listener->is_looking = false;
    if (listener->source.fd < 0)
        return;
    n_drops = sock_udp_drops(listener->source.fd);
    udp_count_drop(relay, listener->service, UDP_DROP_KERNEL, n_drops - listener->n_drops);
    listener->n_drops = n_drops;
}

static void settle(struct udp_relay *relay)
{
    udp_outbox_flush(relay->outbox);
    udp_inbox_empty(relay->inbox);
    count_tallies(relay);
}

static void make_room(struct udp_relay *relay, size_t n_packets)
{
    if (udp_inbox_room(relay->inbox) < n_packets)
        settle(relay);
}

/* From clients ------------------------------------------------------------------------------- */

/* One batch of one listener. */
struct batch {
    struct udp_listener *listener;
    struct udp_session *last; /* of the datagram before: mostly this one's too */
    uint64_t n_datagrams;
    uint64_t n_bytes;
    bool has_rate; /* of the datagrams of a source */
};

static struct udp_key key_of(const struct udp_listener *listener, const struct udp_packet *packet)
{
    struct udp_key key = {.client = packet->peer, .asked = listener->at};

    if (listener->is_wildcard && packet->own.sa.sa_family != AF_UNSPEC) {
        key.asked = packet->own;
        addr_set_port(&key.asked, addr_port(&listener->at));
    }
    return key;
}

/* A reload has given the listener to another service: sessions follow with their next datagram. */
static bool is_moved(struct udp_relay *relay, const struct udp_listener *listener,
                     struct udp_entry *entry)
{
    struct udp_session *session = container_of(entry, struct udp_session, entry);

    if (session->service == listener->service)
        return false;
    udp_session_close(relay, session, UDP_END_DRAIN);
    return true;
}

/* NULL: *ret_drop says why. */
static struct udp_session *find_session(struct udp_relay *relay, const struct batch *batch,
                                        const struct udp_key *key, enum udp_drop *ret_drop)
{
    struct udp_entry *entry;

    if (batch->last && udp_key_equal(&batch->last->entry.key, key))
        return batch->last;
    entry = udp_table_find(&relay->table, key);
    if (entry && !is_moved(relay, batch->listener, entry))
        return container_of(entry, struct udp_session, entry);
    return udp_admit(relay, batch->listener, key, ret_drop);
}

static bool has_rate(const struct service *service)
{
    return service_plan(service)->guard.rate_datagrams.interval_ns > 0;
}

/* How many datagrams of the packet the rate of its source lets in; the packet is cut to them. The
 * first of a session was asked for when it began. */
static uint32_t let_in(struct udp_relay *relay, struct udp_session *session,
                       struct udp_packet *packet, uint32_t n_datagrams)
{
    struct guard_places *places = &session->admission.guard;
    uint32_t n_in = n_datagrams;

    if (session->n_datagrams_in == 0)
        guard_charge_datagrams(session->service, places, relay->loop->now_ns, n_datagrams - 1);
    else
        n_in = guard_ask_datagrams(session->service, &session->entry.key.client, places,
                                   relay->loop->now_ns, n_datagrams);
    if (n_in == n_datagrams)
        return n_in;
    udp_count_drop(relay, session->service, UDP_DROP_LIMIT, n_datagrams - n_in);
    packet->n_bytes = n_in * packet->segment_bytes;
    return n_in;
}

/* To its session, to be sent with what else has come for that. */
static void deliver(struct udp_relay *relay, struct batch *batch, const struct udp_key *key,
                    struct udp_packet *packet)
{
    uint32_t n_datagrams = udp_packet_count(packet);
    enum udp_drop drop;
    struct udp_session *session = find_session(relay, batch, key, &drop);

    batch->last = session;
    if (!session) {
        udp_count_drop(relay, batch->listener->service, drop, n_datagrams);
        return;
    }
    if (batch->has_rate && (n_datagrams = let_in(relay, session, packet, n_datagrams)) == 0)
        return;
    session->n_datagrams_in += n_datagrams;
    session->bytes_in += packet->n_bytes;
    udp_line_append(&session->up, packet);
    if (list_is_empty(&session->touched))
        list_append(&relay->touched, &session->touched);
}

/* An answer does not prove that the client exists, but it wants one: who sends again after it, or
 * after a second, is hardly one of a flood's invented addresses. */
static void consider(struct udp_relay *relay, struct udp_session *session)
{
    if (session->n_datagrams_out > 0)
        udp_session_promote(relay, session, UDP_TIER_ESTABLISHED);
    else if (relay->loop->now_ns - session->began_ns >= PROVEN_NS)
        udp_session_promote(relay, session, UDP_TIER_LASTING);
}

static void send_touched(struct udp_relay *relay)
{
    struct list *link;

    while ((link = list_take_first(&relay->touched))) {
        struct udp_session *session = container_of(link, struct udp_session, touched);

        udp_up_send(relay, session);
        udp_session_touch(relay, session);
        consider(relay, session);
    }
    relay->n_unwrapped = 0;
}

/* From a balancer before us ------------------------------------------------------------------ */

static void refuse_wrapped(struct udp_relay *relay, const struct batch *batch,
                           const struct udp_packet *packet, enum refusal why)
{
    struct service *service = batch->listener->service;

    udp_count_drop(relay, service, why == REFUSAL_HEADER ? UDP_DROP_HEADER : UDP_DROP_DENIED,
                   udp_packet_count(packet));
    admit_note_refusal(service, &packet->peer, why, relay->loop->now_ns);
    refuse_tell(relay->refuse, service, &packet->peer, why, relay->loop->now_ns);
}

/* When there is no place for one more, what has come so far is sent first. */
static struct udp_packet *take_place(struct udp_relay *relay)
{
    if (relay->n_unwrapped == UDP_UNWRAP_MAX)
        send_touched(relay);
    return &relay->unwrapped[relay->n_unwrapped++];
}

static void take_from_balancer(struct udp_relay *relay, struct batch *batch,
                               struct udp_packet *packet)
{
    if (!prefix_map_allows(batch->listener->accept_proxy, &packet->peer)) {
        refuse_wrapped(relay, batch, packet, REFUSAL_PEER);
        return;
    }
    for (uint32_t n_left = udp_packet_count(packet); n_left > 0; n_left--) {
        struct udp_packet *datagram = take_place(relay);
        struct udp_key key = key_of(batch->listener, packet);
        struct udp_via via;
        uint32_t n_bytes;

        *datagram = udp_unwrap_cut(packet);
        n_bytes = datagram->n_bytes;
        if (!udp_unwrap(datagram, &key, &via)) {
            relay->n_unwrapped--;
            refuse_wrapped(relay, batch, datagram, REFUSAL_HEADER);
            continue;
        }
        batch->n_bytes -= n_bytes - datagram->n_bytes;
        deliver(relay, batch, &key, datagram);
    }
}

/* Answers go to whoever has sent it: nobody can be answered at port 0. */
static void take_packet(struct udp_relay *relay, struct batch *batch, struct udp_packet *packet)
{
    const struct udp_listener *listener = batch->listener;
    struct udp_key key;

    batch->n_datagrams += udp_packet_count(packet);
    batch->n_bytes += packet->n_bytes;
    if (packet->is_truncated || addr_port(&packet->peer) == 0) {
        udp_count_drop(relay, listener->service,
                       packet->is_truncated ? UDP_DROP_TRUNCATED : UDP_DROP_LOOP,
                       udp_packet_count(packet));
    } else if (listener->accept_proxy) {
        take_from_balancer(relay, batch, packet);
    } else {
        key = key_of(listener, packet);
        deliver(relay, batch, &key, packet);
    }
}

void udp_on_listener(struct udp_relay *relay, struct udp_listener *listener)
{
    struct stats_udp *stats = udp_stats(relay, listener->service);
    struct batch batch = {.listener = listener, .has_rate = has_rate(listener->service)};
    struct udp_packet *packets;
    int n;

    make_room(relay, UDP_INBOX_MAX);
    n = udp_inbox_receive(relay->inbox, listener->source.fd, UDP_INBOX_MAX, &packets);
    if (n <= 0)
        return;
    note_use(relay, listener->service);
    plan_look(relay, listener);
    for (int i = 0; i < n; i++)
        take_packet(relay, &batch, &packets[i]);
    send_touched(relay);
    udp_inbox_empty(relay->inbox);
    stats_add(&stats->datagrams_in, batch.n_datagrams);
    stats_add(&stats->bytes_in, batch.n_bytes);
}

/* From servers ------------------------------------------------------------------------------- */

static void count_answers(struct udp_relay *relay, struct udp_session *session,
                          uint64_t n_datagrams, uint64_t n_bytes)
{
    struct stats_udp *stats = udp_stats(relay, session->service);

    session->n_datagrams_out += n_datagrams;
    session->bytes_out += n_bytes;
    stats_add(&stats->datagrams_out, n_datagrams);
    stats_add(&stats->bytes_out, n_bytes);
}

static void pass_answers(struct udp_relay *relay, struct udp_session *session,
                         struct udp_packet *packets, int n)
{
    uint64_t n_datagrams = 0;
    uint64_t n_bytes = 0;

    if (n <= 0)
        return;
    note_use(relay, session->service);
    for (int i = 0; i < n; i++) {
        n_datagrams += udp_packet_count(&packets[i]);
        n_bytes += packets[i].n_bytes;
        if (packets[i].is_truncated)
            udp_count_drop(relay, session->service, UDP_DROP_TRUNCATED,
                           udp_packet_count(&packets[i]));
        else
            udp_outbox_add(relay->outbox, &session->down, &packets[i]);
    }
    count_answers(relay, session, n_datagrams, n_bytes);
    udp_session_forget(session);
    pick_set_free(&session->tried);
    udp_session_touch(relay, session);
    udp_session_promote(relay, session, UDP_TIER_ANSWERED);
    if (list_is_empty(&session->finished) && udp_session_has_all(session))
        list_append(&relay->finished, &session->finished);
}

/* The kernel tells an error before what it received earlier, and a server that has gone may have
 * answered until then. */
static void on_error(struct udp_relay *relay, struct udp_session *session, int error)
{
    struct udp_packet *packets;
    int n;

    make_room(relay, UDP_INBOX_MAX);
    n = udp_inbox_receive_connected(relay->inbox, session->source.fd, UDP_INBOX_MAX, &packets);
    pass_answers(relay, session, packets, n);
    note_use(relay, session->service);
    if (!sock_connect_error_is_local(error))
        udp_up_refused(relay, session, error);
}

/* Of a session that waits for one answer, as most do, there is one to be had: a look for more is
 * not free, and the event comes again if there is one. */
static size_t count_wanted(const struct udp_session *session)
{
    return session->n_datagrams_in == session->n_datagrams_out + 1 ? 1 : ANSWERS_MAX;
}

/* The bits may be those of a socket that this session had before: only the socket itself is asked.
 */
void udp_on_server(struct udp_relay *relay, struct source *source, uint32_t bits)
{
    struct udp_session *session = container_of(source, struct udp_session, source);
    struct udp_packet *packets;
    int n;

    (void)bits;
    make_room(relay, ANSWERS_MAX);
    n = udp_inbox_receive_connected(relay->inbox, source->fd, count_wanted(session), &packets);
    if (n < 0)
        on_error(relay, session, -n);
    else
        pass_answers(relay, session, packets, n);
}

/* The end of a turn -------------------------------------------------------------------------- */

/* A client that has asked again since is owed more. */
static void close_finished(struct udp_relay *relay)
{
    struct list *link;

    while ((link = list_take_first(&relay->finished))) {
        struct udp_session *session = container_of(link, struct udp_session, finished);

        if (udp_session_has_all(session))
            udp_session_close(relay, session, UDP_END_RESPONSES);
    }
}

void udp_end_turn(struct udp_relay *relay)
{
    if (!relay->inbox)
        return;
    settle(relay);
    close_finished(relay);
}

void udp_expire(struct udp_relay *relay)
{
    enum udp_end reason = relay->is_draining ? UDP_END_DRAIN : UDP_END_IDLE;
    struct deadline *deadline;
    size_t at = 0;

    while ((deadline = deadline_set_expire(&relay->deadlines, &at, relay->loop->told_ns)))
        udp_session_close(relay, container_of(deadline, struct udp_session, deadline), reason);
    while ((deadline = deadline_expire(&relay->looks, relay->loop->now_ns)))
        look(relay, container_of(deadline, struct udp_listener, look));
}

bool udp_ask_for_room(struct udp_relay *relay)
{
    bool has_asked;

    if (!relay->is_short || relay->loop->now_ns - relay->asked_ns < ASK_NS)
        return false;
    relay->is_short = false;
    relay->asked_ns = relay->loop->now_ns;
    has_asked = udp_share_ask(&relay->share);
    for (size_t i = 0; i < relay->n_services; i++)
        has_asked = udp_share_ask(&relay->services[i].share) || has_asked;
    return has_asked;
}

/* Answers of what is to end must not wait in the outbox. */
void udp_give_room(struct udp_relay *relay)
{
    settle(relay);
    udp_evict_owed(relay, &relay->share);
    for (size_t i = 0; i < relay->n_services; i++)
        udp_evict_owed(relay, &relay->services[i].share);
}

void udp_reap(struct udp_relay *relay)
{
    udp_session_reap(relay);
}

uint64_t udp_next_due_ns(const struct udp_relay *relay)
{
    return deadline_set_earliest(&relay->deadlines, deadline_earliest(&relay->looks, UINT64_MAX));
}

void udp_start_draining(struct udp_relay *relay)
{
    relay->is_draining = true;
    for (struct list *link = relay->live.next; link != &relay->live; link = link->next)
        udp_session_touch(relay, container_of(link, struct udp_session, link));
}

void udp_end_all(struct udp_relay *relay)
{
    udp_end_turn(relay);
    while (!list_is_empty(&relay->live))
        udp_session_close(relay, container_of(relay->live.next, struct udp_session, link),
                          UDP_END_DRAIN);
}

void udp_end_of_listener(struct udp_relay *relay, const struct udp_listener *listener)
{
    struct list *link;

    udp_end_turn(relay);
    link = relay->live.next;
    while (link != &relay->live) {
        struct udp_session *session = container_of(link, struct udp_session, link);

        link = link->next;
        if (session->down.fd == listener->source.fd)
            udp_session_close(relay, session, UDP_END_DRAIN);
    }
}
