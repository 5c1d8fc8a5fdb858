/* A UDP session: a client address, an asked address, a server, and the socket that is connected to
 * it; where a balancer stands before us, that one, too: answers go to it.
 *
 * It owns the socket, and a place each on its server (backend_acquire), in its service's room and
 * in that of the process (udp_share.h); udp_session_close() is the only end and gives all of them
 * back, once. The memory stays until udp_session_reap(), as the running batch may still name it. */
#ifndef LB4_RELAY_UDP_SESSION_H
#define LB4_RELAY_UDP_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/relay/admit.h"
#include "lb4/relay/meter.h"
#include "lb4/relay/udp.h"
#include "lb4/shared/affinity_table.h"

enum { UDP_KEPT_MAX = 2048 }; /* bytes; chosen: what any request fits that may be repeated */

enum udp_end {
    UDP_END_IDLE,      /* `timeout udp` */
    UDP_END_RESPONSES, /* has got its `udp-responses` */
    UDP_END_EVICTED,   /* another one needed its room */
    UDP_END_DRAIN,
    UDP_END_ADMIN, /* an operator wanted it */
    UDP_END_ERROR  /* no server, so that it never began */
};

struct udp_session {
    struct source source; /* SOURCE_UDP_SERVER */
    struct udp_entry entry;
    struct udp_via *via;         /* of its key; NULL: the client itself sends */
    struct udp_place of_service; /* in relay->services[].share */
    struct udp_place of_all;     /* in relay->share */
    struct udp_line up;          /* to the server */
    struct udp_line down;        /* to the client, by the listener's socket */
    struct deadline deadline;    /* silence */
    struct list link;            /* relay->live, then relay->dead */
    struct list touched;         /* relay->touched: datagrams stand on `up` */
    struct list finished;        /* relay->finished, or on no list */
    struct service *service;
    struct backend *backend; /* NULL: it has not begun */
    struct pick_set tried;   /* servers that refused what the client sent last */
    uint8_t *kept; /* what the client sent last, while no answer has come since; or NULL */
    uint32_t n_kept;
    uint8_t *header; /* before each datagram to a server that wants it; NULL: none has yet */
    uint32_t n_header;
    uint32_t n_at_risk; /* datagrams that the server got last, with the kept one, in one go */
    uint32_t n_binds;   /* servers that it went to */
    uint64_t began_ns;
    uint64_t n_datagrams_in; /* received from the client */
    uint64_t n_datagrams_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    struct admission admission;
    struct affinity_hold affinity;
    struct access_tick *tick; /* until the next access line of one that lives long; or NULL */
    struct meter *meter;      /* once operators have looked; or NULL */
};

/* A session for this client, in the table and live, on trial, without a server; what key->via
 * points to is copied. The caller has taken the places in both rooms, which are the session's from
 * now on. NULL: no memory, and they are given back. */
struct udp_session *udp_session_new(struct udp_relay *relay, const struct udp_listener *listener,
                                    const struct udp_key *key);

/* Go to a server: `fd` is connected to it, a place on it is taken, and both are the session's now.
 * What it had before is given up. Or -errno of epoll_ctl(2): nothing has changed, the caller keeps
 * both. */
int udp_session_bind(struct udp_relay *relay, struct udp_session *session, struct backend *backend,
                     int fd);

/* Keep a copy of a datagram that was sent, to send it elsewhere should the server refuse; one that
 * is longer than UDP_KEPT_MAX is not kept, and the one before it no longer. */
void udp_session_keep(struct udp_session *session, const uint8_t *bytes, uint32_t n_bytes);
/* It will not be sent again. */
void udp_session_forget(struct udp_session *session);

/* To a higher tier; nothing to do if it is there. */
void udp_session_promote(struct udp_relay *relay, struct udp_session *session, enum udp_tier tier);

/* The silence that ends it. */
struct deadline_list *udp_session_timeout(const struct udp_relay *relay,
                                          const struct udp_session *session);
/* Somebody has said something. */
void udp_session_touch(struct udp_relay *relay, struct udp_session *session);

/* The service's access lines may be due at other intervals now: so are those of sessions that are
 * there, each within the first interval, spread over it. */
void udp_session_begin_ticks(struct udp_relay *relay, const struct service *service);

/* The one end. Nothing stands on its lines. */
void udp_session_close(struct udp_relay *relay, struct udp_session *session, enum udp_end reason);

/* Free what was closed in this turn. */
void udp_session_reap(struct udp_relay *relay);

static inline struct stats_udp *udp_stats(struct udp_relay *relay, const struct service *service)
{
    return &relay->stats->services[service->index].udp;
}

static inline void udp_count_drop(struct udp_relay *relay, const struct service *service,
                                  enum udp_drop drop, uint64_t n_datagrams)
{
    if (n_datagrams > 0)
        stats_add(&udp_stats(relay, service)->dropped[drop], n_datagrams);
}

/* `udp-responses`: has it had all? Each datagram of the client is owed so many: one that asks twice
 * before the first answer (a resolver does, for A and AAAA) is to get both. */
bool udp_session_has_all(const struct udp_session *session);

#endif
