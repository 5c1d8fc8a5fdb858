#include "lb4/control/admin_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lb4/base/scope.h"
#include "lb4/conf/bounds.h"

enum {
    BACKLOG = 64, /* clients that connect at the same time; those beyond are told to wait; chosen */
    SOCKET_MODE = 0600,
    FOLDER_MODE = 0750,
    LOCK_LOOKS = 200, /* 2 s; chosen */
    LOCK_LOOK_NS = 10 * 1000000
};

struct place {
    const char *path;
    char folder[CONF_PATH_MAX + 1];
    struct sockaddr_un addr;
    uid_t uid;
    gid_t gid;
    char *reterr;
};

static int refuse(const struct place *place, int error, const char *why)
{
    snprintf(place->reterr, ADMIN_SOCKET_ERROR_MAX, "admin socket %s: %s", place->path, why);
    return -error;
}

static int refuse_errno(const struct place *place, const char *what)
{
    int error = errno;
    char why[ADMIN_SOCKET_ERROR_MAX / 2];

    snprintf(why, sizeof(why), "%s: %s", what, strerror(error));
    return refuse(place, error, why);
}

static int place_init(struct place *place, const char *path)
{
    const char *slash = strrchr(path, '/');

    place->path = path;
    place->addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!slash || strlen(path) >= sizeof(place->addr.sun_path))
        return refuse(place, ENAMETOOLONG, "not an absolute path of at most 107 bytes");
    snprintf(place->addr.sun_path, sizeof(place->addr.sun_path), "%s", path);
    snprintf(place->folder, sizeof(place->folder), "%.*s", slash == path ? 1 : (int)(slash - path),
             path);
    return 0;
}

/* /run is empty after each boot, so nobody else would make it. */
static bool is_directly_in_run(const char *folder)
{
    return strncmp(folder, "/run/", 5) == 0 && folder[5] && !strchr(folder + 5, '/');
}

static int make_folder(const struct place *place)
{
    if (access(place->folder, F_OK) == 0 || !is_directly_in_run(place->folder))
        return 0;
    if (mkdir(place->folder, FOLDER_MODE) < 0)
        return errno == EEXIST ? 0 : refuse_errno(place, place->folder);
    if (chmod(place->folder, FOLDER_MODE) < 0 ||
        (place->uid != geteuid() && lchown(place->folder, place->uid, place->gid) < 0))
        return refuse_errno(place, place->folder);
    return 0;
}

/* Does anybody answer? A queue that is full has an owner, too. */
static int probe(const struct place *place)
{
    scope_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&place->addr, sizeof(place->addr)) == 0)
        return -EADDRINUSE;
    return errno == EAGAIN ? -EADDRINUSE : -errno;
}

static int remove_stale(const struct place *place)
{
    struct stat status;
    int error;

    if (lstat(place->path, &status) < 0)
        return errno == ENOENT ? 0 : refuse_errno(place, "lstat");
    if (!S_ISSOCK(status.st_mode))
        return refuse(place, EEXIST, "exists, and is no socket");
    error = probe(place);
    if (error == -EADDRINUSE)
        return refuse(place, EADDRINUSE, "in use: another process answers there");
    errno = -error;
    if (error != -ECONNREFUSED && error != -ENOENT)
        return refuse_errno(place, "exists, and cannot be asked whether it is in use");
    if (unlink(place->path) < 0 && errno != ENOENT)
        return refuse_errno(place, "left by another process, and cannot be removed");
    return 0;
}

/* With its mode from the first instant. */
static int bind_private(int fd, const struct place *place)
{
    mode_t before = umask(0777 & ~SOCKET_MODE);
    int rc = bind(fd, (const struct sockaddr *)&place->addr, sizeof(place->addr));

    umask(before);
    return rc < 0 ? refuse_errno(place, "bind") : 0;
}

static int listen_at(struct admin_socket *ret, const struct place *place)
{
    scope_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat status;
    int error;

    if (fd < 0)
        return refuse_errno(place, "socket");
    error = bind_private(fd, place);
    if (error)
        return error;
    if ((place->uid != geteuid() && lchown(place->path, place->uid, place->gid) < 0) ||
        lstat(place->path, &status) < 0 || listen(fd, BACKLOG) < 0) {
        error = refuse_errno(place, "cannot be made");
        unlink(place->path);
        return error;
    }
    *ret = (struct admin_socket){
        .fd = take_fd(&fd), .path = place->path, .device = status.st_dev, .inode = status.st_ino};
    return 0;
}

/* Another lb4, which may want another socket there, keeps it for less than a millisecond; a lock
 * that somebody holds for long must not hang us. */
static int lock_folder(int fd)
{
    const struct timespec look = {.tv_nsec = LOCK_LOOK_NS};

    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK || i == LOCK_LOOKS)
            return -1;
        nanosleep(&look, NULL);
    }
    return 0;
}

/* The folder is locked (flock(2)) meanwhile: of two lb4 that start at once, neither takes the
 * other's fresh socket for a stale one. */
int admin_socket_open(struct admin_socket *ret, const char *path, uid_t uid, gid_t gid,
                      char reterr[static ADMIN_SOCKET_ERROR_MAX])
{
    struct place place = {.uid = uid, .gid = gid, .reterr = reterr};
    int error = place_init(&place, path);

    ret->fd = -1;
    if (!error)
        error = make_folder(&place);
    if (!error) {
        scope_close int lock = open(place.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (lock < 0)
            return refuse_errno(&place, place.folder);
        if (lock_folder(lock) < 0)
            return refuse_errno(&place, "another process has locked the folder");
        error = remove_stale(&place);
        if (!error)
            error = listen_at(ret, &place);
    }
    return error;
}

void admin_socket_close(struct admin_socket *admin)
{
    struct stat status;

    if (admin->fd < 0)
        return;
    if (lstat(admin->path, &status) == 0 && status.st_dev == admin->device &&
        status.st_ino == admin->inode)
        unlink(admin->path);
    close(admin->fd);
    admin->fd = -1;
}
