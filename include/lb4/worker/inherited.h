/* Listening sockets that somebody else has bound and passed to this process: systemd, or another
 * parent (sd_listen_fds(3)). Which listener of the configuration is served by which of them.
 *
 * The sockets are the caller's until they are taken. Thread: control, before workers run. */
#ifndef LB4_WORKER_INHERITED_H
#define LB4_WORKER_INHERITED_H

#include <stdbool.h>
#include <stddef.h>

#include "lb4/base/addr.h"
#include "lb4/conf/policy.h"

struct inherited_socket {
    int fd;                        /* -1 once taken */
    enum conf_transport transport; /* CONF_TCP or CONF_UDP */
    struct addr addr;              /* where it is bound, normalised */
    bool is_dual_stack;            /* [::]: takes IPv4 too */
};

struct inherited {
    struct inherited_socket *sockets;
    size_t n_sockets;
};

/* Does the socket reach no further than a listener at `addr` would? The same address does; a
 * listener for all addresses is served by a wildcard of one family, too. An IPv6 wildcard that
 * takes IPv4 does not fit a listener for IPv6 alone. Whatever the transport. */
bool inherited_fits(const struct inherited_socket *socket, const struct addr *addr,
                    bool is_dual_stack);

/* The next socket for this listener that nobody has taken: its descriptor, which is the caller's
 * from now on. -1: there is none. `like` has the transport, address and reach of the listener. */
int inherited_take(const struct inherited *inherited, const struct inherited_socket *like);

#endif
