/* Datagrams in, in batches, from whatever socket, for as long as one turn of the worker. Knows
 * nothing of sessions. Used by its worker alone.
 *
 * recvmmsg(2) fills an inbox, from one socket or from one after the other; what came in is sent
 * from where it lies (udp_outbox.h), then the inbox is emptied. An entry is a packet: one datagram,
 * or several of one size that the kernel has joined (UDP_GRO, udp(7)). */
#ifndef LB4_RELAY_UDP_INBOX_H
#define LB4_RELAY_UDP_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

/* Packets; chosen. One recvmmsg of a listener is also the budget of a turn. */
enum { UDP_INBOX_MAX = 64 };

/* What came in. The bytes are the inbox's; sending moves `bytes` and `n_bytes` on. */
struct udp_packet {
    struct udp_packet *next; /* on its line (udp_outbox.h) */
    uint8_t *bytes;
    uint32_t n_bytes;
    uint32_t segment_bytes; /* of each datagram but the last, which may be shorter; of a single one
                               its size, which may be 0 */
    struct addr peer;       /* who sent it, normalised. Connected sockets: not set */
    struct addr own;   /* our address that it was sent to (PKTINFO), port 0; AF_UNSPEC where the
                          socket does not tell */
    bool is_truncated; /* the kernel kept a part of it: to be dropped */
};

/* How many datagrams it is: at least one. */
uint32_t udp_packet_count(const struct udp_packet *packet);

struct udp_inbox;

/* Memory is touched as it is used, 64 KiB for each packet at most. NULL: no memory. */
struct udp_inbox *udp_inbox_new(void);
void udp_inbox_free(struct udp_inbox *inbox);

/* All packets are done with: their memory is the next ones'. */
void udp_inbox_empty(struct udp_inbox *inbox);
/* How many packets more can be received. */
size_t udp_inbox_room(const struct udp_inbox *inbox);

/* Receive up to `n_max` packets, at most the room. Returns how many, in *ret_packets one after the
 * other; fewer than asked says that the socket was empty. Or -errno: of a connected socket
 * -ECONNREFUSED and the like, which the kernel tells once (FAULTS.md K16). */
int udp_inbox_receive(struct udp_inbox *inbox, int fd, size_t n_max,
                      struct udp_packet **ret_packets);
/* The same for a connected socket: `peer` is left alone. */
int udp_inbox_receive_connected(struct udp_inbox *inbox, int fd, size_t n_max,
                                struct udp_packet **ret_packets);

#endif
