/* From where connects to a server begin: addresses of this machine, taken in turn; an interface;
 * a mark for the kernel's routing and filters. A value: plain data, no descriptors. Functions may
 * be called by any thread. */
#ifndef LB4_BASE_ORIGIN_H
#define LB4_BASE_ORIGIN_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum { ORIGIN_SOURCES_MAX = 16 /* chosen: a million ports to each server */ };

/* All zero: as the kernel likes. */
struct origin {
    uint32_t n_sources;
    uint32_t mark;                           /* SO_MARK; 0 = none */
    char interface[IF_NAMESIZE];             /* SO_BINDTODEVICE; "" = any */
    struct addr sources[ORIGIN_SOURCES_MAX]; /* without ports */
};

/* At which step a connect met its error. */
enum origin_step {
    ORIGIN_SOCKET,    /* no descriptor, no memory */
    ORIGIN_INTERFACE, /* there is no such interface, or it may not be chosen */
    ORIGIN_MARK,      /* it may not be set */
    ORIGIN_SOURCE,    /* no source is this machine's, or none is of the server's family */
    ORIGIN_CONNECT    /* the connect itself: EADDRNOTAVAIL and EADDRINUSE mean that no port is left,
                         EINVAL that there is no way from the source to the server */
};

/* sock_connect() (base/sock.h) and sock_udp_connect() (base/sock_udp.h) from there; NULL is as all
 * zero. `turn` counts connects to the server: it chooses the source to begin with. Where one has no
 * port left or no way to the server, or is not this machine's, the next one is tried. Returns 0
 * with *ret_fd, or -errno with *ret_step; then nothing is kept. To a Unix socket there is one way:
 * as all zero. */
int origin_connect(const struct origin *origin, uint32_t turn, const struct addr *to, int *ret_fd,
                   enum origin_step *ret_step);
int origin_connect_udp(const struct origin *origin, uint32_t turn, const struct addr *to,
                       int *ret_fd, enum origin_step *ret_step);

/* Is an error of a connect to this address our own trouble, sock_connect_error_is_local()? What a
 * Unix socket tells is about the server: its path (ENOENT), whom it lets in (EACCES), its backlog
 * (EAGAIN). */
bool origin_error_is_ours(const struct addr *to, int error);

/* How many of its sources are of this family; of no sources, one: the kernel's own choice. */
size_t origin_count(const struct origin *origin, int family);

/* NULL is as all zero. */
bool origin_equal(const struct origin *a, const struct origin *b);
bool origin_is_none(const struct origin *origin);

#endif
