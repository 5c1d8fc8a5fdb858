/* A TCP connection through lb4: the client's socket, the server's socket, a flow each way.
 *
 * A connection belongs to one worker from its accept to its end. It owns both sockets, one place on
 * its server (shared/place.h) and one of maxconn; conn_close() is the only end and gives all of
 * them back, once. The memory stays until conn_reap(), as the running batch may still name it. */
#ifndef LB4_RELAY_CONN_H
#define LB4_RELAY_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/list.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"
#include "lb4/relay/admit.h"
#include "lb4/relay/flow.h"
#include "lb4/relay/meter.h"
#include "lb4/shared/affinity_table.h"
#include "lb4/shared/service.h"
#include "lb4/shared/stats.h"
#include "lb4/shared/waiting.h"

struct access_tick;
struct tcp_relay;

enum conn_state {
    CONN_HEADER,     /* its PROXY header is not whole yet (relay/greeting.h) */
    CONN_CONNECTING, /* to a server; nothing of the client's has been read */
    CONN_WAITING,    /* for a server; the same, and there is no server's socket */
    CONN_RELAYING,
    CONN_RESETTING, /* one side has failed: deliver what it had sent, then reset the other */
    CONN_LEAVING,   /* was turned away with a FIN (relay/refuse.h) */
    CONN_CLOSED     /* on relay->dead */
};

/* How conn_close() leaves the sockets. */
enum conn_ending {
    CONN_END_CLOSE, /* close(2): both directions have ended, what is queued is still delivered */
    CONN_END_RESET, /* RST to both sides */
    CONN_END_SILENT /* the client is not told (base/sock_vanish.h) */
};

struct conn {
    struct flow_side client;
    struct flow_side server;
    struct flow up;           /* client to server */
    struct flow down;         /* server to client */
    struct deadline deadline; /* connect, idle, half-close, or the next look at a reset; by state */
    struct list link;         /* relay->live in order of accept, then relay->dead */
    union {                   /* by state: each is written when that begins */
        struct list parked;   /* CONN_WAITING: in its room */
        uint32_t n_discarded; /* CONN_LEAVING: bytes of the client's */
        struct {              /* while it has a server */
            uint64_t reset_by_ns; /* CONN_RESETTING: deliver until then */
            uint32_t era;         /* of the server, before the connect (shared/backend.h) */
        };
    };
    struct service *service;
    struct backend *backend; /* NULL: no place is held */
    struct pick_set tried;   /* until the first byte has moved */
    uint64_t accepted_ns;
    uint64_t connected_ns;  /* CONN_CONNECTING, CONN_WAITING: when that began */
    uint64_t waited_ns;     /* before that */
    uint64_t busy_by_ns;    /* a busy server is asked again until then; 0 = none was met */
    struct addr *asked;     /* that the client connected to, if its PROXY header says so; or NULL */
    struct addr peer;       /* the client: as its PROXY header says, once that was read */
    uint32_t waiting_era;   /* of the service, before any server was tried (shared/waiting.h) */
    uint32_t arrival;       /* which of the worker's connections it is, in order; wraps */
    uint16_t asked_port;    /* that the client connected to */
    uint16_t n_tries;       /* servers that were asked; stays at the last it can hold */
    uint16_t busy;          /* index of the last server that was busy, if busy_by_ns */
    uint16_t connect_error; /* errno of the last failed connect, 0 = none */
    uint8_t n_timeouts;     /* connects that timed out; stays at the last it can hold */
    enum conn_state state : 8;
    enum close_reason reason : 8; /* why it is ending; CLOSE_NONE while nothing says so */
    enum waiting_for waits_for : 2;
    bool is_half_closed : 1; /* one FIN has been passed on */
    struct admission admission;
    struct affinity_hold affinity;
    struct access_tick *tick; /* until the next access line of one that lives long; or NULL */
    struct meter *meter;      /* once operators have looked; or NULL */
};

/* A connection accepted as `fd`, which it owns from now on, also on failure; it holds a place of
 * maxconn. Not yet watched. NULL: no memory, all is given back and the client reset. */
struct conn *conn_new(struct tcp_relay *relay, struct service *service, int fd,
                      const struct addr *peer);

/* The one end. `reason` counts unless an earlier cause was noted. May be called once; the
 * connection is CONN_CLOSED and its sources are closed afterwards. */
void conn_close(struct tcp_relay *relay, struct conn *conn, enum close_reason reason,
                enum conn_ending ending);

/* Give up the server it is connected or connecting to, and the place on it. */
void conn_drop_server(struct conn *conn);

/* Keepalive for the server's socket, if there is such a thing for it. */
void conn_keep_alive(const struct conn *conn);

/* Free what was closed in this turn. */
void conn_reap(struct tcp_relay *relay);

#endif
