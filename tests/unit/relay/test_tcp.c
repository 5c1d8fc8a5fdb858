#include "lb4/relay/tcp.h"

#include <linux/tcp.h>
#include <signal.h>

#include "rig.h"

enum { N_MODES = 2, SECOND_MS = 1000, BULK = 3000000 };

static struct scene scene;
static struct rig *const rig = &scene.rig;

static void test_nothing_is_due_at_first(void **state)
{
    struct addr at = sockets_closed_port();

    (void)state;
    rig_open(rig, &at, 1, 0);
    tcp_expire(&rig->relay);
    tcp_reap(&rig->relay);
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    rig_close(rig);
}

static void test_bytes_both_ways(void **state)
{
    (void)state;
    for (uint32_t pipes = 0; pipes < N_MODES; pipes++) {
        scene_open(&scene, pipes);
        rig_pass(rig, scene.client_fd, scene.server_fd, 10);
        rig_pass(rig, scene.server_fd, scene.client_fd, BULK);
        rig_pass(rig, scene.client_fd, scene.server_fd, BULK);
        assert_int_equal(stats_read(&rig->stats.services[0].bytes_in), BULK + 10);
        assert_int_equal(stats_read(&rig->stats.services[0].bytes_out), BULK);
        assert_int_equal(stats_read(&rig->stats.servers[0].connections), 1);
        assert_int_equal(stats_read(&rig->stats.worker.relayed_splice) > 0, pipes > 0);
        tcp_reset_all(&rig->relay, CLOSE_ADMIN);
        tcp_reap(&rig->relay);
        rig_check_ended(rig, CLOSE_ADMIN, 1);
        scene_close(&scene);
    }
}

/* --- half-close ------------------------------------------------------------------------------- */

/* The one end says 1,000 bytes and its FIN; the other answers at length, then ends too. */
static void half_close(int first_fd, int second_fd, enum close_reason reason)
{
    sockets_send(first_fd, 0, 1000);
    shutdown(first_fd, SHUT_WR);
    rig_read(rig, second_fd, 0, 1000);
    rig_expect(rig, second_fd, 0);
    assert_true(rig_conn(rig)->is_half_closed);
    rig_pass(rig, second_fd, first_fd, BULK);
    shutdown(second_fd, SHUT_WR);
    rig_expect(rig, first_fd, 0);
    rig_until_ended(rig);
    rig_check_ended(rig, reason, 1);
}

static void test_half_close(void **state)
{
    (void)state;
    for (uint32_t pipes = 0; pipes < N_MODES; pipes++) {
        scene_open(&scene, pipes);
        half_close(scene.client_fd, scene.server_fd, CLOSE_CLIENT_FIN);
        scene_close(&scene);
        scene_open(&scene, pipes);
        half_close(scene.server_fd, scene.client_fd, CLOSE_SERVER_FIN);
        scene_close(&scene);
    }
}

static uint32_t segments_in(int fd)
{
    struct tcp_info info;
    socklen_t length = sizeof(info);

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info.tcpi_segs_in;
}

/* Bytes and their end that have both come to lb4's socket go on in one segment. */
static void end_with_bytes(const struct flow_side *from, int from_fd, int to_fd)
{
    uint32_t n = segments_in(to_fd);

    sockets_send(from_fd, 0, 1000);
    shutdown(from_fd, SHUT_WR);
    sockets_wait(from->source.fd, POLLRDHUP);
    rig_read(rig, to_fd, 0, 1000);
    rig_expect(rig, to_fd, 0);
    assert_int_equal(segments_in(to_fd), n + 1);
}

static void test_end_comes_with_the_last_bytes(void **state)
{
    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        struct conn *conn;

        scene_open(&scene, 1);
        conn = rig_conn(rig);
        if (turn == 0) {
            end_with_bytes(&conn->server, scene.server_fd, scene.client_fd);
            end_with_bytes(&conn->client, scene.client_fd, scene.server_fd);
        } else {
            end_with_bytes(&conn->client, scene.client_fd, scene.server_fd);
            end_with_bytes(&conn->server, scene.server_fd, scene.client_fd);
        }
        rig_until_ended(rig);
        rig_check_ended(rig, turn == 0 ? CLOSE_SERVER_FIN : CLOSE_CLIENT_FIN, 1);
        scene_close(&scene);
    }
}

static void test_both_end_at_once(void **state)
{
    (void)state;
    scene_open(&scene, 0);
    shutdown(scene.client_fd, SHUT_WR);
    shutdown(scene.server_fd, SHUT_WR);
    sockets_wait(rig_conn(rig)->client.source.fd, POLLRDHUP);
    sockets_wait(rig_conn(rig)->server.source.fd, POLLRDHUP);
    rig_until_ended(rig);
    rig_expect(rig, scene.client_fd, 0);
    rig_expect(rig, scene.server_fd, 0);
    rig_check_ended(rig, CLOSE_CLIENT_FIN, 1);
    scene_close(&scene);
}

/* --- resets ----------------------------------------------------------------------------------- */

/* n bytes, then a reset, before lb4 looks: the other end gets all of them, then the reset. */
static void reset_after(int *from_fd, int to_fd, const struct flow_side *side, size_t n)
{
    struct patience patience = patience_new();

    assert_int_equal(sockets_send(*from_fd, 0, n), n);
    while (n && !sock_has_input(side->source.fd) && patience_holds(&patience))
        ;
    while (sock_unacked(*from_fd) && patience_holds(&patience))
        ;
    scene_reset(from_fd);
    sockets_wait(side->source.fd, POLLRDHUP);
    rig_read(rig, to_fd, 0, n);
    rig_expect(rig, to_fd, -ECONNRESET);
    rig_until_ended(rig);
}

static void test_reset_is_passed_on_after_the_data(void **state)
{
    static const size_t sizes[] = {0, 3, 50000};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) * N_MODES; i++) {
        scene_open(&scene, i % N_MODES);
        reset_after(&scene.client_fd, scene.server_fd, &rig_conn(rig)->client, sizes[i / 2]);
        rig_check_ended(rig, CLOSE_CLIENT_RST, 1);
        scene_close(&scene);
        scene_open(&scene, i % N_MODES);
        reset_after(&scene.server_fd, scene.client_fd, &rig_conn(rig)->server, sizes[i / 2]);
        rig_check_ended(rig, CLOSE_SERVER_RST, 1);
        scene_close(&scene);
    }
}

static void test_reset_after_half_close(void **state)
{
    (void)state;
    scene_open(&scene, 0);
    shutdown(scene.client_fd, SHUT_WR);
    rig_expect(rig, scene.server_fd, 0);
    reset_after(&scene.server_fd, scene.client_fd, &rig_conn(rig)->server, 700);
    rig_check_ended(rig, CLOSE_SERVER_RST, 1);
    scene_close(&scene);
    scene_open(&scene, 0);
    shutdown(scene.client_fd, SHUT_WR);
    rig_expect(rig, scene.server_fd, 0);
    scene_reset(&scene.client_fd);
    /* A reset after the end does not show in reads; EPIPE: tcp_reset() of the kernel. */
    rig_until(rig, scene.server_fd, 0);
    assert_int_equal(sock_take_error(scene.server_fd), EPIPE);
    rig_until_ended(rig);
    rig_check_ended(rig, CLOSE_CLIENT_RST, 1);
    scene_close(&scene);
}

static void test_both_reset_in_one_batch(void **state)
{
    (void)state;
    scene_open(&scene, 0);
    scene_reset(&scene.client_fd);
    scene_reset(&scene.server_fd);
    sockets_wait(rig_conn(rig)->client.source.fd, POLLRDHUP);
    sockets_wait(rig_conn(rig)->server.source.fd, POLLRDHUP);
    rig_turn(rig, 1);
    assert_int_equal(rig->relay.n_live, 0);
    rig_check_ended(rig, CLOSE_CLIENT_RST, 1);
    scene_close(&scene);
}

/* Push until nothing goes on any more: every buffer on the way is full. */
static void push_until_full(int from_fd)
{
    size_t n_sent = 0;
    int n_still = 0;

    while (n_still < 20) {
        size_t n = sockets_send(from_fd, n_sent, 1000000);

        n_sent += n;
        n_still = n ? 0 : n_still + 1;
        rig_turn(rig, 1);
    }
}

/* A server that says its last words and resets while the client pushes (K23). */
static void test_last_words(void **state)
{
    (void)state;
    for (uint32_t pipes = 0; pipes < N_MODES; pipes++) {
        scene_open(&scene, pipes);
        push_until_full(scene.client_fd);
        assert_int_equal(sockets_send(scene.server_fd, 0, 200), 200);
        scene_reset(&scene.server_fd);
        rig_read(rig, scene.client_fd, 0, 200);
        rig_expect(rig, scene.client_fd, -ECONNRESET);
        rig_until_ended(rig);
        rig_check_ended(rig, CLOSE_SERVER_RST, 1);
        scene_close(&scene);
    }
}

/* The server's event comes first, and the send it leads to finds the client gone: what the client
 * said before its reset is delivered all the same. */
static void test_reset_found_by_a_send(void **state)
{
    struct conn *conn;

    (void)state;
    scene_open(&scene, 0);
    conn = rig_conn(rig);
    sockets_send(scene.server_fd, 0, 100);
    sockets_wait(conn->server.source.fd, POLLIN);
    sockets_send(scene.client_fd, 0, 200);
    sockets_wait(conn->client.source.fd, POLLIN);
    scene_reset(&scene.client_fd);
    sockets_wait(conn->client.source.fd, POLLRDHUP);
    rig_read(rig, scene.server_fd, 0, 200);
    rig_expect(rig, scene.server_fd, -ECONNRESET);
    rig_until_ended(rig);
    rig_check_ended(rig, CLOSE_CLIENT_RST, 1);
    assert_int_equal(stats_read(&rig->stats.worker.dropped_bytes), 100);
    scene_close(&scene);
}

/* A reader who has stopped holds up the reset for a second, no longer. */
static void test_reset_is_not_held_up_for_ever(void **state)
{
    (void)state;
    for (uint32_t pipes = 0; pipes < N_MODES; pipes++) {
        scene_open(&scene, pipes);
        push_until_full(scene.client_fd);
        scene_reset(&scene.client_fd);
        rig_turn(rig, 100);
        assert_int_equal(rig_conn(rig)->state, CONN_RESETTING);
        rig_advance(rig, 500);
        assert_int_equal(rig_conn(rig)->state, CONN_RESETTING);
        assert_true(tcp_next_due_ns(&rig->relay) - rig->loop.now_ns < 50 * CLOCK_NS_PER_MS);
        rig_advance(rig, 520);
        assert_int_equal(rig->relay.n_live, 0);
        rig_check_ended(rig, CLOSE_CLIENT_RST, 1);
        scene_close(&scene);
    }
}

/* --- time ------------------------------------------------------------------------------------- */

static void test_idle(void **state)
{
    (void)state;
    scene_open(&scene, 0);
    rig_advance(rig, RIG_IDLE_MS - SECOND_MS);
    assert_int_equal(rig->relay.n_live, 1);
    rig_pass(rig, scene.server_fd, scene.client_fd, 1);
    rig_advance(rig, RIG_IDLE_MS - SECOND_MS);
    assert_int_equal(rig->relay.n_live, 1);
    rig_pass(rig, scene.client_fd, scene.server_fd, 1);
    rig_advance(rig, RIG_IDLE_MS - SECOND_MS);
    assert_int_equal(rig->relay.n_live, 1);
    rig_advance(rig, 2 * SECOND_MS);
    assert_int_equal(rig->relay.n_live, 0);
    rig_expect(rig, scene.client_fd, -ECONNRESET);
    rig_expect(rig, scene.server_fd, -ECONNRESET);
    rig_check_ended(rig, CLOSE_IDLE, 1);
    scene_close(&scene);
}

static void half_close_expires(int first_fd, int second_fd)
{
    shutdown(first_fd, SHUT_WR);
    rig_expect(rig, second_fd, 0);
    rig_advance(rig, RIG_HALF_CLOSE_MS - SECOND_MS);
    assert_int_equal(rig->relay.n_live, 1);
    rig_pass(rig, second_fd, first_fd, 1);
    rig_advance(rig, RIG_HALF_CLOSE_MS - SECOND_MS);
    assert_int_equal(rig->relay.n_live, 1);
    rig_advance(rig, 2 * SECOND_MS);
    assert_int_equal(rig->relay.n_live, 0);
    rig_expect(rig, first_fd, -ECONNRESET);
    rig_check_ended(rig, CLOSE_HALF_CLOSE, 1);
}

static void test_half_close_expires(void **state)
{
    (void)state;
    scene_open(&scene, 0);
    half_close_expires(scene.client_fd, scene.server_fd);
    scene_close(&scene);
    scene_open(&scene, 0);
    half_close_expires(scene.server_fd, scene.client_fd);
    scene_close(&scene);
}

static bool has_keepalive(int fd)
{
    int value = 0;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length), 0);
    return value;
}

/* Connections that live longer than 5 s, and only they, pay for keepalive. */
static void test_keepalive_comes_late(void **state)
{
    int other_client;
    int other_server;
    int first_fd;

    (void)state;
    scene_open(&scene, 0);
    first_fd = rig_conn(rig)->server.source.fd;
    rig_advance(rig, 3000);
    other_client = rig_client(rig);
    other_server = rig_server(rig, scene.listener_fd);
    rig_until_relaying(rig);
    assert_false(has_keepalive(first_fd));
    assert_true(tcp_next_due_ns(&rig->relay) <= rig->loop.now_ns + 2000 * CLOCK_NS_PER_MS);
    rig_advance(rig, 2000);
    assert_true(has_keepalive(first_fd));
    assert_false(has_keepalive(rig_conn(rig)->server.source.fd));
    rig_advance(rig, 3000);
    assert_true(has_keepalive(rig_conn(rig)->server.source.fd));
    assert_true(tcp_next_due_ns(&rig->relay) > rig->loop.now_ns + 60000 * CLOCK_NS_PER_MS);
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    close(other_client);
    close(other_server);
    scene_close(&scene);
}

/* --- all together ----------------------------------------------------------------------------- */

static void test_reset_all(void **state)
{
    int clients[8];
    int servers[8];

    (void)state;
    scene.listener_fd = sockets_listen(&scene.at);
    rig_open(rig, &scene.at, 1, 0);
    for (size_t i = 0; i < 8; i++) {
        clients[i] = rig_client(rig);
        servers[i] = rig_server(rig, scene.listener_fd);
    }
    assert_int_equal(backend_active(&rig->services.services->backends[0]), 8);
    assert_int_equal(capacity_used(&rig->capacity), 8);
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    for (size_t i = 0; i < 8; i++) {
        rig_expect(rig, clients[i], -ECONNRESET);
        rig_expect(rig, servers[i], -ECONNRESET);
        close(clients[i]);
        close(servers[i]);
    }
    rig_check_ended(rig, CLOSE_DRAIN, 8);
    rig_close(rig);
    close(scene.listener_fd);
}

/* A flood uses up its budget and asks for another turn, in which the other one is served too. */
static void test_flood_shares_the_thread(void **state)
{
    struct conn *conn;
    int client;
    int server;

    (void)state;
    scene_open(&scene, 1);
    client = rig_client(rig);
    server = rig_server(rig, scene.listener_fd);
    rig_until_relaying(rig);
    conn = container_of(rig->relay.live.next, struct conn, link);
    /* As with the end in sight: a short read does not end the turn. */
    conn->client.has_hangup = true;
    conn->up.is_reined = true; /* it is not: nobody reads, and the budget is to be spent */
    sockets_send(scene.client_fd, 0, 4 * BULK);
    sockets_send(client, 0, 1);
    rig_turn(rig, 100);
    assert_false(list_is_empty(&rig->loop.again));
    sockets_wait(server, POLLIN);
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    assert_true(list_is_empty(&rig->loop.again));
    close(client);
    close(server);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_due_at_first),
        cmocka_unit_test(test_bytes_both_ways),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_end_comes_with_the_last_bytes),
        cmocka_unit_test(test_both_end_at_once),
        cmocka_unit_test(test_reset_is_passed_on_after_the_data),
        cmocka_unit_test(test_reset_after_half_close),
        cmocka_unit_test(test_both_reset_in_one_batch),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_reset_found_by_a_send),
        cmocka_unit_test(test_reset_is_not_held_up_for_ever),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_half_close_expires),
        cmocka_unit_test(test_keepalive_comes_late),
        cmocka_unit_test(test_reset_all),
        cmocka_unit_test(test_flood_shares_the_thread),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
