#include "lb4/base/unix_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lb4/base/scope.h"
#include "lb4/base/unix_path.h"

enum {
    LOCK_LOOKS = 200, /* 2 s; chosen */
    LOCK_LOOK_NS = 10 * 1000000,
    MODE_BITS = 07777
};

struct place {
    const char *path;
    struct sockaddr_un addr;
    socklen_t length;
    char *reterr;
};

static int refuse(const struct place *place, int error, const char *why)
{
    snprintf(place->reterr, UNIX_LISTEN_ERROR_MAX, "%s", why);
    return -error;
}

static int refuse_errno(const struct place *place, const char *what)
{
    int error = errno;

    snprintf(place->reterr, UNIX_LISTEN_ERROR_MAX, "%s: %s", what, strerror(error));
    return -error;
}

static int place_init(struct place *place, const char *path, char *reterr)
{
    *place = (struct place){.path = path, .reterr = reterr};
    if ((path[0] != '/' && path[0] != '@') || strlen(path) > UNIX_PATH_MAX)
        return refuse(place, ENAMETOOLONG, "not an absolute path of at most 107 bytes");
    place->length = unix_path_to_sockaddr(path, &place->addr);
    return 0;
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 ? -errno : fd;
}

/* Does anybody answer? A queue that is full has an owner, too. */
static int ask(const struct sockaddr_un *addr, socklen_t length)
{
    scope_close int fd = open_socket();

    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)addr, length) == 0)
        return -EADDRINUSE;
    return errno == EAGAIN ? -EADDRINUSE : -errno;
}

/* --- the folder ------------------------------------------------------------------------------- */

/* Another process, which may want another socket there, keeps it for less than a millisecond; a
 * lock that somebody holds for long must not hang us. */
static int wait_for_lock(int fd)
{
    const struct timespec look = {.tv_nsec = LOCK_LOOK_NS};

    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK || i == LOCK_LOOKS)
            return -1;
        nanosleep(&look, NULL);
    }
    return 0;
}

/* The folder of `path`, locked until it is closed, or -errno. */
static int lock_folder(const struct place *place)
{
    const char *slash = strrchr(place->path, '/');
    char folder[UNIX_PATH_MAX + 1];
    scope_close int fd = -1;

    snprintf(folder, sizeof(folder), "%.*s", slash == place->path ? 1 : (int)(slash - place->path),
             place->path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return refuse_errno(place, folder);
    if (wait_for_lock(fd) < 0)
        return refuse_errno(place, "another process has locked the folder");
    return take_fd(&fd);
}

/* --- what is there ---------------------------------------------------------------------------- */

/* *ret_stale: a socket that nobody answers. */
static int look_at(const struct place *place, bool *ret_stale)
{
    struct stat status;
    int error;

    *ret_stale = false;
    if (lstat(place->path, &status) < 0)
        return errno == ENOENT ? 0 : refuse_errno(place, "lstat");
    if (!S_ISSOCK(status.st_mode))
        return refuse(place, EEXIST, "exists, and is no socket");
    error = ask(&place->addr, place->length);
    if (error == -EADDRINUSE)
        return refuse(place, EADDRINUSE, "in use: another process answers there");
    errno = -error;
    if (error != -ECONNREFUSED && error != -ENOENT)
        return refuse_errno(place, "exists, and cannot be asked whether it is in use");
    *ret_stale = true;
    return 0;
}

static int remove_stale(const struct place *place)
{
    bool is_stale;
    int error = look_at(place, &is_stale);

    if (!error && is_stale && unlink(place->path) < 0 && errno != ENOENT)
        return refuse_errno(place, "left by another process, and cannot be removed");
    return error;
}

static bool is_ours(const char *path, const struct unix_file *file, struct stat *ret)
{
    return lstat(path, ret) == 0 && S_ISSOCK(ret->st_mode) && ret->st_dev == file->device &&
           ret->st_ino == file->inode;
}

/* --- made and removed ------------------------------------------------------------------------- */

/* chmod(2) has no way to name what a descriptor of O_PATH stands for, but by /proc. */
static int change_mode(int fd, mode_t mode)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return chmod(path, mode);
}

/* bind(2) takes from the socket's own mode what the umask says; that is put back. Whoever may write
 * to the folder may have put another file there meanwhile, and we may be root: what is changed is a
 * socket, or nothing. */
static int adjust(const struct place *place, const struct unix_listen_options *options,
                  struct unix_file *ret)
{
    scope_close int fd = open(place->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        return -1;
    errno = EEXIST;
    if (!S_ISSOCK(status.st_mode))
        return -1;
    *ret = (struct unix_file){status.st_dev, status.st_ino};
    if (fchownat(fd, "", options->uid, options->gid, AT_EMPTY_PATH) < 0)
        return -1;
    return (status.st_mode & MODE_BITS) == options->mode ? 0 : change_mode(fd, options->mode);
}

static int make_file(int fd, const struct place *place, const struct unix_listen_options *options,
                     struct unix_file *ret)
{
    int error;

    if (fchmod(fd, options->mode) < 0 ||
        bind(fd, (const struct sockaddr *)&place->addr, place->length) < 0)
        return refuse_errno(place, "bind");
    if (adjust(place, options, ret) == 0 && listen(fd, options->backlog) == 0)
        return 0;
    error = refuse_errno(place, "cannot be made");
    unlink(place->path);
    return error;
}

static int listen_in_folder(int fd, const struct place *place,
                            const struct unix_listen_options *options, struct unix_file *ret)
{
    scope_close int lock = lock_folder(place);
    int error;

    if (lock < 0)
        return lock;
    error = remove_stale(place);
    return error ? error : make_file(fd, place, options, ret);
}

static int refuse_abstract(const struct place *place)
{
    return errno == EADDRINUSE ? refuse(place, EADDRINUSE, "in use: another process listens there")
                               : refuse_errno(place, "bind");
}

int unix_listen(const char *path, const struct unix_listen_options *options, struct unix_file *ret,
                char reterr[static UNIX_LISTEN_ERROR_MAX])
{
    struct place place;
    int error = place_init(&place, path, reterr);
    scope_close int fd = error ? error : open_socket();

    *ret = (struct unix_file){0};
    if (error)
        return error;
    errno = -fd;
    if (fd < 0)
        return refuse_errno(&place, "socket");
    if (path[0] == '/')
        error = listen_in_folder(fd, &place, options, ret);
    else if (bind(fd, (const struct sockaddr *)&place.addr, place.length) < 0 ||
             listen(fd, options->backlog) < 0)
        error = refuse_abstract(&place);
    return error ? error : take_fd(&fd);
}

static int probe_abstract(const struct place *place)
{
    scope_close int fd = open_socket();

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&place->addr, place->length) < 0)
        return refuse_abstract(place);
    return 0;
}

int unix_listen_probe(const char *path, char reterr[static UNIX_LISTEN_ERROR_MAX])
{
    struct place place;
    bool is_stale;
    int error = place_init(&place, path, reterr);

    if (error)
        return error;
    return path[0] == '/' ? look_at(&place, &is_stale) : probe_abstract(&place);
}

/* Without the lock, too, if it is not to be had: the worst is a new socket that has to be made
 * again, and somebody would have to answer there in the very moment. */
static int remove_ours(const struct place *place, const struct unix_file *file)
{
    scope_close int lock = lock_folder(place);
    struct stat status;

    (void)lock;
    if (ask(&place->addr, place->length) == -EADDRINUSE || !is_ours(place->path, file, &status))
        return 0;
    return unlink(place->path) < 0 && errno != ENOENT ? -errno : 0;
}

int unix_listen_remove(const char *path, const struct unix_file *file)
{
    char unused[UNIX_LISTEN_ERROR_MAX];
    struct place place;
    struct stat status;

    if (file->inode == 0 || place_init(&place, path, unused) < 0 || !is_ours(path, file, &status))
        return 0;
    return remove_ours(&place, file);
}

bool unix_listen_is_lost(const char *path, const struct unix_file *file)
{
    char unused[UNIX_LISTEN_ERROR_MAX];
    struct stat status;

    return file->inode != 0 && !is_ours(path, file, &status) &&
           unix_listen_probe(path, unused) == 0;
}

int unix_listen_chmod(const char *path, const struct unix_file *file, mode_t mode)
{
    struct stat status;

    if (!is_ours(path, file, &status))
        return -ESTALE;
    return chmod(path, mode) < 0 ? -errno : 0;
}
