/* Datagrams from a balancer before us: each begins with a PROXY header of its own that names the
 * client (relay/proxy_header.h), also those that came joined in one packet. Pure. */
#ifndef LB4_RELAY_UDP_UNWRAP_H
#define LB4_RELAY_UDP_UNWRAP_H

#include <stdbool.h>

#include "lb4/relay/udp_inbox.h"
#include "lb4/relay/udp_table.h"

/* Datagrams that wait to be sent on, each in a packet of its own: as many as the kernel joins in
 * one (UDP_MAX_SEGMENTS of newer ones). */
enum { UDP_UNWRAP_MAX = 128 };

/* Take the first datagram off `from`, which keeps the others. Only while udp_packet_count() was not
 * yet reached: an empty datagram leaves no trace when it goes. */
struct udp_packet udp_unwrap_cut(struct udp_packet *from);

/* Take the header off this one datagram. `key` says who has sent it and to which address of ours;
 * where the header speaks of a client it is the client's from now on, by way of *via, which stays
 * the caller's. False: it has no header, or a wrong one, and is not to be used. */
bool udp_unwrap(struct udp_packet *datagram, struct udp_key *key, struct udp_via *via);

#endif
