/* Who gets a new session: not while draining, not a listener of ours, and only as far as there is
 * room. When there is none another session goes (udp_share.h), never one that is established. */
#ifndef LB4_RELAY_UDP_ADMIT_H
#define LB4_RELAY_UDP_ADMIT_H

#include "lb4/relay/udp_session.h"

/* A session for the client's first datagram, which came to the socket of this listener, bound to a
 * server: the listener's session, or its heir's. NULL: there is none, and *ret_drop
 * says why. No answers wait in the outbox, as those of an evicted session must not. */
struct udp_session *udp_admit(struct udp_relay *relay, const struct udp_listener *arrived,
                              const struct udp_key *key, enum udp_drop *ret_drop);

/* End what this worker owes to others that have asked for room. No answers wait in the outbox. */
void udp_evict_owed(struct udp_relay *relay, struct udp_share *share);

#endif
