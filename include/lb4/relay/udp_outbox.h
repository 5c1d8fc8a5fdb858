/* Datagrams out, in batches, without a copy. Knows nothing of sessions. Used by its worker alone.
 *
 * Packets stand on lines, one line for each peer and direction, and leave in their order; datagrams
 * of one size go in one send (UDP_SEGMENT), at most 64 and 65,507 bytes. udp_send() empties the
 * line of a connected socket, udp_outbox_flush() many lines at once by sendmmsg(2).
 *
 * The kernel refuses to cut what does not fit the MTU (EMSGSIZE, where a single datagram would be
 * fragmented), and older ones on devices without checksum offload (EIO); such a line then sends one
 * by one. A socket buffer that is full drops, as the network would: nothing ever waits for it. */
#ifndef LB4_RELAY_UDP_OUTBOX_H
#define LB4_RELAY_UDP_OUTBOX_H

#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/relay/udp_inbox.h"

enum {
    UDP_PAYLOAD_MAX = 65507, /* bytes of the largest datagram over IPv4, udp(7) */
    UDP_SEGMENTS_MAX = 64,   /* of one send: UDP_MAX_SEGMENTS of the kernel, 128 in newer ones */
    UDP_SEGMENT_ANY = 65535, /* segment_max of a new line */
    UDP_OUTBOX_MAX = 64      /* lines of an outbox, and messages of one sendmmsg; chosen */
};

/* The fate of datagrams, added up for whoever reads it. */
struct udp_tally {
    uint64_t n_sent;
    uint64_t n_bytes; /* of those, with what stands before each */
    uint64_t n_full;  /* dropped: the socket's buffer or the device's queue was full */
    uint64_t n_large; /* dropped: longer than any datagram of this socket can be */
    uint64_t n_error; /* dropped: any other error, of a socket that is not connected */
};

/* Packets on their way to one peer. Lives in the session; all zero but what the owner sets. */
struct udp_line {
    struct udp_packet *first;
    struct udp_packet *last;
    int fd;
    uint16_t segment_max; /* longest datagram that is still joined; UDP_SEGMENT_ANY at first,
                             lowered when the kernel refuses */
    struct addr *to;   /* NULL: `fd` is connected. An IPv4 address may be sent to from a dual-stack
                          socket as it is. Not written, like `from`: msghdr takes no const */
    struct addr *from; /* source address, as struct udp_packet's `own`; NULL or AF_UNSPEC: the
                          kernel chooses, or `fd` is bound to one */
    struct udp_tally *tally; /* counts what happens to the datagrams */
    uint8_t *header;         /* stands before each datagram, in the same one (relay/proxy_header.h);
                                not written, the owner's while packets stand on the line */
    uint32_t n_header;       /* bytes; 0 = none. A datagram that is too long with it is `large` */
};

void udp_line_append(struct udp_line *line, struct udp_packet *packet);
/* Forget the packets that wait. Returns how many datagrams they were. */
uint64_t udp_line_clear(struct udp_line *line);

struct udp_outbox;

struct udp_outbox *udp_outbox_new(void); /* NULL: no memory */
void udp_outbox_free(struct udp_outbox *outbox);

/* Send what stands on a line of a connected socket. Returns 0, and the line is empty; or -errno,
 * -ECONNREFUSED or what else speaks of the peer: the datagrams that still stand on the line were
 * not sent, and may be sent again, elsewhere too. The outbox lends its memory; what was added to it
 * stays. */
int udp_send(struct udp_outbox *outbox, struct udp_line *line);

/* Append a packet to a line that the next udp_outbox_flush() empties; until then the line stays
 * where it is. Flushes itself when this would be line number UDP_OUTBOX_MAX + 1. */
void udp_outbox_add(struct udp_outbox *outbox, struct udp_line *line, struct udp_packet *packet);
/* Send what stands on the lines, socket by socket; all are empty then. Due before
 * udp_inbox_empty(), and before a line or its socket goes. */
void udp_outbox_flush(struct udp_outbox *outbox);

#endif
