#include "lb4/base/sock_udp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../netns.h"
#include "lb4/base/sock.h"

enum { DEADLINE_MS = 5000, N_CLIENTS = 64 };

static const struct sock_udp_options PLAIN = {0};
static const struct sock_udp_options SHARED = {.reuse_port = true};
static const struct sock_udp_options DUAL = {.dual_stack = true};

static struct addr make_addr(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static struct addr local_addr(int fd)
{
    struct addr addr;
    socklen_t length = sizeof(addr);

    assert_int_equal(getsockname(fd, &addr.sa, &length), 0);
    return addr;
}

static uint16_t local_port(int fd)
{
    struct addr addr = local_addr(fd);

    return addr_port(&addr);
}

static int listen_at(const struct addr *at, const struct sock_udp_options *options)
{
    int fd = sock_udp_listen(at, options);

    assert_true(fd >= 0);
    return fd;
}

static int connect_to(const struct addr *to)
{
    int fd = sock_udp_connect(to);

    assert_true(fd >= 0);
    return fd;
}

static short wait_for(int fd, short events)
{
    struct pollfd ready = {fd, events, 0};

    assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
    return ready.revents;
}

static int get_int(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

static void check_born_right(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(get_int(fd, IPPROTO_UDP, UDP_GRO), 1);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_REUSEADDR), 0);
    assert_int_equal(get_int(fd, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_OMIT);
    if (local_addr(fd).sa.sa_family == AF_INET6)
        assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_DONT);
}

static void check_exchange(const char *host, const struct sock_udp_options *options)
{
    struct addr at = make_addr(host, 0);
    int listener = listen_at(&at, options);
    struct addr bound = local_addr(listener);
    int client = connect_to(&bound);
    char byte;

    check_born_right(listener);
    check_born_right(client);
    assert_int_equal(send(client, "x", 1, 0), 1);
    wait_for(listener, POLLIN);
    assert_int_equal(recv(listener, &byte, 1, 0), 1);
    close(client);
    close(listener);
}

static void test_exchange(void **state)
{
    (void)state;
    check_exchange("127.0.0.1", &PLAIN);
    check_exchange("127.0.0.1", &SHARED);
    if (sock_has_ipv6())
        check_exchange("::1", &PLAIN);
}

static void check_told(const char *host, const struct sock_udp_options *options, int told4,
                       int told6)
{
    struct addr at = make_addr(host, 0);
    int fd = listen_at(&at, options);

    assert_int_equal(get_int(fd, IPPROTO_IP, IP_PKTINFO), told4);
    if (at.sa.sa_family == AF_INET6)
        assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO), told6);
    close(fd);
}

/* Who is bound to one address need not be told. */
static void test_wildcards_tell_the_asked_address(void **state)
{
    (void)state;
    check_told("0.0.0.0", &PLAIN, 1, 0);
    check_told("127.0.0.1", &PLAIN, 0, 0);
    if (!sock_has_ipv6())
        return;
    check_told("::", &DUAL, 1, 1);
    check_told("::1", &PLAIN, 0, 0);
}

static void test_dual_stack(void **state)
{
    struct addr any;
    int dual;
    int only6;
    struct addr to;

    (void)state;
    if (!sock_has_ipv6())
        skip();
    addr_any(AF_INET6, 0, &any);
    dual = listen_at(&any, &DUAL);
    to = make_addr("127.0.0.1", local_port(dual));
    assert_int_equal(sock_udp_listen(&to, &PLAIN), -EADDRINUSE);
    close(dual);
    only6 = listen_at(&any, &PLAIN);
    addr_set_port(&to, local_port(only6));
    dual = listen_at(&to, &PLAIN); /* IPv4 beside it */
    close(dual);
    close(only6);
}

/* Nobody slips in, even with SO_REUSEPORT; then the group is opened. */
static void test_exclusive_then_shared(void **state)
{
    struct addr at = make_addr("127.0.0.1", 0);
    int first = listen_at(&at, &PLAIN);
    int second;
    struct pollfd ready[2];

    (void)state;
    at = local_addr(first);
    assert_int_equal(sock_udp_listen(&at, &SHARED), -EADDRINUSE);
    assert_int_equal(sock_share_port(first), 0);
    assert_int_equal(sock_udp_listen(&at, &PLAIN), -EADDRINUSE);
    second = listen_at(&at, &SHARED);
    for (int i = 0; i < N_CLIENTS; i++) {
        int client = connect_to(&at);

        assert_int_equal(send(client, "x", 1, 0), 1);
        close(client);
    }
    /* That one of two gets none of 64 flows has a chance of 2^-63. */
    ready[0] = (struct pollfd){first, POLLIN, 0};
    ready[1] = (struct pollfd){second, POLLIN, 0};
    assert_int_equal(poll(ready, 2, DEADLINE_MS), 2);
    close(second);
    close(first);
}

static void test_buffers(void **state)
{
    static const struct sock_udp_options big = {.buffer_bytes = 100000};
    struct addr at = make_addr("127.0.0.1", 0);
    int fd = listen_at(&at, &big);

    (void)state;
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_RCVBUF), 200000);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_SNDBUF), 200000);
    close(fd);
}

static void test_refusal_is_told_once(void **state)
{
    struct addr at = make_addr("127.0.0.1", 0);
    int listener = listen_at(&at, &PLAIN);
    struct addr bound = local_addr(listener);
    int client = connect_to(&bound);

    (void)state;
    close(listener);
    assert_int_equal(send(client, "x", 1, 0), 1);
    wait_for(client, 0);
    assert_int_equal(send(client, "x", 1, 0), -1);
    assert_int_equal(errno, ECONNREFUSED);
    assert_int_equal(send(client, "x", 1, 0), 1);
    close(client);
}

/* The number that comes with the last datagram is the one that SO_MEMINFO tells. */
static void test_drops(void **state)
{
    static const struct sock_udp_options small = {.buffer_bytes = 2000};
    struct addr at = make_addr("127.0.0.1", 0);
    int listener = listen_at(&at, &small);
    struct addr bound = local_addr(listener);
    int client = connect_to(&bound);
    char bytes[1000] = {0};
    uint32_t n_read = 0;

    (void)state;
    assert_int_equal(sock_udp_drops(listener), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send(client, bytes, sizeof(bytes), 0), sizeof(bytes));
    while (recv(listener, bytes, sizeof(bytes), 0) > 0)
        n_read++;
    assert_true(n_read > 0 && n_read < 100);
    assert_int_equal(sock_udp_drops(listener), 100 - n_read);
    close(client);
    close(listener);
}

/* All UDP sockets share one range, whoever they talk to. */
static void test_out_of_ports(void **state)
{
    static const char path[] = "/proc/sys/net/ipv4/ip_local_port_range";
    int fd;
    struct addr to[2] = {make_addr("127.0.0.1", 9), make_addr("127.0.0.2", 9)};
    int socks[2];

    (void)state;
    if (!netns_enter())
        skip();
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        skip();
    assert_true(pwrite(fd, "45000 45000\n", 12, 0) == 12);
    socks[0] = sock_udp_connect(&to[0]);
    socks[1] = sock_udp_connect(&to[1]);
    assert_true(socks[0] >= 0);
    assert_int_equal(socks[1], -EADDRNOTAVAIL);
    close(socks[0]);
    close(fd);
}

/* As a parent leaves it: then it tells as much as one of ours. */
static void test_adopt(void **state)
{
    static const int options[][2] = {{IPPROTO_IP, IP_PKTINFO}, {IPPROTO_UDP, UDP_GRO}};
    struct addr any = make_addr("0.0.0.0", 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int value;
    socklen_t length = sizeof(value);

    (void)state;
    assert_int_equal(bind(fd, &any.sa, addr_length(&any)), 0);
    assert_int_equal(sock_udp_adopt(fd, 0), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        assert_int_equal(getsockopt(fd, options[i][0], options[i][1], &value, &length), 0);
        assert_int_equal(value, 1);
    }
    close(fd);
    assert_int_equal(sock_udp_adopt(fd, 0), -EBADF);
}

static void test_errors(void **state)
{
    struct addr taken = make_addr("127.0.0.1", 0);
    struct addr elsewhere = make_addr("192.0.2.1", 0);
    int fd = listen_at(&taken, &PLAIN);

    (void)state;
    taken = local_addr(fd);
    assert_int_equal(sock_udp_listen(&taken, &PLAIN), -EADDRINUSE);
    assert_int_equal(sock_udp_listen(&elsewhere, &PLAIN), -EADDRNOTAVAIL);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),   cmocka_unit_test(test_wildcards_tell_the_asked_address),
        cmocka_unit_test(test_dual_stack), cmocka_unit_test(test_exclusive_then_shared),
        cmocka_unit_test(test_buffers),    cmocka_unit_test(test_refusal_is_told_once),
        cmocka_unit_test(test_drops),      cmocka_unit_test(test_out_of_ports),
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_adopt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
