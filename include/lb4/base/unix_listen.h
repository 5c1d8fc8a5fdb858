/* A Unix stream socket that listens, in the file system or under an abstract name.
 *
 * A file that a dead process left is replaced, one behind which somebody answers is not, and what
 * is no socket is never touched. The folder is locked (flock(2)) meanwhile, so that of two
 * processes that begin at once neither takes the other's fresh socket for a stale one. Thread: main
 * or control; nothing is done to the process, such as its umask. */
#ifndef LB4_BASE_UNIX_LISTEN_H
#define LB4_BASE_UNIX_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

enum { UNIX_LISTEN_ERROR_MAX = 160 }; /* with the NUL */

/* The file of a socket that is ours; all zero for an abstract name. */
struct unix_file {
    dev_t device;
    ino_t inode;
};

struct unix_listen_options {
    mode_t mode; /* of the file, from its first instant never more, and before anybody can connect
                    exactly this */
    uid_t uid;   /* whose it is; (uid_t)-1 = the process's */
    gid_t gid;   /* likewise */
    int backlog; /* listen(2); the kernel lowers it to somaxconn */
};

/* `path` as in base/unix_path.h, "/path" or "@name". Returns a descriptor, non-blocking and
 * close-on-exec, or -errno with the reason in `reterr`, without the path: -EADDRINUSE somebody
 * answers there, -EEXIST it is no socket, -EAGAIN another process holds the folder's lock for 2 s,
 * -ENAMETOOLONG, others as bind(2), lchown(2), chmod(2). */
int unix_listen(const char *path, const struct unix_listen_options *options, struct unix_file *ret,
                char reterr[static UNIX_LISTEN_ERROR_MAX]);

/* Could it be made, as far as one sees without doing it? Returns 0 or the same errors. */
int unix_listen_probe(const char *path, char reterr[static UNIX_LISTEN_ERROR_MAX]);

/* Our descriptor is closed: remove its file, if it is still that one and nobody answers there. An
 * inode's number is soon given to another file. Returns 0, or -errno of unlink(2). */
int unix_listen_remove(const char *path, const struct unix_file *file);

/* We listen, but nobody can find us: our file has gone, and nobody answers at its path. */
bool unix_listen_is_lost(const char *path, const struct unix_file *file);

/* Returns 0, or -errno; -ESTALE: the file is not ours any more. */
int unix_listen_chmod(const char *path, const struct unix_file *file, mode_t mode);

#endif
