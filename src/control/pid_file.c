#include "lb4/control/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lb4/base/number.h"
#include "lb4/base/scope.h"

enum { PID_TEXT_MAX = 16, OPEN_TRIES = 10 };

static int refuse(int error, const char *path, const char *why,
                  char reterr[static PID_FILE_ERROR_MAX])
{
    snprintf(reterr, PID_FILE_ERROR_MAX, "pid file %.150s: %s", path, why);
    return -error;
}

/* The number in the file; 0 = empty, -EINVAL = something else. */
static int read_pid(int fd)
{
    char text[PID_TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    uint64_t pid;

    if (n <= 0)
        return (int)n;
    text[n] = '\0';
    if (text[n - 1] == '\n')
        text[n - 1] = '\0';
    return number_parse(text, 1, INT_MAX, &pid) < 0 ? -EINVAL : (int)pid;
}

static int refuse_locked(int fd, const char *path, char reterr[static PID_FILE_ERROR_MAX])
{
    int pid = read_pid(fd);
    char why[64];

    if (pid <= 0)
        return refuse(EAGAIN, path, "locked by a living process", reterr);
    snprintf(why, sizeof(why), "locked by the living process %d", pid);
    return refuse(EAGAIN, path, why, reterr);
}

/* Nothing may be lost by a wrong path: only what can be a pid file is truncated later. */
static int check_is_pid_file(int fd, const struct stat *status, const char *path,
                             char reterr[static PID_FILE_ERROR_MAX])
{
    if (!S_ISREG(status->st_mode))
        return refuse(EINVAL, path, "not a regular file", reterr);
    if (status->st_nlink > 1)
        return refuse(EINVAL, path, "has more than one name", reterr);
    if (status->st_size >= PID_TEXT_MAX || read_pid(fd) < 0)
        return refuse(EINVAL, path, "holds something else than a process id", reterr);
    return 0;
}

static bool is_still_at(const char *path, const struct stat *status)
{
    struct stat now;

    return lstat(path, &now) == 0 && now.st_dev == status->st_dev && now.st_ino == status->st_ino;
}

/* Returns a locked descriptor or -errno. An old owner may remove the file between open and lock,
 * and the lock is then on a file without a name: try again. */
static int open_locked(const char *path, struct stat *ret_status,
                       char reterr[static PID_FILE_ERROR_MAX])
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        /* O_NONBLOCK: a serial line would wait for its carrier here. */
        scope_close int fd =
            open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);

        if (fd < 0 && errno == ELOOP)
            return refuse(ELOOP, path, "is a symbolic link", reterr);
        if (fd < 0)
            return refuse(errno, path, strerror(errno), reterr);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? refuse_locked(fd, path, reterr)
                                        : refuse(errno, path, strerror(errno), reterr);
        if (fstat(fd, ret_status) < 0)
            return refuse(errno, path, strerror(errno), reterr);
        if (ret_status->st_nlink > 0 && is_still_at(path, ret_status))
            return take_fd(&fd);
    }
    return refuse(EAGAIN, path, "is replaced again and again", reterr);
}

static int write_pid(int fd)
{
    char text[PID_TEXT_MAX];
    int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0)
        return -errno;
    errno = ENOSPC; /* a short write does not set it */
    return pwrite(fd, text, (size_t)length, 0) == length ? 0 : -errno;
}

int pid_file_open(struct pid_file *ret, const char *path, char reterr[static PID_FILE_ERROR_MAX])
{
    struct stat status = {0};
    scope_close int fd = open_locked(path, &status, reterr);
    int rc;

    ret->fd = -1;
    if (fd < 0)
        return fd;
    rc = check_is_pid_file(fd, &status, path, reterr);
    if (rc < 0)
        return rc;
    rc = write_pid(fd);
    if (rc < 0)
        return refuse(-rc, path, strerror(-rc), reterr);
    *ret = (struct pid_file){
        .fd = take_fd(&fd), .path = path, .device = status.st_dev, .inode = status.st_ino};
    return 0;
}

void pid_file_close(struct pid_file *file)
{
    struct stat ours = {.st_dev = file->device, .st_ino = file->inode};

    if (file->fd < 0)
        return;
    /* A replaced file is not touched by this: the descriptor is of the one that we wrote. */
    if (!is_still_at(file->path, &ours) || unlink(file->path) < 0)
        (void)!ftruncate(file->fd, 0);
    close(file->fd);
    file->fd = -1;
}
