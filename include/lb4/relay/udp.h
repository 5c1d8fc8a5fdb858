/* The UDP relay of one worker: sessions between clients and servers.
 *
 * A session is the datagrams of one client address to one asked address. It has a socket of its
 * own, connected to its server, and one place on that server (backend_acquire), until it has been
 * silent for `timeout udp`, has got its `udp-responses`, or is evicted for want of room
 * (udp_share.h). It belongs to the worker whose listening socket got its first datagram: the
 * kernel's hash sends the others there too, as the number of sockets never changes (FAULTS.md K12).
 *
 * It moves to another server (rebind) when its own is down (unless `udp-on-down keep`) at its next
 * datagram, or refuses (ICMP): then at once, with the datagram that was lost if no answer came
 * since. Answers leave from the very address that the client asked.
 *
 * A turn: udp_on_listener() and udp_on_server() for the events of the batch, in any order, then
 * udp_end_turn(), which sends the answers. All functions: the worker's thread. */
#ifndef LB4_RELAY_UDP_H
#define LB4_RELAY_UDP_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/relay/udp_relay.h"

/* End the sessions of this listener, which is to be closed. */
void udp_end_of_listener(struct udp_relay *relay, const struct udp_listener *listener);

/* Datagrams wait at a listener: takes one batch. What is left brings the next event. */
void udp_on_listener(struct udp_relay *relay, struct udp_listener *listener);
/* An event of a session's socket: answers, or an error. */
void udp_on_server(struct udp_relay *relay, struct source *source, uint32_t bits);

/* Once a turn, in this order: send what is to be sent, expire, free what was closed. */
void udp_end_turn(struct udp_relay *relay);
void udp_expire(struct udp_relay *relay);
void udp_reap(struct udp_relay *relay);
/* When udp_expire() is next due; UINT64_MAX = never. */
uint64_t udp_next_due_ns(const struct udp_relay *relay);

/* Behind a turn: true = there was no room for a client, and the other workers are to be told that
 * it was asked for (udp_room.h); and when another one has asked. */
bool udp_ask_for_room(struct udp_relay *relay);
void udp_give_room(struct udp_relay *relay);

/* From now on no new sessions; live ones end once they are silent for a second. */
void udp_start_draining(struct udp_relay *relay);
/* End every session. */
void udp_end_all(struct udp_relay *relay);

#endif
