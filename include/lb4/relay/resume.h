/* How the clients that wait (relay/parking.h) go on: to a server, in order, as soon as one can be
 * had; or away, when they leave, when their time is over, when there is nothing to wait for any
 * more. All functions: the worker's thread. */
#ifndef LB4_RELAY_RESUME_H
#define LB4_RELAY_RESUME_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/relay/tcp_relay.h"

/* A client is new while others of its service wait: it waits behind them, or they would be passed.
 * false: it may be served at once. */
bool resume_queue_up(struct tcp_relay *relay, struct conn *conn);

/* An event of a client that waits. One that has reset, or has ended without a byte to deliver, has
 * left; one that has said something and ended waits for its answer. */
void resume_on_client(struct tcp_relay *relay, struct conn *conn);

/* It has waited long enough. */
void resume_on_timeout(struct tcp_relay *relay, struct conn *conn);

/* A plan is new: look at the end of this turn. */
void resume_soon(struct tcp_relay *relay);

/* Somebody has woken this worker: a server has come, gone, or has a free place. The same; and those
 * that wait for a place may have one on a server that they have tried before. */
void resume_woken(struct tcp_relay *relay);

/* lb4 is on its way out: those that wait for a server go, those that wait for a place get theirs as
 * others end. */
void resume_start_draining(struct tcp_relay *relay);

/* Once a turn. Servers are found for so many at a time that others are served in between, and that
 * a server which has come back is not run over. */
void resume_look(struct tcp_relay *relay);

#endif
