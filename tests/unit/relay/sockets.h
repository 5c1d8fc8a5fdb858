/* For tests of relay/ and worker/: loopback sockets, bytes that tell their place, waits with a
 * deadline, and the descriptors of this process. */
#ifndef TEST_SOCKETS_H
#define TEST_SOCKETS_H

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/addr.h"
#include "lb4/base/clock.h"
#include "lb4/base/sock.h"

enum { SOCKETS_WAIT_MS = 10000 };

/* For loops that wait for a condition: fails the test when it has not come true in time. */
struct patience {
    uint64_t end_ns;
};

static inline struct patience patience_new(void)
{
    return (struct patience){clock_now_ns() + SOCKETS_WAIT_MS * CLOCK_NS_PER_MS};
}

static inline bool patience_holds(const struct patience *patience)
{
    if (clock_now_ns() > patience->end_ns)
        fail_msg("waited for %d ms in vain", SOCKETS_WAIT_MS);
    return true;
}

static inline struct addr sockets_loopback(uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse("127.0.0.1", &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

/* A listener on a free port, which *ret_at tells. */
static inline int sockets_listen(struct addr *ret_at)
{
    const struct sock_listen_options plain = {0};
    struct addr at = sockets_loopback(0);
    socklen_t length = sizeof(*ret_at);
    int fd = sock_listen(&at, &plain);

    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &ret_at->sa, &length), 0);
    return fd;
}

/* An address that refuses, another one each time. Its port is below those that the kernel gives out
 * by itself, lest a test that runs beside this one is given it. */
static inline struct addr sockets_closed_port(void)
{
    static uint16_t n_given;
    uint16_t first = (uint16_t)(getpid() * 31 % 20000);

    for (;;) {
        struct addr at = sockets_loopback((uint16_t)(10000 + (first + n_given++) % 20000));
        int fd = sock_listen(&at, &(struct sock_listen_options){0});

        assert_true(n_given < 20000);
        if (fd < 0)
            continue;
        close(fd);
        return at;
    }
}

static inline short sockets_wait(int fd, short events)
{
    struct pollfd ready = {fd, events, 0};

    assert_int_equal(poll(&ready, 1, SOCKETS_WAIT_MS), 1);
    return ready.revents;
}

static inline int sockets_connect(const struct addr *to)
{
    int fd;

    assert_int_equal(sock_connect(to, &fd), 0);
    return fd;
}

/* The next connection of a listener. */
static inline int sockets_accept(int listener_fd)
{
    struct addr peer;
    int fd;

    sockets_wait(listener_fd, POLLIN);
    fd = sock_accept(listener_fd, &peer);
    assert_true(fd >= 0);
    return fd;
}

/* A TCP connection over loopback. */
struct pair {
    int near; /* lb4's end */
    int far;  /* the peer's */
};

/* `buffer_bytes` for what flows from near to far; 0 = the kernel's own sizes. */
static inline struct pair sockets_pair(int buffer_bytes)
{
    struct addr at;
    struct pair pair;
    int listener = sockets_listen(&at);

    if (buffer_bytes)
        setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
    pair.near = sockets_connect(&at);
    pair.far = sockets_accept(listener);
    sockets_wait(pair.near, POLLOUT);
    if (buffer_bytes)
        setsockopt(pair.near, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
    close(listener);
    return pair;
}

/* The byte at this place of every test stream: no short period, so that a shift shows. */
static inline uint8_t sockets_byte(uint64_t at)
{
    return (uint8_t)((at * 0x9e3779b97f4a7c15u) >> 56);
}

/* Send up to n bytes of the stream from `at` on, as the socket takes them; returns how many. */
static inline size_t sockets_send(int fd, uint64_t at, size_t n)
{
    uint8_t bytes[16384];
    size_t sent = 0;

    while (sent < n) {
        size_t part = n - sent < sizeof(bytes) ? n - sent : sizeof(bytes);
        ssize_t result;

        for (size_t i = 0; i < part; i++)
            bytes[i] = sockets_byte(at + sent + i);
        result = send(fd, bytes, part, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (result < 0) {
            assert_int_equal(errno, EAGAIN);
            break;
        }
        sent += (size_t)result;
    }
    return sent;
}

/* Read up to n bytes and compare them with the stream from `at` on. Returns how many, 0 at the end,
 * -errno (-EAGAIN: none now). */
static inline ssize_t sockets_read(int fd, uint64_t at, size_t n)
{
    uint8_t bytes[65536];
    ssize_t got = recv(fd, bytes, n < sizeof(bytes) ? n : sizeof(bytes), MSG_DONTWAIT);

    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] != sockets_byte(at + (uint64_t)i))
            fail_msg("wrong byte at %llu", (unsigned long long)at + (unsigned long long)i);
    }
    return got < 0 ? -errno : got;
}

static inline size_t sockets_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

#endif
