/* Sockets and packets for the tests of udp_inbox and udp_outbox. */
#ifndef TEST_DATAGRAMS_H
#define TEST_DATAGRAMS_H

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/sock.h"
#include "lb4/base/sock_udp.h"

enum { DATAGRAM_MAX = 65536, DEADLINE_MS = 5000 };

static inline struct addr make_addr(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static inline struct addr local_addr(int fd)
{
    struct addr addr;
    socklen_t length = sizeof(addr);

    assert_int_equal(getsockname(fd, &addr.sa, &length), 0);
    return addr;
}

static inline uint16_t local_port(int fd)
{
    struct addr addr = local_addr(fd);

    return addr_port(&addr);
}

/* A listener at a free port of `host`; "*" is the dual-stack wildcard. */
static inline int listen_at(const char *host)
{
    struct sock_udp_options options = {.buffer_bytes = 200000}; /* everybody may have that */
    struct addr at;
    int fd;

    options.dual_stack = strcmp(host, "*") == 0;
    at = make_addr(options.dual_stack ? "::" : host, 0);
    fd = sock_udp_listen(&at, &options);
    assert_true(fd >= 0);
    return fd;
}

/* A socket connected to `host` at the port of `listener`. */
static inline int connect_to(const char *host, int listener)
{
    struct addr to = make_addr(host, local_port(listener));
    int fd = sock_udp_connect(&to);

    assert_true(fd >= 0);
    return fd;
}

static inline void wait_for_input(int fd)
{
    struct pollfd ready = {fd, POLLIN, 0};

    assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
}

/* As a peer without UDP_GRO would see it: datagram by datagram. */
static inline void receive_singly(int fd)
{
    int off = 0;

    assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &off, sizeof(off)), 0);
}

/* `n_bytes` that differ from place to place, in a block of exactly that size. */
static inline uint8_t *make_bytes(size_t n_bytes, uint32_t tag)
{
    uint8_t *bytes = malloc(n_bytes > 0 ? n_bytes : 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)(tag * 31 + i + (i >> 8) * 7);
    return bytes;
}

static inline void send_joined(int fd, const uint8_t *bytes, size_t n_bytes, uint16_t size)
{
    assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &(int){size}, sizeof(int)), 0);
    assert_int_equal(send(fd, bytes, n_bytes, 0), n_bytes);
    assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &(int){0}, sizeof(int)), 0);
}

#endif
