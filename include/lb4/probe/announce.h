/* The PROXY header before a probe, to a server that wants one from everybody: without it the server
 * would hang up on us, and seem to be down. */
#ifndef LB4_PROBE_ANNOUNCE_H
#define LB4_PROBE_ANNOUNCE_H

#include <stdint.h>

enum { ANNOUNCE_LOCAL_BYTES = 16 };

/* Version 2, LOCAL: what is said of ourselves, over UDP too, before each datagram. */
extern const uint8_t announce_local[ANNOUNCE_LOCAL_BYTES];

/* Say it on a socket that has just connected. Version 2 says LOCAL: we speak for ourselves. Version
 * 1 has no word for that which every server takes, so that it names our own two addresses, as the
 * specification advises. Returns 0 or an errno; a header that does not go out whole is EPIPE. */
int announce(int fd, int version);

#endif
