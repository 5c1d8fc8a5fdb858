/* What the kernel-pinning tests share: a connected pair of TCP sockets, the tests run over IPv4 and
 * IPv6, and waits that end when the kernel has got there, not after a while. */
#ifndef LB4_TESTS_KERNEL_PAIR_H
#define LB4_TESTS_KERNEL_PAIR_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/addr.h"
#include "lb4/base/clock.h"
#include "lb4/base/sock.h"

enum { PAIR_DEADLINE_MS = 5000 };

static char PAIR_IPV4[] = "127.0.0.1";
static char PAIR_IPV6[] = "::1";

/* Two rows of a test table: the test gets the host as its *state. */
#define PAIR_TEST(f)                         \
    {#f " ipv4", f, NULL, NULL, PAIR_IPV4},  \
    {                                        \
#f " ipv6", f, NULL, NULL, PAIR_IPV6 \
    }

struct pair {
    int listener;
    int client;
    int server;
};

/* A listener on a free port; skips the test where the host has no such address. */
static inline int pair_listen(const char *host, struct addr *ret_at)
{
    static const struct sock_listen_options PLAIN = {0};
    socklen_t length = sizeof(*ret_at);
    int fd;

    assert_int_equal(addr_parse(host, ret_at), 0);
    fd = sock_listen(ret_at, &PLAIN);
    if (fd < 0 && ret_at->sa.sa_family == AF_INET6)
        skip();
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &ret_at->sa, &length), 0);
    return fd;
}

/* Wait until one of `events` shows; returns all that show. */
static inline short pair_wait(int fd, short events)
{
    struct pollfd ready = {fd, events, 0};

    assert_int_equal(poll(&ready, 1, PAIR_DEADLINE_MS), 1);
    return ready.revents;
}

static inline struct pair pair_open(void **state)
{
    struct addr at;
    struct pair pair = {.listener = pair_listen(*state, &at)};

    assert_int_equal(sock_connect(&at, &pair.client), 0);
    pair_wait(pair.listener, POLLIN);
    pair.server = sock_accept(pair.listener, &at);
    assert_true(pair.server >= 0);
    pair_wait(pair.client, POLLOUT);
    return pair;
}

static inline void pair_close(struct pair *pair)
{
    close(pair->listener);
    if (pair->client >= 0)
        close(pair->client);
    close(pair->server);
}

/* Everything sent on `fd` is in the peer's receive queue: acknowledged. */
static inline void pair_wait_arrived(int fd)
{
    uint64_t until = clock_now_ns() + PAIR_DEADLINE_MS * CLOCK_NS_PER_MS;

    while (sock_unacked(fd) > 0) {
        assert_true(clock_now_ns() < until);
        poll(NULL, 0, 1);
    }
}

static inline void pair_send(int fd, const char *text, int flags)
{
    assert_int_equal(send(fd, text, strlen(text), flags | MSG_NOSIGNAL), strlen(text));
    pair_wait_arrived(fd);
}

/* The client sends `text` and resets; returns when the server's side knows of both. */
static inline void pair_send_and_reset(struct pair *pair, const char *text)
{
    pair_send(pair->client, text, 0);
    sock_reset(pair->client);
    pair->client = -1;
    assert_true(pair_wait(pair->server, POLLRDHUP) & POLLERR);
}

#endif
