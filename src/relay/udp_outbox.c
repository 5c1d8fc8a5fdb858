#include "lb4/relay/udp_outbox.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTROL_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t)),
    PIECES_MAX = UDP_INBOX_MAX + UDP_OUTBOX_MAX /* each run may begin within a packet; a full run
                                                   of datagrams with headers takes as many */
};

_Static_assert(PIECES_MAX >= 2 * UDP_SEGMENTS_MAX, "of datagrams with headers, too, 64 go at once");

/* A place between two datagrams of a line. */
struct cursor {
    struct udp_packet *packet; /* NULL: the end of the line */
    uint8_t *at;
};

/* One message: datagrams of one size, the last may be shorter. Sizes are those that leave, with the
 * header. */
struct run {
    struct udp_line *line;
    struct cursor end;
    uint32_t size;
    uint32_t n_datagrams;
    uint32_t n_bytes;
};

struct udp_outbox {
    struct udp_line *lines[UDP_OUTBOX_MAX];
    size_t n_lines;
    size_t n_runs;
    size_t n_pieces;
    struct run runs[UDP_OUTBOX_MAX];
    struct mmsghdr messages[UDP_OUTBOX_MAX];
    struct iovec pieces[PIECES_MAX];
    _Alignas(struct cmsghdr) uint8_t controls[UDP_OUTBOX_MAX][CONTROL_BYTES];
};

void udp_line_append(struct udp_line *line, struct udp_packet *packet)
{
    packet->next = NULL;
    if (line->first == NULL)
        line->first = packet;
    else
        line->last->next = packet;
    line->last = packet;
}

uint64_t udp_line_clear(struct udp_line *line)
{
    uint64_t n_datagrams = 0;

    for (const struct udp_packet *packet = line->first; packet != NULL; packet = packet->next)
        n_datagrams += udp_packet_count(packet);
    line->first = NULL;
    line->last = NULL;
    return n_datagrams;
}

/* From lines to messages --------------------------------------------------------------------- */

struct udp_outbox *udp_outbox_new(void)
{
    return calloc(1, sizeof(struct udp_outbox));
}

void udp_outbox_free(struct udp_outbox *outbox)
{
    free(outbox);
}

static uint32_t next_size(const struct cursor *cursor)
{
    const struct udp_packet *packet = cursor->packet;
    uint32_t n_left = (uint32_t)(packet->bytes + packet->n_bytes - cursor->at);

    return n_left < packet->segment_bytes ? n_left : packet->segment_bytes;
}

static void step(struct cursor *cursor, uint32_t n_bytes)
{
    cursor->at += n_bytes;
    if (cursor->at < cursor->packet->bytes + cursor->packet->n_bytes)
        return;
    cursor->packet = cursor->packet->next;
    cursor->at = cursor->packet != NULL ? cursor->packet->bytes : NULL;
}

/* Can a datagram of this size be the next of a run? Only the last may be shorter, and an empty one
 * would vanish. */
static bool can_join(const struct run *run, uint32_t size)
{
    return run->n_bytes == run->n_datagrams * run->size && run->size <= run->line->segment_max &&
           run->n_datagrams < UDP_SEGMENTS_MAX && size > 0 && size <= run->size &&
           run->n_bytes + size <= UDP_PAYLOAD_MAX;
}

static size_t pieces_each(const struct udp_line *line)
{
    return line->n_header > 0 ? 2 : 1;
}

static void add_piece(struct udp_outbox *outbox, uint8_t *at, uint32_t n_bytes)
{
    outbox->pieces[outbox->n_pieces++] = (struct iovec){at, n_bytes};
    outbox->messages[outbox->n_runs].msg_hdr.msg_iovlen++;
}

/* To the message that is being made. False: too few pieces are left. */
static bool add_datagram(struct udp_outbox *outbox, const struct udp_line *line, uint8_t *at,
                         uint32_t n_bytes)
{
    const struct msghdr *header = &outbox->messages[outbox->n_runs].msg_hdr;
    struct iovec *last = header->msg_iovlen > 0 ? &outbox->pieces[outbox->n_pieces - 1] : NULL;

    if (last != NULL && line->n_header == 0 && (uint8_t *)last->iov_base + last->iov_len == at) {
        last->iov_len += n_bytes;
        return true;
    }
    if (outbox->n_pieces + pieces_each(line) > PIECES_MAX)
        return false;
    if (line->n_header > 0)
        add_piece(outbox, line->header, line->n_header);
    add_piece(outbox, at, n_bytes);
    return true;
}

static void add_control(struct msghdr *header, int level, int type, const void *data,
                        size_t n_bytes)
{
    struct cmsghdr *cmsg =
        (struct cmsghdr *)(void *)((uint8_t *)header->msg_control + header->msg_controllen);

    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(n_bytes);
    memcpy(CMSG_DATA(cmsg), data, n_bytes);
    header->msg_controllen += CMSG_SPACE(n_bytes);
}

/* The socket's family plays no part: a dual-stack socket sends to a plain AF_INET address, and
 * takes IP_PKTINFO with it (measured; tests/unit/relay/test_udp_outbox.c pins it). */
static void add_from(struct msghdr *header, const struct addr *from)
{
    if (from->sa.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = from->in4.sin_addr};

        add_control(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else if (from->sa.sa_family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_addr = from->in6.sin6_addr,
                                   .ipi6_ifindex = from->in6.sin6_scope_id};

        add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

static void finish_run(const struct run *run, struct msghdr *header)
{
    uint16_t size = (uint16_t)run->size;

    if (run->line->to != NULL) {
        header->msg_name = run->line->to;
        header->msg_namelen = addr_length(run->line->to);
    }
    if (run->line->from != NULL)
        add_from(header, run->line->from);
    if (run->n_datagrams > 1)
        add_control(header, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
    if (header->msg_controllen == 0)
        header->msg_control = NULL;
}

/* Make the next message, of what follows `cursor` on the line, and move the cursor on. False: the
 * outbox is full. */
static bool add_run(struct udp_outbox *outbox, struct udp_line *line, struct cursor *cursor)
{
    uint32_t size = next_size(cursor) + line->n_header;
    struct msghdr *header;
    struct run *run;

    if (outbox->n_runs == UDP_OUTBOX_MAX || outbox->n_pieces + pieces_each(line) > PIECES_MAX)
        return false;
    run = &outbox->runs[outbox->n_runs];
    header = &outbox->messages[outbox->n_runs].msg_hdr;
    *run = (struct run){.line = line, .size = size};
    *header = (struct msghdr){.msg_iov = &outbox->pieces[outbox->n_pieces],
                              .msg_control = outbox->controls[outbox->n_runs]};
    do {
        if (!add_datagram(outbox, line, cursor->at, size - line->n_header))
            break;
        run->n_datagrams++;
        run->n_bytes += size;
        step(cursor, size - line->n_header);
        size = cursor->packet != NULL ? next_size(cursor) + line->n_header : 0;
    } while (can_join(run, size));
    run->end = *cursor;
    finish_run(run, header);
    outbox->n_runs++;
    return true;
}

static struct cursor line_start(const struct udp_line *line)
{
    return (struct cursor){line->first, line->first != NULL ? line->first->bytes : NULL};
}

/* Sending ------------------------------------------------------------------------------------ */

/* Take a run off the head of its line. */
static void take_run(const struct run *run)
{
    struct udp_line *line = run->line;
    struct udp_packet *packet = run->end.packet;

    line->first = packet;
    if (packet == NULL) {
        line->last = NULL;
        return;
    }
    packet->n_bytes -= (uint32_t)(run->end.at - packet->bytes);
    packet->bytes = run->end.at;
}

static void take_sent(const struct run *run)
{
    run->line->tally->n_sent += run->n_datagrams;
    run->line->tally->n_bytes += run->n_bytes;
    take_run(run);
}

enum failure {
    FAILURE_JOINED, /* of being joined: again, in smaller runs */
    FAILURE_FULL,
    FAILURE_LARGE,
    FAILURE_OTHER
};

static enum failure classify(const struct run *run, int error)
{
    switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return FAILURE_FULL;
    case EMSGSIZE:
        return run->n_datagrams > 1 ? FAILURE_JOINED : FAILURE_LARGE;
    case EINVAL: /* of older kernels for EMSGSIZE */
    case EIO:
        return run->n_datagrams > 1 ? FAILURE_JOINED : FAILURE_OTHER;
    default:
        return FAILURE_OTHER;
    }
}

/* A smaller datagram may still fit the MTU; the want of checksum offload concerns all. */
static void join_less(const struct run *run, int error)
{
    run->line->segment_max = error == EIO ? 0 : (uint16_t)(run->size - 1);
}

static void drop_line(struct udp_line *line)
{
    line->tally->n_full += udp_line_clear(line);
}

int udp_send(struct udp_outbox *outbox, struct udp_line *line)
{
    /* One call for each run, and not sendmmsg(2): that keeps the error of any run but the first to
     * itself, and ECONNREFUSED is told once. Mostly there is one run. */
    while (line->first != NULL) {
        struct cursor cursor = line_start(line);

        outbox->n_runs = 0;
        outbox->n_pieces = 0;
        add_run(outbox, line, &cursor);
        if (sendmsg(line->fd, &outbox->messages[0].msg_hdr, MSG_DONTWAIT) >= 0) {
            take_sent(&outbox->runs[0]);
            continue;
        }
        switch (classify(&outbox->runs[0], errno)) {
        case FAILURE_JOINED:
            join_less(&outbox->runs[0], errno);
            break;
        case FAILURE_FULL:
            drop_line(line);
            break;
        case FAILURE_LARGE:
            line->tally->n_large += outbox->runs[0].n_datagrams;
            take_run(&outbox->runs[0]);
            break;
        case FAILURE_OTHER:
            return -errno;
        }
    }
    return 0;
}

void udp_outbox_add(struct udp_outbox *outbox, struct udp_line *line, struct udp_packet *packet)
{
    if (line->first == NULL) {
        if (outbox->n_lines == UDP_OUTBOX_MAX)
            udp_outbox_flush(outbox);
        outbox->lines[outbox->n_lines++] = line;
    }
    udp_line_append(line, packet);
}

/* As many messages as fit, of what stands on the lines of a socket. */
static void gather(struct udp_outbox *outbox, int fd)
{
    outbox->n_runs = 0;
    outbox->n_pieces = 0;
    for (size_t i = 0; i < outbox->n_lines; i++) {
        struct udp_line *line = outbox->lines[i];
        struct cursor cursor = line_start(line);

        if (line->fd != fd)
            continue;
        while (cursor.packet != NULL)
            if (!add_run(outbox, line, &cursor))
                return;
    }
}

/* The first message failed. When the buffer is full, it is for all. */
static void handle_failure(struct udp_outbox *outbox, int fd, int error)
{
    const struct run *run = &outbox->runs[0];

    switch (classify(run, error)) {
    case FAILURE_JOINED:
        join_less(run, error);
        break;
    case FAILURE_FULL:
        for (size_t i = 0; i < outbox->n_lines; i++)
            if (outbox->lines[i]->fd == fd)
                drop_line(outbox->lines[i]);
        break;
    case FAILURE_LARGE:
        run->line->tally->n_large += run->n_datagrams;
        take_run(run);
        break;
    case FAILURE_OTHER:
        run->line->tally->n_error += run->n_datagrams;
        take_run(run);
        break;
    }
}

/* Each turn sends a message or deals with the error of one. sendmmsg(2) stops at an error and tells
 * it when that message is the first. */
static void flush_socket(struct udp_outbox *outbox, int fd)
{
    for (gather(outbox, fd); outbox->n_runs > 0; gather(outbox, fd)) {
        int n = sendmmsg(fd, outbox->messages, (unsigned)outbox->n_runs, MSG_DONTWAIT);

        if (n < 0)
            handle_failure(outbox, fd, errno);
        for (int i = 0; i < n; i++)
            take_sent(&outbox->runs[i]);
    }
}

void udp_outbox_flush(struct udp_outbox *outbox)
{
    for (size_t i = 0; i < outbox->n_lines; i++)
        if (outbox->lines[i]->first != NULL)
            flush_socket(outbox, outbox->lines[i]->fd);
    outbox->n_lines = 0;
}
