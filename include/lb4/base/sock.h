/* Every socket chore that needs a flag right at birth, and the classes of errno, named once.
 * All descriptors made here are non-blocking and close-on-exec. Functions return a descriptor or 0,
 * or -errno. */
#ifndef LB4_BASE_SOCK_H
#define LB4_BASE_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

/* What sock_listen() asks of the kernel beside bind and listen. */
struct sock_listen_options {
    bool reuse_port; /* SO_REUSEPORT: one of several sockets of this address */
    bool dual_stack; /* an IPv6 wildcard that takes IPv4 too (IPV6_V6ONLY off); else IPv6 sockets
                        are V6ONLY */
    const char *interface; /* SO_BINDTODEVICE; NULL or "" = any */
    uint32_t mark;         /* SO_MARK; 0 = none */
    uint32_t fastopen;     /* TCP_FASTOPEN: handshakes with data that wait; 0 = off */
    uint32_t defer_s;      /* TCP_DEFER_ACCEPT, seconds; 0 = off */
};

/* A listening TCP socket with SO_REUSEADDR, and with TCP_NODELAY and keepalive 60/10/3 set so that
 * accepted sockets inherit them (tcp(7)); the backlog is the kernel's somaxconn. -EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES, -EMFILE ... */
int sock_listen(const struct addr *at, const struct sock_listen_options *options);

/* Let sockets that are bound with SO_REUSEPORT from now on join this one, which listens already.
 * Done after sock_listen() without the option, it makes a group that no other process was in:
 * binding and listening alone is exclusive, and who comes later with the option must have our uid
 * (socket(7)). */
int sock_share_port(int listener_fd);

/* Non-blocking and close-on-exec, for a descriptor that was not made here. */
int sock_set_flags(int fd);

/* Make a listening TCP socket that somebody else has opened behave as one of sock_listen():
 * non-blocking, close-on-exec, TCP_NODELAY, keepalive. Non-blocking is a flag of the open file, so
 * whoever else holds it sees it (fcntl(2)). */
int sock_adopt(int listener_fd);

/* Does anybody listen at `at` already? Bind without SO_REUSEPORT, and close: 0 = free, -EADDRINUSE
 * = taken, also by a process of the same uid that set SO_REUSEPORT, which a bind with it would join
 * in silence (FAULTS.md K26). */
int sock_probe_listen(const struct addr *at, const struct sock_listen_options *options);

/* accept4(2). *ret_peer is a Unix client without a number, or the normalised address from accept
 * itself: after a reset in the queue getpeername() no longer knows it (FAULTS.md K18). */
int sock_accept(int listener_fd, struct addr *ret_peer);

/* A TCP socket with TCP_NODELAY, or a Unix stream socket, on which connect(2) has been called.
 * *ret_fd is the socket, EINPROGRESS counts as success (completion: writable). On error nothing is
 * kept: -ECONNREFUSED, -ENETUNREACH, -EADDRNOTAVAIL; of a Unix socket also -ENOENT, -EAGAIN ... */
int sock_connect(const struct addr *to, int *ret_fd);

/* The same from an address of ours, whose port does not count; NULL or AF_UNSPEC: from any. The
 * local port is chosen by the connect (IP_BIND_ADDRESS_NO_PORT, ip(7)). -EADDRNOTAVAIL also if the
 * address is not this machine's, or of another family than `to`. */
int sock_connect_from(const struct addr *source, const struct addr *to, int *ret_fd);

/* The two halves of a connect, for what belongs between them: a stream socket, and the call on it.
 * sock_start() returns 0 or -errno, and leaves the socket to its caller. */
int sock_open(int family);
int sock_start(int fd, const struct addr *to);

/* Bind as said there, before a connect; for UDP, too. Returns 0 or -errno. */
int sock_bind_source(int fd, const struct addr *source, const struct addr *to);

/* The address that the socket is bound to, of an accepted one what was asked for; of a Unix socket
 * without its path. Returns 0 or -errno. */
int sock_local(int fd, struct addr *ret);

/* Is the address one of this machine's own? It is when a socket can be bound to it. */
bool sock_is_local(const struct addr *addr);

/* Did a connect to this port of a local address end up at its own socket, as it can where nobody
 * listens (FAULTS.md K15)? One system call, as long as the socket's own port is another. */
bool sock_is_self_connected(int fd, uint16_t port);

/* Fetch and clear SO_ERROR, as a positive errno, 0 = none. The kernel tells it once: store what it
 * says. */
int sock_take_error(int fd);

/* Keepalive 60 s idle, 10 s interval, 3 probes (tcp(7)). Failures are ignored: the connection works
 * without. */
void sock_set_keepalive(int fd);

/* close(2) that sends RST and drops what is queued (SO_LINGER 0, socket(7)); not so on AF_UNIX. */
void sock_reset(int fd);

/* Bytes sent, and not acknowledged (SIOCOUTQ, tcp(7)), on AF_UNIX not read; 0 = unknown, too. */
size_t sock_unacked(int fd);

/* Is there a byte to read? The byte stays. */
bool sock_has_input(int fd);

/* Bytes that the send buffer would take now (SO_MEMINFO: sndbuf - what is queued), 0 when full or
 * unknown. */
size_t sock_send_room(int fd);

/* Does this kernel know IPv6 at all? Where it is only switched off, a dual-stack socket can still
 * be bound and serves IPv4. */
bool sock_has_ipv6(void);

/* -EAGAIN of a non-blocking call (EWOULDBLOCK is the same number on Linux). */
bool sock_would_block(int error);
/* An error of one connection in the accept queue, not of the listener (accept(2), "Error
 * handling"): try the next. */
bool sock_accept_transient(int error);
/* Descriptors or memory have run out: ours to solve, nobody else's fault. */
bool sock_out_of_resources(int error);
/* A failed connect that says nothing about the server: EADDRNOTAVAIL, EMFILE, ENOBUFS, EACCES,
 * EPERM ... */
bool sock_connect_error_is_local(int error);
/* The peer reset the connection: ECONNRESET, or EPIPE when its FIN came first (tcp_reset() of the
 * kernel). */
bool sock_error_is_reset(int error);

#endif
