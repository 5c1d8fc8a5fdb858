/* The PROXY header of a TCP connection (relay/proxy_header.h): read where the listener says
 * accept-proxy, said where the server says send-proxy.
 *
 * Read: unless its header is whole at the accept, the connection is CONN_HEADER until it is. The
 * bytes are looked at in the kernel's buffer and taken only then, exactly: what follows is payload,
 * and of a wrong header not a byte goes on. The peer must be of the listener's networks, at most a
 * tenth of maxconn may be CONN_HEADER, and the header has GREETING_NS in all, however it comes.
 * Then the client's address is conn->peer, for everything that asks for it.
 *
 * Said: the header is the first bytes of the flow to the server, for each server that is tried. It
 * counts neither as bytes in nor as bytes out, dropped or not (relay/flow.h, flow_begin_with()).
 * Thread: the worker. */
#ifndef LB4_RELAY_GREETING_H
#define LB4_RELAY_GREETING_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"

struct conn;
struct prefix_map;
struct tcp_relay;

#define GREETING_NS (3 * 1000000000ull) /* the specification's least: one retransmission of TCP */

/* How many of `maxconn` connections may wait for their header: a tenth, or 16 if that is more, but
 * then no more than half; 1 at least. */
uint32_t greeting_places(uint32_t maxconn);

/* Of a new connection whose listener takes headers from `proxies`. true: the header is whole and
 * taken, and the connection CONN_CONNECTING to nobody yet; conn->peer is the client's. Otherwise it
 * is CONN_HEADER, or was turned away. */
bool greeting_begin(struct tcp_relay *relay, struct conn *conn, const struct prefix_map *proxies);

/* Of one that is CONN_HEADER: something came. Returns as above. */
bool greeting_on_client(struct tcp_relay *relay, struct conn *conn);
void greeting_on_timeout(struct tcp_relay *relay, struct conn *conn);

/* CONN_HEADER, if it is that, is over, whatever comes now: its place is given back. */
void greeting_leave(struct tcp_relay *relay, struct conn *conn);

/* To the server that is connected, before the first byte: in conn->up afterwards. Returns 0 or
 * -ENOMEM. */
int greeting_say(struct conn *conn, int version);

#endif
