/* Socket activation, sd_listen_fds(3): descriptors from 3 on that systemd, or another parent, has
 * opened for us. LISTEN_PID says that they are ours, LISTEN_FDS how many, LISTEN_FDNAMES what they
 * are called.
 *
 * In order: activation_read() while there is one thread; activation_open() looks at each; the
 * listener table takes what it needs of `inherited`; activation_settle() deals with the rest.
 * Thread: control. */
#ifndef LB4_CONTROL_ACTIVATION_H
#define LB4_CONTROL_ACTIVATION_H

#include <stddef.h>

#include "lb4/worker/inherited.h"
#include "lb4/worker/listener.h"

enum {
    ACTIVATION_FIRST_FD = 3,   /* SD_LISTEN_FDS_START */
    ACTIVATION_FDS_MAX = 4096, /* chosen */
    ACTIVATION_ERROR_MAX = 256 /* with the NUL */
};

struct activation {
    char *bad_count;            /* LISTEN_FDS as it was, when it is no number; else NULL */
    char *names;                /* LISTEN_FDNAMES, "a:b:c"; NULL = none were given */
    size_t n_fds;               /* passed to us */
    struct inherited inherited; /* [i] is descriptor 3 + i */
};

/* Take the variables out of the environment. Descriptors that are ours become close-on-exec;
 * nothing else is done to them. Before other threads exist (environ(7)). */
void activation_read(struct activation *activation);

/* Find out what was passed. Sockets that lb4 has no use for are closed and warned about: Unix
 * sockets, for instance. Returns 0, or -errno with a sentence in `reterr`: -EINVAL LISTEN_FDS is
 * wrong, -EBADF, -ENOTSOCK, -EPROTOTYPE something that can be no listener: a connection, a
 * protocol other than TCP and UDP. */
int activation_open(struct activation *activation, char reterr[static ACTIVATION_ERROR_MAX]);

/* `table` has taken what it needs. Close the others, with a warning that names their address.
 * Returns 0, or -EPROTOTYPE with a sentence in `reterr`: one is for a listener's address, but of
 * the other transport. */
int activation_settle(struct activation *activation, const struct listener_table *table,
                      char reterr[static ACTIVATION_ERROR_MAX]);

/* Close what nobody has taken. May be called at any time after activation_read(), and again. */
void activation_close(struct activation *activation);

#endif
