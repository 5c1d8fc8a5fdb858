/* The PROXY protocol's header, versions 1 and 2: what a balancer in front says of the client, and
 * what lb4 says of it to a server. Pure, for any thread; the specification is HAProxy's
 * proxy-protocol.txt.
 *
 * Version 1 is one line of at most 107 bytes: single spaces, decimals without leading zeros, both
 * addresses of the family that is named, CR LF. Version 2 is binary: version 2 alone, the commands
 * LOCAL and PROXY alone, lengths that fit the family, TLVs that end exactly where the header ends,
 * and a CRC-32C that is checked when it is there. What is not exactly that is bad.
 *
 * The real addresses count (is_local) for LOCAL, of which every other byte is skipped unread, and
 * for UNKNOWN; for a family or a transport that is UNSPEC; for Unix sockets; and on a stream for
 * DGRAM, which the specification wants treated like UNSPEC where it is not supported. In a datagram
 * STREAM names the client as DGRAM does: dnsdist says it of those who have asked it by HTTPS. */
#ifndef LB4_RELAY_PROXY_HEADER_H
#define LB4_RELAY_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum {
    PROXY_V1_MAX = 107,
    PROXY_V2_MAX = 4096, /* chosen: a header with all its TLVs; nginx takes as many */
    PROXY_SEND_MAX = 107
};

enum proxy_verdict {
    PROXY_MORE, /* not whole yet, right so far */
    PROXY_GOOD,
    PROXY_BAD
};

/* Bits. PROXY_ACCEPTS_DATAGRAM: the bytes are a datagram, with version 2. */
enum proxy_accepts { PROXY_ACCEPTS_V1 = 1, PROXY_ACCEPTS_V2 = 2, PROXY_ACCEPTS_DATAGRAM = 4 };

struct proxy_header {
    bool is_local;      /* the real addresses count; the two below are AF_UNSPEC */
    struct addr client; /* IPv4-mapped addresses are IPv4 */
    struct addr asked;  /* that the client connected to */
    size_t n_bytes;     /* of the header; what follows is payload */
};

/* Never looks beyond `n`, and decides at PROXY_V2_MAX bytes at the latest; with more bytes a
 * verdict but PROXY_MORE stays what it was. *ret is written for PROXY_GOOD, *reason for PROXY_BAD:
 * a constant text for the log. What is not whole in a datagram is bad. */
enum proxy_verdict proxy_header_read(const uint8_t *bytes, size_t n, unsigned accepts,
                                     struct proxy_header *ret, const char **reason);

/* What is said to a server; returns the length. Version 1 is for streams. A client that is
 * AF_UNSPEC: LOCAL (2), UNKNOWN (1). Where one address is IPv4 and the other IPv6, the first is
 * sent as an IPv4-mapped one; an `asked` that is AF_UNSPEC as the wildcard. */
size_t proxy_header_write(uint8_t out[static PROXY_SEND_MAX], int version, bool is_datagram,
                          const struct addr *client, const struct addr *asked);

#endif
