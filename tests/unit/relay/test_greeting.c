#include "lb4/relay/greeting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/base/prefix_map.h"
#include "lb4/shared/backend_write.h"
#include "rig.h"

static const char V1[] = "PROXY TCP4 192.0.2.1 198.51.100.2 1234 80\r\n";
enum { N_V1 = sizeof(V1) - 1 };

struct stand {
    struct rig rig;
    struct addr at;
    int listener_fd;
    struct prefix_map *map;
};

/* A service whose listener believes the network `text`; `version` is what its server gets. */
static void stand_open(struct stand *stand, const char *text, int version)
{
    char reason[PREFIX_ERROR_MAX];
    struct prefix prefix;
    const struct prefix_rule rule = {.allows = true, .prefixes = &prefix, .n_prefixes = 1};

    assert_true(prefix_parse(text, strlen(text), &prefix, NULL, reason));
    stand->map = prefix_map_new(&rule, 1, false);
    assert_non_null(stand->map);
    stand->listener_fd = sockets_listen(&stand->at);
    rig_open(&stand->rig, &stand->at, 1, 4);
    stand->rig.services.services->backends[0].send_proxy = (uint8_t)version;
    rig_proxies = stand->map;
}

static void stand_close(struct stand *stand)
{
    rig_until_ended(&stand->rig);
    tcp_reap(&stand->rig.relay);
    rig_close(&stand->rig);
    close(stand->listener_fd);
    prefix_map_release(stand->map);
    rig_proxies = NULL;
}

static uint64_t refused(struct stand *stand, enum refusal why)
{
    return stats_read(&stand->rig.stats.services[0].refused.clients[why]);
}

static void say(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

/* The server has got nothing but this, and nothing follows as yet. */
static void expect_bytes(struct stand *stand, int fd, const char *wanted, size_t n)
{
    struct patience patience = patience_new();
    char bytes[512];
    size_t at = 0;

    while (at < n && patience_holds(&patience)) {
        ssize_t got = recv(fd, bytes + at, sizeof(bytes) - at, MSG_DONTWAIT);

        at += got > 0 ? (size_t)got : 0;
        rig_turn(&stand->rig, 1);
    }
    assert_int_equal(at, n);
    assert_memory_equal(bytes, wanted, n);
    assert_int_equal(recv(fd, bytes, 1, MSG_DONTWAIT), -1);
}

static void turn_often(struct stand *stand)
{
    for (int i = 0; i < 5; i++)
        rig_turn(&stand->rig, 1);
}

/* Split at each byte, with and without payload in the last segment: the payload alone arrives. */
static void test_splits(void **state)
{
    static struct stand stand;

    (void)state;
    stand_open(&stand, "127.0.0.0/8", 0);
    for (size_t split = 0; split <= N_V1; split++) {
        char text[ADDR_TEXT_MAX];
        int client_fd = rig_client(&stand.rig);
        int server_fd;

        say(client_fd, V1, split);
        turn_often(&stand);
        if (split < N_V1)
            assert_int_equal(rig_conn(&stand.rig)->state, CONN_HEADER);
        say(client_fd, V1 + split, N_V1 - split);
        say(client_fd, "payload", 7);
        server_fd = rig_server(&stand.rig, stand.listener_fd);
        expect_bytes(&stand, server_fd, "payload", 7);
        assert_string_equal(addr_format(&rig_conn(&stand.rig)->peer, text), "192.0.2.1:1234");
        assert_string_equal(addr_format(rig_conn(&stand.rig)->asked, text), "198.51.100.2:80");
        assert_int_equal(rig_conn(&stand.rig)->up.n_received, 7);
        close(client_fd);
        close(server_fd);
        rig_until_ended(&stand.rig);
    }
    stand_close(&stand);
}

static void test_local_keeps_the_real_address(void **state)
{
    static const char LOCAL[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\3abcpayload";
    static struct stand stand;
    char text[ADDR_TEXT_MAX];
    int client_fd;
    int server_fd;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    client_fd = rig_client(&stand.rig);
    say(client_fd, LOCAL, sizeof(LOCAL) - 1);
    server_fd = rig_server(&stand.rig, stand.listener_fd);
    expect_bytes(&stand, server_fd, "payload", 7);
    assert_string_equal(addr_format(&rig_conn(&stand.rig)->peer, text), "127.0.0.1:1");
    assert_null(rig_conn(&stand.rig)->asked);
    close(client_fd);
    close(server_fd);
    stand_close(&stand);
}

static void test_stranger(void **state)
{
    static struct stand stand;
    int client_fd;

    (void)state;
    stand_open(&stand, "10.0.0.0/8", 0);
    client_fd = rig_client(&stand.rig);
    assert_int_equal(stand.rig.relay.n_live, 0);
    assert_int_equal(refused(&stand, REFUSAL_PEER), 1);
    rig_expect(&stand.rig, client_fd, -ECONNRESET);
    close(client_fd);
    rig_check_ended(&stand.rig, CLOSE_DENIED, 1);
    stand_close(&stand);
}

static void test_wrong(void **state)
{
    static struct stand stand;
    int client_fd;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    client_fd = rig_client(&stand.rig);
    say(client_fd, "GET / HTTP/1.1\r\n\r\n", 18);
    rig_until_ended(&stand.rig);
    assert_int_equal(refused(&stand, REFUSAL_HEADER), 1);
    rig_expect(&stand.rig, client_fd, -ECONNRESET);
    close(client_fd);
    rig_check_ended(&stand.rig, CLOSE_DENIED, 1);
    assert_int_equal(poll(&(struct pollfd){stand.listener_fd, POLLIN, 0}, 1, 0), 0);
    stand_close(&stand);
}

/* Three seconds in all, from the accept: a byte now and then is no delay. */
static void test_late(void **state)
{
    static struct stand stand;
    int client_fd;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    client_fd = rig_client(&stand.rig);
    for (int i = 0; i < 5; i++) {
        say(client_fd, V1 + i, 1);
        turn_often(&stand);
        rig_advance(&stand.rig, 500);
    }
    assert_int_equal(stand.rig.relay.n_live, 1);
    rig_advance(&stand.rig, 500);
    assert_int_equal(stand.rig.relay.n_live, 0);
    assert_int_equal(refused(&stand, REFUSAL_HEADER_LATE), 1);
    rig_expect(&stand.rig, client_fd, -ECONNRESET);
    close(client_fd);
    stand_close(&stand);
}

static void with_ban(struct conf_service *service)
{
    service->guard.ban = (struct conf_ban){.n_refused = 1, .within_ms = 60000, .for_ms = 60000};
}

/* Is one refusal for this a ban? */
static void check_ban(const char *proxies, const char *says, enum refusal why, bool is_ban)
{
    const struct addr peer = sockets_loopback(1);
    struct guard_outlook outlook;
    static struct stand stand;
    int client_fd;

    rig_adjust = with_ban;
    stand_open(&stand, proxies, 0);
    rig_adjust = NULL;
    client_fd = rig_client(&stand.rig);
    if (says)
        say(client_fd, says, strlen(says));
    turn_often(&stand);
    rig_advance(&stand.rig, 3001);
    assert_int_equal(refused(&stand, why), 1);
    guard_foresee(stand.rig.services.services, &peer, stand.rig.loop.now_ns, &outlook);
    assert_int_equal(outlook.refusal, is_ban ? REFUSAL_BANNED : REFUSAL_NONE);
    close(client_fd);
    stand_close(&stand);
}

static void test_bans(void **state)
{
    (void)state;
    check_ban("10.0.0.0/8", NULL, REFUSAL_PEER, true);
    check_ban("127.0.0.1", "GET / HTTP/1.1\r\n\r\n", REFUSAL_HEADER, false);
    check_ban("127.0.0.1", "PROXY", REFUSAL_HEADER_LATE, false);
}

static void test_full(void **state)
{
    static struct stand stand;
    int fds[RIG_HEADERS + 1];

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    for (size_t i = 0; i <= RIG_HEADERS; i++)
        fds[i] = rig_client(&stand.rig);
    assert_int_equal(stand.rig.relay.n_live, RIG_HEADERS);
    assert_int_equal(refused(&stand, REFUSAL_HEADER_FULL), 1);
    rig_expect(&stand.rig, fds[RIG_HEADERS], -ECONNRESET);
    for (size_t i = 0; i <= RIG_HEADERS; i++)
        close(fds[i]);
    stand_close(&stand);
}

/* A header that is there at the accept needs no place, and not another turn. */
static void test_there_at_once(void **state)
{
    struct pair pair;
    static struct stand stand;
    int mute[RIG_HEADERS];
    char text[ADDR_TEXT_MAX];
    int server_fd;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    for (size_t i = 0; i < RIG_HEADERS; i++)
        mute[i] = rig_client(&stand.rig);
    pair = sockets_pair(0);
    say(pair.far, V1, N_V1);
    say(pair.far, "payload", 7);
    rig_until(&stand.rig, pair.near, POLLIN);
    rig_accept_fd(&stand.rig, pair.near, 1);
    assert_int_equal(refused(&stand, REFUSAL_HEADER_FULL), 0);
    for (size_t i = 0; i < RIG_HEADERS; i++)
        close(mute[i]);
    server_fd = rig_server(&stand.rig, stand.listener_fd);
    expect_bytes(&stand, server_fd, "payload", 7);
    assert_string_equal(addr_format(&rig_conn(&stand.rig)->peer, text), "192.0.2.1:1234");
    close(pair.far);
    close(server_fd);
    stand_close(&stand);
}

/* What was said behind the header is delivered, as to a listener without headers. `is_late`: the
 * end of the header comes with the reset. */
static void check_reset_behind(bool is_late)
{
    size_t n_early = is_late ? 5 : 0;
    static struct stand stand;
    struct pair pair;
    int server_fd;

    stand_open(&stand, "127.0.0.1", 0);
    pair = sockets_pair(0);
    say(pair.far, V1, n_early);
    if (is_late) {
        rig_accept_fd(&stand.rig, pair.near, 1);
        turn_often(&stand);
    }
    say(pair.far, V1 + n_early, N_V1 - n_early);
    say(pair.far, "last words", 10);
    sock_reset(pair.far);
    if (!is_late)
        rig_accept_fd(&stand.rig, pair.near, 1);
    server_fd = rig_server(&stand.rig, stand.listener_fd);
    expect_bytes(&stand, server_fd, "last words", 10);
    rig_until_ended(&stand.rig);
    rig_check_ended(&stand.rig, CLOSE_CLIENT_RST, 1);
    close(server_fd);
    stand_close(&stand);
}

static void test_reset_behind_it(void **state)
{
    (void)state;
    check_reset_behind(false);
    check_reset_behind(true);
}

/* Who goes without a word is not counted as wrong; who stops in the middle is. */
static void test_leaves(void **state)
{
    static struct stand stand;
    int client_fd;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    close(rig_client(&stand.rig));
    rig_until_ended(&stand.rig);
    rig_check_ended(&stand.rig, CLOSE_CLIENT_FIN, 1);
    assert_int_equal(refused(&stand, REFUSAL_HEADER), 0);
    client_fd = rig_client(&stand.rig);
    say(client_fd, "PROXY ", 6);
    close(client_fd);
    rig_until_ended(&stand.rig);
    assert_int_equal(refused(&stand, REFUSAL_HEADER), 1);
    client_fd = rig_client(&stand.rig);
    say(client_fd, "PROXY ", 6);
    turn_often(&stand);
    sock_reset(client_fd);
    rig_until_ended(&stand.rig);
    assert_int_equal(refused(&stand, REFUSAL_HEADER), 1);
    stand_close(&stand);
}

static void test_reset_all(void **state)
{
    static struct stand stand;
    int client_fd;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    client_fd = rig_client(&stand.rig);
    tcp_reset_all(&stand.rig.relay, CLOSE_DRAIN);
    tcp_reap(&stand.rig.relay);
    rig_check_ended(&stand.rig, CLOSE_DRAIN, 1);
    close(client_fd);
    stand_close(&stand);
}

/* --- said ------------------------------------------------------------------------------------- */

static void check_said(int version, const char *proxies, const char *wanted, size_t n)
{
    static struct stand stand;
    int client_fd;
    int server_fd;

    stand_open(&stand, proxies, version);
    client_fd = rig_client(&stand.rig);
    say(client_fd, V1, N_V1);
    server_fd = rig_server(&stand.rig, stand.listener_fd);
    expect_bytes(&stand, server_fd, wanted, n); /* also to a server whose client is silent */
    say(client_fd, "x", 1);
    expect_bytes(&stand, server_fd, "x", 1);
    assert_int_equal(rig_conn(&stand.rig)->up.n_received, 1);
    assert_int_equal(rig_conn(&stand.rig)->up.n_sent, 1);
    assert_int_equal(stats_read(&stand.rig.stats.services[0].bytes_in), 1);
    close(client_fd);
    close(server_fd);
    stand_close(&stand);
    assert_int_equal(stats_read(&stand.rig.stats.worker.dropped_bytes), 0);
}

static void test_said(void **state)
{
    static const char V2[] =
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\2\x04\xd2\0P";

    (void)state;
    check_said(1, "127.0.0.1", V1, N_V1);
    check_said(2, "127.0.0.1", V2, 28);
}

/* Two servers that accept and reset: each is asked once, and then it is over. */
static void test_spurned(void **state)
{
    struct addr at[2];
    int listener_fds[2] = {sockets_listen(&at[0]), sockets_listen(&at[1])};
    static struct rig rig;
    int client_fd;

    (void)state;
    rig_open(&rig, at, 2, 4);
    for (size_t i = 0; i < 2; i++)
        rig.services.services->backends[i].send_proxy = 2;
    client_fd = rig_client(&rig);
    for (size_t i = 0; i < 2; i++) {
        int fd = rig_server(&rig, listener_fds[i]);
        struct pollfd ready = {fd, POLLIN, 0};

        rig_until(&rig, fd, POLLIN); /* the header has come */
        assert_int_equal(poll(&ready, 1, 0), 1);
        sock_reset(fd);
    }
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
    assert_int_equal(rig_redispatches(&rig), 1);
    assert_int_equal(stats_read(&rig.stats.worker.dropped_bytes), 0);
    close(client_fd);
    rig_close(&rig);
    close(listener_fds[0]);
    close(listener_fds[1]);
}

static void test_unsaid_is_not_dropped(void **state)
{
    static struct stand stand;
    struct flow flow;

    (void)state;
    stand_open(&stand, "127.0.0.1", 0);
    flow_init(&flow);
    assert_int_equal(flow_begin_with(&flow, (const uint8_t *)V1, N_V1), 0);
    flow_fini(&flow, &stand.rig.relay.flow);
    assert_int_equal(stats_read(&stand.rig.stats.worker.dropped_bytes), 0);
    stand_close(&stand);
}

static void test_places(void **state)
{
    (void)state;
    assert_int_equal(greeting_places(1), 1);
    assert_int_equal(greeting_places(2), 1);
    assert_int_equal(greeting_places(16), 8);
    assert_int_equal(greeting_places(32), 16);
    assert_int_equal(greeting_places(160), 16);
    assert_int_equal(greeting_places(170), 17);
    assert_int_equal(greeting_places(10000), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_local_keeps_the_real_address),
        cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_bans),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_there_at_once),
        cmocka_unit_test(test_reset_behind_it),
        cmocka_unit_test(test_leaves),
        cmocka_unit_test(test_reset_all),
        cmocka_unit_test(test_said),
        cmocka_unit_test(test_spurned),
        cmocka_unit_test(test_unsaid_is_not_dropped),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
