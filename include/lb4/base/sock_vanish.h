/* The end of a TCP connection that its peer is not told of. */
#ifndef LB4_BASE_SOCK_VANISH_H
#define LB4_BASE_SOCK_VANISH_H

/* close(2) at once, with a reset that stays at home: the socket is bound to the loopback device
 * first, through which nobody else can be reached. Where that cannot be (before Linux 5.7, or as
 * the socket is bound to a device already), its hop limit of 1 lets the reset die at the first
 * router. A peer on this very host is told, and one that sends something later: the kernel answers
 * for a connection that it does not know. Neither needs a capability. Source: socket(7)
 * SO_BINDTODEVICE, ip(7) IP_TTL, ipv6(7) IPV6_UNICAST_HOPS. */
void sock_vanish(int fd);

#endif
