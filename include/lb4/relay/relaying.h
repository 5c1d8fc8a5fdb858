/* A connection that has both its sockets: bytes move until each direction has ended or a side has
 * failed. Thread: the connection's worker.
 *
 * Small sends of a batch leave together (relay/outbox.h). Until they have, nothing else may happen
 * to their connection: whoever is about to do something calls relaying_deliver() first. */
#ifndef LB4_RELAY_RELAYING_H
#define LB4_RELAY_RELAYING_H

#include <stdbool.h>

#include "lb4/relay/tcp_relay.h"

/* It has just become CONN_RELAYING. */
void relaying_begin(struct tcp_relay *relay, struct conn *conn);

/* Move what can be moved, then see where that leaves the connection. It is CONN_RELAYING or
 * CONN_RESETTING, and has no posts. */
void relaying_go_on(struct tcp_relay *relay, struct conn *conn);

/* One look at a connection whose one side has failed: is the other one ready to be reset? */
void relaying_look_again(struct tcp_relay *relay, struct conn *conn);

/* Why a connection ends of which this side has failed. */
enum close_reason relaying_failure(const struct conn *conn, const struct flow_side *broken);

/* Bytes of it wait in the outbox. */
static inline bool relaying_has_posts(const struct conn *conn)
{
    return conn->up.is_posted || conn->down.is_posted;
}

/* relaying_deliver() of at least one post. */
void relaying_deliver_posts(struct tcp_relay *relay);

/* Send what waits in the outbox, and do what follows where a socket did not take it: connections
 * may end. */
static inline void relaying_deliver(struct tcp_relay *relay)
{
    if (relay->flow.outbox.n)
        relaying_deliver_posts(relay);
}

#endif
