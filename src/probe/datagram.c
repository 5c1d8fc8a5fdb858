#include "lb4/probe/datagram.h"

#include <errno.h>
#include <netinet/udp.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/base/sock.h"
#include "lb4/probe/announce.h"
#include "lb4/probe/dialogue_dns.h"
#include "lb4/probe/dialogue_send.h"

enum {
    HEARD_MAX = 16
}; /* datagrams of one event: a flood of strays must not keep the prober from
      its other servers; chosen */

/* The largest datagram of IPv4 or IPv6 without jumbograms is smaller. Too large for a stack, and
 * between two calls nothing is kept in it. */
static uint8_t heard[65536];

int datagram_open(struct attempt *attempt, const struct addr *to)
{
    int fd = -1;
    int off = 0;
    int error = attempt_socket(attempt, to, &fd);

    if (error)
        return error;
    if (attempt->is_local && sock_is_self_connected(fd, addr_port(to))) {
        close(fd);
        return -ECONNREFUSED;
    }
    /* Joined datagrams would be judged as one. */
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &off, sizeof(off));
    if (getrandom(&attempt->query_id, sizeof(attempt->query_id), 0) < 0)
        attempt->query_id = (uint16_t)clock_now_ns();
    return fd;
}

static struct iovec piece(const void *bytes, size_t n_bytes)
{
    return (struct iovec){(void *)(uintptr_t)bytes, n_bytes}; /* not written: sendmsg(2) */
}

/* Behind a PROXY header, where the server wants one in each datagram. */
static int send_bytes(const struct attempt *attempt, const uint8_t *bytes, size_t n_bytes)
{
    struct iovec pieces[] = {piece(announce_local, sizeof(announce_local)), piece(bytes, n_bytes)};
    size_t first = attempt->send_proxy ? 0 : 1;
    struct msghdr message = {.msg_iov = pieces + first, .msg_iovlen = 2 - first};

    return sendmsg(attempt->source.fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void build_query(const struct attempt *attempt, struct dialogue_dns_query *query)
{
    dialogue_dns_build(query, attempt->check->send, attempt->check->n_send, attempt->query_id);
}

int datagram_ask(const struct attempt *attempt)
{
    struct dialogue_dns_query query;

    if (attempt->check->kind != CONF_CHECK_DNS)
        return send_bytes(attempt, attempt->check->send, attempt->check->n_send);
    build_query(attempt, &query);
    if (query.n_bytes == 0)
        return -EBADMSG;
    return send_bytes(attempt, query.bytes, query.n_bytes);
}

static enum dialogue_verdict judge_text(struct attempt *attempt, size_t n_heard)
{
    if (dialogue_send_matches(attempt->check, heard, n_heard))
        return DIALOGUE_GOOD;
    attempt->reason = "unexpected answer";
    return DIALOGUE_WRONG;
}

static enum dialogue_verdict judge(struct attempt *attempt, size_t n_heard)
{
    struct dialogue_dns_query query;

    if (attempt->check->kind != CONF_CHECK_DNS)
        return judge_text(attempt, n_heard);
    build_query(attempt, &query);
    return dialogue_dns_judge(&query, heard, n_heard, &attempt->reason);
}

/* An ICMPv6 message that a filter on the way sent is EACCES, which of our own calls would be a
 * filter here; IPv4 calls the same EHOSTUNREACH. */
static int hear_error(int error)
{
    return error == EACCES ? -EHOSTUNREACH : -error;
}

int datagram_hear(struct attempt *attempt)
{
    for (int i = 0; i < HEARD_MAX; i++) {
        ssize_t n = recv(attempt->source.fd, heard, sizeof(heard), 0);

        if (n < 0)
            return hear_error(errno);
        switch (judge(attempt, (size_t)n)) {
        case DIALOGUE_STRAY:
            attempt->has_strays = true;
            break;
        case DIALOGUE_GOOD:
            return 0;
        case DIALOGUE_WRONG:
            return -EBADMSG;
        }
    }
    return -EAGAIN;
}
