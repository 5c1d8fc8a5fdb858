#include "lb4/control/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char syslog_path[] = "/dev/log";

enum { FILE_MODE = 0640 };

static struct log_sink *opened; /* at the start, not used yet */

/* As the user that we are going to be: what it makes is its own, and no link leads it to what it
 * could not write itself. */
static int open_as(const struct conf_log *log, const struct privileges_ids *ids,
                   struct log_sink **ret)
{
    int error;

    setfsgid(ids->gid);
    setfsuid(ids->uid);
    error = log_sink_open_file(log->path, -1, log->is_json, ret);
    setfsuid(geteuid());
    setfsgid(getegid());
    return error;
}

/* open(2) that follows no link, nor one on the way: who owns the directory could have put it there.
 */
static int open_plain(const char *path, int flags)
{
    const struct open_how how = {
        .flags = (uint64_t)(O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | flags),
        .mode = flags & O_CREAT ? FILE_MODE : 0,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* Root's or the user's own, under no other name. */
static bool is_theirs(int fd, const struct privileges_ids *ids)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
           (status.st_uid == 0 || status.st_uid == ids->uid);
}

/* With root's rights, where the user's do not suffice. */
static int open_for(const char *path, const struct privileges_ids *ids)
{
    int fd = open_plain(path, O_CREAT | O_EXCL);
    bool is_new = fd >= 0;

    if (!is_new && errno == EEXIST)
        fd = open_plain(path, 0);
    if (fd < 0)
        return -errno;
    if (is_new ? fchown(fd, ids->uid, ids->gid) == 0 : is_theirs(fd, ids))
        return fd;
    close(fd);
    return -EPERM;
}

static int open_file(const struct conf_log *log, const struct privileges_ids *ids,
                     struct log_sink **ret)
{
    int error;
    int fd;

    if (!ids || geteuid() != 0 || ids->uid == 0)
        return log_sink_open_file(log->path, -1, log->is_json, ret);
    error = open_as(log, ids, ret);
    if (error != -EACCES)
        return error;
    fd = open_for(log->path, ids);
    return fd < 0 ? fd : log_sink_open_file(log->path, fd, log->is_json, ret);
}

/* `ids` NULL: as we are. */
static int open_sink(const struct conf_log *log, const struct privileges_ids *ids,
                     struct log_sink **ret, char reterr[static LOGGING_ERROR_MAX])
{
    int error = 0;

    *ret = NULL;
    switch (log->kind) {
    case CONF_LOG_STDERR:
        *ret = log_sink_new_fd(STDERR_FILENO, log->is_json);
        error = *ret ? 0 : -ENOMEM;
        break;
    case CONF_LOG_FILE:
        error = open_file(log, ids, ret);
        break;
    case CONF_LOG_SYSLOG:
        error = log_sink_open_syslog(syslog_path, log->facility, log->is_json, ret);
        break;
    }
    if (error)
        snprintf(reterr, LOGGING_ERROR_MAX, "log%s%s: %s",
                 log->kind == CONF_LOG_FILE ? " file " : "", log->path, strerror(-error));
    return error;
}

static bool is_same(const struct conf_log *a, const struct conf_log *b)
{
    return a->kind == b->kind && a->is_json == b->is_json && a->facility == b->facility &&
           strcmp(a->path, b->path) == 0;
}

int logging_open_changed(const struct conf_log *before, const struct conf_log *after,
                         struct log_sink **ret, char reterr[static LOGGING_ERROR_MAX])
{
    *ret = NULL;
    return is_same(before, after) ? 0 : open_sink(after, NULL, ret, reterr);
}

void logging_use(const struct conf_log *log, struct log_sink *sink)
{
    if (!sink)
        return;
    switch (log->kind) {
    case CONF_LOG_STDERR:
        log_info("the log goes to stderr, as %s", log->is_json ? "JSON" : "text");
        break;
    case CONF_LOG_FILE:
        log_info("the log goes to %s, as %s", log->path, log->is_json ? "JSON" : "text");
        break;
    case CONF_LOG_SYSLOG:
        log_info("the log goes to syslog, facility %s, as %s", log_facility_word(log->facility),
                 log->is_json ? "JSON" : "text");
        break;
    }
    log_use(sink);
}

int logging_prepare(const struct conf_log *log, const struct privileges_ids *ids)
{
    char text[LOGGING_ERROR_MAX];
    int error = open_sink(log, ids, &opened, text);

    if (error)
        log_error("%s", text);
    return error;
}

static void check_reopen(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    else
        log_warn("log file %s: uid %u cannot open it anew on SIGUSR1: %s", path, geteuid(),
                 strerror(errno));
}

/* As text on stderr it goes on as it began. */
void logging_start(const struct conf_log *log)
{
    if (log->kind == CONF_LOG_STDERR && !log->is_json) {
        logging_end();
        return;
    }
    logging_use(log, opened);
    opened = NULL;
    if (log->kind == CONF_LOG_FILE)
        check_reopen(log->path);
}

void logging_end(void)
{
    log_sink_free(opened);
    opened = NULL;
}

void logging_reopen(const struct conf_log *log)
{
    int error = log_reopen();

    if (error)
        log_error("log file %s: it cannot be opened anew, the old one goes on: %s", log->path,
                  strerror(-error));
}
