/* For tests of relay/udp*: a relay in one thread, its clients and servers on loopback sockets, and
 * a clock that can be put forward. */
#ifndef TEST_UDP_RIG_H
#define TEST_UDP_RIG_H

#include "datagrams.h"
#include "sockets.h"

#include "lb4/relay/udp_session.h"
#include "lb4/shared/service_table.h"

enum { RIG_SERVERS_MAX = 4, RIG_UDP_MS = 60000, RIG_CAP = 100, QUIET_MS = 1000, LOOK_MS = 100 };

/* What differs from the usual: one listener at 127.0.0.1, room for RIG_CAP sessions. */
struct rig_options {
    const char *host;   /* of the listener, NULL = 127.0.0.1, "*" = the dual-stack wildcard */
    uint32_t cap;       /* 0 = RIG_CAP */
    uint32_t n_workers; /* 0 = 1 */
    uint32_t udp_ms;    /* 0 = RIG_UDP_MS */
    uint32_t max_sessions;
    uint32_t responses; /* 0 = as many as come */
    bool is_one_way;
    bool keeps_on_down;
    uint32_t ban_after;          /* refusals in a minute; 0 = never */
    const struct origin *origin; /* of the first server */
};

struct rig {
    struct loop loop;
    struct udp_room room;
    struct stats_block stats;
    struct mailbox prober; /* where the relay posts suspects */
    struct service_table services;
    struct udp_relay relay;
    struct udp_listener listener;
    uint64_t skip_ns; /* the clock is so far ahead of the real one */
    size_t n_fds;     /* of this process before the rig was opened */
};

static inline void rig_listen(struct rig *rig, const char *host)
{
    rig->listener = (struct udp_listener){.service = rig->services.services,
                                          .is_wildcard = strcmp(host, "*") == 0};
    source_init(&rig->listener.source, SOURCE_UDP_LISTENER, listen_at(host));
    rig->listener.at = local_addr(rig->listener.source.fd);
    assert_int_equal(loop_add(&rig->loop, &rig->listener.source, LOOP_LEVEL), 0);
}

/* One service over these servers, in turn, so that the first session goes to the first. */
static inline void rig_open(struct rig *rig, const struct addr *servers, size_t n,
                            const struct rig_options *options)
{
    struct conf_server conf_servers[RIG_SERVERS_MAX] = {0};
    struct conf_service service = {
        .name = "rig",
        .servers = conf_servers,
        .n_servers = n,
        .balance = CONF_BALANCE_ROUNDROBIN,
        .tries = 2,
        .timeouts = {.udp_ms = options->udp_ms ? options->udp_ms : RIG_UDP_MS},
        .udp = {.keeps_on_down = options->keeps_on_down,
                .responses = options->responses ? options->responses : CONF_UDP_ANY_RESPONSES,
                .max_sessions = options->max_sessions},
    };
    const struct conf conf = {.services = &service, .n_services = 1};

    service.guard.ban = (struct conf_ban){options->ban_after, 60000, 60000};
    if (options->is_one_way)
        service.udp.responses = 0;
    for (size_t i = 0; i < n; i++) {
        conf_servers[i].addr = servers[i];
        conf_servers[i].weight = 1;
    }
    conf_servers[0].origin = options->origin;
    memset(rig, 0, sizeof(*rig));
    rig->n_fds = sockets_count_fds();
    assert_int_equal(service_table_init(&rig->services, &conf), 0);
    assert_int_equal(loop_init(&rig->loop), 0);
    assert_int_equal(stats_block_init(&rig->stats, 1, n), 0);
    assert_int_equal(mailbox_init(&rig->prober), 0);
    udp_room_init(&rig->room, options->cap ? options->cap : RIG_CAP);
    rig->relay.loop = &rig->loop;
    rig->relay.stats = &rig->stats;
    rig->relay.room = &rig->room;
    rig->relay.n_workers = options->n_workers ? options->n_workers : 1;
    rig->relay.prober = &rig->prober;
    assert_int_equal(udp_relay_init(&rig->relay, &rig->services), 0);
    rig_listen(rig, options->host ? options->host : "127.0.0.1");
}

static inline void rig_end_turn(struct rig *rig)
{
    udp_end_turn(&rig->relay);
    udp_expire(&rig->relay);
    udp_reap(&rig->relay);
}

/* One turn, as a worker does it. */
static inline void rig_turn(struct rig *rig, int wait_ms)
{
    size_t n = loop_wait(&rig->loop, wait_ms);

    rig->loop.now_ns += rig->skip_ns;
    rig->loop.told_ns = rig->loop.now_ns;
    for (size_t i = 0; i < n; i++) {
        const struct loop_event *event = &rig->loop.batch[i];

        if (event->source->is_closed)
            continue;
        if (event->source->kind == SOURCE_UDP_LISTENER)
            udp_on_listener(&rig->relay, container_of(event->source, struct udp_listener, source));
        else
            udp_on_server(&rig->relay, event->source, event->bits);
    }
    rig_end_turn(rig);
}

/* Turns until nothing more happens: on loopback whatever was sent has arrived, answers to what was
 * sent in a turn (refusals too) wake the next. Fails when that takes more turns than any test. */
static inline void rig_settle(struct rig *rig)
{
    struct pollfd ready = {rig->loop.epoll_fd, POLLIN, 0};
    int n_turns = 0;

    while (poll(&ready, 1, 0) == 1) {
        assert_true(n_turns++ < 1000);
        rig_turn(rig, 0);
    }
}

static inline void rig_advance(struct rig *rig, uint64_t ms)
{
    rig->skip_ns += ms * CLOCK_NS_PER_MS;
    rig->loop.now_ns += ms * CLOCK_NS_PER_MS;
    rig->loop.told_ns = rig->loop.now_ns;
    rig_end_turn(rig);
}

static inline void check_empty(const struct udp_room *room)
{
    assert_int_equal(capacity_used(&room->sessions.capacity), 0);
    assert_int_equal(capacity_used(&room->trial.capacity), 0);
}

/* Nothing may be left: sessions, places, descriptors. The test has closed its own. */
static inline void rig_close(struct rig *rig)
{
    udp_end_all(&rig->relay);
    udp_reap(&rig->relay);
    rig_advance(rig, LOOK_MS);
    assert_int_equal(rig->relay.n_live, 0);
    check_empty(&rig->room);
    check_empty(&rig->services.services->udp_room);
    assert_int_equal(udp_next_due_ns(&rig->relay), UINT64_MAX);
    assert_int_equal(stats_read(&rig->stats.services[0].udp.sessions),
                     stats_read(&rig->stats.services[0].udp.ended));
    for (size_t i = 0; i < rig->services.n_backends; i++)
        assert_int_equal(backend_active(&rig->services.services->backends[i]), 0);
    udp_relay_fini(&rig->relay);
    loop_close(&rig->listener.source);
    stats_block_fini(&rig->stats);
    service_table_fini(&rig->services);
    mailbox_fini(&rig->prober);
    loop_fini(&rig->loop);
    assert_int_equal(sockets_count_fds(), rig->n_fds);
}

/* A server's socket; *ret_at tells where. */
static inline int rig_server(struct addr *ret_at)
{
    int fd = listen_at("127.0.0.1");

    receive_singly(fd);
    *ret_at = local_addr(fd);
    return fd;
}

/* An address that refuses. */
static inline struct addr rig_closed_port(void)
{
    struct addr at;

    close(rig_server(&at));
    return at;
}

/* A client at this host of ours, connected to the listener at that host. */
static inline int rig_client_from(struct rig *rig, const char *host, const char *asked)
{
    struct addr to = make_addr(asked, addr_port(&rig->listener.at));
    int fd = listen_at(host);

    receive_singly(fd);
    assert_int_equal(connect(fd, &to.sa, addr_length(&to)), 0);
    return fd;
}

static inline int rig_client(struct rig *rig)
{
    return rig_client_from(rig, "127.0.0.1", "127.0.0.1");
}

/* Send a datagram, and let the relay do with it what it does. */
static inline void rig_say(struct rig *rig, int fd, size_t n_bytes, uint32_t tag)
{
    uint8_t *bytes = make_bytes(n_bytes, tag);

    assert_int_equal(send(fd, bytes, n_bytes, 0), n_bytes);
    free(bytes);
    rig_settle(rig);
}

/* The next datagram of one of the test's sockets is this one. Returns where it came from. */
static inline struct addr rig_hear(int fd, size_t n_bytes, uint32_t tag)
{
    static uint8_t got[DATAGRAM_MAX];
    struct addr from;
    socklen_t length = sizeof(from);
    uint8_t *bytes = make_bytes(n_bytes, tag);

    wait_for_input(fd);
    assert_int_equal(recvfrom(fd, got, sizeof(got), MSG_DONTWAIT, &from.sa, &length), n_bytes);
    assert_memory_equal(got, bytes, n_bytes);
    free(bytes);
    return from;
}

static inline void rig_hear_nothing(int fd)
{
    uint8_t byte;

    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static inline void rig_answer(struct rig *rig, int fd, const struct addr *to, size_t n_bytes,
                              uint32_t tag)
{
    uint8_t *bytes = make_bytes(n_bytes, tag);

    assert_int_equal(sendto(fd, bytes, n_bytes, 0, &to->sa, addr_length(to)), n_bytes);
    free(bytes);
    rig_settle(rig);
}

/* There and back again. Returns the session's address, as the server sees it. */
static inline struct addr rig_echo(struct rig *rig, int client, int server, size_t n_bytes)
{
    struct addr from;

    rig_say(rig, client, n_bytes, 1);
    from = rig_hear(server, n_bytes, 1);
    rig_answer(rig, server, &from, n_bytes, 2);
    rig_hear(client, n_bytes, 2);
    return from;
}

static inline struct stats_udp_sum rig_stats(const struct rig *rig)
{
    struct stats_service_sum sum;

    stats_sum_service(&rig->stats, 1, 0, &sum);
    return sum.udp;
}

/* So many datagrams were dropped for this reason, and none for another. */
static inline void rig_check_dropped(const struct rig *rig, enum udp_drop drop, uint64_t n)
{
    struct stats_udp_sum sum = rig_stats(rig);

    for (size_t i = 0; i < UDP_DROPS; i++) {
        if (sum.dropped[i] != (i == drop ? n : 0))
            fail_msg("%llu dropped, reason %zu, not %llu, reason %d",
                     (unsigned long long)sum.dropped[i], i, (unsigned long long)n, drop);
    }
}

static inline struct backend *rig_backend(struct rig *rig, size_t index)
{
    return &rig->services.services->backends[index];
}

static inline uint64_t rig_failures(const struct rig *rig, size_t server)
{
    return stats_read(&rig->stats.servers[server].connect_failures);
}

static inline uint64_t rig_connections(const struct rig *rig, size_t server)
{
    return stats_read(&rig->stats.servers[server].connections);
}

/* The usual scene: servers that live, a client. */
struct scene {
    struct rig rig;
    struct addr at[RIG_SERVERS_MAX];
    int servers[RIG_SERVERS_MAX];
    size_t n_servers;
    int client;
};

static inline void scene_open(struct scene *scene, size_t n_servers,
                              const struct rig_options *options)
{
    scene->n_servers = n_servers;
    for (size_t i = 0; i < n_servers; i++)
        scene->servers[i] = rig_server(&scene->at[i]);
    rig_open(&scene->rig, scene->at, n_servers, options);
    scene->client = rig_client_from(&scene->rig, "127.0.0.1", "127.0.0.1");
}

static inline void scene_close(struct scene *scene)
{
    close(scene->client);
    rig_close(&scene->rig);
    for (size_t i = 0; i < scene->n_servers; i++)
        close(scene->servers[i]);
}

#endif
