#include "lb4/conf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lb4/base/scope.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/read.h"

enum { ATTEMPTS = 5 };

/* Sizes are judged before and after, since an editor may write at this very moment. */
static int check_stat(const struct stat *status, off_t max_bytes)
{
    if (S_ISDIR(status->st_mode))
        return -EISDIR;
    if (!S_ISREG(status->st_mode))
        return -ENOTSUP;
    return status->st_size > max_bytes ? -EFBIG : 0;
}

static bool is_unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Fill `text` from the beginning of the file. Returns the bytes read, or -errno. */
static ssize_t read_whole(int fd, char *text, size_t n_bytes)
{
    size_t n_read = 0;

    while (n_read < n_bytes) {
        ssize_t n = pread(fd, text + n_read, n_bytes - n_read, (off_t)n_read);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        n_read += (size_t)n;
    }
    return (ssize_t)n_read;
}

/* Fill `text`, of the size in *before; -EAGAIN: the file changed meanwhile. */
static ssize_t read_unchanged(int fd, char *text, const struct stat *before)
{
    ssize_t n = read_whole(fd, text, (size_t)before->st_size);
    struct stat after;

    if (n < 0)
        return n;
    if (fstat(fd, &after) < 0)
        return -errno;
    return n == before->st_size && is_unchanged(before, &after) ? n : -EAGAIN;
}

static ssize_t load_once(int fd, off_t max_bytes, char **ret_text, struct stat *ret_status)
{
    ssize_t n;
    int error;
    char *text;

    if (fstat(fd, ret_status) < 0)
        return -errno;
    error = check_stat(ret_status, max_bytes);
    if (error < 0)
        return error;
    text = malloc((size_t)ret_status->st_size + 1);
    if (!text)
        return -ENOMEM;
    n = read_unchanged(fd, text, ret_status);
    if (n < 0)
        free(text);
    else
        *ret_text = text;
    return n;
}

/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
ssize_t conf_load(const char *name, off_t max_bytes, char **ret_text, struct stat *ret_status)
{
    scope_close int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = -EAGAIN;

    if (fd < 0)
        return -errno;
    for (int i = 0; i < ATTEMPTS && n == -EAGAIN; i++)
        n = load_once(fd, max_bytes, ret_text, ret_status);
    return n;
}

const char *conf_load_error_text(int error)
{
    if (error == -ENOTSUP)
        return "not a regular file";
    if (error == -EISDIR)
        return "a directory, not a file";
    if (error == -EFBIG)
        return "larger than 16 MiB";
    if (error == -EAGAIN)
        return "the file keeps changing while it is read";
    return strerror(-error);
}

int conf_read_file(const char *name, struct conf *conf, struct conf_report *report)
{
    char *text = NULL;
    struct stat status;
    ssize_t n = conf_load(name, CONF_FILE_MAX_BYTES, &text, &status);
    const char *file;
    int error = -EINVAL;

    if (n < 0) {
        file = conf_add_file(conf, name);
        conf_report_error(report, &(struct conf_place){file ? file : "lb4", 0, 0}, "%s",
                          conf_load_error_text((int)n));
    } else {
        error = conf_read_text(name, text, (size_t)n, conf, report);
    }
    free(text);
    return error;
}
