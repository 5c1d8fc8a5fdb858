/* What the kernel knows of the way to the other end of a TCP socket: one system call each, so for
 * those few that somebody looks at. */
#ifndef LB4_RELAY_PATH_H
#define LB4_RELAY_PATH_H

#include <stdbool.h>
#include <stdint.h>

struct path {
    bool is_known;
    uint32_t rtt_us;      /* smoothed round-trip time */
    uint32_t retransmits; /* segments, since the connection began */
};

/* By TCP_INFO (tcp(7); tcpi_rtt and tcpi_total_retrans of linux/tcp.h). Not known: of a socket that
 * is not connected, or none. */
void path_read(int fd, struct path *ret);

#endif
