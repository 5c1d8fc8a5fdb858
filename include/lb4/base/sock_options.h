/* Options of sockets that the configuration or the use chooses. Functions that return int: 0 or
 * -errno. */
#ifndef LB4_BASE_SOCK_OPTIONS_H
#define LB4_BASE_SOCK_OPTIONS_H

#include <stddef.h>
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

/* From now on the socket says EAGAIN once so many bytes wait in it to be sent for the first time,
 * and is writable again at half of them (TCP_NOTSENT_LOWAT, tcp(7)); what is under way does not
 * count. Other sockets than TCP's stay as they are. */
void sock_limit_unsent(int fd, uint32_t bytes);

/* Bytes that wait to be sent for the first time (SIOCOUTQNSD); 0 = unknown, too. */
size_t sock_unsent(int fd);

#endif
