/* Lines between real sockets, with sendmsg() and sendmmsg() wrapped: for the tests of udp_outbox.
 */
#ifndef TEST_OUTBOX_RIG_H
#define TEST_OUTBOX_RIG_H

#include "datagrams.h"
#include "lb4/relay/udp_outbox.h"

/* The wrapped calls count messages, and fail on request: every message that is joined, or the
 * message number `fail_at` from now on, counted from 0. */
static int n_messages;
static size_t n_pieces;
static int fail_at = -1;
static int fail_errno;
static int joined_errno;

ssize_t __real_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags);

static inline bool is_joined(const struct msghdr *header)
{
    struct msghdr copy = *header;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&copy); cmsg != NULL; cmsg = CMSG_NXTHDR(&copy, cmsg))
        if (cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_SEGMENT)
            return true;
    return false;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
    if (fail_at == 0 || (joined_errno != 0 && is_joined(header))) {
        errno = fail_at == 0 ? fail_errno : joined_errno;
        fail_at = -1;
        return -1;
    }
    if (fail_at > 0)
        fail_at--;
    n_messages++;
    n_pieces += header->msg_iovlen;
    return __real_sendmsg(fd, header, flags);
}

/* As the kernel does it: an error ends the batch and is told when nothing was sent before it. It is
 * then still there at the next call. */
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    for (unsigned i = 0; i < n; i++) {
        int was = fail_at;

        if (__wrap_sendmsg(fd, &messages[i].msg_hdr, flags) >= 0)
            continue;
        if (i > 0)
            fail_at = was;
        return i > 0 ? (int)i : -1;
    }
    return (int)n;
}

/* A line from `sender` to `receiver`, which reads datagram by datagram. */
struct rig {
    struct udp_outbox *outbox;
    struct udp_tally tally;
    struct udp_line line;
    struct addr to;
    int receiver;
    int sender;
    uint8_t *buffer;
};

static inline void rig_init(struct rig *rig, bool is_connected)
{
    *rig = (struct rig){.outbox = udp_outbox_new(),
                        .receiver = listen_at("127.0.0.1"),
                        .buffer = malloc(DATAGRAM_MAX)};
    assert_non_null(rig->outbox);
    assert_non_null(rig->buffer);
    receive_singly(rig->receiver);
    rig->to = local_addr(rig->receiver);
    rig->sender = is_connected ? connect_to("127.0.0.1", rig->receiver) : listen_at("127.0.0.1");
    rig->line = (struct udp_line){.fd = rig->sender,
                                  .segment_max = UDP_SEGMENT_ANY,
                                  .to = is_connected ? NULL : &rig->to,
                                  .tally = &rig->tally};
    n_messages = 0;
}

static inline void rig_fini(struct rig *rig)
{
    assert_null(rig->line.first);
    assert_null(rig->line.last);
    udp_outbox_free(rig->outbox);
    free(rig->buffer);
    close(rig->sender);
    close(rig->receiver);
}

static inline struct udp_packet make_packet(uint32_t n_bytes, uint32_t segment_bytes, uint32_t tag)
{
    return (struct udp_packet){
        .bytes = make_bytes(n_bytes, tag), .n_bytes = n_bytes, .segment_bytes = segment_bytes};
}

/* The next datagram is this one, behind the line's header. */
static inline void expect(struct rig *rig, const uint8_t *bytes, size_t n_bytes)
{
    size_t n_header = rig->line.n_header;

    wait_for_input(rig->receiver);
    assert_int_equal(recv(rig->receiver, rig->buffer, DATAGRAM_MAX, 0), n_header + n_bytes);
    if (n_header > 0)
        assert_memory_equal(rig->buffer, rig->line.header, n_header);
    assert_memory_equal(rig->buffer + n_header, bytes, n_bytes);
}

static inline void expect_nothing(struct rig *rig)
{
    assert_int_equal(recv(rig->receiver, rig->buffer, DATAGRAM_MAX, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

/* What the datagrams of a packet look like at the receiver. */
static inline void expect_packet(struct rig *rig, const uint8_t *bytes, uint32_t n_bytes,
                                 uint32_t size)
{
    uint32_t at = 0;

    do {
        uint32_t n = n_bytes - at < size ? n_bytes - at : size;

        expect(rig, bytes + at, n);
        at += n;
    } while (at < n_bytes);
}

/* A packet: so many bytes in datagrams of this size. */
struct shape {
    uint32_t n_bytes;
    uint32_t size;
};

enum { SHAPES_MAX = 200 };

/* Send packets over a rig and check what arrives; returns how many messages it took. */
static inline int send_shapes_over(struct rig *rig, const struct shape *shapes, size_t n)
{
    struct udp_packet packets[SHAPES_MAX];
    uint8_t *bytes[SHAPES_MAX];
    uint64_t n_sent = rig->tally.n_sent;
    uint64_t n_expected = 0;

    n_messages = 0;
    n_pieces = 0;
    for (size_t i = 0; i < n; i++) {
        packets[i] = make_packet(shapes[i].n_bytes, shapes[i].size, (uint32_t)i);
        bytes[i] = packets[i].bytes;
        n_expected += udp_packet_count(&packets[i]);
        if (rig->line.to == NULL)
            udp_line_append(&rig->line, &packets[i]);
        else
            udp_outbox_add(rig->outbox, &rig->line, &packets[i]);
    }
    if (rig->line.to == NULL)
        assert_int_equal(udp_send(rig->outbox, &rig->line), 0);
    else
        udp_outbox_flush(rig->outbox);
    for (size_t i = 0; i < n; i++) {
        expect_packet(rig, bytes[i], shapes[i].n_bytes, shapes[i].size);
        free(bytes[i]);
    }
    expect_nothing(rig);
    assert_int_equal(rig->tally.n_sent - n_sent, n_expected);
    /* What lies side by side is one piece, unless a header comes between. */
    if (rig->line.n_header > 0)
        assert_int_equal(n_pieces, 2 * n_expected);
    else
        assert_in_range(n_pieces, n_messages, n + (size_t)n_messages - 1);
    return n_messages;
}

#endif
