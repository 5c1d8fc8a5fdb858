#include "lb4/base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { FILE_MODE = 0640 };

static bool is_journal(int fd)
{
    const char *told = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat status;
    int n = -1;

    if (!told || sscanf(told, "%llu:%llu%n", &device, &inode, &n) != 2 || n < 0 || told[n])
        return false;
    return fstat(fd, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

void log_sink_init_fd(struct log_sink *sink, int fd, bool is_json)
{
    *sink = (struct log_sink){
        .kind = LOG_SINK_FD,
        .fd = fd,
        .style = {.front = is_journal(fd) ? LOG_FRONT_JOURNAL : LOG_FRONT_NONE, .is_json = is_json},
    };
}

struct log_sink *log_sink_new_fd(int fd, bool is_json)
{
    struct log_sink *sink = malloc(sizeof(*sink));

    if (sink)
        log_sink_init_fd(sink, fd, is_json);
    return sink;
}

static struct log_sink *sink_new(enum log_sink_kind kind, const char *path, int fd)
{
    struct log_sink *sink = calloc(1, sizeof(*sink));
    char *copy = strdup(path);

    if (!sink || !copy) {
        free(sink);
        free(copy);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    sink->kind = kind;
    sink->path = copy;
    sink->fd = fd;
    return sink;
}

/* O_NONBLOCK: also a FIFO that nobody reads is refused, and not waited for. */
int log_sink_open_file(const char *path, int fd, bool is_json, struct log_sink **ret)
{
    if (fd < 0)
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
                  FILE_MODE);
    if (fd < 0)
        return -errno;
    *ret = sink_new(LOG_SINK_FILE, path, fd);
    if (!*ret)
        return -ENOMEM;
    (*ret)->style.is_json = is_json;
    return 0;
}

static void syslog_connect(struct log_sink *sink)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return;
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", sink->path);
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0) {
        sink->fd = fd;
        return;
    }
    error = errno;
    close(fd);
    errno = error;
}

int log_sink_open_syslog(const char *path, int facility, bool is_json, struct log_sink **ret)
{
    *ret = sink_new(LOG_SINK_SYSLOG, path, -1);
    if (!*ret)
        return -ENOMEM;
    (*ret)->style = (struct log_style){
        .front = LOG_FRONT_SYSLOG, .is_json = is_json, .facility = facility, .pid = getpid()};
    syslog_connect(*ret);
    return 0;
}

int log_sink_again(const struct log_sink *sink, struct log_sink **ret)
{
    switch (sink->kind) {
    case LOG_SINK_FD:
        *ret = log_sink_new_fd(sink->fd, sink->style.is_json);
        return *ret ? 0 : -ENOMEM;
    case LOG_SINK_FILE:
        return log_sink_open_file(sink->path, -1, sink->style.is_json, ret);
    case LOG_SINK_SYSLOG:
        return log_sink_open_syslog(sink->path, sink->style.facility, sink->style.is_json, ret);
    }
    return -EINVAL;
}

void log_sink_free(struct log_sink *sink)
{
    if (!sink)
        return;
    if (sink->kind != LOG_SINK_FD && sink->fd >= 0)
        close(sink->fd);
    free(sink->path);
    free(sink);
}

/* A full queue of syslogd is EAGAIN; whatever else ends the connection, as one that has gone is
 * told by several errors: another may listen at the path by now. */
static ssize_t syslog_send(struct log_sink *sink, const char *bytes, size_t n_bytes)
{
    for (int i = 0; i < 2; i++) {
        ssize_t n;

        if (sink->fd < 0)
            syslog_connect(sink);
        if (sink->fd < 0)
            return -errno;
        n = send(sink->fd, bytes, n_bytes, MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EINTR || errno == EMSGSIZE)
            return -errno;
        close(sink->fd);
        sink->fd = -1;
    }
    return -ENOTCONN;
}

ssize_t log_sink_write(struct log_sink *sink, const char *bytes, size_t n_bytes)
{
    ssize_t n;

    if (sink->kind == LOG_SINK_SYSLOG)
        return syslog_send(sink, bytes, n_bytes);
    n = write(sink->fd, bytes, n_bytes);
    return n < 0 ? -errno : n;
}

static ssize_t syslog_send_once(const struct log_sink *sink, const char *bytes, size_t n_bytes)
{
    struct log_sink once = {.kind = LOG_SINK_SYSLOG, .fd = -1, .path = sink->path};
    ssize_t n = syslog_send(&once, bytes, n_bytes);

    if (once.fd >= 0)
        close(once.fd);
    return n;
}

ssize_t log_sink_write_straight(const struct log_sink *sink, const char *bytes, size_t n_bytes,
                                int wait_ms)
{
    struct pollfd ready = {.events = POLLOUT};
    ssize_t n;

    if (sink->kind == LOG_SINK_SYSLOG)
        return syslog_send_once(sink, bytes, n_bytes);
    ready.fd = sink->fd;
    if (poll(&ready, 1, wait_ms) <= 0)
        return -EAGAIN;
    n = write(sink->fd, bytes, n_bytes);
    return n < 0 ? -errno : n;
}

const char *log_facility_word(int facility)
{
    static const char *const words[] = {
        "kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
        "uucp",   "cron",   "authpriv", "ftp",    "",       "",       "",       "",
        "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7"};

    return facility >= 0 && facility < (int)(sizeof(words) / sizeof(words[0])) ? words[facility]
                                                                               : NULL;
}
