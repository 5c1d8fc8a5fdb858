#include "lb4/relay/udp_inbox.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* 64 KiB holds whatever the kernel may have joined. The odd lines on top keep the first lines
     * of all buffers out of the same few sets of the caches. */
    BUFFER_BYTES = 65536,
    BUFFER_STRIDE = BUFFER_BYTES + 17 * 64,
    /* A dual-stack socket tells of an IPv4 datagram twice. */
    CONTROL_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)) +
                    CMSG_SPACE(sizeof(int))
};

struct udp_inbox {
    struct udp_packet packets[UDP_INBOX_MAX];
    struct mmsghdr messages[UDP_INBOX_MAX];
    struct iovec pieces[UDP_INBOX_MAX];
    _Alignas(struct cmsghdr) uint8_t controls[UDP_INBOX_MAX][CONTROL_BYTES];
    size_t n_used;
    uint8_t *buffers;
};

uint32_t udp_packet_count(const struct udp_packet *packet)
{
    if (packet->n_bytes <= packet->segment_bytes)
        return 1;
    return (packet->n_bytes + packet->segment_bytes - 1) / packet->segment_bytes;
}

struct udp_inbox *udp_inbox_new(void)
{
    struct udp_inbox *inbox = calloc(1, sizeof(*inbox));

    if (inbox == NULL)
        return NULL;
    inbox->buffers = malloc((size_t)UDP_INBOX_MAX * BUFFER_STRIDE);
    if (inbox->buffers == NULL) {
        free(inbox);
        return NULL;
    }
    for (size_t i = 0; i < UDP_INBOX_MAX; i++) {
        inbox->pieces[i] = (struct iovec){inbox->buffers + i * BUFFER_STRIDE, BUFFER_BYTES};
        inbox->messages[i].msg_hdr = (struct msghdr){
            .msg_iov = &inbox->pieces[i], .msg_iovlen = 1, .msg_control = inbox->controls[i]};
    }
    return inbox;
}

void udp_inbox_free(struct udp_inbox *inbox)
{
    if (inbox == NULL)
        return;
    free(inbox->buffers);
    free(inbox);
}

void udp_inbox_empty(struct udp_inbox *inbox)
{
    inbox->n_used = 0;
}

size_t udp_inbox_room(const struct udp_inbox *inbox)
{
    return UDP_INBOX_MAX - inbox->n_used;
}

/* Of a datagram that came before the socket asked for IP_PKTINFO, as to one that was passed to us,
 * the kernel knows only what stands in the header. */
static void set_own4(struct udp_packet *packet, const struct cmsghdr *cmsg)
{
    struct in_pktinfo info;

    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    addr_any(AF_INET, 0, &packet->own);
    packet->own.in4.sin_addr =
        info.ipi_spec_dst.s_addr != INADDR_ANY ? info.ipi_spec_dst : info.ipi_addr;
}

static void set_own6(struct udp_packet *packet, const struct cmsghdr *cmsg)
{
    struct in6_pktinfo info;

    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    /* IP_PKTINFO tells more of it, ip(7). */
    if (IN6_IS_ADDR_V4MAPPED(&info.ipi6_addr))
        return;
    addr_any(AF_INET6, 0, &packet->own);
    packet->own.in6.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
        packet->own.in6.sin6_scope_id = info.ipi6_ifindex;
}

static void read_control(struct udp_packet *packet, struct msghdr *header)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg != NULL;
         cmsg = CMSG_NXTHDR(header, cmsg)) {
        if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
            set_own4(packet, cmsg);
        } else if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
            set_own6(packet, cmsg);
        } else if (cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_GRO) {
            int size;

            memcpy(&size, CMSG_DATA(cmsg), sizeof(size));
            packet->segment_bytes = (uint32_t)size;
        }
    }
}

static void finish_packet(struct udp_inbox *inbox, size_t i)
{
    struct udp_packet *packet = &inbox->packets[i];
    struct mmsghdr *message = &inbox->messages[i];

    packet->next = NULL;
    packet->bytes = inbox->pieces[i].iov_base;
    packet->n_bytes = message->msg_len;
    packet->segment_bytes = message->msg_len;
    packet->own.sa.sa_family = AF_UNSPEC;
    /* Without its control data a joined packet would look like one datagram. */
    packet->is_truncated = (message->msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    read_control(packet, &message->msg_hdr);
    if (message->msg_hdr.msg_name != NULL)
        addr_normalise(&packet->peer);
}

static int receive(struct udp_inbox *inbox, int fd, size_t n_max, bool has_peer)
{
    size_t first = inbox->n_used;
    int n;

    assert(n_max >= 1 && n_max <= udp_inbox_room(inbox));
    for (size_t i = first; i < first + n_max; i++) {
        struct msghdr *header = &inbox->messages[i].msg_hdr;

        header->msg_name = has_peer ? &inbox->packets[i].peer : NULL;
        header->msg_namelen = has_peer ? sizeof(inbox->packets[i].peer) : 0;
        header->msg_controllen = CONTROL_BYTES;
    }
    n = recvmmsg(fd, inbox->messages + first, (unsigned)n_max, MSG_DONTWAIT, NULL);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    inbox->n_used += (size_t)n;
    for (size_t i = first; i < inbox->n_used; i++)
        finish_packet(inbox, i);
    return n;
}

int udp_inbox_receive(struct udp_inbox *inbox, int fd, size_t n_max,
                      struct udp_packet **ret_packets)
{
    *ret_packets = inbox->packets + inbox->n_used;
    return receive(inbox, fd, n_max, true);
}

int udp_inbox_receive_connected(struct udp_inbox *inbox, int fd, size_t n_max,
                                struct udp_packet **ret_packets)
{
    *ret_packets = inbox->packets + inbox->n_used;
    return receive(inbox, fd, n_max, false);
}
