#include "lb4/base/sock_udp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>

#include "lb4/base/scope.h"
#include "lb4/base/sock.h"
#include "lb4/base/sock_options.h"

static int open_udp(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);

    return fd < 0 ? -errno : fd;
}

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* An IPv6 socket needs the IPv4 option for the IPv4 datagrams that a dual-stack one sends. */
static int clear_df(int fd, int family)
{
    int rc = 0;

    if (family == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
    if (rc < 0)
        return rc;
    return set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
}

/* IP_PKTINFO on an IPv6 socket as well: of an IPv4 datagram IPV6_PKTINFO tells the address in the
 * header only, which nobody can answer from when it is a broadcast. */
static int tell_asked(int fd, int family)
{
    int rc = 0;

    if (family == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    if (rc < 0)
        return rc;
    return set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/* As much as the kernel grants. */
static void set_buffers(int fd, int n_bytes)
{
    if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, n_bytes) < 0)
        set_int(fd, SOL_SOCKET, SO_RCVBUF, n_bytes);
    if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, n_bytes) < 0)
        set_int(fd, SOL_SOCKET, SO_SNDBUF, n_bytes);
}

/* What may be set on a socket that is bound already. */
static int set_relay_options(int fd, const struct addr *at, int buffer_bytes)
{
    int rc = clear_df(fd, at->sa.sa_family);

    if (rc == 0 && addr_is_wildcard(at))
        rc = tell_asked(fd, at->sa.sa_family);
    if (rc < 0)
        return rc;
    /* Kernels before 5.0 do not join. */
    set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
    if (buffer_bytes > 0)
        set_buffers(fd, buffer_bytes);
    return 0;
}

static int set_bind_options(int fd, const struct addr *at, const struct sock_udp_options *options)
{
    int rc = 0;

    if (at->sa.sa_family == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !options->dual_stack);
    if (rc == 0 && options->reuse_port)
        rc = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0)
        rc = sock_attach(fd, options->interface, options->mark);
    return rc;
}

int sock_udp_listen(const struct addr *at, const struct sock_udp_options *options)
{
    scope_close int fd = open_udp(at->sa.sa_family);
    int rc;

    if (fd < 0)
        return fd;
    rc = set_bind_options(fd, at, options);
    if (rc == 0)
        rc = set_relay_options(fd, at, options->buffer_bytes);
    if (rc < 0)
        return rc;
    if (bind(fd, &at->sa, addr_length(at)) < 0)
        return -errno;
    return take_fd(&fd);
}

int sock_udp_adopt(int fd, int buffer_bytes)
{
    struct addr at = {0};
    socklen_t length = sizeof(at);
    int rc = sock_set_flags(fd);

    if (rc < 0)
        return rc;
    if (getsockname(fd, &at.sa, &length) < 0)
        return -errno;
    return set_relay_options(fd, &at, buffer_bytes);
}

int sock_udp_connect(const struct addr *to)
{
    return sock_udp_connect_from(NULL, to);
}

int sock_udp_open(int family)
{
    scope_close int fd = open_udp(family);
    int rc = fd < 0 ? fd : clear_df(fd, family);

    return rc < 0 ? rc : take_fd(&fd);
}

int sock_udp_start(int fd, const struct addr *to)
{
    set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
    if (connect(fd, &to->sa, addr_length(to)) == 0)
        return 0;
    /* Nothing blocks here: EAGAIN is the autobind that found no port. */
    return errno == EAGAIN ? -EADDRNOTAVAIL : -errno;
}

int sock_udp_connect_from(const struct addr *source, const struct addr *to)
{
    scope_close int fd = sock_udp_open(to->sa.sa_family);
    int rc;

    if (fd < 0)
        return fd;
    rc = sock_bind_source(fd, source, to);
    if (rc == 0)
        rc = sock_udp_start(fd, to);
    return rc < 0 ? rc : take_fd(&fd);
}

uint32_t sock_udp_drops(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof(memory);

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0)
        return 0;
    return memory[SK_MEMINFO_DROPS];
}
