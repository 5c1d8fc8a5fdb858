/* For tests of relay/conn, connect and tcp: a relay in one thread, its clients and servers on
 * loopback sockets, and a clock that can be put forward. */
#ifndef TEST_RIG_H
#define TEST_RIG_H

#include <stdlib.h>
#include <string.h>

#include "lb4/relay/tcp.h"
#include "lb4/shared/service_table.h"

#include "sockets.h"

enum {
    RIG_SERVERS_MAX = 4,
    RIG_CONNECT_MS = 3000,
    RIG_IDLE_MS = 600000,
    RIG_HALF_CLOSE_MS = 60000,
    RIG_MAXCONN = 100,
    RIG_HEADERS = 2
};

struct rig {
    struct loop loop;
    struct capacity capacity;
    struct capacity headers;
    struct stats_block stats;
    struct mailbox prober; /* where the relay posts suspects */
    struct service_table services;
    struct tcp_relay relay;
    uint64_t skip_ns; /* the clock is so far ahead of the real one */
    size_t n_fds;     /* of this process before the rig was opened */
};

/* What a test wants to be different about the service. */
static void (*rig_adjust)(struct conf_service *service);

/* Whose PROXY headers its clients must have; NULL: none. */
static const struct prefix_map *rig_proxies;

/* Small sends of a batch leave together; only where the kernel lets us. */
static bool rig_io_uring;

/* One service over these servers, in turn, so that the first connection goes to the first. */
static inline void rig_open(struct rig *rig, const struct addr *servers, size_t n,
                            uint32_t max_pipes)
{
    const struct tcp_relay_options options = {
        .max_pipes = max_pipes, .n_prepared_pipes = 1, .io_uring = rig_io_uring};
    struct conf_server conf_servers[RIG_SERVERS_MAX] = {0};
    struct conf_service service = {
        .name = "rig",
        .servers = conf_servers,
        .n_servers = n,
        .balance = CONF_BALANCE_ROUNDROBIN,
        .tries = 2,
        .timeouts = {.connect_ms = RIG_CONNECT_MS,
                     .idle_ms = RIG_IDLE_MS,
                     .half_close_ms = RIG_HALF_CLOSE_MS},
    };
    const struct conf conf = {.services = &service, .n_services = 1};

    for (size_t i = 0; i < n; i++) {
        conf_servers[i].addr = servers[i];
        conf_servers[i].weight = 1;
    }
    if (rig_adjust)
        rig_adjust(&service);
    memset(rig, 0, sizeof(*rig));
    rig->n_fds = sockets_count_fds();
    assert_int_equal(service_table_init(&rig->services, &conf), 0);
    assert_int_equal(loop_init(&rig->loop), 0);
    assert_int_equal(stats_block_init(&rig->stats, 1, n), 0);
    assert_int_equal(mailbox_init(&rig->prober), 0);
    capacity_init(&rig->capacity, RIG_MAXCONN);
    rig->relay.loop = &rig->loop;
    rig->relay.stats = &rig->stats;
    rig->relay.capacity = &rig->capacity;
    capacity_init(&rig->headers, RIG_HEADERS);
    rig->relay.headers = &rig->headers;
    rig->relay.prober = &rig->prober;
    assert_int_equal(tcp_relay_init(&rig->relay, &rig->services, &options), 0);
}

/* Nothing may be left: connections, places, descriptors. The test has closed its own. */
static inline void rig_close(struct rig *rig)
{
    assert_int_equal(rig->relay.n_live, 0);
    assert_int_equal(capacity_used(&rig->capacity), 0);
    assert_int_equal(capacity_used(&rig->headers), 0);
    assert_int_equal(rig->relay.flow.pipes.n_lent, 0);
    assert_int_equal(tcp_next_due_ns(&rig->relay), UINT64_MAX);
    for (size_t i = 0; i < rig->services.n_backends; i++)
        assert_int_equal(backend_active(&rig->services.services->backends[i]), 0);
    tcp_relay_fini(&rig->relay);
    stats_block_fini(&rig->stats);
    service_table_fini(&rig->services);
    mailbox_fini(&rig->prober);
    loop_fini(&rig->loop);
    assert_int_equal(sockets_count_fds(), rig->n_fds);
}

/* One turn, as a worker does it. */
static inline void rig_turn(struct rig *rig, int wait_ms)
{
    size_t n = loop_wait(&rig->loop, wait_ms);

    rig->loop.now_ns += rig->skip_ns;
    rig->loop.told_ns = rig->loop.now_ns;
    tcp_begin_batch(&rig->relay, n);
    for (size_t i = 0; i < n; i++) {
        const struct loop_event *event = &rig->loop.batch[i];

        if (event->source->is_closed)
            continue;
        if (event->source->kind == SOURCE_CLIENT)
            tcp_on_client(&rig->relay, event->source, event->bits);
        else
            tcp_on_server(&rig->relay, event->source, event->bits);
    }
    tcp_end_batch(&rig->relay);
    tcp_expire(&rig->relay);
    tcp_reap(&rig->relay);
}

/* Put the clock forward and do what has come due. */
static inline void rig_advance(struct rig *rig, uint64_t ms)
{
    rig->skip_ns += ms * CLOCK_NS_PER_MS;
    rig->loop.now_ns += ms * CLOCK_NS_PER_MS;
    rig->loop.told_ns = rig->loop.now_ns;
    tcp_expire(&rig->relay);
    tcp_reap(&rig->relay);
}

static inline void rig_accept_fd(struct rig *rig, int fd, uint16_t asked_port)
{
    const struct tcp_door door = {rig->services.services, rig_proxies, asked_port, false};
    const struct addr peer = sockets_loopback(1);

    assert_true(capacity_acquire(&rig->capacity));
    tcp_accept(&rig->relay, &door, fd, &peer);
}

/* A client that lb4 has accepted; returns its end. */
static inline int rig_client(struct rig *rig)
{
    struct pair pair = sockets_pair(0);

    rig_accept_fd(rig, pair.near, 1);
    return pair.far;
}

/* Turns until the socket, which is the test's own, is ready for this. */
static inline void rig_until(struct rig *rig, int fd, short events)
{
    struct patience patience = patience_new();
    struct pollfd ready = {fd, events, 0};

    while (poll(&ready, 1, 0) == 0 && patience_holds(&patience))
        rig_turn(rig, 1);
}

/* The connection that a server gets. */
static inline int rig_server(struct rig *rig, int listener_fd)
{
    rig_until(rig, listener_fd, POLLIN);
    return sockets_accept(listener_fd);
}

/* The newest connection, live. */
static inline struct conn *rig_conn(struct rig *rig)
{
    assert_false(list_is_empty(&rig->relay.live));
    return container_of(rig->relay.live.prev, struct conn, link);
}

static inline void rig_until_relaying(struct rig *rig)
{
    struct patience patience = patience_new();

    while (rig_conn(rig)->state == CONN_CONNECTING && patience_holds(&patience))
        rig_turn(rig, 1);
}

static inline void rig_until_ended(struct rig *rig)
{
    struct patience patience = patience_new();

    while (rig->relay.n_live > 0 && patience_holds(&patience))
        rig_turn(rig, 1);
}

/* Turns until this many bytes of the stream have come to one of the test's sockets. */
static inline void rig_read(struct rig *rig, int fd, uint64_t at, size_t n)
{
    struct patience patience = patience_new();
    size_t n_read = 0;

    while (n_read < n && patience_holds(&patience)) {
        ssize_t got = sockets_read(fd, at + n_read, n - n_read);

        assert_true(got > 0 || got == -EAGAIN);
        n_read += got > 0 ? (size_t)got : 0;
        rig_turn(rig, 0);
    }
}

/* The whole stream goes in at one of the test's sockets and comes out at another. */
static inline void rig_pass(struct rig *rig, int from_fd, int to_fd, size_t n)
{
    struct patience patience = patience_new();
    size_t n_sent = 0;
    size_t n_read = 0;

    while (n_read < n && patience_holds(&patience)) {
        ssize_t got;

        n_sent += sockets_send(from_fd, n_sent, n - n_sent);
        rig_turn(rig, 0);
        got = sockets_read(to_fd, n_read, n - n_read);
        assert_true(got > 0 || got == -EAGAIN);
        n_read += got > 0 ? (size_t)got : 0;
    }
}

/* What the socket reads next must be the end (0), or this -errno. */
static inline void rig_expect(struct rig *rig, int fd, ssize_t what)
{
    rig_until(rig, fd, POLLIN | POLLHUP);
    assert_int_equal(sockets_read(fd, 0, 1), what);
}

/* So many connections were there in all, and all have ended for this one reason. */
static inline void rig_check_ended(const struct rig *rig, enum close_reason reason, uint64_t n)
{
    struct stats_service_sum sum;

    stats_sum_service(&rig->stats, 1, 0, &sum);
    assert_int_equal(sum.connections, n);
    for (size_t i = 0; i < CLOSE_REASONS; i++) {
        if (sum.closed[i] != (i == reason ? n : 0))
            fail_msg("%llu ended by %s, not %llu by %s", (unsigned long long)sum.closed[i],
                     close_reason_word(i), (unsigned long long)n, close_reason_word(reason));
    }
    assert_int_equal(stats_read(&rig->stats.worker.connections), n);
    assert_int_equal(stats_read(&rig->stats.worker.closed), n);
}

static inline uint64_t rig_connect_failures(const struct rig *rig, size_t server)
{
    return stats_read(&rig->stats.servers[server].connect_failures);
}

static inline uint64_t rig_redispatches(const struct rig *rig)
{
    return stats_read(&rig->stats.services[0].redispatches);
}

/* The usual scene: one server, one client, connected; all four ends are closed by scene_close(). */
struct scene {
    struct rig rig;
    struct addr at;
    int listener_fd;
    int client_fd;
    int server_fd;
};

static inline void scene_open(struct scene *scene, uint32_t max_pipes)
{
    scene->listener_fd = sockets_listen(&scene->at);
    rig_open(&scene->rig, &scene->at, 1, max_pipes);
    scene->client_fd = rig_client(&scene->rig);
    scene->server_fd = rig_server(&scene->rig, scene->listener_fd);
    rig_until_relaying(&scene->rig);
}

static inline void scene_reset(int *fd)
{
    sock_reset(*fd);
    *fd = -1;
}

static inline void scene_close(struct scene *scene)
{
    if (scene->client_fd >= 0)
        close(scene->client_fd);
    if (scene->server_fd >= 0)
        close(scene->server_fd);
    rig_close(&scene->rig);
    close(scene->listener_fd);
}

#endif
