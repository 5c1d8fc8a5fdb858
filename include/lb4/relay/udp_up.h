/* From client to server: choose a server for a session, connect, send, and when it refuses go on to
 * the next server that has not refused this datagram. The UDP side of what connect.h is to TCP. */
#ifndef LB4_RELAY_UDP_UP_H
#define LB4_RELAY_UDP_UP_H

#include <stdbool.h>

#include "lb4/relay/udp_session.h"

/* Choose a server that is not in session->tried, and bind to it. Those that cannot be reached are
 * blamed and join the tried. False: the session stays where it is, and *ret_drop says why. */
bool udp_up_bind(struct udp_relay *relay, struct udp_session *session, enum udp_drop *ret_drop);

/* Send what the client has sent: it stands on session->up, which is empty afterwards, and was not
 * counted as dropped. First away from a server that is down, if there is a better one. */
void udp_up_send(struct udp_relay *relay, struct udp_session *session);

/* The server's socket has this error, positive: what the server refused, as far as it was kept, and
 * what still stands on session->up goes to others, to each once, until nobody is left. False: it
 * was dropped and counted. */
bool udp_up_refused(struct udp_relay *relay, struct udp_session *session, int error);

#endif
