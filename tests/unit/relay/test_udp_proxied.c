/* PROXY headers over UDP: to servers, and from a balancer before us. */
#include "lb4/relay/udp.h"

#include "udp_rig.h"

#include "lb4/base/prefix_map.h"
#include "lb4/relay/proxy_header.h"

enum { N_HEADER = 28, LARGEST = 65507 - N_HEADER };

static struct scene scene;
static struct rig *const rig = &scene.rig;
static const struct rig_options plain = {.ban_after = 2};

/* --- to servers ------------------------------------------------------------------------------- */

static void want_headers(size_t server, uint8_t version)
{
    atomic_store(&rig_backend(rig, server)->send_proxy, version);
}

/* The next datagram at the server is this one, behind the header of this client. */
static struct addr hear_of(int server, const struct addr *client, const struct addr *asked,
                           size_t n_bytes, uint32_t tag)
{
    static uint8_t got[DATAGRAM_MAX];
    uint8_t header[PROXY_SEND_MAX];
    size_t n_header = proxy_header_write(header, 2, true, client, asked);
    uint8_t *bytes = make_bytes(n_bytes, tag);
    struct addr from;
    socklen_t length = sizeof(from);

    wait_for_input(server);
    assert_int_equal(recvfrom(server, got, sizeof(got), MSG_DONTWAIT, &from.sa, &length),
                     n_header + n_bytes);
    assert_memory_equal(got, header, n_header);
    assert_memory_equal(got + n_header, bytes, n_bytes);
    free(bytes);
    return from;
}

static struct addr hear_mine(size_t server, size_t n_bytes, uint32_t tag)
{
    struct addr client = local_addr(scene.client);

    return hear_of(scene.servers[server], &client, &rig->listener.at, n_bytes, tag);
}

static void test_header_in_every_datagram(void **state)
{
    static const size_t sizes[] = {0, 1, 512, 1444, 1445, 1472, 8972, LARGEST};
    struct addr from = {0};

    (void)state;
    scene_open(&scene, 1, &plain);
    want_headers(0, 2);
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        rig_say(rig, scene.client, sizes[i], i);
        from = hear_mine(0, sizes[i], i);
        rig_answer(rig, scene.servers[0], &from, 100, i);
        rig_hear(scene.client, 100, i); /* answers have none */
    }
    assert_int_equal(rig_stats(rig).sessions, 1);
    assert_int_equal(rig_stats(rig).bytes_in, 0 + 1 + 512 + 1444 + 1445 + 1472 + 8972 + LARGEST);
    rig_check_dropped(rig, UDP_DROP_ERROR, 0);
    scene_close(&scene);
}

static void test_headers_of_a_burst(void **state)
{
    enum { BULK = 150 };

    (void)state;
    scene_open(&scene, 1, &plain);
    want_headers(0, 2);
    for (uint32_t i = 0; i < BULK; i++) {
        uint8_t *bytes = make_bytes(100 + i % 3, i);

        assert_int_equal(send(scene.client, bytes, 100 + i % 3, 0), 100 + i % 3);
        free(bytes);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < BULK; i++)
        hear_mine(0, 100 + i % 3, i);
    rig_hear_nothing(scene.servers[0]);
    scene_close(&scene);
}

/* Without its header it would fit, and go to a server that wants none. */
static void test_no_room_for_the_header(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    want_headers(0, 2);
    rig_say(rig, scene.client, LARGEST + 1, 1);
    rig_say(rig, scene.client, 65507, 2);
    rig_hear_nothing(scene.servers[0]);
    rig_check_dropped(rig, UDP_DROP_LARGE, 2);
    rig_say(rig, scene.client, 10, 3);
    hear_mine(0, 10, 3);
    want_headers(0, 0);
    rig_say(rig, scene.client, 65507, 4);
    rig_hear(scene.servers[0], 65507, 4);
    rig_check_dropped(rig, UDP_DROP_LARGE, 2);
    scene_close(&scene);
}

/* What was kept is the client's datagram alone: each server gets it as that one wants it. */
static void check_kept(uint8_t first, uint8_t second)
{
    struct addr at[2] = {rig_closed_port()};
    int server = rig_server(&at[1]);
    int client;
    struct addr from;

    rig_open(rig, at, 2, &plain);
    want_headers(0, first);
    want_headers(1, second);
    client = rig_client(rig);
    rig_say(rig, client, 33, 1);
    from = local_addr(client);
    if (second)
        hear_of(server, &from, &rig->listener.at, 33, 1);
    else
        rig_hear(server, 33, 1);
    rig_hear_nothing(server);
    assert_int_equal(rig_failures(rig, 0), 1);
    rig_check_dropped(rig, UDP_DROP_ERROR, 0);
    close(client);
    rig_close(rig);
    close(server);
}

static void test_kept_datagram(void **state)
{
    (void)state;
    check_kept(0, 2);
    check_kept(2, 0);
    check_kept(2, 2);
}

/* --- from a balancer before us ---------------------------------------------------------------- */

static struct prefix_map *believed;
static struct refuse refuse;

/* A scene with one server, and this balancer before us. */
static void open_behind(const char *balancer)
{
    struct prefix prefix;
    char error[PREFIX_ERROR_MAX];
    const struct prefix_rule rule = {.allows = true, .prefixes = &prefix, .n_prefixes = 1};

    scene_open(&scene, 1, &plain);
    assert_int_equal(refuse_init(&refuse, &rig->stats, &rig->relay.deadlines), 0);
    rig->relay.refuse = &refuse;
    assert_true(prefix_parse(balancer, strlen(balancer), &prefix, NULL, error));
    believed = prefix_map_new(&rule, 1, false);
    assert_non_null(believed);
    rig->listener.accept_proxy = believed;
}

static void close_behind(void)
{
    scene_close(&scene);
    refuse_fini(&refuse);
    prefix_map_release(believed);
}

static size_t wrap(uint8_t *to, const char *client_host, uint16_t port, size_t n_bytes,
                   uint32_t tag)
{
    struct addr client = make_addr(client_host, port);
    struct addr asked = make_addr("10.0.0.1", 53);
    uint8_t *bytes = make_bytes(n_bytes, tag);
    uint8_t header[PROXY_SEND_MAX];
    size_t n_header = proxy_header_write(header, 2, true, &client, &asked);

    memcpy(to, header, n_header);
    memcpy(to + n_header, bytes, n_bytes);
    free(bytes);
    return n_header + n_bytes;
}

static void say_for(int fd, const char *client_host, uint16_t port, size_t n_bytes, uint32_t tag)
{
    uint8_t wrapped[DATAGRAM_MAX];
    size_t n = wrap(wrapped, client_host, port, n_bytes, tag);

    assert_int_equal(send(fd, wrapped, n, 0), n);
}

static const struct addr *only_client(void)
{
    return &container_of(rig->relay.live.next, struct udp_session, link)->entry.key.client;
}

static void test_client_behind_a_balancer(void **state)
{
    struct addr client = make_addr("10.1.2.3", 777);
    struct addr from;

    (void)state;
    open_behind("127.0.0.1");
    say_for(scene.client, "10.1.2.3", 777, 50, 1);
    rig_settle(rig);
    from = rig_hear(scene.servers[0], 50, 1);
    assert_true(addr_equal(only_client(), &client));
    rig_answer(rig, scene.servers[0], &from, 60, 2);
    rig_hear(scene.client, 60, 2); /* the balancer, from the address that it asked */
    assert_int_equal(rig_stats(rig).bytes_in, 50);
    assert_int_equal(rig->relay.table.hosts[udp_table_host(&rig->relay.table, &client)], 1);
    close_behind();
}

/* One balancer, many clients, some with the same address by way of another one. */
static void test_sessions_are_told_apart(void **state)
{
    enum { N = 5 };
    int other;
    struct addr froms[2][N];

    (void)state;
    open_behind("127.0.0.1");
    other = rig_client(rig);
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t k = 0; k < 2; k++) {
            say_for(k ? other : scene.client, "10.1.2.3", (uint16_t)(1 + i), 10 + i, k);
            rig_settle(rig);
            froms[k][i] = rig_hear(scene.servers[0], 10 + i, k);
        }
    }
    assert_int_equal(rig_stats(rig).sessions, 2 * N);
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t k = 0; k < 2; k++) {
            rig_answer(rig, scene.servers[0], &froms[k][i], 20 + i, k);
            rig_hear(k ? other : scene.client, 20 + i, k);
        }
    }
    rig_hear_nothing(other);
    rig_hear_nothing(scene.client);
    close(other);
    close_behind();
}

/* Several clients in what the kernel joins to one packet, and a bad one among them. */
static void test_joined_datagrams(void **state)
{
    enum { N = 60, EACH = N_HEADER + 100 };
    static uint8_t bytes[N * EACH];

    (void)state;
    open_behind("127.0.0.1");
    for (uint32_t i = 0; i < N; i++)
        wrap(bytes + (size_t)i * EACH, "10.1.2.3", (uint16_t)(1 + i % 7), 100, i);
    bytes[13 * EACH] ^= 1;
    send_joined(scene.client, bytes, sizeof(bytes), EACH);
    rig_settle(rig);
    /* By sessions, in each of them in order. */
    for (uint32_t client = 0; client < 7; client++)
        for (uint32_t i = client; i < N; i += 7)
            if (i != 13)
                rig_hear(scene.servers[0], 100, i);
    rig_hear_nothing(scene.servers[0]);
    assert_int_equal(rig_stats(rig).sessions, 7);
    assert_int_equal(rig_stats(rig).datagrams_in, N);
    rig_check_dropped(rig, UDP_DROP_HEADER, 1);
    close_behind();
}

/* More in one batch than there are places for. */
static void test_many_joined_packets(void **state)
{
    enum { N = 60, N_PACKETS = 5, EACH = N_HEADER + 3 };
    static uint8_t bytes[N * EACH];
    uint32_t n = 0;

    (void)state;
    open_behind("127.0.0.1");
    want_headers(0, 2);
    for (uint32_t k = 0; k < N_PACKETS; k++) {
        for (uint32_t i = 0; i < N; i++)
            wrap(bytes + (size_t)i * EACH, "10.1.2.3", 9, 3, n++);
        send_joined(scene.client, bytes, sizeof(bytes), EACH);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < N * N_PACKETS; i++) {
        struct addr client = make_addr("10.1.2.3", 9);
        struct addr asked = make_addr("10.0.0.1", 53);

        hear_of(scene.servers[0], &client, &asked, 3, i); /* what the first balancer was asked */
    }
    assert_int_equal(rig_stats(rig).sessions, 1);
    rig_check_dropped(rig, UDP_DROP_ERROR, 0);
    close_behind();
}

static void test_local_is_the_peer(void **state)
{
    struct addr nobody = {0};
    struct addr peer;
    uint8_t header[PROXY_SEND_MAX];
    size_t n;

    (void)state;
    open_behind("127.0.0.1");
    want_headers(0, 2);
    n = proxy_header_write(header, 2, true, &nobody, &nobody);
    assert_int_equal(send(scene.client, header, n, 0), n);
    rig_settle(rig);
    peer = local_addr(scene.client);
    hear_of(scene.servers[0], &peer, &rig->listener.at, 0, 0);
    assert_true(addr_equal(only_client(), &peer));
    close_behind();
}

static void expect_banned(bool is_banned)
{
    const struct addr peer = local_addr(scene.client);
    struct guard_outlook outlook;

    guard_foresee(rig->services.services, &peer, rig->loop.now_ns, &outlook);
    assert_int_equal(outlook.refusal, is_banned ? REFUSAL_BANNED : REFUSAL_NONE);
}

static void test_bad_headers(void **state)
{
    (void)state;
    open_behind("127.0.0.1");
    rig_say(rig, scene.client, 0, 1);
    rig_say(rig, scene.client, 100, 1);
    rig_hear_nothing(scene.servers[0]);
    assert_int_equal(rig_stats(rig).sessions, 0);
    assert_int_equal(rig_stats(rig).datagrams_in, 2);
    rig_check_dropped(rig, UDP_DROP_HEADER, 2);
    assert_int_equal(stats_read(&rig->stats.services[0].refused.clients[REFUSAL_HEADER]), 2);
    expect_banned(false); /* a balancer that is believed */
    close_behind();
}

static void test_strange_peer(void **state)
{
    (void)state;
    open_behind("127.0.0.2");
    say_for(scene.client, "10.1.2.3", 1, 10, 1);
    rig_settle(rig);
    rig_hear_nothing(scene.servers[0]);
    rig_check_dropped(rig, UDP_DROP_DENIED, 1);
    assert_int_equal(stats_read(&rig->stats.services[0].refused.clients[REFUSAL_PEER]), 1);
    expect_banned(false);
    say_for(scene.client, "10.1.2.3", 1, 10, 1);
    rig_settle(rig);
    expect_banned(true);
    close_behind();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_in_every_datagram),
        cmocka_unit_test(test_headers_of_a_burst),
        cmocka_unit_test(test_no_room_for_the_header),
        cmocka_unit_test(test_kept_datagram),
        cmocka_unit_test(test_client_behind_a_balancer),
        cmocka_unit_test(test_sessions_are_told_apart),
        cmocka_unit_test(test_joined_datagrams),
        cmocka_unit_test(test_many_joined_packets),
        cmocka_unit_test(test_local_is_the_peer),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_strange_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
