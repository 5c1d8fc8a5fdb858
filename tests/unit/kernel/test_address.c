/* What lb4 relies on about addresses: who a client was, and who else sits at one. */
#include <errno.h>

#include "pair.h"

/* A client that connects and resets before accept(2): accept succeeds and knows the address, which
 * getpeername(2) does not any more. */
static void test_reset_before_accept(void **state)
{
    uint64_t until = clock_now_ns() + PAIR_DEADLINE_MS * CLOCK_NS_PER_MS;
    struct addr at;
    struct addr client_at;
    struct addr peer;
    struct addr unknown;
    socklen_t length = sizeof(client_at);
    int listener = pair_listen(*state, &at);
    int client;
    int server;

    assert_int_equal(sock_connect(&at, &client), 0);
    pair_wait(client, POLLOUT);
    pair_wait(listener, POLLIN);
    assert_int_equal(getsockname(client, &client_at.sa, &length), 0);
    sock_reset(client);
    server = sock_accept(listener, &peer);
    assert_true(server >= 0);
    assert_true(addr_equal(&peer, &client_at));
    do {
        assert_true(clock_now_ns() < until);
        length = sizeof(unknown);
    } while (getpeername(server, &unknown.sa, &length) == 0);
    assert_int_equal(errno, ENOTCONN);
    close(server);
    close(listener);
}

/* A second socket with SO_REUSEPORT joins in silence; one without is refused. */
static void test_reuseport_joins_in_silence(void **state)
{
    static const struct sock_listen_options SHARED = {.reuse_port = true};
    static const struct sock_listen_options PLAIN = {0};
    struct addr at;
    socklen_t length = sizeof(at);
    int first;
    int second;

    close(pair_listen(*state, &at));
    first = sock_listen(&at, &SHARED);
    assert_true(first >= 0);
    assert_int_equal(getsockname(first, &at.sa, &length), 0);
    second = sock_listen(&at, &SHARED);
    assert_true(second >= 0);
    assert_int_equal(sock_listen(&at, &PLAIN), -EADDRINUSE);
    close(first);
    close(second);
}

/* With nobody listening a socket can connect to itself. */
static void test_connect_to_itself(void **state)
{
    struct addr at;
    struct addr local;
    struct addr peer;
    socklen_t length = sizeof(local);
    int fd;

    close(pair_listen(*state, &at));
    fd = socket(at.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &at.sa, addr_length(&at)), 0);
    assert_int_equal(connect(fd, &at.sa, addr_length(&at)), 0);
    assert_int_equal(getsockname(fd, &local.sa, &length), 0);
    length = sizeof(peer);
    assert_int_equal(getpeername(fd, &peer.sa, &length), 0);
    assert_true(addr_equal(&local, &peer));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_reset_before_accept),
        PAIR_TEST(test_reuseport_joins_in_silence),
        PAIR_TEST(test_connect_to_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
