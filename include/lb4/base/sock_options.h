/* Options of sockets that the configuration or the use chooses. Functions that return int: 0 or
 * -errno. */
#ifndef LB4_BASE_SOCK_OPTIONS_H
#define LB4_BASE_SOCK_OPTIONS_H

#include <stdint.h>

/* SO_BINDTODEVICE and SO_MARK, where they are given: before a bind. -ENODEV: there is no such
 * interface. -EPERM: the mark needs CAP_NET_ADMIN or CAP_NET_RAW (socket(7)). */
int sock_attach(int fd, const char *interface, uint32_t mark);

/* What may change on a socket that listens: fastopen and defer_s. Failures are ignored: clients are
 * served without. */
void sock_tune_listener(int listener_fd, uint32_t fastopen, uint32_t defer_s);

/* Before a connect of who speaks first: the first bytes acknowledge the handshake (tcp(7),
 * TCP_QUICKACK). Without bytes that is put off for up to 200 ms. */
void sock_delay_ack(int fd);

#endif
