/* What the connections of one worker share. */
#ifndef LB4_RELAY_TCP_RELAY_H
#define LB4_RELAY_TCP_RELAY_H

#include <stdint.h>

#include "lb4/base/list.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"
#include "lb4/relay/access.h"
#include "lb4/relay/conn.h"
#include "lb4/relay/flow.h"
#include "lb4/relay/parking.h"
#include "lb4/relay/refuse.h"
#include "lb4/relay/timeouts.h"
#include "lb4/shared/capacity.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/stats.h"

/* Embedded in the worker, used by its thread alone. */
struct tcp_relay {
    struct loop *loop;
    struct stats_block *stats;
    struct capacity *capacity;
    struct capacity *headers; /* places of those that are CONN_HEADER, of all workers */
    struct mailbox *prober;   /* told of servers that have become suspect */
    struct flow_context flow;
    struct list live; /* of struct conn, the oldest first */
    struct list dead; /* closed in this turn */
    struct list
        *young; /* in live: the oldest whose server socket has no keepalive yet; &live = none */
    struct list *cursor;      /* in live: where a sweep goes on (sweep.h); &live = at the end */
    struct list *kill_cursor; /* the same for one that ends connections */
    struct deadline_set deadlines;
    struct deadline_list *header;      /* how long one may be CONN_HEADER */
    struct deadline_list *linger;      /* the next look at a connection that is to be reset, or the
                                          next connect to a server that was busy */
    struct deadline_list *at_once;     /* what has to wait for the end of the turn */
    struct deadline_list *reset_after; /* the longest that a reset waits */
    struct conn_timeouts *timeouts;    /* by service->index */
    struct parking parking;
    struct access access;
    struct refuse refuse;
    uint64_t header_told_ns; /* of a wrong header: nothing is said before */
    uint64_t random;         /* where ties of a choice are broken */
    int ring_error; /* -errno: why the outbox got no ring although it was wanted; 0 = no reason */
    uint32_t n_live;
    uint32_t n_arrived;
};

/* What tcp_relay_init() needs beside. */
struct tcp_relay_options {
    uint32_t max_pipes;
    uint32_t n_prepared_pipes; /* made at once, see relay/pipe.h */
    bool io_uring;             /* small sends of a turn leave in one call, if the kernel lets us */
};

#endif
