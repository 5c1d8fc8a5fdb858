/* From a client to a connected server: choose, connect, and on failure go on to the next server
 * that this client has not tried. Not one byte of the client's is read meanwhile, so a dead server
 * costs it nothing but time.
 *
 * If no other is left, a Unix socket whose backlog was full is asked again every 10 ms until
 * `timeout connect` has passed since the first time. 10 ms: a person does not notice it, and a
 * worker makes at most one such connect a turn to each server, however many wait. */
#ifndef LB4_RELAY_CONNECT_H
#define LB4_RELAY_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/relay/tcp_relay.h"
#include "lb4/shared/place.h"

enum connect_result {
    CONNECT_PENDING, /* a connect is under way, or due again; its deadline runs */
    CONNECT_DONE,    /* conn->server is connected; the caller starts to relay */
    CONNECT_WAITS,   /* no server can be had now: the client is parked (relay/parking.h) */
    CONNECT_FAILED   /* no server is left: the connection is closed, with a reset to the client */
};

/* Choose a server and begin. Never CONNECT_DONE. */
enum connect_result connect_next(struct tcp_relay *relay, struct conn *conn);

/* The choice alone, and the rest alone: conn->backend is the server, with a place taken. */
enum place_result connect_find(struct tcp_relay *relay, struct conn *conn, struct backend **ret);
enum connect_result connect_taken(struct tcp_relay *relay, struct conn *conn);

/* Has the client ended without a byte that a server could answer? */
bool connect_has_left(const struct conn *conn);

/* An event of the server's socket while connecting. */
enum connect_result connect_on_server(struct tcp_relay *relay, struct conn *conn, uint32_t bits);

/* `timeout connect` is over: at most `tries` servers may cost one client that long. */
enum connect_result connect_on_timeout(struct tcp_relay *relay, struct conn *conn);

/* Has the server that was connected reset at once: within a second, before a byte of either side?
 */
bool connect_is_spurned(const struct tcp_relay *relay, const struct conn *conn);

/* That counts as a failed connect. Leave the server; connect_next() is due on relay->at_once.
 * Returns 0 or -ENOMEM. */
int connect_leave_spurned(struct tcp_relay *relay, struct conn *conn);

/* While connecting: its server's connections are to leave. No fault of the server's, so it may have
 * the client yet if nobody else can; connect_next() is due on relay->at_once. */
void connect_leave(struct tcp_relay *relay, struct conn *conn);

/* The connection is about to end by an error. If the server reset at once, without an answer to
 * what the client had sent, the prober is asked to look at it. */
void connect_doubt_server(struct tcp_relay *relay, const struct conn *conn);

#endif
