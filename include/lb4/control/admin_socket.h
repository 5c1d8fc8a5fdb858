/* The socket of the operators in the file system: one owner, mode 0600, gone when lb4 is. Thread:
 * main, before others start. */
#ifndef LB4_CONTROL_ADMIN_SOCKET_H
#define LB4_CONTROL_ADMIN_SOCKET_H

#include <sys/types.h>

#include "lb4/base/unix_listen.h"

enum { ADMIN_SOCKET_ERROR_MAX = 256 }; /* with the NUL */

struct admin_socket {
    int fd; /* listens; -1 = not open */
    const char *path;
    struct unix_file file;
};

/* Listen at `path` (absolute, at most CONF_PATH_MAX bytes, kept alive by the caller), for uid and
 * gid, those that lb4 will have. A folder that is missing directly in /run is made, mode 0750, for
 * the same. A socket that nobody answers is replaced; refused is one that somebody does, and
 * whatever is no socket. Returns 0, or -errno with a sentence in `reterr`: -EADDRINUSE a live
 * socket, -EEXIST no socket, -EAGAIN another lb4 is at it right now, others as bind(2), mkdir(2),
 * chown(2). */
int admin_socket_open(struct admin_socket *ret, const char *path, uid_t uid, gid_t gid,
                      char reterr[static ADMIN_SOCKET_ERROR_MAX]);

/* Close, and remove the socket's name if it is still ours and the folder lets us. May be called
 * again, and on an object whose fd is -1. */
void admin_socket_close(struct admin_socket *admin);

#endif
