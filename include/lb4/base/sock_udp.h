/* UDP sockets with every option they need, set right at birth. As in sock.h, whose
 * sock_share_port() and errno classes serve here too: descriptors are non-blocking and
 * close-on-exec; functions return a descriptor or 0, or -errno.
 *
 * No datagram leaves with DF. What lb4 sends was cut by somebody who cannot hear the path of this
 * leg complain. IPv4: IP_PMTUDISC_OMIT (ip(7)), routers may fragment, and forged ICMP cannot make
 * us do it; IPv6, where routers never fragment: IPV6_PMTUDISC_DONT, the kernel fragments to the
 * path MTU that it has learned. Either way the path's MTU never becomes an error of a socket. */
#ifndef LB4_BASE_SOCK_UDP_H
#define LB4_BASE_SOCK_UDP_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"

struct sock_udp_options {
    bool reuse_port;  /* SO_REUSEPORT: one of several sockets of this address */
    bool dual_stack;  /* an IPv6 wildcard that takes IPv4 too (IPV6_V6ONLY off); else IPv6 sockets
                         are V6ONLY */
    int buffer_bytes; /* SO_RCVBUF and SO_SNDBUF, the kernel doubles it (socket(7)); more than
                         rmem_max and wmem_max only with CAP_NET_ADMIN; 0 = leave them alone */
    const char *interface; /* as sock_listen_options has them */
    uint32_t mark;
};

/* A bound UDP socket that takes joined datagrams (UDP_GRO, udp(7)) and, when bound to a wildcard,
 * tells of each datagram which address it was sent to: IPV6_PKTINFO for IPv6, IP_PKTINFO for IPv4,
 * on a dual-stack socket too. Without `reuse_port` the bind is exclusive, whatever others have set
 * (FAULTS.md K26); sock_share_port() then opens it. -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EMFILE
 */
int sock_udp_listen(const struct addr *at, const struct sock_udp_options *options);

/* Make a bound UDP socket that somebody else has opened behave as one of sock_udp_listen().
 * `buffer_bytes` as there. Returns 0 or -errno. */
int sock_udp_adopt(int fd, int buffer_bytes);

/* A UDP socket connected to `to`: it hears nobody else, and a refusal (ICMP) is its next call's
 * error, told once (FAULTS.md K16). -EADDRNOTAVAIL also when no local port is left: unlike TCP, all
 * UDP sockets of a machine share one ip_local_port_range. -ENETUNREACH, -EMFILE ... */
int sock_udp_connect(const struct addr *to);
/* From an address of ours, as sock_connect_from(). */
int sock_udp_connect_from(const struct addr *source, const struct addr *to);
/* Its two halves, as sock_open() and sock_start(). */
int sock_udp_open(int family);
int sock_udp_start(int fd, const struct addr *to);

/* Datagrams that the kernel had to drop at this socket since its birth, above all for want of
 * buffer; wraps at 2^32. One system call (SO_MEMINFO). The same number as SO_RXQ_OVFL tells with
 * each datagram, but up to date when none follows, and free for the datagrams. */
uint32_t sock_udp_drops(int fd);

#endif
