#include "lb4/relay/greeting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lb4/base/log.h"
#include "lb4/base/prefix_map.h"
#include "lb4/base/sock.h"
#include "lb4/relay/admit.h"
#include "lb4/relay/proxy_header.h"
#include "lb4/relay/refuse.h"
#include "lb4/relay/tcp_relay.h"

enum { PLACES_LEAST = 16 }; /* chosen */

static const uint64_t TELL_NS = 10 * 1000000000ull; /* what is wrong with one: so often at most */

_Static_assert((int)PROXY_V2_MAX <= (int)FLOW_SPARE_BYTES, "the thread's buffer holds a header");

uint32_t greeting_places(uint32_t maxconn)
{
    uint32_t tenth = maxconn / 10;
    uint32_t least = maxconn / 2 < PLACES_LEAST ? maxconn / 2 : PLACES_LEAST;

    if (tenth > least)
        return tenth;
    return least > 0 ? least : 1;
}

static void turn_away(struct tcp_relay *relay, struct conn *conn, enum refusal why)
{
    admit_note_refusal(conn->service, &conn->peer, why, relay->loop->now_ns);
    refuse_conn(relay, conn, why);
}

void greeting_leave(struct tcp_relay *relay, struct conn *conn)
{
    if (conn->state != CONN_HEADER)
        return;
    conn->state = CONN_CONNECTING;
    deadline_stop(&conn->deadline);
    capacity_release(relay->headers);
}

static void refuse(struct tcp_relay *relay, struct conn *conn, enum refusal why)
{
    greeting_leave(relay, conn);
    turn_away(relay, conn, why);
}

/* The log says of each refused client that its header was wrong (relay/refuse.h), but not how. */
static void refuse_bad(struct tcp_relay *relay, struct conn *conn, const char *reason)
{
    char text[ADDR_TEXT_MAX];

    if (relay->loop->now_ns >= relay->header_told_ns) {
        relay->header_told_ns = relay->loop->now_ns + TELL_NS;
        log_warn("PROXY header of %s for %s: %s", addr_format(&conn->peer, text),
                 conn->service->name, reason);
    }
    refuse(relay, conn, REFUSAL_HEADER);
}

/* The bytes are there: nothing but a signal keeps them from us. */
static bool take(int fd, uint8_t *buffer, size_t n)
{
    size_t at = 0;

    while (at < n) {
        ssize_t got = recv(fd, buffer, n - at, 0);

        if (got <= 0 && !(got < 0 && errno == EINTR))
            return false;
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static bool keep(struct conn *conn, const struct proxy_header *header)
{
    if (header->is_local)
        return true;
    conn->asked = malloc(sizeof(*conn->asked));
    if (!conn->asked)
        return false;
    *conn->asked = header->asked;
    conn->peer = header->client;
    return true;
}

static bool accept_header(struct tcp_relay *relay, struct conn *conn,
                          const struct proxy_header *header)
{
    greeting_leave(relay, conn);
    if (take(conn->client.source.fd, flow_spare(&relay->flow), header->n_bytes) &&
        keep(conn, header))
        return true;
    conn_close(relay, conn, CLOSE_ERROR, CONN_END_RESET);
    return false;
}

static enum close_reason error_word(const struct conn *conn)
{
    return sock_error_is_reset(conn->client.error) ? CLOSE_CLIENT_RST : CLOSE_ERROR;
}

/* Who goes before the header is whole, as some probes do with none, is no liar. */
static void end(struct tcp_relay *relay, struct conn *conn, ssize_t n)
{
    if (n < 0 && !conn->client.error)
        conn->client.error = errno;
    conn_close(relay, conn, n == 0 ? CLOSE_CLIENT_FIN : error_word(conn),
               n == 0 ? CONN_END_CLOSE : CONN_END_RESET);
}

static bool judge(struct tcp_relay *relay, struct conn *conn, size_t n)
{
    const char *reason = "cut short";
    struct proxy_header header;

    switch (proxy_header_read(flow_spare(&relay->flow), n, PROXY_ACCEPTS_V1 | PROXY_ACCEPTS_V2,
                              &header, &reason)) {
    case PROXY_GOOD:
        return accept_header(relay, conn, &header);
    case PROXY_BAD:
        refuse_bad(relay, conn, reason);
        break;
    case PROXY_MORE:
        if (conn->client.error)
            end(relay, conn, -1);
        else if (conn->client.has_hangup)
            refuse_bad(relay, conn, reason);
        break;
    }
    return false;
}

bool greeting_on_client(struct tcp_relay *relay, struct conn *conn)
{
    ssize_t n;

    do {
        n = recv(conn->client.source.fd, flow_spare(&relay->flow), PROXY_V2_MAX, MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        return judge(relay, conn, (size_t)n);
    if (n >= 0 || conn->client.error || !sock_would_block(-errno))
        end(relay, conn, conn->client.error ? -1 : n);
    return false;
}

/* Most balancers send the header with their first packets, so that it is there by now: then a burst
 * of clients needs no places. */
bool greeting_begin(struct tcp_relay *relay, struct conn *conn, const struct prefix_map *proxies)
{
    if (!prefix_map_allows(proxies, &conn->peer)) {
        turn_away(relay, conn, REFUSAL_PEER);
        return false;
    }
    if (greeting_on_client(relay, conn))
        return true;
    if (conn->state != CONN_CONNECTING)
        return false;
    if (!capacity_acquire(relay->headers)) {
        refuse_conn(relay, conn, REFUSAL_HEADER_FULL);
        return false;
    }
    conn->state = CONN_HEADER;
    deadline_start(relay->header, &conn->deadline, relay->loop->now_ns);
    return false;
}

void greeting_on_timeout(struct tcp_relay *relay, struct conn *conn)
{
    refuse(relay, conn, REFUSAL_HEADER_LATE);
}

int greeting_say(struct conn *conn, int version)
{
    uint8_t header[PROXY_SEND_MAX];
    struct addr client = {0};
    struct addr asked = {0};

    if (!addr_is_unix(&conn->peer))
        client = conn->peer;
    if (conn->asked)
        asked = *conn->asked;
    else if (!addr_is_unix(&conn->peer))
        sock_local(conn->client.source.fd, &asked);
    return flow_begin_with(&conn->up, header,
                           proxy_header_write(header, version, false, &client, &asked));
}
