#include "lb4/base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lb4/base/scope.h"
#include "lb4/base/sock_options.h"
#include "lb4/base/unix_path.h"

static int open_stream(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    family == AF_UNIX ? 0 : IPPROTO_TCP);

    return fd < 0 ? -errno : fd;
}

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* What decides whether a bind collides, the same for the real listener and for the probe. */
static int set_bind_options(int fd, const struct addr *at,
                            const struct sock_listen_options *options)
{
    int rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);

    if (rc == 0 && at->sa.sa_family == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !options->dual_stack);
    if (rc == 0)
        rc = sock_attach(fd, options->interface, options->mark);
    return rc;
}

int sock_set_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

int sock_listen(const struct addr *at, const struct sock_listen_options *options)
{
    scope_close int fd = open_stream(at->sa.sa_family);
    int rc;

    if (fd < 0)
        return fd;
    rc = set_bind_options(fd, at, options);
    if (rc == 0 && options->reuse_port)
        rc = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc < 0)
        return rc;
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    sock_set_keepalive(fd);
    /* The kernel lowers the backlog to somaxconn itself, listen(2). */
    if (bind(fd, &at->sa, addr_length(at)) < 0 || listen(fd, INT_MAX) < 0)
        return -errno;
    if (options->fastopen > 0 || options->defer_s > 0)
        sock_tune_listener(fd, options->fastopen, options->defer_s);
    return take_fd(&fd);
}

int sock_adopt(int listener_fd)
{
    int rc = sock_set_flags(listener_fd);

    if (rc < 0)
        return rc;
    set_int(listener_fd, IPPROTO_TCP, TCP_NODELAY, 1);
    sock_set_keepalive(listener_fd);
    return 0;
}

int sock_share_port(int listener_fd)
{
    return set_int(listener_fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

int sock_probe_listen(const struct addr *at, const struct sock_listen_options *options)
{
    scope_close int fd = open_stream(at->sa.sa_family);
    int rc;

    if (fd < 0)
        return fd;
    rc = set_bind_options(fd, at, options);
    if (rc < 0)
        return rc;
    return bind(fd, &at->sa, addr_length(at)) < 0 ? -errno : 0;
}

bool sock_is_local(const struct addr *addr)
{
    struct addr at = *addr;
    scope_close int fd = addr_is_unix(&at) ? -1 : open_stream(at.sa.sa_family);

    addr_set_port(&at, 0);
    if (fd < 0)
        return false;
    /* EADDRINUSE: ours, but every local port is taken or rests in TIME_WAIT. */
    return bind(fd, &at.sa, addr_length(&at)) == 0 || errno == EADDRINUSE;
}

bool sock_is_self_connected(int fd, uint16_t port)
{
    struct addr own = {0};
    struct addr peer;
    socklen_t own_length = sizeof(own);
    socklen_t peer_length = sizeof(peer);

    return getsockname(fd, &own.sa, &own_length) == 0 && !addr_is_unix(&own) &&
           addr_port(&own) == port && getpeername(fd, &peer.sa, &peer_length) == 0 &&
           addr_equal(&own, &peer);
}

int sock_local(int fd, struct addr *ret)
{
    socklen_t length = sizeof(*ret);

    if (getsockname(fd, &ret->sa, &length) < 0)
        return -errno;
    if (addr_is_unix(ret)) /* the kernel's bytes are a path, cut short */
        addr_unix(0, ret);
    addr_normalise(ret);
    return 0;
}

int sock_accept(int listener_fd, struct addr *ret_peer)
{
    socklen_t length = sizeof(*ret_peer);
    int fd = accept4(listener_fd, &ret_peer->sa, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (addr_is_unix(ret_peer))
        addr_unix_client(0, ret_peer);
    addr_normalise(ret_peer);
    return fd;
}

int sock_bind_source(int fd, const struct addr *source, const struct addr *to)
{
    struct addr at;

    if (!source || source->sa.sa_family == AF_UNSPEC)
        return 0;
    if (source->sa.sa_family != to->sa.sa_family)
        return -EADDRNOTAVAIL;
    at = *source;
    addr_set_port(&at, 0);
    set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return bind(fd, &at.sa, addr_length(&at)) < 0 ? -errno : 0;
}

int sock_open(int family)
{
    return open_stream(family);
}

static int start_unix(int fd, const struct addr *to)
{
    struct sockaddr_un at;
    socklen_t length = unix_path_sockaddr(to->un.number, &at);

    return connect(fd, (const struct sockaddr *)&at, length) < 0 ? -errno : 0;
}

int sock_start(int fd, const struct addr *to)
{
    if (addr_is_unix(to))
        return start_unix(fd, to);
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return connect(fd, &to->sa, addr_length(to)) < 0 && errno != EINPROGRESS ? -errno : 0;
}

int sock_connect(const struct addr *to, int *ret_fd)
{
    return sock_connect_from(NULL, to, ret_fd);
}

int sock_connect_from(const struct addr *source, const struct addr *to, int *ret_fd)
{
    scope_close int fd = open_stream(to->sa.sa_family);
    int rc;

    if (fd < 0)
        return fd;
    rc = sock_bind_source(fd, source, to);
    if (rc == 0)
        rc = sock_start(fd, to);
    if (rc == 0)
        *ret_fd = take_fd(&fd);
    return rc;
}

int sock_take_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return errno;
    return error;
}

void sock_set_keepalive(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

void sock_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

size_t sock_unacked(int fd)
{
    int n_bytes = 0;

    if (ioctl(fd, SIOCOUTQ, &n_bytes) < 0 || n_bytes < 0)
        return 0;
    return (size_t)n_bytes;
}

bool sock_has_input(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

size_t sock_send_room(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof(memory);
    uint32_t used;

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0)
        return 0;
    /* A Unix socket has what its peer has not read yet in WMEM_ALLOC, and nothing queued. */
    used = memory[SK_MEMINFO_WMEM_QUEUED] > memory[SK_MEMINFO_WMEM_ALLOC]
               ? memory[SK_MEMINFO_WMEM_QUEUED]
               : memory[SK_MEMINFO_WMEM_ALLOC];
    /* The last segment may go over the limit, so the difference can be negative. */
    return used < memory[SK_MEMINFO_SNDBUF] ? memory[SK_MEMINFO_SNDBUF] - used : 0;
}

bool sock_has_ipv6(void)
{
    scope_close int fd = open_stream(AF_INET6);

    return fd >= 0;
}

/* The classes take both signs: -errno of a call here, and the positive number of
 * sock_take_error(). */

bool sock_would_block(int error)
{
    return abs(error) == EAGAIN;
}

bool sock_accept_transient(int error)
{
    switch (abs(error)) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

bool sock_out_of_resources(int error)
{
    switch (abs(error)) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC: /* epoll(7): fs.epoll.max_user_watches */
        return true;
    default:
        return false;
    }
}

bool sock_connect_error_is_local(int error)
{
    switch (abs(error)) {
    case EADDRNOTAVAIL: /* no local port is left */
    case EADDRINUSE:
    case EAGAIN:
    case EACCES: /* a local packet filter or a security module */
    case EPERM:
    case ENODEV: /* the interface to leave by is not there */
    case EINVAL: /* no way from the source to the server, as from loopback to another machine */
        return true;
    default:
        return sock_out_of_resources(error);
    }
}

bool sock_error_is_reset(int error)
{
    return abs(error) == ECONNRESET || abs(error) == EPIPE;
}
